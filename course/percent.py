"""Read a percent source (jupytext's py:percent) into cells, in milliseconds where it is as plain as the course's are.

Loading jupytext and nbformat takes half a second of processor time, and they say nothing else of such a text. What is not
plain, above all what is wrong in some way, is left to jupytext.
"""

import ast
import json
import re
from dataclasses import dataclass, field
from typing import Any

import course.quick_nbformat  # noqa: F401

# jupytext would otherwise turn the comment "# copy the weights" into the IPython command `copy the weights`.
PERCENT = {"extension": ".py", "format_name": "percent", "comment_magics": False}

_LIST = r'\[(?:"[^"\\\[\]]*"(?:, ?"[^"\\\[\]]*")*)?\]'
_OPTION = re.compile(rf' ([a-z]+)=("[^"\\]*"|[0-9]+(?:\.[0-9]+)?|{_LIST})')
_HEADER = re.compile(rf"# %%( \[markdown\])?((?:{_OPTION.pattern})*)")
_LIKE_A_HEADER = re.compile(r"\s*#\s*(%%|<codecell>|In\[)")
_ESCAPED = re.compile(r"(?:# ?)+\+")  # jupytext takes one # away
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_OTHER_LINE_ENDS = re.compile("[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_OPTIONS = ("tags", "exercise", "check", "written", "points")  # jupytext gives others a meaning of its own


@dataclass(frozen=True)
class PercentCell:
    """One cell: its kind as a notebook has it, its text, the options of its header."""

    cell_type: str
    source: str
    metadata: dict[str, Any] = field(default_factory=dict)


def read(text: str) -> list[PercentCell]:
    """The cells of a percent source."""
    cells = _read_plain(text)
    if cells is None:
        import jupytext

        read = jupytext.reads(text, fmt=PERCENT).cells
        cells = [PercentCell(cell.cell_type, cell.source, dict(cell.metadata)) for cell in read]
    return cells


def _read_plain(text: str) -> list[PercentCell] | None:
    """The same, or None where the text is not plain enough to be sure."""
    if not text.startswith("# %%") or _OTHER_LINE_ENDS.search(text):
        return None
    cells: list[PercentCell] = []
    lines = text.removesuffix("\n").split("\n")
    starts = [i for i, line in enumerate(lines) if _LIKE_A_HEADER.match(line)]
    for first, end in zip(starts, [*starts[1:], len(lines)]):
        header = _HEADER.fullmatch(lines[first])
        options = _options(header[2]) if header else None
        body = _without_blank_end(lines[first + 1 : end])
        if header is None or options is None or body is None:
            return None
        source = _prose(body) if header[1] else _code(body)
        if source is None:
            return None
        cells.append(PercentCell("markdown" if header[1] else "code", source, options))
    return cells


def _options(text: str) -> dict[str, Any] | None:
    found = [(name, json.loads(value)) for name, value in _OPTION.findall(text)]
    options = dict(found)
    if len(options) < len(found) or not set(options) <= set(_OPTIONS):
        return None
    tags = options.get("tags", [])
    plain = isinstance(tags, list) and not any(tag.startswith("active") for tag in tags)
    return options if plain else None


def _without_blank_end(lines: list[str]) -> list[str] | None:
    """Up to two empty lines between cells belong to neither."""
    end = len(lines)
    while end and not lines[end - 1]:
        end -= 1
    return lines[:end] if end and len(lines) - end <= 2 and lines[end - 1].strip() else None


def _prose(lines: list[str]) -> str | None:
    if not all(line.startswith("#") for line in lines):
        return None
    lines = [line[2:] if line.startswith("# ") else line[1:] for line in lines]
    return "\n".join(lines) if _fences_are_closed(lines) else None


def _fences_are_closed(lines: list[str]) -> bool:
    """Within a fence, what looks like a header is none: one that goes on behind its cell is not for us."""
    fence = ""
    for line in lines:
        mark = _FENCE.fullmatch(line)
        if mark and "`" in mark[2]:
            return False
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
    return not fence


def _code(lines: list[str]) -> str | None:
    source = "\n".join(lines)
    if any(map(_ESCAPED.match, lines)):
        return None
    try:
        ast.parse(source)  # so that no string goes on behind what looks like a header
    except (SyntaxError, ValueError):
        return None
    return source

"""Read a notebook that may hold anything at all, and keep of it what grading needs: its cells' sources."""

import json
import re
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from course.cell_id import cell_id
from course.grading.problems import Unreadable
from course.grading.read import reader
from course.grading.statuses import Status

# The longest solution has 250 KB, 95 cells, 33,000 characters of code and 29,000 of text; its longest cell has 3,200.
LARGEST_FILE = 150 * 2**20  # bytes; stored outputs of 100 MB happen and do no harm
MOST_CELLS = 5_000
LONGEST_SOURCE = 300_000  # characters of one code cell
LONGEST_CODE = 500_000  # characters of all code cells, each of which is parsed
LONGEST_PROSE = 40_000  # characters that are kept of any other cell
LONGEST_TEXT = 3_000_000  # characters of all other cells
LONGEST_LABEL = 200  # characters of an id, a tag, a value in nbgrader's metadata
MOST_LABELS = 100  # tags of a cell, values in its nbgrader metadata


@dataclass(frozen=True)
class Cell:
    """One cell of a notebook.

    Args:
        kind: ``"code"``, ``"markdown"`` or ``"raw"``.
        source: its text.
        id: of the notebook format, ``""`` where it has none; one of the course's follows from its text.
        grade_id: nbgrader's name of it, ``""`` where it has none.
        nbgrader: its nbgrader metadata, whatever that is.
        tags: its tags.
    """

    kind: str
    source: str
    grade_id: str = ""
    nbgrader: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    id: str = ""
    conflict: int = 0

    @property
    def is_marker(self) -> bool:
        """Whether this is what nbdime and nbdev put before, between and behind two versions of cells."""
        return self.kind != "code" and bool(_MARKER_CELL.fullmatch(self.source.strip()))

    @property
    def is_as_built(self) -> bool:
        """Whether this is a cell of the course, without a label of its own, that nobody has changed."""
        return self.id == cell_id(self.kind, self.source)

    @property
    def is_setup(self) -> bool:
        return "setup" in self.tags or self.grade_id == "setup"


def cells_from_bytes(data: bytes) -> list[Cell]:
    """The cells of a notebook file, format 4 or 3. Outputs are dropped; nothing in it is believed.

    Raises:
        Unreadable: it is no notebook, or larger than is sensible.
    """
    if len(data) > LARGEST_FILE:
        raise Unreadable(f"The file is larger than {LARGEST_FILE // 2**20} MB.", Status.LIMIT)
    try:
        answer = reader.ask("cells", data)
    except reader.TooMuch:
        raise Unreadable(
            "There is so much in the file that it cannot be read in reasonable time.", Status.LIMIT
        ) from None
    if "unreadable" in answer:
        raise Unreadable(*answer["unreadable"])
    return [
        Cell(kind, source, grade_id, nbgrader, tuple(tags), *more)
        for kind, source, grade_id, nbgrader, tags, *more in answer["cells"]
    ]


def described(data: bytes) -> dict:
    """What `cells_from_bytes` asks the process with limits for."""
    try:
        return {"cells": [astuple(cell) for cell in _cells(data)]}
    except Unreadable as problem:
        return {"unreadable": [str(problem), problem.status]}


def _cells(data: bytes) -> list[Cell]:
    if not data or data.isspace():
        raise Unreadable("The file is empty.")
    try:
        text = data.decode("utf-8-sig")
        notebook = json.loads(text)
    except UnicodeDecodeError as error:
        raise Unreadable(f"The file is not UTF-8 text (byte {error.start}), so it is no notebook.") from None
    except json.JSONDecodeError as error:
        line = conflict_in(text)
        if line:
            return _without_conflict(text, line)
        if error.doc.lstrip().startswith("{") and not error.doc.rstrip().endswith("}"):
            raise Unreadable("The file is cut off: its end is missing.") from None
        raise Unreadable(f"The file is no notebook, or damaged in line {error.lineno} ({error.msg}).") from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"The file is damaged (no valid JSON: {type(error).__name__}).") from None
    return cells_from_notebook(notebook)


def conflict_in(text: str) -> int:
    """The line of the first merge marker of git's or nbdime's, counted from 1; 0 if there is none.

    A line of ``=======`` alone is none: it may underline a heading.
    """
    found = _MARKER.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else 0


def _without_conflict(text: str, line: int) -> list[Cell]:
    """The cells of a file into which git wrote two versions: the first, where it can be read."""
    try:
        ours, theirs = (cells_from_notebook(json.loads(version)) for version in _versions(text))
    except (ValueError, RecursionError):
        raise Unreadable(
            f"Line {line} of the file is a merge marker: a conflict that was not settled, so the file is no notebook. "
            "Open it in a text editor, keep one of the two versions, delete the lines with <<<<<<<, ======= and "
            ">>>>>>>, and hand in again."
        ) from None
    same = {(cell.kind, cell.source) for cell in theirs}
    return [cell if (cell.kind, cell.source) in same else replace(cell, conflict=line) for cell in ours]


def _versions(text: str) -> tuple[str, str]:
    """A text with git's merge markers as it was on either side."""
    sides: tuple[list[str], list[str]] = [], []
    now = (0, 1)
    for line in text.split("\n"):
        mark = line[:7] if _ANY_MARKER.match(line) else ""
        if mark in _SIDES:
            now = _SIDES[mark]
        else:
            for side in now:
                sides[side].append(line)
    return "\n".join(sides[0]), "\n".join(sides[1])


_MARKER = re.compile(r"^(?:<{7}|>{7})(?: .*)?\r?$", re.MULTILINE)
_ANY_MARKER = re.compile(r"(?:<{7}|>{7}|\|{7}|={7})(?: .*)?\r?$")
_SIDES = {"<" * 7: (0,), "|" * 7: (), "=" * 7: (1,), ">" * 7: (0, 1)}
_MARKER_CELL = re.compile(r"(?:<span[^<>]{0,60}>)?[*`]{0,3}(?:<{7}|>{7}|={7})(?: [^\n<>]{0,200})?(?:</span>)?")


def cells_from_notebook(notebook: Any) -> list[Cell]:
    """The cells of a notebook that is already parsed. Raises `Unreadable`."""
    if not isinstance(notebook, dict):
        raise Unreadable("The file is JSON but no notebook: it has no cells.")
    found = notebook.get("cells")
    if found is None and isinstance(notebook.get("worksheets"), list):  # nbformat 3
        found = [cell for sheet in notebook["worksheets"] if isinstance(sheet, dict) for cell in _list(sheet, "cells")]
    if not isinstance(found, list):
        raise Unreadable("The file is JSON but no notebook: it has no cells.")
    if len(found) > MOST_CELLS:
        raise Unreadable(f"The notebook has {len(found)} cells; {MOST_CELLS} are read at most.", Status.LIMIT)
    cells = [_cell(entry) for entry in found if isinstance(entry, dict)]
    if sum(len(cell.source) for cell in cells if cell.kind == "code") > LONGEST_CODE:
        raise Unreadable(f"The notebook holds more than {LONGEST_CODE:,} characters of code.", Status.LIMIT)
    if sum(len(cell.source) for cell in cells if cell.kind != "code") > LONGEST_TEXT:
        raise Unreadable(f"The notebook holds more than {LONGEST_TEXT:,} characters of text.", Status.LIMIT)
    return cells


def normal_text(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def _cell(entry: dict) -> Cell:
    source = entry.get("source", entry.get("input", ""))  # "input" in nbformat 3
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    if not isinstance(source, str):
        source = ""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    kind = entry.get("cell_type") if entry.get("cell_type") in ("code", "markdown") else "raw"
    if kind != "code":
        source = source[:LONGEST_PROSE]  # a picture in the text, most likely; nothing of it is run
    elif len(source) > LONGEST_SOURCE:
        raise Unreadable(f"A cell holds more than {LONGEST_SOURCE:,} characters.", Status.LIMIT)
    metadata = entry.get("metadata") if isinstance(entry.get("metadata"), dict) else {}
    nbgrader = metadata.get("nbgrader") if isinstance(metadata.get("nbgrader"), dict) else {}
    grade_id = nbgrader.get("grade_id")
    return Cell(
        kind=kind,
        # JSON can spell half a character ("\ud800"), which no UTF-8 file can hold.
        source=source.encode("utf-8", "replace").decode("utf-8"),
        grade_id=_label(grade_id),
        nbgrader={_label(key): _value(value) for key, value in list(nbgrader.items())[:MOST_LABELS]},
        tags=tuple(_label(tag) for tag in _list(metadata, "tags")[:MOST_LABELS] if isinstance(tag, str)),
        id=_label(entry.get("id")),
    )


def _label(value: Any) -> str:
    return value[:LONGEST_LABEL] if isinstance(value, str) else ""


def _value(value: Any) -> Any:
    """A value as nbgrader writes it, or None where it is none of those."""
    if isinstance(value, str):
        return _label(value)
    return value if isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**63) else None


def _list(holder: dict, key: str) -> list:
    return holder[key] if isinstance(holder.get(key), list) else []

"""A notebook that was saved as a script, taken apart into cells again. It has no ids: exercises are found by their names.

- ``# In[3]:`` before each cell: ``jupyter nbconvert --to script``, and JupyterLab's "Save and Export as Executable
  Script" (``nbconvert/templates/python/index.py.j2``). Text is in comments, IPython's commands are ``get_ipython()…``.
- ``# %%`` before each cell: jupytext's percent format, which may keep nbgrader's ids, VS Code and Spyder. Text is in
  comments below ``# %% [markdown]``, IPython's commands are comments.
- Without marks, as Colab writes it: each function and class is a cell, and what stands between them.
"""

import ast
import re

from course.grading.problems import Unreadable
from course.grading.read.cells import LONGEST_CODE, LONGEST_LABEL, LONGEST_PROSE, LONGEST_SOURCE, MOST_CELLS, Cell
from course.grading.read.python_source import outlined
from course.grading.statuses import Status

LONGEST_MARK = 2_000  # characters of the line before a cell that are looked at

_MARK = re.compile(r"^#[^\S\n]?%%(?=[\s\[]|$).*$|^# In\[[ \d*]{0,9}\]:[^\S\n]*$", re.MULTILINE)
_KIND = re.compile(r"%%[^\n]*?\[(markdown|md|raw)\]")
_GRADE_ID = re.compile(r'"grade_id"\s*:\s*"([^"\\\n]+)"')
_SETUP = re.compile(r'tags=\[[^\]\n]*"setup"')
_STRING = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
_CELL_MAGIC = re.compile(rf"get_ipython\(\)\.run_cell_magic\(({_STRING}), ({_STRING}), ({_STRING})\)")
_LINE_MAGIC = re.compile(r"^([^\S\n]*)get_ipython\(\)\..*$", re.MULTILINE)
_DEFINITION = re.compile(r"(?:async\s+def|def|class)\s|@")


def cells_from_script(text: str) -> list[Cell]:
    """The cells of a script.

    Raises:
        Unreadable: it is larger than is sensible.
    """
    if len(text) > LONGEST_CODE:
        raise Unreadable(f"The script holds more than {LONGEST_CODE:,} characters.", Status.LIMIT)
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    marks = list(_MARK.finditer(text))
    if len(marks) >= MOST_CELLS:
        raise Unreadable(f"The script has {len(marks)} cells; {MOST_CELLS} are read at most.", Status.LIMIT)
    if not marks:
        cells = [Cell("code", piece) for piece in _pieces(text)]
    else:
        cells = [Cell("code", text[: marks[0].start()].strip("\n"))]
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        for mark, end in zip(marks, ends, strict=True):
            cells += _cells(mark[0], text[mark.end() : end])
    if any(len(cell.source) > LONGEST_SOURCE for cell in cells):
        raise Unreadable(f"A cell holds more than {LONGEST_SOURCE:,} characters.", Status.LIMIT)
    return [cell for cell in cells if cell.source.strip()]


def _cells(mark: str, below: str) -> list[Cell]:
    mark = mark[:LONGEST_MARK]
    kind, grade_id = _KIND.search(mark), _GRADE_ID.search(mark)
    label = grade_id[1][:LONGEST_LABEL] if grade_id else ""
    if kind:
        return [Cell("raw" if kind[1] == "raw" else "markdown", _uncommented(below)[:LONGEST_PROSE], label)]
    code, prose = (below.strip("\n"), "") if "%%" in mark else _without_text(below)
    tags = ("setup",) if _SETUP.search(mark) else ()
    return [Cell("code", _with_commands(code), label, tags=tags), Cell("markdown", _uncommented(prose)[:LONGEST_PROSE])]


def _without_text(below: str) -> tuple[str, str]:
    """(code, comments after it): nbconvert writes the text between two cells below two empty lines, without a mark."""
    lines = below.strip("\n").split("\n")
    last = max((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), default=-1)
    after = lines[last + 1 :]
    if last >= 0 and len(after) > 2 and not after[0].strip() and not after[1].strip():
        return "\n".join(lines[: last + 1]), "\n".join(after)
    return "\n".join(lines), ""


def _uncommented(text: str) -> str:
    return re.sub(r"^#[^\S\n]?", "", text, flags=re.MULTILINE).strip("\n")


def _with_commands(source: str) -> str:
    """IPython's commands as they stand in a notebook, or out of the way."""
    whole = _CELL_MAGIC.fullmatch(source.strip())
    if whole:
        try:
            name, arguments, body = (ast.literal_eval(part) for part in whole.groups())
            return f"%%{name} {arguments}\n{body}"
        except (SyntaxError, ValueError, MemoryError):
            return source
    return _LINE_MAGIC.sub(r"\1pass", source)


def _pieces(text: str) -> list[str]:
    """The functions and classes of a text, each by itself, and what stands between them."""
    text = _LINE_MAGIC.sub(r"\1pass", text)
    outline = outlined(text)
    if outline is None:
        return [text]
    lines = text.split("\n")
    pieces, done = [], 0
    for first, last in outline.statements:
        if _DEFINITION.match(lines[first - 1]):
            pieces += ["\n".join(lines[done : first - 1]), "\n".join(lines[first - 1 : last])]
            done = last
    return [piece.strip("\n") for piece in [*pieces, "\n".join(lines[done:])]]

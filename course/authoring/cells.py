"""From the cells of a source to those of a notebook, as plain data: ids, nbgrader's metadata, the student's version.

Loads nothing slow: grading starts with these cells, and needs no notebook of them.
"""

import hashlib
import re
from collections import Counter
from dataclasses import replace
from typing import Any

from course import glossary
from course.authoring import reading_time
from course.authoring.source import SourceCell, SourceFile
from course.cell_id import cell_id
from course.checks import Homework
from course.syllabus import LECTURES

LECTURE, SOLUTION, ASSIGNMENT = "lecture", "solution", "assignment"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# In another kernel the next line fails, and the error is shown with these beside it.
WRONG_KERNEL = f"""\
# "No module named ..." here? This kernel is another Python's. Menu Kernel > Change Kernel...:
# {KERNEL["display_name"]}, in the JupyterLab that `make lab` starts.
"""
AT_THE_END = "\n\nWhen you are through, *Handing in* at the end says how to check all of it once more."
HANDING_IN = """

## Handing in

1. **Save** with *Ctrl + S*: only what is saved counts.
2. **Check all of it**, as grading will, from the first cell to the last. Open a terminal (*File > New > Terminal*) and type

   `course check assignments/{name}/{name}.ipynb`

   It lists every exercise with its points, and every line of yours that failed.
3. **Hand in** this file, `{name}.ipynb`, under this name, where your course collects homework; with it every `.py` file
   of yours that it imports. Leave the cards and pictures in it.

`course progress` shows what is right, begun and open in all homeworks, and what to do next."""


def built_cells(source: SourceFile, version: str, homework: Homework | None = None) -> list[dict[str, Any]]:
    """The cells of a notebook, as its file has them, without outputs; see `course.authoring.notebooks.make_notebook`."""
    seen: Counter[str] = Counter()
    found = []
    for cell in _completed(source) if version == LECTURE else _completed_homework(source):
        if version == ASSIGNMENT and cell.role in ("exercise", "written"):
            cell = cell.stripped(homework.short)
        built: dict[str, Any] = {
            "cell_type": cell.kind,
            "id": cell.grade_id if homework and cell.grade_id else _content_id(cell, seen),
            "metadata": _metadata(cell, homework),
            "source": cell.text,
        }
        if version == ASSIGNMENT and "nbgrader" in built["metadata"]:
            built["metadata"]["nbgrader"] |= {"checksum": checksum(built), "cell_type": cell.kind}
        found.append(built)
    return found


def _completed(source: SourceFile) -> list[SourceCell]:
    """The cells with what the build puts in: how long it takes, what is to come; in a lecture, links to the glossary."""
    prose = [i for i, cell in enumerate(source.cells) if cell.kind == "markdown"]
    texts = [source.cells[i].text for i in prose]
    if any(reading_time.PLACE in text for text in texts):
        in_words = reading_time.in_words(source)
        texts = [text.replace(reading_time.PLACE, in_words) for text in texts]
    number = source.path.stem[:2]
    linked = dict(zip(prose, glossary.with_links(texts, int(number)) if number.isdigit() else texts))
    cells = [replace(cell, text=linked.get(i, cell.text)) for i, cell in enumerate(source.cells)]
    return [_with_kernel(_with_to_come(cell)) for cell in cells]


def _completed_homework(source: SourceFile) -> list[SourceCell]:
    """The cells of a homework with what is the same in all: where it is said how to hand in, and at the end, how."""
    cells = _completed(source)
    plain = [i for i, cell in enumerate(cells) if cell.kind == "markdown" and cell.role == "plain"]
    if plain:
        first, last = plain[0], plain[-1]
        cells[first] = replace(cells[first], text=cells[first].text + AT_THE_END)
        cells[last] = replace(cells[last], text=cells[last].text + HANDING_IN.format(name=source.path.stem))
    return cells


def _with_kernel(cell: SourceCell) -> SourceCell:
    return replace(cell, text=WRONG_KERNEL + cell.text) if cell.role == "setup" else cell


def _with_to_come(cell: SourceCell) -> SourceCell:
    """Whoever is sent to a lecture that is still being written reads that."""
    if cell.kind != "markdown":
        return cell
    lines = cell.text.split("\n")
    for lecture in LECTURES:
        if lecture.is_to_come:
            heading = re.compile(rf"(?<!\d){re.escape(lecture.heading)}")
            for i, line in enumerate(lines):
                line = line.replace(f"lecture `{lecture.name}`", f"lecture `{lecture.name}` (to come)")
                around = line.startswith("| **Before · after** |")
                lines[i] = heading.sub(rf"{lecture.heading} (to come)", line) if around else line
    return replace(cell, text="\n".join(lines))


def _content_id(cell: SourceCell, seen: Counter) -> str:
    content = f"{cell.kind}\0{cell.text}"
    seen[content] += 1
    return cell_id(cell.kind, cell.text, seen[content])


def _metadata(cell: SourceCell, homework: Homework | None) -> dict:
    metadata: dict = {"tags": list(cell.tags)} if cell.tags else {}
    if homework is None or not cell.grade_id:
        return metadata
    graded = {"schema_version": 3, "grade_id": cell.grade_id, "task": False}
    graded["grade"] = cell.role in ("check", "written")
    graded["solution"] = cell.role in ("exercise", "written")
    graded["locked"] = cell.role in ("check", "setup")
    if cell.role == "check":
        graded["points"] = homework.exercises[cell.name].points
    if cell.role == "written":
        graded["points"] = cell.points
    metadata["nbgrader"] = graded
    metadata["deletable"] = False
    if graded["locked"]:
        metadata["editable"] = False
    return metadata


def checksum(cell: dict[str, Any]) -> str:
    """nbgrader's own sum of a cell: by it, nbgrader gives an untouched answer 0 points without asking a person."""
    told = cell["metadata"]["nbgrader"]
    locked = not told["solution"] and (told["grade"] or told["locked"])
    parts = [
        cell["source"],
        cell["cell_type"],
        str(told["grade"]),
        str(told["solution"]),
        str(locked),
        told["grade_id"],
    ]
    if told["grade"]:
        parts.append(str(float(told["points"])))
    return hashlib.md5("".join(parts).encode()).hexdigest()

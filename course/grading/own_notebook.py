"""A student's own notebook, read for ``course check`` before anything slow is loaded."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from course.grading.problems import Unreadable
from course.grading.read.cells import Cell, cells_from_bytes

_CHECK = re.compile(r"^[^\S\n]*check\(\s*[\"'](hw\d+\.\w+)[\"']", re.MULTILINE)
_BUILT_FROM_LECTURE = re.compile(r'"built_from"\s*:\s*"notebooks/')


class CannotCheck(Exception):
    """The notebook or its check data cannot be read; the text says why and what to do."""


@dataclass(frozen=True)
class OwnNotebook:
    """Its cells, and one of the exercises that it checks."""

    path: Path
    cells: list[Cell]
    exercise: str


def read_own(path: Path) -> OwnNotebook:
    """The notebook at `path`, or the only one in that folder.

    Raises CannotCheck: there is no such notebook, it cannot be read, it is a lecture, or it has no check cell.
    """
    if os.name != "posix":
        raise CannotCheck("this command needs Linux or macOS; run the check cells in the notebook instead.")
    if path.is_dir():
        path = _notebook_in(path)
    try:
        data = path.read_bytes()
        cells = cells_from_bytes(data)
    except OSError as error:
        raise CannotCheck(f"{path} cannot be read: {error.strerror}.") from None
    except Unreadable as problem:
        raise CannotCheck(f"{path}: {problem}") from None
    if _BUILT_FROM_LECTURE.search(data.decode(errors="replace")):
        example = "assignments/hw1_self_attention/hw1_self_attention.ipynb"
        raise CannotCheck(f"{path} is a lecture, and nothing in it is graded. Give a homework: {example}")
    return OwnNotebook(path, cells, exercise_of(cells, path))


def _notebook_in(folder: Path) -> Path:
    found = sorted(folder.glob("*.ipynb"))
    named = folder / f"{folder.resolve().name}.ipynb"
    if named in found or len(found) == 1:
        return named if named in found else found[0]
    there = f"one of {', '.join(path.name for path in found[:5])}" if found else "there is none in it"
    raise CannotCheck(f"{folder} cannot be read: it is a folder. Give the notebook that is to be checked: {there}.")


def exercise_of(cells: list[Cell], path: Path) -> str:
    """``"hw1.attention_scores"``: the first that the notebook checks; ``"hw1.?"`` if only the file's name tells."""
    for cell in cells:
        match = _CHECK.search(cell.source) if cell.kind == "code" else None
        if match:
            return match[1]
    match = re.match(r"hw\d+", path.name) or re.match(r"hw\d+", path.resolve().parent.name)
    if match is None:
        raise CannotCheck(f"{path} has no check cell, so it is not known which homework it is.")
    return f"{match[0]}.?"

"""A student's own modules, among the files that were handed in: those beside the notebook that is graded."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from course.grading.collect.platforms import file_of
from course.grading.collect.whose import Entry
from course.grading.problems import Unreadable
from course.grading.read.cells import LARGEST_FILE, Cell
from course.grading.read.modules import OwnModule, own_modules

_NUMBER = re.compile(r"-[0-9]+\.py$")


def modules_beside(
    notebook: Entry, entries: Callable[[], Iterable[Entry]], cells: Iterable[Cell], system: str = ""
) -> tuple[tuple[OwnModule, ...], list[str]]:
    """(what the notebook imports of a student's entries, what was odd about that).

    Args:
        entries: gives them, unpacked; called only if the notebook imports something that may be among them.
        system: the platform that they were downloaded from: Canvas gives files names of its own.
    """
    folder = notebook.parts[:-1]

    @cache
    def beside() -> dict[str, Entry]:
        files = [entry for entry in entries() if entry.suffix == ".py" and entry.read is not None]
        files = [entry for entry in files if entry.parts[: len(folder)] == folder]
        found = {"/".join(entry.parts[len(folder) :]): entry for entry in files}
        if system == "Canvas" and not folder:  # it numbers what is handed in again
            found |= {_NUMBER.sub(".py", file_of(file)): entry for file, entry in found.items()}
        return found

    return _found(cells, lambda file: beside()[file].read() if file in beside() else None)


def modules_in(folder: Path, cells: Iterable[Cell]) -> tuple[tuple[OwnModule, ...], list[str]]:
    """The same for a notebook that lies in a folder of its author."""

    def read(file: str) -> bytes | None:
        try:
            with open(folder / file, "rb") as opened:
                return opened.read(LARGEST_FILE)
        except OSError:
            return None

    return _found(cells, read)


def _found(cells: Iterable[Cell], read: Callable[[str], bytes | None]) -> tuple[tuple[OwnModule, ...], list[str]]:
    try:
        return own_modules(cells, read), []
    except Unreadable as problem:
        return (), [f"Nothing was imported from beside the notebook: {problem}"]

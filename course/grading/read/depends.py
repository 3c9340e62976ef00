"""Which exercises build on which, as one student wrote them: followed through names, nothing is run."""

from collections.abc import Iterable

from course.grading.read.merge import Merged
from course.grading.read.python_source import defined_names, outlined
from course.outline import Unit


def names_reached(merged: Merged) -> dict[str, set[str]]:
    """By exercise, the names that its cell uses, directly or through what other cells define.

    What an exercise's cell defines itself is not among them. Each statement is looked at once for an exercise.
    """
    outlined_cells = [(cell, outlined(cell.source)) for cell in merged.cells]
    giving: dict[str, list[Unit]] = {}
    for _, outline in outlined_cells:
        for unit in outline.units if outline else ():
            for name in unit.names:
                giving.setdefault(name, []).append(unit)
    reached: dict[str, set[str]] = {}
    for cell, outline in outlined_cells:
        if cell.exercise and outline:
            read = (name for unit in outline.units for name in unit.reads)
            reached.setdefault(cell.exercise, set()).update(_closure(read, giving))
    for cell, outline in outlined_cells:
        if cell.exercise and outline:
            reached[cell.exercise] -= defined_names(cell.source)
    return reached


def _closure(wanted: Iterable[str], giving: dict[str, list[Unit]]) -> set[str]:
    seen = set(wanted)
    waiting = list(seen)
    followed: set[int] = set()  # one that gives many names is not read again for each of them
    while waiting:
        for unit in giving.get(waiting.pop(), ()):
            if id(unit) not in followed:
                followed.add(id(unit))
                new = [name for name in unit.reads if name not in seen]
                seen.update(new)
                waiting += new
    return seen

"""The from-scratch rules of a homework, applied to the source of what is run for one student.

A name of a student's counts as forbidden where it is given its meaning by what is forbidden, in whatever cell or file
of theirs and over however many others. What is put together at run time is found there (`course.checks.guards`).
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from course.checks.from_scratch import Use, forbidden_uses, full_name, imported_names, uses_in
from course.grading.read.merge import Merged, RunCell
from course.grading.read.python_source import outlined
from course.outline import Unit

MOST_PARTS = 6  # of a full name that are looked up
MOST_STARS = 5  # ``from … import *`` of own modules


def rule_broken(merged: Merged, rules: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """By exercise, the sentence about the forbidden name that its cell uses, or what else it uses of the student's.

    Args:
        merged: the student's cells and own modules, and the instructor's setup.
        rules: forbidden full names by exercise.

    Raises:
        Unreadable: to parse a cell takes too much.
    """
    names = _names(merged.cells)
    helpers = _Helpers(merged, names)
    broken = {}
    for exercise, cells in merged.by_exercise.items():
        if exercise in rules:
            forbidden = rules[exercise]
            found = (use for cell in cells for use in forbidden_uses(cell.source, forbidden, names, outlined))
            use = next(found, None) or helpers.use(cells, forbidden)
            if use:
                broken[exercise] = use.sentence
    return broken


def _units(cells: Iterable[RunCell]) -> Iterator[tuple[RunCell, Unit]]:
    for cell in cells:
        outline = outlined(cell.source)
        for unit in outline.units if outline else ():
            yield cell, unit


def _last_defined(cells: Iterable[RunCell]) -> dict[str, int]:
    """By name, the number of the last function or class that takes it whatever happens: what it meant before is gone."""
    return {unit.kind: k for k, (_, unit) in enumerate(_units(cells)) if unit.kind and unit.always}


def _names(cells: list[RunCell]) -> dict[str, str]:
    """`imported_names`, without those that a function or class takes later."""
    names = imported_names((cell.source for cell in cells), outlined)
    given = {name: k for k, (_, unit) in enumerate(_units(cells)) if not unit.kind for name in unit.names}
    for name, k in _last_defined(cells).items():
        if given.get(name, k) < k:
            names.pop(name, None)
    return names


@dataclass(frozen=True)
class _Step:
    """What a statement outside of the exercises gives and refers to. A name of an own module is ``"module.name"``."""

    unit: Unit
    names: tuple[str, ...]
    refers: frozenset[str]
    meant: dict[str, str]  # the `imported_names` where it stands
    place: str


class _Helpers:
    """What no exercise asks for. Each statement is searched once for each set of rules."""

    def __init__(self, merged: Merged, names: dict[str, str]):
        self.names = names
        self.steps: list[_Step] = []
        self.stars = _stars(merged.cells)
        last = _last_defined(merged.cells)
        for k, (cell, unit) in enumerate(_units(merged.cells)):
            given = tuple(name for name in unit.names if last.get(name, k) <= k)
            if not cell.exercise and given:
                self.steps.append(_Step(unit, given, frozenset(self._refers(unit)), names, "your cell"))
        for module in merged.modules:
            inside = imported_names([module.source], outlined)
            stars = _stars([RunCell(module.file, module.source)])
            for _, unit in _units([RunCell(module.file, module.source)]):
                refers = frozenset(_refers(unit, inside, (f"{module.name}.", *stars)))
                given = tuple(f"{module.name}.{name}" for name in unit.names)
                self.steps.append(_Step(unit, given, refers, inside, module.file))
        self.readers: dict[str, set[str]] = defaultdict(set)  # by name, what is made of it
        for step in self.steps:
            for name in step.refers:
                self.readers[name].update(step.names)
        self._leads: dict[tuple[str, ...], dict[str, tuple[int, str, Use]]] = {}

    def _refers(self, unit: Unit) -> Iterator[str]:
        return _refers(unit, self.names, ("", *self.stars))

    def use(self, cells: list[RunCell], forbidden: tuple[str, ...]) -> Use | None:
        """The nearest use in a helper that these cells of an exercise call, or in one that these call."""
        leads = self.leads(forbidden)
        if not leads:
            return None
        units = [unit for _, unit in _units(cells)]
        own: dict[str, list[Unit]] = defaultdict(list)
        for unit in units:
            for name in unit.names:
                own[name].append(unit)
        targets = [target for cell in cells for target in cell.keep]
        # What else stands in the cell, to try the answer out, is not the answer.
        if targets and all(target in own for target in targets):
            units = []
        waiting, seen = deque(targets), set(targets)
        found = []
        while units or waiting:
            for unit in units or own.get(waiting.popleft(), ()):
                new = set(self._refers(unit)) - seen
                seen |= new
                waiting += sorted(new & set(own))
                found += [leads[name] for name in new if name in leads]
            units = []
        return min(found, key=lambda lead: lead[:2])[2] if found else None

    def leads(self, forbidden: tuple[str, ...]) -> dict[str, tuple[int, str, Use]]:
        """By name from which a use of a forbidden name is reached: over how many others, the last, its use."""
        if forbidden not in self._leads:
            guilty: dict[str, Use] = {}
            for step in self.steps:
                use = next(uses_in([step.unit], forbidden, step.meant), None)
                for name in step.names if use else ():
                    guilty.setdefault(
                        name, replace(use, inside=use.inside or name.rpartition(".")[2], place=step.place)
                    )
            leads = {name: (0, name, guilty[name]) for name in sorted(guilty)}
            waiting = deque(leads)
            while waiting:
                name = waiting.popleft()
                steps, last, use = leads[name]
                for caller in sorted(self.readers.get(name, ())):
                    if caller not in leads:
                        leads[caller] = steps + 1, last, use
                        waiting.append(caller)
            self._leads[forbidden] = leads
        return self._leads[forbidden]


def _stars(cells: Iterable[RunCell]) -> list[str]:
    """Modules of which everything is imported, each with a dot behind it."""
    outlines = [outlined(cell.source) for cell in cells]
    found = [full for told in outlines for name, full in (told.imports if told else ()) if name == "*"]
    return [full.removesuffix("*") for full in found if full.endswith(".*")][:MOST_STARS]


def _refers(unit: Unit, names: dict[str, str], where: Iterable[str]) -> Iterator[str]:
    """The names that a statement refers to, as it may be meant: each begin of `where` goes before a bare one."""
    for name in unit.reads:
        yield from (begin + name for begin in where)
    for written, full, _ in unit.found:
        parts = (full or full_name(written, names)).split(".", MOST_PARTS)[:MOST_PARTS]
        if len(parts) > 1:
            yield from (".".join(parts[:k]) for k in range(2, len(parts) + 1))

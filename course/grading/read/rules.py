"""The from-scratch rules of a homework, applied to the source of what is run for one student."""

from collections import deque
from collections.abc import Iterable

from course.checks.from_scratch import Use, forbidden_uses, imported_names
from course.grading.read.merge import Merged, RunCell
from course.grading.read.python_source import outlined


def rule_broken(merged: Merged, rules: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """By exercise, the sentence about the forbidden name that its cell uses, or a helper that it calls.

    Args:
        merged: the student's cells and the instructor's setup.
        rules: forbidden full names by exercise.

    Raises:
        Unreadable: to parse a cell takes too much.
    """
    names = imported_names((cell.source for cell in merged.cells), outlined)
    helpers = _Helpers([cell for cell in merged.cells if not cell.exercise], names)
    broken = {}
    for cell in merged.cells:
        if cell.exercise in rules:
            forbidden = rules[cell.exercise]
            uses = forbidden_uses(cell.source, forbidden, names, outlined) or helpers.uses(cell.source, forbidden)
            if uses:
                broken[cell.exercise] = uses[0].sentence
    return broken


class _Helpers:
    """The functions and classes that no exercise asks for. Each cell is searched once for each set of rules."""

    def __init__(self, cells: Iterable[RunCell], names: dict[str, str]):
        self.cells = list(cells)
        self.names = names
        self.readers: dict[str, set[str]] = {}  # by name, the functions that read it
        for cell in self.cells:
            outline = outlined(cell.source)
            for given in outline.given if outline else ():
                if given.kind:
                    for name in given.reads:
                        self.readers.setdefault(name, set()).add(given.kind)
        self._leads: dict[tuple[str, ...], dict[str, tuple[int, str, Use]]] = {}

    def uses(self, source: str, forbidden: tuple[str, ...]) -> list[Use]:
        """A use in a helper that this cell calls, or in one that these call: the nearest; at most one."""
        leads = self.leads(forbidden)
        outline = outlined(source) if leads else None
        found = [leads[name] for name in (outline.reads if outline else ()) if name in leads]
        return [min(found, key=lambda lead: lead[:2])[2]] if found else []

    def leads(self, forbidden: tuple[str, ...]) -> dict[str, tuple[int, str, Use]]:
        """By function from which a use of a forbidden name is reached: over how many others, the last, its use."""
        if forbidden not in self._leads:
            found = [use for cell in self.cells for use in forbidden_uses(cell.source, forbidden, self.names, outlined)]
            guilty = {use.inside: use for use in found if use.inside}
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

"""The from-scratch rules of a homework, applied to the source of what is run for one student."""

from collections.abc import Iterable

from course.checks.from_scratch import Use, forbidden_uses, imported_names, names_used, parse
from course.grading.merge import Merged, RunCell


def rule_broken(merged: Merged, rules: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """By exercise, the sentence about the forbidden name that its cell uses, or a helper that it calls.

    Args:
        merged: the student's cells and the instructor's setup.
        rules: forbidden full names by exercise.
    """
    names = imported_names(cell.source for cell in merged.cells)
    helpers = _Helpers([cell for cell in merged.cells if not cell.exercise], names)
    broken = {}
    for cell in merged.cells:
        if cell.exercise in rules:
            forbidden = rules[cell.exercise]
            uses = forbidden_uses(cell.source, forbidden, names) or helpers.uses(cell.source, forbidden)
            if uses:
                broken[cell.exercise] = uses[0].sentence
    return broken


class _Helpers:
    """The functions and classes that no exercise asks for. Each cell is searched once for each set of rules."""

    def __init__(self, cells: Iterable[RunCell], names: dict[str, str]):
        self.cells = list(cells)
        self.names = names
        self.read_by: dict[str, set[str]] = {}  # by function, the names that it reads
        for cell in self.cells:
            for node in getattr(parse(cell.source), "body", ()):
                if hasattr(node, "name"):
                    self.read_by.setdefault(node.name, set()).update(names_used(node))
        self._guilty: dict[tuple[str, ...], dict[str, Use]] = {}

    def uses(self, source: str, forbidden: tuple[str, ...]) -> list[Use]:
        """A use in a helper that this cell calls, or in one that these call; at most one."""
        guilty = self.guilty(forbidden)
        tree = parse(source) if guilty else None
        wanted, seen = names_used(tree) if tree else set(), set()
        while wanted - seen:
            name = min(wanted - seen)
            seen.add(name)
            if name in guilty:
                return [guilty[name]]
            wanted |= self.read_by.get(name, set())
        return []

    def guilty(self, forbidden: tuple[str, ...]) -> dict[str, Use]:
        """By function, its use of a forbidden name."""
        if forbidden not in self._guilty:
            found = [use for cell in self.cells for use in forbidden_uses(cell.source, forbidden, self.names)]
            self._guilty[forbidden] = {use.inside: use for use in found if use.inside}
        return self._guilty[forbidden]

"""The from-scratch rules of a homework, applied to what is run for one student."""

from course.checks.from_scratch import Use, forbidden_uses, imported_names, names_used, parse
from course.grading.merge import Merged


def rule_broken(merged: Merged, rules: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """By exercise, the sentence about the forbidden name that its cell uses, or a helper that it calls.

    Args:
        merged: the student's cells and the instructor's setup.
        rules: forbidden full names by exercise.
    """
    names = imported_names(cell.source for cell in merged.cells)
    helpers = [cell for cell in merged.cells if not cell.exercise]
    broken = {}
    for cell in merged.cells:
        if not cell.exercise or cell.exercise not in rules:
            continue
        uses = forbidden_uses(cell.source, rules[cell.exercise], names)
        if not uses:
            uses = _in_helpers(cell.source, helpers, rules[cell.exercise], names)
        if uses:
            broken[cell.exercise] = uses[0].sentence
    return broken


def _in_helpers(source: str, helpers: list, forbidden: tuple[str, ...], names: dict[str, str]) -> list[Use]:
    """Uses in helper functions that the cell calls, or that these call."""
    guilty = {
        use.inside: use for cell in helpers for use in forbidden_uses(cell.source, forbidden, names) if use.inside
    }
    inside: dict[str, set[str]] = {}
    for cell in helpers:
        for node in getattr(parse(cell.source), "body", ()):
            if hasattr(node, "name"):
                inside.setdefault(node.name, set()).update(names_used(node))
    tree = parse(source)
    wanted, seen = names_used(tree) if tree else set(), set()
    while wanted - seen:
        name = (wanted - seen).pop()
        seen.add(name)
        if name in guilty:
            return [guilty[name]]
        wanted |= inside.get(name, set())
    return []

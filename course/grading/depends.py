"""Which exercises build on which, as one student wrote them: followed through names, nothing is run."""

import ast

from course.checks.from_scratch import names_used, parse
from course.grading.merge import Merged
from course.grading.python_source import defined_names


def names_reached(merged: Merged) -> dict[str, set[str]]:
    """By exercise, the names that its cell uses, directly or through what other cells define.

    What an exercise's cell defines itself is not among them.
    """
    trees = [(cell, parse(cell.source)) for cell in merged.cells]
    uses: dict[str, set[str]] = {}
    for _, tree in trees:
        for node in tree.body if tree else ():
            for name in _names_given(node):
                uses.setdefault(name, set()).update(names_used(node))
    return {
        cell.exercise: _closure(names_used(tree), uses, defined_names(cell.source))
        for cell, tree in trees
        if cell.exercise and tree
    }


def _names_given(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)]
    return [node.name] if hasattr(node, "name") else []


def _closure(wanted: set[str], uses: dict[str, set[str]], own: set[str]) -> set[str]:
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in seen:
            seen.add(name)
            wanted |= uses.get(name, set()) - seen
    return seen - own

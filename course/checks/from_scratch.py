"""What an exercise may not use because it would do the exercise: found in the source, by the name it really has.

``F.scaled_dot_product_attention`` is found under any alias that an import statement gives it, and in helper functions
that the student's answer calls. What is put together at run time (``getattr(F, "scaled_" + ...)``) is found where
grading runs it (`course.grading.guards`).
"""

import ast
import inspect
import sys
import textwrap
import threading
from collections.abc import Iterable
from dataclasses import dataclass

# Of every exercise; a homework and an exercise add their own.
ALWAYS = (
    "timm",
    "transformers",
    "torchvision.models",
    "course.models",
    "torch.nn.MultiheadAttention",
    "torch.nn.Transformer",
    "torch.nn.TransformerEncoder",
    "torch.nn.TransformerEncoderLayer",
    "torch.nn.functional.multi_head_attention_forward",
)


@dataclass(frozen=True)
class Use:
    """A forbidden name in a student's code: as written, in which line of its cell (0: not known), inside what."""

    written: str
    line: int
    inside: str  # the function or class at the top of the cell, or ""

    @property
    def sentence(self) -> str:
        where = f"Line {self.line} of your cell" if self.line else "Your code"
        where += f" (inside {self.inside})" if self.inside else ""
        return (
            f"{where} uses {self.written}, which does this exercise for you. "
            "Write it yourself, from tensor operations and plain layers."
        )


def covered(name: str, forbidden: Iterable[str]) -> bool:
    """Whether a full name is forbidden: what lies inside a forbidden module or class is forbidden with it."""
    return any(name == other or name.startswith(f"{other}.") for other in forbidden)


def imported_names(sources: Iterable[str]) -> dict[str, str]:
    """What the import statements of some cells call what: {"F": "torch.nn.functional", "nn": "torch.nn"}."""
    names = {}
    for source in sources:
        tree = parse(source)
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Import):
                for alias in node.names:
                    # `import torch.nn` makes the name torch.
                    root = alias.name if alias.asname else alias.name.partition(".")[0]
                    names[alias.asname or root] = root
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def forbidden_uses(source: str, forbidden: Iterable[str], names: dict[str, str]) -> list[Use]:
    """Where a cell uses a forbidden name, in the order of its lines; nothing if it is no Python.

    Args:
        source: the cell.
        forbidden: full names; what lies inside them is forbidden with them.
        names: `imported_names` of all cells that run before, and of this one.
    """
    tree = parse(source)
    forbidden = tuple(forbidden)
    found = []
    for statement in tree.body if tree else ():
        inside = getattr(statement, "name", "")
        for node in ast.walk(statement):
            for written, full in _meant(node, names):
                if covered(full, forbidden):
                    found.append(Use(written, node.lineno, inside))
    # Of nn.Transformer.forward the longest form comes first; one a line is enough.
    return sorted({use.line: use for use in reversed(found)}.values(), key=lambda use: use.line)


def sentences(objects: Iterable, forbidden: Iterable[str]) -> list[str]:
    """The same for functions and classes that are there: one sentence for each whose source uses a forbidden name."""
    found = []
    for thing in objects:
        try:
            source = textwrap.dedent(inspect.getsource(thing))
        except (OSError, TypeError):
            continue  # made at run time, or typed where no source is kept: grading reads the cell
        space = vars(sys.modules.get(getattr(thing, "__module__", ""), object))
        space = {**space, **getattr(thing, "__globals__", {})}
        names = {name: value.__name__ for name, value in space.items() if inspect.ismodule(value)}
        uses = forbidden_uses(source, forbidden, names | imported_names([source]))
        if uses:
            found.append(uses[0].sentence)
    return found


def names_used(tree: ast.AST) -> set[str]:
    """The bare names that a piece of code reads."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _meant(node: ast.AST, names: dict[str, str]) -> list[tuple[str, str]]:
    """(as written, full name) of what a node refers to or imports."""
    if isinstance(node, ast.Import):
        return [(alias.name, alias.name) for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [(alias.name, f"{node.module}.{alias.name}") for alias in node.names]
    if isinstance(node, ast.Name) and node.id in names:
        return [(node.id, names[node.id])]
    if isinstance(node, ast.Attribute):
        path, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            path.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in names:
            return [(".".join([inner.id, *path]), ".".join([names[inner.id], *path]))]
    return []


_ONE_AT_A_TIME = threading.Lock()


def parse(source: str) -> ast.Module | None:
    """The syntax tree, or None where the text is no Python or too deeply nested to be read.

    One at a time: in Python 3.11 two threads that parse at once can both fail with a SystemError.
    """
    try:
        with _ONE_AT_A_TIME:
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None

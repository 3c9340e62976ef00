"""What an exercise may not use because it would do the exercise: found in the source, by the name it really has.

``F.scaled_dot_product_attention`` is found under any alias that an import statement gives it, and in helper functions
that the student's answer calls. What is put together at run time (``getattr(F, "scaled_" + ...)``) is found when
it runs (`course.checks.guards`).
"""

import ast
import inspect
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from course.outline import LONGEST_FULL_NAME, Outline, Unit, outline

Outlined = Callable[[str], Outline | None]

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

# What checks the rest. No answer needs it; it is forbidden in every exercise.
MACHINERY = ("course.checks", "course.grading")


@dataclass(frozen=True)
class Use:
    """A forbidden name in a student's code: as written, in which line of its cell (0: not known), inside what."""

    written: str
    line: int
    inside: str  # the function or class at the top of the cell, or what else is given a meaning there, or ""
    name: str = ""  # in full
    place: str = "your cell"

    @property
    def sentence(self) -> str:
        where = f"Line {self.line} of {self.place}" if self.line else "Your code"
        where += f" (inside {self.inside})" if self.inside else ""
        if covered(self.name, MACHINERY):
            return f"{where} uses {self.written}, which checks your work: no answer needs it. Leave it alone."
        if self.name == "torch.nn.Module":
            return f"{where} uses {self.written}, which does this exercise for you: count by the formula, no module is built."
        return (
            f"{where} uses {self.written}, which does this exercise for you. "
            "Write it yourself, from tensor operations and plain layers."
        )


def covered(name: str, forbidden: Iterable[str]) -> bool:
    """Whether a full name is forbidden: what lies inside a forbidden module or class is forbidden with it."""
    return any(name == other or name.startswith(f"{other}.") for other in forbidden)


def imported_names(sources: Iterable[str], outlined: Outlined = outline) -> dict[str, str]:
    """What the import statements of some cells call what: {"F": "torch.nn.functional", "nn": "torch.nn"}.

    Other names for the same (``G = F``) count as if they were imported.

    Args:
        outlined: what reads a source. The grader gives one that reads in another process, with limits.
    """
    names: dict[str, str] = {}
    outlines = [read for read in map(outlined, sources) if read]
    for read in outlines:
        names.update(read.imports)
    for read in outlines:
        for name, path in read.aliases:
            root = path.partition(".")[0]
            if root in names:
                names[name] = full_name(path, names)[: 2 * LONGEST_FULL_NAME]
    return names


def full_name(written: str, names: dict[str, str]) -> str:
    """In full what is written, where its root is one of `imported_names`; else as it is.

    A student's function may be called by a name that an import gave; no forbidden one is longer than what is kept.
    """
    root, dot, rest = written.partition(".")
    return names[root] + dot + rest[:LONGEST_FULL_NAME] if root in names else written


def forbidden_uses(
    source: str, forbidden: Iterable[str], names: dict[str, str], outlined: Outlined = outline
) -> list[Use]:
    """Where a cell uses a forbidden name, in the order of its lines; nothing if it is no Python.

    Args:
        source: the cell.
        forbidden: full names; what lies inside them is forbidden with them.
        names: `imported_names` of all cells that run before, and of this one.
        outlined: as for `imported_names`.
    """
    read = outlined(source)
    found = uses_in(read.units if read else (), forbidden, names)
    return sorted({use.line: use for use in reversed(list(found))}.values(), key=lambda use: use.line)


def uses_in(units: Iterable[Unit], forbidden: Iterable[str], names: dict[str, str]) -> Iterator[Use]:
    """Where statements use a forbidden name, in their order; see `forbidden_uses`."""
    exact = frozenset((*forbidden, *MACHINERY))  # as `covered`, for many names
    within = tuple(f"{name}." for name in exact)
    for unit in units:
        for written, full, line in unit.found:
            if full is None:
                if written.partition(".")[0] not in names:
                    continue
                full = full_name(written, names)
            if full in exact or full.startswith(within):
                yield Use(written, line, unit.kind, full)


def sentences(objects: Iterable, forbidden: Iterable[str]) -> list[str]:
    """The same for functions and classes that are there: one sentence for each whose source uses a forbidden name."""
    found = []
    for thing in objects:
        source = _source(thing)
        if source is None:
            continue  # made at run time, or in a shell that keeps no source: the guards see what it runs
        space = vars(sys.modules.get(getattr(thing, "__module__", ""), object))
        space = {**space, **getattr(thing, "__globals__", {})}
        names = {name: value.__name__ for name, value in space.items() if inspect.ismodule(value)}
        uses = forbidden_uses(source, forbidden, names | imported_names([source]))
        if uses:
            found.append(uses[0].sentence)
    return found


def _source(thing) -> str | None:
    """Of a function or class, None if there is none to be had."""
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError, SyntaxError):
        return _source_of_typed_class(thing) if isinstance(thing, type) else None


def _source_of_typed_class(thing: type) -> str | None:
    """Of a class from a cell, which has no file: what stands around its methods, whose cell is known."""
    codes = [getattr(getattr(value, "__func__", value), "__code__", None) for value in vars(thing).values()]
    for code in filter(None, codes):
        lines = linecache.getlines(code.co_filename)
        try:
            tree = ast.parse("".join(lines))
        except SyntaxError:  # a cell with commands of IPython
            tree = ast.Module([], [])
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.ClassDef)
                and node.name == thing.__name__
                and node.lineno <= code.co_firstlineno <= node.end_lineno
            ):
                return textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno]))
    return None

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
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from course.outline import LONGEST_FULL_NAME, Outline, outline

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
    inside: str  # the function or class at the top of the cell, or ""
    name: str = ""  # in full

    @property
    def sentence(self) -> str:
        where = f"Line {self.line} of your cell" if self.line else "Your code"
        where += f" (inside {self.inside})" if self.inside else ""
        if covered(self.name, MACHINERY):
            return f"{where} uses {self.written}, which checks your work: no answer needs it. Leave it alone."
        return (
            f"{where} uses {self.written}, which does this exercise for you. "
            "Write it yourself, from tensor operations and plain layers."
        )


def covered(name: str, forbidden: Iterable[str]) -> bool:
    """Whether a full name is forbidden: what lies inside a forbidden module or class is forbidden with it."""
    return any(name == other or name.startswith(f"{other}.") for other in forbidden)


def imported_names(sources: Iterable[str], outlined: Outlined = outline) -> dict[str, str]:
    """What the import statements of some cells call what: {"F": "torch.nn.functional", "nn": "torch.nn"}.

    Args:
        outlined: what reads a source. The grader gives one that reads in another process, with limits.
    """
    names = {}
    for source in sources:
        read = outlined(source)
        names.update(read.imports if read else ())
    return names


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
    exact = frozenset((*forbidden, *MACHINERY))  # as `covered`, for many names
    within = tuple(f"{name}." for name in exact)
    uses: dict[int, Use] = {}  # one a line is enough
    for inside, found in read.mentions if read else ():
        for written, full, line in found:
            if full is None:
                root, dot, rest = written.partition(".")
                if root not in names:
                    continue
                # A student's function may be called by a name that an import gave; no forbidden one is longer.
                full = names[root] + dot + rest[:LONGEST_FULL_NAME]
            if line not in uses and (full in exact or full.startswith(within)):
                uses[line] = Use(written, line, inside, full)
    return sorted(uses.values(), key=lambda use: use.line)


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

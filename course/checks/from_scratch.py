"""What an exercise may not use because it would do the exercise: found in the source, by the name it really has.

``F.scaled_dot_product_attention`` is found under any alias that an import statement gives it, and in helper functions
that the student's answer calls. What is put together at run time (``getattr(F, "scaled_" + ...)``) is found where
grading runs it (`course.grading.guards`).
"""

import inspect
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


def imported_names(sources: Iterable[str], outlined: Outlined = outline) -> dict[str, str]:
    """What the import statements of some cells call what: {"F": "torch.nn.functional", "nn": "torch.nn"}.

    Args:
        outlined: says what a source says; the grader has it done elsewhere.
    """
    names = {}
    for source in sources:
        told = outlined(source)
        names.update(told.imports if told else ())
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
    told = outlined(source)
    exact = frozenset(forbidden)  # as `covered`, for many names
    within = tuple(f"{name}." for name in exact)
    uses: dict[int, Use] = {}  # one a line is enough
    for inside, found in told.mentions if told else ():
        for written, full, line in found:
            if full is None:
                root, dot, rest = written.partition(".")
                if root not in names:
                    continue
                # A student's function may be called by a name that an import gave; no forbidden one is longer.
                full = names[root] + dot + rest[:LONGEST_FULL_NAME]
            if line not in uses and (full in exact or full.startswith(within)):
                uses[line] = Use(written, line, inside)
    return sorted(uses.values(), key=lambda use: use.line)


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

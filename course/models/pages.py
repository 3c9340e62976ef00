"""What a person reads about a model: its source on one page, its figures, and how it differs from another."""

import csv
import html
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from itertools import zip_longest
from pathlib import Path

import torch

from course.drawing import Picture, image_html
from course.models.count import count_macs, count_parameters
from course.models.drawn import architecture
from course.models.registry import Registered, create_model, entry, input_shape, list_models
from course.models.source import source_of
from course.models.spec import Alternate, Part, PerStage, Spec, Whole, written
from course.steps import Step, silent

TABLE = Path(__file__).with_name("references.csv")
UNITS = {"M": 1e6, "G": 1e9}


class Page(str):
    """Text that a notebook shows as it is; Python source in colour, below a drawing of what it is the source of."""

    python = False
    draw: Callable[[], Picture] | None = None

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        if not self.python:
            # A page outside JupyterLab may set text in cells in proportional letters, and columns would not align.
            return f'<pre style="font-family: monospace">{html.escape(self)}</pre>'
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        drawing = self.draw and self.draw()
        above = image_html(drawing.png(), drawing.alt) if drawing else ""
        return above + highlight(self, PythonLexer(), HtmlFormatter(noclasses=True, nobackground=True))


def show(name: str, **spec_overrides) -> Page:
    """The source of a model on one page: the parts it is made of, in forward order, then how they are put together.

    The page runs as it stands in an empty notebook and leaves the network in ``model``. Docstrings are cut to their
    first line.

    Raises:
        ValueError: as ``create_model``.
    """
    page = Page(source_of(name, **spec_overrides))
    page.python, page.draw = True, lambda: architecture(name, **spec_overrides)
    return page


def compare(a: str, b: str, sizes: bool = True) -> Page:
    """What differs between two models' specs, one line a difference, and what that does to their sizes.

    Args:
        sizes: whether they are counted, which takes longer than the rest.

    Raises:
        ValueError: no such model.
    """
    left, right = entry(a), entry(b)
    lines = [("", a, b)]
    lines += [(what, written(x), written(y)) for what, x, y in _differences(left.spec, right.spec)]
    if len(lines) == 1:
        lines.append(("(the specs are equal)", "", ""))
    if sizes:
        (params_a, macs_a), (params_b, macs_b) = _sizes(left), _sizes(right)
        lines.append(("parameters", f"{params_a / 1e6:.2f}M", f"{params_b / 1e6:.2f}M"))
        lines.append(("multiply-adds", f"{macs_a / 1e9:.2f}G", f"{macs_b / 1e9:.2f}G"))
    return Page(_columns(lines, widest=40))  # three columns of a page that is 1000 pixels wide


def _differences(a: Spec, b: Spec, where: str = "") -> list[tuple[str, object, object]]:
    """(where, left, right) for everything that differs, as far down as the two have the same form."""
    if type(a) is not type(b) or isinstance(a, Whole):
        if isinstance(a, Whole) and isinstance(b, Whole):
            return _differences_of_parts(a.part, b.part, a.part.cls.__name__)
        return [("layout", _layout(a), _layout(b)), *_of_different_layouts(a, b)]
    found = []
    for f in fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if x != y:
            found += _differences_of_parts(x, y, f.name)
    return found


def _differences_of_parts(x, y, where: str) -> list[tuple[str, object, object]]:
    if x == y:
        return []
    if isinstance(x, Part) and isinstance(y, Part) and x.cls is y.cls:
        left, right = dict(x.options), dict(y.options)
        names = dict.fromkeys([*left, *right])
        return [
            (f"{where}.{n}", left.get(n, _DEFAULT), right.get(n, _DEFAULT))
            for n in names
            if left.get(n, _DEFAULT) != right.get(n, _DEFAULT)
        ]
    if isinstance(x, Alternate) and isinstance(y, Alternate) and len(x.parts) == len(y.parts):
        found = [d for p, q in zip(x.parts, y.parts) for d in _differences_of_parts(p, q, where)]
        return list(dict.fromkeys(found))
    return [(where, x, y)]


class _Default:
    def __repr__(self) -> str:
        return "(default)"


_DEFAULT = _Default()


class _Word(str):
    def __repr__(self) -> str:
        return str(self)


def _layout(spec: Spec) -> _Word:
    return _Word(f"{spec.part.cls.__name__}, written plainly" if isinstance(spec, Whole) else type(spec).__name__)


def _of_different_layouts(a: Spec, b: Spec) -> list[tuple[str, object, object]]:
    names = dict.fromkeys(f.name for s in (a, b) if not isinstance(s, Whole) for f in fields(s))
    absent = _Word("–")
    pairs = [(n, getattr(a, n, absent), getattr(b, n, absent)) for n in names]
    nothing = (absent, None)
    return [d for n, x, y in pairs if not (x in nothing and y in nothing) for d in _differences_of_parts(x, y, n)]


@dataclass(frozen=True)
class Card:
    """A model's figures: counted here, printed in the paper, printed in the decks.

    The decks are five sets of lecture slides on vision transformers, whose figures this course checks.

    Attributes:
        name, paper: the model and whom to read.
        parameters, macs: counted on our model at `input`, the shape of one image or clip.
        on_the_map: stem, token mixer, channel mixer, layout, head, as far as the model has them.
        paper_says, decks_say: figures as printed, each with its verdict.
        notes: what the table of references adds.
    """

    name: str
    paper: str
    parameters: int
    macs: int
    input: tuple[int, ...]
    on_the_map: dict[str, str]
    paper_says: tuple[str, ...]
    decks_say: tuple[str, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[tuple[str, str]]:
        size = "×".join(map(str, self.input))
        return [
            ("model", self.name),
            ("paper", self.paper),
            *self.on_the_map.items(),
            ("ours", f"{self.parameters / 1e6:.2f}M parameters, {self.macs / 1e9:.2f}G multiply-adds at {size}"),
            *[("the paper says", text) for text in self.paper_says],
            *[("the decks say", text) for text in self.decks_say],
            *[("note", text) for text in self.notes],
        ]

    def __str__(self) -> str:
        return _columns(self.lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(a)}</th><td style='text-align:left'>{html.escape(b)}</td></tr>"
            for a, b in self.lines()
        )
        drawing = architecture(self.name)
        return f"<table>{rows}</table>{image_html(drawing.png(), drawing.alt)}"


def card(name: str) -> Card:
    """The figures of a model, and which printed ones are wrong and why.

    Raises:
        ValueError: no such model.
    """
    found = entry(name)
    return card_of(found, *_sizes(found))


def card_of(found: Registered, parameters: int, macs: int) -> Card:
    """The card of a model that was counted already."""
    name = found.name
    rows = [r for r in _table() if r["model"] == name and not r["overrides"]]
    decks, notes = [], []
    for row in rows:
        printed = " ".join(filter(None, [row["deck_params"], row["deck_macs"]]))
        if printed:
            remark = "" if row["agrees"] in ("yes", "n/a") else f" ({row['agrees']})"
            decks.append(f"{printed}: {_verdict(printed, parameters, macs)}{remark}")
        notes += [row["note"]] if row["note"] else []
    return Card(
        name=name,
        paper=found.paper,
        parameters=parameters,
        macs=macs,
        input=input_shape(name),
        on_the_map=on_the_map(found.spec),
        paper_says=(f"{found.says}: {_verdict(found.says, parameters, macs)}",) if found.says else (),
        decks_say=tuple(dict.fromkeys(decks)),
        notes=tuple(dict.fromkeys(notes)),
    )


def _verdict(printed: str, parameters: int, macs: int) -> str:
    """Whether printed figures are ours: to within the rounding of the last digit, 3 %, or not."""
    words = []
    for figure in printed.split():
        ours = parameters if figure[-1] == "M" else macs
        digits = figure[:-1].partition(".")[2]
        step = UNITS[figure[-1]] * 10 ** -len(digits)
        off = float(figure[:-1]) * UNITS[figure[-1]] / ours - 1
        if abs(off * ours) <= step:
            words.append(f"{figure} agrees")
        elif abs(off) < 0.03:
            words.append(f"{figure} is {off:+.1%} off, rounding or counting")
        else:
            words.append(
                f"{figure} is WRONG for this network: {off:+.0%}, it has {ours / UNITS[figure[-1]]:.1f}{figure[-1]}"
            )
    return "; ".join(words)


def on_the_map(spec: Spec) -> dict[str, str]:
    """The five coordinates of a spec, as names of parts; a model written plainly has only its layout."""
    if isinstance(spec, Whole):
        return {"layout": _layout(spec)}

    def names(choice) -> str:
        if isinstance(choice, PerStage):
            return " / ".join(dict.fromkeys(map(names, choice.values)))
        if isinstance(choice, Alternate):
            return " / ".join(dict.fromkeys(map(names, choice.parts)))
        return choice.cls.__name__ if choice else "–"

    return {
        "stem": names(spec.stem),
        "token mixer": names(spec.token_mixer),
        "channel mixer": names(spec.channel_mixer),
        "layout": type(spec).__name__,
        "head": names(spec.head),
    }


def table(names: list[str], step: Step = silent) -> str:
    """The map as text: one line a model, its coordinates and its size."""
    lines = [("model", "parameters", "MACs", "stem", "token mixer", "channel mixer", "layout", "head")]
    for number, name in enumerate(names, start=1):
        step("counting the models", number, len(names))
        found = entry(name)
        parameters, macs = _sizes(found)
        place = on_the_map(found.spec)
        coordinates = [place.get(key, "") for key in ("stem", "token mixer", "channel mixer", "layout", "head")]
        lines.append((name, f"{parameters / 1e6:.2f}M", f"{macs / 1e9:.2f}G", *coordinates))
    return _columns(lines)


def neighbours(name: str, among: list[str], most: int = 2) -> list[str]:
    """Of the models `among`, those whose specs differ from this one's in least, nearest first; none of one that stands alone.

    Raises:
        ValueError: no such model.
    """
    spec = entry(name).spec
    near = []
    for other in among:
        theirs = entry(other).spec
        if other == name or type(theirs) is not type(spec):
            continue
        if isinstance(spec, Whole) and theirs.part.cls is not spec.part.cls:
            continue
        near.append((len(_differences(spec, theirs)), other))
    return [other for _, other in sorted(near)[:most]]


def _sizes(found: Registered) -> tuple[int, int]:
    with torch.device("meta"):
        model = create_model(found.name)
    return count_parameters(model), count_macs(model, 1, *input_shape(found.name))


@cache
def _table() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


class _Wrapper(textwrap.TextWrapper):
    """Lines may also end behind an opening bracket: a spec has few spaces."""

    wordsep_simple_re = re.compile(r"(\s+|(?<=\())")


def _columns(lines: list[tuple[str, ...]], widest: int = 70) -> str:
    """Text in columns; a long cell goes on below itself."""
    wrapped = [[_Wrapper(widest, break_on_hyphens=False).wrap(cell) or [""] for cell in line] for line in lines]
    widths = [max(len(row) for cell in column for row in cell) for column in zip(*wrapped)]
    rows = [row for line in wrapped for row in zip_longest(*line, fillvalue="")]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def models_command(
    name: str | None, other: str | None, step: Step = silent, keep: Callable[[str], None] | None = None
) -> int:
    """``course models``: the table, or one card and its source, or what differs between two.

    `keep` is given the table, to be remembered.
    """
    try:
        if name and other:
            print(compare(name, other))
        elif name:
            print(card(name), show(name), sep="\n\n")
        else:
            text = f"{table(list_models(), step)}\n\nWhere each is taught and proved: notebooks/COVERAGE.md"
            print(text)
            if keep:
                keep(text)
    except ValueError as error:
        print(f"course models: {error}", file=sys.stderr)
        return 2
    return 0

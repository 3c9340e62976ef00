"""A model as a picture: its stages from left to right, below them what one block is made of."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor, nn

from course.drawing import GREY, PAGE, Picture, new_figure
from course.models.backbone import Block, Residual
from course.models.registry import create_model, input_shape_of
from course.models.spec import Alternate, Part, Whole, value_at

FILL = {
    "data": "#ffffff",
    "stem": "#dce9f5",
    "stage": "#fde9cc",
    "head": "#dff0e8",
    "norm": "#eeeeee",
    "mixer": "#fde9cc",
}
EDGE = "#444444"
TEXT = 8.0  # points
IN_A_ROW = 7  # boxes of the flow
MOST_BLOCKS = 4  # kinds of block that are drawn
HALVES_IN_A_ROW = 2  # steps of a block
MOST_STEPS = 18  # boxes of a model that is no sequence of blocks


@dataclass(frozen=True)
class _Box:
    """One step of the flow: what it is, in one to three lines, and the shape that leaves it."""

    kind: str
    lines: tuple[str, ...]
    shape: str


@dataclass(frozen=True)
class _Half:
    """One step of a block."""

    part: str
    norm: str
    is_residual: bool


def architecture(name: str, **spec_overrides) -> Picture:
    """Draw a model: every step with the shape of what leaves it (without the batch), then its kinds of block.

    A model that is no sequence of blocks is drawn as the modules that its input goes through, in order. Where a step
    takes the frames of a clip one by one, its shape counts them: 16 × 768.

    Raises:
        ValueError: as ``create_model``.
    """
    with torch.device("meta"):
        model = create_model(name, **spec_overrides).eval()
    with shapes_noted(model) as shapes, torch.no_grad():
        model(torch.zeros(1, *input_shape_of(model), device="meta"))
    return drawing_of(name, model, shapes)


def drawing_of(name: str, model: nn.Module, shapes: dict[nn.Module, str]) -> Picture:
    """The drawing of a model that was run once within `shapes_noted`."""
    if isinstance(model.spec, Whole):
        boxes, blocks = _flow_of_modules(model, shapes), _blocks_in(model)
    else:
        boxes, blocks = _flow_of_stages(model, shapes), _kinds_of_block(model.spec, model)
    return _drawn(name, boxes, blocks)


@contextmanager
def shapes_noted(model: nn.Module) -> Iterator[dict[nn.Module, str]]:
    """For each module that is called meanwhile, in order, the shape of what it gives, the batch left out."""
    shapes: dict[nn.Module, str] = {}

    def note(module: nn.Module, _inputs, output) -> None:
        shapes.setdefault(module, _shape(output))

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        yield shapes
    finally:
        for hook in hooks:
            hook.remove()


# -- what there is to draw


def _shape(output) -> str:
    if isinstance(output, Tensor):
        alone = output.shape[:1] == (1,)  # of one image; else what was put into the batch counts
        return " × ".join(map(str, output.shape[alone:]))
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return "; ".join(filter(None, map(_shape, output[:2]))) + ("; …" if len(output) > 2 else "")
    return ""


def _flow_of_stages(model: nn.Module, shapes: dict[nn.Module, str]) -> list[_Box]:
    spec = model.spec
    boxes = [_Box("data", ("image",), " × ".join(map(str, input_shape_of(model))))]
    boxes.append(_Box("stem", ("stem", spec.stem.cls.__name__), shapes[model.stem]))
    for i, stage in enumerate(model.stages):
        lines = [f"stage {i + 1}"] if len(model.stages) > 1 else []
        then = ""
        if not isinstance(stage.entry, nn.Identity):
            lines.append(f"{type(stage.entry).__name__},")
            then = "then "
        count = len(stage.blocks)
        lines.append(f"{then}{count} block{'s' * (count > 1)}")
        boxes.append(_Box("stage", tuple(lines), shapes[stage]))
    boxes.append(_Box("head", ("head", spec.head.cls.__name__), shapes[model.head]))
    return boxes


def _flow_of_modules(model: nn.Module, shapes: dict[nn.Module, str]) -> list[_Box]:
    """The children of the model in the order in which they, or what is in them, are first called."""
    order = {module: i for i, module in enumerate(shapes)}
    steps = []  # (when it is first called, its box)
    for name, child in model.named_children():
        for modules in _alike(child, shapes):
            called = [module for each in modules for module in each.modules() if module in order]
            if called:
                times = (f"× {len(modules)}",) if len(modules) > 1 else ()
                inside = sum(isinstance(module, Block) for module in modules[0].modules())
                if inside > 1:
                    times += (f"× {inside}" if name == "blocks" else f"{inside} blocks",)
                last = modules[-1] if modules[-1] in order else max(called, key=order.__getitem__)
                kind = type(modules[0]).__name__
                lines = (name.replace("_", " "), *([kind] if kind != "Sequential" or not times else []), *times)
                steps.append((min(order[module] for module in called), _Box("stage", lines, shapes[last])))
    shape = input_shape_of(model)
    boxes = [_Box("data", ("clip" if len(shape) == 4 else "image",), " × ".join(map(str, shape)))]
    boxes += [box for _, box in sorted(steps, key=lambda step: step[0])]
    return boxes if len(boxes) <= MOST_STEPS else [*boxes[: MOST_STEPS - 2], _Box("data", ("…",), ""), boxes[-1]]


def _alike(child: nn.Module, shapes: dict[nn.Module, str]) -> list[list[nn.Module]]:
    """A module alone; of a list, its entries, those that follow each other and give the same shape together."""
    if not isinstance(child, nn.ModuleList):
        return [[child]]
    runs = groupby(child, key=lambda module: (type(module), shapes.get(module, "")))
    return [list(run) for _, run in runs]


def _kinds_of_block(spec, model: nn.Module) -> dict[tuple[_Half, ...], str]:
    """Each kind of block with where it stands."""
    kinds: dict[tuple[_Half, ...], dict[str, list[int]]] = {}  # in which stages which of the blocks
    for s, stage in enumerate(model.stages):
        in_turn = max(len(choice.parts) if isinstance(choice, Alternate) else 1 for choice in _choices(spec, s))
        for i in range(len(stage.blocks)):
            halves = tuple(half for half in (_half(choice, spec, s, i) for choice in _choices(spec, s)) if half)
            blocks = f"blocks {i % in_turn + 1}, {i % in_turn + 1 + in_turn}, …\nof " if in_turn > 1 else "a block of\n"
            stages = kinds.setdefault(halves, {}).setdefault(blocks, [])
            if s + 1 not in stages:
                stages.append(s + 1)
    alone = len(model.stages) == 1
    return {
        halves: "; ".join(
            "every block" if alone and "a block" in blocks else blocks + _stages(found)
            for blocks, found in places.items()
        )
        for halves, places in list(kinds.items())[:MOST_BLOCKS]
    }


def _blocks_in(model: nn.Module) -> dict[tuple[_Half, ...], str]:
    """The same of a model that is no sequence of blocks, whose modules may have some."""
    kinds: dict[tuple[_Half, ...], list[str]] = {}
    for name, child in model.named_children():
        for block in child.modules():
            if isinstance(block, Block):
                halves = tuple(half for mixer in (block.token_mixer, block.channel_mixer) for half in _built(mixer))
                places = kinds.setdefault(halves, [])
                if name not in places:
                    places.append(name)
    return {
        halves: "every block" if len(kinds) == 1 else f"a block of\n{', '.join(places)}"
        for halves, places in list(kinds.items())[:MOST_BLOCKS]
        if halves
    }


def _built(mixer: nn.Module) -> list[_Half]:
    """The steps of a mixer that is one step, or several in turn. One of its own kind has its name and no more."""
    steps = mixer if isinstance(mixer, nn.Sequential) else [mixer]
    return [
        _Half(
            "\n".join(filter(None, (type(step.branch).__name__, step.branch.extra_repr()))),
            "" if isinstance(step.norm, nn.Identity) else type(step.norm).__name__,
            True,
        )
        if isinstance(step, Residual)
        else _Half(type(step).__name__, "", False)
        for step in steps
        if not isinstance(step, nn.Identity)
    ]


def _choices(spec, stage: int) -> list:
    return [value_at(choice, stage) for choice in (spec.token_mixer, spec.channel_mixer)]


def _stages(numbers: list[int]) -> str:
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"stages {numbers[0]}–{numbers[-1]}"
    return f"stage{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _half(choice, spec, stage: int, index: int) -> _Half | None:
    differs: set[str] = set()
    if isinstance(choice, Alternate):
        options = [dict(part.options) for part in choice.parts]
        differs = {name for each in options for name in each if any(other.get(name) != each[name] for other in options)}
        choice = choice.parts[index % len(choice.parts)]
    if choice is None:
        return None
    is_residual = getattr(choice.cls, "residual", True)
    norm = spec.norm.cls.__name__ if spec.norm and is_residual else ""
    return _Half(_named(choice, differs), norm, is_residual)


def _named(part: Part, options: set[str]) -> str:
    given = [f"{name}={value}" for name, value in part.options if name in options]
    return part.cls.__name__ + (f"\n{', '.join(given)}" if given else "")


# -- the drawing


def _drawn(name: str, boxes: list[_Box], blocks: dict[tuple[_Half, ...], str]) -> Picture:
    rows = [boxes[i : i + IN_A_ROW] for i in range(0, len(boxes), IN_A_ROW)]
    lines = [
        (halves[i : i + HALVES_IN_A_ROW], places if i == 0 else "… and then")
        for halves, places in blocks.items()
        for i in range(0, len(halves), HALVES_IN_A_ROW)
    ]
    heights = [1.15] * len(rows) + [0.95] * len(lines)
    figure, axes = new_figure(
        _in_words(name, boxes, blocks), len(heights), 1, PAGE, sum(heights), height_ratios=heights
    )
    for number, (axis, row) in enumerate(zip(axes[:, 0], rows)):
        _draw_flow(axis, row, goes_on=number + 1 < len(rows))
    for axis, (halves, places) in zip(axes[len(rows) :, 0], lines):
        _draw_block(axis, halves, places)
    return figure


def _in_words(name: str, boxes: list[_Box], blocks: dict[tuple[_Half, ...], str]) -> str:
    steps = [", ".join(line.removesuffix(",") for line in box.lines) for box in boxes]
    flow = "; ".join(f"{step} gives {box.shape}" for step, box in zip(steps, boxes))
    kinds = "; ".join(
        f"{where}: "
        + ", ".join(
            f"{half.norm + ', ' * bool(half.norm)}{half.part}{', added' if half.is_residual else ''}" for half in halves
        )
        for halves, where in blocks.items()
    )
    return f"{name}: {flow}. {kinds}".replace("\n", " ")


def _canvas(axis: Axes, width: float, height: float) -> None:
    axis.set(xlim=(0, width), ylim=(0, height))
    axis.axis("off")


def _box(axis: Axes, x: float, y: float, width: float, height: float, text: str, fill: str) -> None:
    """Centred at (x, y); the first line is bold."""
    shape = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0.02,rounding_size=0.06",
        fc=fill,
        ec=EDGE,
        lw=0.8,
    )
    axis.add_patch(shape)
    axis.text(x, y, text, ha="center", va="center", fontsize=TEXT, linespacing=1.25)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, color=EDGE, lw=0.9, shrinkA=0, shrinkB=0)
    )


def _draw_flow(axis: Axes, boxes: list[_Box], goes_on: bool) -> None:
    width, step = PAGE, PAGE / IN_A_ROW
    _canvas(axis, width, 1.15)
    for i, box in enumerate(boxes):
        x = (i + 0.5) * step
        text = "\n".join(_folded(line) for line in box.lines)
        _box(axis, x, 0.68, step - 0.26, 0.78, text, FILL[box.kind])
        axis.text(x, 0.12, box.shape, ha="center", va="center", fontsize=TEXT, color=GREY)
        if i + 1 < len(boxes) or goes_on:
            _arrow(axis, (x + (step - 0.26) / 2 + 0.03, 0.68), (x + (step + 0.26) / 2 - 0.03, 0.68))


def _folded(text: str, longest: int = 13) -> str:
    """A long name on two lines, cut at a space or before a capital."""
    cuts = [i for i in range(1, len(text)) if text[i - 1] == " " or (text[i].isupper() and text[i - 1].islower())]
    if len(text) <= longest or "\n" in text or not cuts:
        return text
    cut = min(cuts, key=lambda i: abs(i - len(text) / 2))
    return f"{text[:cut].rstrip()}\n{text[cut:]}"


def _draw_block(axis: Axes, halves: tuple[_Half, ...], where: str) -> None:
    _canvas(axis, PAGE, 0.95)
    axis.text(0.05, 0.36, where, ha="left", va="center", fontsize=TEXT)
    x, y = 1.25, 0.36
    for half in halves:
        begin = x
        for text, kind, wide in ((half.norm, "norm", 0.95), (half.part, "mixer", 1.55)):
            if text:
                _arrow(axis, (x, y), (x + 0.22, y))
                _box(axis, x + 0.24 + wide / 2, y, wide, 0.44, _folded(text), FILL[kind])
                x += 0.28 + wide
        if half.is_residual:
            _arrow(axis, (x, y), (x + 0.16, y))
            axis.text(x + 0.25, y, "⊕", ha="center", va="center", fontsize=12)
            above = y + 0.42
            axis.plot(
                [begin + 0.1, begin + 0.1, x + 0.25], [y, above, above], color=EDGE, lw=0.9, solid_joinstyle="round"
            )
            _arrow(axis, (x + 0.25, above), (x + 0.25, y + 0.1))
            x += 0.34
    _arrow(axis, (x, y), (x + 0.22, y))

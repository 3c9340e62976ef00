"""The figures of lecture 15, sections 1 to 5: masks, the maps of a decoder, and ladders of maps with skip connections."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from course.drawing import (
    BLUE,
    GREY,
    PAGE,
    PALE,
    RED,
    SKY,
    SMALL,
    Picture,
    empty_figure,
    new_figure,
    show_image,
    without_axes,
)

KINDS = ("#f2f2f2", SKY, RED, "#4b3b8f", "#8c6d1f")  # the ground first; no colour that means something elsewhere
RIM = {"boxstyle": "round,pad=0,rounding_size=0.06"}
TEXT = "#333333"


def masks(
    images: Tensor, panels: Mapping[str, Tensor], names: Sequence[str], boxes: Sequence[Tensor] | None = None
) -> Picture:
    """Images in a row, and under each of them masks in colour.

    Args:
        images: (B, C, H, W).
        panels: what a mask is -> class ids (B, H, W); 0 is the ground.
        names: of the classes, at most 5.
        boxes: for each image (M, 4), centre x, centre y, width and height in units of the image's sides, to draw on it.

    Raises:
        ValueError: there are no masks for every image, or more classes than colours.
    """
    if any(len(panel) != len(images) for panel in panels.values()):
        raise ValueError(f"every row needs a mask for each of the {len(images)} images")
    if len(names) > len(KINDS):
        raise ValueError(f"there are colours for {len(KINDS)} classes, not for {len(names)}")
    alt = f"{len(images)} images, and under each: {', '.join(panels)}"
    side = PAGE / (len(images) + 1)
    rows = 1 + len(panels)
    figure, axes = new_figure(alt, rows, len(images), PAGE, side * rows + 0.4)
    colours = ListedColormap(KINDS[: len(names)])
    for axis, image in zip(axes[0], images):
        show_image(axis, image)
    for axis, own in zip(axes[0], boxes or []):
        _draw_boxes(axis, own, images.shape[-2:])
    for row, (name, panel) in zip(axes[1:], panels.items()):
        for axis, mask in zip(row, panel):
            axis.imshow(mask.numpy(), cmap=colours, vmin=-0.5, vmax=len(names) - 0.5, interpolation="nearest")
            without_axes(axis)
        row[0].set_ylabel(name, fontsize=SMALL + 0.5, rotation=0, ha="right", va="center")
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=colour, edgecolor=GREY, linewidth=0.5) for colour in KINDS[: len(names)]
    ]
    figure.legend(handles, names, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=len(names))
    return figure


def _draw_boxes(axis: Axes, boxes: Tensor, size: tuple[int, int]) -> None:
    height, width = size
    for x, y, w, h in boxes.tolist():
        left, top = width * (x - w / 2) - 0.5, height * (y - h / 2) - 0.5
        for colour, line in (("black", 3.0), ("white", 1.4)):
            frame = Rectangle((left, top), width * w, height * h, fill=False, edgecolor=colour, linewidth=line)
            axis.add_patch(frame)


def map_sizes(paths: Mapping[str, Sequence[tuple[int, int]]], steps: Mapping[str, Sequence[str]]) -> Picture:
    """The maps that decoders go through, from left to right: squares as large as the maps are, with their channels.

    Args:
        paths: decoder -> (side, channels) of each map.
        steps: decoder -> what leads from each map to the next.

    Raises:
        ValueError: a decoder has not one step between any two maps.
    """
    for name, maps in paths.items():
        if len(steps.get(name, ())) != len(maps) - 1:
            raise ValueError(f"{name!r} goes through {len(maps)} maps, so it has {len(maps) - 1} steps")
    alt = "; ".join(
        f"{name}: " + " → ".join(f"{side} × {side} × {channels}" for side, channels in maps)
        for name, maps in paths.items()
    )
    most, widest = max(map(len, paths.values())), max(side for maps in paths.values() for side, _ in maps)
    figure, axes = new_figure(
        f"the maps of {len(paths)} decoders. {alt}", len(paths), 1, PAGE, 12.5 / most * len(paths) * 0.57
    )
    for axis, (name, maps) in zip(axes[:, 0], paths.items()):
        for i, (side, channels) in enumerate(maps):
            drawn = 0.18 + 0.72 * side / widest
            axis.add_patch(
                Rectangle((2 * i - drawn / 2, -drawn / 2), drawn, drawn, facecolor="#cfe3f1", edgecolor=BLUE)
            )
            label = f"{side} × {side} × {channels}"
            axis.text(2 * i, -0.52, label, ha="center", va="top", fontsize=SMALL, color=TEXT)
            if i:
                axis.annotate("", (2 * i - 0.52, 0), (2 * i - 1.48, 0), arrowprops={"arrowstyle": "-|>", "color": GREY})
                axis.text(2 * i - 1, 0.1, steps[name][i - 1], ha="center", va="bottom", fontsize=SMALL, color=TEXT)
        axis.text(-1.45, 0, name, ha="left", va="center", fontsize=9.5, weight="bold")
        axis.set(xlim=(-1.5, 2 * most - 1.3), ylim=(-0.8, 0.62), aspect="equal")
        axis.axis("off")
    return figure


def ladder(
    down: Sequence[str], up: Sequence[str], *, across: str, bottom: str, downwards: str, upwards: str, last: str
) -> Picture:
    """Maps that become coarser on the way down, at the left, and finer again on the way up, at the right.

    Args:
        down: what stands at each level, the finest first.
        up: likewise on the other side; one less, if the coarsest map is `bottom`'s own.
        across: what leads from the left to the right of a level: the skip connection.
        bottom: what is done with the coarsest map.
        downwards, upwards: what leads from a level to the next.
        last: what becomes of the finest map.

    Raises:
        ValueError: the way up has not one level less than the way down.
    """
    if len(up) != len(down) - 1:
        raise ValueError(f"{len(down)} maps on the way down need {len(down) - 1} on the way up, not {len(up)}")
    alt = f"""on the way down, by {downwards}: {", ".join(down)}; the last goes through {bottom}; on the way up, by
        {upwards}: {", ".join(reversed(up))}; each level of the way down is handed across by {across}; at the end
        {last}"""
    depth = len(down)
    figure = empty_figure(alt, PAGE, 0.72 * depth + 0.5)
    axis = figure.subplots()
    for level, text in enumerate(down):
        _box(axis, 1.6, -level, text, "#cfe3f1")
        if level:
            _arrow(axis, (1.6, -level + 0.75), (1.6, -level + 0.25), GREY)
    for level, text in enumerate(up):
        _box(axis, 7.0, -level, text, "#fbe3b5")
        _arrow(axis, (2.85, -level), (5.75, -level), BLUE)
        axis.text(4.3, -level + 0.06, across, ha="center", va="bottom", fontsize=SMALL, color=BLUE)
        _arrow(axis, (7.0, -level - 0.75), (7.0, -level - 0.25), GREY)
    _box(axis, 7.0, 1 - depth, bottom, PALE)
    _arrow(axis, (2.85, 1 - depth), (5.75, 1 - depth), GREY)
    axis.text(1.7, -0.5, downwards, ha="left", va="center", fontsize=SMALL, color=TEXT)
    axis.text(7.1, -0.5, upwards, ha="left", va="center", fontsize=SMALL, color=TEXT)
    _arrow(axis, (8.25, 0), (9.0, 0), GREY)
    axis.text(9.05, 0, last, ha="left", va="center", fontsize=SMALL, color=TEXT)
    axis.set(xlim=(0.2, 10.6), ylim=(0.6 - depth, 0.45))
    axis.axis("off")
    return figure


def _box(axis: Axes, x: float, y: float, text: str, fill: str) -> None:
    axis.add_patch(FancyBboxPatch((x - 1.2, y - 0.23), 2.4, 0.46, facecolor=fill, edgecolor=GREY, linewidth=0.8, **RIM))
    axis.text(x, y, text, ha="center", va="center", fontsize=SMALL + 0.5)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour})

"""The figures of lecture 11: the block whose token mixer is exchanged, what mixers do, what they cost."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from course.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PAGE,
    PALE,
    RED,
    SKY,
    SMALL,
    Picture,
    empty_figure,
    new_figure,
)

RIM = {"boxstyle": "round,pad=0,rounding_size=0.06"}


def block(mixers: Sequence[str]) -> Picture:
    """A MetaFormer block from left to right, with an empty frame for its token mixer, and what can be put there.

    Args:
        mixers: names of token mixers, at least one.

    Raises:
        ValueError: there is no token mixer to put there.
    """
    if not mixers:
        raise ValueError("a block needs at least one token mixer to choose from")
    alt = f"""a MetaFormer block: x goes through norm and token mixer and is added to the result, by a residual
        connection; then through norm and channel mixer, with a second residual connection. The block is the same for
        every mixer; the token mixer can be {", ".join(mixers)}"""
    figure = empty_figure(alt, PAGE, 2.45)
    axis = figure.subplots()
    _draw_line(axis)
    step = PAGE / len(mixers)
    for number, name in enumerate(mixers):
        x = step * (number + 0.5)
        axis.add_patch(
            FancyBboxPatch(
                (x - 0.45 * step, -1.45),
                0.9 * step,
                0.42,
                facecolor="white",
                edgecolor=RED,
                linewidth=1.5,
                **RIM,
            )
        )
        axis.text(x, -1.24, name, ha="center", va="center", fontsize=8.5)
        axis.plot([x, 2.65], [-1.0, -0.34], color=RED, linewidth=0.8, zorder=0)
    axis.set(xlim=(-0.1, PAGE + 0.1), ylim=(-1.55, 0.95))
    axis.axis("off")
    return figure


def _draw_line(axis: Axes) -> None:
    """From left to right what every block has, with an empty frame for the token mixer, and two residual connections."""
    centres = {
        "norm": 1.25,
        "token\nmixer": 2.65,
        "norm ": 5.0,
        "channel mixer\n(MLP)": 6.5,
    }
    axis.plot([0.25, 8.1], [0, 0], color=GREY, linewidth=1.2, zorder=1)
    for name, x in centres.items():
        hole = name.startswith("token")
        width = 0.8 if name.startswith("norm") else 1.35
        if hole:
            colours = {"facecolor": "white", "edgecolor": RED, "linestyle": (0, (4, 2)), "linewidth": 2}
        else:
            filled = PALE if name.startswith("norm") else "#cfe3f1"
            colours = {"facecolor": filled, "edgecolor": GREY, "linewidth": 1}
        axis.add_patch(FancyBboxPatch((x - width / 2, -0.28), width, 0.56, zorder=2, **RIM, **colours))
        axis.text(x, 0, name.strip(), ha="center", va="center", fontsize=9, zorder=3)
    for start, end in ((0.55, 3.85), (4.15, 7.6)):  # the residual connections
        axis.plot([start, start, end, end], [0, 0.62, 0.62, 0], color=BLUE, linewidth=1.5, zorder=1)
        axis.plot(end, 0, "o", color="white", markeredgecolor=BLUE, markersize=13, zorder=3)
        axis.text(end, -0.005, "+", color=BLUE, ha="center", va="center", fontsize=12, zorder=4)
        axis.text((start + end) / 2, 0.68, "residual connection", color=BLUE, ha="center", va="bottom", fontsize=SMALL)
    axis.text(0.15, 0, "x", ha="right", va="center", fontsize=11, style="italic")
    axis.annotate("", (8.35, 0), (8.05, 0), arrowprops={"arrowstyle": "-|>", "color": GREY})


def windows_averaged(x: Tensor, means: Tensor, places: Sequence[tuple[int, int]], size: int = 3) -> Picture:
    """A map of numbers with windows around a few places, and the map of averages with those in colour.

    Args:
        x, means: (H, W) each.
        places: (row, column) of the middle of each window.
        size: the side of a window, odd; at the border, what lies outside is cut off.

    Raises:
        ValueError: the maps differ in shape, or a place is not on them.
    """
    if x.ndim != 2 or x.shape != means.shape:
        raise ValueError(f"both are maps (H, W) of one shape, not {tuple(x.shape)} and {tuple(means.shape)}")
    height, width = x.shape
    outside = [place for place in places if not (0 <= place[0] < height and 0 <= place[1] < width)]
    if outside:
        raise ValueError(f"{outside[0]} is no place of a map of {height}×{width}")
    reach = size // 2
    said = "; ".join(f"at row {i}, column {j}: {means[i, j]:.1f}" for i, j in places)
    figure, ((left, right),) = new_figure(
        f"a map and its averages over {size} by {size} places. {said}", 1, 2, 6.6, 2.5
    )
    for axis, table, title in ((left, x, "x"), (right, means, f"average of the {size}×{size} neighbours")):
        axis.imshow(
            table.numpy(),
            cmap="Blues",
            vmin=0,
            vmax=1.6 * max(float(x.max()), 1e-12),
            interpolation="nearest",
        )
        for (i, j), value in np.ndenumerate(table.numpy()):
            axis.text(
                j,
                i,
                f"{value:.0f}" if value == round(value) else f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=8,
            )
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    for number, (i, j) in enumerate(places):
        colour = (RED, GREEN, ORANGE)[number % 3]
        top, side = max(i - reach, 0), max(j - reach, 0)
        bottom, end = min(i + reach, height - 1), min(j + reach, width - 1)
        inset = 0.06
        left.add_patch(
            Rectangle(
                (side - 0.5 + inset, top - 0.5 + inset),
                end - side + 1 - 2 * inset,
                bottom - top + 1 - 2 * inset,
                fill=False,
                edgecolor=colour,
                linewidth=2.5,
            )
        )
        right.add_patch(Rectangle((j - 0.44, i - 0.44), 0.88, 0.88, fill=False, edgecolor=colour, linewidth=2.5))
    return figure


def reach(patterns: Mapping[str, Tensor]) -> Picture:
    """On which places the middle of a map depends: a panel a mixer, the darker the more, and how many places.

    Args:
        patterns: name -> (H, W), not negative; 0 says that the middle does not depend on that place.

    Raises:
        ValueError: a pattern is not a map, or has negative numbers.
    """
    for name, pattern in patterns.items():
        if pattern.ndim != 2 or pattern.min() < 0:
            raise ValueError(f"{name!r} must be a map (H, W) of numbers from 0 up")
    heard = {name: int((pattern > 1e-6 * pattern.max()).sum()) for name, pattern in patterns.items()}
    side = PAGE / len(patterns)
    places_in_all = next(iter(patterns.values())).numel()
    alt = f"on how many of {places_in_all} places the middle token depends. " + "; ".join(
        f"{name}: {count}" for name, count in heard.items()
    )
    figure, axes = new_figure(alt, 1, len(patterns), PAGE, side + 0.5)
    for axis, (name, pattern) in zip(axes.flat, patterns.items()):
        strength = (pattern / pattern.max().clamp(min=1e-12)).sqrt()  # so that small values stay visible
        axis.imshow(strength.numpy(), cmap="Blues", vmin=0, vmax=1.15, interpolation="nearest")
        height, width = pattern.shape
        axis.add_patch(
            Rectangle((width // 2 - 0.5, height // 2 - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=1.8)
        )
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.6)
        places = "1 place" if heard[name] == 1 else f"{heard[name]} places"
        axis.set_title(f"{name}\n{places}", fontsize=8.5)
    return figure


def ratios(measured: Mapping[str, float], *, against: str, counted: Mapping[str, float] | None = None) -> Picture:
    """Ratios as bars from 1 to both sides, on an axis of doublings: how much longer than something else.

    No number is written into the picture, since they differ from run to run and from machine to machine.

    Args:
        measured: name -> ratio, above 0.
        against: what 1 stands for.
        counted: name -> ratio of multiply-adds, drawn as a diamond beside the bar.

    Raises:
        ValueError: a ratio is not above 0.
    """
    counted = counted or {}
    if any(not ratio > 0 for ratio in (*measured.values(), *counted.values())):
        raise ValueError("ratios are above 0")
    by_count = {name: f" (multiply-adds: {counted[name]:.2g})" if name in counted else "" for name in measured}
    alt = "; ".join(f"{name} takes {ratio:.2g} times as long{by_count[name]}" for name, ratio in measured.items())
    figure, ((axis,),) = new_figure(f"time against {against}: {alt}", 1, 1, 6.6, 0.85 + 0.27 * len(measured))
    for y, (name, ratio) in enumerate(measured.items()):
        axis.barh(y, math.log2(ratio), height=0.7, color=RED if ratio > 1 else GREEN)
        if name in counted:
            axis.plot(math.log2(counted[name]), y, "D", color=BLUE, markeredgecolor="white", markersize=8)
    shown = [math.log2(ratio) for ratio in (*measured.values(), *counted.values())]
    low, high = min(-1, math.floor(min(shown))), max(1, math.ceil(max(shown)))
    step = max(1, -(-(high - low) // 7))
    ticks = range(-step * (-low // step), high + 1, step)
    axis.axvline(0, color="black", linewidth=1)
    axis.set_yticks(range(len(measured)), list(measured))
    axis.set_xticks(list(ticks), [f"× {2**tick}" if tick >= 0 else f"× 1/{2**-tick}" for tick in ticks])
    axis.grid(axis="x", color=PALE, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.set(xlim=(low - 0.15, high + 0.15), ylim=(len(measured) - 0.4, -0.6))
    marks = "   (blue diamond: ratio of multiply-adds)" if counted else ""
    axis.set_xlabel(f"time, against {against}{marks}", fontsize=8.5)
    return figure


def one_thing_changed(body: Mapping[str, float], mixer: Mapping[str, float], *, xlabel: str) -> Picture:
    """Accuracies of one network in which one thing was changed: above, its block without a part; below, its mixer.

    Args:
        body, mixer: what was changed -> accuracy in per cent, 0 to 100; written with one decimal.

    Raises:
        ValueError: an accuracy is not between 0 and 100.
    """
    every = {**body, **mixer}
    if not all(0 <= accuracy <= 100 for accuracy in every.values()):
        raise ValueError("accuracies are in per cent, from 0 to 100")
    said = [", ".join(f"{name} {accuracy:.1f}" for name, accuracy in each.items()) for each in (body, mixer)]
    alt = f"{xlabel}. A part of the block left out: {said[0]}. The mixer exchanged: {said[1]}"
    figure, ((axis,),) = new_figure(alt, 1, 1, 6.4, 0.95 + 0.27 * len(every))
    for y, (name, accuracy) in enumerate(every.items()):
        y += 0.6 * (name in mixer)
        axis.barh(y, accuracy, height=0.8, color=RED if name in body else SKY)
        axis.text(accuracy + 1.5, y, f"{accuracy:.1f}", va="center", fontsize=SMALL)
    places = [y + 0.6 * (name in mixer) for y, name in enumerate(every)]
    axis.set_yticks(places, list(every))
    axis.set(xlim=(0, 106), ylim=(places[-1] + 0.6, -0.6), xlabel=xlabel)
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in (RED, SKY)]
    names = ["a part of the block left out", "the token mixer exchanged"]
    figure.legend(handles, names, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=2)
    return figure


def families(
    points: Mapping[str, Mapping[str, tuple[float, float]]], *, above: Sequence[str] = (), xlabel: str, ylabel: str
) -> Picture:
    """Models of several families in one plane, those of a family joined.

    Args:
        points: family -> model -> (x, y); x on a logarithmic axis.
        above: the models to write above their points, where the place below is taken.
    """
    alt = "; ".join(
        f"{family}: " + ", ".join(f"{model} {x:g} {y:g}" for model, (x, y) in models.items())
        for family, models in points.items()
    )
    figure, ((axis,),) = new_figure(f"{ylabel} over {xlabel}. {alt}", 1, 1, 6.4, 3.6)
    dashes = itertools.cycle(("-", "--", "-.", ":"))
    free = itertools.cycle(("black", RED, SKY, "#8c564b"))  # they mean nothing elsewhere
    colours = [GREEN if family.startswith("ViT") else next(free) for family in points]
    for (family, models), colour, dash in zip(points.items(), colours, dashes):
        axis.plot(*zip(*models.values()), dash, marker="o", markersize=4, color=colour, label=family)
        for model, place in models.items():
            offset, side = ((-4, 3), "bottom") if model in above else ((4, -2), "top")
            axis.annotate(model, place, offset, textcoords="offset points", fontsize=SMALL, va=side)
    every = [x for models in points.values() for x, _ in models.values()]
    ticks = [tick for tick in (0.5, 1, 2, 4, 8, 16, 32) if min(every) / 2 <= tick <= 2 * max(every)]
    axis.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlim(0.85 * min(every), 1.35 * max(every))
    axis.legend(frameon=False, fontsize=8)
    return figure

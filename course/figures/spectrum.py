"""The figures of lecture 9: where networks stand between ViT and CNN, what their stages hold, how heads collect."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Rectangle

from course.drawing import (
    BLUE,
    GREY,
    MEANINGS,
    ORANGE,
    PAGE,
    PALE,
    RED,
    SMALL,
    Picture,
    colours_of,
    empty_figure,
    new_figure,
)

RIM = {"boxstyle": "round,pad=0,rounding_size=0.08"}
KINDS = {"A": ("attention", MEANINGS["ViT"]), "C": ("convolution", MEANINGS["CNN"])}


def tint(share: float) -> np.ndarray:
    """A light colour between ViT's green (0) and CNN's purple (1)."""
    ends = np.array([to_rgb(MEANINGS["ViT"]), to_rgb(MEANINGS["CNN"])])
    return 1 - 0.45 * (1 - ((1 - share) * ends[0] + share * ends[1]))


def spectrum(networks: Mapping[str, Mapping[str, tuple[str, float]]]) -> Picture:
    """A table of networks and axes, each cell coloured by where it stands between ViT (green) and CNN (purple).

    Args:
        networks: network -> axis -> (what it has, from 0, as a ViT, to 1, as a CNN); all with the same axes.

    Raises:
        ValueError: networks with different axes, or a place that is not between 0 and 1.
    """
    axes_of = {tuple(row) for row in networks.values()}
    if len(axes_of) != 1:
        raise ValueError("every network has one word for each of the same axes")
    (names,) = axes_of
    if not all(0 <= share <= 1 for row in networks.values() for _, share in row.values()):
        raise ValueError("a place on the spectrum is between 0 (ViT) and 1 (CNN)")
    said = "; ".join(f"{name}: {', '.join(word for word, _ in row.values())}" for name, row in networks.items())
    alt = f"where networks stand between ViT and CNN, by {', '.join(names)}. {said}"
    height = 0.36
    figure = empty_figure(alt, PAGE, height * (len(networks) + 1) + 0.45)
    axis = figure.subplots()
    for i, name in enumerate(names):
        axis.text(i + 0.5, -0.35, name, ha="center", va="center", fontsize=9, weight="bold")
    for y, (name, row) in enumerate(networks.items()):
        axis.text(-0.06, y + 0.5, name, ha="right", va="center", fontsize=9)
        for x, (word, share) in enumerate(row.values()):
            axis.add_patch(Rectangle((x, y), 1, 1, facecolor=tint(share), edgecolor="white", linewidth=2))
            axis.text(x + 0.5, y + 0.5, word, ha="center", va="center", fontsize=SMALL)
    axis.set(xlim=(-0.9, len(names)), ylim=(len(networks), -0.7))
    axis.axis("off")
    handles = [Rectangle((0, 0), 1, 1, facecolor=tint(share)) for share in (0, 0.5, 1)]
    figure.legend(
        handles,
        ["as in ViT", "between, or both", "as in a CNN"],
        frameon=False,
        fontsize=SMALL,
        loc="outside lower center",
        ncols=3,
    )
    return figure


def stages(networks: Mapping[str, Sequence[tuple[str, int, int]]]) -> Picture:
    """The stages of networks from left to right, green where they attend and purple where they convolve.

    Args:
        networks: network -> (``"A"``, attention, or ``"C"``, convolution; places a side; blocks) of each stage.

    Raises:
        ValueError: another letter, or a network without stages.
    """
    for name, row in networks.items():
        if not row or {kind for kind, _, _ in row} - set(KINDS):
            raise ValueError(f"{name}: stages are named by {' and '.join(KINDS)}, and there is at least one")
    said = "; ".join(
        f"{name}: "
        + ", ".join(f"{blocks} blocks of {KINDS[kind][0]} on {side} by {side}" for kind, side, blocks in row)
        for name, row in networks.items()
    )
    figure = empty_figure(f"stages, from the first to the last. {said}", PAGE, 0.44 * len(networks) + 0.7)
    axis = figure.subplots()
    most = max(sum(blocks for _, _, blocks in row) + 0.25 * len(row) for row in networks.values())
    for y, (name, row) in enumerate(networks.items()):
        axis.text(-0.3, y, name, ha="right", va="center", fontsize=9)
        x = 0.0
        for kind, side, blocks in row:
            box = (x, y - 0.38), blocks, 0.76
            axis.add_patch(Rectangle(*box, facecolor=tint(float(kind == "C")), edgecolor=GREY, linewidth=0.8))
            for line in range(1, blocks):
                axis.plot([x + line] * 2, [y - 0.38, y + 0.38], color="white", linewidth=1)
            paper = {"facecolor": tint(float(kind == "C")), "edgecolor": "none", "pad": 1}
            axis.text(x + blocks / 2, y, f"{side}²", ha="center", va="center", fontsize=SMALL, bbox=paper)
            x += blocks + 0.25
    axis.set(xlim=(-0.2 * most, most), ylim=(len(networks) - 0.5, -0.6))
    axis.axis("off")
    handles = [Rectangle((0, 0), 1, 1, facecolor=tint(share)) for share in (0, 1)]
    names = ["attention", "convolution"]
    figure.legend(handles, names, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=2)
    return figure


def heads(depth: int = 3) -> Picture:
    """Four ways to collect one vector from many tokens: where the collector joins, and what it weighs by.

    Args:
        depth: blocks that are drawn.
    """
    alt = f"""four heads behind {depth} blocks. Class token: a learned token runs through all blocks beside the patches, and
        is read at the end. Mean: all patches with equal weights behind the last block. Attention pooling: one learned
        query weighs the patches behind the last block. Class attention: a class token joins behind the last block,
        and asks the patches and itself in blocks in which only it changes"""
    figure = empty_figure(alt, PAGE, 3.7)
    axis = figure.subplots()
    rows = ("class token", "mean", "attention\npooling", "class\nattention")
    for y, name in zip((3, 2, 1, 0), rows):
        axis.text(0.9, y, name, ha="right", va="center", fontsize=9)
        _trunk(axis, y, depth)
    end = 1.5 + 1.5 * depth
    axis.plot([1.1, end], [3.27, 3.27], color=RED, linewidth=1.8, zorder=3)  # the class token, through all blocks
    _square(axis, 1.1, 3.27, RED)
    _collect(axis, end, 3, "read the class token", RED, from_patches=False)
    _collect(axis, end, 2, "equal weights", BLUE)
    _square(axis, end + 0.3, 1.34, RED)
    axis.text(end + 0.5, 1.37, "learned query", fontsize=SMALL, va="center")
    _collect(axis, end, 1, "softmax weights, once", ORANGE)
    _square(axis, end + 0.3, 0.34, RED)
    axis.text(end + 0.5, 0.37, "class token joins here", fontsize=SMALL, va="center")
    _collect(axis, end, 0, "softmax weights,\na block or two", ORANGE)
    axis.text(1.1, 3.62, "patches in", fontsize=SMALL, ha="center", va="center", color=BLUE)
    axis.text(end + 3.45, 3.62, "one vector", fontsize=SMALL, ha="center", va="center")
    axis.set(xlim=(-0.3, end + 4.0), ylim=(-0.5, 3.8))
    axis.axis("off")
    return figure


def _trunk(axis: Axes, y: float, depth: int) -> None:
    """Patches as three lines through so many blocks."""
    for line in (-0.16, 0, 0.16):
        axis.plot([1.1, 1.5 + 1.5 * depth], [y + line] * 2, color=BLUE, linewidth=1, zorder=1)
    for index in range(depth):
        box = FancyBboxPatch(
            (1.5 + 1.5 * index, y - 0.36), 1.15, 0.74, facecolor=PALE, edgecolor=GREY, linewidth=0.8, zorder=2, **RIM
        )
        axis.add_patch(box)
        axis.text(2.07 + 1.5 * index, y - 0.02, "block", ha="center", va="center", fontsize=SMALL, zorder=4)


def _square(axis: Axes, x: float, y: float, colour: str) -> None:
    axis.plot(x, y, "s", color=colour, markersize=7, markeredgecolor="black", markeredgewidth=0.6, zorder=5)


def _collect(axis: Axes, x: float, y: float, text: str, colour: str, *, from_patches: bool = True) -> None:
    """From the end of the trunk to one vector."""
    lines = (-0.16, 0.0, 0.16) if from_patches else (0.27,)
    for line in lines:
        axis.plot([x, x + 0.35, x + 0.75], [y + line, y + line, y], color=colour, linewidth=1.3, zorder=1)
    axis.text(x + 0.85, y - 0.02, text, ha="left", va="center", fontsize=SMALL)
    axis.plot([x + 3.05, x + 3.3], [y, y], color=GREY, linewidth=1.2)
    axis.plot(x + 3.45, y, "o", color="black", markersize=6)


def over_rates(panels: Mapping[str, Mapping[str, Mapping[float, tuple[float, ...]]]], *, chance: float) -> Picture:
    """Accuracy over the learning rate, a panel an optimiser, a line a network in a band over its seeds.

    Args:
        panels: optimiser -> network -> learning rate -> accuracy 0..1 of each seed.
        chance: accuracy 0..1 of guessing.
    """
    said = "; ".join(
        f"{optimiser}, {name}: " + ", ".join(f"{_range(seeds)} at {rate:g}" for rate, seeds in line.items())
        for optimiser, lines in panels.items()
        for name, line in lines.items()
    )
    alt = f"accuracy in per cent over the learning rate. {said}"
    figure, axes = new_figure(alt, 1, len(panels), PAGE, 2.7, sharey=True)
    for axis, (optimiser, lines) in zip(axes.flat, panels.items()):
        for (name, line), colour, dash in zip(lines.items(), colours_of(lines), ("-", "--", "-.", ":")):
            rates = list(line)
            seeds = 100 * np.array([line[rate] for rate in rates])  # (rates, seeds)
            axis.fill_between(rates, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.25, linewidth=0)
            axis.plot(rates, seeds.mean(axis=1), dash, marker="o", markersize=4, color=colour, label=name)
        axis.set(xscale="log", title=optimiser, xlabel="highest learning rate", ylim=(0, 105))
        axis.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axis.set_xticks([], minor=True)
        axis.axhline(100 * chance, color=GREY, linestyle=":", linewidth=1)
    axes[0, 0].set_ylabel("accuracy, %")
    axes[0, 0].annotate(
        "chance",
        (0, 100 * chance),
        (3, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        fontsize=SMALL,
        color=GREY,
    )
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=len(names))
    return figure


def _range(seeds: Sequence[float]) -> str:
    """``"70–73"``, in per cent, or the one number where they are the same."""
    return "–".join(dict.fromkeys(f"{100 * float(end):.0f}" for end in (min(seeds), max(seeds))))

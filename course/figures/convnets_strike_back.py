"""The figures of lecture 12: what the steps from ResNet to ConvNeXt change, and what large kernels look like."""

from collections.abc import Mapping, Sequence

from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from course.drawing import GREY, PAGE, PALE, PURPLE, SKY, SMALL, Picture, colours_of, new_figure


def steps(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    notes: Mapping[str, str],
    *,
    xlabel: str,
    level: tuple[str, float] | None = None,
) -> Picture:
    """One row a step: a dot for each series at its mean, a line from its lowest to its highest value, and a note.

    Args:
        rows: step -> series -> values in per cent.
        notes: step -> what stands at the right of its row.
        level: the name and the value of a vertical line.

    Raises:
        ValueError: there is no step, or one has no note.
    """
    if not rows or set(rows) != set(notes):
        raise ValueError("every step has its values and its note, and there is at least one")
    names = list(dict.fromkeys(series for row in rows.values() for series in row))
    colours = dict(zip(names, colours_of(names)))
    alt = "; ".join(
        f"{step} ({notes[step]}): " + ", ".join(f"{series} {_mean(values):.4g} %" for series, values in row.items())
        for step, row in rows.items()
    )
    beside = f"; {level[0]} {level[1]:g} %" if level else ""
    figure, ((axis,),) = new_figure(f"{xlabel}, step by step. {alt}{beside}", 1, 1, 7.0, 0.9 + 0.27 * len(rows))
    for series in names:
        here = [(y, row[series]) for y, row in enumerate(rows.values()) if series in row]
        axis.plot([_mean(values) for _, values in here], [y for y, _ in here], color=colours[series], linewidth=0.8)
        for y, values in here:
            axis.plot([min(values), max(values)], [y, y], color=colours[series], linewidth=2.5)
            axis.plot(_mean(values), y, "o", color=colours[series], markersize=6, markeredgecolor="white")
    for y, step in enumerate(rows):
        axis.annotate(
            notes[step], (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=SMALL, color="black"
        )
    if level:
        axis.axvline(level[1], color=GREY, linestyle="--", linewidth=1, zorder=0)
        axis.annotate(
            level[0],
            (level[1], 1),
            (0, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL,
        )
    axis.set_yticks(range(len(rows)), list(rows))
    axis.grid(axis="y", color=PALE, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set(ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    if len(names) > 1:
        handles = [Line2D([], [], color=colours[name], marker="o", label=name) for name in names]
        figure.legend(handles=handles, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=len(names))
    return figure


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def blocks(kinds: Mapping[str, Sequence[tuple[int, int, int, bool]]]) -> Picture:
    """Blocks from top to bottom, side by side: a box a convolution, as wide as it has channels at its two ends.

    Args:
        kinds: name -> the convolutions of a block in order, (channels in, channels out, kernel, whether depthwise).

    Raises:
        ValueError: there is no block, or one of them has no convolution.
    """
    if not kinds or not all(kinds.values()):
        raise ValueError("a block has at least one convolution")
    alt = "; ".join(
        f"{name}: " + ", ".join(f"{_kernel(k, thin)} from {before} to {after}" for before, after, k, thin in convs)
        for name, convs in kinds.items()
    )
    deepest = max(map(len, kinds.values()))
    figure, axes = new_figure(f"blocks by their channels. {alt}", 1, len(kinds), PAGE, 0.5 + 0.75 * deepest)
    widest = max(max(before, after) for convs in kinds.values() for before, after, *_ in convs)
    for axis, (name, convs) in zip(axes.flat, kinds.items()):
        for row, (before, after, kernel, thin) in enumerate(convs):
            corners = [(-before / 2, -row), (before / 2, -row), (after / 2, -row - 0.7), (-after / 2, -row - 0.7)]
            axis.fill(*zip(*corners), facecolor=PURPLE if thin else SKY, edgecolor="black", linewidth=0.8)
            said = f"{_kernel(kernel, thin)}\n{before}→{after}"
            axis.text(0.54 * widest, -row - 0.35, said, va="center", fontsize=9)
        axis.set(xlim=(-0.55 * widest, 1.0 * widest), ylim=(-deepest + 0.2, 0.15))
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    return figure


def _kernel(size: int, depthwise: bool) -> str:
    return f"{'d' * depthwise}{size}×{size}"


def stripes(kernel_size: int, small: int) -> Picture:
    """Which places of a k×k neighbourhood two stripes, k×s and s×k, and a square, s×s, look at.

    Raises:
        ValueError: s is not between 1 and k.
    """
    if not 1 <= small <= kernel_size:
        raise ValueError(f"a stripe is 1 to {kernel_size} places wide, and not {small}")
    k, s = kernel_size, small
    weights = 2 * k * s + s * s
    seen = 2 * k * s - s * s
    share = f"{weights} weights in place of {k * k:,}: {100 * weights / k**2:.0f} %"
    alt = f"{k}×{s}, {s}×{k} and {s}×{s} kernels on one another see {seen:,} of {k * k:,} places with {share}"
    figure, axes = new_figure(alt, 1, 4, PAGE, 2.5)
    shapes = {f"{k} × {s}": (k, s), f"{s} × {k}": (s, k), f"{s} × {s}": (s, s)}
    for axis, (name, sizes) in zip(axes.flat, (*shapes.items(), ("their sum", ()))):
        axis.add_patch(Rectangle((0, 0), k, k, facecolor="white", edgecolor=GREY, linewidth=1))
        for tall, wide in [sizes] if sizes else shapes.values():
            corner = ((k - wide) / 2, (k - tall) / 2)
            axis.add_patch(Rectangle(corner, wide, tall, facecolor=PURPLE, alpha=0.55, linewidth=0))
        axis.set(xlim=(-1, k + 1), ylim=(-1, k + 1), aspect="equal")
        axis.set_title(name, fontsize=9)
        axis.axis("off")
    figure.supxlabel(share, fontsize=9)
    return figure

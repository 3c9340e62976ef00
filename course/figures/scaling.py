"""The figures of lecture 13: a law through measured runs, a ladder of changes, class attention, routing, a roofline."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from course.drawing import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    PAGE,
    PALE,
    RED,
    SKY,
    SMALL,
    Picture,
    colours_of,
    empty_figure,
    new_figure,
    show_image,
)

RIM = {"boxstyle": "round,pad=0,rounding_size=0.08"}
LIGHT_BLUE, LIGHT_ORANGE = "#cfe3f1", "#fbe8c4"


def law(
    errors: Mapping[int, Mapping[int, Sequence[float]]],
    parameters: Mapping[int, int],
    fitted: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Picture:
    """Measured errors and a law for them, on logarithmic axes: over images for each width, over parameters for each count.

    Args:
        errors: width -> images -> errors 0..1, one a seed.
        parameters: width -> how many parameters a network of that width has.
        fitted: (parameters, images) -> error; drawn as lines.

    Raises:
        ValueError: an error is 0, which no logarithmic axis shows.
    """
    widths, counts = list(errors), list(next(iter(errors.values())))
    if min(min(seeds) for row in errors.values() for seeds in row.values()) <= 0:
        raise ValueError("an error of 0 has no place on a logarithmic axis")
    mean = {width: {count: float(np.mean(errors[width][count])) for count in counts} for width in widths}
    said = "; ".join(
        f"width {width}: " + ", ".join(f"{100 * mean[width][count]:.3g} % at {count} images" for count in counts)
        for width in widths
    )
    figure, ((left, right),) = new_figure(
        f"test error, mean of the seeds, with the law as lines. {said}", 1, 2, PAGE, 3.2
    )
    size = np.array([parameters[width] for width in widths], dtype=float)
    fine_counts = np.geomspace(min(counts), max(counts), 50)
    fine_sizes = np.geomspace(size.min(), size.max(), 50)
    for width, colour in zip(widths, COLOURS):
        left.plot(fine_counts, fitted(np.full(50, float(parameters[width])), fine_counts), color=colour, linewidth=1)
        for count in counts:
            seeds = errors[width][count]
            left.plot([count] * len(seeds), seeds, "o", color=colour, markersize=4, label=None)
        left.plot([], [], "o-", color=colour, markersize=4, label=f"width {width}")
    for count, colour in zip(counts, COLOURS[3:]):
        right.plot(fine_sizes, fitted(fine_sizes, np.full(50, float(count))), color=colour, linewidth=1)
        for width in widths:
            seeds = errors[width][count]
            right.plot([parameters[width]] * len(seeds), seeds, "s", color=colour, markersize=4)
        right.plot([], [], "s-", color=colour, markersize=4, label=f"{count} images")
    for axis, xlabel, ticks in ((left, "training images", counts), (right, "parameters", size)):
        axis.set(xscale="log", yscale="log", xlabel=xlabel)
        axis.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        axis.set_xticks([], minor=True)
        shown = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if tick > 0.6 * min(map(min, _rows(mean)))]
        axis.set_yticks(shown, [f"{100 * tick:g} %" for tick in shown])
        axis.set_yticks([], minor=True)
        axis.legend(frameon=False, fontsize=SMALL, loc="lower left")
    left.set_ylabel("test error")
    return figure


def _rows(table: Mapping[int, Mapping[int, float]]) -> list[list[float]]:
    return [list(row.values()) for row in table.values()]


def ladder(steps: Mapping[str, float], *, start: float, xlabel: str) -> Picture:
    """One change a step, from above: the accuracy after it, green where it rose and red where it fell.

    Args:
        steps: what was changed -> accuracy in per cent.
        start: where the axis begins, below all of them.

    Raises:
        ValueError: an accuracy lies below the start of the axis.
    """
    values = list(steps.values())
    if min(values) < start:
        raise ValueError(f"the axis begins at {start:g}, above {min(values):g}")
    alt = "; ".join(f"{name}: {value:.1f}" for name, value in steps.items())
    figure, ((axis,),) = new_figure(f"{xlabel}, one change a step. {alt}", 1, 1, 6.6, 0.8 + 0.27 * len(steps))
    for y, value in enumerate(values):
        before = values[y - 1] if y else value
        axis.barh(y, min(before, value) - start, left=start, height=0.75, color=SKY)
        change = GREEN if value > before else RED
        axis.barh(y, abs(value - before), left=min(before, value), height=0.75, color=change)
        axis.text(max(before, value) + 0.25, y, f"{value:.1f}", va="center", fontsize=SMALL)
    axis.set_yticks(range(len(steps)), list(steps))
    axis.set(xlim=(start, max(values) + 2), ylim=(len(steps) - 0.5, -0.6), xlabel=xlabel)
    return figure


def class_attention() -> Picture:
    """Where the class token is: in ViT in all blocks, in CaiT only in two layers at the end, in which the patches stay."""
    alt = """ViT, above: the class token stands beside the patches from the first block on, and every block changes both. CaiT,
        below: the blocks see patches only; then two layers of class attention, in which the class token asks all tokens
        and the patches are not changed. Behind both stands the head, which reads the class token"""
    figure = empty_figure(alt, PAGE, 3.2)
    axis = figure.subplots()
    for y, name, late in ((3.1, "ViT", False), (0.9, "CaiT", True)):
        axis.text(-0.15, y, name, ha="right", va="center", fontsize=10)
        for x in range(5):
            last = late and x >= 3
            label = "class\nattention" if last else f"block {x + 1}" if x < 2 else ("…" if not last else "")
            label = "block L" if (x == 4 and not late) or (x == 2 and late) else label
            axis.add_patch(
                FancyBboxPatch(
                    (1.35 + 1.55 * x, y - 0.72),
                    1.05,
                    1.44,
                    facecolor=LIGHT_ORANGE if last else LIGHT_BLUE,
                    edgecolor=GREY,
                    zorder=2,
                    **RIM,
                )
            )
            height = y - 0.82 if last else y  # below the box, in which arrows run
            va = "top" if last else "center"
            axis.text(1.875 + 1.55 * x, height, label, ha="center", va=va, fontsize=9, zorder=3)
        start = 5.5 if late else 0.55
        _arrow(axis, (start, y + 0.5), (9.3, y + 0.5), RED)
        _arrow(axis, (0.55, y - 0.4), (9.3 if not late else 8.55, y - 0.4), BLUE)
        axis.text(start - 0.05, y + 0.5, "class", ha="right", va="center", fontsize=SMALL + 0.5, color="#a04000")
        axis.text(0.5, y - 0.4, "patches", ha="right", va="center", fontsize=SMALL + 0.5)
        axis.text(9.4, y + 0.5, "head", ha="left", va="center", fontsize=9)
        if late:
            for x in (6.3, 7.85):  # the patches are only read
                axis.annotate(
                    "", (x, y + 0.45), (x - 0.12, y - 0.38), arrowprops={"arrowstyle": "-|>", "color": BLUE}, zorder=4
                )
    axis.set(xlim=(-0.8, 10.0), ylim=(-0.6, 4.1))
    axis.axis("off")
    return figure


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axis.plot(*zip(start, end), color=colour, linewidth=1.4, zorder=1)
    axis.annotate("", end, (end[0] - 0.3, end[1]), arrowprops={"arrowstyle": "-|>", "color": colour}, zorder=1)


def routing(images: Tensor, chosen: Tensor, loads: Mapping[str, Sequence[float]]) -> Picture:
    """Above, images with the number of the expert of each patch; below, which share of the choices each expert gets.

    Args:
        images: (n, C, H, W).
        chosen: (n, h, w): the number of the expert that the patch there goes to first.
        loads: name -> shares of the experts, which sum to 1.

    Raises:
        ValueError: the shares of a name do not sum to 1.
    """
    for name, shares in loads.items():
        if abs(sum(shares) - 1) > 1e-3:
            raise ValueError(f"the shares of {name!r} sum to {sum(shares):.3f}, and not to 1")
    experts = len(next(iter(loads.values())))
    said = "; ".join(
        f"{name}: the busiest expert gets {100 * max(shares):.0f} % and the idlest {100 * min(shares):.0f} %"
        for name, shares in loads.items()
    )
    alt = f"images with the expert of each patch; below, the load of {experts} experts, fair would be {100 / experts:.1f} %. {said}"
    figure = empty_figure(alt, PAGE, 4.0)
    grid = figure.add_gridspec(2, len(images), height_ratios=(1.15, 1))
    for column, (image, numbers) in enumerate(zip(images, chosen)):
        axis = figure.add_subplot(grid[0, column])
        show_image(axis, image)
        patch = image.shape[-1] / numbers.shape[-1]
        for (i, j), number in np.ndenumerate(numbers.numpy()):
            place = (j * patch - 0.5, i * patch - 0.5)
            axis.add_patch(Rectangle(place, patch, patch, fill=False, edgecolor=SKY, linewidth=0.8))
            middle = (place[0] + patch / 2, place[1] + patch / 2)
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
            axis.text(*middle, f"{number}", ha="center", va="center", fontsize=SMALL, bbox=box)
    axis = figure.add_subplot(grid[1, :])
    width = 0.8 / len(loads)
    for number, ((name, shares), colour) in enumerate(zip(loads.items(), colours_of(loads))):
        axis.bar(np.arange(experts) + (number - (len(loads) - 1) / 2) * width, shares, width, color=colour, label=name)
    axis.axhline(1 / experts, color="black", linewidth=1, linestyle="--")
    axis.set_xticks(range(experts), [f"{expert}" for expert in range(experts)])
    axis.set(xlabel="expert   (dashed line: the fair share)", ylabel="share of choices")
    axis.legend(frameon=False, fontsize=SMALL)
    return figure


def roofline(models: Mapping[str, tuple[float, float]], *, peak: float, bandwidth: float) -> Picture:
    """What a processor can reach at an intensity, as a roof; each model below it where its operations put it.

    Args:
        models: name -> (intensity in FLOP per byte, share of the peak 0..1).
        peak: FLOP/s of the matrix units.
        bandwidth: bytes/s of the memory.

    Raises:
        ValueError: a model lies above the roof.
    """
    for name, (intensity, share) in models.items():
        if share > 1.001 * min(1.0, intensity * bandwidth / peak):
            raise ValueError(f"{name} lies above the roof: {share:.2f} of the peak at {intensity:.0f} FLOP per byte")
    ridge = peak / bandwidth
    said = "; ".join(
        f"{name} {i:.0f} FLOP per byte, {100 * share:.0f} % of the peak" for name, (i, share) in models.items()
    )
    alt = f"the roof rises up to {ridge:.0f} FLOP per byte and is flat from there. {said}"
    figure, ((axis,),) = new_figure(alt, 1, 1, 6.4, 3.6)
    low, high = 0.6 * min(i for i, _ in models.values()), 6 * ridge
    xs = np.geomspace(low, high, 100)
    axis.plot(xs, 100 * np.minimum(1, xs / ridge), color="black", linewidth=1.5)
    axis.annotate("memory sets the limit", (0.18 * ridge, 100 * 0.2), fontsize=SMALL + 0.5, ha="right", va="bottom")
    axis.text(ridge * 1.1, 104, "arithmetic sets the limit", fontsize=SMALL + 0.5, va="bottom")
    for (name, (intensity, share)), colour in zip(models.items(), colours_of(models)):
        axis.plot(intensity, 100 * share, "o", color=colour)
        axis.annotate(name, (intensity, 100 * share), (6, -3), textcoords="offset points", fontsize=SMALL, va="top")
    ticks = [tick for tick in (5, 10, 20, 50, 100, 200, 500, 1000) if low <= tick <= high]
    axis.set(
        xscale="log", yscale="log", ylim=(2, 150), xlabel="FLOP per byte of memory traffic", ylabel="% of the peak"
    )
    axis.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axis.set_yticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
    axis.set_xticks([], minor=True)
    axis.set_yticks([], minor=True)
    axis.grid(color=PALE, linewidth=0.6)
    axis.set_axisbelow(True)
    return figure

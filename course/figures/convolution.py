"""The figures of lecture 1: a convolution and what follows it, the chain rule, counted networks, descents, curves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
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
    SMALL,
    Picture,
    colours_of,
    empty_figure,
    new_figure,
    show_image,
    without_axes,
)

DARK_RED = "#a84300"  # RED is too pale for words


def layers(panels: Mapping[str, Tensor], columns: int = 6) -> Picture:
    """An image and the maps that layers make of it, each as large on the page, whatever its size.

    Args:
        panels: title -> an image (C, H, W), or a map (H, W), drawn red below 0, white at 0 and blue above.
        columns: panels in a row.
    """
    said = "; ".join(
        title
        if shown.ndim == 3
        else f"{title}: {shown.shape[0]} by {shown.shape[1]}, from {shown.min():.2g} to {shown.max():.2g}"
        for title, shown in panels.items()
    )
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    lines = 1 + max(title.count("\n") for title in panels)
    height = (1.35 + 0.16 * lines) * rows
    figure, axes = new_figure(f"an image and its maps. {said}", rows, columns, 1.4 * columns, height)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, shown) in zip(axes.flat, panels.items()):
        axis.axis("on")
        if shown.ndim == 3:
            show_image(axis, shown)
        else:
            top = max(float(shown.abs().max()), 1e-12)
            axis.imshow(shown.detach().numpy(), cmap="RdBu", vmin=-top, vmax=top, interpolation="nearest")
            without_axes(axis)
            axis.spines[:].set(visible=True, color=GREY, linewidth=0.6)
        axis.set_title(title, fontsize=SMALL)
    return figure


def forward_and_backward(steps: Sequence[tuple[str, float, float]]) -> Picture:
    """A computation as a chain: above each step its value, from left to right; below it the derivative of the last by it.

    Args:
        steps: (what it is, value, derivative), the loss last.
    """
    said = "; ".join(f"{name} = {value:.3g}, derivative {slope:.3g}" for name, value, slope in steps)
    figure = empty_figure(f"forwards the values, backwards the derivatives of the loss. {said}", PAGE, 1.75)
    axis = figure.subplots()
    width = PAGE / len(steps)
    for number, (name, value, slope) in enumerate(steps):
        x = width * (number + 0.5)
        rim = {"boxstyle": "round,pad=0,rounding_size=0.06", "facecolor": "#eef4fa", "edgecolor": GREY}
        axis.add_patch(FancyBboxPatch((x - 0.36 * width, -0.2), 0.72 * width, 0.4, **rim))
        axis.text(x, 0, name, ha="center", va="center", fontsize=9)
        axis.text(x, 0.34, f"{value:.3g}".replace("-", "−"), ha="center", va="bottom", fontsize=9, color=BLUE)
        axis.text(x, -0.34, f"{slope:.3g}".replace("-", "−"), ha="center", va="top", fontsize=9, color=DARK_RED)
        if number:
            for height, start, end, colour in ((0.1, -0.64, -0.36, BLUE), (-0.1, -0.36, -0.64, RED)):
                arrow = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0}
                axis.annotate("", (x + end * width, height), (x + start * width, height), arrowprops=arrow)
    axis.text(0, 0.62, "forward: values →", color=BLUE, fontsize=SMALL, va="bottom")
    axis.text(PAGE, -0.62, "← backward: derivatives of the loss", color=DARK_RED, fontsize=SMALL, va="top", ha="right")
    axis.set(xlim=(-0.05, PAGE + 0.05), ylim=(-0.85, 0.85))
    axis.axis("off")
    return figure


@dataclass(frozen=True)
class Counted:
    """A network of the history: when, its numbers in convolutions and in fully connected layers, its multiply-adds."""

    year: int
    convolutions: int
    connected: int
    macs: int

    @property
    def parameters(self) -> int:
        return self.convolutions + self.connected


def history(networks: Mapping[str, Counted]) -> Picture:
    """Networks in the order given: on the left their parameters by kind of layer, on the right their multiply-adds."""
    said = "; ".join(
        f"{name} ({each.year}): {_short(each.parameters)} parameters, {100 * each.connected / each.parameters:.0f} % of "
        f"them fully connected, {_short(each.macs)} multiply-adds"
        for name, each in networks.items()
    )
    figure, ((left, right),) = new_figure(said, 1, 2, PAGE, 0.95 + 0.24 * len(networks), sharey=True)
    for y, each in enumerate(networks.values()):
        convolutions, connected = each.convolutions / 1e6, each.connected / 1e6
        left.barh(y, convolutions, height=0.75, color=BLUE)
        left.barh(y, connected, left=convolutions, height=0.75, color=ORANGE)
        left.text(convolutions + connected + 2, y, _short(each.parameters), va="center", fontsize=SMALL)
        right.barh(y, each.macs / 1e9, height=0.75, color=GREEN)
        right.text(each.macs / 1e9 + 0.3, y, _short(each.macs), va="center", fontsize=SMALL)
    most, dearest = (max(getattr(each, what) for each in networks.values()) for what in ("parameters", "macs"))
    left.set(xlim=(0, 1.2 * most / 1e6), ylim=(len(networks) - 0.45, -0.55), xlabel="parameters, millions")
    right.set(xlim=(0, 1.2 * dearest / 1e9), xlabel="multiply-adds of one image, billions")
    left.set_yticks(range(len(networks)), [f"{name}, {each.year}" for name, each in networks.items()], fontsize=SMALL)
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in (BLUE, ORANGE)]
    figure.legend(
        handles,
        ["in convolutions", "fully connected"],
        frameon=False,
        fontsize=SMALL,
        loc="outside lower left",
        ncols=2,
    )
    return figure


def _short(number: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:g}"


def descents(
    height: Callable[[str, Tensor], Tensor],
    panels: Mapping[str, Mapping[str, Tensor]],
    *,
    limits: tuple[float, float, float, float],
    low: float,
) -> Picture:
    """The ways of several rules over a surface, seen from above: two panels in a row, a line a rule.

    Args:
        height: title of a panel, points (..., 2) -> heights (...).
        panels: title -> rule -> (steps + 1, 2).
        limits: (left, right, bottom, top) of every panel.
        low: where a rule first comes below this height, its way ends with a cross; in the words stands the step.
    """
    left, right, bottom, top = limits
    xs, ys = torch.linspace(left, right, 120), torch.linspace(bottom, top, 90)
    grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1).double()  # (90, 120, 2)
    said = []
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_figure("", rows, columns, PAGE, 2.75 * rows, sharex=True, sharey=True)
    for axis, (title, paths) in zip(axes.flat, panels.items()):
        heights = height(title, grid).numpy()  # (90, 120)
        levels = np.geomspace(max(heights.min(), 1e-2), heights.max(), 12)
        axis.contour(xs, ys, heights, levels=levels, colors=PALE, linewidths=0.8)
        words = []
        for (rule, path), colour in zip(paths.items(), colours_of(paths)):
            step = arrival(height(title, path), low)
            way = path[: step + 1] if step is not None else path
            axis.plot(way[:, 0], way[:, 1], ".-", color=colour, markersize=3.5, linewidth=1, label=rule)
            if step is not None:
                axis.plot(*way[-1], "x", color=colour, markersize=7, markeredgewidth=2)
            words.append(f"{rule} {'not at all' if step is None else f'after {step}'}")
        said.append(f"{title}: {', '.join(words)}")
        axis.set(xlim=(left, right), ylim=(bottom, top), title=title)
        axis.legend(frameon=False, fontsize=SMALL, loc="lower right")
    for axis in axes[-1]:
        axis.set_xlabel("first weight")
    for axis in axes[:, 0]:
        axis.set_ylabel("second weight")
    figure.alt = f"ways down to a height of {low:g}, in steps. " + "; ".join(said)
    return figure


def arrival(heights: Tensor, low: float) -> int | None:
    """The first step, counted from 0 at the start, at which a height (steps + 1,) is below `low`; None: never."""
    below = (heights < low).nonzero()
    return int(below[0]) if len(below) else None


def curves_to_name(
    runs: Mapping[str, tuple[Sequence, Sequence, Sequence]], loss_top: float = 3.0, chance: float | None = None
) -> Picture:
    """Trainings side by side, each with its training loss and its accuracy on test images; how each was made is not said.

    Args:
        runs: name -> (steps, training loss, test accuracy 0..1), each (n,); of the loss and the accuracy also a tuple of
            such lists, one a seed, drawn as their mean in a band.
        loss_top: where the axis of losses ends.
        chance: accuracy 0..1 of guessing, drawn as a line.
    """
    said = "; ".join(
        f"{name}: loss {_ends(loss, 1)}, test accuracy {_ends(accuracy, 100)} %"
        for name, (_, loss, accuracy) in runs.items()
    )
    figure, axes = new_figure(
        f"trainings from their first to their last value. {said}", 2, len(runs), PAGE, 3.5, sharex=True, sharey="row"
    )
    for column, (name, (steps, loss, accuracy)) in enumerate(runs.items()):
        for axis, values, colour, scale in ((axes[0, column], loss, RED, 1), (axes[1, column], accuracy, BLUE, 100)):
            seeds = scale * np.nan_to_num(np.atleast_2d(np.asarray(values, dtype=float)), nan=1e9)  # (seeds, n)
            axis.fill_between(steps, seeds.min(axis=0), seeds.max(axis=0), color=colour, alpha=0.2, linewidth=0)
            axis.plot(steps, seeds.mean(axis=0), color=colour)
        losses = np.atleast_2d(np.asarray(loss, dtype=float))  # (seeds, n)
        if losses.min() > loss_top:  # not a line is in the panel
            first, last = losses[:, 0].mean(), losses[:, -1].mean()
            words = f"all above {loss_top:g}:\n{first:.0f} at first,\n{last:.0f} at the end"
            axes[0, column].text(
                0.5, 0.5, words, transform=axes[0, column].transAxes, ha="center", va="center", fontsize=8
            )
        axes[0, column].set(title=name, ylim=(0, loss_top))
        axes[1, column].set(ylim=(0, 104), xlabel="step")
        if chance is not None:
            axes[1, column].axhline(100 * chance, color=GREY, linewidth=0.8, linestyle=":")
    axes[0, 0].set_ylabel("training loss")
    axes[1, 0].set_ylabel("test accuracy, %")
    return figure


def _ends(values: Sequence, scale: float) -> str:
    """From the first to the last value, of several seeds their mean."""
    seeds = scale * np.atleast_2d(np.asarray(values, dtype=float))
    return f"{seeds[:, 0].mean():.3g} to {seeds[:, -1].mean():.3g}"

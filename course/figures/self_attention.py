"""The figures of lecture 3, "Self-attention", and of its homework."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from torch import Tensor

from course.drawing import BLUE, COLOURS, ORANGE, PAGE, SMALL, Picture, new_figure


def weighted_average(points: Tensor, weights: Mapping[str, Tensor], names: Sequence[str]) -> Picture:
    """A weighted average as a picture: points in the unit square, pulled at with different strength.

    Args:
        points: (N, 2) as x, y between 0 and 1: the values.
        weights: title -> (N,) weights that sum to 1; one square each. The star is the average.
        names: of the points.
    """
    averages = {title: weight.float() @ points.float() for title, weight in weights.items()}  # (2,) each
    alt = "; ".join(f"{title}, average at ({x:.2f}, {y:.2f})" for title, (x, y) in averages.items())
    figure, axes = new_figure(
        f"points and their weighted averages: {alt}", 1, len(weights), min(PAGE, 2.75 * len(weights)), 3.2
    )
    for axis, (title, weight) in zip(axes.flat, weights.items()):
        average = averages[title]
        for (x, y), share, name in zip(points.tolist(), weight.tolist(), names):
            axis.plot([average[0], x], [average[1], y], color=BLUE, linewidth=0.3 + 5 * share, alpha=0.45, zorder=1)
            axis.scatter(x, y, s=18 + 260 * share, color=BLUE, zorder=2)
            above = y >= average[1]  # the label stands on the side away from the star
            axis.annotate(
                f"{name} {share:.2f}",
                (x, y),
                (0, (5 + 8 * share**0.5) * (1 if above else -1)),
                textcoords="offset points",
                fontsize=SMALL,
                ha="center",
                va="bottom" if above else "top",
                zorder=4,
            )
        axis.scatter(*average, marker="*", s=150, color=ORANGE, edgecolor="black", linewidth=0.6, zorder=3)
        axis.set(
            xlim=(-0.22, 1.22),
            ylim=(-0.14, 1.2),
            aspect="equal",
            xticks=[0, 1],
            yticks=[0, 1],
            title=f"{title}\n★ = ({average[0]:.2f}, {average[1]:.2f})",
        )
    return figure


def regrouped(x: Tensor, results: Mapping[str, Tensor]) -> Picture:
    """Where every number of a token matrix goes when the width is split into heads.

    The numbers 0, 1, 2, ... stand in for values: the colour says which head a number belongs to, the shade says
    which token. So a right split shows one colour a block and the shades in order; a wrong one is motley.

    Args:
        x: (N, D) holding 0 .. N·D−1 in reading order.
        results: title -> (h, N, d), made from x.

    Raises:
        ValueError: x is not numbered like that, or a result does not hold the same numbers.
    """
    tokens, width = x.shape
    if not torch.equal(x.flatten(), torch.arange(tokens * width)):
        raise ValueError("x must hold 0, 1, 2, ... in reading order, so that a number says where it came from")
    blocks = [("x  (N, D)", x[None])]
    for title, split in results.items():
        if split.ndim != 3 or not torch.equal(split.flatten().sort().values, x.flatten()):
            raise ValueError(f"{title!r} must be (h, N, d) with the same numbers as x")
        blocks.append((title, split))
    heads = blocks[-1][1].shape[0]
    widths = [split.shape[0] * split.shape[2] + 0.7 * (split.shape[0] - 1) for _, split in blocks]
    cell = min(0.3, (PAGE - 0.5 * len(blocks)) / sum(widths))
    alt = f"a {tokens} by {width} matrix whose numbers are regrouped into {heads} heads: {', '.join(results)}"
    figure, axes = new_figure(
        alt, 1, len(blocks), cell * sum(widths) + 0.4 * len(blocks), cell * tokens + 0.75, width_ratios=widths
    )
    for axis, (title, split), span in zip(axes.flat, blocks, widths):
        for block, part in enumerate(split):
            start = block * (split.shape[2] + 0.7)
            for (row, column), number in np.ndenumerate(part.numpy()):
                token, head = number // width, number % width * heads // width
                strength = 0.35 + 0.65 * token / max(tokens - 1, 1)
                colour = 1 - strength * (1 - np.array(to_rgb(COLOURS[head % len(COLOURS)])))
                axis.add_patch(Rectangle((start + column, row), 1, 1, facecolor=colour, edgecolor="white"))
                axis.text(
                    start + column + 0.5,
                    row + 0.52,
                    number,
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if colour.mean() < 0.6 else "black",
                )
            if len(split) > 1:
                axis.text(
                    start + split.shape[2] / 2,
                    tokens + 0.25,
                    f"[{block}]",
                    ha="center",
                    va="top",
                    fontsize=SMALL,
                )
        axis.set(xlim=(-0.1, span + 0.1), ylim=(tokens + 0.9, -0.1), aspect="equal")
        axis.axis("off")
        axis.set_title(title, fontsize=9)
    return figure

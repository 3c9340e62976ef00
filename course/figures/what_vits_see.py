"""The figures of lecture 6, "What ViTs see", that ``course.analysis.plots`` does not draw."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

from course.analysis.cka import Similarity
from course.drawing import (
    COLOURS,
    GREY,
    ORANGE,
    PAGE,
    PALE,
    SMALL,
    Picture,
    new_figure,
    show_image,
)
from course.plots import curves

LIGHTER = 0.55  # of the dots of a second and third network, which stand beside those of the first


def short_name(layer: str) -> str:
    """``stages.0.blocks.2`` -> ``block 3``, ``stages.0.entry`` -> ``entry``; other names stay."""
    last = layer.rsplit(".", 1)[-1]
    return f"block {int(last) + 1}" if ".blocks." in layer and last.isdigit() else last


def heads_over_depth(
    networks: Mapping[str, Sequence[Tensor]], *, ylabel: str, level: tuple[str, float] | None = None
) -> Picture:
    """One number for each head, over the depth: a dot a head, networks beside each other in one layer.

    Args:
        networks: name -> for each layer (heads,).
        ylabel: what the number is.
        level: name and height of a dotted line.

    Raises:
        ValueError: no network, or networks of other depths.
    """
    depths = {len(layers) for layers in networks.values()}
    if len(depths) != 1:
        raise ValueError(f"the networks are to have one depth, and not {sorted(depths)}")
    (depth,) = depths
    said = []
    for name, layers in networks.items():
        said.append(f"{name} {', '.join(f'{float(layer.mean()):.1f}' for layer in layers)}")
    figure, ((axis,),) = new_figure(f"{ylabel}, means of layers: {'; '.join(said)}", 1, 1, 5.6, 2.8)
    gap = 0.22
    for number, (name, layers) in enumerate(networks.items()):
        shift = (number - (len(networks) - 1) / 2) * gap
        for layer, values in enumerate(layers, start=1):
            axis.plot(
                [layer + shift] * len(values),
                values.detach().cpu().numpy(),
                "os^D"[number % 4],
                color=COLOURS[number % len(COLOURS)],
                markersize=5,
                alpha=1 if number == 0 else LIGHTER,
                markeredgewidth=0,
                label=name if layer == 1 else None,
            )
    if level is not None:
        axis.axhline(level[1], color=GREY, linestyle=":", linewidth=1)
        axis.annotate(
            level[0],
            (0, level[1]),
            (3, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=SMALL,
            color=GREY,
            va="bottom",
        )
    highest = max(float(values.max()) for layers in networks.values() for values in layers)
    axis.set(xlabel="layer", ylabel=ylabel, xlim=(0.4, depth + 0.6), xticks=range(1, depth + 1))
    axis.set_ylim(0, 1.12 * max(highest, level[1] if level else 0))
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def cosine_over_distance(similarities: Mapping[str, Tensor]) -> Picture:
    """How alike two positions are, over their distance: the mean of all pairs that far apart.

    Args:
        similarities: name -> (h, w, h, w), as from ``course.analysis.position_similarity``; one grid for all.

    Raises:
        ValueError: other shapes.
    """
    shapes = {tuple(similarity.shape) for similarity in similarities.values()}
    shape = next(iter(shapes))
    if len(shapes) != 1 or len(shape) != 4 or shape[:2] != shape[2:]:
        raise ValueError(f"similarities are (h, w, h, w) of one grid, and not {sorted(shapes)}")
    rows, columns = shape[:2]
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()  # (N, 2)
    steps = torch.cdist(places, places).round().long()  # (N, N), to whole patches
    distances = steps.unique().tolist()
    lines = {}
    for name, similarity in similarities.items():
        flat = similarity.detach().cpu().reshape(rows * columns, rows * columns)
        lines[name] = [float(flat[steps == distance].mean()) for distance in distances]
    picture = curves(distances, lines, xlabel="distance of two positions, in patches", ylabel="their mean cosine")
    lowest = min(min(line) for line in lines.values())
    picture.get_axes()[0].set_ylim(min(-0.08, lowest - 0.05), 1.05)
    return picture


def cka_maps(panels: Mapping[str, Similarity]) -> Picture:
    """CKA of layers with layers, several comparisons side by side: white 0, dark blue 1, first layers below left.

    After Raghu et al. 2021, arXiv:2108.08810, figures 1 and 2.

    Args:
        panels: title -> similarity as from ``course.analysis.cka``; a title "a × b" names rows and columns.

    Raises:
        ValueError: nothing to draw.
    """
    if not panels:
        raise ValueError("there is no comparison to draw")
    widths = [similarity.values.shape[1] for similarity in panels.values()]
    height = max(similarity.values.shape[0] for similarity in panels.values())
    cell = min(0.3, (PAGE - 0.9 * len(panels) - 0.6) / sum(widths))
    means = "; ".join(f"{t} {float(s.values.nan_to_num().mean()):.2f} on average" for t, s in panels.items())
    figure, axes = new_figure(
        f"CKA of layers with layers: {means}",
        1,
        len(panels),
        cell * sum(widths) + 0.9 * len(panels) + 0.6,
        cell * height + 1.2,
        width_ratios=widths,
    )
    for axis, (title, similarity) in zip(axes.flat, panels.items()):
        shade = axis.imshow(
            similarity.values.cpu().numpy(),
            cmap=colormaps["Blues"].with_extremes(bad=PALE),
            vmin=0,
            vmax=1,
            interpolation="nearest",
            origin="lower",
        )
        down, across = ([short_name(name) for name in names] for names in (similarity.layers_a, similarity.layers_b))
        axis.set_yticks(range(len(down)), down, fontsize=SMALL)
        axis.set_xticks(range(len(across)), across, fontsize=SMALL, rotation=90)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title(title, fontsize=9)
    bar = figure.colorbar(shade, ax=axes, shrink=0.6, aspect=20, ticks=[0, 0.5, 1])
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.outline.set_visible(False)
    return figure


def rows_of_images(rows: Mapping[str, Tensor], captions: Sequence[str] = ()) -> Picture:
    """Images in named rows, the same columns in each.

    Args:
        rows: name -> (K, C, H, W), uint8 or float; one K for all.
        captions: of the columns, above the first row; none, or K.

    Raises:
        ValueError: rows of other lengths, or captions that do not count as many.
    """
    counts = {len(images) for images in rows.values()}
    if len(counts) != 1:
        raise ValueError(f"the rows are to have the same number of images, and have {sorted(counts)}")
    (count,) = counts
    if captions and len(captions) != count:
        raise ValueError(f"there are {count} columns and {len(captions)} captions")
    left = 0.15 + 0.065 * max(len(line) for name in rows for line in name.split("\n"))
    side = min(1.15, (PAGE - left) / count)
    above = f"; columns: {', '.join(captions)}" if captions else ""
    figure, axes = new_figure(
        f"images in rows: {', '.join(' '.join(name.split()) for name in rows)}{above}",
        len(rows),
        count,
        left + count * side,
        len(rows) * (side + 0.05) + (0.2 if captions else 0),
    )
    for line, (name, images) in zip(axes, rows.items()):
        for axis, image in zip(line, images):
            show_image(axis, image)
        line[0].set_ylabel(name, fontsize=SMALL, rotation=0, ha="right", va="center")
    for axis, caption in zip(axes[0], captions):
        axis.set_title(caption, fontsize=SMALL)
    return figure


def by_hand(weights: Mapping[str, Tensor], query: int, said: Sequence[str]) -> Picture:
    """Heads written by hand: where one token of each looks, and below it what a measure says of the whole head.

    Args:
        weights: name -> (N, N), rows sum to 1, N a square number; tokens in reading order.
        query: the token whose row is drawn; it is marked.
        said: a line for each head.

    Raises:
        ValueError: the tokens are no square, or there are not as many lines as heads.
    """
    tokens = {len(head) for head in weights.values()}
    side = round(max(tokens) ** 0.5)
    if tokens != {side * side} or len(said) != len(weights):
        raise ValueError(f"heads (N, N) of one square number N, a line for each; here N {sorted(tokens)}, {len(said)}")
    alt = "; ".join(f"{name}: {line}" for name, line in zip(weights, said))
    figure, axes = new_figure(f"heads by hand. {alt}", 1, len(weights), 1.75 * len(weights), 2.15)
    for axis, (name, head), line in zip(axes.flat, weights.items(), said):
        grid = head[query].reshape(side, side).detach().cpu().numpy()
        axis.imshow(grid / max(grid.max(), 1e-12), cmap="Blues", vmin=0, vmax=1.1, interpolation="nearest")
        axis.plot(query % side, query // side, "s", color="none", markeredgecolor=ORANGE, markersize=9)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set(visible=True, color=PALE)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(line, fontsize=8)
    return figure


def shares_of_components(shares: Mapping[str, Tensor]) -> Picture:
    """How much of the variance the first 1, 2, 3, ... principal components hold together.

    Args:
        shares: name -> (K,), as in ``PrincipalFilters.shares``, of all components there are; one K for all.

    Raises:
        ValueError: other numbers of components.
    """
    counts = {len(values) for values in shares.values()}
    if len(counts) != 1:
        raise ValueError(f"the numbers of components differ: {sorted(counts)}")
    (count,) = counts
    together = {name: 100 * np.cumsum(values.detach().cpu().double().numpy()) for name, values in shares.items()}
    picture = curves(
        np.arange(1, count + 1),
        together,
        xlabel="components, the largest first",
        ylabel="share of the variance, %",
    )
    (axis,) = picture.get_axes()
    even = np.arange(1, count + 1) * 100 / count
    axis.plot(np.arange(1, count + 1), even, ":", color=GREY, linewidth=1, label="all alike")
    axis.set_ylim(0, 104)
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    first = ", ".join(f"{name} {100 * float(values[0]):.0f} %" for name, values in shares.items())
    picture.alt = f"share of the variance held by the first components; the first alone: {first}"
    return picture

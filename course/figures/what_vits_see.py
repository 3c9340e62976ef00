"""The figures of lecture 6, "What ViTs see", that ``course.analysis.plots`` does not draw."""

import itertools
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

from course.analysis.cka import Similarity
from course.drawing import (
    BROWN,
    GREY,
    MEANINGS,
    ORANGE,
    PAGE,
    PALE,
    RED,
    SKY,
    SMALL,
    Picture,
    colours_of,
    new_figure,
    show_image,
)
from course.plots import curves

MOST_SAID = 7  # points of a curve that its words repeat; of longer ones the ends
PAPER = {"facecolor": "white", "linewidth": 0, "pad": 1}  # behind words that a line would cross


OTHERS = ("black", RED, SKY, BROWN)  # they mean nothing in the course


def _colours(names: Sequence[str], others: Sequence[str] = OTHERS) -> list[str]:
    """A colour for each name: its meaning's, or one of the others in turn."""
    left = itertools.cycle(others)
    meant = [next((colour for word, colour in MEANINGS.items() if name.startswith(word)), None) for name in names]
    return [colour or next(left) for colour in meant]


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
    for number, ((name, layers), colour) in enumerate(zip(networks.items(), colours_of(networks))):
        shift = (number - (len(networks) - 1) / 2) * gap
        for layer, values in enumerate(layers, start=1):
            axis.plot(
                [layer + shift] * len(values),
                values.detach().cpu().numpy(),
                "os^D"[number % 4],
                color=colour,
                markersize=5,
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


def cosines_by_distance(similarity: Tensor) -> list[float]:
    """How alike two positions are, over their distance: the mean of all pairs 0, 1, 2, ... patches apart.

    Args:
        similarity: (h, w, h, w), as from ``course.analysis.position_similarity``.

    Raises:
        ValueError: another shape.
    """
    shape = tuple(similarity.shape)
    if len(shape) != 4 or shape[:2] != shape[2:]:
        raise ValueError(f"similarities are (h, w, h, w) of one grid, and not {shape}")
    rows, columns = shape[:2]
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()  # (N, 2)
    steps = torch.cdist(places, places).round().long()  # (N, N), to whole patches
    flat = similarity.detach().cpu().reshape(rows * columns, rows * columns)
    return [float(flat[steps == distance].mean()) for distance in range(int(steps.max()) + 1)]


def dots(rows: Mapping[str, Sequence[float]], *, xlabel: str, level: tuple[str, float] | None = None) -> Picture:
    """One number for each row and seed: a dot a seed, the lowest and the highest written beside them.

    Args:
        rows: name -> a number for each seed.
        xlabel: what the number is.
        level: name and place of a dotted line.

    Raises:
        ValueError: nothing to draw.
    """
    if not rows:
        raise ValueError("there is no number to draw")
    digits = 0 if all(float(value).is_integer() for row in rows.values() for value in row) else 2
    ranges = {name: _from_to(row, digits) for name, row in rows.items()}
    said = "; ".join(f"{name} {written}" for name, written in ranges.items())
    figure, ((axis,),) = new_figure(f"{xlabel}: {said}", 1, 1, 6.0, 0.75 + 0.25 * len(rows))
    for y, ((name, row), colour) in enumerate(zip(rows.items(), _colours(list(rows), OTHERS[:1]))):
        axis.plot(list(row), [y] * len(row), "o", color=colour, markersize=6, markeredgewidth=0, alpha=0.8)
        axis.annotate(
            ranges[name], (max(row), y), (7, 0), textcoords="offset points", fontsize=SMALL, va="center", bbox=PAPER
        )
    if level is not None:
        axis.axvline(level[1], color=GREY, linestyle=":", linewidth=1)
        above = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axis.annotate(level[0], (level[1], 1), (0, 1), **above, fontsize=SMALL, color=GREY, ha="center", va="bottom")
    axis.set_yticks(range(len(rows)), list(rows))
    highest = max(max(row) for row in rows.values())
    axis.set(
        ylim=(len(rows) - 0.5, -0.5), xlim=(min(0, *(min(row) for row in rows.values())), 1.3 * highest), xlabel=xlabel
    )
    return figure


def _from_to(values: Sequence[float], digits: int) -> str:
    """``"0.50 to 0.70"``, or the one number where they are the same. A half is rounded up, as in the text."""
    step = Decimal(10) ** -digits
    ends = (Decimal(f"{float(end):.6g}").quantize(step, ROUND_HALF_UP) + 0 for end in (min(values), max(values)))
    return " to ".join(dict.fromkeys(str(end).replace("-", "−") for end in ends))  # + 0: no minus before a zero


def panels(
    drawn: Mapping[str, tuple[Sequence, Mapping[str, Sequence]]],
    *,
    xlabel: str,
    ylabel: str,
    level: tuple[str, float] | None = None,
    scale: float = 1,
) -> Picture:
    """Curves side by side on one scale.

    Args:
        drawn: title -> (x, name -> (n,) values, or a tuple of such, one a seed: their mean in a band of all of them). An x of
            texts is written at even distances.
        xlabel, ylabel: of all panels.
        level: name and height of a dotted line.
        scale: factor of all curves: 100 for shares in per cent.
    """
    drawn = {
        title: (x, {name: scale * np.atleast_2d(np.asarray(y, dtype=float)) for name, y in lines.items()})
        for title, (x, lines) in drawn.items()
    }  # each (seeds, n)
    digits = 0 if max(values.max() for _, lines in drawn.values() for values in lines.values()) > 2 else 2
    said = []
    for title, (x, lines) in drawn.items():
        spoken = range(len(x)) if len(x) <= MOST_SAID else (0, len(x) - 1)
        for name, values in lines.items():
            points = (f"{_from_to(values[:, i], digits)} at {_place(x[i])}" for i in spoken)
            said.append(f"{title}, {name}: {', '.join(points)}")
    figure, axes = new_figure(
        f"{ylabel} over {xlabel}. {'; '.join(said)}", 1, len(drawn), 3.4 * len(drawn) + 1.4, 2.7, sharey=True
    )
    for axis, (title, (x, lines)) in zip(axes.flat, drawn.items()):
        named = isinstance(x[0], str)
        places = range(len(x)) if named else x
        for (name, seeds), colour, dash in zip(lines.items(), _colours(list(lines)), ("-", "--", "-.", ":") * 2):
            axis.fill_between(places, seeds.min(axis=0), seeds.max(axis=0), color=colour, alpha=0.2, linewidth=0)
            axis.plot(places, seeds.mean(axis=0), dash, color=colour, label=name)
        if level is not None:
            axis.axhline(level[1], color=GREY, linewidth=0.8, linestyle=":", label=level[0])
        if named:
            axis.set_xticks(places, x)
        axis.set(title=title, xlabel=xlabel)
    axes[0, 0].set_ylabel(ylabel)
    if len({tuple(lines) for _, lines in drawn.values()}) == 1:
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside right center")
    else:
        for axis in axes.flat:
            axis.legend(frameon=False, fontsize=8)
    heights = [values for _, lines in drawn.values() for values in lines.values()]
    axes[0, 0].set_ylim(min(0, *(values.min() for values in heights)), 1.05 * max(values.max() for values in heights))
    return figure


def _place(x) -> str:
    return x if isinstance(x, str) else f"{x:.3g}"


def gram_matrices(grams: Mapping[str, Tensor], classes: Sequence[str]) -> Picture:
    """Which images a layer finds alike: Gram matrices (n, n) of unit length on one scale, with lines between classes.

    Args:
        grams: title -> (n, n), centred, images sorted by class.
        classes: the class of each image, n names.

    Raises:
        ValueError: other numbers of images.
    """
    if {tuple(gram.shape) for gram in grams.values()} != {(len(classes), len(classes))}:
        raise ValueError(f"there are {len(classes)} classes and matrices {[tuple(g.shape) for g in grams.values()]}")
    starts = [i for i, name in enumerate(classes) if i == 0 or name != classes[i - 1]]
    middles = [(a + b - 1) / 2 for a, b in zip(starts, [*starts[1:], len(classes)])]
    unit = {title: (gram / gram.norm()).cpu().numpy() for title, gram in grams.items()}
    top = max(np.abs(values).max() for values in unit.values())
    same = np.equal.outer(np.array(classes), np.array(classes)) & ~np.eye(len(classes), dtype=bool)
    said = [f"{t}: mean {v[same].mean():.3f} within a class, {v[~same].mean():.3f} outside" for t, v in unit.items()]
    figure, axes = new_figure(
        "Gram matrices. " + "; ".join(said), 1, len(grams), 2.6 * len(grams) + 0.6, 3.0, sharey=True
    )
    for axis, (title, values) in zip(axes.flat, unit.items()):
        shade = axis.imshow(values, cmap="RdBu", vmin=-top, vmax=top, interpolation="nearest")
        for start in starts[1:]:
            axis.axhline(start - 0.5, color=GREY, linewidth=0.4)
            axis.axvline(start - 0.5, color=GREY, linewidth=0.4)
        axis.set_xticks(middles, [classes[start] for start in starts], fontsize=SMALL, rotation=90)
        axis.set_yticks(middles, [classes[start] for start in starts], fontsize=SMALL)
        axis.tick_params(length=0)
        axis.set_title(title, fontsize=9)
    bar = figure.colorbar(shade, ax=axes, shrink=0.7, aspect=20)
    bar.set_label("alike (blue), unlike (red)", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.outline.set_visible(False)
    return figure


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
    means = "; ".join(f"{title} {_average_and_lowest(similarity)}" for title, similarity in panels.items())
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


def _average_and_lowest(similarity: Similarity) -> str:
    values = similarity.values.nan_to_num()
    row, column = divmod(int(values.argmin()), values.shape[1])
    lowest = f"{short_name(similarity.layers_a[row])} with {short_name(similarity.layers_b[column])}"
    return f"{float(values.mean()):.2f} on average, lowest {float(values.min()):.2f} ({lowest})"


def rows_of_images(
    rows: Mapping[str, Tensor],
    captions: Sequence[str] = (),
    below: Mapping[str, Sequence[str]] | None = None,
    said: str = "",
) -> Picture:
    """Images in named rows, the same columns in each.

    Args:
        rows: name -> (K, C, H, W), uint8 or float; one K for all.
        captions: of the columns, above the first row; none, or K.
        below: name of a row -> what is written below each of its images, K.
        said: what there is to see, for those who cannot.

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
        len(rows) * (side + (0.22 if below else 0.05)) + (0.2 if captions else 0),
    )
    figure.alt += f". {said}" * bool(said)
    if below:
        figure.alt += "; ".join(["", *(f"{name}: {', '.join(line)}" for name, line in below.items())])
    for line, (name, images) in zip(axes, rows.items()):
        for axis, image, written in zip(line, images, (below or {}).get(name, [""] * count)):
            show_image(axis, image)
            axis.set_xlabel(written, fontsize=SMALL)
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
    alt = "; ".join(f"{name}: {', '.join(line.splitlines())}" for name, line in zip(weights, said))
    figure, axes = new_figure(f"heads by hand. {alt}", 1, len(weights), 1.75 * len(weights), 2.45)
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

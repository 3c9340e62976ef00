"""The figures of lecture 15 on detection: boxes on images, who answers for what, where queries look."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from course.data.shapes import KINDS
from course.drawing import COLOURS, GREY, PAGE, RED, SMALL, Picture, new_figure, outline, show_image, without_axes
from course.plots import bars, matrices

WHITE_ON_IMAGE = [patheffects.withStroke(linewidth=2, foreground="black")]


def boxes(images: Tensor, marked: Sequence[Sequence[tuple[str, Tensor]]], captions: Sequence[str]) -> Picture:
    """Images in a row, with boxes in the colours of their kinds and a word at each where there is room for it.

    Args:
        images: (N, C, H, W).
        marked: for each image (words that begin with a kind of `shapes`, box (4,)): centre x, centre y, width and
            height in units of the image's sides.
        captions: one an image.

    Raises:
        ValueError: not as many lists of boxes, or captions, as images.
    """
    if not len(images) == len(marked) == len(captions):
        raise ValueError(f"{len(images)} images, {len(marked)} lists of boxes and {len(captions)} captions")
    colours = dict(zip(KINDS, COLOURS))
    said = "; ".join(
        f"{caption}: {', '.join(word for word, _ in own) or 'none'}" for caption, own in zip(captions, marked)
    )
    side = min(PAGE / len(images), 2.2)
    lines = max(caption.count("\n") + 1 for caption in captions)
    figure, (axes,) = new_figure(f"boxes on images. {said}", 1, len(images), side * len(images), side + 0.17 * lines)
    for axis, image, own, caption in zip(axes, images, marked, captions):
        show_image(axis, image)
        taken: list[tuple[float, float]] = []
        for word, box in own:
            _draw_box(axis, image.shape[-2:], word, box, colours[word.partition(" ")[0]], taken)
        axis.set_xlabel(caption, fontsize=SMALL, labelpad=2)
    return figure


def _draw_box(
    axis: Axes, size: tuple[int, int], word: str, box: Tensor, colour: str, taken: list[tuple[float, float]]
) -> None:
    """A box, and its word above or below it, unless words are there already; `taken` remembers where they begin."""
    height, width = size
    x, y, w, h = (float(value) for value in box)
    left, top = (x - w / 2) * width, (y - h / 2) * height
    axis.add_patch(outline(left, top, w * width, h * height, colour))
    at = min(max(left, 0), 0.58 * width)
    for line, side in ((top - 1.5, "bottom"), (top + h * height + 0.5, "top")):
        middle = line + (-0.04 if side == "bottom" else 0.04) * height
        free = all(abs(middle - y) > 0.09 * height or abs(at - x) > 0.4 * width for x, y in taken)
        if free and 0.04 * height < middle < 0.96 * height:
            axis.text(at, line, word, color="white", fontsize=SMALL, va=side, path_effects=WHITE_ON_IMAGE, clip_on=True)
            taken.append((at, middle))
            return


def assignments(cost: Tensor, ways: Mapping[str, tuple[Sequence[int], Sequence[int]]]) -> Picture:
    """One matrix of costs for each way to choose, the chosen entries framed, and their sum in the title.

    Args:
        cost: (Q, M), of queries and objects.
        ways: name -> the rows and the columns of what is chosen.

    Raises:
        ValueError: a way chooses a row or a column twice.
    """
    titles = {}
    for name, (rows, columns) in ways.items():
        if len(set(rows)) < len(rows) or len(set(columns)) < len(columns):
            raise ValueError(f"{name} gives a query two objects, or an object two queries")
        titles[name] = f"{name}\nsum {cost[list(rows), list(columns)].sum():.2f}".replace("-", "−")
    count, objects = cost.shape
    picture = matrices(
        dict.fromkeys(titles.values(), cost),
        rows=[f"query {query}" for query in range(count)],
        columns=[f"object {number}" for number in range(objects)],
    )
    for axis, (rows, columns) in zip(picture.axes, ways.values()):
        for row, column in zip(rows, columns):
            axis.add_patch(
                Rectangle((column - 0.47, row - 0.45), 0.94, 0.9, fill=False, edgecolor=RED, linewidth=2.5, zorder=3)
            )
    said = "; ".join(
        f"{titles[name]}: " + ", ".join(f"query {q} object {m}" for q, m in zip(rows, columns))
        for name, (rows, columns) in ways.items()
    )
    return picture.described(f"costs of {count} queries for {objects} objects, and who answers for what. {said}")


def places_of_queries(centres: Tensor, areas: Tensor) -> Picture:
    """For each query, where the boxes lie that it found: a disc for each, the larger the box, the larger the disc.

    Args:
        centres: (N, Q, 2), x and y in units of the image's sides; nan where it found nothing.
        areas: (N, Q), in units of the image's area.
    """
    queries = centres.shape[1]
    there = ~centres.isnan().any(dim=-1)  # (N, Q)
    figure, (axes,) = new_figure("", 1, queries, PAGE, PAGE / queries + 0.5)
    said = []
    for query, axis in enumerate(axes):
        own = there[:, query]
        x, y = centres[own, query].T.tolist() if own.any() else ([], [])
        sizes = (400 * areas[own, query]).tolist()  # points²
        axis.scatter(x, y, s=np.maximum(np.asarray(sizes), 2), color=COLOURS[0], alpha=0.5, linewidths=0)
        axis.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[], aspect="equal")
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.8)
        axis.set_title(f"query {query}\n{int(own.sum())} found", fontsize=SMALL)
        if own.any():
            side = areas[own, query].sqrt().mean()
            said.append(
                f"query {query} has {int(own.sum())}, on average at {np.mean(x):.2f} across and {np.mean(y):.2f} down, "
                f"of side {side:.2f}"
            )
        else:
            said.append(f"query {query} has none")
    return figure.described(f"where the boxes of each query lie: {'; '.join(said)}")


def looks(image: Tensor, weights: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Picture:
    """Where queries look in an image: a map of weights for each, the darker the more, with its box.

    Args:
        image: (C, H, W).
        weights: name -> (h, w), of sum 1; the grid tiles the image.
        found: name -> box (4,), as in `boxes`; the same names.

    Raises:
        ValueError: the names differ, or a grid does not tile the image.
    """
    if list(weights) != list(found):
        raise ValueError(f"weights of {', '.join(weights)}, and boxes of {', '.join(found)}")
    height, width = image.shape[-2:]
    side = min(PAGE / (1 + len(weights)), 1.9)
    figure, (axes,) = new_figure("", 1, 1 + len(weights), side * (1 + len(weights)), side + 0.4)
    show_image(axes[0], image)
    axes[0].set_title("the image", fontsize=SMALL)
    said = []
    for axis, (name, table) in zip(axes[1:], weights.items()):
        if height % table.shape[0] or width % table.shape[1]:
            raise ValueError(f"a grid of {table.shape[0]}×{table.shape[1]} does not tile {height}×{width} pixels")
        patch = height // table.shape[0], width // table.shape[1]
        axis.imshow(np.kron(table.numpy(), np.ones(patch)), cmap="Blues", vmin=0, interpolation="nearest")
        without_axes(axis)
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.8)
        x, y, w, h = (float(value) for value in found[name])
        box = outline((x - w / 2) * width, (y - h / 2) * height, w * width, h * height, RED)
        box.set_path_effects([])
        axis.add_patch(box)
        axis.set_title(name, fontsize=SMALL)
        inside = _share_inside(table, found[name])
        said.append(f"{name} puts {100 * inside:.0f} % of its weight on places that its box covers")
    return figure.described(f"cross-attention of queries over the image: {'; '.join(said)}")


def _share_inside(weights: Tensor, box: Tensor) -> float:
    """Of weights (h, w), the share on places that a box overlaps."""
    x, y, w, h = (float(value) for value in box)
    rows, columns = weights.shape
    i, j = np.mgrid[:rows, :columns]
    across = (j + 1 > (x - w / 2) * columns) & (j < (x + w / 2) * columns)
    down = (i + 1 > (y - h / 2) * rows) & (i < (y + h / 2) * rows)
    return float((weights.numpy() * (across & down)).sum() / weights.sum())


def average_precisions(
    results: Mapping[str, Mapping[str, float | tuple[float, ...]]], xlabel: str = "AP50, %"
) -> Picture:
    """`course.plots.bars` of another share than accuracy, said so."""
    picture = bars(results, neutral=True)
    picture.axes[0].set_xlabel(xlabel)
    return picture.described(picture.alt.replace("accuracies.", f"{xlabel}."))

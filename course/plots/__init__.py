"""The figures of the lectures: one call, one figure, no plumbing in a notebook.

Every function returns a ``Picture``: a matplotlib ``Figure`` that pyplot knows nothing of. So a notebook
shows it exactly once, where it is the last line of a cell, and ``.savefig("name.png")`` keeps it anywhere.
Images are tensors as the course has them, (C, H, W), uint8 or float, or an ``ImageSet``. Colours are those of
Okabe and Ito ("Color universal design", 2008) and the maps Blues and RdBu: they stay apart for colour-blind
readers and in print.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from course.data.normalise import Normalise
from course.drawing import (
    BLUE,
    COLOURS,
    GREY,
    ORANGE,
    PAGE,
    PALE,
    RED,
    SKY,
    SMALL,
    Picture,
    empty_figure,
    frame_axes,
    new_figure,
    outline,
    pixels_of,
    show_image,
    without_axes,
)
from course.syllabus import LECTURES


def image_grid(data, *, count: int = 10, columns: int = 5, captions: Sequence[str] | None = None) -> Picture:
    """Images in rows, each with its labels under it.

    Args:
        data: an ``ImageSet``, whose labels (of every question that it asks) become the captions, or images
            (N, C, H, W), uint8 or float.
        count: how many, from the first on.
        columns: images in a row.
        captions: what to write under them instead.

    Raises:
        ValueError: nothing to show, or fewer captions than images.
    """
    images = _images_of(data)[:count]
    captions = captions if captions is not None else _captions_of(data, len(images))
    if len(captions) < len(images):
        raise ValueError(f"there are {len(images)} images and only {len(captions)} captions")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    side = min(1.5, PAGE / columns)
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    alt = f"{len(images)} images" + (f", the first: {captions[0]}" if captions[0] else "")
    figure, axes = new_figure(alt, rows, columns, columns * side, rows * (side + 0.17 * lines))
    for axis, image, caption in zip(axes.flat, images, captions):
        show_image(axis, image)
        axis.set_xlabel(caption, fontsize=SMALL, labelpad=2)
    for axis in axes.flat[len(images) :]:
        axis.axis("off")
    return figure


def video_strip(data, *, count: int = 4) -> Picture:
    """Clips as film strips: a clip a row, time running to the right.

    Args:
        data: an ``ImageSet`` of clips or clips (N, T, C, H, W).
        count: how many clips, from the first on.

    Raises:
        ValueError: these are not clips.
    """
    clips = _images_of(data)[:count]
    if clips.ndim != 5:
        raise ValueError(f"a film strip needs clips (N, T, C, H, W); these have shape {tuple(clips.shape)}")
    captions = _captions_of(data, len(clips))
    frames = clips.shape[1]
    side = min(0.95, (PAGE - 1.2) / frames)
    alt = f"{len(clips)} clips as strips of {frames} frames" + (f", the first: {captions[0]}" if captions[0] else "")
    figure, axes = new_figure(alt, len(clips), frames, frames * side + 1.2, len(clips) * side + 0.25)
    for row, (clip, caption) in enumerate(zip(clips, captions)):
        for time, frame in enumerate(clip):
            show_image(axes[row, time], frame)
            if row == 0:
                axes[row, time].set_title(f"t = {time}", fontsize=SMALL)
        axes[row, 0].set_ylabel(caption, fontsize=SMALL, rotation=0, ha="right", va="center")
    return figure


def augmented(data, augmentations: Mapping, *, count: int = 8, seed: int = 0) -> Picture:
    """Images, and below them what each augmentation makes of them; beside mixed ones, the share of their own.

    Args:
        data: an ``ImageSet`` or images (N, C, H, W), uint8.
        augmentations: name -> augmentation, such as ``course.data.augment.AUGMENTATIONS``. Those that act on
            normalised images get them normalised, and they are shown as pixels again.
        count: how many, from the first on.
        seed: of the random numbers of each augmentation.

    Raises:
        ValueError: clips, floats or nothing to show.
    """
    images = _images_of(data)[:count]
    if images.ndim != 4 or images.dtype != torch.uint8:
        raise ValueError(
            f"what is augmented here are uint8 images (N, C, H, W), not {images.dtype} {tuple(images.shape)}"
        )
    normalise = Normalise.of(images)
    rows = {"original": images}
    for name, augmentation in augmentations.items():
        generator = torch.Generator(images.device).manual_seed(seed)
        title = name.replace("_", " ")
        changed = augmentation(normalise(images) if augmentation.on_normalised else images, generator)
        if isinstance(changed, tuple):
            changed, _, shares = changed
            title += f"\n{shares[0]:.0%} own"  # one share a batch
        rows[title] = normalise.undo(changed).round().clamp(0, 255).byte() if augmentation.on_normalised else changed
    left = 0.2 + 0.065 * max(len(line) for title in rows for line in title.split("\n"))  # inches
    side = min(0.85, (PAGE - left) / len(images))
    alt = f"{len(images)} images, and as {', '.join(augmentations)} change them"
    figure, axes = new_figure(alt, len(rows), len(images), left + len(images) * side, len(rows) * (side + 0.02))
    for line, (title, changed) in zip(axes, rows.items()):
        for axis, image in zip(line, changed):
            show_image(axis, image)
        line[0].set_ylabel(title, fontsize=SMALL, rotation=0, ha="right", va="center")
    return figure


def windows_on_image(image: Tensor, centres: Sequence[tuple[int, int]], size: int) -> Picture:
    """What a network with a small receptive field gets to see: square windows on an image, and the cut-outs.

    Args:
        image: (C, H, W).
        centres: (row, column) of each window, in pixels.
        size: the side of a window, in pixels.
    """
    height, width = image.shape[-2:]
    alt = f"an image, and what {len(centres)} windows of {size} by {size} pixels show of it"
    figure, axes = new_figure(
        alt, 1, 1 + len(centres), 2.2 + 1.3 * len(centres), 2.2, width_ratios=[1.7] + [1] * len(centres)
    )
    whole, *cuts = axes.flat
    show_image(whole, image)
    whole.set_title("the image", fontsize=9)
    for (row, column), axis, colour in zip(centres, cuts, COLOURS):
        top = min(max(row - size // 2, 0), height - size)
        left = min(max(column - size // 2, 0), width - size)
        whole.add_patch(outline(left, top, size, size, colour))
        show_image(axis, image[:, top : top + size, left : left + size])
        frame_axes(axis, colour)
        axis.set_title(f"{size}×{size} pixels", fontsize=SMALL)
    return figure


def patches(image: Tensor, patch: int, *, order: Sequence[int] | Tensor | None = None) -> Picture:
    """An image, and the same image cut into numbered patches: the tokens.

    Args:
        image: (C, H, W).
        patch: the side P of a patch, in pixels; it divides H and W.
        order: lay the patches out in this order instead, each with its own old number: a shuffled image.

    Raises:
        ValueError: the patches do not fit the image.
    """
    height, width = image.shape[-2:]
    if height % patch or width % patch:
        raise ValueError(f"patches of {patch} pixels do not tile an image of {height}×{width}")
    rows, columns = height // patch, width // patch
    order = torch.arange(rows * columns) if order is None else torch.as_tensor(order)
    pixels = pixels_of(image)
    alt = f"an image of {height} by {width} pixels, and its {rows * columns} patches of {patch} by {patch}"
    figure, ((left, right),) = new_figure(alt, 1, 2, 5.6, 2.75)
    show_image(left, image)
    left.set_title(f"H × W = {height} × {width} pixels", fontsize=9)
    # Drawn with `zoom` dots a pixel, so that the gaps can be finer than a pixel.
    zoom, gap = 8, max(8 * patch // 6, 2)
    step = zoom * patch + gap
    canvas = np.ones((rows * step - gap, columns * step - gap, *pixels.shape[2:]))
    for place, token in enumerate(order.tolist()):
        (row, column), (from_row, from_column) = divmod(place, columns), divmod(token, columns)
        cut = pixels[from_row * patch :, from_column * patch :][:patch, :patch].repeat(zoom, 0).repeat(zoom, 1)
        canvas[row * step :, column * step :][: zoom * patch, : zoom * patch] = cut
        number = right.text(column * step + 2, row * step + 2, token, fontsize=5.5, color="white", ha="left", va="top")
        number.set_bbox({"facecolor": "black", "alpha": 0.55, "pad": 0.6, "linewidth": 0})
    right.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    right.set_title(f"N = {rows * columns} tokens of {patch} × {patch} pixels", fontsize=9)
    right.axis("off")
    return figure


def attention_maps(image: Tensor, weights: Tensor, query: int | Sequence[int]) -> Picture:
    """Where tokens look: the image, then one picture for each row of weights, the darker the more.

    The token that looks is framed.

    Args:
        image: (C, H, W).
        weights: of one token in h heads, (h, N), with ``query=13``; of K tokens in one head, (K, N), with
            ``query=[1, 6, ...]``; or (N,). N is a square number, tokens in reading order.
        query: which token looks.

    Raises:
        ValueError: the tokens are not a square grid that tiles the image, or there are not as many queries as
            rows.
    """
    weights = weights.detach().cpu().float().reshape(-1, weights.shape[-1])  # (K, N)
    height, width = image.shape[-2:]
    side = math.isqrt(weights.shape[-1])
    if side * side != weights.shape[-1] or height % side or width % side:
        raise ValueError(f"{weights.shape[-1]} tokens are not a square grid on an image of {height}×{width}")
    one_token = isinstance(query, int)
    queries = [query] * len(weights) if one_token else list(query)
    if len(queries) != len(weights):
        raise ValueError(f"there are {len(weights)} rows of weights and {len(queries)} queries")
    patch = height // side, width // side
    per_row = min(len(weights), 4)
    rows = -(-len(weights) // per_row)
    alt = f"token {query} looks, in {len(weights)} heads" if one_token else f"tokens {queries} look"
    figure, axes = new_figure(f"where {alt}", rows, 1 + per_row, 1.6 * (1 + per_row), 1.8 * rows)
    for axis in axes.flat:
        axis.axis("off")
    axes[0, 0].axis("on")
    show_image(axes[0, 0], image)
    axes[0, 0].set_title("the image", fontsize=SMALL)
    if one_token:
        axes[0, 0].add_patch(_token_box(query, side, patch))
    drawing = pixels_of(image)
    if drawing.ndim == 3:  # the grain of a colour image would be taken for attention
        drawing = np.ones_like(drawing[..., 0])
    for number, (axis, token) in enumerate(zip(axes[:, 1:].flat, queries)):
        grid = weights[number].reshape(side, side).numpy()
        heat = np.kron(grid / max(grid.max(), 1e-12), np.ones(patch))  # (H, W)
        # A grey image stays visible as a faint drawing under the heat.
        axis.imshow(
            colormaps["Blues"](0.95 * heat)[..., :3] * (0.72 + 0.28 * drawing[..., None]),
            interpolation="nearest",
        )
        axis.axis("on")
        without_axes(axis)
        frame = _token_box(token, side, patch)
        frame.set_path_effects([])  # a rim would hide the token's own small weight
        axis.add_patch(frame)
        who = f"head {number}" if one_token else f"token {token}"
        axis.set_title(f"{who}: up to {grid.max():.2f}", fontsize=SMALL)
    return figure


# -- tensors as tables
def matrices(
    panels: Mapping[str, Tensor],
    *,
    rows=None,
    columns=None,
    numbers: bool | None = None,
    shared: bool = False,
) -> Picture:
    """Matrices side by side, small ones with their numbers.

    Values of both signs are drawn red to blue around white, others white to blue. A boolean matrix is a mask:
    blue where a token may look, crossed out where it may not. What is not finite (nan, ±∞) is grey and written
    out.

    Args:
        panels: title -> (R, C) tensor; a vector (C,) is drawn as one row.
        rows, columns: names, the same for all panels, or title -> names for each.
        numbers: write the values; default: where the matrix is at most 10 wide and 12 high.
        shared: one colour scale for all panels.

    Raises:
        ValueError: a panel is not a matrix, or its names do not count as many as its rows or columns.
    """
    tables = {title: _table(title, values) for title, values in panels.items()}
    sizes = []
    for title, values in tables.items():
        written = _has_numbers(values, numbers)
        cell = (0.5, 0.3) if written else (min(0.28, 2.6 / values.shape[1]), min(0.28, 2.2 / values.shape[0]))
        for_title = 0.085 * max(len(line) for line in title.split("\n"))
        sizes.append((max(cell[0] * values.shape[1], for_title, 1.1), max(cell[1] * values.shape[0], 0.55)))
    label_room = max((0.075 * len(name) for title in tables for name in _names(rows, title) or ()), default=0.1)
    ratios = [width for width, _ in sizes]
    total_width = min(PAGE, sum(ratios) + (label_room + 0.25) * len(tables))
    lines = max(title.count("\n") + 1 for title in tables)
    alt = "; ".join(f"{title}, {values.shape[0]} by {values.shape[1]}" for title, values in tables.items())
    figure, axes = new_figure(
        f"matrices: {alt}",
        1,
        len(tables),
        max(total_width, 2.0),
        max(height for _, height in sizes) + 0.3 + 0.2 * lines,
        width_ratios=ratios,
    )
    every = np.concatenate(
        [values[np.isfinite(values)] for values in tables.values() if values.dtype != bool] or [[0.0]]
    )
    for axis, (title, values) in zip(axes.flat, tables.items()):
        written = _has_numbers(values, numbers)
        if values.dtype == bool:
            _draw_mask(axis, values)
        else:
            _draw_table(axis, values, every if shared else values[np.isfinite(values)], written)
        axis.set_title(title, fontsize=9)
        _name_axis(axis, "y", _names(rows, title), values.shape[0], title)
        _name_axis(axis, "x", _names(columns, title), values.shape[1], title)
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
    cell = min(0.27, (PAGE - 0.5 * len(blocks)) / sum(widths))
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
                    fontsize=6.5,
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


# -- curves and bars
def curves(
    x,
    lines: Mapping[str, Sequence[float]],
    *,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    log: str = "",
    marks: Mapping[str, tuple[float, float]] | None = None,
    levels: Mapping[str, float] | None = None,
) -> Picture:
    """Curves over a common axis.

    Args:
        x: (n,) values.
        lines: name -> (n,) values; drawn with different dashes as well as colours.
        log: axes with a logarithmic scale: "", "x", "y" or "xy".
        marks: name -> (x, y), a dot with its name.
        levels: name -> y, a thin level line with its name.
    """
    x = np.asarray(x)
    alt = f"{title or ylabel or 'curves'} over {xlabel or 'x'}: {', '.join(lines)}"
    figure, ((axis,),) = new_figure(alt, 1, 1, 5.0, 2.8)
    for (name, y), colour, dash in zip(lines.items(), COLOURS, ("-", "--", "-.", ":", "-", "--")):
        axis.plot(x, np.asarray(y), dash, color=colour, label=name)
    for name, level in (levels or {}).items():
        axis.axhline(level, color=GREY, linewidth=0.8, linestyle=":")
        axis.annotate(
            name,
            (1, level),
            (0, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=SMALL,
            color=GREY,
            va="bottom",
            ha="right",
        )
    for name, point in (marks or {}).items():
        axis.plot(*point, "o", color=RED, markersize=5)
        axis.annotate(name, point, (5, -3), textcoords="offset points", fontsize=SMALL, va="top")
    axis.set(
        xlabel=xlabel,
        ylabel=ylabel,
        title=title,
        xscale="log" if "x" in log else "linear",
        yscale="log" if "y" in log else "linear",
    )
    if "x" in log and len(x) <= 8:  # the few values there are say more than powers of ten
        axis.set_xticks(x, [f"{value:g}" for value in x])
        axis.set_xticks([], minor=True)
    if len(lines) > 1:
        axis.legend(frameon=False, fontsize=8)
    return figure


def bars(results: Mapping[str, Mapping[str, float]], *, chance: float | None = None, title: str = "") -> Picture:
    """Accuracies in per cent, as bars: a row a model, a colour a question.

    Args:
        results: model -> question -> accuracy 0..1; a question that a model was not asked is left out.
        chance: accuracy 0..1 of guessing, drawn as a line.
    """
    questions = list(dict.fromkeys(question for row in results.values() for question in row))
    alt = "; ".join(
        f"{model}: " + ", ".join(f"{question} {100 * accuracy:.0f} %" for question, accuracy in row.items())
        for model, row in results.items()
    )
    count = sum(len(row) + 0.7 for row in results.values())
    figure, ((axis,),) = new_figure(f"accuracies. {alt}", 1, 1, 6.4, 0.95 + 0.24 * count)
    ticks, y = [], 0.0
    for row in results.values():
        ticks.append(y + (len(row) - 1) / 2)
        for question, accuracy in row.items():
            axis.barh(y, 100 * accuracy, height=0.85, color=COLOURS[questions.index(question)])
            axis.text(100 * accuracy + 1, y, f"{100 * accuracy:.0f}", va="center", fontsize=8)
            y += 1
        y += 0.7
    axis.set_yticks(ticks, list(results))
    axis.set(xlim=(0, 106), ylim=(y - 1.1, -0.6), xlabel="accuracy, %", title=title)
    if chance is not None:
        axis.axvline(100 * chance, color=GREY, linestyle="--", linewidth=1, zorder=0)
        axis.annotate(
            "chance",
            (100 * chance, 1),
            (0, 1),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=SMALL,
            color=GREY,
            ha="center",
            va="bottom",
        )
    if len(questions) > 1:
        handles = [Rectangle((0, 0), 1, 1, color=COLOURS[i]) for i in range(len(questions))]
        figure.legend(handles, questions, frameon=False, fontsize=8, loc="outside lower center", ncols=len(questions))
    return figure


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
        f"points and their weighted averages: {alt}", 1, len(weights), min(PAGE, 2.75 * len(weights)), 2.85
    )
    for axis, (title, weight) in zip(axes.flat, weights.items()):
        average = averages[title]
        for (x, y), share, name in zip(points.tolist(), weight.tolist(), names):
            axis.plot([average[0], x], [average[1], y], color=BLUE, linewidth=0.3 + 5 * share, alpha=0.45, zorder=1)
            axis.scatter(x, y, s=18 + 260 * share, color=BLUE, zorder=2)
            axis.annotate(
                f"{name} {share:.2f}",
                (x, y),
                (0, 9 + 5 * share),
                textcoords="offset points",
                fontsize=SMALL,
                ha="center",
            )
        axis.scatter(*average, marker="*", s=150, color=ORANGE, edgecolor="black", linewidth=0.6, zorder=3)
        axis.set(
            xlim=(-0.22, 1.22),
            ylim=(-0.05, 1.2),
            aspect="equal",
            xticks=[0, 1],
            yticks=[0, 1],
            title=f"{title}\n★ = ({average[0]:.2f}, {average[1]:.2f})",
        )
    return figure


# -- the shape letters
def shape_letters(clips: Tensor, image: Tensor, *, patch: int = 4, window: int = 2, num_heads: int = 6) -> Picture:
    """The letters of the course on real tensors: clips, an image in patches, its tokens, their heads.

    Args:
        clips: (B, T, C, H, W).
        image: (C, H, W).
        patch: the side P of a patch in pixels.
        window: the side M of a window in tokens.
        num_heads: h; divides D = C·P².
    """
    batch, frames = clips.shape[:2]
    channels, height, width = image.shape
    rows, columns = height // patch, width // patch
    tokens = image.cpu().float().reshape(channels, rows, patch, columns, patch).permute(1, 3, 0, 2, 4)
    tokens = tokens.reshape(rows * columns, channels * patch**2)  # (N, D)
    head_width = tokens.shape[1] // num_heads

    alt = f"""{batch} clips of {frames} frames; an image of {height} by {width} pixels with one patch and one
        window marked; its {len(tokens)} tokens of width {tokens.shape[1]} as a matrix; the same matrix split into
        {num_heads} heads"""
    figure = empty_figure(alt, PAGE, 4.5)
    film, below = figure.subfigures(2, 1, height_ratios=[1, 1.35])
    film.suptitle(f"B = {batch} clips of T = {frames} frames:  (B, T, C, H, W) = {tuple(clips.shape)}", fontsize=9)
    for (row, time), axis in np.ndenumerate(film.subplots(batch, frames, squeeze=False)):
        show_image(axis, clips[row, time])
        if row == 0:
            axis.set_title(f"t = {time}", fontsize=SMALL)
        if time == 0:
            axis.set_ylabel(f"clip {row}", fontsize=SMALL)

    cut, table, split = below.subplots(1, 3, width_ratios=[1, 0.85, 1.15])
    show_image(cut, image)
    for line in range(1, rows):
        cut.axhline(line * patch - 0.5, color="white", linewidth=0.6)
    for line in range(1, columns):
        cut.axvline(line * patch - 0.5, color="white", linewidth=0.6)
    cut.add_patch(outline(patch, patch, patch, patch, SKY))
    cut.add_patch(outline(width - patch * (window + 1), patch, patch * window, patch * window, ORANGE))
    cut.set_title(
        f"one patch: P × P = {patch} × {patch} pixels (blue)\none window: M × M = {window} × {window} tokens (orange)",
        fontsize=SMALL,
    )
    cut.set_ylabel(f"H = {height}", fontsize=SMALL)
    cut.set_xlabel(f"W = {width},  C = {channels}", fontsize=SMALL)
    table.imshow(tokens.numpy(), cmap="Blues", aspect="auto", interpolation="nearest")
    table.set_title(f"its tokens\n(N, D) = {tuple(tokens.shape)}", fontsize=SMALL)
    table.set_xlabel(f"D = C · P · P = {tokens.shape[1]}", fontsize=SMALL)
    table.set_ylabel(f"N = (H/P) · (W/P) = {len(tokens)}", fontsize=SMALL)
    gapped = np.full((len(tokens), num_heads * (head_width + 2) - 2), np.nan)
    for head in range(num_heads):
        start = head * (head_width + 2)
        gapped[:, start : start + head_width] = tokens[:, head * head_width : (head + 1) * head_width]
    split.imshow(gapped, cmap="Blues", aspect="auto", interpolation="nearest")
    split.set_title(f"the same, split into heads\n(h, N, d) = {(num_heads, len(tokens), head_width)}", fontsize=SMALL)
    split.set_xlabel(f"h = {num_heads} heads of width d = D / h = {head_width}", fontsize=SMALL)
    without_axes(table)
    without_axes(split)
    return figure


# -- the course map
def course_map(folder: str | Path | None = None) -> Picture:
    """The lectures and homeworks, what builds on what, and which are here (blue) or to come (dashed).

    Args:
        folder: the course; default: the nearest folder at or above this one that has ``notebooks`` in it. What
            is here is read from its ``notebooks`` and ``assignments``.
    """
    folder = _course_folder() if folder is None else Path(folder)
    here = [lecture.box.replace("\n", " ") for lecture in LECTURES if _is_here(folder, lecture.name)]
    alt = f"the {len(LECTURES)} lectures, with arrows from what each builds on; here are: {', '.join(here)}"
    figure, ((axis,),) = new_figure(alt, 1, 1, PAGE, 3.9)
    step_x, step_y, box_width, box_height = 1.42, 0.62, 1.2, 0.46
    middle = {lecture.name: (lecture.place[0] * step_x, -lecture.place[1] * step_y) for lecture in LECTURES}
    for lecture in LECTURES:
        x, y = middle[lecture.name]
        here = _is_here(folder, lecture.name)
        axis.add_patch(
            FancyBboxPatch(
                (x - box_width / 2, y - box_height / 2),
                box_width,
                box_height,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor="#dcebf6" if here else "white",
                edgecolor=BLUE if here else GREY,
                linewidth=1.4 if here else 0.9,
                linestyle="-" if here else (0, (3, 2)),
                zorder=2,
            )
        )
        axis.text(
            x - box_width / 2 + 0.06,
            y,
            lecture.name[:2],
            fontsize=8,
            weight="bold",
            va="center",
            zorder=3,
            color=BLUE if here else GREY,
        )
        axis.text(
            x - box_width / 2 + 0.27,
            y,
            lecture.box,
            fontsize=7,
            va="center",
            linespacing=1.05,
            zorder=3,
            color="black" if here else "#555555",
        )
        if lecture.homework:
            there = _is_here(folder, lecture.homework.name)
            axis.text(
                x + box_width / 2,
                y - box_height / 2,
                f"hw{lecture.homework.number}",
                fontsize=6.5,
                weight="bold",
                ha="right",
                va="center",
                zorder=4,
                color="white" if there else "#7a5200",
                bbox={
                    "boxstyle": "round,pad=0.25",
                    "facecolor": "#b36b00" if there else "white",
                    "edgecolor": "#b36b00",
                    "linestyle": "-" if there else (0, (2, 1.5)),
                    "linewidth": 0.8,
                },
            )
        for number in lecture.needs:
            _arrow(axis, middle[LECTURES[number].name], (x, y), box_width, box_height)
    for row, text in (
        (-0.1, "look inside, train, scale"),
        (1.9, "the designs that answered"),
        (3.9, "time and pixels"),
    ):
        axis.text(step_x - box_width / 2, -row * step_y, text, fontsize=7.5, style="italic", color=GREY, va="center")
    axis.text(
        middle["12_convnets_strike_back"][0] + box_width / 2,
        -5.3 * step_y,
        "blue: is here      dashed: to come      hw: homework after this lecture",
        fontsize=7,
        color=GREY,
        ha="right",
        va="center",
    )
    axis.set(xlim=(-0.68, 5 * step_x + 0.68), ylim=(-5 * step_y - 0.36, 0.3), aspect="equal")
    axis.axis("off")
    return figure


def _course_folder() -> Path:
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "notebooks").is_dir()), here)


def _is_here(folder: Path, name: str) -> bool:
    places = (
        f"notebooks/{name}.ipynb",
        f"notebooks/source/{name}.py",
        f"assignments/{name}",
        f"solutions/{name}",
        name,
    )
    return any((folder / place).exists() for place in places)


def _arrow(axis: Axes, start, end, box_width: float, box_height: float) -> None:
    style = {
        "arrowstyle": "-|>",
        "color": GREY,
        "linewidth": 0.9,
        "shrinkA": 0,
        "shrinkB": 0,
        "mutation_scale": 8,
    }
    (x0, y0), (x1, y1) = start, end
    if x0 == x1:  # down the column of foundations
        tip, tail = (x1, y1 + box_height / 2), (x0, y0 - box_height / 2)
    elif y0 == y1:
        tip, tail = (x1 - box_width / 2, y1), (x0 + box_width / 2, y0)
    elif x0 == 0:  # from the last foundation right, up to the row, and into its first box
        corner = x0 + box_width / 2 + 0.11
        axis.plot([x0 + box_width / 2, corner, corner], [y0, y0, y1], color=GREY, linewidth=0.9, zorder=1)
        tip, tail = (x1 - box_width / 2, y1), (corner, y1)
    else:
        tip, tail = (x1 - 0.2, y1 + box_height / 2), (x0 + 0.35, y0 - box_height / 2)
    axis.annotate("", tip, tail, arrowprops=style, zorder=1)


# -- small parts
def _images_of(data) -> Tensor:
    images = data if isinstance(data, Tensor) else data.images
    if images.ndim not in (4, 5) or not len(images):
        raise ValueError(f"images are (N, C, H, W) and clips (N, T, C, H, W), at least one; not {tuple(images.shape)}")
    return images


def _captions_of(data, count: int) -> list[str]:
    """``relation 54°`` or, where a set asks one question only, just ``7``; one line for each question."""
    if isinstance(data, Tensor):
        return [""] * count
    several = len(data.all_labels) > 1
    captions = []
    for i in range(count):
        said = [(question, data.all_classes[question][int(labels[i])]) for question, labels in data.all_labels.items()]
        captions.append("\n".join(f"{question} {name}" if several else str(name) for question, name in said))
    return captions


def _token_box(token: int, side: int, patch: tuple[int, int]) -> Rectangle:
    return outline(token % side * patch[1], token // side * patch[0], patch[1], patch[0], ORANGE)


def _table(title: str, values: Tensor) -> np.ndarray:
    values = values.detach().cpu()
    if values.ndim == 1:
        values = values[None]
    if values.ndim != 2:
        raise ValueError(f"{title!r} has shape {tuple(values.shape)}; a matrix has two axes (index the others away)")
    return values.numpy() if values.dtype == torch.bool else values.double().numpy()


def _has_numbers(values: np.ndarray, wanted: bool | None) -> bool:
    if wanted is not None:
        return wanted and values.dtype != bool
    return values.dtype != bool and values.shape[0] <= 12 and values.shape[1] <= 10


def _names(names, title: str) -> Sequence[str] | None:
    return names.get(title) if isinstance(names, Mapping) else names


def _name_axis(axis: Axes, which: str, names: Sequence[str] | None, length: int, title: str) -> None:
    if names is None:
        getattr(axis, f"set_{which}ticks")([])
        return
    if len(names) != length:
        kind = "rows" if which == "y" else "columns"
        raise ValueError(f"{title!r} has {length} {kind} and {len(names)} names for them")
    getattr(axis, f"set_{which}ticks")(range(length), [textwrap.fill(name, 12) for name in names], fontsize=SMALL)
    axis.tick_params(length=0)


def _draw_table(axis: Axes, values: np.ndarray, scale: np.ndarray, written: bool) -> None:
    low, high = (float(scale.min()), float(scale.max())) if len(scale) else (0.0, 1.0)
    if low < 0 < high:
        low, high = -max(-low, high), max(-low, high)
    else:
        low, high = min(low, 0.0), max(high, 0.0)
    colours = colormaps["RdBu" if low < 0 else "Blues"].with_extremes(bad=PALE)
    high = high if high > low else low + 1
    shown = np.where(np.isfinite(values), values, np.nan)
    # Blues and RdBu end so dark that numbers on it are hard to read: stop at nine tenths.
    room = 0.12 * (high - low)
    axis.imshow(
        shown,
        cmap=colours,
        vmin=low - (room if low < 0 else 0),
        vmax=high + room,
        aspect="auto",
        interpolation="nearest",
    )
    axis.spines[:].set_visible(False)
    if written:
        for (row, column), value in np.ndenumerate(values):
            dark = np.isfinite(value) and abs(value) > 0.62 * max(high, -low)
            axis.text(
                column,
                row,
                _number(value),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
                in_layout=False,  # it lies inside: arranging the picture need not measure it
            )


def _number(value: float) -> str:
    if np.isnan(value):
        return "nan"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == round(value) and abs(value) >= 10:
        return f"{value:.0f}"
    return f"{value:.2f}".replace("-", "−")


def _draw_mask(axis: Axes, mask: np.ndarray) -> None:
    axis.imshow(np.where(mask, 0.75, 0.0), cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for row, column in zip(*np.nonzero(~mask)):
        axis.text(column, row, "×", ha="center", va="center", fontsize=9, color=GREY, in_layout=False)
    for line in range(mask.shape[0] + 1):
        axis.axhline(line - 0.5, color="white", linewidth=1)
    for line in range(mask.shape[1] + 1):
        axis.axvline(line - 0.5, color="white", linewidth=1)
    axis.spines[:].set_visible(False)


# -- clips seen by a transformer
def reach_in_clip(clip: Tensor, seen: Mapping[str, Tensor], query: tuple[int, int, int]) -> Picture:
    """Which tokens of a clip have to do with one of them: a film strip a scheme, the others faded out.

    Args:
        clip: (T, C, H, W).
        seen: title -> (T, h, w) truth values.
        query: (frame, row, column) of the token in question, framed in orange.

    Raises:
        ValueError: a title's tokens are not (T, h, w) with the clip's T.
    """
    frames, height = clip.shape[0], clip.shape[-2]
    counted = {title: f"{int(tokens.sum())} of {tokens.numel()} tokens" for title, tokens in seen.items()}
    alt = "; ".join(f"{title}: {said}" for title, said in counted.items())
    side = min(0.95, (PAGE - 1.9) / frames)
    figure, axes = new_figure(alt, len(seen), frames, frames * side + 1.9, len(seen) * side + 0.25)
    for row, (title, tokens) in enumerate(seen.items()):
        if tokens.ndim != 3 or len(tokens) != frames:
            raise ValueError(f"{title!r} must be (T, h, w) with T = {frames}, not {tuple(tokens.shape)}")
        patch = height // tokens.shape[1]
        for time, axis in enumerate(axes[row]):
            show_image(axis, 0.25 + 0.75 * clip[time])  # not black, so that faded stands apart from dark
            for (y, x), visible in np.ndenumerate(tokens[time].numpy()):
                corner = (x * patch - 0.5, y * patch - 0.5)
                colour = {"facecolor": SKY, "alpha": 0.45} if visible else {"facecolor": "white", "alpha": 0.8}
                axis.add_patch(Rectangle(corner, patch, patch, linewidth=0, **colour))
            if time == query[0]:
                axis.add_patch(outline(query[2] * patch, query[1] * patch, patch, patch, ORANGE))
            if row == 0:
                axis.set_title(f"t = {time}", fontsize=SMALL)
        axes[row, 0].set_ylabel(f"{title}\n{counted[title]}", fontsize=SMALL, rotation=0, ha="right", va="center")
    return figure


# -- maps of tokens
def token_maps(
    panels: Mapping[str, Tensor],
    *,
    colours: Mapping[str, Tensor] | None = None,
    window: int | Mapping[str, int] = 0,
    heat: bool = False,
) -> Picture:
    """Maps of tokens with a whole number in each, coloured by group, under the borders of windows.

    Args:
        panels: title -> (H, W) whole numbers to write.
        colours: title -> (H, W) whole numbers from 0: the group each token belongs to. Default: white paper.
        window: the side M of windows whose borders are drawn, in tokens; for all panels, or by title.
        heat: colour by the numbers instead, the larger the bluer.

    Raises:
        ValueError: a panel is not a map, or its colours have another shape.
    """
    tables = {title: _table(title, values) for title, values in panels.items()}
    cell = min(0.34, (PAGE - 0.3 * len(tables)) / sum(values.shape[1] for values in tables.values()))
    widths = [max(cell * values.shape[1], 0.09 * len(title)) for title, values in tables.items()]
    height = cell * max(values.shape[0] for values in tables.values()) + 0.3
    alt = "; ".join(f"{title}, {values.shape[0]} by {values.shape[1]}" for title, values in tables.items())
    figure, axes = new_figure(
        f"maps of tokens: {alt}",
        1,
        len(tables),
        min(PAGE, sum(widths) + 0.3 * len(tables)),
        height,
        width_ratios=widths,
    )
    top = max(float(values.max()) for values in tables.values()) or 1.0
    for axis, (title, values) in zip(axes.flat, tables.items()):
        group = None if colours is None or title not in colours else _table(title, colours[title])
        if group is not None and group.shape != values.shape:
            raise ValueError(f"the colours of {title!r} have shape {group.shape}, its numbers {values.shape}")
        painted = np.ones((*values.shape, 3))  # (H, W, RGB)
        if heat:
            painted = colormaps["Blues"](0.9 * values / top)[..., :3]
        elif group is not None:  # lighter each time the colours have been gone through
            again, which = np.divmod(group.astype(int), len(COLOURS))
            strength = np.where(again % 2 == 0, 0.6, 0.25)[..., None]
            painted = 1 - strength * (1 - np.array([to_rgb(colour) for colour in COLOURS])[which])
        axis.pcolormesh(painted, edgecolors="white", linewidth=0.8)
        for (row, column), number in np.ndenumerate(values):
            dark = painted[row, column].mean() < 0.5
            axis.text(
                column + 0.5,
                row + 0.52,
                f"{number:.0f}",
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if dark else "black",
                in_layout=False,
            )
        side = window.get(title, 0) if isinstance(window, Mapping) else window
        if side:
            rows, columns = values.shape
            borders = {"color": "black", "linewidth": 1.5}
            for y in range(0, rows + 1, side):
                axis.plot([0, columns], [y, y], **borders)
            for x in range(0, columns + 1, side):
                axis.plot([x, x], [0, rows], **borders)
        axis.set(xlim=(-0.08, values.shape[1] + 0.08), ylim=(values.shape[0] + 0.08, -0.08), aspect="equal")
        axis.axis("off")
        axis.set_title(title, fontsize=9)
    return figure

"""The figures of the analyses. As in ``course.plots``: one call, one figure, a ``Picture``."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.collections import PolyCollection
from torch import Tensor

from course import plots
from course.analysis.filters import PrincipalFilters
from course.analysis.receptive_field import area, level
from course.analysis.robustness import shuffle_tiles
from course.analysis.token_grid import token_grid
from course.drawing import (
    BLUE,
    GREY,
    ORANGE,
    PAGE,
    PALE,
    SMALL,
    Picture,
    new_figure,
    show_image,
    without_axes,
)

MAPS = 8  # along each side of a figure of positions, at most: more would be too small to read


def position_maps(similarity: Tensor, lowest: float = -1.0) -> Picture:
    """Which positions are alike: a small map for each position, laid out as the positions are.

    After Dosovitskiy et al. 2021, arXiv:2010.11929, figure 7, centre. The dot is the position itself. Of a
    large grid every second or third position is shown.

    Args:
        similarity: (h, w, h, w), as from ``position_similarity``.
        lowest: where the scale begins; from 0 on, what lies there is white.
    """
    height, width = similarity.shape[:2]
    shown = []
    for side in (height, width):
        step = -(-side // MAPS)
        shown.append(range((side - 1) % step // 2, side, step))
    rows, columns = shown
    gap = max(1, round(0.08 * max(height, width)))  # in cells
    down, right = height + gap, width + gap
    canvas = np.full((down * len(rows) - gap, right * len(columns) - gap), np.nan)
    figure, ((axis,),) = new_figure(
        f"for each of {len(rows)} by {len(columns)} positions, the cosine with every position of a grid of "
        f"{height} by {width}: from {similarity.min():.2f} to {similarity.max():.2f}; {_near_and_far(similarity)}",
        1,
        1,
        0.62 * len(columns) + 1.2,
        0.62 * len(rows) + 0.4,
    )
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        canvas[down * i :, right * j :][:height, :width] = similarity[row, column].cpu().numpy()
        axis.plot(right * j + column, down * i + row, ".", color=ORANGE, markersize=4, markeredgewidth=0)
    colours = "Blues" if lowest >= 0 else "RdBu"
    shade = axis.imshow(canvas, cmap=colours, vmin=lowest, vmax=1, interpolation="nearest")
    axis.spines[:].set_visible(False)
    axis.set_xticks([right * j + (width - 1) / 2 for j in range(len(columns))], [c + 1 for c in columns])
    axis.set_yticks([down * i + (height - 1) / 2 for i in range(len(rows))], [r + 1 for r in rows])
    axis.tick_params(length=0, labelsize=SMALL)
    axis.set_xlabel("column of the position", fontsize=8)
    axis.set_ylabel("row of the position", fontsize=8)
    bar = figure.colorbar(shade, ax=axis, shrink=0.7, aspect=25, ticks=[lowest, 0, 1] if lowest < 0 else [lowest, 1])
    bar.set_label("cosine", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.outline.set_visible(False)
    return figure


def _near_and_far(similarity: Tensor) -> str:
    """In words: the mean cosine of positions beside each other, and of those half of the grid or more apart."""
    height, width = similarity.shape[:2]
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()  # (N, 2)
    steps = torch.cdist(places, places)  # (N, N)
    flat = similarity.detach().cpu().reshape(height * width, height * width)
    near, far = (steps - 1).abs() < 1e-3, steps >= max(height, width) / 2
    return f"{flat[near].mean():.2f} on average beside it, {flat[far].mean():.2f} half of the grid away or further"


def filters(principal: PrincipalFilters, count: int = 28) -> Picture:
    """The principal components of a patch embedding as images, with their shares of the variance.

    After Dosovitskiy et al. 2021, arXiv:2010.11929, figure 7, left. Grey is 0; each component is stretched to
    its own largest magnitude.

    Args:
        principal: as from ``principal_filters``.
        count: how many, the most important first.

    Raises:
        ValueError: the filters are of images that are neither grey nor in three colours.
    """
    components = principal.components[:count]
    if components.shape[1] not in (1, 3):
        raise ValueError(f"filters of {components.shape[1]} channels are no images: 1 and 3 are")
    largest = components.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)  # (K, 1, 1, 1)
    captions = [f"{share:.1%}" for share in principal.shares[:count].tolist()]
    picture = plots.image_grid(0.5 + 0.5 * components / largest, count=count, columns=10, captions=captions)
    picture.alt = f"{len(components)} principal filters, with {', '.join(captions)} of the variance"
    return picture


def rollout_on_images(images: Tensor, maps: Tensor, *, count: int = 5) -> Picture:
    """From which patches the answer comes: images, and under each a square in each patch, its area the share.

    Squares and not shades, because beside noisy images a stored picture has few colours left.

    Args:
        images: (B, C, H, W), uint8 or float.
        maps: (B, h, w), as from ``rollout_maps``; the largest square of an image fills its patch.
        count: how many, from the first on.

    Raises:
        ValueError: other numbers of images and maps.
    """
    if len(images) != len(maps):
        raise ValueError(f"there are {len(images)} images and {len(maps)} maps")
    count = min(count, len(images))
    side = min(1.5, PAGE / count)
    figure, axes = new_figure(
        f"{count} images, and the share of each patch in the answer: the largest is "
        f"{', '.join(_largest(shares) for shares in maps[:count])}; all alike would be {1 / maps[0].numel():.3f}",
        2,
        count,
        count * side,
        2 * side + 0.2,
    )
    for image, shares, (above, below) in zip(images, maps.detach().cpu().float().numpy(), axes.T):
        show_image(above, image)
        positions = np.stack(np.indices(shares.shape)[::-1], axis=-1).reshape(-1, 1, 2)  # (h*w, 1, 2), as x, y
        half = 0.5 * np.sqrt(shares / max(shares.max(), 1e-12)).reshape(-1, 1, 1)  # (h*w, 1, 1), of a side
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])  # (4, 2)
        below.add_collection(PolyCollection(positions + half * corners, facecolor=BLUE, linewidth=0))
        below.set(xlim=(-0.5, shares.shape[1] - 0.5), ylim=(shares.shape[0] - 0.5, -0.5), aspect="equal")
        below.set(xticks=[], yticks=[])
        below.spines[:].set_color(PALE)
        below.set_xlabel(f"up to {shares.max():.3f}", fontsize=SMALL)
    for axis, name in zip(axes[:, 0], ("image", "share")):
        axis.set_ylabel(name, fontsize=SMALL)
    return figure


def _largest(shares: Tensor) -> str:
    row, column = divmod(int(shares.argmax()), shares.shape[1])
    return f"{shares.max():.3f} in row {row}, column {column}"


def patch_attention(image: Tensor, weights: Tensor, query: int) -> Picture:
    """Where one patch looks, in every head: ``course.plots.attention_maps`` without the class tokens.

    Args:
        image: (C, H, W).
        weights: of one layer and one image, (heads, N, N): ``attention_weights(...)[layer][number]``.
        query: which patch looks, in reading order from 0.

    Raises:
        ValueError: the tokens are not the patches of a square image, or there is no such patch.
    """
    if weights.ndim != 3 or weights.shape[1] != weights.shape[2]:
        raise ValueError(
            f"weights are (heads, N, N), of one layer and one image: weights[layer][number], not {tuple(weights.shape)}"
        )
    class_tokens, grid = token_grid(weights.shape[1])
    if not 0 <= query < grid[0] * grid[1]:
        raise ValueError(f"there are {grid[0] * grid[1]} patches, counted from 0: none is {query}")
    return plots.attention_maps(image, weights[:, class_tokens + query, class_tokens:], query)


def receptive_fields(fields: Mapping[str, Tensor], share: float = 0.5) -> Picture:
    """Effective receptive fields as small maps; the outlined pixels are the fewest that hold a share of all.

    After Luo et al. 2016, arXiv:1701.04128, figure 1. Each is stretched to its own largest value, and the shade
    is the square root: what is weak would be white otherwise.

    Args:
        fields: name -> (H, W), as from ``receptive_fields``.
        share: 0..1.
    """
    per_row = min(len(fields), 6)
    rows = -(-len(fields) // per_row)
    sizes = {name: area(field, share) for name, field in fields.items()}
    said = "; ".join(f"{name} {100 * size:.1f} %" for name, size in sizes.items())
    side = min(1.5, PAGE / per_row)
    figure, axes = new_figure(
        f"effective receptive fields; {100 * share:g} % of each lie within this share of the image: {said}",
        rows,
        per_row,
        per_row * side,
        rows * (side + 0.42) + 0.1,
    )
    zoom = np.ones((8, 8))  # so that the outline follows the edges of the pixels
    for axis in axes.flat[len(fields) :]:
        axis.axis("off")
    for axis, (name, field) in zip(axes.flat, fields.items()):
        height, width = field.shape
        shade = (field / field.max().clamp(min=1e-30)).sqrt().numpy()
        axis.imshow(shade, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        # With a rim, so that an outline at the border is closed.
        inside = np.pad((field >= level(field, share)).numpy(), 1)
        extent = (-1.5, width + 0.5, -1.5, height + 0.5)
        if field.any():
            axis.contour(np.kron(inside, zoom), [0.5], colors=ORANGE, linewidths=1, extent=extent)
        without_axes(axis)
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.5)
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        said = f"{name.removeprefix('stages.')}\n{100 * share:g} % in {100 * sizes[name]:.1f} %"
        axis.set_title(said, fontsize=SMALL)
    return figure


def occlusion_curves(
    shares: Sequence[float], accuracies: Mapping[str, Sequence], *, chance: float | None = None
) -> Picture:
    """Accuracy over the share of tiles that are gone (Naseer et al. 2021, arXiv:2105.10497, section 3.1).

    Args:
        shares: as given to ``occlusion``.
        accuracies: name -> 0..1 for each share; or a tuple of such lists, one a seed.
        chance: accuracy 0..1 of guessing.
    """
    return _accuracies([100 * share for share in shares], accuracies, "tiles that are gone, %", chance)


def shuffling_curves(
    grids: Sequence[int], accuracies: Mapping[str, Sequence], *, chance: float | None = None
) -> Picture:
    """Accuracy over the number of tiles that have changed places (arXiv:2105.10497, section 3.3).

    Args:
        grids: as given to ``shuffling``.
        accuracies: name -> 0..1 for each grid; or a tuple of such lists, one a seed.
        chance: accuracy 0..1 of guessing.
    """
    picture = _accuracies(range(len(grids)), accuracies, "tiles that change places", chance)
    picture.get_axes()[0].set_xticks(range(len(grids)), [f"{grid}×{grid}" for grid in grids])
    return picture


def _accuracies(x, accuracies: Mapping[str, Sequence], xlabel: str, chance: float | None) -> Picture:
    lines = {name: 100 * np.asarray(values) for name, values in accuracies.items()}
    levels = None if chance is None else {"chance": 100 * chance}
    picture = plots.curves(x, lines, xlabel=xlabel, ylabel="accuracy, %", levels=levels)
    (axis,) = picture.get_axes()
    axis.set_ylim(0, 104)
    if len(lines) > 3:  # no corner is free of so many
        picture.set_size_inches(6.4, 2.8)
        axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return picture


def shuffled_images(image: Tensor, grids: Sequence[int] = (1, 2, 4, 8), *, seed: int = 0) -> Picture:
    """An image, and the same with its tiles in another order, for each number of tiles.

    Args:
        image: (C, H, W).
        grids, seed: as for ``shuffling``.

    Raises:
        ValueError: tiles that do not divide the image.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.cat([shuffle_tiles(image[None], grid, generator) for grid in grids])  # (grids, C, H, W)
    captions = [f"{grid}×{grid} tiles" if grid > 1 else "as it is" for grid in grids]
    return plots.image_grid(images, count=len(grids), columns=len(grids), captions=captions)


def loss_surface(values: Tensor, steps: Tensor) -> Picture:
    """The loss around the weights, as contour lines; the star is where training ended.

    After Li et al. 2018, arXiv:1712.09913, figure 5. The lines stand for equal ratios of the loss.

    Args:
        values: (n, n), as from ``loss_surface`` with two directions.
        steps: (n,), as given to it.

    Raises:
        ValueError: these are not the values of two directions; one is drawn by ``course.plots.curves``.
    """
    if values.shape != (len(steps), len(steps)):
        raise ValueError(
            f"a surface of {len(steps)} steps along two directions is ({len(steps)}, {len(steps)}), not "
            f"{tuple(values.shape)}: the loss along one direction is drawn by course.plots.curves"
        )
    values, steps = values.clamp(min=1e-12).numpy(), steps.numpy()
    levels = np.geomspace(values.min(), max(values.max(), 1.001 * values.min()), 12)
    middle = values[len(steps) // 2, len(steps) // 2]
    figure, ((axis,),) = new_figure(
        f"the loss along two directions: {middle:.2g} in the middle, {values.min():.2g} to {values.max():.2g}",
        1,
        1,
        3.9,
        3.4,
    )
    axis.contourf(steps, steps, values, levels, cmap="Blues", norm="log", extend="both")
    lines = axis.contour(steps, steps, values, levels[1:-1], colors="black", linewidths=0.6)
    axis.clabel(lines, fmt="%.2g", fontsize=SMALL)
    axis.plot(0, 0, "*", color=ORANGE, markersize=12, markeredgecolor="black", markeredgewidth=0.6)
    axis.set(xlabel="step along the second direction", ylabel="step along the first", aspect="equal")
    return figure

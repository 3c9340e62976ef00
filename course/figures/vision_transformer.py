"""The figures of lecture 5: patches and tokens, the chain of a ViT's parts, data against bias, resolution."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn

from course.drawing import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    ORANGE,
    PAGE,
    SMALL,
    Picture,
    empty_figure,
    frame_axes,
    new_figure,
    outline,
    show_image,
    without_axes,
)

CHANNEL_COLOURS = ("Reds", "Greens", "Blues")  # of red, green and blue, for a patch laid out as a row


def patch_to_token(image: Tensor, weight: Tensor, bias: Tensor, token: int) -> Picture:
    """One patch on its way: framed in the image, enlarged, laid out as a row of numbers, mapped to a token.

    Args:
        image: (3, H, W), uint8.
        weight: (D, 3, P, P), one row of the linear map as a small picture for each number of the token.
        bias: (D,).
        token: which patch, in reading order.

    Raises:
        ValueError: image or weight has not three channels, P does not divide the image, or there is no such
            token.
    """
    channels, height, width = image.shape
    dim, in_chans, patch, _ = weight.shape
    if channels != 3 or in_chans != 3:
        raise ValueError(f"three channels are needed: the image has {channels}, the weight {in_chans}")
    if height % patch or width % patch:
        raise ValueError(f"patches of {patch} pixels do not tile an image of {height}×{width}")
    count = (height // patch) * (width // patch)
    if not 0 <= token < count:
        raise ValueError(f"there are tokens 0 to {count - 1}, and no {token}")
    top, left = (patch * index for index in divmod(token, width // patch))
    cut = image[:, top : top + patch, left : left + patch]  # (3, P, P)
    values = torch.einsum("cij,dcij->d", cut.float() / 255, weight.detach().float()) + bias.detach()  # (D,)
    row = 3 * patch * patch
    figure, ((whole, part, laid_out, made),) = new_figure(
        f"patch {token} of {count}, its {row} numbers, and the token of {dim} numbers made of them",
        1,
        4,
        PAGE,
        2.35,
        width_ratios=[1.3, 0.8, 1.15, 1.15],
    )
    show_image(whole, image)
    whole.add_patch(outline(left, top, patch, patch, ORANGE))
    whole.set_title(f"the image, {height} × {width}", fontsize=9)
    show_image(part, cut)
    frame_axes(part, ORANGE)
    part.set_title(f"patch {token}: {patch} × {patch}\npixels, 3 colours", fontsize=9)
    # The row of C·P·P numbers, one line a channel so that it can be seen.
    lines = cut.reshape(3, -1).float().numpy() / 255  # (3, P·P)
    colours = np.stack([colormaps[name](0.85 * line)[:, :3] for name, line in zip(CHANNEL_COLOURS, lines)])
    laid_out.imshow(colours, aspect="auto", interpolation="nearest")
    without_axes(laid_out)
    laid_out.set_yticks(range(3), ["red", "green", "blue"], fontsize=SMALL)
    laid_out.tick_params(length=0)
    laid_out.set_title(f"laid out: {row} numbers", fontsize=9)
    made.bar(range(dim), values.numpy(), color=BLUE, width=0.9)
    made.axhline(0, color=GREY, linewidth=0.8)
    made.set_title(f"token {token}: {dim} numbers", fontsize=9)
    made.set_xticks([0, dim - 1])
    made.tick_params(labelsize=SMALL)
    return figure


def filters_and_maps(image: Tensor, filters: Mapping[str, Tensor], maps: Tensor) -> Picture:
    """Small pictures, and for each of them how much of it is in every patch of the image.

    Args:
        image: (C, H, W).
        filters: name -> (C, P, P): rows of the linear map, C = 3 or 1.
        maps: (K, h, w): one number of every token, for each of the K filters. Red is below 0, blue above.

    Raises:
        ValueError: there are not as many maps as filters.
    """
    if len(maps) != len(filters):
        raise ValueError(f"there are {len(filters)} filters and {len(maps)} maps")
    figure, axes = new_figure(
        f"an image, {len(filters)} filters ({', '.join(filters)}) and the map of {maps.shape[1]} by "
        f"{maps.shape[2]} that each makes of it",
        2,
        1 + len(filters),
        1.75 * (1 + len(filters)),
        3.5,
        height_ratios=[1, 1.5],
    )
    axes[0, 0].axis("off")
    show_image(axes[1, 0], image)
    axes[1, 0].set_title("the image", fontsize=9)
    for axis, (name, kernel) in zip(axes[0, 1:], filters.items()):
        show_image(axis, 0.5 + 0.5 * kernel / kernel.abs().max().clamp(min=1e-12))
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.5)
        axis.set_title(name, fontsize=9)
    for number, (axis, found) in enumerate(zip(axes[1, 1:], maps.detach())):
        top = float(found.abs().max()) or 1.0
        axis.imshow(found.numpy(), cmap="RdBu", vmin=-1.15 * top, vmax=1.15 * top, interpolation="nearest")
        without_axes(axis)
        axis.set_title(f"number {number} of\nevery token", fontsize=9)
    return figure


def sizes_of_tokens(rows: Mapping[str, Tensor]) -> Picture:
    """How large the numbers of several tables are: for each the standard deviation as a bar, on a log axis.

    Args:
        rows: name -> numbers of any shape.

    Raises:
        ValueError: a table has no spread, so that it has no place on the axis.
    """
    spreads = {name: float(values.detach().float().std()) for name, values in rows.items()}
    flat = [name for name, spread in spreads.items() if not spread > 0]
    if flat:
        raise ValueError(f"{', '.join(flat)}: all numbers are the same")
    said = "; ".join(f"{name} {spread:.2g}" for name, spread in spreads.items())
    figure, ((axis,),) = new_figure(f"standard deviations. {said}", 1, 1, 6.0, 0.75 + 0.3 * len(spreads))
    low = 10 ** np.floor(np.log10(min(spreads.values())) - 0.3)
    for y, spread in enumerate(spreads.values()):
        axis.barh(y, spread - low, left=low, height=0.7, color=COLOURS[y % len(COLOURS)])
        axis.text(spread * 1.08, y, f"{spread:.2g}", va="center", fontsize=8)
    axis.set_yticks(range(len(spreads)), list(spreads))
    axis.set(xscale="log", ylim=(len(spreads) - 0.4, -0.6), xlabel="standard deviation of the numbers")
    axis.set_xlim(low, 3 * max(spreads.values()))
    return figure


def forward_chain(model: nn.Module, images: Tensor) -> Picture:
    """The parts of an isotropic model in forward order, the shape behind each, and one block opened.

    The model is run once: names and shapes are read, not written down.

    Args:
        model: made by ``create_model``, with one stage, whose first block has two residual halves.
        images: (B, C, H, W) as the model takes them.

    Raises:
        ValueError: the model has another build.
    """
    stages = getattr(model, "stages", ())
    parts = stages[0].blocks[0].children() if len(stages) == 1 else ()
    halves = [part for part in parts if hasattr(part, "branch")]
    if len(halves) != 2:
        name = type(model).__name__
        raise ValueError(f"needed is a model of one stage, its blocks of two halves; this is {name}")
    stage = stages[0]
    names = {
        "stem": type(model.stem).__name__,
        "entry": type(stage.entry).__name__,
        "blocks": f"{len(stage.blocks)} × {type(stage.blocks[0]).__name__}",
        "head": type(model.head).__name__,
    }
    shapes = _shapes_behind(
        {"stem": model.stem, "entry": stage.entry, "blocks": stage.blocks, "head": model.head}, model, images
    )
    chain = ", ".join(f"{names[key]} {shapes[key]}" for key in names)
    alt = f"from images {tuple(images.shape)} through {chain}; and what is inside one block"
    figure = empty_figure(alt, PAGE, 2.9)
    axis = figure.subplots()
    axis.text(0.0, 2.2, "images", ha="center", va="center", fontsize=8.5)
    axis.text(0.0, 1.72, str(tuple(images.shape)), ha="center", va="center", fontsize=SMALL, color=GREY)
    for number, (key, colour) in enumerate(zip(names, (BLUE, GREEN, ORANGE, BLUE))):
        x = 2.4 * (number + 1)
        _arrow(axis, (x - 1.72 if number else 0.45, 2.2), (x - 0.72, 2.2))
        _node(axis, x, 2.2, 1.4, 0.52, names[key], colour)
        axis.text(x, 1.72, str(shapes[key]), ha="center", va="center", fontsize=SMALL, color=GREY)
    _opened_block(axis, halves, type(stage.blocks[0]).__name__)
    axis.set(xlim=(-0.7, 10.45), ylim=(-1.05, 2.6))
    axis.axis("off")
    return figure


def _shapes_behind(parts: Mapping[str, nn.Module], model: nn.Module, images: Tensor) -> dict[str, tuple[int, ...]]:
    """The shape that leaves each of these parts of a model when it is run on images (B, C, H, W)."""
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        part.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape)}))
        for name, part in parts.items()
    ]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _opened_block(axis, halves: Sequence[nn.Module], name: str) -> None:
    """Below the chain, one block: two halves, each beside a path around it."""
    axis.plot([6.55, 0.0], [1.5, 1.16], ":", color=GREY, linewidth=0.8)
    axis.plot([7.85, 9.7], [1.5, 1.16], ":", color=GREY, linewidth=0.8)
    axis.text(-0.1, 0.42, "x", ha="center", va="center", fontsize=9, style="italic")
    axis.plot([0.05, 9.55], [0.42, 0.42], color="black", linewidth=1.4, zorder=0)
    for number, half in enumerate(halves):
        start = 0.35 + 4.7 * number
        axis.plot([start, start], [0.42, -0.35], color=GREY, linewidth=0.9)
        _arrow(axis, (start, -0.35), (start + 0.3, -0.35))
        _node(axis, start + 0.95, -0.35, 1.25, 0.44, type(half.norm).__name__, GREY)
        _arrow(axis, (start + 1.58, -0.35), (start + 1.95, -0.35))
        _node(axis, start + 2.75, -0.35, 1.55, 0.44, type(half.branch).__name__, ORANGE)
        axis.plot([start + 3.53, start + 4.0], [-0.35, -0.35], color=GREY, linewidth=0.9)
        _arrow(axis, (start + 4.0, -0.35), (start + 4.0, 0.26))
        axis.text(
            start + 4.0,
            0.42,
            "+",
            ha="center",
            va="center",
            fontsize=11,
            bbox={"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": "black"},
        )
        kept = "what was there is kept"
        axis.text(start + 2.1, 0.54, kept, ha="center", va="bottom", fontsize=SMALL, color=GREY)
    _arrow(axis, (9.5, 0.42), (9.85, 0.42), "black")
    axis.text(4.8, -0.86, f"one {name}", ha="center", va="center", fontsize=8.5)


def crossover(results: Mapping[str, Mapping[str, Mapping[int, float]]], chance: float | None = None) -> Picture:
    """Accuracy over the number of training images: a panel a question, a line a network.

    Args:
        results: question -> network -> images -> accuracy 0..1.
        chance: accuracy 0..1 of guessing, drawn as a line.

    Raises:
        ValueError: there is no question, or one without a network.
    """
    if not results or not all(results.values()):
        raise ValueError("a question is needed, and for each question a network")
    networks = list(dict.fromkeys(network for row in results.values() for network in row))
    said = "; ".join(
        f"{question}, {network}: " + ", ".join(f"{100 * a:.0f} % from {n:,}" for n, a in sorted(line.items()))
        for question, row in results.items()
        for network, line in row.items()
    )
    figure, axes = new_figure(f"accuracies. {said}", 1, len(results), 3.4 * len(results) + 0.4, 2.7, sharey=True)
    for axis, (question, row) in zip(axes.flat, results.items()):
        counts = sorted({count for line in row.values() for count in line})
        for network, line in row.items():
            which = networks.index(network)
            x, y = zip(*sorted(line.items()))
            axis.plot(
                x,
                [100 * accuracy for accuracy in y],
                ("o-", "s--", "^-.", "D:")[which % 4],
                color=COLOURS[which % len(COLOURS)],
                markersize=5,
                label=network,
            )
        if chance is not None:
            axis.axhline(100 * chance, color=GREY, linewidth=0.8, linestyle=":")
            style = {"fontsize": SMALL, "color": GREY, "ha": "right", "va": "bottom"}
            axis.text(counts[-1], 100 * chance + 1, "chance", **style)
        axis.set(xscale="log", title=question, xlabel="training images", ylim=(0, 104))
        axis.set_xticks(counts, [f"{count:,}" for count in counts])
        axis.set_xticks([], minor=True)
    axes[0, 0].set_ylabel("accuracy, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=len(labels))
    return figure


def grids(image: Tensor, sizes: Sequence[int], patch: int) -> Picture:
    """One image at several resolutions, drawn equally large, under the grid of its patches.

    Args:
        image: (C, H, W), uint8; resized bilinearly.
        sizes: H = W of each resolution, in pixels.
        patch: P, in pixels, the same for all.

    Raises:
        ValueError: P does not divide a size.
    """
    wrong = [size for size in sizes if size % patch]
    if wrong:
        raise ValueError(f"patches of {patch} pixels do not tile images of {', '.join(map(str, wrong))}")
    said = "; ".join(f"{size} pixels, {(size // patch) ** 2} patches" for size in sizes)
    figure, axes = new_figure(f"one image: {said}", 1, len(sizes), 2.7 * len(sizes), 2.75)
    for axis, size in zip(axes.flat, sizes):
        resized = F.interpolate(image[None].float(), size=(size, size), mode="bilinear", antialias=True)[0]
        show_image(axis, resized.round().clamp(0, 255).byte())
        for line in range(1, size // patch):
            axis.axhline(line * patch - 0.5, color="white", linewidth=0.7)
            axis.axvline(line * patch - 0.5, color="white", linewidth=0.7)
        side = size // patch
        axis.set_title(f"{size} × {size} pixels:\nN = {side} × {side} = {side * side} patches", fontsize=9)
    return figure


def same_place(similarities: Mapping[str, Tensor], place: tuple[float, float]) -> Picture:
    """Which positions are like the one at a place of the image, for several grids, drawn equally large.

    Args:
        similarities: title -> (h, w, h, w), cosines as from ``course.analysis.position_similarity``.
        place: (y, x), each from 0, the upper left corner, to below 1.

    Raises:
        ValueError: the place is outside the image, or a table is not (h, w, h, w).
    """
    if not all(0 <= part < 1 for part in place):
        raise ValueError(f"a place is two shares from 0 to below 1, and not {place}")
    alt = f"what is like the position at {place[0]:.2f} from the top and {place[1]:.2f} from the left: "
    width = 2.5 * len(similarities) + 0.7
    figure, axes = new_figure(alt + ", ".join(similarities), 1, len(similarities), width, 2.7)
    low = min(float(table.min()) for table in similarities.values())
    cmap, low = ("RdBu", -1.0) if low < 0 else ("Blues", low)
    scale = {"cmap": cmap, "vmin": low, "vmax": 1.0}
    for axis, (title, table) in zip(axes.flat, similarities.items()):
        if table.ndim != 4 or table.shape[:2] != table.shape[2:]:
            raise ValueError(f"{title!r} must be (h, w, h, w), not {tuple(table.shape)}")
        rows, columns = table.shape[:2]
        row, column = int(place[0] * rows), int(place[1] * columns)
        shade = axis.imshow(table[row, column].cpu().numpy(), **scale, interpolation="nearest", extent=(0, 1, 1, 0))
        dot = {"color": ORANGE, "markersize": 6, "markeredgecolor": "black"}
        axis.plot((column + 0.5) / columns, (row + 0.5) / rows, "o", **dot)
        without_axes(axis)
        axis.set_title(f"{title}\n{rows} × {columns} places", fontsize=9)
    bar = figure.colorbar(shade, ax=axes.ravel().tolist(), shrink=0.75, aspect=22)
    bar.set_label("cosine with the dot", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.outline.set_visible(False)
    return figure


def class_token_looks(image: Tensor, weights: Sequence[Tensor], caption: str = "") -> Picture:
    """Where the class token looks: the image, then a map for each head, a row a layer, the darker the more.

    Args:
        image: (C, H, W).
        weights: for each layer (h, 1 + N), the class token's row of every head's weights, itself first; N is
            a square number.
        caption: under the image.

    Raises:
        ValueError: N is not a square number, or the layers do not have equally many heads.
    """
    side = round((weights[0].shape[-1] - 1) ** 0.5)
    if any(layer.shape != (len(weights[0]), 1 + side * side) for layer in weights):
        shapes = ", ".join(str(tuple(layer.shape)) for layer in weights)
        raise ValueError(f"every layer must be (h, 1 + a square number), not {shapes}")
    heads = len(weights[0])
    figure, axes = new_figure(
        f"where the class token looks, in {len(weights)} layers of {heads} heads; {caption}",
        len(weights),
        1 + heads,
        1.5 * (1 + heads),
        1.72 * len(weights) + 0.1,
    )
    for axis in axes.flat:
        axis.axis("off")
    axes[0, 0].axis("on")
    show_image(axes[0, 0], image)
    axes[0, 0].set_title("the image", fontsize=SMALL)
    axes[0, 0].set_xlabel(caption, fontsize=SMALL)
    for number, layer in enumerate(weights):
        for head, (axis, row) in enumerate(zip(axes[number, 1:], layer.detach().cpu().float())):
            grid = row[1:].reshape(side, side).numpy()
            axis.axis("on")
            top = 1.1 * max(grid.max(), 1e-12)
            axis.imshow(grid, cmap="Blues", vmin=0, vmax=top, interpolation="nearest")
            without_axes(axis)
            axis.spines[:].set(visible=True, color=GREY, linewidth=0.5)
            axis.set_title(f"layer {number + 1}, head {head}: {grid.max():.2f}", fontsize=SMALL)
    return figure


def _node(axis, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    shape = "round,pad=0,rounding_size=0.08"
    style = {"facecolor": "white", "edgecolor": colour, "linewidth": 1.4}
    axis.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle=shape, **style))
    axis.text(x, y, text, ha="center", va="center", fontsize=8)


def _arrow(axis, start: tuple[float, float], end: tuple[float, float], colour: str = GREY) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=style)

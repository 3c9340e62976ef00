"""The figures of lecture 5: patches and tokens, parts taken out of the block, data against bias, resolution."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from torch import Tensor

from course.drawing import (
    GREEN,
    GREY,
    ORANGE,
    PAGE,
    SMALL,
    Picture,
    colours_of,
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
        f"patch {token} of {count}, in row {top // patch} and column {left // patch} of the image; its {row} numbers, "
        f"{patch * patch} of each colour; and the token of {dim} numbers made of them, from {float(values.min()):.2f} to "
        f"{float(values.max()):.2f}",
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
    made.bar(range(dim), values.numpy(), color=GREEN, width=0.9)
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
        maps: (K, h, w): one number of every token, for each of the K filters; white is its lowest, black its highest.

    Raises:
        ValueError: there are not as many maps as filters.
    """
    if len(maps) != len(filters):
        raise ValueError(f"there are {len(filters)} filters and {len(maps)} maps")
    said = "; ".join(
        f"{name}: highest in row {int(found.argmax()) // maps.shape[2]}, column {int(found.argmax()) % maps.shape[2]}"
        for name, found in zip(filters, maps)
    )
    figure, axes = new_figure(
        f"what {len(filters)} filters find in an image of {maps.shape[1]} by {maps.shape[2]} patches. {said}",
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
        axis.imshow(found.numpy(), cmap="Greys", interpolation="nearest")
        without_axes(axis)
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.5)
        axis.set_title(f"number {number} of\nevery token", fontsize=9)
    return figure


def rolled(image: Tensor, shifts: Sequence[tuple[int, int]], patch: int) -> Picture:
    """An image, and the same rolled down and to the right, under the grid of its patches.

    Args:
        image: (C, H, W).
        shifts: (down, right) in pixels, for each further panel.
        patch: P; counted is how many patches are patches of the image, at whatever place.
    """
    own = {cut.numpy().tobytes() for cut in _patches(image, patch)}
    panels, said = {"the image": image}, []
    for shift in shifts:
        moved = image.roll(shift, dims=(1, 2))
        same = sum(cut.numpy().tobytes() in own for cut in _patches(moved, patch))
        name = f"rolled by {shift[0]} and {shift[1]}"
        panels[name] = moved
        said.append(f"{name} pixels: {same} of {len(_patches(moved, patch))} patches are patches of the image")
    figure, axes = new_figure("; ".join(said), 1, len(panels), 2.2 * len(panels), 2.4)
    for axis, (name, shown) in zip(axes.flat, panels.items()):
        show_image(axis, shown)
        for line in range(patch, max(image.shape[1:]), patch):
            axis.axhline(line - 0.5, color="white", linewidth=0.5)
            axis.axvline(line - 0.5, color="white", linewidth=0.5)
        axis.set_title(name, fontsize=9)
    return figure


def _patches(image: Tensor, patch: int) -> Tensor:
    """(C, H, W) -> (N, C, P, P)."""
    rows = image.unfold(1, patch, patch).unfold(2, patch, patch)  # (C, h, w, P, P)
    return rows.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()


def sizes_of_tokens(rows: Mapping[str, Tensor]) -> Picture:
    """How large the numbers of several tables are: for each the standard deviation, as a bar from 0.

    Args:
        rows: name -> numbers of any shape.
    """
    spreads = {name: float(values.detach().float().std()) for name, values in rows.items()}
    said = "; ".join(f"{name} {spread:.2g}" for name, spread in spreads.items())
    figure, ((axis,),) = new_figure(f"standard deviations. {said}", 1, 1, 6.0, 0.75 + 0.3 * len(spreads))
    axis.barh(range(len(spreads)), list(spreads.values()), height=0.7, color=GREEN)
    for y, spread in enumerate(spreads.values()):
        axis.text(spread + 0.02 * max(spreads.values()), y, f"{spread:.2g}", va="center", fontsize=8)
    axis.set_yticks(range(len(spreads)), list(spreads))
    axis.set(ylim=(len(spreads) - 0.4, -0.6), xlabel="standard deviation of the numbers")
    axis.set_xlim(0, 1.15 * max(spreads.values()))
    return figure


def parts_removed(accuracies: Mapping[str, Mapping[str, tuple[float, ...]]], guessing: float) -> Picture:
    """What a ViT gets right with all its parts and with one of them removed: a panel a depth, a bar a network.

    Args:
        accuracies: depth in words -> network -> accuracy 0..1 of each seed. Every panel has the same networks.
        guessing: accuracy 0..1 without looking at the image, drawn as a line.
    """
    said = "; ".join(
        f"{depth}: " + ", ".join(f"{name} {_range(seeds)} %" for name, seeds in row.items())
        for depth, row in accuracies.items()
    )
    networks = list(next(iter(accuracies.values())))
    height = 0.8 + 0.3 * len(networks)
    alt = f"accuracies; guessing gets {100 * guessing:.0f} %. {said}"
    figure, axes = new_figure(alt, 1, len(accuracies), PAGE, height, sharex=True, sharey=True)
    for axis, (depth, row) in zip(axes.flat, accuracies.items()):
        for y, seeds in enumerate(row.values()):
            shares = 100 * np.asarray(seeds)
            axis.barh(y, shares.mean(), height=0.75, color=GREEN, alpha=1.0 if y == 0 else 0.45)
            axis.plot(shares, [y] * len(shares), "|", color="black", markersize=9, markeredgewidth=1.2)
            axis.text(shares.max() + 4, y, _range(seeds), va="center", fontsize=8)
        axis.axvline(100 * guessing, color=GREY, linestyle="--", linewidth=1, zorder=0)
        place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axis.annotate(
            "guessing", (100 * guessing, 1), (0, 1), **place, ha="center", va="bottom", fontsize=8, color=GREY
        )
        axis.set(xlim=(0, 118), ylim=(len(networks) - 0.45, -0.55), xlabel="accuracy, %", title=depth)
        axis.set_xticks(range(0, 101, 20))
    axes[0, 0].set_yticks(range(len(networks)), networks)
    return figure


def _range(seeds: Sequence[float]) -> str:
    """``"72"``, or of several seeds the lowest and the highest, ``"70–73"``."""
    lowest, highest = (f"{100 * value:.0f}" for value in (min(seeds), max(seeds)))
    return lowest if lowest == highest else f"{lowest}–{highest}"


def receptive_fields(fields: Mapping[str, Tensor]) -> Picture:
    """How much each pixel moves one token: a map for each way of making tokens, the darker the more.

    Args:
        fields: name -> (h, w), no number below 0.
    """
    said = "; ".join(
        f"{name}: {100 * float((field > 0).float().mean()):.0f} % of the image can move it, "
        f"half of the effect comes from {100 * _half_of(field):.0f} %"
        for name, field in fields.items()
    )
    figure, axes = new_figure(f"what one token sees. {said}", 1, len(fields), 2.4 * len(fields), 2.5)
    for axis, (name, field) in zip(axes.flat, fields.items()):
        axis.imshow((field / field.max()).numpy(), cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        without_axes(axis)
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.5)
        axis.set_title(name, fontsize=9)
    return figure


def _half_of(field: Tensor) -> float:
    """The smallest share of places that hold half of the whole."""
    shares = (field / field.sum()).flatten().sort(descending=True).values.cumsum(0)  # (h*w,)
    return float((shares < 0.5).sum() + 1) / field.numel()


def by_pretraining(millions: Sequence[float], accuracies: Mapping[str, Sequence[float | None]]) -> Picture:
    """Accuracy over the number of images to pre-train on, on a log axis: a line a network.

    Args:
        millions: images, in millions.
        accuracies: name, beginning with ViT or CNN -> per cent for each of `millions`, None where the source has none.
    """
    said = "; ".join(
        f"{name}: " + ", ".join(f"{a:.1f} % from {m:g} million" for m, a in zip(millions, line) if a is not None)
        for name, line in accuracies.items()
    )
    figure, ((axis,),) = new_figure(f"ImageNet top-1. {said}", 1, 1, 6.0, 3.3)
    for (name, line), colour, mark in zip(accuracies.items(), colours_of(accuracies), "os^D"):
        points = [(m, a) for m, a in zip(millions, line) if a is not None]
        dash = {"o": ":", "s": "--", "^": "-", "D": "-"}[mark]
        axis.plot(*zip(*points), mark + dash, color=colour, label=name, markersize=5)
    axis.set(xscale="log", xlabel="images to pre-train on, millions", ylabel="ImageNet top-1, %")
    axis.set_xticks(millions, [f"{m:g}" for m in millions])
    axis.set_xticks([], minor=True)
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def crossover(
    results: Mapping[str, Mapping[str, Mapping[int | str, tuple[float, ...]]]], chance: float | None = None
) -> Picture:
    """Accuracy over the number of training images: a panel a question, a line a network, a band over the seeds.

    Args:
        results: question -> network -> images -> accuracy 0..1 of each seed (`course.seeds.over_seeds`).
        chance: accuracy 0..1 of guessing, drawn as a line.

    Raises:
        ValueError: there is no question, or one without a network.
    """
    if not results or not all(results.values()):
        raise ValueError("a question is needed, and for each question a network")
    networks = list(dict.fromkeys(network for row in results.values() for network in row))
    colours = dict(zip(networks, colours_of(networks)))
    said = "; ".join(
        f"{question}, {network}: " + ", ".join(f"{_range(seeds)} % from {int(n):,}" for n, seeds in line.items())
        for question, row in results.items()
        for network, line in row.items()
    )
    figure, axes = new_figure(f"accuracies. {said}", 1, len(results), 3.4 * len(results) + 0.4, 2.9, sharey=True)
    for axis, (question, row) in zip(axes.flat, results.items()):
        counts = sorted({int(count) for line in row.values() for count in line})
        for network, line in row.items():
            style = ("o-", "s--", "^-.", "D:")[networks.index(network) % 4]
            x = [int(count) for count in line]
            seeds = 100 * np.array(list(line.values())).T  # (seeds, counts)
            axis.fill_between(x, seeds.min(axis=0), seeds.max(axis=0), color=colours[network], alpha=0.2, linewidth=0)
            axis.plot(x, seeds.mean(axis=0), style, color=colours[network], markersize=5, label=network)
        if chance is not None:
            axis.axhline(100 * chance, color=GREY, linewidth=0.8, linestyle=":")
            place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            axis.annotate("chance", (1, 100 * chance), (0, -3), **place, ha="right", va="top", fontsize=8, color=GREY)
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
    wrong = [title for title, table in similarities.items() if table.ndim != 4 or table.shape[:2] != table.shape[2:]]
    if wrong:
        raise ValueError(f"{wrong[0]!r} must be (h, w, h, w), not {tuple(similarities[wrong[0]].shape)}")
    said = "; ".join(f"{title}: {_nearness(table, place)}" for title, table in similarities.items())
    alt = f"cosines with the position at {place[0]:.2f} from the top and {place[1]:.2f} from the left. {said}"
    width = 2.5 * len(similarities) + 0.7
    figure, axes = new_figure(alt, 1, len(similarities), width, 2.7)
    low = min(float(table.min()) for table in similarities.values())
    cmap, low = ("RdBu", -1.0) if low < 0 else ("Blues", low)
    scale = {"cmap": cmap, "vmin": low, "vmax": 1.0}
    for axis, (title, table) in zip(axes.flat, similarities.items()):
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


def _nearness(table: Tensor, place: tuple[float, float]) -> str:
    """Of a table (h, w, h, w), the mean cosine of the places beside one, and of all that are further away."""
    rows, columns = table.shape[:2]
    row, column = int(place[0] * rows), int(place[1] * columns)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    far = (y - row).abs() + (x - column).abs()  # (h, w): steps away
    beside, others = (float(table[row, column][where].mean()) for where in (far == 1, far > 1))
    return f"{beside:.2f} beside it, {others:.2f} further away"


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
    said = "; ".join(
        f"layer {number + 1}, head {head}: {float(row[1:].max()):.2f} on row {int(row[1:].argmax()) // side}, "
        f"column {int(row[1:].argmax()) % side}"
        for number, layer in enumerate(weights)
        for head, row in enumerate(layer)
    )
    figure, axes = new_figure(
        f"where the class token looks, in {len(weights)} layers of {heads} heads; {caption}. Most of all: {said}",
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

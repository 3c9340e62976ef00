"""The figures of lecture 16, sections 1 to 4: what is hidden and filled in, what a teacher answers, what is attended to."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from course.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PAGE,
    PALE,
    SMALL,
    Picture,
    empty_figure,
    new_figure,
    pixels_of,
    without_axes,
)

RIM = {"boxstyle": "round,pad=0,rounding_size=0.08"}


def rows(
    images: Mapping[str, Tensor],
    *,
    painted: Mapping[str, Tensor] | None = None,
    colour: str = BLUE,
    captions: Mapping[str, Sequence[str]] | None = None,
) -> Picture:
    """Rows of images, each with its name at the left.

    Args:
        images: name -> (B, C, H, W), uint8 or floats, in the order of the rows.
        painted: name of a row -> bool (B, H, W): these pixels are painted over.
        colour: with what.
        captions: name of a row -> what stands under each of its images.

    Raises:
        ValueError: the rows are not equally long, or what is painted does not fit its images.
    """
    painted, captions = painted or {}, captions or {}
    lengths = {len(row) for row in images.values()}
    if len(lengths) != 1:
        raise ValueError(f"the rows are to be equally long, and not {sorted(lengths)}")
    for name, where in painted.items():
        if name not in images or where.shape != images[name][:, 0].shape:
            raise ValueError(f"what is painted in {name!r} does not fit the images of that row")
    (count,) = lengths
    room = 0.075 * max(len(line) for name in images for line in name.split("\n")) + 0.15  # for the names
    side = min(1.05, (PAGE - room) / count)
    lines = sum(1 for name in images if name in captions)
    said = []
    for name in images:
        words = [" ".join(name.split())]
        if name in painted:
            words.append(f"{100 * painted[name].float().mean():.0f} % painted over")
        if name in captions:
            words.append(f"labelled {' '.join(captions[name])}")
        said.append(", ".join(words))
    alt = f"{count} images in each row. {'; '.join(said)}"
    figure, axes = new_figure(alt, len(images), count, room + count * side, len(images) * side + 0.2 * lines + 0.1)
    for line, (name, row) in zip(axes, images.items()):
        for number, (axis, image) in enumerate(zip(line, row)):
            pixels = pixels_of(image)
            if pixels.ndim == 2:
                pixels = np.repeat(pixels[..., None], 3, axis=2)  # (H, W, 3)
            if name in painted:
                pixels = pixels.copy()
                pixels[painted[name][number].cpu().numpy()] = to_rgb(colour)
            axis.imshow(pixels, vmin=0, vmax=1, interpolation="nearest")
            without_axes(axis)
            if name in captions:
                axis.set_xlabel(captions[name][number], fontsize=SMALL, labelpad=2)
        line[0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
    return figure


def two_ways(count: int, kept: int) -> Picture:
    """How MAE and SimMIM hide tokens: what their encoders see, and what makes pixels of it.

    Args:
        count: patches of an image.
        kept: how many are not hidden.

    Raises:
        ValueError: nothing is hidden, or everything.
    """
    if not 0 < kept < count:
        raise ValueError(f"between 1 and {count - 1} of {count} patches are left, and not {kept}")
    alt = f"""MAE: of {count} patches the {kept} that are left go through the encoder; then mask tokens are put in at the places
        of the others, and a small decoder makes pixels of all {count}. SimMIM: mask tokens are put in first, so that the
        encoder sees {count} tokens; one linear layer makes pixels of them"""
    figure = empty_figure(alt, PAGE, 2.7)
    axis = figure.subplots()
    hidden = [(7 * place) % count >= kept for place in range(count)]
    height, left = 1.15, ("MAE", "SimMIM")
    for line, name in enumerate(left):
        y = -1.5 * line
        axis.text(-0.15, y + height / 2, name, ha="right", va="center", fontsize=10)
        _column(axis, 0.3, y, height, hidden)
        axis.text(0.3, y - 0.08, f"{count} patches", ha="center", va="top", fontsize=SMALL)
        if name == "MAE":
            _column(axis, 1.9, y, height, [False] * kept)
            axis.text(1.9, y - 0.08, f"{kept} tokens", ha="center", va="top", fontsize=SMALL)
            _box(axis, 2.5, 1.9, y, height, "encoder\n(all of its cost\nfor the visible)")
            _column(axis, 5.0, y, height, hidden, token=True)
            axis.text(5.0, y - 0.08, f"{count}, with mask tokens", ha="center", va="top", fontsize=SMALL)
            _box(axis, 5.6, 1.2, y, height, "small\ndecoder")
        else:
            _column(axis, 1.9, y, height, hidden, token=True)
            axis.text(1.9, y - 0.08, f"{count}, with mask tokens", ha="center", va="top", fontsize=SMALL)
            _box(axis, 2.5, 1.9, y, height, "encoder\n(the map stays whole)")
            _column(axis, 5.0, y, height, [False] * count)
            axis.text(5.0, y - 0.08, f"{count} tokens", ha="center", va="top", fontsize=SMALL)
            _box(axis, 5.6, 1.2, y, height, "one linear\nlayer")
        _column(axis, 7.5, y, height, [not each for each in hidden])
        axis.text(7.5, y - 0.08, "loss: hidden ones only", ha="center", va="top", fontsize=SMALL)
        for start, end in ((0.55, 1.65), (2.15, 2.5), (4.4, 4.75), (5.25, 5.6), (6.8, 7.25)):
            arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", (end, y + height / 2), (start, y + height / 2), arrowprops=arrow)
    axis.set(xlim=(-0.9, 8.5), ylim=(-1.85, height + 0.1))
    axis.axis("off")
    return figure


def _column(axis: Axes, x: float, y: float, height: float, empty: Sequence[bool], *, token: bool = False) -> None:
    """Patches or tokens one above the other: blue ones, and empty frames, or orange ones where tokens stand for them."""
    step = height / len(empty)
    for number, hidden in enumerate(empty):
        colour = (ORANGE if token else "white") if hidden else BLUE
        place = (x - 0.2, y + height - (number + 1) * step)
        edge = {"edgecolor": GREY, "linewidth": 0.6}
        axis.add_patch(Rectangle(place, 0.4, 0.85 * step, facecolor=colour, **edge))


def _box(axis: Axes, x: float, width: float, y: float, height: float, words: str) -> None:
    edge = {"edgecolor": GREY, "linewidth": 1}
    axis.add_patch(FancyBboxPatch((x, y + 0.1), width, height - 0.2, facecolor=PALE, **edge, **RIM))
    axis.text(x + width / 2, y + height / 2, words, ha="center", va="center", fontsize=8.5)


def answers(distributions: Mapping[str, Tensor]) -> Picture:
    """Distributions over prototypes side by side, on one scale, each with its entropy.

    Args:
        distributions: title -> (K,), which sum to 1.

    Raises:
        ValueError: what is given is no distribution.
    """
    entropies = {}
    for name, shares in distributions.items():
        if shares.ndim != 1 or shares.min() < 0 or abs(float(shares.sum()) - 1) > 1e-3:
            raise ValueError(f"{name!r} must be shares (K,) that sum to 1")
        entropies[name] = abs(float((shares * shares.clamp(min=1e-12).log()).sum()))  # no minus before a zero
    said = "; ".join(
        f"{' '.join(name.split())}: largest {shares.max():.2f}, entropy {entropies[name]:.2f}"
        for name, shares in distributions.items()
    )
    figure, axes = new_figure(
        f"distributions. {said}", 1, len(distributions), min(PAGE, 2.2 * len(distributions)), 2.0, sharey=True
    )
    for axis, (name, shares) in zip(axes.flat, distributions.items()):
        axis.bar(range(len(shares)), shares.detach().cpu().numpy(), color=GREEN, width=0.85)
        axis.set_title(f"{name}\nentropy {entropies[name]:.2f}", fontsize=8.5)
        axis.set(xlabel="prototype", ylim=(0, 1.02))
        axis.tick_params(labelsize=SMALL)
    axes[0, 0].set_ylabel("share")
    return figure


def leak(hidden: Tensor, seen: Mapping[str, Tensor]) -> Picture:
    """Which hidden pixels the tokens that count as visible depend on, for several stems.

    Args:
        hidden: bool (H, W).
        seen: name of a stem -> bool (H, W): the pixels on which any visible token depends.

    Raises:
        ValueError: the maps differ in shape.
    """
    shares = {}
    for name, where in seen.items():
        if where.shape != hidden.shape:
            raise ValueError(f"{name!r} has the shape {tuple(where.shape)}, the mask {tuple(hidden.shape)}")
        shares[name] = float((where & hidden).sum() / hidden.sum())
    said = "; ".join(f"{name}: {100 * share:.0f} % of the hidden pixels" for name, share in shares.items())
    figure, axes = new_figure(f"what visible tokens depend on. {said}", 1, len(seen), 2.7 * len(seen), 2.6)
    for axis, (name, where) in zip(axes.flat, seen.items()):
        colours = torch.ones(*hidden.shape, 3)
        colours[hidden] = torch.tensor(to_rgb(PALE))
        colours[~hidden] = torch.tensor(to_rgb(BLUE))
        colours[hidden & where] = torch.tensor(to_rgb(ORANGE))
        axis.imshow(colours.numpy(), interpolation="nearest")
        without_axes(axis)
        axis.set_title(f"{name}\nsees {100 * shares[name]:.0f} % of what is hidden", fontsize=8.5)
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in (BLUE, PALE, ORANGE)]
    names = ["visible", "hidden", "hidden, but seen"]
    figure.legend(handles, names, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=3)
    return figure

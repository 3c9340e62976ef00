"""Images and clips as they are: in rows, as film strips, in windows, in patches."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from course.data import ImageSet
from course.drawing import COLOURS, PAGE, SMALL, Picture, frame_axes, new_figure, outline, pixels_of, show_image


def misread(model: nn.Module, data: ImageSet, *, count: int = 8) -> Picture:
    """The first images that a trained classifier gives another class than their own, each with both classes.

    Args:
        model: as `course.training.fit` leaves it, in eval mode and with ``normalise_images``.
        count: how many at most.

    Raises:
        ValueError: it is right about all of them.
    """
    with torch.no_grad():
        answers = model(model.normalise_images(data.images)).argmax(dim=1)  # (N,)
    wrong = (answers != data.labels).nonzero().flatten()[:count]
    if not len(wrong):
        raise ValueError(f"the model is right about all {len(answers)} images: there is none to show")
    captions = [f"{data.classes[data.labels[n]]}, read as {data.classes[answers[n]]}" for n in wrong]
    return image_grid(data.images[wrong].cpu(), count=count, columns=4, captions=captions)


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
    alt = f"{len(images)} images{_said(captions[: len(images)])}"
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
    alt = f"{len(clips)} clips as strips of {frames} frames{_said(captions)}"
    figure, axes = new_figure(alt, len(clips), frames, frames * side + 1.2, len(clips) * side + 0.25)
    for row, (clip, caption) in enumerate(zip(clips, captions)):
        for time, frame in enumerate(clip):
            show_image(axes[row, time], frame)
            if row == 0:
                axes[row, time].set_title(f"t = {time}", fontsize=SMALL)
        axes[row, 0].set_ylabel(caption, fontsize=SMALL, rotation=0, ha="right", va="center")
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
    figure, ((left, right),) = new_figure(alt, 1, 2, 7.6, 3.9, width_ratios=[1, 1.5])
    show_image(left, image)
    left.set_title(f"H × W = {height} × {width} pixels", fontsize=9)
    # Drawn with `zoom` dots a pixel, so that the gaps can be finer than a pixel.
    zoom, gap = 8, max(8 * patch // 6, 2)
    step = zoom * patch + gap
    canvas = np.ones((rows * step - gap, columns * step - gap, *pixels.shape[2:]))
    for position, token in enumerate(order.tolist()):
        (row, column), (from_row, from_column) = divmod(position, columns), divmod(token, columns)
        cut = pixels[from_row * patch :, from_column * patch :][:patch, :patch].repeat(zoom, 0).repeat(zoom, 1)
        canvas[row * step :, column * step :][: zoom * patch, : zoom * patch] = cut
        number = right.text(column * step + 2, row * step + 2, token, fontsize=8, color="white", ha="left", va="top")
        number.set_bbox({"facecolor": "black", "alpha": 0.55, "pad": 0.6, "linewidth": 0})
    right.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    right.set_title(f"N = {rows * columns} tokens of {patch} × {patch} pixels", fontsize=9)
    right.axis("off")
    return figure


def _images_of(data) -> Tensor:
    images = data if isinstance(data, Tensor) else data.images
    if images.ndim not in (4, 5) or not len(images):
        raise ValueError(f"images are (N, C, H, W) and clips (N, T, C, H, W), at least one; not {tuple(images.shape)}")
    return images


def _said(captions: Sequence[str]) -> str:
    """What is written under pictures, in words: ``": 3; 5; 1"``; nothing where nothing is."""
    return ": " + "; ".join(caption.replace("\n", ", ") for caption in captions) if any(captions) else ""


def _captions_of(data, count: int) -> list[str]:
    """``relation 54°`` or, where a set asks one question only, just ``7``; one line for each question.

    Masks, boxes, tones and sentences are no captions: a question counts if its answer is one number.
    """
    if isinstance(data, Tensor):
        return [""] * count
    asked = {question: labels for question, labels in data.all_labels.items() if labels.ndim == 1}
    several = len(asked) > 1
    captions = []
    for i in range(count):
        said = [(question, data.all_classes[question][int(labels[i])]) for question, labels in asked.items()]
        captions.append("\n".join(f"{question} {name}" if several else str(name) for question, name in said))
    return captions

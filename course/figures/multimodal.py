"""The figures of lecture 16 on Perceivers and on what comes together: tables to scale, permuted pixels, pairs."""

from collections.abc import Mapping, Sequence

from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from course.drawing import (
    BLUE,
    GREEN,
    GREY,
    PAGE,
    PALE,
    PURPLE,
    RED,
    SMALL,
    Picture,
    empty_figure,
    new_figure,
    outline,
    show_image,
    without_axes,
)


def tables_to_scale(tables: Mapping[str, tuple[int, int]]) -> Picture:
    """How large tables of attention are, all to one scale, with the number of their entries.

    Args:
        tables: what looks at what -> (queries, keys).

    Raises:
        ValueError: a table has no row or no column.
    """
    if any(min(size) < 1 for size in tables.values()):
        raise ValueError("every table has at least one query and one key")
    said = {
        name: f"{rows:,} × {columns:,} = {_in_millions(rows * columns)}" for name, (rows, columns) in tables.items()
    }
    longest = max(side for size in tables.values() for side in size)
    figure = empty_figure("; ".join(f"{name}: {size}" for name, size in said.items()), PAGE, 2.9)
    for axis, (name, (rows, columns)) in zip(figure.subplots(1, len(tables), squeeze=False).flat, tables.items()):
        axis.add_patch(Rectangle((0, 0), columns, rows, facecolor=BLUE, edgecolor=BLUE, linewidth=1.5))
        axis.set(xlim=(-0.02 * longest, 1.02 * longest), ylim=(1.02 * longest, -0.02 * longest), aspect="equal")
        axis.set_title(f"{name}\n{said[name]}", fontsize=8.5)
        without_axes(axis)
    return figure


def _in_millions(count: int) -> str:
    return (
        f"{count / 1e6:,.0f} million"
        if count >= 1e7
        else f"{count / 1e6:.1f} million"
        if count >= 1e5
        else f"{count:,}"
    )


def permuted_pixels(image: Tensor, permuted: Tensor, *, window: int, patch: int) -> Picture:
    """An image and the same pixels elsewhere, with what a convolution and a patch take together.

    Args:
        image, permuted: (C, H, W), with the same numbers in another order.
        window, patch: sides of a convolution's window and of a patch, in pixels.

    Raises:
        ValueError: they are no two orders of the same pixels.
    """
    both = [each.flatten(1).sort().values for each in (image, permuted)]
    if image.shape != permuted.shape or not both[0].equal(both[1]):
        raise ValueError("the second image has to have the pixels of the first, in another order")
    alt = f"""an image, and the same pixels in another order, in which nothing can be seen. On both the {window} by
        {window} pixels that a convolution takes together and the {patch} by {patch} of a patch"""
    figure, ((left, right),) = new_figure(alt, 1, 2, 5.6, 3.1)
    for axis, pixels, title in ((left, image, "raw"), (right, permuted, "permuted")):
        show_image(axis, pixels)
        axis.set_title(title, fontsize=9)
        middle = image.shape[-1] // 2
        axis.add_patch(outline(middle, middle, window, window, PURPLE))
        axis.add_patch(outline(patch, patch, patch, patch, GREEN))
    names = {f"CNN: {window} × {window} window": PURPLE, f"ViT: patch of {patch} × {patch}": GREEN}
    handles = [Patch(facecolor="none", edgecolor=colour, linewidth=2) for colour in names.values()]
    figure.legend(handles, list(names), frameon=False, fontsize=SMALL, loc="outside lower center", ncols=2)
    return figure


def come_together(clips: Tensor, tones: Tensor, sentences: Sequence[Sequence[str]]) -> Picture:
    """Clips with what comes with each, a row a clip: its frames, its tone, its sentences.

    Args:
        clips: (N, T, C, H, W).
        tones: (N, S).
        sentences: N times P of them, as text.

    Raises:
        ValueError: there are not as many of one as of the others.
    """
    if not len(clips) == len(tones) == len(sentences):
        raise ValueError(f"{len(clips)} clips, {len(tones)} tones, {len(sentences)} groups of sentences: not as many")
    count, frames = clips.shape[:2]
    alt = "; ".join(" / ".join(group) for group in sentences)
    figure = empty_figure(
        f"{count} clips of {frames} frames, each with a tone and sentences: {alt}", PAGE, 0.95 * count
    )
    ratios = [1.0] * frames + [3.2, 3.6]
    axes = figure.subplots(count, frames + 2, squeeze=False, width_ratios=ratios)
    for row, clip, tone, group in zip(axes, clips.cpu(), tones.cpu(), sentences):
        for axis, frame in zip(row, clip):
            show_image(axis, frame)
        row[-2].plot(tone.numpy(), color=BLUE, linewidth=0.9)
        row[-2].set_ylim(-1.1 * float(tones.abs().max()), 1.1 * float(tones.abs().max()))
        without_axes(row[-2])
        row[-1].set_xlim(0, 1)
        for number, sentence in enumerate(group):
            height = 1 - (number + 0.5) / len(group)
            row[-1].text(0.02, height, f"“{sentence}”", fontsize=9, va="center")
        without_axes(row[-1])
    for axis, title in zip((axes[0, 0], *axes[0, -2:]), ("frames", "tone", "sentences")):
        axis.set_title(title, fontsize=9)
    return figure


def pairs(clips: int, sentences: int, *, of: int = 0) -> Picture:
    """The table of all clips of a batch with all its sentences, and which of them the loss of one clip is made of.

    Args:
        clips: B.
        sentences: P, of each clip.
        of: the clip whose positive and negative pairs are shown.

    Raises:
        ValueError: there is no such clip in the batch.
    """
    if not 0 <= of < clips:
        raise ValueError(f"the batch has clips 0 to {clips - 1}, and no {of}")
    negatives = 2 * (clips - 1) * sentences
    alt = f"""a table of {clips} clips by {clips * sentences} sentences. In the loss of clip {of} its own {sentences}
        sentences are positive; {negatives} pairs are negative: its row and the columns of its sentences. The other
        {clips * clips * sentences - negatives - sentences} belong to other clips"""
    figure, ((axis,),) = new_figure(alt, 1, 1, 6.0, 0.34 * clips + 1.0)
    colours = {"positive": BLUE, "negative": RED, "of other clips' losses": PALE}
    for row in range(clips):
        for column in range(clips * sentences):
            own, here = column // sentences == of, row == of
            kind = "positive" if own and here else "negative" if own or here else "of other clips' losses"
            axis.add_patch(Rectangle((column, row), 1, 1, facecolor=colours[kind], edgecolor="white", linewidth=1.5))
    for group in range(1, clips):
        axis.axvline(group * sentences, color=GREY, linewidth=1)
    axis.set(xlim=(0, clips * sentences), ylim=(clips, 0))
    axis.set_yticks([row + 0.5 for row in range(clips)], [f"clip {row}" for row in range(clips)], fontsize=SMALL)
    middles = [(group + 0.5) * sentences for group in range(clips)]
    axis.set_xticks(middles, [f"sentences of {group}" for group in range(clips)], fontsize=SMALL)
    axis.tick_params(length=0)
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    figure.legend(handles, list(colours), frameon=False, fontsize=SMALL, loc="outside lower center", ncols=3)
    return figure

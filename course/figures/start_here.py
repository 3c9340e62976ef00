"""The figures of lecture 0, "Start here": the map of the course, and the letters of shapes."""

import html
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from course.drawing import (
    BLUE,
    GREY,
    ORANGE,
    PAGE,
    SKY,
    SMALL,
    Picture,
    empty_figure,
    image_html,
    new_figure,
    outline,
    show_image,
    without_axes,
)
from course.progress import Progress, course_folder, next_step, read_progress, table
from course.syllabus import LECTURES, Lecture

# -- the course map
STEP_X, STEP_Y = 1.42, 0.62  # inches from box to box
BOX_WIDTH, BOX_HEIGHT = 1.2, 0.46
ROWS = ((-0.1, "look inside, train, scale"), (1.9, "the designs that answered"), (3.9, "time and pixels"))
DARK_ORANGE = "#a05f00"
DARK_GREEN = "#00694d"


def course_map(folder: str | Path | None = None, progress: Sequence[Progress] = ()) -> Picture:
    """The lectures and homeworks, what builds on what, and which are here (blue) or to come (dashed).

    Args:
        folder: the course; default: the nearest folder at or above this one that has ``notebooks`` in it. What
            is here is read from its ``notebooks`` and ``assignments``.
        progress: what a reader has of the homeworks; then each says how many of its exercises are right.
    """
    done = {each.homework.name: each for each in progress}
    folder = _course_folder() if folder is None else Path(folder)
    here = [lecture for lecture in LECTURES if _is_here(folder, lecture.name)]
    names = ", ".join(lecture.box.replace("\n", " ") for lecture in here)
    steps = "; ".join(
        f"{lecture.number} {' '.join(lecture.box.split())}"
        + (f" builds on {' and '.join(map(str, lecture.needs))}" if lecture.needs else "")
        for lecture in LECTURES
    )
    alt = f"the {len(LECTURES)} lectures, with arrows from what each builds on. {steps}; here are: {names}"
    figure, ((axis,),) = new_figure(alt, 1, 1, PAGE, 3.9)
    for lecture in LECTURES:
        _draw_lecture(axis, lecture, lecture in here)
        if lecture.homework:
            here_too = _is_here(folder, lecture.homework.name)
            _draw_homework(axis, lecture, here_too, done.get(lecture.homework.name))
        for number in lecture.needs:
            _draw_arrow(axis, _middle(LECTURES[number]), _middle(lecture))
    _draw_legend(axis, bool(progress))
    columns, rows = (max(lecture.on_map[i] for lecture in LECTURES) for i in (0, 1))
    axis.set(xlim=(-0.68, columns * STEP_X + 0.68), ylim=(-rows * STEP_Y - 0.36, 0.3), aspect="equal")
    axis.axis("off")
    return figure


class CourseProgress:
    """What a reader has of the homeworks: the map, what to do next, and a table with a link to each."""

    def __init__(self, found: Sequence[Progress], picture: Picture):
        self.found, self.picture = found, picture

    def __repr__(self) -> str:
        return f"{table(self.found)}\n\nNext: {next_step(self.found)}"

    def _repr_html_(self) -> str:
        return image_html(self.picture.png(), self.picture.alt) + _in_words(self.found)


def course_progress(folder: str | Path | None = None) -> CourseProgress:
    """What a reader's own saved homeworks have right, begun and open, on the map and in words.

    Args:
        folder: as for `course.progress.read_progress`.
    """
    folder = course_folder() if folder is None else Path(folder)
    found = read_progress(folder)
    done = [each.homework.heading for each in found if each.is_done]
    says = (
        f"the map of the course with your homeworks, the table below in colours; done: {', '.join(done) or 'none yet'}"
    )
    return CourseProgress(found, course_map(folder, found).described(says))


def _in_words(found: Sequence[Progress]) -> str:
    rows = "".join(map(_row, found))
    return (
        f"<p><strong>Next:</strong> {html.escape(next_step(found))}</p><table><caption>As you last saved them</caption>"
        "<thead><tr><th scope='col'>homework</th><th scope='col'>right</th><th scope='col'>points</th>"
        f"<th scope='col'></th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(each: Progress) -> str:
    name = html.escape(each.homework.heading)
    if each.path is not None:
        name = f"<a href='{html.escape(os.path.relpath(each.path))}'>{name}</a>"
    right = f"{each.right} of {len(each.exercises)}" if each.parts else ""
    points = "{:g} of {:g}".format(*each.points) if each.parts else ""
    cells = (right, points, html.escape(each.in_words()))
    return f"<tr><th scope='row'>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _course_folder() -> Path:
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "notebooks").is_dir()), here)


def _is_here(folder: Path, name: str) -> bool:
    paths = (
        f"notebooks/{name}.ipynb",
        f"notebooks/source/{name}.py",
        f"assignments/{name}",
        f"solutions/{name}",
        name,
    )
    return any((folder / path).exists() for path in paths)


def _middle(lecture: Lecture) -> tuple[float, float]:
    """(x, y) of its box, in inches."""
    column, row = lecture.on_map
    return column * STEP_X, -row * STEP_Y


def _draw_lecture(axis: Axes, lecture: Lecture, here: bool) -> None:
    """The box, its number and its title."""
    x, y = _middle(lecture)
    left, bottom = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    axis.add_patch(
        FancyBboxPatch(
            (left, bottom),
            BOX_WIDTH,
            BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor="#dcebf6" if here else "white",
            edgecolor=BLUE if here else GREY,
            linewidth=1.4 if here else 0.9,
            linestyle="-" if here else (0, (3, 2)),
            zorder=2,
        )
    )
    number = {"fontsize": 8, "weight": "bold", "color": BLUE if here else GREY}
    title = {"fontsize": 8, "linespacing": 1.05, "color": "black" if here else "#555555"}
    axis.text(left + 0.06, y, f"{lecture.number:02}", va="center", zorder=3, **number)
    axis.text(left + 0.25, y, lecture.box, va="center", zorder=3, **title)


def _draw_homework(axis: Axes, lecture: Lecture, here: bool, progress: Progress | None = None) -> None:
    """A label on the lower right corner of the lecture's box."""
    x, y = _middle(lecture)
    text, fill = f"hw{lecture.homework.number}", here
    edge = DARK_ORANGE
    if progress is not None and progress.parts:
        text += " ✓" if progress.is_done else f" {progress.right}/{len(progress.exercises)}"
        fill, edge = progress.is_begun, DARK_GREEN if progress.is_done else DARK_ORANGE
    axis.text(
        x + BOX_WIDTH / 2,
        y - BOX_HEIGHT / 2,
        text,
        fontsize=8,
        weight="bold",
        ha="right",
        va="center",
        zorder=4,
        color="white" if fill else "#7a5200",
        bbox={
            "boxstyle": "round,pad=0.25",
            "facecolor": edge if fill else "white",
            "edgecolor": edge,
            "linestyle": "-" if here else (0, (2, 1.5)),
            "linewidth": 0.8,
        },
    )


def _draw_legend(axis: Axes, with_progress: bool = False) -> None:
    """What the rows are about, and in the lower right corner what the colours mean."""
    left = STEP_X - BOX_WIDTH / 2
    for row, text in ROWS:
        axis.text(left, -row * STEP_Y, text, fontsize=8, style="italic", color=GREY, va="center")
    right = max(lecture.on_map[0] for lecture in LECTURES) * STEP_X + BOX_WIDTH / 2
    text = "blue: is here      dashed: to come      hw: homework after this lecture"
    if with_progress:
        text = "hw 3/9: three of nine exercises are right      green: all done      white: not begun"
    axis.text(right, -5.3 * STEP_Y, text, fontsize=8, color=GREY, ha="right", va="center")


def _draw_arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
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
        tip, tail = (x1, y1 + BOX_HEIGHT / 2), (x0, y0 - BOX_HEIGHT / 2)
    elif y0 == y1:
        tip, tail = (x1 - BOX_WIDTH / 2, y1), (x0 + BOX_WIDTH / 2, y0)
    elif x0 == 0:  # from the last foundation right, up to the row, and into its first box
        corner = x0 + BOX_WIDTH / 2 + 0.11
        axis.plot([x0 + BOX_WIDTH / 2, corner, corner], [y0, y0, y1], color=GREY, linewidth=0.9, zorder=1)
        tip, tail = (x1 - BOX_WIDTH / 2, y1), (corner, y1)
    else:
        tip, tail = (x1 - 0.2, y1 + BOX_HEIGHT / 2), (x0 + 0.35, y0 - BOX_HEIGHT / 2)
    axis.annotate("", tip, tail, arrowprops=style, zorder=1)


# -- the letters of shapes
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

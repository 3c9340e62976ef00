"""Numbers against numbers: curves, and accuracies as bars. A tuple of several seeds shows its spread."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from course.drawing import GREY, RED, SMALL, Picture, colours_of, new_figure

MOST_SAID = 6  # points of a line that its words repeat


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
        lines: name -> (n,) values; drawn with different dashes as well as colours (`course.drawing.colours_of`). A tuple of such lists, one a seed,
            is drawn as their mean in a band from the lowest to the highest.
        log: axes with a logarithmic scale: "", "x", "y" or "xy".
        marks: name -> (x, y), a dot with its name.
        levels: name -> y, a thin level line with its name, at the side where the curves are farther from it.
    """
    x = np.asarray(x)
    alt = f"{title or ylabel or 'curves'} over {xlabel or 'x'}: " + "; ".join(
        f"{name} {_in_words(x, y)}" for name, y in lines.items()
    )
    below = len(lines) > 3  # so many names cover lines wherever they stand
    figure, ((axis,),) = new_figure(alt, 1, 1, 5.0, 2.8 + 0.2 * below * ((len(lines) + 1) // 2))
    for (name, y), colour, dash in zip(lines.items(), colours_of(lines), itertools.cycle(("-", "--", "-.", ":"))):
        seeds = np.atleast_2d(np.asarray(y, dtype=float))  # (seeds, n)
        if len(seeds) > 1:
            axis.fill_between(x, seeds.min(axis=0), seeds.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        axis.plot(x, seeds.mean(axis=0), dash, color=colour, label=name)
    end = 1 + len(x) // 5  # points beside which a name may stand
    for name, level in (levels or {}).items():
        axis.axhline(level, color=GREY, linewidth=0.8, linestyle=":")
        first, last = slice(0, end), slice(len(x) - end, None)
        at_left = _gap(lines, level, first, log) > _gap(lines, level, last, log)
        axis.annotate(
            name,
            (0.02 if at_left else 1, level),
            (0, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=SMALL,
            color=GREY,
            va="bottom",
            ha="left" if at_left else "right",
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
    if "x" not in log and np.all(x == np.round(x)):
        axis.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))  # no layer 2.5
    if "x" in log and len(x) <= 8:  # the few values there are say more than powers of ten
        axis.set_xticks(x, [f"{value:g}" for value in x])
        axis.set_xticks([], minor=True)
    if below:
        figure.legend(frameon=False, fontsize=SMALL, loc="outside lower center", ncols=2)
    elif len(lines) > 1:
        axis.legend(frameon=False, fontsize=SMALL)
    return figure


def bars(
    results: Mapping[str, Mapping[str, float | tuple[float, ...]]],
    *,
    chance: float | None = None,
    title: str = "",
    measure: str = "",
) -> Picture:
    """Accuracies in per cent, as bars: a row a model, a colour a question.

    Args:
        results: model -> question -> accuracy 0..1; a question that a model was not asked is left out. A tuple holds
            several seeds (`course.seeds.over_seeds`): the bar is their mean, a mark stands at each, the numbers are the
            lowest and the highest.
        chance: accuracy 0..1 of guessing, drawn as a line.
        measure: what the numbers are, if not accuracies: "mIoU".
    """
    questions = list(dict.fromkeys(question for row in results.values() for question in row))
    colours = dict(zip(questions, colours_of(questions)))
    alt = "; ".join(
        f"{model}: " + ", ".join(f"{question} {_range(accuracy)} %" for question, accuracy in row.items())
        for model, row in results.items()
    )
    count = sum(len(row) + 0.7 for row in results.values())
    figure, ((axis,),) = new_figure(f"{measure or 'accuracies'}. {alt}", 1, 1, 6.4, 0.95 + 0.24 * count)
    ticks, y = [], 0.0
    for row in results.values():
        ticks.append(y + (len(row) - 1) / 2)
        for question, accuracy in row.items():
            seeds = 100 * np.atleast_1d(accuracy)
            axis.barh(y, seeds.mean(), height=0.85, color=colours[question])
            if len(seeds) > 1:
                axis.plot(seeds, [y] * len(seeds), "|", color="black", markersize=9, markeredgewidth=1.2)
            axis.text(seeds.max() + 1.5, y, _range(accuracy), va="center", fontsize=8)
            y += 1
        y += 0.7
    axis.set_yticks(ticks, list(results))
    axis.set(xlim=(0, 106), ylim=(y - 1.1, -0.6), xlabel=f"{measure or 'accuracy'}, %", title=title)
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
        handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
        figure.legend(handles, questions, frameon=False, fontsize=8, loc="outside lower center", ncols=len(questions))
    return figure


def _gap(lines: Mapping[str, Sequence[float]], level: float, part: slice, log: str) -> float:
    """How near any curve comes to a level in a part of the axis."""
    scale = np.log if "y" in log else np.asarray
    drawn = [scale(np.atleast_2d(np.asarray(y, dtype=float))) for y in lines.values()]  # (seeds, n) each
    heights = np.concatenate([each[:, part].ravel() for each in drawn])
    return float(np.abs(heights - scale(float(level))).min())


def _in_words(x: np.ndarray, y) -> str:
    """A line in words: each point where there are a few, else where it begins and ends."""
    if 2 < len(x) <= MOST_SAID:
        return ", ".join(f"{_at(y, i)} at {value:g}" for i, value in enumerate(x))
    return f"from {_at(y, 0)} to {_at(y, -1)}"


def _at(y, index: int) -> str:
    """A point of a line in words: its value, or the lowest and the highest of several seeds."""
    values = np.atleast_2d(np.asarray(y, dtype=float))[:, index]
    return "–".join(dict.fromkeys(f"{value:.3g}" for value in (values.min(), values.max())))


def _range(accuracy: float | tuple[float, ...]) -> str:
    """``"72"``, or of several seeds the lowest and the highest, ``"70–73"``."""
    lowest, highest = (f"{100 * value:.0f}" for value in (np.min(accuracy), np.max(accuracy)))
    return lowest if lowest == highest else f"{lowest}–{highest}"

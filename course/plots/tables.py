"""Tensors as tables: matrices and masks, and maps of tokens with a number in each."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from torch import Tensor

from course.drawing import COLOURS, GREY, PAGE, PALE, SMALL, Picture, new_figure

MOST_SAID = 20  # numbers of a matrix that its words repeat; more are a table, and not to be listened to


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
    said = []
    for title, values in tables.items():
        spoken = _has_numbers(values, numbers) and values.size <= MOST_SAID
        said.append(
            f"{' '.join(title.split())}, {values.shape[0]} by {values.shape[1]}"
            + (f": {_in_words(values, _names(rows, title))}" if spoken else "")
        )
    figure, axes = new_figure(
        f"matrices. {'. '.join(said)}",
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
        if heat:
            painted = colormaps["Blues"](0.9 * values / top)[..., :3]
        else:
            painted = np.ones((*values.shape, 3)) if group is None else _group_colours(group)  # (H, W, RGB)
        _draw_tokens(axis, values, painted)
        side = window.get(title, 0) if isinstance(window, Mapping) else window
        if side:
            _draw_borders(axis, values.shape, side)
        axis.set(xlim=(-0.08, values.shape[1] + 0.08), ylim=(values.shape[0] + 0.08, -0.08), aspect="equal")
        axis.axis("off")
        axis.set_title(title, fontsize=9)
    return figure


def _group_colours(group: np.ndarray) -> np.ndarray:
    """(H, W) numbers of groups -> (H, W, RGB), lighter each time all colours have been used."""
    again, which = np.divmod(group.astype(int), len(COLOURS))
    strength = np.where(again % 2 == 0, 0.6, 0.25)[..., None]
    return 1 - strength * (1 - np.array([to_rgb(colour) for colour in COLOURS])[which])


def _draw_tokens(axis: Axes, values: np.ndarray, painted: np.ndarray) -> None:
    """Squares (H, W, RGB) with whole numbers (H, W) in them."""
    axis.pcolormesh(painted, edgecolors="white", linewidth=0.8)
    for (row, column), number in np.ndenumerate(values):
        axis.text(
            column + 0.5,
            row + 0.52,
            f"{number:.0f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if painted[row, column].mean() < 0.5 else "black",
            in_layout=False,
        )


def _draw_borders(axis: Axes, shape: tuple[int, int], side: int) -> None:
    """Of windows of `side` by `side` tokens."""
    rows, columns = shape
    borders = {"color": "black", "linewidth": 1.5}
    for y in range(0, rows + 1, side):
        axis.plot([0, columns], [y, y], **borders)
    for x in range(0, columns + 1, side):
        axis.plot([x, x], [0, rows], **borders)


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


def _in_words(values: np.ndarray, names: Sequence[str] | None) -> str:
    """Row by row: ``"class 1, 2.50; patch 0 0, 1"``."""
    lines = [", ".join(_number(value).removesuffix(".00") for value in row) for row in values]
    return "; ".join(f"{name} {line}" for name, line in zip(names, lines)) if names else "; ".join(lines)


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

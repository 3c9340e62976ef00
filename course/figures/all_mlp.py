"""The figures of lecture 10: the Mixer's table, who reaches whom, and what the relatives cost."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from course.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PAGE,
    PALE,
    RED,
    SMALL,
    Picture,
    colours_of,
    empty_figure,
    new_figure,
    without_axes,
)

PANELS = 6  # in a row


# -- the Mixer
def mixer_block(x: Tensor, y: Tensor, z: Tensor, *, token: int, channel: int, hidden: tuple[int, int]) -> Picture:
    """A Mixer block as what happens to a table: turned, mixed along the tokens, back, along the channels.

    One channel is framed in orange and one token in blue: the first is what the token MLP takes at a time,
    the second what the channel MLP takes.

    Args:
        x, y, z: (N, D) before the block, after its first half and after its second.
        token, channel: which row is framed in blue, which column in orange.
        hidden: hidden widths of the token MLP and of the channel MLP.

    Raises:
        ValueError: the three are not tables of one shape, or there is no such token or channel.
    """
    if x.ndim != 2 or not x.shape == y.shape == z.shape:
        shapes = [tuple(table.shape) for table in (x, y, z)]
        raise ValueError(f"x, y and z are tables (N, D) of one shape, and not {shapes}")
    tokens, width = x.shape
    if not (0 <= token < tokens and 0 <= channel < width):
        raise ValueError(f"there is no token {token} or no channel {channel} in a table {tokens} by {width}")
    alt = f"""a table of {tokens} tokens by {width} channels is transposed, each of its {width} channels goes
        through the same MLP from {tokens} over {hidden[0]} to {tokens} numbers, it is transposed back and
        added; then each of the {tokens} tokens goes through the same MLP from {width} over {hidden[1]} to
        {width} numbers"""
    figure = empty_figure(alt, PAGE, 4.3)
    upper, lower = figure.subfigures(2, 1, height_ratios=[max(tokens, width), tokens + 2])
    row = upper.subplots(1, 5, width_ratios=[width, tokens, 13, tokens, width])
    change = (y - x).detach()
    _table(row[0], x, f"x  (N, D)\n{tokens} tokens × {width} channels", channel=channel)
    _table(row[1], x.T, f"transposed: (D, N)\n{width} channels × {tokens} tokens", token=channel)
    widths = f"{tokens} → {hidden[0]} → {tokens}"
    _mlp(row[2], f"token MLP\n{widths}", f"the same weights\nfor all {width} rows", ORANGE)
    _table(row[3], change.T, "mixed: (D, N)", token=channel)
    _table(row[4], y, "transposed back,\n+ x: (N, D)", channel=channel)
    row = lower.subplots(1, 4, width_ratios=[width, 13, width, width])
    size = f"{tokens} tokens × {width} channels"
    _table(row[0], y, f"y  (N, D)\n{size}", token=token, colour=BLUE)
    widths = f"{width} → {hidden[1]} → {width}"
    _mlp(row[1], f"channel MLP\n{widths}", f"the same weights\nfor all {tokens} rows", BLUE)
    _table(row[2], (z - y).detach(), "mixed: (N, D)", token=token, colour=BLUE)
    _table(row[3], z, "+ y: (N, D)", token=token, colour=BLUE)
    return figure


def _table(
    axis: Axes,
    values: Tensor,
    title: str,
    *,
    token: int | None = None,
    channel: int | None = None,
    colour: str = ORANGE,
) -> None:
    """A table of both signs, with one row or one column framed."""
    values = values.detach().cpu().float().numpy()
    top = np.abs(values).max() or 1.0
    axis.imshow(values, cmap="RdBu", vmin=-1.25 * top, vmax=1.25 * top, interpolation="nearest")
    without_axes(axis)
    axis.set_title(title, fontsize=SMALL)
    rows, columns = values.shape
    frame = {"fill": False, "edgecolor": colour, "linewidth": 2, "clip_on": False}
    if token is not None:
        axis.add_patch(Rectangle((-0.5, token - 0.5), columns, 1, **frame))
    if channel is not None:
        axis.add_patch(Rectangle((channel - 0.5, -0.5), 1, rows, **frame))


def _mlp(axis: Axes, what: str, shared: str, colour: str) -> None:
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.axis("off")
    shape = "round,pad=0,rounding_size=0.06"
    axis.add_patch(FancyBboxPatch((0.08, 0.36), 0.84, 0.3, shape, facecolor="white", edgecolor=colour, linewidth=1.6))
    axis.text(0.5, 0.51, what, ha="center", va="center", fontsize=SMALL)
    axis.text(0.5, 0.24, shared, ha="center", va="center", fontsize=SMALL, color=GREY)
    arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (1.04, 0.78), (-0.04, 0.78), arrowprops=arrow, annotation_clip=False)


# -- who reaches whom
def reach_maps(
    reached: Mapping[str, Tensor], query: tuple[int, int] | None = None, *, per_row: int = PANELS
) -> Picture:
    """On which input tokens an output token depends: the bluer the more (square root), white: not at all.

    Args:
        reached: title -> (h, w), 0 or more, such as the size of a gradient; each is stretched to its maximum.
        query: (row, column) of the output token, framed in orange.
        per_row: panels in a row.

    Raises:
        ValueError: a panel is not a map of tokens, has a number below 0, or the query lies outside of it.
    """
    if not reached:
        raise ValueError("there is no map to draw")
    counts = {}
    for title, strength in reached.items():
        if strength.ndim != 2 or (strength < 0).any():
            raise ValueError(f"{title!r} must be (h, w) with numbers from 0, and not {tuple(strength.shape)}")
        if query is not None and not all(0 <= index < side for index, side in zip(query, strength.shape)):
            raise ValueError(f"there is no token {query} in {title!r}, a map of {tuple(strength.shape)}")
        counts[title] = int((strength > 0).sum()), strength.numel()
    columns = min(per_row, len(reached))
    rows = -(-len(reached) // columns)
    side = min(1.75, PAGE / columns)
    said = "; ".join(
        f"{' '.join(title.split())}: {n} of {all_of}{_strongly(reached[title], n)}"
        for title, (n, all_of) in counts.items()
    )
    alt = f"how many tokens the token at {query} depends on, and how many of them move it most. {said}"
    figure, axes = new_figure(alt, rows, columns, columns * side, rows * (side + 0.42))
    for axis in axes.flat[len(reached) :]:
        axis.axis("off")
    for axis, (title, strength) in zip(axes.flat, reached.items()):
        strength = strength.detach().cpu().float()
        height, width = strength.shape
        shade = (strength / strength.max().clamp(min=1e-30)).sqrt().numpy()
        colours = colormaps["Blues"](0.12 + 0.8 * shade)[..., :3]
        colours[strength.numpy() == 0] = 1.0
        axis.imshow(colours, interpolation="nearest")
        for line in range(1, height):
            axis.axhline(line - 0.5, color=PALE, linewidth=0.5)
        for line in range(1, width):
            axis.axvline(line - 0.5, color=PALE, linewidth=0.5)
        without_axes(axis)
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.6)
        if query is not None:
            corner = (query[1] - 0.5, query[0] - 0.5)
            frame = {"fill": False, "edgecolor": ORANGE, "linewidth": 2, "clip_on": False, "zorder": 3}
            axis.add_patch(Rectangle(corner, 1, 1, **frame))
        axis.set_title(f"{title}\n{counts[title][0]} of {counts[title][1]} tokens", fontsize=SMALL)
    return figure


def _strongly(strength: Tensor, count: int) -> str:
    """How many of the tokens are more than a pale ground: above a tenth of the largest."""
    strong = int((strength > 0.1 * strength.max()).sum())
    return f", {strong} of them above a tenth of the largest" if strong < count else ""


def channel_sources(sources: Mapping[str, Tensor], side: int, *, per_row: int = 4) -> Picture:
    """From which place around it the middle token of a map takes each of its channels.

    Args:
        sources: title -> (D,) whole numbers: the place, counted row by row on a map of side × side, of each channel.
        side: of the map, odd.
        per_row: panels in a row.

    Raises:
        ValueError: nothing to draw, or a place that is not on the map.
    """
    if not sources or any(((places < 0) | (places >= side**2)).any() for places in sources.values()):
        raise ValueError(f"there is at least one panel, and places are numbered from 0 to {side**2 - 1}")
    columns = min(per_row, len(sources))
    rows = -(-len(sources) // columns)
    width = min(2.1, PAGE / columns)
    said = []
    figure, axes = new_figure("", rows, columns, columns * width, rows * (width + 0.25))
    for axis in axes.flat[len(sources) :]:
        axis.axis("off")
    for axis, (title, places) in zip(axes.flat, sources.items()):
        counts = np.bincount(places.numpy(), minlength=side**2).reshape(side, side)
        colours = colormaps["Blues"](0.12 + 0.4 * counts / counts.max())[..., :3]
        colours[counts == 0] = 1.0
        axis.imshow(colours, interpolation="nearest")
        for line in np.arange(1, side) - 0.5:
            axis.axhline(line, color=PALE, linewidth=0.5)
            axis.axvline(line, color=PALE, linewidth=0.5)
        words = []
        for row, column in zip(*np.nonzero(counts)):
            channels = _ranges((places == row * side + column).nonzero().flatten().tolist())
            axis.text(column, row, channels, ha="center", va="center", fontsize=SMALL, linespacing=1.0)
            words.append(
                f"channels {' '.join(channels.split())} from {_direction(row - side // 2, column - side // 2)}"
            )
        said.append(f"{title}: {', '.join(words)}")
        without_axes(axis)
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.6)
        middle = (side // 2 - 0.5, side // 2 - 0.5)
        axis.add_patch(Rectangle(middle, 1, 1, fill=False, edgecolor=RED, linewidth=2, clip_on=False, zorder=3))
        axis.set_title(title, fontsize=SMALL)
    figure.alt = "; ".join(said)
    return figure


def _ranges(channels: list[int]) -> str:
    """``"0–5"``; of channels that are not neighbours the first two, ``"0, 3\\n…"``."""
    if channels == list(range(channels[0], channels[-1] + 1)):
        return f"{channels[0]}–{channels[-1]}" if len(channels) > 1 else f"{channels[0]}"
    return f"{channels[0]}, {channels[1]}\n…"


def _direction(rows: int, columns: int) -> str:
    parts = [
        f"{abs(steps)} {names[int(steps > 0)]}"
        for steps, names in ((rows, ("above", "below")), (columns, ("to the left", "to the right")))
        if steps
    ]
    return " and ".join(parts) or "itself"


def kernels(weights: Tensor, grid: tuple[int, int], *, count: int = 16, per_row: int = 8) -> Picture:
    """Rows of a token mixer's weights as pictures as large as the map: red below 0, blue above.

    Args:
        weights: (M, N), N = h·w places in reading order.
        grid: (h, w).
        count: how many rows, those with the largest norm first.
        per_row: pictures in a row.

    Raises:
        ValueError: the weights are not for such a grid.
    """
    if weights.ndim != 2 or weights.shape[1] != grid[0] * grid[1]:
        raise ValueError(
            f"weights (M, N) for a grid of {grid[0]}×{grid[1]} have N = {grid[0] * grid[1]}, "
            f"and not {tuple(weights.shape)}"
        )
    weights = weights.detach().cpu().float()
    all_of = len(weights)
    weights = weights[weights.norm(dim=1).argsort(descending=True, stable=True)][:count]
    columns = min(per_row, len(weights))
    rows = -(-len(weights) // columns)
    side = min(1.1, PAGE / columns)
    maps = weights.view(-1, *grid)
    pairs = np.stack([maps[:, :, 1:].flatten().numpy(), maps[:, :, :-1].flatten().numpy()])
    alt = f"""the {len(weights)} strongest of {all_of} rows of weights, each as a picture of {grid[0]} by
        {grid[1]} tokens: in these, weights of neighbouring places correlate by {np.corrcoef(pairs)[0, 1]:.2f} (0 would be noise)"""
    figure, axes = new_figure(alt, rows, columns, columns * side, rows * side)
    for axis in axes.flat[len(weights) :]:
        axis.axis("off")
    for axis, row in zip(axes.flat, weights):
        top = row.abs().max().clamp(min=1e-30).item()
        axis.imshow(row.view(*grid).numpy(), cmap="RdBu", vmin=-top, vmax=top, interpolation="nearest")
        without_axes(axis)
    return figure


# -- tables and scatter plots
def properties(table: Mapping[str, Mapping[str, object]]) -> Picture:
    """A table of what networks can and cannot: yes is green, no is red; numbers and words stand as they are.

    Args:
        table: name -> property -> True, False, a number or a word; all rows have the same properties.

    Raises:
        ValueError: no rows, or one with other properties than the first.
    """
    if not table:
        raise ValueError("there is no row to draw")
    columns = list(next(iter(table.values())))
    for name, row in table.items():
        if list(row) != columns:
            raise ValueError(f"{name!r} has the properties {list(row)}, the first row has {columns}")
    rows = [f"{name}: " + ", ".join(f"{c} {_said(v)}" for c, v in row.items()) for name, row in table.items()]
    alt = "; ".join(rows).replace("\n", " ")
    figure, ((axis,),) = new_figure(f"a table. {alt}", 1, 1, PAGE, 0.62 + 0.25 * len(table))
    first = 1.35  # the column of names, in units of the others
    for line, (name, row) in enumerate(table.items()):
        axis.text(0, line + 0.5, name, fontsize=8, va="center")
        for number, value in enumerate(row.values()):
            x = first + number
            if isinstance(value, bool):
                colour = GREEN if value else RED
                axis.add_patch(Rectangle((x + 0.04, line + 0.07), 0.92, 0.86, facecolor=colour, alpha=0.28))
            axis.text(x + 0.5, line + 0.5, _said(value), fontsize=8, ha="center", va="center")
    for number, column in enumerate(columns):
        axis.text(first + number + 0.5, -0.15, column, fontsize=SMALL, ha="center", va="bottom", color=GREY)
    axis.plot([0, first + len(columns)], [0, 0], color=GREY, linewidth=0.8)
    axis.set(xlim=(0, first + len(columns)), ylim=(len(table), -1.75))
    axis.axis("off")
    return figure


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def accuracy_and_work(
    points: Sequence[tuple[str, str, float, float]], *, left: Sequence[str] = (), xlabel: str, ylabel: str
) -> Picture:
    """Networks as points: what they cost to the right (logarithmic), how often they are right upwards.

    Args:
        points: (name, group, cost, accuracy in per cent); a group has a colour and a marker.
        left: the names to write left of their points, where two points are too near each other.

    Raises:
        ValueError: no points, or a cost that is not above 0.
    """
    if not points or any(cost <= 0 for _, _, cost, _ in points):
        raise ValueError("a point is (name, group, cost, accuracy) with a cost above 0, and there is at least one")
    groups = list(dict.fromkeys(group for _, group, _, _ in points))
    alt = "; ".join(f"{name} {cost:g}, {accuracy:g} %" for name, _, cost, accuracy in points)
    figure, ((axis,),) = new_figure(f"{ylabel} over {xlabel}: {alt}", 1, 1, PAGE * 0.85, 3.7)
    for group, colour, marker in zip(groups, colours_of(groups), "osD^vP"):
        mine = [(cost, accuracy) for _, g, cost, accuracy in points if g == group]
        axis.plot(*zip(*mine), marker, color=colour, markersize=6, linestyle="none", label=group)
    for name, _, cost, accuracy in points:
        offset, side = ((-6, 0), "right") if name in left else ((6, 0), "left")
        at = {"textcoords": "offset points", "fontsize": SMALL, "ha": side, "va": "center"}
        axis.annotate(name, (cost, accuracy), offset, **at)
    costs = [cost for _, _, cost, _ in points]
    ticks = [tick for tick in (1, 2, 4, 8, 16, 32, 64) if min(costs) / 2 < tick < 2 * max(costs)]
    axis.set(xscale="log", xlabel=xlabel, ylabel=ylabel, xlim=(0.8 * min(costs), 1.5 * max(costs)))
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    if len(groups) > 1:
        figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=len(groups))
    return figure

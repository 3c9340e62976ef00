"""The figures of lecture 8, Swin: windows on an image, shift and mask, the bias table, merging, reach.

A map is (H, W) tokens; M is the side of a window and s the shift, both in tokens. Keys and queries are the
tokens that are looked at and that look.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from course.drawing import (
    COLOURS,
    GREY,
    ORANGE,
    PAGE,
    SKY,
    SMALL,
    Picture,
    colours_of,
    empty_figure,
    new_figure,
    outline,
    show_image,
    without_axes,
)
from course.models.token_mixers.window import relative_position_index, shift_mask

LETTERS = "ABCDEFGHI"


def token_grids(image: Tensor, grids: Mapping[str, tuple[int, int]]) -> Picture:
    """One image under several grids: the windows orange, and inside one of them the tokens.

    Args:
        image: (C, S, S), square.
        grids: title -> (tokens on a side of the map, tokens on a side of a window).

    Raises:
        ValueError: windows that do not tile a map.
    """
    size = image.shape[-1]
    for title, (side, window) in grids.items():
        if side % window:
            raise ValueError(f"{title!r}: windows of {window} tokens do not tile a map of {side}")
    said = "; ".join(
        f"{title}: {side}×{side} tokens of {size / side:g}×{size / side:g} pixels, "
        + (f"{(side // window) ** 2} windows of {window}×{window} tokens" if side > window else "one window")
        for title, (side, window) in grids.items()
    )
    width = min(1.75, PAGE / len(grids))
    figure, axes = new_figure(
        f"one image cut into tokens and windows. {said}", 1, len(grids), width * len(grids), width + 0.62
    )
    for axis, (title, (side, window)) in zip(axes.flat, grids.items()):
        token = size / side  # pixels
        show_image(axis, image)
        _lines(axis, size, token * window, ORANGE, 1.1)
        first = (side // window // 2) * window * token  # the window in the middle: its tokens are drawn
        for line in range(window + 1):
            at, ends = first + line * token - 0.5, [first - 0.5, first + window * token - 0.5]
            for x, y in ((ends, [at, at]), ([at, at], ends)):
                # The rim keeps white lines visible on a bright sky.
                rim = [withStroke(linewidth=1.3, foreground="#00000060")]
                axis.plot(x, y, color="white", linewidth=0.5, path_effects=rim)
        axis.set_title(title, fontsize=SMALL)
        count = (side // window) ** 2
        axis.set_xlabel(
            f"{side}×{side} tokens\nof {token:g}×{token:g} pixels\n"
            + (f"{count} windows of {window}×{window}" if count > 1 else "all look at all"),
            fontsize=SMALL,
        )
    return figure


def pieces(side: int, window: int, shift: int) -> Tensor:
    """Into which pieces windows moved by s, down and right, cut a map: (side, side), counted as one reads.

    Args:
        side: of the square map, in tokens.
        window, shift: M and s.

    Raises:
        ValueError: M does not divide the side, or s is not from 0 to M - 1.
    """
    if side % window or not 0 <= shift < window:
        raise ValueError(f"windows of {window} moved by {shift} on a map of {side}: M divides the side, and 0 <= s < M")
    strip = (torch.arange(side) - shift).div(window, rounding_mode="floor")
    strip = strip - strip.min()  # (side,), from 0
    return strip[:, None] * int(strip.max() + 1) + strip  # (side, side)


def shift_steps(image: Tensor, side: int, window: int, shift: int) -> Picture:
    """The moved windows on an image, the same after the cyclic shift, and the masks of the windows.

    A colour and a letter is a piece: the tokens of one moved window that really are neighbours. In the
    matrices a row is a query and a column a key; it has the colour of their piece where the query may look,
    and is white where not.

    Args:
        image: (C, S, S).
        side, window, shift: tokens on a side of the map, M, s. There are four windows: side is 2 M.

    Raises:
        ValueError: other sizes.
    """
    if side != 2 * window:
        raise ValueError(f"four windows are drawn: a map of {2 * window} tokens for windows of {window}, not {side}")
    piece = pieces(side, window, shift)  # (side, side)
    rolled = piece.roll((-shift, -shift), (0, 1)) if shift else piece
    token = image.shape[-1] // side  # pixels
    mask = shift_mask((side, side), window, shift) if shift else torch.zeros(4, window**2, window**2)
    names = ["top left", "top right", "bottom left", "bottom right"]
    allowed = [int((each == 0).sum()) for each in mask]  # pairs of each window
    alt = (
        f"windows of {window} by {window} tokens moved by {shift} cut the image into {int(piece.max()) + 1} pieces; "
        f"after a cyclic shift by {shift} the pieces fill 4 windows; their masks allow {sum(allowed)} of "
        f"{mask.numel()} pairs: " + ", ".join(f"{name} {count}" for name, count in zip(names, allowed))
    )
    figure = empty_figure(alt, 7.6, 5.0)
    above, below = figure.subfigures(2, 1, height_ratios=[1.65, 1])
    left, right = above.subplots(1, 2)
    rolled_image = image.roll((-shift * token, -shift * token), (-2, -1))
    titles = (
        f"1. the windows moved by s = {shift}:\n{int(piece.max()) + 1} pieces",
        "2. the map rolled instead:\n4 full windows",
    )
    for axis, picture, labels, title in zip((left, right), (image, rolled_image), (piece, rolled), titles):
        show_image(axis, picture)
        for number in range(int(piece.max()) + 1):
            _piece(axis, (labels == number).numpy(), token, number)
        axis.set_title(title, fontsize=9)
    _lines(right, image.shape[-1], token * window, "black", 2.2)
    for axis, name, number in zip(below.subplots(1, 4), names, range(4)):
        row, column = divmod(number, 2)
        inside = rolled[row * window :, column * window :][:window, :window].flatten()  # (M*M,)
        colours = np.ones((window**2, window**2, 3))
        for query, key in (mask[number] == 0).nonzero().tolist():
            colours[query, key] = _colour(int(inside[query]))
        axis.imshow(colours, interpolation="nearest", extent=(0, window**2, window**2, 0))
        for line in range(window**2 + 1):
            axis.axhline(line, color=GREY, linewidth=0.15)
            axis.axvline(line, color=GREY, linewidth=0.15)
        without_axes(axis)
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.6)
        axis.set_title(f"{name}: {allowed[number]} of {mask[number].numel()} pairs", fontsize=SMALL)
    below.suptitle("3. the mask of each of these windows: query (row) may look at key (column)", fontsize=9)
    return figure


def bias_lookup(window: int, query: int) -> Picture:
    """Which entries of the bias table one query of a window uses, one for each key.

    Left the window: every key has its colour, its number, that of its entry, and its displacement (query minus key,
    rows then columns). Right the table, one entry for each displacement: those in use have a key's colour.

    Args:
        window: M.
        query: which token of the window looks, 0 to M*M - 1.

    Raises:
        ValueError: no such token.
    """
    if not 0 <= query < window**2:
        raise ValueError(f"a window of {window}×{window} has the tokens 0 to {window**2 - 1}, and no token {query}")
    entries = relative_position_index(window)[query].tolist()  # (M*M,)
    wide = 2 * window - 1
    alt = (
        f"query {query} of a window of {window} by {window} tokens, and a table of {wide} by {wide} entries. "
        + ", ".join(f"key {key}: entry {entry}" for key, entry in enumerate(entries))
    )
    figure, ((left, right),) = new_figure(alt, 1, 2, 7.2, 3.7, width_ratios=[window + 0.6, wide])
    own_row, own_column = divmod(query, window)
    for key, entry in enumerate(entries):
        row, column = divmod(key, window)
        displacement = f"{own_row - row:+d}, {own_column - column:+d}".replace("-", "−").replace("+0", "0")
        _cell(left, row, column, _colour(key), f"entry {entry}", f"key {key}", displacement)
        _cell(right, entry // wide, entry % wide, _colour(key), f"{entry}")
    left.add_patch(Rectangle((own_column, own_row), 1, 1, fill=False, edgecolor="black", linewidth=2.5))
    for entry in set(range(wide**2)) - set(entries):
        _cell(right, entry // wide, entry % wide, np.ones(3), f"{entry}", faint=True)
    left.set_title(f"query {query}, framed, and its keys", fontsize=9)
    right.set_title(f"the table: {wide} × {wide} learned numbers a head", fontsize=9)
    right.set_xlabel("columns from key to query", fontsize=SMALL)
    right.set_ylabel("rows from key to query", fontsize=SMALL)
    steps = [f"{step:+d}".replace("-", "−").replace("+0", "0") for step in range(1 - window, window)]
    for axis, side in ((left, window), (right, wide)):
        axis.set(xlim=(-0.05, side + 0.05), ylim=(side + 0.05, -0.05), aspect="equal")
        without_axes(axis)
    right.set_xticks(np.arange(wide) + 0.5, steps, fontsize=SMALL)
    right.set_yticks(np.arange(wide) + 0.5, steps, fontsize=SMALL)
    right.tick_params(length=0)
    return figure


def merging(before: Tensor, after: Tensor) -> Picture:
    """2×2 neighbours become the channels of one token: the map, and each new token as a stack of four.

    Args:
        before: (H, W) whole numbers, all different: a token each.
        after: (H/2, W/2, 4) the same numbers, as they stand in the channels of the new tokens.

    Raises:
        ValueError: `after` does not hold the numbers of `before`, four a token.
    """
    if (
        after.ndim != 3
        or after.shape[-1] != 4
        or not torch.equal(after.flatten().sort().values, before.flatten().sort().values)
    ):
        raise ValueError(
            f"after must hold the {before.numel()} numbers of before as (H/2, W/2, 4), not {tuple(after.shape)}"
        )
    (height, width), (rows, columns, _) = before.shape, after.shape
    slot = {int(number): index % 4 for index, number in enumerate(after.flatten())}
    first = after[0, 0].tolist()
    alt = (
        f"a map of {height} by {width} tokens becomes {rows} by {columns} tokens, each made of four neighbours: "
        f"the first of the tokens {first}, with the channels of all four"
    )
    figure, ((left, right),) = new_figure(alt, 1, 2, 6.6, 2.9, width_ratios=[width, 1.9 * columns])
    for (row, column), number in np.ndenumerate(before.numpy()):
        _cell(left, row, column, _colour(slot[int(number)]), f"{int(number)}")
    for row in range(0, height + 1, 2):
        left.plot([0, width], [row, row], color="black", linewidth=1.6)
    for column in range(0, width + 1, 2):
        left.plot([column, column], [0, height], color="black", linewidth=1.6)
    for row in range(rows):
        for column in range(columns):
            for channel, number in enumerate(after[row, column].tolist()):
                _cell(right, row * 4.7 + channel, column * 1.7, _colour(channel), f"{int(number)}")
            right.add_patch(Rectangle((column * 1.7, row * 4.7), 1, 4, fill=False, edgecolor="black", linewidth=1.6))
    left.set(xlim=(-0.1, width + 0.1), ylim=(height + 0.1, -0.1), aspect="equal")
    right.set(xlim=(-0.1, columns * 1.7), ylim=(rows * 4.7 - 0.6, -0.1), aspect="equal")
    left.set_title(f"{height} × {width} tokens, D numbers each", fontsize=9)
    right.set_title(f"{rows} × {columns} tokens, 4D numbers each", fontsize=9)
    without_axes(left)
    without_axes(right)
    return figure


def reach(
    image: Tensor, seen: Mapping[str, Tensor], query: tuple[int, int], target: tuple[int, int] | None = None
) -> Picture:
    """What one token has heard of: an image for each case, faded where nothing has come from.

    Args:
        image: (C, H, W).
        seen: title -> (h, w) truth values.
        query: (row, column) of the token that asks, framed in orange.
        target: likewise, the token it needs to hear of, framed in blue.

    Raises:
        ValueError: the tokens do not tile the image.
    """
    height, width = image.shape[-2:]
    for title, tokens in seen.items():
        if tokens.ndim != 2 or height % tokens.shape[0] or width % tokens.shape[1]:
            raise ValueError(f"{title!r}: {tuple(tokens.shape)} tokens do not tile an image of {height}×{width}")
    said = "; ".join(
        f"{title}: {int(tokens.sum())} of {tokens.numel()} tokens"
        + ("" if target is None else f", {'with' if tokens[target] else 'without'} the target")
        for title, tokens in seen.items()
    )
    per = min(1.75, PAGE / len(seen))
    figure, axes = new_figure(f"what token {query} has heard of. {said}", 1, len(seen), per * len(seen), per + 0.5)
    for axis, (title, tokens) in zip(axes.flat, seen.items()):
        patch = height // tokens.shape[0]
        show_image(axis, image)
        for row, column in (~tokens).nonzero().tolist():
            corner = (column * patch - 0.5, row * patch - 0.5)
            axis.add_patch(Rectangle(corner, patch, patch, facecolor="white", alpha=0.78, linewidth=0))
        axis.add_patch(outline(query[1] * patch, query[0] * patch, patch, patch, ORANGE))
        if target is not None:
            axis.add_patch(outline(target[1] * patch, target[0] * patch, patch, patch, SKY))
        axis.set_title(title, fontsize=SMALL)
        axis.set_xlabel(f"{int(tokens.sum())} of {tokens.numel()} tokens", fontsize=SMALL)
    return figure


def accuracy_and_cost(
    families: Mapping[str, Sequence[tuple[str, float, float]]], *, xlabel: str, ylabel: str, above: Collection[str] = ()
) -> Picture:
    """Published figures as points, a line a family.

    Args:
        families: family -> (name of the model, cost, accuracy) of each, from the cheapest on.
        xlabel, ylabel: of cost, drawn on a logarithmic scale, and accuracy.
        above: models whose name stands above their point, to the left; the others' stand below it, to the right.

    Raises:
        ValueError: a cost that is not above 0.
    """
    if any(cost <= 0 for points in families.values() for _, cost, _ in points):
        raise ValueError("costs are drawn on a logarithmic scale and must be above 0")
    count = sum(len(points) for points in families.values())
    said = "; ".join(
        f"{family}: " + ", ".join(f"{name} {accuracy:g} at {cost:g}" for name, cost, accuracy in points)
        for family, points in families.items()
    )
    figure, ((axis,),) = new_figure(f"{ylabel} over {xlabel} of {count} models. {said}", 1, 1, 6.6, 3.9)
    for number, (family, points) in enumerate(families.items()):
        names, costs, accuracies = zip(*points)
        colour, marker = colours_of(families)[number], "os^Dv"[number % 5]
        axis.plot(costs, accuracies, "-", marker=marker, color=colour, label=family, markersize=5, linewidth=1.2)
        for name, cost, accuracy in points:
            near = {"xytext": (-4, 4), "ha": "right"} if name in above else {"xytext": (5, -10), "ha": "left"}
            axis.annotate(name, (cost, accuracy), textcoords="offset points", fontsize=SMALL, **near)
    ticks = [
        tick for tick in (1, 2, 4, 8, 16, 32, 64, 128) if min(c for p in families.values() for _, c, _ in p) <= 2 * tick
    ]
    axis.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    axis.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.margins(x=0.1, y=0.1)
    figure.legend(frameon=False, fontsize=SMALL, loc="outside lower center", ncols=3)
    return figure


# -- small parts
def _colour(number: int) -> np.ndarray:
    """A light colour for a piece, a slot or a key: lighter each time the colours have been gone through."""
    again, which = divmod(number, len(COLOURS))
    return 1 - (0.6, 0.35, 0.9)[again % 3] * (1 - np.array(to_rgb(COLOURS[which])))


def _lines(axis: Axes, size: int, step: float, colour: str, linewidth: float) -> None:
    """A square grid over an image of that size, every `step` pixels."""
    for line in np.arange(0, size + 0.5, step):
        axis.plot(
            [-0.5, size - 0.5],
            [line - 0.5, line - 0.5],
            color=colour,
            linewidth=linewidth,
            solid_capstyle="butt",
        )
        axis.plot(
            [line - 0.5, line - 0.5],
            [-0.5, size - 0.5],
            color=colour,
            linewidth=linewidth,
            solid_capstyle="butt",
        )
    axis.set(
        xlim=(-0.5 - 0.01 * size, size - 0.5 + 0.01 * size),
        ylim=(size - 0.5 + 0.01 * size, -0.5 - 0.01 * size),
    )


def _piece(axis: Axes, inside: np.ndarray, token: int, number: int) -> None:
    """The tint, the border and the letter of one piece, which is a rectangle of tokens."""
    rows, columns = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
    corner = (columns[0] * token - 0.5, rows[0] * token - 0.5)
    wide, high = len(columns) * token, len(rows) * token
    colour = _colour(number)
    axis.add_patch(Rectangle(corner, wide, high, facecolor=colour, alpha=0.6, linewidth=0))
    axis.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor="white", linewidth=1.8))
    said = axis.text(
        corner[0] + wide / 2,
        corner[1] + high / 2,
        LETTERS[number],
        ha="center",
        va="center",
        fontsize=11,
        weight="bold",
    )
    said.set_bbox({"facecolor": colour, "edgecolor": "none", "pad": 1.5, "alpha": 0.9})


def _cell(
    axis: Axes, row: float, column: float, colour, text: str, above: str = "", below: str = "", *, faint: bool = False
) -> None:
    """A coloured square with a text in its middle, and others above and below it."""
    axis.add_patch(
        Rectangle(
            (column, row),
            1,
            1,
            facecolor=colour,
            edgecolor="white" if not faint else "#e8e8e8",
            linewidth=0.8,
        )
    )
    colour = GREY if faint else "black"
    for high, each in ((0.2, above), (0.5, text), (0.8, below)):
        if each:
            axis.text(column + 0.5, row + high, each, ha="center", va="center", fontsize=SMALL, color=colour)

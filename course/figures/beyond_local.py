"""The figures of lecture 2: what shape a gate has, and what the printed tables pay for their gain."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

from course.drawing import GREY, PAGE, PALE, SKY, SMALL, Picture, colours_of, new_figure

CELL = 0.5  # of the drawn maps, in the unit of the axes
SIDE, CHANNELS = 4, 5  # of the drawn map


def gates(kinds: Mapping[str, tuple[str, bool, bool]]) -> Picture:
    """Gates, a row each: the map, what is gathered of it, the factors and their shape, the map times the factors.

    Args:
        kinds: name -> (how it gathers, whether there is a factor for each channel, whether for each place).

    Raises:
        ValueError: a gate has no factors, or there is no gate.
    """
    if not kinds or not all(channel or place for _, channel, place in kinds.values()):
        raise ValueError("a gate has a factor for each channel, for each place, or both")
    said = {
        (True, False): "one factor for each channel, the same at all places",
        (False, True): "one factor for each place, the same in all channels",
        (True, True): "a factor for each channel at each place",
    }
    alt = "; ".join(f"{name}: {how}; {said[channel, place]}" for name, (how, channel, place) in kinds.items())
    figure, ((axis,),) = new_figure(f"how gates scale a feature map. {alt}", 1, 1, PAGE, 1.1 * len(kinds) + 0.3)
    for row, (name, (how, channel, place)) in enumerate(kinds.items()):
        y = -3.3 * row
        axis.text(-0.2, y, name, ha="right", va="center", fontsize=10)
        _draw_map(axis, 0, y)
        _draw_arrow(axis, 3.3, 8.2, y)
        axis.text(5.7, y + 0.25, how, ha="center", va="bottom", fontsize=SMALL + 0.5)
        _draw_factors(axis, 8.5, y, channel, place)
        _draw_arrow(axis, 12.2, 14.2, y)
        axis.text(13.1, y + 0.25, "× map", ha="center", va="bottom", fontsize=SMALL + 0.5)
        _draw_map(axis, 14.6, y)
    axis.set(xlim=(-3.4, 18), ylim=(-3.3 * len(kinds) + 1.5, 1.7), aspect="equal")
    axis.axis("off")
    return figure


def _draw_map(axis: Axes, x: float, y: float) -> None:
    """(D, H, W) as sheets, one behind the other."""
    for sheet in reversed(range(CHANNELS)):
        _draw_grid(axis, x + 0.2 * sheet, y - 1.4 + 0.2 * sheet, SIDE, SIDE, PALE if sheet else "white")


def _draw_factors(axis: Axes, x: float, y: float, channel: bool, place: bool) -> None:
    if channel and not place:
        _draw_grid(axis, x + 1, y - CHANNELS * CELL / 2, 1, CHANNELS, SKY)
        shape = "(1, 1, D)"
    elif place and not channel:
        _draw_grid(axis, x + 0.3, y - 1, SIDE, SIDE, SKY)
        shape = "(H, W, 1)"
    else:
        for sheet in reversed(range(CHANNELS)):
            _draw_grid(axis, x + 0.2 * sheet, y - 1.4 + 0.2 * sheet, SIDE, SIDE, SKY)
        shape = "(H, W, D)"
    axis.text(x + 1.3, y - 1.5, shape, ha="center", va="top", fontsize=SMALL, family="monospace")


def _draw_grid(axis: Axes, x: float, y: float, columns: int, rows: int, colour: str) -> None:
    for i in range(rows):
        for j in range(columns):
            corner = (x + CELL * j, y + CELL * i)
            axis.add_patch(Rectangle(corner, CELL, CELL, facecolor=colour, edgecolor="black", linewidth=0.5))


def _draw_arrow(axis: Axes, start: float, end: float, y: float) -> None:
    axis.add_patch(FancyArrowPatch((start, y), (end, y), arrowstyle="-|>", mutation_scale=12, color="black"))


def price_of_a_gate(rows: Sequence[tuple[str, str, float, float]]) -> Picture:
    """What a printed table gains by a gate, over what the gate adds to the parameters.

    Args:
        rows: (network, gate, parameters added in per cent, points of error saved); a colour a gate.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError("a table without rows shows nothing")
    alt = "; ".join(
        f"{gate} in {network}: {added:.1f} % more, {saved:.2f} points" for network, gate, added, saved in rows
    )
    figure, ((axis,),) = new_figure(
        f"points of error that a gate saves, over the parameters it adds. {alt}", 1, 1, 6.8, 3.4
    )
    kinds = list(dict.fromkeys(gate for _, gate, _, _ in rows))
    for gate, colour, mark in zip(kinds, colours_of(kinds), "os^Dvp"):
        of_this = [(network, added, saved) for network, each, added, saved in rows if each == gate]
        _, x, y = zip(*of_this)
        axis.plot(x, y, mark, color=colour, markersize=7, label=gate)
        for network, added, saved in of_this:
            axis.annotate(network, (added, saved), (6, -3), textcoords="offset points", fontsize=SMALL)
    most = max(added for _, _, added, _ in rows)
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.set(
        xlabel="parameters added, % (counted here)",
        ylabel="points of error saved (as printed)",
        xlim=(-0.8, most * 1.25),
    )
    axis.set_ylim(0, max(saved for *_, saved in rows) + 0.25)
    figure.legend(frameon=False, fontsize=SMALL, loc="outside lower center", ncols=2)  # inside, its marks are points
    return figure

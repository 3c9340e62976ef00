"""The figures of lecture 4: an LSTM's cell, the encoder and the decoder, a beam, quality against cost."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from course.drawing import BLUE, GREEN, GREY, ORANGE, PAGE, PALE, RED, SMALL, Picture, empty_figure, new_figure

RIM = {"boxstyle": "round,pad=0,rounding_size=0.08"}
LIGHT_BLUE, LIGHT_ORANGE, LIGHT_GREEN = "#cfe3f1", "#fbe8c4", "#cdeae1"


def _box(
    axis: Axes, x: float, y: float, text: str, colour: str = PALE, width: float = 1.9, height: float = 0.5
) -> None:
    patch = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, facecolor=colour, edgecolor=GREY, linewidth=1, zorder=2, **RIM
    )
    axis.add_patch(patch)
    axis.text(x, y, text, ha="center", va="center", fontsize=9, zorder=3)


def _arrow(axis: Axes, *points: tuple[float, float], colour: str = GREY) -> None:
    """A line along the points, with a head at the last."""
    *_, before, last = points
    axis.plot(*zip(*points[:-1], last), color=colour, linewidth=1.3, zorder=1, solid_joinstyle="round")
    style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", last, before, arrowprops=style, zorder=1)


def lstm_cell() -> Picture:
    """One step of an LSTM: the memory's line above with its two operations, the four gates, what is shown."""
    alt = """one step of an LSTM. Above, the memory c runs from left to right: it is multiplied by the forget gate, then the
        product of the input gate and the new content tanh(g) is added. Below, the word x and the state h make the four
        gates. The new state h is tanh of the memory times the output gate"""
    figure = empty_figure(alt, PAGE, 2.9)
    axis = figure.subplots()
    _arrow(axis, (0.3, 3.0), (9.7, 3.0), colour=BLUE)
    gates = {2.4: ("forget\nσ(f)", LIGHT_ORANGE), 4.1: ("input\nσ(i)", LIGHT_ORANGE), 5.5: ("new\ntanh(g)", LIGHT_BLUE)}
    gates[7.4] = ("output\nσ(o)", LIGHT_ORANGE)
    _arrow(axis, (0.3, 0.45), (7.4, 0.45), (7.4, 1.0))
    for x, (name, colour) in gates.items():
        _arrow(axis, (x, 0.45), (x, 1.0))
        _box(axis, x, 1.3, name, colour, width=1.15, height=0.62)
    _arrow(axis, (2.4, 1.61), (2.4, 2.8))
    _arrow(axis, (4.1, 1.61), (4.1, 2.25), (4.6, 2.25))
    _arrow(axis, (5.5, 1.61), (5.5, 2.25), (5.0, 2.25))
    _arrow(axis, (4.8, 2.45), (4.8, 2.8))
    _arrow(axis, (7.4, 1.61), (7.4, 2.05), (8.4, 2.05))
    _arrow(axis, (8.6, 3.0), (8.6, 2.25))
    _arrow(axis, (8.6, 1.85), (8.6, 0.45), (9.7, 0.45))
    for x, y, sign in ((2.4, 3.0, "×"), (4.8, 2.25, "×"), (4.8, 3.0, "+"), (8.6, 2.05, "×")):
        axis.plot(x, y, "o", color="white", markeredgecolor=BLUE, markersize=16, zorder=3)
        axis.text(x, y - 0.01, sign, color=BLUE, ha="center", va="center", fontsize=12, zorder=4)
    _box(axis, 8.6, 2.62, "tanh", LIGHT_BLUE, width=0.75, height=0.32)
    for x, y, text, side in (
        (0.2, 3.0, "c, the memory", "left"),
        (9.8, 3.0, "c", "left"),
        (0.2, 0.45, "x and h", "left"),
        (9.8, 0.45, "h", "left"),
    ):
        axis.text(x, y + (0.2 if x < 1 else 0), text, ha=side, va="bottom" if x < 1 else "center", fontsize=9)
    axis.set(xlim=(0, 10.2), ylim=(0.1, 3.5))
    axis.axis("off")
    return figure


def encoder_decoder() -> Picture:
    """The Transformer from below: encoder on the left, decoder on the right, cross-attention between them."""
    alt = """the transformer. Left, the encoder: words plus positions, then L times self-attention and MLP, each with add and
        norm; its result is the memory. Right, the decoder: written words plus positions, then L times masked
        self-attention, cross-attention whose keys and values come from the memory, and MLP, each with add and norm; then
        a linear layer and softmax give the next word. BERT and ViT are the left half, GPT the right one without
        cross-attention"""
    figure = empty_figure(alt, 6.6, 4.6)
    axis = figure.subplots()
    left, right = 2.2, 6.8
    for x, top, name in ((left, 3.85, "encoder, L layers"), (right, 4.85, "decoder, L layers")):
        frame = FancyBboxPatch(
            (x - 1.5, 1.4), 3.0, top - 1.4, facecolor="none", edgecolor=GREY, linestyle=(0, (4, 2)), zorder=1, **RIM
        )
        axis.add_patch(frame)
        axis.text(x - 1.55, top + 0.1, name, ha="left", va="bottom", fontsize=9)
    parts = {
        left: [(1.9, "self-attention", LIGHT_GREEN), (2.9, "MLP", LIGHT_BLUE)],
        right: [
            (1.9, "masked self-attention", LIGHT_GREEN),
            (2.9, "cross-attention", LIGHT_ORANGE),
            (3.9, "MLP", LIGHT_BLUE),
        ],
    }
    for x, stack in parts.items():
        _box(axis, x, 0.75, "words + positions", width=2.3, height=0.4)
        _arrow(axis, (x, 0.95), (x, 1.65))
        for y, name, colour in stack:
            _box(axis, x, y, name, colour, width=2.5, height=0.44)
            _box(axis, x, y + 0.44, "add & norm", width=2.5, height=0.28)
            _arrow(axis, (x, y + 0.58), (x, y + 0.78 + 0.35 * (y == stack[-1][0])))
            # the residual connection passes by on the outer side
            outer = x + (1.38 if x == right else -1.38)
            edge = x + (1.25 if x == right else -1.25)
            _arrow(axis, (x, y - 0.32), (outer, y - 0.32), (outer, y + 0.44), (edge, y + 0.44), colour=BLUE)
    _arrow(axis, (left, 3.5), (left, 4.25), (4.45, 4.25), (4.45, 2.9), (right - 1.25, 2.9), colour=RED)
    axis.text(4.45, 4.32, "memory:\nkeys and values", ha="center", va="bottom", fontsize=SMALL, color="#a04000")
    _box(axis, right, 5.55, "linear and softmax", width=2.3, height=0.36)
    _arrow(axis, (right, 5.73), (right, 6.0))
    axis.text(right, 6.05, "next word", ha="center", va="bottom", fontsize=9)
    for x, text in ((left, "what is read"), (right, "<start> and what is written")):
        axis.text(x, 0.42, text, ha="center", va="top", fontsize=9)
    axis.set(xlim=(0.4, 8.6), ylim=(0.05, 6.4))
    axis.axis("off")
    return figure


def beam_tree(table: Tensor, width: int, names: str = "abc") -> Picture:
    """All sequences of two words with their probabilities, and which beginnings a beam keeps.

    Args:
        table: (1 + words, words), probabilities of the first word, then of the second after each first one.
        width: how many beginnings the beam keeps.
        names: of the words, a letter each.

    Raises:
        ValueError: the table is not as large as the names say.
    """
    count = len(names)
    if table.shape != (1 + count, count):
        raise ValueError(f"{count} words need a table of {1 + count} by {count}, not {tuple(table.shape)}")
    first = table[0]
    total = first[:, None] * table[1:]  # (words, words)
    kept = set(first.topk(min(width, count)).indices.tolist())
    best_kept = max((total[i, j].item(), i, j) for i in kept for j in range(count))
    best = divmod(int(total.argmax()), count)
    said = "; ".join(
        f"{names[i]} {first[i]:.2f}, then " + ", ".join(f"{names[j]} {total[i, j]:.2f}" for j in range(count))
        for i in range(count)
    )
    found = names[best_kept[1]] + names[best_kept[2]]
    alt = f"""a tree of sequences of two words with their probabilities: {said}. A beam of {width} keeps
        {" and ".join(names[i] for i in sorted(kept))} and finds {found}; the likeliest is {names[best[0]] + names[best[1]]}"""
    figure, ((axis,),) = new_figure(alt, 1, 1, 6.4, 2.9)
    for i in range(count):
        x, colour = count * i + (count - 1) / 2, BLUE if i in kept else GREY
        axis.plot([(count**2 - 1) / 2, x], [2, 1], color=colour, linewidth=0.6 + 4 * first[i].item(), zorder=1)
        axis.text(x, 1, f"{names[i]}\n{first[i]:.2f}", ha="center", va="center", fontsize=9, bbox=_label(i in kept))
        for j in range(count):
            end = count * i + j
            axis.plot([x, end], [1, 0], color=colour, linewidth=0.6 + 4 * total[i, j].item(), zorder=1)
            mark = RED if (i, j) == best_kept[1:] else None
            axis.text(
                end, 0, f"{names[i]}{names[j]}\n{total[i, j]:.2f}", ha="center", va="center", fontsize=9,
                bbox=_label(i in kept, mark),
            )  # fmt: skip
    axis.text((count**2 - 1) / 2, 2, "start", ha="center", va="center", fontsize=9, bbox=_label(True))
    axis.set(xlim=(-0.7, count**2 - 0.3), ylim=(-0.45, 2.3))
    axis.axis("off")
    return figure


def _label(kept: bool, mark: str | None = None) -> dict:
    edge = mark or (BLUE if kept else GREY)
    return {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": edge, "linewidth": 2 if mark else 1}


def quality_over_cost(points: Mapping[str, tuple[float, float]], *, ours: str) -> Picture:
    """Models in the plane of training cost and BLEU.

    Args:
        points: name -> (operations of the training, BLEU).
        ours: how the names begin that are drawn in green.
    """
    alt = "; ".join(f"{name}: {cost:.1e} operations, {bleu:g}" for name, (cost, bleu) in points.items())
    figure, ((axis,),) = new_figure(f"BLEU over training cost, English–German. {alt}", 1, 1, 6.4, 3.2)
    for number, (name, (cost, bleu)) in enumerate(sorted(points.items(), key=lambda item: item[1])):
        chosen = name.startswith(ours)
        axis.plot(cost, bleu, "o", color=GREEN if chosen else ORANGE, markersize=7)
        side = 1 if number % 2 else -1  # above and below in turn: neighbours' names do not meet
        axis.annotate(
            name, (cost, bleu), (0, 10 * side), textcoords="offset points", fontsize=SMALL, va="center", ha="center"
        )
    axis.margins(y=0.15)
    axis.set(
        xscale="log",
        xlim=(1.3e18, 9e20),
        xlabel="operations of the training (estimated)",
        ylabel="BLEU, English–German",
    )
    return figure

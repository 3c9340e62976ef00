"""The figures of lecture 14: slices of space and time, flow, two frame rates, tubelets, who looks at whom."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from torch import Tensor

from course.drawing import (
    GREY,
    ORANGE,
    PAGE,
    PALE,
    RED,
    SKY,
    SMALL,
    Picture,
    empty_figure,
    frame_axes,
    new_figure,
    outline,
    show_image,
    without_axes,
)

# A step of attention has one colour in every figure, whatever is beside it; none means anything else in the course.
STEPS = {
    "space": SKY,
    "time": RED,
    "joint": "#999999",
    "local": "#DDCC77",
    "global": "#882255",
    "width": "#332288",
    "height": "#AA4499",
}

IN_TURN = ("#44AA99", "#AA4499")  # of tubelets, one after the other


# -- motion
def space_time_slices(clips: Tensor, captions: Sequence[str]) -> Picture:
    """Motion as a direction: of each clip one frame, then what is left when a space axis is added up.

    Args:
        clips: (N, T, C, H, W).
        captions: N of them.

    Raises:
        ValueError: these are not clips, or there are not as many captions.
    """
    _clips(clips)
    if len(captions) != len(clips):
        raise ValueError(f"there are {len(clips)} clips and {len(captions)} captions")
    frames, side = clips.shape[1], min(1.5, PAGE / (len(clips) + 0.8))
    moves = (f"{name}: x {_velocity(clip, 3)}, y {_velocity(clip, 2)}" for name, clip in zip(captions, clips))
    alt = (
        f"{len(clips)} clips from above and from the side; what is bright moves, in pixels a frame, {'; '.join(moves)}"
    )
    figure, axes = new_figure(
        alt, 3, len(clips), side * len(clips) + 0.9, 2.5 * side + 0.5, height_ratios=[1, 0.6, 0.6]
    )
    labels = f"frame {frames // 2}", "x →\nt ↓", "y →\nt ↓"
    for column, (clip, caption) in enumerate(zip(clips.float().cpu(), captions)):
        show_image(axes[0, column], clip[frames // 2].byte() if clip.max() > 1 else clip[frames // 2])
        axes[0, column].set_title(caption, fontsize=9)
        for row, over in ((1, 2), (2, 3)):
            table = clip.sum(dim=(1, over)).numpy()  # (T, W), then (T, H)
            axes[row, column].imshow(table, cmap="gray", aspect="auto", interpolation="nearest")
            without_axes(axes[row, column])
    for axis, label in zip(axes[:, 0], labels):
        axis.set_ylabel(label, fontsize=SMALL, rotation=0, ha="right", va="center")
    return figure


def _velocity(clip: Tensor, axis: int) -> str:
    """Pixels a frame along an axis of (T, C, H, W) by which the middle of what is bright moves."""
    bright = (clip > 0.5 * clip.max()).float().sum(dim=(1, 5 - axis))  # (T, H or W)
    middle = (bright * torch.arange(bright.shape[1])).sum(dim=1) / bright.sum(dim=1).clamp(min=1)  # (T,)
    a_frame = float(middle[-1] - middle[0]) / max(len(clip) - 1, 1)
    return f"{round(a_frame, 1) + 0.0:+.1f}"  # + 0.0: no minus before a zero


def kernel_in_time(kernels: Mapping[str, Tensor]) -> Picture:
    """Kernels of a 3-D convolution, a row each: their t slices one after the other. Blue adds, red takes away.

    Args:
        kernels: title -> (t, k, k).

    Raises:
        ValueError: a kernel has another number of axes, or another t than the first.
    """
    lengths = {tuple(kernel.shape[:1]) for kernel in kernels.values()}
    if any(kernel.ndim != 3 for kernel in kernels.values()) or len(lengths) != 1:
        raise ValueError("kernels are (t, k, k), all with the same t")
    ((frames,),) = lengths
    alt = f"kernels of {frames} frames: {', '.join(kernels)}"
    figure, axes = new_figure(alt, len(kernels), frames, 0.8 * frames + 1.0, 0.8 * len(kernels) + 0.25)
    top = max(float(kernel.abs().max()) for kernel in kernels.values()) or 1.0
    for number, (row, (title, kernel)) in enumerate(zip(axes, kernels.items())):
        for time, axis in enumerate(row):
            axis.imshow(
                kernel[time].numpy(), cmap="RdBu", vmin=-1.9 * top, vmax=1.9 * top
            )  # so pale that black can be read
            for (y, x), value in np.ndenumerate(kernel[time].numpy()):
                axis.text(x, y, f"{value:g}".replace("-", "−"), ha="center", va="center", fontsize=SMALL)
            without_axes(axis)
            if number == 0:
                axis.set_title(f"t = {time}", fontsize=SMALL)
        row[0].set_ylabel(title, fontsize=9, rotation=0, ha="right", va="center")
    return figure


def flow_field(first: Tensor, second: Tensor, flow: Tensor, patch: int) -> Picture:
    """Two frames, their difference, and the flow between them as arrows, one for each patch that has one.

    Args:
        first, second: (C, H, W).
        flow: (h, w, 2) as x, y in pixels; nan where nothing can be said.
        patch: the side of a patch in pixels.

    Raises:
        ValueError: the flow does not have h = H/patch, w = W/patch.
    """
    height, width = first.shape[-2:]
    if flow.shape != (height // patch, width // patch, 2):
        fits = (height // patch, width // patch, 2)
        raise ValueError(f"flow in patches of {patch} on {height}×{width} pixels is {fits}, not {tuple(flow.shape)}")
    found = flow[torch.isfinite(flow).all(dim=-1)]  # (arrows, 2)
    mean = "".join(f", {axis} {value:+.1f}" for axis, value in zip("xy", found.mean(dim=0).tolist()) if len(found))
    alt = (
        f"two frames, their difference, and {len(found)} arrows of flow between them{', on average' * bool(mean)}{mean}"
    )
    figure, ((one, two, three, four),) = new_figure(alt, 1, 4, PAGE, 2.55)
    show_image(one, first)
    show_image(two, second)
    change = (second.float() - first.float()).mean(dim=0).cpu()  # (H, W)
    top = float(change.abs().max()) or 1.0
    three.imshow(change.numpy(), cmap="RdBu", vmin=-top, vmax=top, interpolation="nearest")
    without_axes(three)
    three.set_xlabel("blue: brighter, red: darker", fontsize=SMALL)
    show_image(four, 0.35 * first.float() / max(float(first.max()), 1e-9))
    for (row, column), _ in np.ndenumerate(np.zeros(flow.shape[:2])):
        x, y = flow[row, column].tolist()
        if np.isfinite(x) and np.isfinite(y):
            middle = ((column + 0.5) * patch - 0.5, (row + 0.5) * patch - 0.5)
            if x == 0 and y == 0:
                four.plot(*middle, "o", color=GREY, markersize=3)
                continue
            tip = (middle[0] + 1.6 * x, middle[1] + 1.6 * y)
            style = {"arrowstyle": "-|>", "color": RED, "linewidth": 1.4, "mutation_scale": 8}
            four.annotate("", tip, middle, arrowprops=style | {"shrinkA": 0, "shrinkB": 0})
    for axis, title in zip((one, two, three, four), ("frame t", "frame t + 1", "difference", "flow")):
        axis.set_title(title, fontsize=9)
    return figure


def frame_rates(num_frames: int, alpha: int, channels: tuple[int, int], shares: tuple[float, float]) -> Picture:
    """SlowFast's two pathways: which frames each sees, how wide it is, what it costs.

    Args:
        num_frames: T; the fast pathway sees all of them.
        alpha: the slow one sees every alpha-th.
        channels: of the slow and of the fast pathway: the height of a frame's bar.
        shares: of the multiply-adds, slow and fast, 0..1.

    Raises:
        ValueError: alpha does not divide the frames.
    """
    if num_frames % alpha:
        raise ValueError(f"every {alpha}th of {num_frames} frames: alpha has to divide them")
    slow = num_frames // alpha
    said = f"slow pathway: {slow} frames, {shares[0]:.0%} of the work"
    alt = f"{said}; fast: {num_frames} frames, {shares[1]:.0%}"
    figure, (axis,) = _line_axes(alt, 1, PAGE, 2.1)
    rows = (("slow", 0, alpha, channels[0], shares[0], SKY), ("fast", 1, 1, channels[1], shares[1], RED))
    tallest = max(channels)
    for name, row, every, wide, share, colour in rows:
        tall = 0.8 * wide / tallest
        for time in range(0, num_frames, every):
            axis.add_patch(Rectangle((time, -row - tall / 2), 0.7, tall, color=colour, linewidth=0))
        said = f"{name}: {num_frames // every} frames\n{wide} channels"
        axis.text(-0.6, -row, said, ha="right", va="center", fontsize=8)
        cost = f"{share:.0%} of\nthe work"
        axis.text(num_frames + 0.5, -row, cost, ha="left", va="center", fontsize=8)
        if row:
            for time in range(0, num_frames, alpha):
                tip, tail = (time + 0.35, -0.46), (time + 0.35, -row + tall / 2)
                axis.annotate("", tip, tail, arrowprops={"arrowstyle": "->", "color": GREY, "linewidth": 0.7})
    below = "time →   (grey arrows: what the fast pathway saw joins the slow one)"
    axis.text(num_frames / 2, -1.42, below, ha="center", fontsize=SMALL, color=GREY)
    axis.set(xlim=(-7, num_frames + 5), ylim=(-1.55, 0.5))
    return figure


# -- tokens
def two_embeddings(clip: Tensor, tubelet: int, patch: int) -> Picture:
    """Uniform frame sampling above, tubelets below: which pixels go into which token.

    Above, the frames that are not kept are faded. Below, the patches of the same tubelet have the same colour.

    Args:
        clip: (T, C, H, W).
        tubelet: t, frames of a tubelet; one frame of every t is kept above, the middle one, of two the later.
        patch: P, in pixels.

    Raises:
        ValueError: t does not divide T, or P not H and W.
    """
    frames, _, height, width = clip.shape
    if frames % tubelet or height % patch or width % patch:
        raise ValueError(f"boxes of {tubelet}×{patch}×{patch} do not tile a clip of {frames}×{height}×{width}")
    tokens = frames // tubelet * (height // patch) * (width // patch)
    alt = (
        f"above, {frames // tubelet} of {frames} frames are kept and cut into patches; below, {tubelet} frames at a time "
        f"are cut into boxes: {tokens} tokens each"
    )
    side = min(1.15, (PAGE - 1.7) / frames)
    figure, axes = new_figure(alt, 2, frames, frames * side + 1.7, 2 * side + 0.3)
    for time in range(frames):
        above, below = axes[:, time]
        kept = time % tubelet == tubelet // 2
        show_image(above, clip[time])
        show_image(below, clip[time])
        if not kept:
            above.add_patch(Rectangle((-0.5, -0.5), width, height, facecolor="white", alpha=0.8, linewidth=0))
        for axis in (above, below) if kept else (below,):
            for line in range(patch, max(height, width), patch):
                axis.axhline(line - 0.5, color="white", linewidth=0.5)
                axis.axvline(line - 0.5, color="white", linewidth=0.5)
        colour = IN_TURN[time // tubelet % len(IN_TURN)]
        if kept:
            above.add_patch(outline(patch, patch, patch, patch, colour))
        below.add_patch(outline(patch, patch, patch, patch, colour))
        frame_axes(below, colour)
        above.set_title(f"t = {time}", fontsize=SMALL)
    sizes = f"{patch}×{patch}", f"{tubelet}×{patch}×{patch}"
    for axis, way, size in zip(axes[:, 0], (f"one frame of {tubelet}", "tubelets"), sizes):
        said = f"{way}\n{tokens} tokens of\n{size} pixels"
        axis.set_ylabel(said, fontsize=SMALL, rotation=0, ha="right", va="center")
    return figure


# -- who looks at whom
def attention_stages(models: Mapping[str, Sequence[tuple[str, Tensor, tuple[int, int, int]]]]) -> Picture:
    """What one token sees, step by step: a row a model, and in it a group of small frames for each step.

    Args:
        models: title -> steps; a step is its title, the tokens seen (T, h, w) as truth values, and the query
            (frame, row, column), framed in orange. A step whose frames are one token each has (T, 1, 1). A title
            begins with the kind of step, which gives its colour (`STEPS`): "space, 12 layers". A step follows from
            the one before it, or, if its title begins with "+", is taken beside it.

    Raises:
        ValueError: a model without steps, or tokens that are not (T, h, w).
    """
    if not models or any(not steps for steps in models.values()):
        raise ValueError("a model has one step at least")
    shapes = [seen.shape for steps in models.values() for _, seen, _ in steps]
    if any(len(shape) != 3 for shape in shapes):
        raise ValueError("the tokens that are seen are (T, h, w)")
    counted = "; ".join(
        f"{name}: " + ", ".join(f"{said} sees {int(seen.sum())} of {seen.numel()}" for said, seen, _ in steps)
        for name, steps in models.items()
    )
    widest = max(len(steps) for steps in models.values())
    figure, axes = _line_axes(counted, len(models), PAGE, 1.02 * len(models) + 0.1)
    frames = max(shape[0] for shape in shapes)
    group = frames * 1.18 + 0.9  # width of a step: a frame is 1 wide
    for axis, (name, steps) in zip(axes, models.items()):
        axis.text(-0.35, 0.5, name, ha="right", va="center", fontsize=9)
        for number, (title, seen, query) in enumerate(steps):
            left = number * group
            colour = STEPS[title.removeprefix("+ ").partition(",")[0]]
            _small_frames(axis, seen, query, left, colour)
            said = f"{title.removeprefix('+ ')}: sees {int(seen.sum())} of {seen.numel()}"
            axis.text(left + (frames * 1.18 - 0.18) / 2, 1.12, said, ha="center", va="bottom", fontsize=SMALL)
            if number and title.startswith("+"):
                axis.text(left - 0.53, 0.5, "+", ha="center", va="center", fontsize=14, color=GREY)
            elif number:
                arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
                axis.annotate("", (left - 0.12, 0.5), (left - 0.92, 0.5), arrowprops=arrow)
        axis.set(xlim=(-2.9, widest * group), ylim=(-0.08, 1.5), aspect="equal")
    return figure


def _small_frames(axis: Axes, seen: Tensor, query: tuple[int, int, int], left: float, colour: str) -> None:
    """T frames beside each other, each 1 by 1, its tokens coloured where they are seen; (T, 1, 1): a dot each."""
    _, rows, columns = seen.shape
    side = 1 / max(rows, columns)
    for (time, row, column), visible in np.ndenumerate(seen.numpy()):
        single = rows == columns == 1
        size = 0.45 if single else side
        x = left + time * 1.18 + (0.275 if single else column * side)
        y = 0.275 if single else 1 - (row + 1) * side
        fill = colour if visible else "white"
        axis.add_patch(Rectangle((x, y), size, size, facecolor=fill, edgecolor=PALE, linewidth=0.8))
        if (time, row, column) == tuple(query):
            axis.add_patch(Rectangle((x, y), size, size, facecolor="none", edgecolor=ORANGE, linewidth=2.2, zorder=3))


def neighbourhoods(clip: Tensor, schemes: Mapping[str, Mapping[str, Tensor]], query: tuple[int, int, int]) -> Picture:
    """Ways to attend on a film strip: a row each, a colour for each of its steps, what no step sees faded.

    Args:
        clip: (T, C, H, W).
        schemes: title -> step, a key of `STEPS`, -> (T, h, w) truth values: what the query sees in that step. A token
            of several steps has the colour of the first.
        query: (frame, row, column), framed in orange.

    Raises:
        ValueError: the tokens of a step are not (T, h, w) with the clip's T, or the query is not in the clip.
    """
    frames, _, height, width = clip.shape
    for title, steps in schemes.items():
        for step, seen in steps.items():
            if seen.ndim != 3 or len(seen) != frames:
                shape = tuple(seen.shape)
                raise ValueError(f"{title!r}, {step!r} must be (T, h, w) with T = {frames}, not {shape}")
            if not all(0 <= index < length for index, length in zip(query, seen.shape)):
                raise ValueError(f"there is no token {query} among {tuple(seen.shape)}")
    reached = {title: torch.stack(list(steps.values())).any(dim=0) for title, steps in schemes.items()}
    said = {title: f"{int(seen.sum())} of {seen.numel()} tokens" for title, seen in reached.items()}
    side = min(0.9, (PAGE - 3.2) / frames)
    alt = f"what token {query} sees: " + "; ".join(f"{title}, {count}" for title, count in said.items())
    ratios = [1] * frames + [0.9]
    size = frames * side + 2.7, len(schemes) * side + 0.25
    figure, grid = new_figure(alt, len(schemes), frames + 1, *size, width_ratios=ratios)
    axes, legends = grid[:, :-1], grid[:, -1]
    for number, (line, (title, steps)) in enumerate(zip(axes, schemes.items())):
        for time, axis in enumerate(line):
            show_image(axis, 0.3 + 0.7 * clip[time].float() / max(float(clip.max()), 1e-9))
            seen = reached[title]
            patch = height // seen.shape[1]
            cover = np.full((*seen.shape[1:], 4), to_rgba("white", 0.85))  # (h, w, RGBA): what is never seen
            for step, tokens in reversed(steps.items()):
                cover[tokens[time].numpy()] = to_rgba(STEPS[step], 0.6)
            axis.imshow(cover, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")
            if time == query[0]:
                axis.add_patch(outline(query[2] * patch, query[1] * patch, patch, patch, ORANGE))
            if number == 0:
                axis.set_title(f"t = {time}", fontsize=SMALL)
        line[0].set_ylabel(f"{title}\n{said[title]}", fontsize=SMALL, rotation=0, ha="right", va="center")
        legends[number].axis("off")
        for line_number, step in enumerate(steps):
            height_of = 0.5 + 0.22 * ((len(steps) - 1) / 2 - line_number)
            legends[number].add_patch(Rectangle((0, height_of - 0.06), 0.14, 0.12, facecolor=STEPS[step], linewidth=0))
            legends[number].text(0.2, height_of, step, fontsize=8, va="center")
    return figure


def reach_in_clip(clip: Tensor, seen: Mapping[str, Tensor], query: tuple[int, int, int]) -> Picture:
    """Which tokens of a clip have to do with one of them: a film strip a scheme, the others faded out.

    Args:
        clip: (T, C, H, W).
        seen: title -> (T, h, w) truth values.
        query: (frame, row, column) of the token in question, framed in orange.

    Raises:
        ValueError: a title's tokens are not (T, h, w) with the clip's T.
    """
    frames, height = clip.shape[0], clip.shape[-2]
    counted = {title: f"{int(tokens.sum())} of {tokens.numel()} tokens" for title, tokens in seen.items()}
    alt = "; ".join(f"{title}: {said}" for title, said in counted.items())
    side = min(0.95, (PAGE - 1.9) / frames)
    figure, axes = new_figure(alt, len(seen), frames, frames * side + 1.9, len(seen) * side + 0.25)
    for row, (title, tokens) in enumerate(seen.items()):
        if tokens.ndim != 3 or len(tokens) != frames:
            raise ValueError(f"{title!r} must be (T, h, w) with T = {frames}, not {tuple(tokens.shape)}")
        patch = height // tokens.shape[1]
        for time, axis in enumerate(axes[row]):
            show_image(axis, 0.25 + 0.75 * clip[time])  # not black, so that faded stands apart from dark
            for (y, x), visible in np.ndenumerate(tokens[time].numpy()):
                corner = (x * patch - 0.5, y * patch - 0.5)
                colour = {"facecolor": SKY, "alpha": 0.45} if visible else {"facecolor": "white", "alpha": 0.8}
                axis.add_patch(Rectangle(corner, patch, patch, linewidth=0, **colour))
            if time == query[0]:
                axis.add_patch(outline(query[2] * patch, query[1] * patch, patch, patch, ORANGE))
            if row == 0:
                axis.set_title(f"t = {time}", fontsize=SMALL)
        axes[row, 0].set_ylabel(f"{title}\n{counted[title]}", fontsize=SMALL, rotation=0, ha="right", va="center")
    return figure


# -- what adds up
def gains(values: Mapping[str, float], *, unit: str = "%") -> Picture:
    """Figures that build on each other: a bar from each to the next, with what it added.

    Args:
        values: name -> value, in the order in which things were added; the first is the start.

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        raise ValueError("a start and at least one step on it are needed")
    names, heights = list(values), list(values.values())
    added = [after - before for before, after in zip(heights, heights[1:])]
    alt = f"from {heights[0]:g} to {heights[-1]:g}: " + ", ".join(
        f"{name} {more:+.1f}" for name, more in zip(names[1:], added)
    )
    figure, ((axis,),) = new_figure(alt, 1, 1, 6.6, 0.8 + 0.27 * len(values))
    low, span = min(heights), max(heights) - min(heights)
    axis.plot([heights[0]] * 2, [-0.4, 0.4], color=GREY, linewidth=2)
    axis.text(heights[0] + 0.02 * span, 0, f"{heights[0]:g}", va="center", fontsize=8, color=GREY)
    for row, (before, more) in enumerate(zip(heights, added), start=1):
        axis.barh(row, more, left=before, height=0.75, color=SKY if more >= 0 else RED)
        right = max(before, before + more) + 0.02 * span
        axis.text(right, row, f"{more:+.1f}  →  {before + more:g}".replace("-", "−"), va="center", fontsize=8)
        axis.plot([before, before], [row - 1 + 0.37, row - 0.37], color=GREY, linewidth=0.8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set(xlim=(low - 0.05 * span, max(heights) + 0.3 * span), ylim=(len(names) - 0.4, -0.6), xlabel=unit)
    return figure


# -- small parts
def _clips(clips: Tensor) -> None:
    if clips.ndim != 5:
        raise ValueError(f"clips are (N, T, C, H, W), not {tuple(clips.shape)}")


def _line_axes(alt: str, rows: int, width: float, height: float) -> tuple[Picture, list[Axes]]:
    """Bare axes one below the other, to draw on with units of one's own."""
    figure = empty_figure(alt, width, height)
    axes = list(figure.subplots(rows, 1, squeeze=False)[:, 0])
    for axis in axes:
        axis.axis("off")
    return figure, axes

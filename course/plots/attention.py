"""Where tokens look, as a heat over the image."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle
from torch import Tensor

from course.drawing import GREY, RED, SMALL, Picture, new_figure, outline, show_image, without_axes


def attention_maps(image: Tensor, weights: Tensor, query: int | Sequence[int]) -> Picture:
    """Where tokens look: the image, then one map for each row of weights, the darker the more, all on one scale.

    The token that looks is framed, on the image too.

    Args:
        image: (C, H, W).
        weights: of one token in h heads, (h, N), with ``query=13``; of K tokens in one head, (K, N), with
            ``query=[1, 6, ...]``; or (N,). N is a square number, tokens in reading order.
        query: which token looks.

    Raises:
        ValueError: the tokens are not a square grid that tiles the image, or there are not as many queries as
            rows.
    """
    weights = weights.detach().cpu().float().reshape(-1, weights.shape[-1])  # (K, N)
    height, width = image.shape[-2:]
    side = math.isqrt(weights.shape[-1])
    if side * side != weights.shape[-1] or height % side or width % side:
        raise ValueError(f"{weights.shape[-1]} tokens are not a square grid on an image of {height}×{width}")
    one_token = isinstance(query, int)
    queries = [query] * len(weights) if one_token else list(query)
    if len(queries) != len(weights):
        raise ValueError(f"there are {len(weights)} rows of weights and {len(queries)} queries")
    patch = height // side, width // side
    per_row = min(len(weights), 4)
    rows = -(-len(weights) // per_row)
    most = weights.max(dim=-1)
    names = [f"head {number}" if one_token else f"token {token}" for number, token in enumerate(queries)]
    looks = zip(names, most.indices.tolist(), most.values.tolist())
    alt = "; ".join(f"{name} looks most at token {at}, with weight {weight:.2f}" for name, at, weight in looks)
    figure, axes = new_figure(
        f"attention on a grid of {side} by {side} tokens, {f'token {query} looks: ' * one_token}{alt}",
        rows,
        1 + per_row,
        1.6 * (1 + per_row),
        1.8 * rows,
    )
    for axis in axes.flat:
        axis.axis("off")
    axes[0, 0].axis("on")
    show_image(axes[0, 0], image)
    axes[0, 0].set_title("the image", fontsize=SMALL)
    for token in dict.fromkeys(queries):
        axes[0, 0].add_patch(_token_box(token, side, patch))
    for number, (axis, token) in enumerate(zip(axes[:, 1:].flat, queries)):
        heat = np.kron(weights[number].reshape(side, side).numpy(), np.ones(patch))  # (H, W)
        axis.imshow(heat, cmap="Blues", vmin=0, vmax=max(float(weights.max()), 1e-12), interpolation="nearest")
        axis.axis("on")
        without_axes(axis)
        axis.spines[:].set(visible=True, color=GREY, linewidth=0.8)
        frame = _token_box(token, side, patch)
        frame.set_path_effects([])  # a rim would hide the token's own small weight
        axis.add_patch(frame)
        axis.set_title(f"{names[number]}: up to {most.values[number]:.2f}", fontsize=SMALL)
    return figure


def _token_box(token: int, side: int, patch: tuple[int, int]) -> Rectangle:
    return outline(token % side * patch[1], token // side * patch[0], patch[1], patch[0], RED)

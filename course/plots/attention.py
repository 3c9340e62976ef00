"""Where tokens look, as a heat over the image."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Rectangle
from torch import Tensor

from course.drawing import ORANGE, SMALL, Picture, new_figure, outline, pixels_of, show_image, without_axes


def attention_maps(image: Tensor, weights: Tensor, query: int | Sequence[int]) -> Picture:
    """Where tokens look: the image, then one picture for each row of weights, the darker the more.

    The token that looks is framed.

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
    alt = f"token {query} looks, in {len(weights)} heads" if one_token else f"tokens {queries} look"
    figure, axes = new_figure(f"where {alt}", rows, 1 + per_row, 1.6 * (1 + per_row), 1.8 * rows)
    for axis in axes.flat:
        axis.axis("off")
    axes[0, 0].axis("on")
    show_image(axes[0, 0], image)
    axes[0, 0].set_title("the image", fontsize=SMALL)
    if one_token:
        axes[0, 0].add_patch(_token_box(query, side, patch))
    drawing = pixels_of(image)
    if drawing.ndim == 3:  # the grain of a colour image would be taken for attention
        drawing = np.ones_like(drawing[..., 0])
    for number, (axis, token) in enumerate(zip(axes[:, 1:].flat, queries)):
        grid = weights[number].reshape(side, side).numpy()
        heat = np.kron(grid / max(grid.max(), 1e-12), np.ones(patch))  # (H, W)
        # A grey image stays visible as a faint drawing under the heat.
        axis.imshow(
            colormaps["Blues"](0.95 * heat)[..., :3] * (0.72 + 0.28 * drawing[..., None]),
            interpolation="nearest",
        )
        axis.axis("on")
        without_axes(axis)
        frame = _token_box(token, side, patch)
        frame.set_path_effects([])  # a rim would hide the token's own small weight
        axis.add_patch(frame)
        who = f"head {number}" if one_token else f"token {token}"
        axis.set_title(f"{who}: up to {grid.max():.2f}", fontsize=SMALL)
    return figure


def _token_box(token: int, side: int, patch: tuple[int, int]) -> Rectangle:
    return outline(token % side * patch[1], token // side * patch[0], patch[1], patch[0], ORANGE)

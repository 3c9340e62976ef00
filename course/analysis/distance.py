"""How far a head looks (Dosovitskiy et al. 2021, arXiv:2010.11929, figure 7, right, and appendix D.7)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from course.analysis.attention import not_negative
from course.analysis.token_grid import sides, token_grid


def mean_attention_distance(weights: Sequence[Tensor], image_size: int | tuple[int, int]) -> list[Tensor]:
    """The mean distance, in pixels, from the patch that looks to those it looks at: (heads,) for each layer.

    Distances run between the centres of patches and are weighted by attention; then the mean is taken
    over the queries and the images. Class tokens have no place: they are left out, as queries and as
    keys, and the weights on the patches are made to sum to 1 again. It is a size in the sense of a
    receptive field: 0 where each patch sees itself only, about 0.52 H on a square image where it sees
    everything alike.

    Args:
        weights: as from ``attention_weights``: for each layer (B, heads, N, M), where the keys may be a
            coarser grid than the queries (PVT), or in windows (B, windows, heads, n, n), where each
            window has a grid of its own (Swin; what is shifted is masked across the seam, so that
            distances in a window are distances in the image). Code that hides windows in the batch axis
            cannot be told from code without windows: make five axes of it first, ``layer.unflatten(0, (B,
            windows))``.
        image_size: H = W, or (H, W), in pixels. The patches' sides follow from it, layer by layer.

    Raises:
        ValueError: a layer of another form, one in which only a class token asks, or weights below 0
            (after CaiT's talking heads).
    """
    distances = []
    for number, layer in enumerate(weights):
        try:
            not_negative(layer)
            between = _between(layer, image_size).to(layer)  # (N, M) of the patches, in pixels
        except ValueError as error:
            raise ValueError(f"layer {number}, {tuple(layer.shape)}: {error}") from None
        on_patches = layer[..., -between.shape[0] :, -between.shape[1] :]  # without class tokens
        total = on_patches.sum(dim=-1).clamp(min=torch.finfo(layer.dtype).tiny)  # (..., heads, N)
        each = (on_patches * between).sum(dim=-1) / total  # (..., heads, N)
        distances.append(each.mean(dim=-1).flatten(0, -2).mean(dim=0))  # (heads,)
    return distances


def _between(layer: Tensor, image_size: int | tuple[int, int]) -> Tensor:
    """Distances from each query patch to each key patch, (N, M), in pixels."""
    queries, keys = layer.shape[-2:]
    if layer.ndim == 5:
        _, (rows, columns) = token_grid(layer.shape[1] * queries, image_size)
        height, width = sides(image_size)
        _, window = token_grid(queries)
        return _distances(*[centres(window, (height / rows * window[0], width / columns * window[1]))] * 2)
    if layer.ndim != 4:
        raise ValueError("weights are (B, heads, N, M), or in windows (B, windows, heads, n, n)")
    if queries == 1 < keys:
        raise ValueError("only one token asks, a class token: it has no place. Leave such layers out")
    return _distances(*[centres(token_grid(tokens, image_size)[1], sides(image_size)) for tokens in (queries, keys)])


def _distances(here: Tensor, there: Tensor) -> Tensor:
    return (here[:, None] - there).norm(dim=-1)  # (N, M)


def centres(grid: tuple[int, int], size: tuple[float, float]) -> Tensor:
    """The centre (y, x) of each cell of a grid (h, w) over an area of that height and width, (h*w, 2)."""
    y, x = ((torch.arange(cells) + 0.5) * side / cells for cells, side in zip(grid, size, strict=True))
    return torch.cartesian_prod(y, x)

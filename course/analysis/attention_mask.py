"""The attention of the class token as a mask of the object, and how well it fits (DINO, arXiv:2104.14294, figure 4)."""

import torch
from torch import Tensor

from course.analysis.attention import not_negative
from course.analysis.token_grid import token_grid


def attention_masks(weights: Tensor, size: tuple[int, int], mass: float = 0.6) -> Tensor:
    """For each head the fewest patches that get this share of the class token's attention, bool (B, heads, H, W).

    Of its attention to patches, that is: what it gives to class tokens does not count.

    Args:
        weights: of one layer, (B, heads, N, N), of ``attention_weights(model, images)``.
        size: (H, W) of the images in pixels.
        mass: the share; the paper has 0.6.

    Raises:
        ValueError: there is no class token, or the share is not 0 to 1.
    """
    if not 0 <= mass <= 1:
        raise ValueError(f"mass is a share, 0 to 1, and not {mass}")
    not_negative(weights)
    class_tokens, grid = token_grid(weights.shape[-1], size)
    if class_tokens == 0:
        raise ValueError("there is no class token whose attention could be looked at")
    attention = weights[..., 0, class_tokens:]  # (B, heads, h*w)
    attention = attention / attention.sum(-1, keepdim=True)
    value, order = attention.sort(dim=-1, descending=True)
    before = value.cumsum(-1) - value  # what the patches ahead of each one have
    inside = torch.zeros_like(attention, dtype=torch.bool).scatter(-1, order, before < mass)
    maps = inside.unflatten(-1, grid)  # (B, heads, h, w)
    return maps.repeat_interleave(size[0] // grid[0], dim=-2).repeat_interleave(size[1] // grid[1], dim=-1)


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of masks, bool (..., H, W) and (..., H, W) -> (...), 0 to 1; two empty ones are alike."""
    both, either = (one & other).sum((-2, -1)), (one | other).sum((-2, -1))
    return torch.where(either > 0, both / either, 1.0)

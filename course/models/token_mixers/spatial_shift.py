"""Spatial shift: a quarter of the channels each moves one position right, left, down and up, at no cost.

S²-MLP (Yu et al. 2021, arXiv:2106.07477) and S²-MLPv2 (Yu et al. 2021, arXiv:2108.01072).
"""

import torch
from torch import Tensor, nn

from course.models.token_mixers.split_attention import SplitAttention


def moved(x: Tensor, axis: int, forward: bool) -> Tensor:
    """The map one position further along an axis, or back; the edge it comes from keeps its values."""
    last = x.shape[axis] - 1
    if forward:
        return torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, last)], dim=axis)
    return torch.cat([x.narrow(axis, 1, last), x.narrow(axis, last, 1)], dim=axis)


def spatial_shift(x: Tensor, axes: tuple[int, int] = (2, 1)) -> Tensor:
    """The quarters of the channels moved forth and back along the first axis, forth and back along the second.

    (B, H, W, D) -> (B, H, W, D). With axes (2, 1): right, left, down, up, the paper's order. The paper's listing assigns
    in place; that must not be done as it stands, for a value just written would be read again and run on to the end.
    """
    a, b, c, d = x.chunk(4, dim=-1)  # (B, H, W, D/4) each
    first, second = axes
    quarters = [moved(a, first, True), moved(b, first, False), moved(c, second, True), moved(d, second, False)]
    return torch.cat(quarters, dim=-1)  # (B, H, W, D)


def check_quarters(dim: int) -> None:
    """Raises a ValueError that names the nearest widths with four equal parts."""
    if dim % 4:
        raise ValueError(
            f"{dim} channels cannot be shifted in four equal groups: {dim // 4 * 4} and {dim // 4 * 4 + 4} can"
        )


class SpatialShiftMLP(nn.Module):
    """Linear, GELU, spatial shift, linear: (B, N, D) -> (B, N, D), S²-MLP's way for tokens to see their neighbours.

    Args:
        dim: D.
        grid: (h, w) with N = h*w, where the tokens' neighbours are found. No weight depends on it.

    Raises:
        ValueError: four does not divide D.
    """

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        check_quarters(dim)
        self.grid = grid
        self.fc1 = nn.Linear(dim, dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.fc1(x)).unflatten(1, self.grid)  # (B, h, w, D)
        return self.fc2(spatial_shift(y).flatten(1, 2))  # (B, N, D)


class SplitSpatialShift(nn.Module):
    """S²-MLPv2's block: three copies, shifted in two orders and not at all, fused by split attention.

    (B, H, W, D) -> (B, H, W, D): linear to 3D; the first third moves right, left, down, up, the second down, up, right,
    left, the third stays; then split attention over the three and a linear layer.

    Args:
        dim: D.

    Raises:
        ValueError: four does not divide D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_quarters(dim)
        self.fc1 = nn.Linear(dim, 3 * dim)
        self.fuse = SplitAttention(dim, hidden_ratio=1, bias=False, pooling="sum")
        self.fc2 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x1, x2, x3 = self.fc1(x).chunk(3, dim=-1)  # (B, H, W, D) each
        return self.fc2(self.fuse(spatial_shift(x1, (2, 1)), spatial_shift(x2, (1, 2)), x3))

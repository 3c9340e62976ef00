"""Axial shift: groups of channels moved by different distances, along each axis apart (AS-MLP: arXiv:2107.08391)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.norms import GroupNorm1


def axial_shift(x: Tensor, shift_size: int, axis: int) -> Tensor:
    """Channels in S groups, moved by -(S-1)/2, ..., 0, ..., (S-1)/2 positions along an axis: (B, H, W, D) to the same.

    What comes in over the edge is 0. A linear layer on the result sees S neighbours, each in its own channels.

    Args:
        shift_size: S, odd. The groups have ⌈D/S⌉ channels, the last one what is left.
        axis: 1: along the columns of the map, up and down. 2: along its rows, left and right.
    """
    reach = shift_size // 2
    # Zeros before and after the map's axis; F.pad counts the axes from the last.
    padded = F.pad(x, (0, 0, reach, reach) if axis == 2 else (0, 0, 0, 0, reach, reach))  # S-1 longer along the axis
    groups = padded.split(-(-x.shape[-1] // shift_size), dim=-1)
    return torch.cat(
        [g.narrow(axis, 2 * reach - i, x.shape[axis]) for i, g in enumerate(groups)], dim=-1
    )  # (B, H, W, D)


class AxialShift(nn.Module):
    """Tokens mixed by shifts left and right, and beside that by shifts up and down: (B, H, W, D) to the same.

    Lian et al. 2021, arXiv:2107.08391: linear, norm, GELU; then linear and GELU on each shifted map; norm
    of their sum; linear.

    Args:
        dim: D.
        shift_size: S, odd: how many neighbours along each axis a token sees, itself among them.

    Raises:
        ValueError: S is even.
    """

    def __init__(self, dim: int, shift_size: int = 5) -> None:
        super().__init__()
        if shift_size % 2 == 0:
            raise ValueError(
                f"shift_size is odd, as many steps one way as the other: {shift_size - 1} or {shift_size + 1}"
            )
        self.shift_size = shift_size
        self.fc1 = nn.Linear(dim, dim)
        self.norm1 = GroupNorm1(dim)
        self.act = nn.GELU()
        self.horizontal = nn.Linear(dim, dim)
        self.vertical = nn.Linear(dim, dim)
        self.norm2 = GroupNorm1(dim)
        self.fc2 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm1(self.fc1(x)))
        across = self.act(self.horizontal(axial_shift(x, self.shift_size, axis=2)))
        down = self.act(self.vertical(axial_shift(x, self.shift_size, axis=1)))
        return self.fc2(self.norm2(across + down))

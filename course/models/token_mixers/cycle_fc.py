"""A linear layer that reads each channel from another neighbour, in turn (CycleMLP: Chen et al. 2021, arXiv:2107.10224)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.token_mixers.split_attention import SplitAttention


class CycleFC(nn.Linear):
    """A linear layer whose input channels come from different positions, (B, H, W, D) -> (B, H, W, D).

    Channel by channel in turn, and along one axis: from the position itself, from the next, from the one before, from
    itself, and so on (a pseudo-kernel of 1×3 or 3×1). The weights are those of a linear layer; outside the map is 0.

    Args:
        dim: D.
        axis: 1: along the columns of the map, up and down. 2: along its rows, left and right.
    """

    def __init__(self, dim: int, axis: int) -> None:
        super().__init__(dim, dim)
        self.padding = (1, 0) if axis == 1 else (0, 1)
        # A convolution for each channel whose kernel is a single 1 is the quickest way to move channels apart.
        taps = F.one_hot((torch.arange(dim) + 1) % 3, 3).float()  # (D, 3): before, itself, next
        self.register_buffer(
            "taps", taps.view(dim, 1, 3, 1) if axis == 1 else taps.view(dim, 1, 1, 3), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 3, 1, 2)  # (B, D, H, W), a view
        y = F.conv2d(y, self.taps, padding=self.padding, groups=len(self.taps))  # (B, D, H, W)
        return super().forward(y.permute(0, 2, 3, 1))  # (B, H, W, D)


class CycleMixing(nn.Module):
    """CycleFC along the rows, CycleFC along the columns and a plain linear layer, fused by split attention.

    (B, H, W, D) -> (B, H, W, D), for any H and W: no weight belongs to a position.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.horizontal = CycleFC(dim, axis=2)
        self.vertical = CycleFC(dim, axis=1)
        self.channels = nn.Linear(dim, dim, bias=False)
        self.fuse = SplitAttention(dim, hidden_ratio=0.25)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.fuse(self.horizontal(x), self.vertical(x), self.channels(x)))

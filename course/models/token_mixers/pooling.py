"""Averaging over a neighbourhood: a token mixer without a single weight (Yu et al. 2022, arXiv:2111.11418)."""

import torch.nn.functional as F
from torch import Tensor, nn


class Pooling(nn.Module):
    """The mean of the k×k neighbours minus the position itself, (B, H, W, D) -> (B, H, W, D).

    Equation 4 of the paper. The path around the mixer adds the position again, hence the minus. At the border the mean
    is over the neighbours that there are: zeros beyond the border are not counted.

    Args:
        pool_size: k, odd.

    Raises:
        ValueError: k is even, so that no position is in the middle.
    """

    def __init__(self, pool_size: int = 3) -> None:
        super().__init__()
        if pool_size % 2 == 0:
            raise ValueError(
                f"pool_size is odd, so that a position has as many neighbours on each side, and not {pool_size}"
            )
        self.pool_size = pool_size

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 3, 1, 2)  # (B, D, H, W), a view
        y = F.avg_pool2d(y, self.pool_size, stride=1, padding=self.pool_size // 2, count_include_pad=False)
        return y.permute(0, 2, 3, 1) - x  # (B, H, W, D)

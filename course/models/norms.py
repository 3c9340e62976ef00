"""Norms and convolutions on maps whose channels come last, (B, H, W, D).

The maps of every pyramid have this layout: a linear layer or a layer norm then acts on the channels as it is, and a
convolution reads the same memory, without a copy, as PyTorch's ``channels_last`` format, the fast one for it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Conv2d):
    """A 2-D convolution (B, H, W, D) -> (B, H', W', D')."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x.permute(0, 3, 1, 2))  # (B, D, H, W), a view
        return y.permute(0, 2, 3, 1)  # (B, H', W', D')


class BatchNorm(nn.BatchNorm2d):
    """Batch norm over the last axis of a map (B, H, W, D)."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__(dim, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (B, H, W, D)


class LayerNorm(nn.LayerNorm):
    """Layer norm over the channels D of each token (Ba et al. 2016, arXiv:1607.06450)."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__(dim, eps=eps)


class GroupNorm1(nn.Module):
    """Group norm with a single group: each image (B, H, W, D) is normalised over H, W and D together.

    PoolFormer's norm (Yu et al. 2022, arXiv:2111.11418, section 4.1); the scale and the shift belong to channels.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        channels_first = x.movedim(-1, 1)  # (B, D, H, W), a view
        return F.group_norm(channels_first, 1, self.weight, self.bias, self.eps).movedim(1, -1)  # (B, H, W, D)


class Affine(nn.Module):
    """A learned scale and shift for each channel, with no statistics (ResMLP: arXiv:2105.03404, section 2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, x, self.weight)  # (B, ..., D)

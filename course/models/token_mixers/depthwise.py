"""Depthwise convolutions: what a token sees is its neighbourhood, each channel for itself."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.norms import BatchNorm, Conv, LayerNorm


class DepthwiseConv(Conv):
    """One k×k filter for each channel, (B, H, W, D) -> the same."""

    def __init__(self, dim: int, kernel_size: int | tuple[int, int] = 7, bias: bool = True) -> None:
        super().__init__(dim, dim, kernel_size, padding="same", groups=dim, bias=bias)


class LargeKernelConv(nn.Module):
    """A large depthwise convolution with a small one beside it, each with its batch norm (RepLKNet: Ding et al. 2022,
    arXiv:2203.06717, section 3.2, guideline 3), (B, H, W, D) -> the same.

    After training the two are one convolution: ``merged_weights`` computes it, ``merged=True`` is the network of it.
    """

    def __init__(self, dim: int, kernel_size: int = 31, small_kernel: int = 5, merged: bool = False) -> None:
        super().__init__()
        self.merged = merged
        if merged:
            self.large = DepthwiseConv(dim, kernel_size)
        else:
            self.large = nn.Sequential(DepthwiseConv(dim, kernel_size, bias=False), BatchNorm(dim))
            self.small = nn.Sequential(DepthwiseConv(dim, small_kernel, bias=False), BatchNorm(dim))

    def merged_weights(self) -> tuple[Tensor, Tensor]:
        """The kernel (D, 1, k, k) and bias (D,) of the one convolution that does the same in eval mode."""
        (large, large_bias), (small, small_bias) = (
            _without_norm(conv, norm) for conv, norm in (self.large, self.small)
        )
        margin = (large.shape[-1] - small.shape[-1]) // 2
        return large + F.pad(small, [margin] * 4), large_bias + small_bias

    def forward(self, x: Tensor) -> Tensor:
        return self.large(x) if self.merged else self.large(x) + self.small(x)


def _without_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a convolution that includes the batch norm behind it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()  # (D,)
    return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


class DecomposedConv(nn.Module):
    """A k×k neighbourhood from two thin kernels, k×s and s×k, and an s×s one, each with its batch norm (SLaK: Liu et
    al. 2023, arXiv:2207.03620, section 3), (B, H, W, D) -> the same.

    Args:
        dim: D.
        kernel_size: k, up to 51.
        small_kernel: s.
    """

    def __init__(self, dim: int, kernel_size: int = 51, small_kernel: int = 5) -> None:
        super().__init__()
        k, s = kernel_size, small_kernel
        self.tall, self.wide, self.small = (
            nn.Sequential(DepthwiseConv(dim, size, bias=False), BatchNorm(dim)) for size in ((k, s), (s, k), (s, s))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.tall(x) + self.wide(x) + self.small(x)


class ConvNeXtMixer(nn.Module):
    """Depthwise convolution, norm, and an MLP in one step: (B, H, W, D) -> the same (ConvNeXt: Liu et al. 2022,
    arXiv:2201.03545, figure 4).

    Args:
        dim: D.
        conv: class of the spatial convolution.
        kernel_size: of it.
        mlp_ratio: width of the hidden layer, in units of D.
    """

    def __init__(
        self, dim: int, conv: type = DepthwiseConv, kernel_size: int = 7, mlp_ratio: float = 4.0, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.conv = conv(dim, kernel_size)
        self.norm = LayerNorm(dim, eps=eps)
        self.fc1 = nn.Linear(dim, int(dim * mlp_ratio))
        self.act = nn.GELU()
        self.fc2 = nn.Linear(int(dim * mlp_ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return self.fc2(self.act(self.fc1(x)))  # (B, H, W, hidden), then (B, H, W, D)


class ConvMixerSpatial(nn.Module):
    """Depthwise convolution, activation, batch norm (ConvMixer: Trockman & Kolter 2022, arXiv:2201.09792, section 2)."""

    def __init__(self, dim: int, kernel_size: int = 7, act: type = nn.GELU) -> None:
        super().__init__()
        self.conv = DepthwiseConv(dim, kernel_size)
        self.act = act()
        self.norm = BatchNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.act(self.conv(x)))  # (B, H, W, D)


class LargeKernelMixer(nn.Module):
    """1×1, large depthwise and 1×1 convolution with batch norms (RepLKNet's block: arXiv:2203.06717, figure 2).

    Args:
        dim: D, also within.
        kernel_size, small_kernel, merged: of ``LargeKernelConv``.
    """

    def __init__(self, dim: int, kernel_size: int = 31, small_kernel: int = 5, merged: bool = False) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Linear(dim, dim, bias=False), BatchNorm(dim), nn.ReLU())
        self.conv = LargeKernelConv(dim, kernel_size, small_kernel, merged)
        self.expand = nn.Sequential(nn.Linear(dim, dim, bias=False), BatchNorm(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(torch.relu(self.conv(self.reduce(x))))  # (B, H, W, D)

"""Attention whose projections see the neighbours (CvT: Wu et al. 2021, arXiv:2103.15808, section 3.2)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.norms import BatchNorm, Conv
from course.models.token_mixers.attention import head_width


class ConvProjection(nn.Module):
    """A depthwise separable convolution: depthwise, batch norm, pointwise; (B, H, W, D) -> (B, H/s * W/s, D).

    Equation 2 of the paper. A class token has no neighbours: it takes the pointwise part only.
    """

    def __init__(self, dim: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.depthwise = Conv(dim, dim, kernel_size, stride=stride, padding=kernel_size // 2, groups=dim, bias=False)
        self.norm = BatchNorm(dim)
        self.pointwise = nn.Linear(dim, dim)

    def forward(self, image: Tensor, class_token: Tensor | None) -> Tensor:
        x = self.norm(self.depthwise(image)).flatten(1, 2)  # (B, N, D)
        if class_token is not None:
            x = torch.cat([class_token, x], dim=1)  # (B, 1 + N, D)
        return self.pointwise(x)


class ConvProjectionAttention(nn.Module):
    """Self-attention with convolutions for q, k and v; those of k and v make the map smaller.

    Maps (B, H, W, D) to maps; tokens (B, 1 + H*W, D), a class token in front, to tokens. The scores are divided by
    √D, the width of all heads together, and not by √d: so the authors' code has it, and the weights go with it.

    Args:
        dim: D.
        grid: (H, W) of the map.
        num_heads: h.
        kernel_size: of the convolutions, odd.
        stride_kv: stride of the convolutions for keys and values: there are stride_kv² times fewer of them.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(
        self, dim: int, grid: tuple[int, int], num_heads: int = 1, kernel_size: int = 3, stride_kv: int = 2
    ) -> None:
        super().__init__()
        head_width(dim, num_heads)
        self.grid = grid
        self.num_heads = num_heads
        self.scale = dim**-0.5
        self.q = ConvProjection(dim, kernel_size, stride=1)
        self.k = ConvProjection(dim, kernel_size, stride=stride_kv)
        self.v = ConvProjection(dim, kernel_size, stride=stride_kv)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        image, class_token = x, None
        if x.ndim == 3:
            class_token, patches = x[:, :1], x[:, 1:]  # (B, 1, D), (B, H*W, D)
            image = patches.unflatten(1, self.grid)  # (B, H, W, D)
        q, k, v = (
            rearrange(project(image, class_token), "b n (h d) -> b h n d", h=self.num_heads)
            for project in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)  # (B, h, N, d)
        return self.proj(rearrange(y, "b h n d -> b n (h d)")).view_as(x)  # the map, or (B, 1 + H*W, D)

"""Attention to a smaller copy of the map (PVT: Wang et al. 2021, arXiv:2102.12122, section 3.3)."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.norms import Conv, LayerNorm
from course.models.stems import divided
from course.models.token_mixers.attention import head_width


class SpatialReductionAttention(nn.Module):
    """Every position asks; only patches of R×R positions answer: (B, H, W, D) -> (B, H, W, D).

    Queries come from the map itself, keys and values from the map reduced by a convolution of stride R, so that the
    products cost R² times less. With R = 1 nothing is reduced, this is self-attention, and tokens (B, N, D) go too.

    Args:
        dim: D.
        grid: (H, W) of the map.
        num_heads: h; each has width d = D/h.
        sr_ratio: R, in positions.
        eps: of the norm behind the reduction.

    Raises:
        ValueError: h does not divide D, or R does not divide H and W.
    """

    def __init__(
        self, dim: int, grid: tuple[int, int], num_heads: int = 1, sr_ratio: int = 1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        head_width(dim, num_heads)
        divided(grid, sr_ratio, what="a map")
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.reduction = Conv(dim, dim, kernel_size=sr_ratio, stride=sr_ratio) if sr_ratio > 1 else nn.Identity()
        self.norm = LayerNorm(dim, eps=eps) if sr_ratio > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.norm(self.reduction(x)).flatten(1, -2)  # (B, HW/R², D)
        q = rearrange(self.q(x.flatten(1, -2)), "b n (h d) -> b h n d", h=self.num_heads)
        k, v = rearrange(self.kv(reduced), "b n (two h d) -> two b h n d", two=2, h=self.num_heads)
        y = F.scaled_dot_product_attention(q, k, v)  # (B, h, HW, d)
        return self.proj(rearrange(y, "b h n d -> b n (h d)")).view_as(x)  # (B, H, W, D)

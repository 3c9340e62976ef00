"""Attention to k summaries of the tokens instead of all N (Linformer: Wang et al. 2020, arXiv:2006.04768)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.attention import head_width


class LinformerAttention(nn.Module):
    """softmax(q (E k)ᵀ / √d) (F v) in each head, (B, N, D) -> (B, N, D); cost N*k and not N² (equation 7).

    E and F (k, N) mix the tokens with learned weights, the same in all heads (section 4, headwise sharing). The
    weights belong to N: another image size needs another network.

    Args:
        dim: D.
        grid: (h, w) of the tokens.
        num_heads: h; each has width d = D/h.
        class_tokens: how many there are beside the h*w.
        num_summaries: k.

    Raises:
        ValueError: the heads do not divide D.
    """

    one_map = "summary_k"  # belongs to the places of one map, and cannot be resized

    def __init__(
        self, dim: int, grid: tuple[int, int], num_heads: int = 8, class_tokens: int = 1, num_summaries: int = 64
    ) -> None:
        super().__init__()
        head_width(dim, num_heads)
        length = class_tokens + grid[0] * grid[1]
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.summary_k = nn.Parameter(torch.randn(num_summaries, length) * length**-0.5)
        self.summary_v = nn.Parameter(torch.randn(num_summaries, length) * length**-0.5)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        k, v = self.summary_k @ k, self.summary_v @ v  # (B, h, k, d) each
        y = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, d)
        return self.proj(rearrange(y, "b h n d -> b n (h d)"))

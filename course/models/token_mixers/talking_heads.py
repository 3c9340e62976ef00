"""Attention whose heads talk to each other (Shazeer et al. 2020, arXiv:2003.02436; in CaiT: arXiv:2103.17239)."""

import torch
from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.attention import head_width


class AcrossHeads(nn.Linear):
    """A linear map across the heads, the same for each pair of tokens: (B, h, N, N) -> (B, h, N, N)."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.expand(x.shape[0], -1, -1)  # (B, h, h)
        y = torch.baddbmm(self.bias[:, None], weight, x.flatten(2))  # (B, h, N*N): bias + weight x, without moving x
        return y.view_as(x)  # (B, h, N, N)


class TalkingHeadsAttention(nn.Module):
    """Self-attention (B, N, D) -> (B, N, D) with a linear map across the heads before softmax, and one after.

    Args:
        dim: D.
        num_heads: h; each has width d = D/h.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(self, dim: int, num_heads: int = 8) -> None:
        super().__init__()
        head_width(dim, num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.talk_before = AcrossHeads(num_heads, num_heads)
        self.talk_after = AcrossHeads(num_heads, num_heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        scores = self.talk_before((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1))  # (B, h, N, N)
        y = self.talk_after(scores.softmax(dim=-1)) @ v  # (B, h, N, d)
        return self.proj(rearrange(y, "b h n d -> b n (h d)"))

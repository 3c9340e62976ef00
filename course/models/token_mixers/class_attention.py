"""Layers in which only the class token changes (CaiT: Touvron et al. 2021, arXiv:2103.17239, section 3)."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.attention import head_width


class ClassAttention(nn.Module):
    """The first token asks all tokens, itself among them: (B, N, D) -> (B, N, D), zero but for the first row.

    Zero, because this is the branch of a residual step: what is added to the patches is nothing. The cost grows with
    N, and not with N² as where each token asks.

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
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q = rearrange(self.q(x[:, :1]), "b one (h d) -> b h one d", h=self.num_heads)
        k, v = rearrange(self.kv(x), "b n (two h d) -> two b h n d", two=2, h=self.num_heads)
        y = F.scaled_dot_product_attention(q, k, v)  # (B, h, 1, d)
        y = self.proj(rearrange(y, "b h one d -> b one (h d)"))
        return on_first_row(y, x.shape[1])  # (B, N, D)


class OnClassToken(nn.Module):
    """Another branch, for the first token only: (B, N, D) -> (B, N, D), zero but for the first row."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return on_first_row(self.branch(x[:, :1]), x.shape[1])  # (B, N, D)


def on_first_row(y: Tensor, tokens: int) -> Tensor:
    """Rows of zeros below the one there is, (B, 1, D) -> (B, N, D)."""
    return F.pad(y, (0, 0, 0, tokens - 1))  # (B, N, D)

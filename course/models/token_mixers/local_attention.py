"""Attention to the neighbourhood of each place, for a convolution (Ramachandran et al. 2019, arXiv:1906.05909)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.attention import head_width


class LocalAttention(nn.Module):
    """Each place attends to the k×k places around it, (B, H, W, D) -> (B, H, W, D).

    Equation 3: ``softmax(qᵀk + qᵀr) v`` over the neighbourhood, without 1/√d; r is half an embedding of the row's
    offset and half one of the column's, so that the weights do not depend on where in the image this is. Places
    outside the map are no neighbours.

    Args:
        dim: D.
        num_heads: h; each has width d = D/h.
        kernel_size: k, odd.

    Raises:
        ValueError: h does not divide D, or d or k does not fit.
    """

    def __init__(self, dim: int, num_heads: int = 8, kernel_size: int = 7) -> None:
        super().__init__()
        d = head_width(dim, num_heads)
        if d % 2:
            raise ValueError(f"rows and columns share the {d} channels of a head, so their number is even")
        if kernel_size % 2 == 0:
            raise ValueError(f"a neighbourhood has a middle: kernel_size is odd, and not {kernel_size}")
        self.num_heads = num_heads
        self.kernel_size = kernel_size
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.rows = nn.Parameter(torch.randn(num_heads, kernel_size, d // 2))
        self.columns = nn.Parameter(torch.randn(num_heads, kernel_size, d // 2))

    def offsets(self) -> Tensor:
        """r, (h, k*k, d)."""
        k = self.kernel_size
        rows, columns = self.rows[:, :, None].expand(-1, k, k, -1), self.columns[:, None].expand(-1, k, k, -1)
        return torch.cat([rows, columns], dim=-1).flatten(1, 2)  # (h, k*k, d)

    def around(self, x: Tensor) -> Tensor:
        """The k×k neighbours of each place, zeros outside: (B, H, W, D) -> (B, H, W, D, k, k), a view of the padded map."""
        k, reach = self.kernel_size, self.kernel_size // 2
        x = F.pad(x, (0, 0, reach, reach, reach, reach))  # (B, H+k-1, W+k-1, D)
        return x.unfold(1, k, 1).unfold(2, k, 1)  # (B, H, W, D, k, k)

    def forward(self, x: Tensor) -> Tensor:
        h = self.num_heads
        q, kv = self.qkv(x).split([x.shape[-1], 2 * x.shape[-1]], dim=-1)  # (B, H, W, D) and (B, H, W, 2D)
        q = rearrange(q, "b i j (h d) -> b i j h 1 d", h=h)
        k, v = rearrange(self.around(kv), "b i j (two h d) p q -> two b i j h (p q) d", two=2, h=h)
        inside = rearrange(self.around(x.new_ones(1, *x.shape[1:3], 1)), "1 i j 1 p q -> i j 1 1 (p q)")
        scores = q @ k.transpose(-2, -1) + q @ self.offsets().transpose(-2, -1)  # (B, H, W, h, 1, k*k)
        weights = scores.masked_fill(inside == 0, -torch.inf).softmax(dim=-1)
        return rearrange(weights @ v, "b i j h 1 d -> b i j (h d)")

"""Self-attention over all tokens."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def head_width(dim: int, num_heads: int) -> int:
    """d = D / h.

    Raises:
        ValueError: the heads do not divide D; the message names the nearest numbers of heads that do.
    """
    if dim % num_heads:
        fits = [h for h in range(1, dim + 1) if dim % h == 0]
        near = sorted(sorted(fits, key=lambda h: abs(h - num_heads))[:3])
        raise ValueError(f"{num_heads} heads do not divide {dim} channels: {', '.join(map(str, near))} do")
    return dim // num_heads


class SelfAttention(nn.Module):
    """Multi-head self-attention, (B, N, D) or (B, H, W, D) to the same: softmax(q kᵀ / √d) v in each head.

    Vaswani et al. 2017, arXiv:1706.03762, equation 1 and section 3.2.2.

    Args:
        dim: D.
        num_heads: h; each has width d = D/h.
        qkv_bias, proj_bias: whether the layer that makes queries, keys and values, and the last one, have a bias.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = True, proj_bias: bool = True) -> None:
        super().__init__()
        head_width(dim, num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim, bias=proj_bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, -2)  # (B, N, D)
        q, k, v = rearrange(self.qkv(tokens), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        y = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, d)
        return self.proj(rearrange(y, "b h n d -> b n (h d)")).view_as(x)  # (B, N, D), or the map

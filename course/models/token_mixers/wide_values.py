"""Attention whose values are wider than its queries and keys (EfficientFormer: Li et al. 2022, arXiv:2206.01191)."""

from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.offset_bias import OffsetBias


class WideValueAttention(nn.Module):
    """softmax(q kᵀ / √d + b(|dy|, |dx|)) v in each head, (B, H, W, D) -> (B, H, W, D).

    LeViT's attention (Graham et al. 2021, arXiv:2104.01136) without batch norms and without an activation.

    Args:
        dim: D.
        grid: (H, W) of the map; N = H*W.
        num_heads: h.
        key_dim: d, of a query and a key of one head; it does not follow from D.
        attn_ratio: width e of a value, in units of d.
    """

    def __init__(
        self, dim: int, grid: tuple[int, int], num_heads: int = 8, key_dim: int = 32, attn_ratio: float = 4.0
    ) -> None:
        super().__init__()
        value_dim = int(attn_ratio * key_dim)
        self.num_heads = num_heads
        self.widths = [key_dim, key_dim, value_dim]
        self.qkv = nn.Linear(dim, num_heads * (2 * key_dim + value_dim))
        self.bias = OffsetBias(num_heads, grid)
        self.proj = nn.Linear(num_heads * value_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        qkv = rearrange(self.qkv(x), "b i j (h c) -> b h (i j) c", h=self.num_heads)  # c = d + d + e
        q, k, v = qkv.split(self.widths, dim=-1)  # (B, h, N, d) twice, (B, h, N, e)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, h, N, N)
        y = self.bias(scores).softmax(dim=-1) @ v  # (B, h, N, e)
        return self.proj(rearrange(y, "b h (i j) e -> b i j (h e)", i=x.shape[1]))  # (B, H, W, D)

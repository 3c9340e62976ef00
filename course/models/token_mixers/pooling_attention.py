"""Attention whose queries, keys and values are pooled first (MViT: Fan et al. 2021, Li et al. 2022, arXiv:2112.01526)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.norms import Conv, LayerNorm
from course.models.token_mixers.attention import head_width


class HeadPooling(nn.Module):
    """A depthwise 3×3 convolution and a norm, the same for all heads: (B*h, H, W, d) -> (B*h, H/s, W/s, d)."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = Conv(width, width, kernel_size=3, stride=stride, padding=1, groups=width, bias=False)
        self.norm = LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def steps_apart(queries: int, keys: int) -> Tensor:
    """How far each query lies behind each key on one axis, counted from 0 in steps of the finer of the two, (Q, K)."""
    q_step, k_step = max(keys // queries, 1), max(queries // keys, 1)
    return torch.arange(queries)[:, None] * q_step - torch.arange(keys) * k_step + (keys - 1) * k_step


class PoolingAttention(nn.Module):
    """Multi-head attention over a map, its result as small as the pooled queries: (B, H, W, D') -> (B, H/s, W/s, D).

    softmax(q kᵀ / √d + q·r(dy) + q·r(dx)) v + q: a learned vector for each vertical and each horizontal displacement,
    compared with the query, and the pooled queries themselves added at the end (section 4.1 of the second paper).

    Args:
        dim: D.
        grid: (H, W), multiples of the strides.
        num_heads: h; each has width d = D/h.
        in_dim: D', if another.
        stride: s, of the queries.
        stride_kv: of keys and values.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(
        self,
        dim: int,
        grid: tuple[int, int],
        num_heads: int = 1,
        in_dim: int | None = None,
        stride: int = 1,
        stride_kv: int = 1,
    ) -> None:
        super().__init__()
        width = head_width(dim, num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(in_dim or dim, 3 * dim)
        self.pool_q = HeadPooling(width, stride)
        self.pool_k = HeadPooling(width, stride_kv)
        self.pool_v = HeadPooling(width, stride_kv)
        self.proj = nn.Linear(dim, dim)
        for axis, side in zip(("rows", "columns"), grid):
            queries, keys = side // stride, side // stride_kv
            table = torch.empty(2 * max(queries, keys) - 1, width)
            setattr(self, axis, nn.Parameter(nn.init.trunc_normal_(table, std=0.02)))
            self.register_buffer(f"{axis}_index", steps_apart(queries, keys), persistent=False)

    def resized(self, name: str, weight: Tensor, trained: "PoolingAttention | None" = None) -> Tensor:
        """The displacements of another map's rows or columns, for this one's: linear, as the authors do it."""
        own = getattr(self, name) if name in ("rows", "columns") else weight
        if len(own) == len(weight):
            return weight
        return F.interpolate(weight.T[None].float(), size=len(own), mode="linear")[0].T.to(weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b i j (three h d) -> three (b h) i j d", three=3, h=self.num_heads)
        q, k, v = self.pool_q(q), self.pool_k(k), self.pool_v(v)  # (B*h, H/s, W/s, d); keys and values (B*h, K, L, d)
        rows = torch.einsum("nijd,ikd->nijk", q, self.rows[self.rows_index])  # (B*h, H/s, W/s, K)
        columns = torch.einsum("nijd,jld->nijl", q, self.columns[self.columns_index])  # (B*h, H/s, W/s, L)
        bias = rows[..., :, None] + columns[..., None, :]  # (B*h, H/s, W/s, K, L)
        bias = rearrange(bias, "(b h) i j k l -> b h (i j) (k l)", h=self.num_heads)
        height = q.shape[1]
        q, k, v = (rearrange(t, "(b h) i j d -> b h (i j) d", h=self.num_heads) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias) + q  # (B, h, N, d)
        return self.proj(rearrange(y, "b h (i j) d -> b i j (h d)", i=height))  # (B, H/s, W/s, D)

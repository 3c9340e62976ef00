"""LeViT's attention, and the attention that makes its maps smaller (Graham et al. 2021, arXiv:2104.01136)."""

import torch
from einops import rearrange
from torch import Tensor, nn

from course.models.backbone import Residual
from course.models.channel_mixers.linear_norm import LinearNorm, LinearNormMLP
from course.models.token_mixers.relative_bias import displacement_table, displacements, heads_of_width


def offset_table(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A number for each (|dy|, |dx|), (D, h*w) -> (D, h'*w'): a quarter of a table of displacements."""
    if old == new:
        return table
    quarter = table.unflatten(1, old)  # (D, h, w)
    half = torch.cat([quarter[:, 1:].flip(1), quarter], dim=1)  # (D, 2h-1, w)
    whole = torch.cat([half[:, :, 1:].flip(2), half], dim=2)  # (D, 2h-1, 2w-1)
    whole = displacement_table(whole.flatten(1).T, old, new).T  # (D, (2h'-1)*(2w'-1))
    return whole.unflatten(1, (2 * new[0] - 1, -1))[:, new[0] - 1 :, new[1] - 1 :].flatten(1)


class OffsetBias(nn.Module):
    """A learned number for each head and offset, added to the scores (B, h, queries, H*W).

    The offset is (|dy|, |dx|): the bias stands in for positions, and is the same to the left and to the right.

    Args:
        num_heads: h.
        grid: (H, W) of the keys.
        stride: queries are those of every `stride`-th row and column of the grid.
    """

    def __init__(self, num_heads: int, grid: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.zeros(num_heads, grid[0] * grid[1]))
        dy, dx = displacements(grid, stride)
        self.register_buffer("index", dy.abs() * grid[1] + dx.abs(), persistent=False)  # (queries, H*W)

    def resized(self, name: str, weight: Tensor, trained: "OffsetBias | None" = None) -> Tensor:
        """The table of another map's offsets for this one's."""
        return offset_table(weight, trained.grid, self.grid) if name == "table" and trained is not None else weight

    def forward(self, scores: Tensor) -> Tensor:
        return scores + self.table[:, self.index]  # (h, queries, H*W), the same for every image


class OffsetBiasAttention(nn.Module):
    """Self-attention with narrow keys, wide values and a bias for each offset: (B, H, W, D) -> (B, H, W, D).

    In each head softmax(q kᵀ / √d + b(|dy|, |dx|)) v. Values are wider than queries and keys, for they carry what is
    passed on; an activation stands before the last layer.

    Args:
        dim: D.
        grid: (H, W) of the map.
        num_heads: h.
        key_dim: d, of a query and a key of one head; it does not follow from D.
        attn_ratio: width e of a value, in units of d.
        act: class of the activation.
    """

    def __init__(
        self,
        dim: int,
        grid: tuple[int, int],
        num_heads: int = 4,
        key_dim: int = 32,
        attn_ratio: float = 2.0,
        act: type = nn.Hardswish,
    ) -> None:
        super().__init__()
        value_dim = int(attn_ratio * key_dim)
        self.num_heads = num_heads
        self.widths = [key_dim, key_dim, value_dim]
        self.qkv = LinearNorm(dim, num_heads * (2 * key_dim + value_dim))
        self.bias = OffsetBias(num_heads, grid)
        self.act = act()
        self.proj = LinearNorm(num_heads * value_dim, dim, init=0.0)

    def forward(self, x: Tensor) -> Tensor:
        qkv = rearrange(self.qkv(x), "b i j (h c) -> b h (i j) c", h=self.num_heads)  # c = d + d + e
        q, k, v = qkv.split(self.widths, dim=-1)  # (B, h, N, d) twice, (B, h, N, e)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, h, N, N)
        y = self.bias(scores).softmax(dim=-1) @ v  # (B, h, N, e)
        return self.proj(self.act(rearrange(y, "b h (i j) e -> b i j (h e)", i=x.shape[1])))  # (B, H, W, D)


class ShrinkingAttention(nn.Module):
    """What stands between LeViT's stages: attention that only every second row and column asks for, then an MLP.

    (B, H, W, D') -> (B, H/2, W/2, D), sides rounded up. No path leads around the attention, for the map changes its
    size; one leads around the MLP. There are D'/d heads, and values are four times as wide as keys.

    Args:
        key_dim: d.
        act: class of the activation.

    Raises:
        ValueError: d does not divide D'.
    """

    def __init__(
        self, in_dim: int, dim: int, grid: tuple[int, int], key_dim: int = 32, act: type = nn.Hardswish
    ) -> None:
        super().__init__()
        self.num_heads = heads_of_width(in_dim, key_dim)
        self.widths = [key_dim, 4 * key_dim]
        self.q = LinearNorm(in_dim, self.num_heads * key_dim)
        self.kv = LinearNorm(in_dim, self.num_heads * 5 * key_dim)
        self.bias = OffsetBias(self.num_heads, grid, stride=2)
        self.act = act()
        self.proj = LinearNorm(self.num_heads * 4 * key_dim, dim)
        self.mlp = Residual(LinearNormMLP(dim, mlp_ratio=2, act=act))

    def forward(self, x: Tensor) -> Tensor:
        asking = x[:, ::2, ::2]  # (B, H/2, W/2, D')
        q = rearrange(self.q(asking), "b i j (h d) -> b h (i j) d", h=self.num_heads)
        kv = rearrange(self.kv(x), "b i j (h c) -> b h (i j) c", h=self.num_heads)  # c = d + e
        k, v = kv.split(self.widths, dim=-1)  # (B, h, HW, d), (B, h, HW, e)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, h, HW/4, HW)
        y = self.bias(scores).softmax(dim=-1) @ v  # (B, h, HW/4, e)
        y = rearrange(y, "b h (i j) e -> b i j (h e)", i=asking.shape[1])  # (B, H/2, W/2, h*e)
        return self.mlp(self.proj(self.act(y)))  # (B, H/2, W/2, D)

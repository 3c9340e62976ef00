"""Attention over a map with relative positions in two dimensions (BoTNet: Srinivas et al. 2021, arXiv:2101.11605)."""

import torch
from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.attention import head_width
from course.models.token_mixers.relative_bias import displacement_table


def offset_index(length: int) -> Tensor:
    """From each place on a line to each other, ``to - from``, counted from 0: (L, L), from 0 to 2L-2."""
    place = torch.arange(length)
    return place - place[:, None] + length - 1  # (L, L)


def displacement_line(table: Tensor, new: Tensor) -> Tensor:
    """A row for each displacement on a line, (2L-1, D) -> (2L'-1, D); of `new` only the length is used."""
    return displacement_table(table, *[((len(rows) + 1) // 2, 1) for rows in (table, new)])


class RelativeAttention(nn.Module):
    """Multi-head self-attention where positions speak to the queries, (B, H, W, D) -> (B, H, W, D): figure 4.

    The score is ``qᵀk + qᵀ(r_row + r_column)``, where r belongs to the offset from the query to the key; all heads
    share the r. Queries are scaled by 1/√d. No linear layer follows.

    Args:
        dim: D.
        grid: (H, W).
        num_heads: h; each has width d = D/h.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(self, dim: int, grid: tuple[int, int], num_heads: int = 4) -> None:
        super().__init__()
        d = head_width(dim, num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.rows = nn.Parameter(torch.randn(2 * grid[0] - 1, d) * d**-0.5)
        self.columns = nn.Parameter(torch.randn(2 * grid[1] - 1, d) * d**-0.5)
        self.register_buffer("row_index", offset_index(grid[0]), persistent=False)
        self.register_buffer("column_index", offset_index(grid[1]), persistent=False)

    def resized(self, name: str, weight: Tensor, trained: "RelativeAttention | None" = None) -> Tensor:
        """The lines of another map's offsets for this one's."""
        return displacement_line(weight, getattr(self, name)) if name in ("rows", "columns") else weight

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        q, k, v = rearrange(self.qkv(x), "b i j (three h d) -> three b h (i j) d", three=3, h=self.num_heads)
        q = q * q.shape[-1] ** -0.5
        at = rearrange(q, "b h (i j) d -> b h i j d", i=height)
        by_row = torch.einsum("bhijd,ipd->bhijp", at, self.rows[self.row_index])  # (B, h, H, W, H)
        by_column = torch.einsum("bhijd,jqd->bhijq", at, self.columns[self.column_index])  # (B, h, H, W, W)
        position = by_row[..., :, None] + by_column[..., None, :]  # (B, h, H, W, H, W)
        scores = q @ k.transpose(-2, -1) + rearrange(position, "b h i j p q -> b h (i j) (p q)")
        y = scores.softmax(dim=-1) @ v  # (B, h, N, d)
        return rearrange(y, "b h (i j) d -> b i j (h d)", i=height)

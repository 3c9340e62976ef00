"""Attention over the whole map with a learned bias for each displacement (CoAtNet: Dai et al. 2021, arXiv:2106.04803)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.attention import head_width


def heads_of_width(dim: int, head_dim: int) -> int:
    """D / d.

    Raises:
        ValueError: d does not divide D; the message names the nearest D that it divides.
    """
    if dim % head_dim:
        down, up = dim // head_dim * head_dim or head_dim, -(-dim // head_dim) * head_dim
        raise ValueError(f"heads of width {head_dim} do not divide {dim} channels: {down} or {up} channels fit")
    return dim // head_dim


def displacements(grid: tuple[int, int], stride: int = 1) -> tuple[Tensor, Tensor]:
    """How far each query lies below and to the right of each key: dy and dx, (queries, H*W) each.

    The keys are all positions of the grid, row by row; the queries are those of every `stride`-th row and column.
    """
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")  # (H, W) each
    dy = rows[::stride, ::stride].flatten()[:, None] - rows.flatten()  # (queries, H*W)
    dx = columns[::stride, ::stride].flatten()[:, None] - columns.flatten()  # (queries, H*W)
    return dy, dx


def displacement_table(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A row for each displacement, ((2h-1)*(2w-1), D) -> ((2h'-1)*(2w'-1), D); no displacement in the middle.

    Bicubic, as Swin goes from windows of 7 to windows of 12 (Liu et al. 2021, arXiv:2103.14030, section 3.2),
    and as in its authors' code without antialiasing.
    """
    if old == new:
        return table
    image = table.T.reshape(1, -1, 2 * old[0] - 1, 2 * old[1] - 1).float()  # (1, D, 2h-1, 2w-1)
    size = (2 * new[0] - 1, 2 * new[1] - 1)
    image = F.interpolate(image, size=size, mode="bicubic")  # (1, D, 2h'-1, 2w'-1)
    return image.flatten(2)[0].T.to(table.dtype)


class RelativeBiasAttention(nn.Module):
    """Multi-head self-attention over a map, (B, H, W, D') -> (B, H, W, D): softmax(q kᵀ / √d + b(dy, dx)) v.

    The bias depends on the displacement only, as a convolution's weights do, and on the head; the rest of the score
    depends on the content ("pre-normalisation" relative attention, section 2.1 of the paper).

    Args:
        dim: D, the width inside and of what comes out.
        grid: (H, W) of the map.
        num_heads: h; each has width d = D/h.
        in_dim: D', if another.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(self, dim: int, grid: tuple[int, int], num_heads: int = 8, in_dim: int | None = None) -> None:
        super().__init__()
        head_width(dim, num_heads)
        self.num_heads = num_heads
        self.grid = grid
        self.qkv = nn.Linear(in_dim or dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        height, width = grid
        entries = (2 * height - 1) * (2 * width - 1)
        self.bias_table = nn.Parameter(nn.init.trunc_normal_(torch.empty(entries, num_heads), std=0.02))
        dy, dx = displacements(grid)
        index = (dy + height - 1) * (2 * width - 1) + dx + width - 1  # (H*W, H*W)
        self.register_buffer("index", index, persistent=False)

    def resized(self, name: str, weight: Tensor, trained: "RelativeBiasAttention | None" = None) -> Tensor:
        """The table of another map's displacements for this one's."""
        known = name == "bias_table" and trained is not None
        return displacement_table(weight, trained.grid, self.grid) if known else weight

    def forward(self, x: Tensor) -> Tensor:
        # The layer's outputs lie head by head: q, k and v of the first head, then of the second.
        q, k, v = rearrange(self.qkv(x), "b i j (h three d) -> three b h (i j) d", three=3, h=self.num_heads)
        bias = self.bias_table[self.index].permute(2, 0, 1)[None]  # (1, h, N, N)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # (B, h, N, d)
        return self.proj(rearrange(y, "b h (i j) d -> b i j (h d)", i=x.shape[1]))  # (B, H, W, D)

"""Attention inside windows, and inside shifted windows (Swin: Liu et al. 2021, arXiv:2103.14030, section 3.2)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.attention import head_width
from course.models.token_mixers.relative_bias import displacement_table


def window_partition(x: Tensor, window_size: int) -> Tensor:
    """A map cut into M×M windows, (B, H, W, D) -> (B, windows, M*M, D), row by row."""
    return rearrange(x, "b (i m) (j n) d -> b (i j) (m n) d", m=window_size, n=window_size)


def window_reverse(windows: Tensor, height: int, width: int) -> Tensor:
    """The windows put together to a map again, (B, windows, M*M, D) -> (B, H, W, D)."""
    m = round(windows.shape[2] ** 0.5)
    return rearrange(windows, "b (i j) (m n) d -> b (i m) (j n) d", i=height // m, j=width // m, m=m)


def relative_position_index(window_size: int) -> Tensor:
    """Which entry of the bias table each pair of tokens of a window uses, (M*M, M*M), from 0 to (2M-1)²-1.

    With dy and dx from the key to the query, each in -(M-1)..M-1, the entry is (dy + M-1)(2M-1) + (dx + M-1).
    """
    side = torch.arange(window_size)
    row, column = (t.flatten() for t in torch.meshgrid(side, side, indexing="ij"))  # (M*M,) each
    dy = row[:, None] - row + window_size - 1  # (M*M, M*M)
    dx = column[:, None] - column + window_size - 1  # (M*M, M*M)
    return dy * (2 * window_size - 1) + dx


def shift_mask(grid: tuple[int, int], window_size: int, shift: int) -> Tensor:
    """What to add to the scores of the shifted windows, (windows, M*M, M*M): 0, or -100 across the seam.

    After the cyclic shift the last windows hold pieces from opposite edges of the image. A token may see another
    only if both lie in the same of the nine regions that the shift cuts out.
    """

    def region(length: int) -> Tensor:
        place = torch.arange(length)
        return (place >= length - window_size).long() + (place >= length - shift).long()  # (length,), 0 to 2

    regions = region(grid[0])[:, None] * 3 + region(grid[1])  # (H, W)
    of_window = window_partition(regions[None, :, :, None], window_size)[0, :, :, 0]  # (windows, M*M)
    return (of_window[:, :, None] != of_window[:, None, :]).float() * -100.0


class WindowAttention(nn.Module):
    """Multi-head self-attention inside each M×M window, with a learned bias for each displacement.

    (B, H, W, D) -> (B, H, W, D). The cost grows with H*W and not with its square: 4HWD² + 2M²HWD products
    (equation 2 of the paper). Where one window covers the whole map, there is nothing to shift.

    Where windows do not divide the map, zeros are put at the right and below until they do, and taken away afterwards.
    They are not masked: each is a token with the key and value that zeros have.

    Args:
        dim: D.
        grid: (H, W) of the map.
        num_heads: h.
        window_size: M, in tokens.
        shift: how far the windows are moved, in tokens: 0, or M // 2 in every second block. "half": M // 2.

    Raises:
        ValueError: h does not divide D.
    """

    def __init__(
        self, dim: int, grid: tuple[int, int], num_heads: int = 4, window_size: int = 7, shift: int | str = 0
    ) -> None:
        super().__init__()
        head_width(dim, num_heads)
        shift = window_size // 2 if shift == "half" else shift
        if min(grid) <= window_size:
            window_size, shift = min(grid), 0
        height, width = (-(-side // window_size) * window_size for side in grid)
        self.padding = (0, 0, 0, width - grid[1], 0, height - grid[0])
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = shift
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.bias_table = nn.Parameter(
            nn.init.trunc_normal_(torch.empty((2 * window_size - 1) ** 2, num_heads), std=0.02)
        )
        self.register_buffer("index", relative_position_index(window_size), persistent=False)  # (M*M, M*M)
        self.register_buffer(
            "mask", shift_mask((height, width), window_size, shift) if shift else None, persistent=False
        )

    def resized(self, name: str, weight: Tensor, trained: "WindowAttention | None" = None) -> Tensor:
        """The table of another window's displacements for this one's."""
        if name != "bias_table" or trained is None:
            return weight
        return displacement_table(weight, (trained.window_size,) * 2, (self.window_size,) * 2)

    def bias(self) -> Tensor:
        """What is added to the scores, (windows or 1, h, M*M, M*M)."""
        bias = self.bias_table[self.index].permute(2, 0, 1)[None]  # (1, h, M*M, M*M)
        return bias if self.mask is None else bias + self.mask[:, None]  # (windows, h, M*M, M*M)

    def forward(self, x: Tensor) -> Tensor:
        _, rows, columns, _ = x.shape
        if any(self.padding):
            x = F.pad(x, self.padding)  # (B, H', W', D)
        _, height, width, _ = x.shape
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = window_partition(x, self.window_size)  # (B, windows, M*M, D)
        q, k, v = rearrange(self.qkv(windows), "b w n (three h d) -> three b w h n d", three=3, h=self.num_heads)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, windows, h, M*M, M*M)
        y = (scores + self.bias()).softmax(dim=-1) @ v  # (B, windows, h, M*M, d)
        y = self.proj(rearrange(y, "b w h n d -> b w n (h d)"))
        y = window_reverse(y, height, width)  # (B, H', W', D)
        y = y.roll((self.shift, self.shift), dims=(1, 2)) if self.shift else y
        return y[:, :rows, :columns]

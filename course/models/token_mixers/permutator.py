"""Height, width and channels mixed apart, each by one linear layer (Vision Permutator: Hou et al. 2021, arXiv:2106.12368)."""

from einops import rearrange
from torch import Tensor, nn

from course.models.token_mixers.split_attention import SplitAttention


def check_segments(dim: int, grid: tuple[int, int]) -> None:
    """Raises a ValueError if the channels cannot be cut into as many segments as the map has rows, and columns."""
    for what, side in (("rows", grid[0]), ("columns", grid[1])):
        if dim % side:
            fits = sorted({max(dim // side, 1) * side, -(-dim // side) * side})
            raise ValueError(
                f"{dim} channels cannot be cut into {side} segments, one for each of the map's {what}: "
                f"{' and '.join(map(str, fits))} can"
            )


class Permutator(nn.Module):
    """Weighted Permute-MLP, (B, H, W, D) -> (B, H, W, D): three views of the map, one linear layer of D×D for each.

    For the height, the channels are cut into H segments of S = D/H. A row of H positions, each with one segment, is a
    vector of H*S = D numbers again: a linear layer mixes them, and so sees where they stand.
    Likewise for the width; the third layer mixes the channels alone. Split attention weighs the three.

    Args:
        dim: D.
        grid: (H, W). The weights belong to it: another image size needs another network.

    Raises:
        ValueError: H or W does not divide D.
    """

    one_map = "height.weight"  # belongs to the places of one map, and cannot be resized

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        check_segments(dim, grid)
        self.grid = grid
        self.height = nn.Linear(dim, dim, bias=False)
        self.width = nn.Linear(dim, dim, bias=False)
        self.channels = nn.Linear(dim, dim, bias=False)
        self.fuse = SplitAttention(dim, hidden_ratio=0.25)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.grid
        h = self.height(rearrange(x, "b h w (g s) -> b g w (h s)", g=rows))  # (B, H segments, W, D)
        h = rearrange(h, "b g w (h s) -> b h w (g s)", h=rows)  # (B, H, W, D)
        w = self.width(rearrange(x, "b h w (g s) -> b h g (w s)", g=columns))  # (B, H, W segments, D)
        w = rearrange(w, "b h g (w s) -> b h w (g s)", w=columns)  # (B, H, W, D)
        return self.proj(self.fuse(h, w, self.channels(x)))

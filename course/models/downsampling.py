"""What stands between the stages of a pyramid: (B, H, W, D) -> (B, H/2, W/2, D')."""

from einops import rearrange
from torch import Tensor, nn

from course.models.norms import Conv, LayerNorm
from course.models.stems import divided


class PatchMerging(nn.Module):
    """Put 2×2 neighbours side by side in the channels and map the 4D to D' (Swin: arXiv:2103.14030, section 3.1).

    The neighbours stand column by column: top left, bottom left, top right, bottom right.

    Raises:
        ValueError: the map has an odd side.
    """

    def __init__(self, in_dim: int, dim: int, grid: tuple[int, int], eps: float = 1e-5) -> None:
        super().__init__()
        divided(grid, 2, what="a map")
        self.norm = LayerNorm(4 * in_dim, eps=eps)
        self.reduction = nn.Linear(4 * in_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(x, "b (h p) (w q) d -> b h w (q p d)", p=2, q=2)  # (B, H/2, W/2, 4D)
        return self.reduction(self.norm(x))


class NormedPatchConv(nn.Module):
    """Norm, then a 2×2 convolution of stride 2: (B, H, W, D) -> (B, H/2, W/2, D') (ConvNeXt: arXiv:2201.03545, section 2.6)."""

    def __init__(self, in_dim: int, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = LayerNorm(in_dim, eps=eps)
        self.conv = Conv(in_dim, dim, kernel_size=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))  # (B, H/2, W/2, D')

"""What the segmentation heads share, on maps (B, D, H, W)."""

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormReLU(nn.Module):
    """Convolution, batch norm, ReLU: (B, D, H, W) -> (B, D', H, W).

    Args:
        in_dim, dim: D and D'.
        kernel_size: odd; the map is padded so that it keeps its size.
        bias: of the convolution. The batch norm behind it makes it superfluous, but some public weights have it.
    """

    def __init__(self, in_dim: int, dim: int, kernel_size: int = 3, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, dim, kernel_size, padding=kernel_size // 2, bias=bias)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))  # (B, D', H, W)


def pixel_classifier(dim: int, num_classes: int, kernel_size: int = 1) -> nn.Module:
    """The last layer, (B, D, H, W) -> (B, num_classes, H, W); with ``num_classes=0`` the features come out."""
    return nn.Conv2d(dim, num_classes, kernel_size, padding=kernel_size // 2) if num_classes else nn.Identity()


def resized(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Bilinear interpolation, (B, D, h, w) -> (B, D, *size).

    With ``align_corners`` the centres of the corner pixels stay where they are; without it, the edges of the image do.
    """
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)  # (B, D, H, W)

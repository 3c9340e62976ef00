"""Stems of convolutional networks: (B, C, H, W) -> (B, h, w, D)."""

from torch import Tensor, nn

from course.models.norms import BatchNorm, Conv
from course.models.stems import divided


class PatchConvStem(nn.Module):
    """Patches, activation, batch norm (ConvMixer: arXiv:2201.09792, section 2).

    Raises:
        ValueError: the patches do not divide the image.
    """

    def __init__(self, dim: int, img_size: tuple[int, int], in_chans: int = 3, patch_size: int = 7, act: type = nn.GELU) -> None:
        super().__init__()
        self.grid = divided(img_size, patch_size)
        self.conv = nn.Conv2d(in_chans, dim, kernel_size=patch_size, stride=patch_size)
        self.act = act()
        self.norm = BatchNorm(dim)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.act(self.conv(images).permute(0, 2, 3, 1)))  # (B, h, w, D)


def conv_norm_relu(in_dim: int, dim: int, kernel_size: int, stride: int = 1, depthwise: bool = False) -> nn.Sequential:
    """Convolution, batch norm, ReLU on maps (B, H, W, D)."""
    groups = in_dim if depthwise else 1
    conv = Conv(in_dim, dim, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, BatchNorm(dim), nn.ReLU())


class RepLKStem(nn.Module):
    """Two halvings with depthwise layers between, so that details survive (RepLKNet: arXiv:2203.06717, section 4.1)."""

    def __init__(self, dim: int, img_size: tuple[int, int], in_chans: int = 3) -> None:
        super().__init__()
        self.grid = tuple(-(-side // 4) for side in img_size)
        self.layers = nn.Sequential(
            conv_norm_relu(in_chans, dim, 3, stride=2),
            conv_norm_relu(dim, dim, 3, depthwise=True),
            conv_norm_relu(dim, dim, 1),
            conv_norm_relu(dim, dim, 3, stride=2, depthwise=True),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.permute(0, 2, 3, 1))  # (B, H/4, W/4, D)


class RepLKTransition(nn.Module):
    """1×1 to the new width, then a depthwise 3×3 of stride 2: (B, H, W, D) -> (B, H/2, W/2, D')."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.widen = conv_norm_relu(in_dim, dim, 1)
        self.halve = conv_norm_relu(dim, dim, 3, stride=2, depthwise=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.halve(self.widen(x))  # (B, H/2, W/2, D')

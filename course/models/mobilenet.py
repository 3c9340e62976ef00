"""MobileNet, the first (Howard et al. 2017, arXiv:1704.04861): a convolution in two steps, places and then channels."""

from torch import Tensor, nn

from course.models.heads import linear_or_nothing
from course.models.model import Model


class SeparableBlock(nn.Module):
    """A depthwise 3×3 and a pointwise 1×1 convolution, (B, C, H, W) -> (B, D, H/s, W/s): figure 3, right.

    The paper writes ReLU; the authors' code and the public weights have it end at 6, and so has this.

    Args:
        in_dim: C.
        dim: D.
        stride: s, of the depthwise convolution.
    """

    def __init__(self, in_dim: int, dim: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_dim, in_dim, 3, stride, padding=1, groups=in_dim, bias=False)
        self.norm1 = nn.BatchNorm2d(in_dim)
        self.pointwise = nn.Conv2d(in_dim, dim, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(dim)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.depthwise(x)))  # (B, C, H/s, W/s)
        return self.act(self.norm2(self.pointwise(y)))  # (B, D, H/s, W/s)


class MobileNetV1(Model):
    """A 3×3 convolution, stages of separable blocks, a mean: (B, C, H, W) -> (B, num_classes), table 1.

    The table gives its last depthwise convolution stride 2 and an input and an output of 7×7: the sizes decide, and its
    stride is 1. The paper's second way to make it thinner, ρ, is the size of the images.

    Args:
        depths: blocks in each stage; every stage but the first halves the map, and each doubles the channels.
        width: channels of the stem, 32 times the paper's α.
        in_chans, num_classes: C, and the width of the logits; ``num_classes=0``: the pooled features.
    """

    def __init__(
        self, depths: tuple[int, ...] = (1, 2, 2, 6, 2), width: int = 32, in_chans: int = 3, num_classes: int = 1000
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, 3, stride=2, padding=1, bias=False)
        self.norm, self.act = nn.BatchNorm2d(width), nn.ReLU6()
        self.stages = nn.ModuleList()
        in_dim = width
        for stage, depth in enumerate(depths):
            dim = 2 * in_dim
            first = SeparableBlock(in_dim, dim, stride=1 if stage == 0 else 2)
            self.stages.append(nn.Sequential(first, *[SeparableBlock(dim, dim, 1) for _ in range(depth - 1)]))
            in_dim = dim
        self.num_features = in_dim
        self.fc = linear_or_nothing(in_dim, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The map behind each stage, (B, 2D, H/2, W/2) to (B, 32D, H/32, W/32)."""
        x = self.act(self.norm(self.conv(images)))  # (B, D, H/2, W/2)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.stage_outputs(images)[-1].mean(dim=(2, 3)))  # (B, D), then (B, num_classes)

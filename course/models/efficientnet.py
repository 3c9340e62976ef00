"""EfficientNet (Tan & Le 2019, arXiv:1905.11946): one small network, made wider, deeper and finer all at once."""

from math import ceil

import torch.nn.functional as F
from torch import Tensor, nn

from course.models.gates.squeeze_excite import SqueezeExcite
from course.models.heads import linear_or_nothing
from course.models.model import Model
from course.models.resnet import ChannelsLast

# Table 1 of the paper, the smallest network: kernel size, stride, widening inside, width and number of blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class SameConv(nn.Conv2d):
    """A convolution to ⌈H/s⌉ and ⌈W/s⌉ positions: where the zeros around are odd in number, the last one is below and right.

    (B, C, H, W) -> (B, D, H/s, W/s), without bias: TensorFlow's padding "SAME", with which the weights were trained.
    """

    def __init__(self, in_dim: int, dim: int, kernel_size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_dim, dim, kernel_size, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        around = []
        for side in (x.shape[3], x.shape[2]):  # the last axis first, as F.pad has it
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            around += [total // 2, total - total // 2]
        return super().forward(F.pad(x, around))


def batch_norm(dim: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(dim, eps=1e-3)  # TensorFlow's


class InvertedResidual(nn.Module):
    """Widen, mix neighbours channel by channel, weigh the channels, narrow: (B, C, H, W) -> (B, D, H/s, W/s).

    The inverted bottleneck of Sandler et al. 2018, arXiv:1801.04381, with a gate: "MBConv". x itself is added where its
    shape stays.

    Args:
        in_dim, dim: C and D.
        kernel_size, stride: of the depthwise convolution; s.
        expand: width inside, in units of C; 1: nothing is widened. The gate's hidden layer has C/4 units.
    """

    def __init__(self, in_dim: int, dim: int, kernel_size: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = in_dim * expand
        self.act = nn.SiLU(inplace=True)
        self.widen = nn.Identity()
        if expand > 1:
            self.widen = nn.Sequential(nn.Conv2d(in_dim, hidden, 1, bias=False), batch_norm(hidden), self.act)
        self.depthwise = SameConv(hidden, hidden, kernel_size, stride, groups=hidden)
        self.norm1 = batch_norm(hidden)
        self.gate = ChannelsLast(SqueezeExcite(hidden, act=nn.SiLU, hidden=in_dim // 4))
        self.narrow = nn.Conv2d(hidden, dim, 1, bias=False)
        self.norm2 = batch_norm(dim)
        self.adds = stride == 1 and in_dim == dim

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.depthwise(self.widen(x))))  # (B, hidden, H/s, W/s)
        y = self.norm2(self.narrow(self.gate(y)))  # (B, D, H/s, W/s): no activation where the map is narrow
        return x + y if self.adds else y


def rounded(width: float) -> int:
    """The multiple of 8 that is nearest, and at most a tenth below."""
    near = max(8, int(width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * width else near


class EfficientNet(Model):
    """Images (B, C, H, W) to logits (B, num_classes): a stem, seven stages, a wide 1×1 convolution, a mean.

    Args:
        width, depth: how many times wider and deeper than the smallest network, B0. The images grow with both; the
            model takes any size.
        in_chans, num_classes: C, and the width of the logits; ``num_classes=0``: the pooled features.
    """

    def __init__(self, width: float = 1.0, depth: float = 1.0, in_chans: int = 3, num_classes: int = 1000) -> None:
        super().__init__()
        in_dim = rounded(32 * width)
        self.stem = nn.Sequential(SameConv(in_chans, in_dim, 3, stride=2), batch_norm(in_dim), nn.SiLU(inplace=True))
        self.stages = nn.ModuleList()
        for kernel_size, stride, expand, dim, blocks in STAGES:
            dim = rounded(dim * width)
            first = InvertedResidual(in_dim, dim, kernel_size, stride, expand)
            rest = [InvertedResidual(dim, dim, kernel_size, 1, expand) for _ in range(ceil(blocks * depth) - 1)]
            self.stages.append(nn.Sequential(first, *rest))
            in_dim = dim
        self.num_features = rounded(1280 * width)
        conv = nn.Conv2d(in_dim, self.num_features, 1, bias=False)
        self.last = nn.Sequential(conv, batch_norm(self.num_features), nn.SiLU(inplace=True))
        self.fc = linear_or_nothing(self.num_features, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The map behind each stage, (B, D, H/2, W/2) to (B, 20D, H/32, W/32); the last with the convolution after it."""
        x = self.stem(images)  # (B, 2D, H/2, W/2)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [*maps[:-1], self.last(x)]

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.stage_outputs(images)[-1].mean(dim=(2, 3)))  # (B, 80D), then (B, num_classes)

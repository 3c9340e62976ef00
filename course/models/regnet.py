"""RegNetY (Radosavovic et al. 2020, arXiv:2003.13678): bottlenecks with groups and a gate, in widths that follow a line."""

from torch import Tensor, nn

from course.models.gates.squeeze_excite import SqueezeExcite
from course.models.heads import linear_or_nothing
from course.models.model import Model
from course.models.resnet import ChannelsLast, conv3x3, shortcut


class RegNetBlock(nn.Module):
    """1×1, 3×3 in groups, a gate, 1×1; nothing is narrow inside: (B, C, H, W) -> (B, D, H/s, W/s).

    Args:
        in_dim, dim: C and D. The gate's hidden layer has C/4 units.
        stride: s, of the 3×3 convolution.
        group_width: channels of one group.

    Raises:
        ValueError: the groups do not divide D.
    """

    def __init__(self, in_dim: int, dim: int, stride: int, group_width: int) -> None:
        super().__init__()
        if dim % group_width:
            raise ValueError(f"groups of {group_width} channels do not divide {dim}")
        self.conv1 = nn.Conv2d(in_dim, dim, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv2 = conv3x3(dim, dim, stride, groups=dim // group_width)
        self.norm2 = nn.BatchNorm2d(dim)
        self.gate = ChannelsLast(SqueezeExcite(dim, hidden=in_dim // 4))
        self.conv3 = nn.Conv2d(dim, dim, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(dim)
        self.shortcut = shortcut(in_dim, dim, stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(x)))  # (B, D, H, W)
        y = self.gate(self.act(self.norm2(self.conv2(y))))  # (B, D, H/s, W/s)
        y = self.norm3(self.conv3(y))
        return self.act(y + self.shortcut(x))


class RegNetY(Model):
    """Images (B, C, H, W) to logits (B, num_classes); the stem and every stage halve the map.

    Args:
        dims, depths: width and number of blocks, stage by stage; in the paper a few numbers say them all.
        group_width: channels of one group.
        stem_dim: channels of the stem.
        in_chans, num_classes: C, and the width of the logits; ``num_classes=0``: the pooled features.
    """

    def __init__(
        self,
        dims: tuple[int, ...] = (128, 192, 512, 1088),
        depths: tuple[int, ...] = (2, 6, 12, 2),
        group_width: int = 64,
        stem_dim: int = 32,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.conv = conv3x3(in_chans, stem_dim, stride=2)
        self.norm = nn.BatchNorm2d(stem_dim)
        self.act = nn.ReLU(inplace=True)
        self.stages = nn.ModuleList()
        in_dim = stem_dim
        for dim, depth in zip(dims, depths):
            rest = [RegNetBlock(dim, dim, 1, group_width) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(RegNetBlock(in_dim, dim, 2, group_width), *rest))
            in_dim = dim
        self.num_features = in_dim
        self.fc = linear_or_nothing(in_dim, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The map behind each stage, (B, D, H/4, W/4) to (B, D', H/32, W/32)."""
        x = self.act(self.norm(self.conv(images)))  # (B, stem_dim, H/2, W/2)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.stage_outputs(images)[-1].mean(dim=(2, 3)))  # (B, D'), then (B, num_classes)

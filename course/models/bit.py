"""BiT, "Big Transfer" (Kolesnikov et al. 2020, arXiv:1912.11370): a wide pre-activation ResNet without batch norm.

Group norm and standardised kernels stand for batch norm, so that a small batch on each device is no matter.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from course.models.heads import linear_or_nothing
from course.models.model import Model
from course.models.resnet_stem import StandardisedConv

GROUPS = 32


class CentredConv(StandardisedConv):
    """The same with equal padding on all sides, as in the weights' PyTorch form: (B, C, H, W) -> (B, D, H/s, W/s)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernels(), stride=self.stride, padding=self.kernel_size[0] // 2)


class PreActBottleneck(nn.Module):
    """Norm and ReLU before each of three convolutions, (B, C, H, W) -> (B, D, H/s, W/s).

    He et al. 2016, arXiv:1603.05027, with the stride in the 3×3 convolution.

    Args:
        project: whether the path around is a 1×1 convolution of the first activation, and not x itself.
    """

    def __init__(self, in_dim: int, dim: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        middle = dim // 4
        self.norm1 = nn.GroupNorm(GROUPS, in_dim)
        self.conv1 = CentredConv(in_dim, middle, 1)
        self.norm2 = nn.GroupNorm(GROUPS, middle)
        self.conv2 = CentredConv(middle, middle, 3, stride)
        self.norm3 = nn.GroupNorm(GROUPS, middle)
        self.conv3 = CentredConv(middle, dim, 1)
        self.shortcut = CentredConv(in_dim, dim, 1, stride) if project else None
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(x))
        around = x if self.shortcut is None else self.shortcut(y)  # (B, D, H/s, W/s)
        y = self.conv1(y)  # (B, middle, H, W)
        y = self.conv2(self.act(self.norm2(y)))  # (B, middle, H/s, W/s)
        return around + self.conv3(self.act(self.norm3(y)))


class BiT(Model):
    """Images (B, C, H, W) to logits (B, num_classes); four stages, each four times as wide outside as inside.

    Args:
        depths: blocks in each stage; every stage but the first halves the map and doubles the width.
        widen: how many times wider than a ResNet (R101x3: 3).
        width: of a ResNet's stem.
        in_chans, num_classes: C, and the width of the logits; ``num_classes=0``: the pooled features.

    Raises:
        ValueError: the norms' 32 groups do not divide the channels.
    """

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 4, 23, 3),
        widen: int = 3,
        width: int = 64,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        in_dim = width * widen
        if in_dim % GROUPS:
            raise ValueError(
                f"width times widen is a multiple of {GROUPS}, for as many groups are normed: not {in_dim}"
            )
        self.conv = CentredConv(in_chans, in_dim, 7, stride=2)
        self.stages = nn.ModuleList()
        for stage, depth in enumerate(depths):
            dim = 4 * width * widen * 2**stage
            first = PreActBottleneck(in_dim, dim, stride=1 if stage == 0 else 2, project=True)
            self.stages.append(nn.Sequential(first, *[PreActBottleneck(dim, dim) for _ in range(depth - 1)]))
            in_dim = dim
        self.num_features = in_dim
        self.norm = nn.GroupNorm(GROUPS, in_dim)
        self.act = nn.ReLU(inplace=True)
        self.fc = linear_or_nothing(in_dim, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The map behind each stage, (B, D, H/4, W/4) to (B, 8D, H/32, W/32); the last norm is not yet in it."""
        x = self.conv(images)  # (B, width * widen, H/2, W/2)
        # No activation came before: the zeros around the map count where everything in a window is negative.
        x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), kernel_size=3, stride=2)  # (B, width * widen, H/4, W/4)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        x = self.stage_outputs(images)[-1]  # (B, D, h, w)
        return self.fc(self.act(self.norm(x)).mean(dim=(2, 3)))  # (B, D), then (B, num_classes)

"""From ResNet to ConvNeXt one step at a time (Liu et al. 2022, arXiv:2201.03545, section 2 and figure 2).

One network whose options are the steps of the paper: with the first value of each it is a ResNet, with the second of
each ConvNeXt. What lies between is neither the block of ``resnet.py``, whose shape is fixed, nor that of
``backbone.py``, which halves no map; so it is written plainly. Inside, maps have their channels last.
"""

from torch import Tensor, nn

from course.models.downsampling import ConvDownsampling
from course.models.heads import linear_or_nothing
from course.models.model import Model
from course.models.norms import BatchNorm, Conv
from course.models.resnet import check_words
from course.models.stems import divided


class LadderBlock(nn.Module):
    """Three convolutions and a path around them, (B, H, W, C) -> (B, H/s, W/s, D).

    1×1, k×k, 1×1; or, moved up, k×k, 1×1, 1×1. The k×k convolution has the stride.

    Args:
        in_dim, hidden, dim: channels before, between and behind the two 1×1 convolutions, C, hidden and D.
        stride: s; where it is not 1, or C is not D, the path around is a 1×1 convolution and a norm.
        depthwise: the k×k convolution has one kernel for each channel.
        moved_up: the k×k convolution stands first, on C channels, and not in the middle, on the hidden ones.
        kernel_size: k.
        act: class of the activation.
        acts: "each": one behind every convolution, the last one behind the addition; "one": behind the second alone.
        norm: class of the norms.
        norms: "each": one behind every convolution; "one": behind the first alone, and the convolutions have biases.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        dim: int,
        stride: int = 1,
        depthwise: bool = False,
        moved_up: bool = False,
        kernel_size: int = 3,
        act: type = nn.ReLU,
        acts: str = "each",
        norm: type = BatchNorm,
        norms: str = "each",
    ) -> None:
        super().__init__()
        bias, spatial = norms == "one", 0 if moved_up else 1
        widths = (in_dim, in_dim, hidden, dim) if moved_up else (in_dim, hidden, hidden, dim)
        self.convs, self.norms, self.acts = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, (before, after) in enumerate(zip(widths, widths[1:])):
            k, s = (kernel_size, stride) if i == spatial else (1, 1)
            groups = before if depthwise and i == spatial else 1
            self.convs.append(Conv(before, after, k, s, padding=k // 2, groups=groups, bias=bias))
            self.norms.append(norm(after) if norms == "each" or i == 0 else nn.Identity())
            self.acts.append(act() if acts == "each" or i == 1 else nn.Identity())
        if stride == 1 and in_dim == dim:
            self.shortcut = nn.Identity()
        else:
            self.shortcut = nn.Sequential(Conv(in_dim, dim, 1, stride, bias=bias), norm(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.acts[0](self.norms[0](self.convs[0](x)))  # (B, H, W, hidden), or moved up (B, H/s, W/s, C)
        y = self.acts[1](self.norms[1](self.convs[1](y)))  # (B, H/s, W/s, hidden)
        y = self.norms[2](self.convs[2](y))  # (B, H/s, W/s, D)
        return self.acts[2](self.shortcut(x) + y)


class LadderNet(Model):
    """Images (B, C, H, W) -> logits (B, num_classes).

    Args:
        depths: blocks in each stage; every stage but the first halves the map and doubles the width.
        width: of the 3×3 convolutions in the first stage, W.
        stem: "conv", a 7×7 convolution, norm, ReLU and max pooling, each of stride 2; or "patch", a convolution of
            non-overlapping 4×4 patches and a norm.
        inverted: blocks are W wide outside and 4 W inside, and not 4 W outside and W inside.
        downsample: what halves the map between two stages: "block", the k×k convolution and the path around in the
            first block; or "between", a norm and a 2×2 convolution. There is then a norm before the last layer, too.
        depthwise, moved_up, kernel_size, act, acts, norm, norms: of the blocks, see ``LadderBlock``. The stem and the
            downsampling have the same norm; they have biases where the blocks do.
        in_chans, num_classes: C, and the width of the logits; ``num_classes=0``: the pooled features.

    Raises:
        ValueError: a word that is not known; or patches that do not divide the image.
    """

    blocks_channels_last = True

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 4, 6, 3),
        stem: str = "conv",
        depthwise: bool = False,
        width: int = 64,
        inverted: bool = False,
        moved_up: bool = False,
        kernel_size: int = 3,
        act: type = nn.ReLU,
        acts: str = "each",
        norms: str = "each",
        norm: type = BatchNorm,
        downsample: str = "block",
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        check_words(stem=(stem, "conv", "patch"), downsample=(downsample, "block", "between"))
        check_words(acts=(acts, "each", "one"), norms=(norms, "each", "one"))
        bias, between = norms == "one", downsample == "between"
        self.patch_size = 4 if stem == "patch" else None
        if stem == "patch":
            self.stem = nn.Sequential(Conv(in_chans, width, 4, stride=4, bias=bias), norm(width))
        else:
            conv = nn.Conv2d(in_chans, width, 7, stride=2, padding=3, bias=False)
            self.stem = nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
        blocks = dict(depthwise=depthwise, moved_up=moved_up, kernel_size=kernel_size)
        blocks |= dict(act=act, acts=acts, norm=norm, norms=norms)
        self.downsamples, self.stages = nn.ModuleList(), nn.ModuleList()
        in_dim = width
        for i, depth in enumerate(depths):
            narrow = width * 2**i
            dim, hidden = (narrow, 4 * narrow) if inverted else (4 * narrow, narrow)
            stride = 2 if i > 0 else 1
            entry = nn.Identity()
            if stride == 2 and between:
                entry = ConvDownsampling(in_dim, dim, overlap=False, norm=norm, bias=bias)
                in_dim, stride = dim, 1
            self.downsamples.append(entry)
            first = LadderBlock(in_dim, hidden, dim, stride, **blocks)
            self.stages.append(
                nn.Sequential(first, *(LadderBlock(dim, hidden, dim, **blocks) for _ in range(1, depth)))
            )
            in_dim = dim
        self.num_features = in_dim
        self.norm = norm(in_dim) if between else nn.Identity()
        self.fc = linear_or_nothing(in_dim, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The map behind each stage, (B, D, H/4, W/4), then (B, 2D, H/8, W/8), ..."""
        if self.patch_size:
            divided(images.shape[-2:], self.patch_size)
            x = self.stem(images.permute(0, 2, 3, 1).contiguous())  # (B, h, w, width)
        else:
            x = self.stem(images).permute(0, 2, 3, 1).contiguous()  # (B, h, w, width)
        maps = []
        for downsample, stage in zip(self.downsamples, self.stages):
            x = stage(downsample(x))  # (B, h, w, D)
            maps.append(x.permute(0, 3, 1, 2))
        return maps

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.stage_outputs(images)[-1].mean(dim=(2, 3))  # (B, D)
        pooled = self.norm(pooled[:, None, None])[:, 0, 0]  # as a map of one place, which every norm takes
        return self.fc(pooled)  # (B, num_classes)

"""ResNet (He et al. 2016, arXiv:1512.03385), written once, with places for attention.

The networks before the Transformer have channels first, (B, D, H, W), and add before the activation: their step is
``relu(shortcut(x) + f(x))`` and not the pre-norm step of ``backbone.py``.
"""

import inspect
from dataclasses import dataclass

from torch import Tensor, nn

from course.models.heads import linear_or_nothing
from course.models.model import Model


class ChannelsLast(nn.Module):
    """A module for maps (B, H, W, D) on a map (B, D, H, W) and back: two views, nothing is copied."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, D, H, W)


def conv3x3(in_dim: int, dim: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    """(B, C, H, W) -> (B, D, H/s, W/s)."""
    return nn.Conv2d(in_dim, dim, 3, stride, padding=dilation, dilation=dilation, groups=groups, bias=False)


def shortcut(in_dim: int, dim: int, stride: int) -> nn.Module:
    """The path around: x itself; where its shape changes, a 1×1 convolution and a norm (option B of section 4.1)."""
    if stride == 1 and in_dim == dim:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_dim, dim, 1, stride, bias=False), nn.BatchNorm2d(dim))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, (B, C, H, W) -> (B, D, H/s, W/s): figure 5, left.

    Args:
        in_dim: C.
        dim: D.
        stride: s, in the first convolution.
        dilation: of both convolutions.
        gate: what the branch goes through before it is added (squeeze-and-excitation, ...), on (B, H, W, D).
    """

    def __init__(
        self, in_dim: int, dim: int, stride: int = 1, dilation: int = 1, gate: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_dim, dim, stride, dilation)
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv2 = conv3x3(dim, dim, dilation=dilation)
        self.norm2 = nn.BatchNorm2d(dim)
        self.gate = nn.Identity() if gate is None else ChannelsLast(gate)
        self.shortcut = shortcut(in_dim, dim, stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(x)))  # (B, D, H/s, W/s)
        y = self.norm2(self.conv2(y))
        return self.act(self.gate(y) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, narrow in the middle, (B, C, H, W) -> (B, D, H/s, W/s): figure 5, right.

    Args:
        in_dim: C.
        middle: width of the 3×3 convolution.
        dim: D.
        stride: s.
        dilation, groups: of the 3×3 convolution; groups make it a ResNeXt (Xie et al. 2017, arXiv:1611.05431).
        stride_first: the stride stands in the first 1×1 convolution (the paper, "v1") and not in the 3×3 ("v1.5").
        gate: what the branch goes through before it is added (squeeze-and-excitation, ...), on (B, H, W, D).
        mixer: what stands for the 3×3 convolution (self-attention), on (B, H, W, middle); its stride is a mean over 2×2.
    """

    def __init__(
        self,
        in_dim: int,
        middle: int,
        dim: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        stride_first: bool = False,
        gate: nn.Module | None = None,
        mixer: nn.Module | None = None,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1 = nn.Conv2d(in_dim, middle, 1, first, bias=False)
        self.norm1 = nn.BatchNorm2d(middle)
        if mixer is None:
            self.conv2 = conv3x3(middle, middle, second, dilation, groups)
        else:
            pool = nn.AvgPool2d(second, ceil_mode=True) if second > 1 else nn.Identity()
            self.conv2 = nn.Sequential(ChannelsLast(mixer), pool)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, dim, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(dim)
        self.gate = nn.Identity() if gate is None else ChannelsLast(gate)
        self.shortcut = shortcut(in_dim, dim, stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(x)))  # (B, middle, H, W), or already half of it
        y = self.act(self.norm2(self.conv2(y)))  # (B, middle, H/s, W/s)
        y = self.norm3(self.conv3(y))  # (B, D, H/s, W/s)
        return self.act(self.gate(y) + self.shortcut(x))


@dataclass(frozen=True)
class Place:
    """Where a block of a ResNet stands: its stage, (B, in_dim, H, W) -> (B, dim, H/s, W/s), and what it sees.

    Attributes:
        narrow: width inside a bottleneck, before ``base_width`` and groups: dim or a quarter of it.
        in_grid, grid: (H, W) before and behind the block; None: not known.
    """

    stage: int
    in_dim: int
    dim: int
    narrow: int
    stride: int
    dilation: int
    in_grid: tuple[int, int] | None
    grid: tuple[int, int] | None


def places_of_blocks(
    depths: tuple[int, ...],
    width: int,
    expansion: int,
    replace_stride_with_dilation: tuple[bool, ...],
    grid: tuple[int, int] | None,
) -> list[list[Place]]:
    """The places of each stage's blocks, where the first stage gets a map (B, width, H, W).

    The first block of every further stage halves the map, (H, W) = `grid`, and doubles the width; where a stage keeps
    the map's size, the kernels behind its first block are spread instead.
    """
    stages, in_dim, dilation = [], width, 1
    for stage, depth in enumerate(depths):
        narrow = width * 2**stage
        places = []
        for index in range(depth):
            stride, spread = 2 if stage > 0 and index == 0 else 1, dilation
            if stride == 2 and replace_stride_with_dilation[stage - 1]:
                stride, dilation = 1, 2 * dilation  # from the next block on
            in_grid, grid = grid, halved(grid) if stride == 2 else grid
            places.append(Place(stage, in_dim, expansion * narrow, narrow, stride, spread, in_grid, grid))
            in_dim = expansion * narrow
        stages.append(places)
    return stages


def check_words(**options: tuple[str, str, str]) -> None:
    """ValueError unless each option, the first of its three words, is one of the other two."""
    for option, (value, *known) in options.items():
        if value not in known:
            raise ValueError(f"{option} is {known[0]!r} or {known[1]!r}, and not {value!r}")


def check_stages(count: int, **choices: type | tuple | None) -> None:
    """ValueError if a choice that differs from stage to stage is for another number of stages."""
    for option, choice in choices.items():
        if isinstance(choice, tuple) and len(choice) != count:
            raise ValueError(f"{option} has {len(choice)} entries, and the network has {count} stages")


class ResNet(Model):
    """Images (B, C, H, W) -> logits (B, num_classes): table 1 of the paper.

    Args:
        depths: blocks in each stage; every stage but the first halves the map and doubles the width.
        block: "basic" (ResNet-18, 34) or "bottleneck" (50, 101, 152).
        stride: where a bottleneck halves the map: "v1", the first 1×1 convolution (the paper), or "v1.5", the 3×3
            (torchvision, timm).
        width: of the stem and of the first stage's 3×3 convolutions.
        groups, base_width: of a bottleneck's 3×3 convolutions, the width in the first stage where ``width`` is 64;
            ResNeXt-29 16×64d has 16 groups of 64.
        gate: class of the attention at the end of every branch; a tuple has one, or None, for each stage.
        gate_options: what the gate is made with.
        mixer: class of what stands for the 3×3 convolutions of a bottleneck; a tuple has one, or None, for each stage.
        mixer_options: what the mixer is made with.
        between: class of the attention at the end of every stage but the last (BAM).
        stem: "imagenet", a 7×7 convolution and max pooling, each of stride 2, or "cifar", a 3×3 convolution.
        replace_stride_with_dilation: for each stage but the first, whether it keeps the map's size and spreads its
            kernels instead (fully convolutional networks).
        grid: (H, W); only for gates and mixers whose weights belong to a map's size.
        in_chans, num_classes: C, and the width of the logits; ``num_classes=0``: the pooled features.
    """

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 4, 6, 3),
        block: str = "bottleneck",
        stride: str = "v1.5",
        width: int = 64,
        groups: int = 1,
        base_width: int = 64,
        gate: type | tuple | None = None,
        gate_options: dict | None = None,
        mixer: type | tuple | None = None,
        mixer_options: dict | None = None,
        between: type | None = None,
        stem: str = "imagenet",
        replace_stride_with_dilation: tuple[bool, ...] = (False, False, False),
        grid: tuple[int, int] | None = None,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        check_words(
            block=(block, "basic", "bottleneck"), stride=(stride, "v1", "v1.5"), stem=(stem, "imagenet", "cifar")
        )
        if block == "basic" and (mixer, groups, base_width) != (None, 1, 64):
            raise ValueError("only block='bottleneck' has a mixer, groups and a base_width")
        check_stages(len(depths), gate=gate, mixer=mixer)
        grid = self.add_stem(stem, in_chans, width, grid)

        def one(place: Place) -> nn.Module:
            options = {"stride": place.stride, "dilation": place.dilation}
            options["gate"] = made(gate, gate_options, place.stage, dim=place.dim, grid=place.grid)
            if block == "basic":
                return BasicBlock(place.in_dim, place.dim, **options)
            middle = int(place.narrow * base_width / 64) * groups
            # The mixer stands behind the first convolution, and before the mean that stands for a stride.
            seen = place.grid if stride == "v1" else place.in_grid
            options["mixer"] = made(mixer, mixer_options, place.stage, dim=middle, grid=seen)
            return Bottleneck(place.in_dim, middle, place.dim, groups=groups, stride_first=stride == "v1", **options)

        self.stages = nn.ModuleList()
        for places in places_of_blocks(depths, width, 1 if block == "basic" else 4, replace_stride_with_dilation, grid):
            blocks = [one(place) for place in places]
            last = places[-1]
            if between is not None and last.stage < len(depths) - 1:
                blocks.append(ChannelsLast(made(between, None, last.stage, dim=last.dim, grid=last.grid)))
            self.stages.append(nn.Sequential(*blocks))
        self.num_features = last.dim
        self.fc = linear_or_nothing(last.dim, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def add_stem(self, stem: str, in_chans: int, width: int, grid: tuple[int, int] | None) -> tuple[int, int] | None:
        """The layers before the first stage; the size of the map that it gets."""
        large = stem == "imagenet"
        self.conv = nn.Conv2d(in_chans, width, 7, 2, 3, bias=False) if large else conv3x3(in_chans, width)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        return halved(halved(grid)) if large else grid

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The map behind each stage, (B, D, H/4, W/4) to (B, 8D, H/32, W/32) with the "imagenet" stem."""
        x = self.pool(self.act(self.norm(self.conv(images))))  # (B, width, H/4, W/4)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.stage_outputs(images)[-1].mean(dim=(2, 3)))  # (B, D), then (B, num_classes)


class SizedResNet(ResNet):
    """A ResNet for one size of image, with gates or mixers whose weights belong to it; the rest as in ``ResNet``."""

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 4, 6, 3),
        stride: str = "v1.5",
        width: int = 64,
        gate: type | tuple | None = None,
        gate_options: dict | None = None,
        mixer: type | tuple | None = None,
        mixer_options: dict | None = None,
        replace_stride_with_dilation: tuple[bool, ...] = (False, False, False),
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__(
            depths,
            stride=stride,
            width=width,
            gate=gate,
            gate_options=gate_options,
            mixer=mixer,
            mixer_options=mixer_options,
            replace_stride_with_dilation=replace_stride_with_dilation,
            grid=(img_size, img_size) if isinstance(img_size, int) else tuple(img_size),
            in_chans=in_chans,
            num_classes=num_classes,
        )


def halved(grid: tuple[int, int] | None) -> tuple[int, int] | None:
    """(H, W) behind a convolution of stride 2 that is padded to its kernel."""
    return grid and (-(-grid[0] // 2), -(-grid[1] // 2))


def made(choice: type | tuple | None, options: dict | None, stage: int, **context) -> nn.Module | None:
    """A part for a stage (of a tuple, the stage's own); of the context it gets what its constructor asks for by name."""
    cls = choice[stage] if isinstance(choice, tuple) else choice
    if cls is None:
        return None
    wanted = inspect.signature(cls).parameters
    return cls(**{k: v for k, v in context.items() if k in wanted}, **(options or {}))


class PreActBlock(nn.Module):
    """Norm and activation before each convolution: ``x + conv2(relu(norm2(conv1(relu(norm1(x))))))``.

    He et al. 2016, arXiv:1603.05027, figure 1(b). Where the shape changes, the path around is a 1×1 convolution of
    the first activation: (B, C, H, W) -> (B, D, H/s, W/s). A gate stands at the end of the branch, as in ``ResNet``.
    """

    def __init__(self, in_dim: int, dim: int, stride: int = 1, gate: nn.Module | None = None) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_dim)
        self.conv1 = conv3x3(in_dim, dim, stride)
        self.norm2 = nn.BatchNorm2d(dim)
        self.conv2 = conv3x3(dim, dim)
        self.shortcut = None if stride == 1 and in_dim == dim else nn.Conv2d(in_dim, dim, 1, stride, bias=False)
        self.gate = nn.Identity() if gate is None else ChannelsLast(gate)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(x))
        around = x if self.shortcut is None else self.shortcut(y)  # (B, D, H/s, W/s)
        y = self.act(self.norm2(self.conv1(y)))  # (B, D, H/s, W/s)
        return around + self.gate(self.conv2(y))


class PreActResNet(Model):
    """The pre-activation ResNet for small images (B, C, H, W) -> (B, num_classes), thin and deep or wide.

    Wide ResNet (Zagoruyko & Komodakis 2016, arXiv:1605.07146, table 1) is the same network with ``widen`` times the
    channels.

    Args:
        depths: blocks in each stage; every stage but the first halves the map and doubles the width.
        width: of the stem.
        widen: the first stage's blocks are ``widen * width`` wide.
        gate: class of the attention at the end of every branch.
        gate_options: what the gate is made with.
        between: class of the attention at the end of every stage but the last (BAM).
        in_chans, num_classes: C, and the width of the logits; ``num_classes=0``: the pooled features.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        width: int = 16,
        widen: int = 1,
        gate: type | None = None,
        gate_options: dict | None = None,
        between: type | None = None,
        in_chans: int = 3,
        num_classes: int = 100,
    ) -> None:
        super().__init__()
        self.conv = conv3x3(in_chans, width)
        self.stages = nn.ModuleList()
        in_dim = width
        for stage, depth in enumerate(depths):
            dim = width * widen * 2**stage
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(PreActBlock(in_dim, dim, stride, gate=made(gate, gate_options, stage, dim=dim)))
                in_dim = dim
            if between is not None and stage < len(depths) - 1:
                blocks.append(ChannelsLast(made(between, None, stage, dim=dim)))
            self.stages.append(nn.Sequential(*blocks))
        self.num_features = in_dim
        self.norm = nn.BatchNorm2d(in_dim)
        self.act = nn.ReLU(inplace=True)
        self.fc = linear_or_nothing(in_dim, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The map behind each stage, (B, D, H, W), then (B, 2D, H/2, W/2), ...; the last norm is not yet in it."""
        x = self.conv(images)  # (B, width, H, W)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        x = self.stage_outputs(images)[-1]  # (B, D, h, w)
        return self.fc(self.act(self.norm(x)).mean(dim=(2, 3)))  # (B, D), then (B, num_classes)

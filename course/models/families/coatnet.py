"""CoAtNet (Dai et al. 2021, arXiv:2106.04803): two stages of convolutions, then two of attention.

As timm has it: where a stage of convolutions begins, the depthwise convolution has the stride. In the paper the 1×1
convolution before it has, which never looks at three of four positions; its 4.2G are our 4.5G less what that saves.
"""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.backbone import Backbone, Block, Residual, Stage
from course.models.channel_mixers.mbconv import HalfMean, MBConv
from course.models.channel_mixers.mlp import MLP
from course.models.heads import linear_or_nothing
from course.models.norms import BatchNorm, Conv, LayerNorm
from course.models.registry import none_there, register
from course.models.spec import Whole
from course.models.stems import divided
from course.models.token_mixers.relative_bias import (
    RelativeBiasAttention,
    heads_of_width,
)


class TwoConvStem(nn.Module):
    """Two 3×3 convolutions, the first of stride 2, batch norm and GELU between: (B, C, H, W) -> (B, H/2, W/2, D)."""

    def __init__(self, dim: int, in_chans: int = 3) -> None:
        super().__init__()
        self.conv1 = Conv(in_chans, dim, kernel_size=3, stride=2, padding=1, bias=False)
        self.norm = BatchNorm(dim)
        self.act = nn.GELU()
        self.conv2 = Conv(dim, dim, kernel_size=3, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        # A convolution keeps the order in memory; without the copy all maps to come would lie there channels first.
        x = self.conv1(images.permute(0, 2, 3, 1).contiguous())  # (B, H/2, W/2, D)
        return self.conv2(self.act(self.norm(x)))


class WideningResidual(nn.Module):
    """A residual step that makes the map wider and smaller: ``linear(pool(x)) + drop_path(branch(norm(x)))``.

    (B, H, W, D') -> (B, H/2, W/2, D). Every stage begins so, in place of a layer between the stages (the paper's appendix).

    Args:
        pool: what makes the path around as small as the branch.
    """

    def __init__(
        self, branch: nn.Module, norm: nn.Module, pool: nn.Module, in_dim: int, dim: int, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = norm
        self.branch = branch
        self.pool = pool
        self.linear = nn.Linear(in_dim, dim)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(self.norm(x))  # (B, H/2, W/2, D)
        if self.training and self.drop_path > 0:
            y = y * F.dropout(torch.ones_like(y[:, :1, :1, :1]), self.drop_path)  # (B, 1, 1, 1): whole samples
        return self.linear(self.pool(x)) + y


class TanhHead(nn.Module):
    """Mean over the map, norm, linear, tanh, linear: (B, H, W, D) -> (B, num_classes)."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)
        self.hidden = nn.Linear(dim, dim)
        self.fc = linear_or_nothing(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.flatten(1, 2).mean(dim=1))  # (B, D)
        return self.fc(torch.tanh(self.hidden(x)))


def pooling(stride: int) -> nn.Module:
    """(B, H, W, D) -> (B, H/s, W/s, D), for a stride s of 2 or 1."""
    return HalfMean() if stride == 2 else nn.Identity()


def conv_block(dim: int, in_dim: int | None = None, stride: int = 1, drop_path: float = 0.0) -> Block:
    """One step, an inverted bottleneck; with an `in_dim` it is the first of its stage, and makes the map smaller."""
    if in_dim is None:
        return Block(Residual(MBConv(dim), norm=BatchNorm(dim), drop_path=drop_path))
    branch = MBConv(dim, in_dim, stride=stride)
    return Block(WideningResidual(branch, BatchNorm(in_dim), pooling(stride), in_dim, dim, drop_path))


def transformer_block(
    dim: int,
    grid: tuple[int, int],
    num_heads: int,
    in_dim: int | None = None,
    stride: int = 1,
    drop_path: float = 0.0,
) -> Block:
    """Two steps, attention and MLP; with an `in_dim` the first also makes the map smaller, as small as `grid`."""
    attention = RelativeBiasAttention(dim, grid, num_heads, in_dim)
    if in_dim is None:
        mixer = Residual(attention, norm=LayerNorm(dim), drop_path=drop_path)
    else:
        branch = nn.Sequential(pooling(stride), attention)
        mixer = WideningResidual(branch, LayerNorm(in_dim), pooling(stride), in_dim, dim, drop_path)
    return Block(mixer, Residual(MLP(dim), norm=LayerNorm(dim), drop_path=drop_path))


class CoAtNet(Backbone):
    """Images (B, C, H, W) to logits; the map is halved in the stem and at the start of a stage.

    Args:
        layout: for each stage C, convolution blocks, or T, Transformer blocks; the paper's section 2.2 compares them.
        dims, depths: width and number of blocks, stage by stage.
        strides: 2 for a stage that halves the map, 1 for one that takes it as it is and only widens it. The largest
            networks of the paper have such a one: both kinds of blocks on the same map, convolutions first.
        stem_dim: channels of the stem.
        head_dim: width of one head; there are D/head_dim.
        drop_path: stochastic depth, the rate of the last block; it grows from 0 along the depth.

    Raises:
        ValueError: the image cannot be halved so often, or heads of that width do not divide D.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        num_classes: int = 1000,
        in_chans: int = 3,
        layout: str = "CCTT",
        dims: tuple[int, ...] = (96, 192, 384, 768),
        depths: tuple[int, ...] = (2, 3, 5, 2),
        strides: tuple[int, ...] = (2, 2, 2, 2),
        stem_dim: int = 64,
        head_dim: int = 32,
        drop_path: float = 0.0,
    ) -> None:
        if not len(layout) == len(dims) == len(depths) or set(layout) - set("CT"):
            raise ValueError(f"layout has a C or a T for each entry of dims and of depths, and is {layout!r}")
        if len(strides) != len(dims) or set(strides) - {1, 2}:
            raise ValueError(f"strides has a 1 or a 2 for each entry of dims, and is {strides}")
        smaller = prod(strides)
        grid = divided((img_size, img_size) if isinstance(img_size, int) else tuple(img_size), 2 * smaller)
        grid = (grid[0] * smaller, grid[1] * smaller)
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        stages, last_dim = [], stem_dim
        for kind, dim, depth, stride in zip(layout, dims, depths, strides):
            grid = (grid[0] // stride, grid[1] // stride)
            blocks = []
            for index in range(depth):
                first = {"in_dim": last_dim, "stride": stride} if index == 0 else {}
                options = {**first, "drop_path": next(rates)}
                if kind == "C":
                    blocks.append(conv_block(dim, **options))
                else:
                    blocks.append(transformer_block(dim, grid, heads_of_width(dim, head_dim), **options))
            stages.append(Stage(blocks))
            last_dim = dim
        super().__init__(TwoConvStem(stem_dim, in_chans), stages, TanhHead(dims[-1], num_classes))
        self.num_features = dims[-1]


_MBCONV = {
    "pre_norm": "norm",
    "conv1_1x1": "branch.widen",
    "norm1": "branch.norm1",
    "conv2_kxk": "branch.depthwise",
    "norm2": "branch.norm2",
    "se": "branch.gate",
    "conv3_1x1": "branch.narrow",
}
_TRANSFORMER = {
    "stages.#.blocks.#.norm1.norm.*": "stages.#.blocks.#.token_mixer.norm.*",
    "stages.#.blocks.#.norm1.*": "stages.#.blocks.#.token_mixer.norm.*",
    # Behind the pooling, the attention of a stage's first block is the second of two modules.
    "stages.#.blocks.0.attn.rel_pos.relative_position_bias_table": "stages.#.blocks.0.token_mixer.branch.1.bias_table",
    "stages.#.blocks.0.attn.*": "stages.#.blocks.0.token_mixer.branch.1.*",
    "stages.#.blocks.#.attn.rel_pos.relative_position_bias_table": "stages.#.blocks.#.token_mixer.branch.bias_table",
    "stages.#.blocks.#.attn.*": "stages.#.blocks.#.token_mixer.branch.*",
    "stages.#.blocks.#.norm2.*": "stages.#.blocks.#.channel_mixer.norm.*",
    "stages.#.blocks.#.mlp.*": "stages.#.blocks.#.channel_mixer.branch.*",
}


def timm_names(layout: str) -> dict[str, str]:
    """timm's names for a network of such stages: norm1 is one thing in convolution blocks, another in the others."""
    convolutions = [stage for stage, kind in enumerate(layout) if kind == "C"]
    return {
        "stem.norm1.*": "stem.norm.*",
        "stem.*": "stem.*",
        "stages.#.blocks.#.shortcut.expand.*": "stages.#.blocks.#.token_mixer.linear.*",
        **{
            f"stages.{stage}.blocks.#.{theirs}.*": f"stages.{stage}.blocks.#.token_mixer.{ours}.*"
            for stage in convolutions
            for theirs, ours in _MBCONV.items()
        },
        **_TRANSFORMER,
        "head.pre_logits.fc.*": "head.hidden.*",
        "head.*": "head.*",
    }


register(
    "coatnet_0",
    Whole(
        CoAtNet,
        img_size=224,
        num_classes=1000,
        in_chans=3,
        layout="CCTT",
        dims=(96, 192, 384, 768),
        depths=(2, 3, 5, 2),
    ),
    paper="Dai et al. 2021, arXiv:2106.04803, table 4",
    says="25M 4.2G",
    keys={"timm": timm_names("CCTT")},
)
# Its third stage has convolutions and then Transformers, which are twice as wide: here two stages on one map.
register(
    "coatnet_7",
    Whole(
        CoAtNet,
        img_size=512,
        num_classes=1000,
        in_chans=3,
        layout="CCCTT",
        dims=(256, 512, 1024, 2048, 3072),
        depths=(2, 4, 8, 42, 2),
        strides=(2, 2, 2, 1, 2),
        stem_dim=192,
        head_dim=128,
    ),
    paper="Dai et al. 2021, arXiv:2106.04803, figures at 512 pixels, sizes in the appendix",
    says="2440M 2586G",
    keys={"timm": timm_names("CCCTT")},
    as_in={"timm": none_there("it has no network in which one stage keeps the map as it is")},
)

"""EfficientFormer (Li et al. 2022, arXiv:2206.01191): pooling and batch norms on maps, attention in the last blocks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.backbone import Backbone, Block, Residual, Stage
from course.models.channel_mixers.batch_norm_mlp import BatchNormMLP
from course.models.channel_mixers.mlp import MLP
from course.models.downsampling import ConvDownsampling
from course.models.heads import linear_or_nothing
from course.models.norms import BatchNorm, Conv, LayerNorm
from course.models.registry import register
from course.models.spec import Whole
from course.models.token_mixers.pooling import Pooling
from course.models.token_mixers.wide_values import WideValueAttention

# timm counts the flattening before L1's one attention block as a block: its 4 is our 3.
TIMM = {
    "stem.*": "stem.*",
    "stages.#.downsample.*": "stages.#.entry.*",
    "stages.3.blocks.4.norm1.*": "stages.3.blocks.3.token_mixer.norm.*",
    "stages.3.blocks.4.token_mixer.attention_bias_idxs": None,
    "stages.3.blocks.4.token_mixer.attention_biases": "stages.3.blocks.3.token_mixer.branch.bias.table",
    "stages.3.blocks.4.token_mixer.*": "stages.3.blocks.3.token_mixer.branch.*",
    "stages.3.blocks.4.ls1.gamma": "stages.3.blocks.3.token_mixer.scale",
    "stages.3.blocks.4.norm2.*": "stages.3.blocks.3.channel_mixer.norm.*",
    "stages.3.blocks.4.mlp.*": "stages.3.blocks.3.channel_mixer.branch.*",
    "stages.3.blocks.4.ls2.gamma": "stages.3.blocks.3.channel_mixer.scale",
    "stages.#.blocks.#.ls1.gamma": "stages.#.blocks.#.token_mixer.scale",
    "stages.#.blocks.#.mlp.*": "stages.#.blocks.#.channel_mixer.branch.*",
    "stages.#.blocks.#.ls2.gamma": "stages.#.blocks.#.channel_mixer.scale",
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
    "head_dist.*": "head.fc_distilled.*",
}


class TwoConvStem(nn.Module):
    """Twice a 3×3 convolution of stride 2, batch norm and ReLU: (B, C, H, W) -> (B, H/4, W/4, D)."""

    def __init__(self, dim: int, in_chans: int = 3) -> None:
        super().__init__()
        self.conv1 = Conv(in_chans, dim // 2, 3, stride=2, padding=1)
        self.norm1 = BatchNorm(dim // 2)
        self.conv2 = Conv(dim // 2, dim, 3, stride=2, padding=1)
        self.norm2 = BatchNorm(dim)

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C), also in memory, and so all maps to come
        x = F.relu(self.norm1(self.conv1(x)))  # (B, H/2, W/2, D/2)
        return F.relu(self.norm2(self.conv2(x)))  # (B, H/4, W/4, D)


class DistilledMeanHead(nn.Module):
    """Norm, mean over all positions, two linear layers: (B, H, W, D) -> (B, num_classes).

    ``forward`` gives the mean of the two; ``both`` gives the pair that training compares with label and teacher.
    """

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.norm = LayerNorm(dim, eps=1e-5)
        self.fc = linear_or_nothing(dim, num_classes)
        self.fc_distilled = linear_or_nothing(dim, num_classes)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(x).flatten(1, -2).mean(dim=1)  # (B, D)
        return self.fc(x), self.fc_distilled(x)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.both(x)).mean(dim=0)


class EfficientFormer(Backbone):
    """Images (B, C, H, W) -> logits (B, num_classes).

    All blocks pool, except the last `num_vit`, which attend; only these have norms in front, one for each token.

    Args:
        dims, depths: width and number of blocks, stage by stage.
        num_vit: how many blocks at the end of the last stage attend.
        pool_size: of the pooling blocks.
        num_heads, key_dim: of the attention.
        layer_scale: first value of the learned scale of each half of a block.
        drop_path: stochastic depth, the rate of the last block; it grows from 0 along the depth.

    Raises:
        ValueError: more blocks attend than the last stage has, or dims and depths are not equally long.
    """

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        num_vit: int,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        mlp_ratio: float = 4.0,
        pool_size: int = 3,
        num_heads: int = 8,
        key_dim: int = 32,
        layer_scale: float = 1e-5,
        drop_path: float = 0.0,
    ) -> None:
        if len(dims) != len(depths):
            raise ValueError(f"dims and depths have one entry a stage each, and not {len(dims)} and {len(depths)}")
        if num_vit > depths[-1]:
            raise ValueError(
                f"num_vit is at most {depths[-1]}, the number of blocks in the last stage, and not {num_vit}"
            )
        shrinks = 4 * 2 ** (len(dims) - 1)
        sides = (img_size, img_size) if isinstance(img_size, int) else img_size
        grid = tuple(-(-side // shrinks) for side in sides)  # of the last stage
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())

        def pooling_block(dim: int) -> Block:
            path = dict(dim=dim, layer_scale=layer_scale, drop_path=next(rates))
            return Block(
                Residual(Pooling(pool_size), **path), Residual(BatchNormMLP(dim, mlp_ratio, bias=True), **path)
            )

        def attention_block(dim: int) -> Block:
            path = dict(dim=dim, layer_scale=layer_scale, drop_path=next(rates))
            attention = WideValueAttention(dim, grid, num_heads, key_dim)
            return Block(
                Residual(attention, norm=LayerNorm(dim, eps=1e-5), **path),
                Residual(MLP(dim, mlp_ratio), norm=LayerNorm(dim, eps=1e-5), **path),
            )

        stages = []
        for stage, (dim, depth) in enumerate(zip(dims, depths)):
            entry = ConvDownsampling(dims[stage - 1], dim, norm=BatchNorm, norm_first=False) if stage else None
            attend = num_vit if stage == len(dims) - 1 else 0
            blocks = [pooling_block(dim) for _ in range(depth - attend)] + [attention_block(dim) for _ in range(attend)]
            stages.append(Stage(blocks, entry))
        super().__init__(TwoConvStem(dims[0], in_chans), stages, DistilledMeanHead(dims[-1], num_classes))
        self.num_features = dims[-1]


register(
    "efficientformer_l1",
    Whole(EfficientFormer, dims=(48, 96, 224, 448), depths=(3, 2, 6, 4), num_vit=1),
    paper="Li et al. 2022, arXiv:2206.01191, table 1",
    says="12.3M 1.3G",
    keys={"timm": TIMM},
)

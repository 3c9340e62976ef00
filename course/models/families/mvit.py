"""MViTv2 (Li et al. 2022, arXiv:2112.01526), the multiscale vision transformer: attention itself makes the map smaller."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.models.backbone import Backbone, Block, Residual, Stage
from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import ConvStem
from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Whole
from course.models.stems import divided
from course.models.token_mixers.pooling_attention import PoolingAttention


class PooledResidual(nn.Module):
    """A residual step that makes the map wider and half as large: ``max_pool(linear(norm(x))) + branch(norm(x))``.

    (B, H, W, D') -> (B, H/2, W/2, D). The path around starts behind the norm, unlike that of the other steps.

    Args:
        drop_path: chance, for each sample, that training goes without the branch.
    """

    def __init__(self, branch: nn.Module, norm: nn.Module, in_dim: int, dim: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm = norm
        self.branch = branch
        self.linear = nn.Linear(in_dim, dim)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        y = self.branch(x)  # (B, H/2, W/2, D)
        if self.training and self.drop_path > 0:
            y = y * F.dropout(torch.ones_like(y[:, :1, :1, :1]), self.drop_path)  # (B, 1, 1, 1): whole samples
        around = F.max_pool2d(self.linear(x).permute(0, 3, 1, 2), kernel_size=3, stride=2, padding=1)
        return around.permute(0, 2, 3, 1) + y


class MViT(Backbone):
    """Images (B, C, H, W) to logits; the first block of every stage but the first halves the map.

    Args:
        dims, depths, num_heads: width, number of blocks and heads, stage by stage.
        stride_kv: of keys and values in the first stage; in every later one half of it, so that they stay as many.
        drop_path: stochastic depth, the rate of the last block; it grows from 0 along the depth.

    Raises:
        ValueError: the image cannot be halved so often, or the heads do not divide a width.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        num_classes: int = 1000,
        in_chans: int = 3,
        dims: tuple[int, ...] = (96, 192, 384, 768),
        depths: tuple[int, ...] = (1, 2, 5, 2),
        num_heads: tuple[int, ...] = (1, 2, 4, 8),
        stride_kv: int = 4,
        drop_path: float = 0.0,
    ) -> None:
        size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        divided(size, 4 * max(2 ** (len(dims) - 1), stride_kv))
        stem = ConvStem(dims[0], size, in_chans, patch_size=7, stride=4, padding=3)
        grid = stem.grid
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        stages, in_dim = [], dims[0]
        for stage, (dim, depth, heads) in enumerate(zip(dims, depths, num_heads)):
            kv = max(stride_kv >> stage, 1)
            blocks = []
            for index in range(depth):
                rate = next(rates)
                if stage > 0 and index == 0:
                    attention = PoolingAttention(dim, grid, heads, in_dim, stride=2, stride_kv=kv)
                    mixer = PooledResidual(attention, LayerNorm(in_dim), in_dim, dim, rate)
                    grid = (grid[0] // 2, grid[1] // 2)
                else:
                    attention = PoolingAttention(dim, grid, heads, stride_kv=kv)
                    mixer = Residual(attention, norm=LayerNorm(dim), drop_path=rate)
                blocks.append(Block(mixer, Residual(MLP(dim), norm=LayerNorm(dim), drop_path=rate)))
            stages.append(Stage(blocks))
            in_dim = dim
        super().__init__(stem, stages, MeanHead(dims[-1], num_classes))
        self.num_features = dims[-1]


_BLOCK = "stages.#.blocks.#"
TIMM = {
    "patch_embed.proj.*": "stem.conv.*",
    f"{_BLOCK}.norm1.*": f"{_BLOCK}.token_mixer.norm.*",
    f"{_BLOCK}.shortcut_proj_attn.*": f"{_BLOCK}.token_mixer.linear.*",
    **{f"{_BLOCK}.attn.pool_{x}.*": f"{_BLOCK}.token_mixer.branch.pool_{x}.conv.*" for x in "qkv"},
    **{f"{_BLOCK}.attn.norm_{x}.*": f"{_BLOCK}.token_mixer.branch.pool_{x}.norm.*" for x in "qkv"},
    f"{_BLOCK}.attn.rel_pos_h": f"{_BLOCK}.token_mixer.branch.rows",
    f"{_BLOCK}.attn.rel_pos_w": f"{_BLOCK}.token_mixer.branch.columns",
    f"{_BLOCK}.attn.*": f"{_BLOCK}.token_mixer.branch.*",
    f"{_BLOCK}.norm2.*": f"{_BLOCK}.channel_mixer.norm.*",
    f"{_BLOCK}.mlp.*": f"{_BLOCK}.channel_mixer.branch.*",
    "norm.*": "head.norm.*",
    "head.fc.*": "head.fc.*",
}

register(
    "mvit_v2_t",
    Whole(
        MViT,
        img_size=224,
        num_classes=1000,
        in_chans=3,
        dims=(96, 192, 384, 768),
        depths=(1, 2, 5, 2),
        num_heads=(1, 2, 4, 8),
    ),
    paper="Li et al. 2022, arXiv:2112.01526",
    says="24M 4.7G",
    keys={"timm": TIMM},
)

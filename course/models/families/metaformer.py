"""MetaFormer baselines (Yu et al. 2022, arXiv:2210.13452): one architecture, and the token mixer is what is changed.

ConvFormer mixes tokens by separable convolutions; CAFormer does so in its first two stages and by attention in the
last two. Neither has biases, except in the head and in the convolutions that make the maps smaller.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from course.models.channel_mixers.mlp import MLP
from course.models.channel_mixers.star_relu import StarReLU
from course.models.conv_stems import ConvStem
from course.models.downsampling import ConvDownsampling
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Part, PerStage, Pyramid, part, per_stage
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.sep_conv import SepConv

PAPER = "Yu et al. 2022, arXiv:2210.13452"

TIMM = {
    "stem.*": "stem.*",
    "stages.#.downsample.*": "stages.#.entry.*",
    "stages.#.blocks.#.norm1.*": "stages.#.blocks.#.token_mixer.norm.*",
    "stages.#.blocks.#.token_mixer.act1.*": "stages.#.blocks.#.token_mixer.branch.act.*",
    "stages.#.blocks.#.token_mixer.*": "stages.#.blocks.#.token_mixer.branch.*",
    "stages.#.blocks.#.res_scale1.scale": "stages.#.blocks.#.token_mixer.skip_scale",
    "stages.#.blocks.#.norm2.*": "stages.#.blocks.#.channel_mixer.norm.*",
    "stages.#.blocks.#.mlp.*": "stages.#.blocks.#.channel_mixer.branch.*",
    "stages.#.blocks.#.res_scale2.scale": "stages.#.blocks.#.channel_mixer.skip_scale",
    "head.norm.*": "head.norm.*",
    "head.fc.norm.*": "head.hidden_norm.*",
    "head.fc.*": "head.*",
}


class ScaleNorm(nn.LayerNorm):
    """Layer norm of each token with a learned scale and no shift."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__(dim, eps=eps, bias=False)


class MLPHead(nn.Module):
    """The mean over all positions, then norm, linear, ReLU², norm, linear: (B, H, W, D) -> (B, num_classes).

    Args:
        head_ratio: width of the hidden layer, in units of D.
    """

    def __init__(self, dim: int, num_classes: int, head_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(dim * head_ratio)
        self.norm = LayerNorm(dim)
        self.fc1 = self.hidden_norm = self.fc2 = None
        if num_classes:
            self.fc1 = nn.Linear(dim, hidden)
            self.hidden_norm = LayerNorm(hidden)
            self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.flatten(1, -2).mean(dim=1))  # (B, D)
        if self.fc2 is None:
            return x
        x = F.relu(self.fc1(x)).square()  # (B, hidden)
        return self.fc2(self.hidden_norm(x))


def metaformer(token_mixer: Part | PerStage, dims: tuple, depths: tuple) -> Pyramid:
    return Pyramid(
        stem=part(ConvStem, patch_size=7, stride=4, padding=2, norm=ScaleNorm),
        downsample=part(ConvDownsampling, norm=ScaleNorm),
        token_mixer=token_mixer,
        channel_mixer=part(MLP, mlp_ratio=4, act=StarReLU, bias=False),
        norm=part(ScaleNorm),
        head=part(MLPHead),
        dims=dims,
        depths=depths,
        skip_scale=per_stage(None, None, 1.0, 1.0),
    )


S18 = dict(dims=(64, 128, 320, 512), depths=(3, 3, 9, 3))
CONV = part(SepConv)
ATTENTION = part(SelfAttention, num_heads=per_stage(2, 4, 10, 16), qkv_bias=False, proj_bias=False)  # 32 channels each

register("convformer_s18", metaformer(CONV, **S18), paper=PAPER, says="27M 3.9G", keys={"timm": TIMM})
register(
    "caformer_s18",
    metaformer(per_stage(CONV, CONV, ATTENTION, ATTENTION), **S18),
    paper=PAPER,
    says="26M 4.1G",
    keys={"timm": TIMM},
)

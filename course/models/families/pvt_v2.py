"""PVT v2 (Wang et al. 2022, arXiv:2106.13797): overlapping patches, convolutions in the MLPs, no learned positions."""

from course.models.channel_mixers.conv_mlp import ConvMLP
from course.models.conv_stems import ConvStem
from course.models.downsampling import ConvEmbed
from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Pyramid, part, per_stage
from course.models.token_mixers.spatial_reduction import SpatialReductionAttention

TIMM = {
    "patch_embed.proj.*": "stem.conv.*",
    "patch_embed.norm.*": "stem.norm.*",
    "stages.#.downsample.proj.*": "stages.#.entry.conv.*",
    "stages.#.downsample.norm.*": "stages.#.entry.norm.*",
    "stages.#.blocks.#.norm1.*": "stages.#.blocks.#.token_mixer.norm.*",
    "stages.#.blocks.#.attn.sr.*": "stages.#.blocks.#.token_mixer.branch.reduction.*",
    "stages.#.blocks.#.attn.*": "stages.#.blocks.#.token_mixer.branch.*",
    "stages.#.blocks.#.norm2.*": "stages.#.blocks.#.channel_mixer.norm.*",
    "stages.#.blocks.#.mlp.dwconv.*": "stages.#.blocks.#.channel_mixer.branch.depthwise.*",
    "stages.#.blocks.#.mlp.*": "stages.#.blocks.#.channel_mixer.branch.*",
    "stages.#.norm.*": "stages.#.norm.*",
    "head.*": "head.fc.*",
}


def pvt_v2(dims: tuple[int, ...], depths: tuple[int, ...]) -> Pyramid:
    return Pyramid(
        stem=part(ConvStem, patch_size=7, stride=4, padding=3, norm=LayerNorm, eps=1e-5),
        downsample=part(ConvEmbed, eps=1e-5),
        token_mixer=part(
            SpatialReductionAttention, num_heads=per_stage(1, 2, 5, 8), sr_ratio=per_stage(8, 4, 2, 1), eps=1e-5
        ),
        channel_mixer=part(ConvMLP, mlp_ratio=per_stage(8, 8, 4, 4)),
        norm=part(LayerNorm, eps=1e-6),
        stage_norm=part(LayerNorm, eps=1e-6),
        head=part(MeanHead, norm=None),
        dims=dims,
        depths=depths,
    )


register(
    "pvt_v2_b2",
    pvt_v2((64, 128, 320, 512), (3, 4, 6, 3)),
    paper="Wang et al. 2022, arXiv:2106.13797",
    says="25.4M 4.0G",
    keys={"timm": TIMM},
)

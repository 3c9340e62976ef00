"""ShiftViT (Wang et al. 2022, arXiv:2201.10801): attention replaced by moving a third of the channels by one position."""

from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import ConvStem
from course.models.downsampling import ConvDownsampling
from course.models.heads import MeanHead
from course.models.norms import GroupNorm1
from course.models.registry import register
from course.models.spec import Pyramid, part
from course.models.token_mixers.shift import Shift

PAPER = "Wang et al. 2022, arXiv:2201.10801"

SPACH = {  # the authors' repository, microsoft/SPACH; there, merging stands at the end of a stage
    "patch_embed.proj.*": "stem.conv.*",
    "patch_embed.norm.*": "stem.norm.*",
    "layers.#.blocks.#.norm2.*": "stages.#.blocks.#.channel_mixer.norm.*",
    "layers.#.blocks.#.mlp.*": "stages.#.blocks.#.channel_mixer.branch.*",
    **{f"layers.{i}.downsample.norm.*": f"stages.{i + 1}.entry.norm.*" for i in range(3)},
    **{f"layers.{i}.downsample.reduction.*": f"stages.{i + 1}.entry.conv.*" for i in range(3)},
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}


def shiftvit(embed_dim: int, depths: tuple, n_div: int) -> Pyramid:
    return Pyramid(
        stem=part(ConvStem, patch_size=4, stride=4, padding=0, norm=GroupNorm1),
        downsample=part(ConvDownsampling, overlap=False, norm=GroupNorm1, bias=False),
        token_mixer=part(Shift, n_div=n_div),
        channel_mixer=part(MLP, mlp_ratio=2),
        norm=part(GroupNorm1),
        head=part(MeanHead, norm=GroupNorm1),
        dims=tuple(embed_dim * 2**stage for stage in range(len(depths))),
        depths=depths,
    )


register("shiftvit_t", shiftvit(96, (6, 8, 18, 6), n_div=12), paper=PAPER, keys={"official": SPACH})
register("shiftvit_s", shiftvit(96, (10, 18, 36, 10), n_div=12), paper=PAPER, keys={"official": SPACH})
register("shiftvit_b", shiftvit(128, (10, 18, 36, 10), n_div=16), paper=PAPER, keys={"official": SPACH})

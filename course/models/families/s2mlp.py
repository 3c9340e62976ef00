"""S²-MLP (Yu et al. 2021, arXiv:2106.07477): Mixer with a shift by one position in place of the MLP across tokens."""

from course.models.channel_mixers.mlp import MLP
from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Isotropic, part
from course.models.stems import PatchEmbed, Tokens
from course.models.token_mixers.spatial_shift import SpatialShiftMLP

PAPER = "Yu et al. 2021, arXiv:2106.07477"


def s2mlp(embed_dim: int, depth: int) -> Isotropic:
    return Isotropic(
        stem=part(PatchEmbed, patch_size=16, norm=True),
        tokens=part(Tokens, class_tokens=0, position=None),
        token_mixer=part(SpatialShiftMLP),
        channel_mixer=part(MLP, mlp_ratio=4),
        norm=part(LayerNorm, eps=1e-5),
        head=part(MeanHead, norm=None),
        embed_dim=embed_dim,
        depth=depth,
    )


register("s2mlp_wide", s2mlp(768, 12), paper=PAPER, says="71M 14.0G")
register("s2mlp_deep", s2mlp(384, 36), paper=PAPER, says="51M 10.5G")

"""gMLP (Liu et al. 2021, arXiv:2105.08050): one step a block, which mixes tokens and channels at once."""

from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Isotropic, part
from course.models.stems import PatchEmbed, Tokens
from course.models.token_mixers.spatial_gating import SpatialGating

PAPER = "Liu et al. 2021, arXiv:2105.08050, table 2"

TIMM = {
    "stem.proj.*": "stem.proj.*",
    "blocks.#.norm.*": "stages.0.blocks.#.token_mixer.norm.*",
    "blocks.#.mlp_channels.*": "stages.0.blocks.#.token_mixer.branch.*",
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}


def gmlp(embed_dim: int, depth: int) -> Isotropic:
    return Isotropic(
        stem=part(PatchEmbed, patch_size=16),
        tokens=part(Tokens, class_tokens=0, position=None),
        token_mixer=part(SpatialGating, mlp_ratio=6),
        channel_mixer=None,
        norm=part(LayerNorm, eps=1e-6),
        head=part(MeanHead),
        embed_dim=embed_dim,
        depth=depth,
    )


register("gmlp_s", gmlp(256, 30), paper=PAPER, says="20M 4.5G", keys={"timm": TIMM})
register("gmlp_b", gmlp(512, 30), paper=PAPER, says="73M 15.8G", keys={"timm": TIMM})

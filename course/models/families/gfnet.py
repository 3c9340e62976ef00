"""GFNet (Rao et al. 2021, arXiv:2107.00645): ViT with a filter in the Fourier domain for attention."""

from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Isotropic, part
from course.models.stems import PatchEmbed, Tokens
from course.models.token_mixers.global_filter import FilterMLP

PAPER = "Rao et al. 2021, arXiv:2107.00645"

OFFICIAL = {
    "patch_embed.proj.*": "stem.proj.*",
    "pos_embed": "stages.0.entry.position",
    "blocks.#.norm1.*": "stages.0.blocks.#.token_mixer.norm.*",
    "blocks.#.filter.complex_weight": "stages.0.blocks.#.token_mixer.branch.filter.weight",
    "blocks.#.norm2.*": "stages.0.blocks.#.token_mixer.branch.norm.*",
    "blocks.#.mlp.*": "stages.0.blocks.#.token_mixer.branch.mlp.*",
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}


def gfnet(embed_dim: int, depth: int) -> Isotropic:
    return Isotropic(
        stem=part(PatchEmbed, patch_size=16),
        tokens=part(Tokens, class_tokens=0, position="learned"),
        token_mixer=part(FilterMLP, mlp_ratio=4),
        channel_mixer=None,
        norm=part(LayerNorm, eps=1e-6),
        head=part(MeanHead),
        embed_dim=embed_dim,
        depth=depth,
    )


register("gfnet_s", gfnet(384, 19), paper=PAPER, says="25M 4.5G", keys={"official": OFFICIAL})

"""ResMLP (Touvron et al. 2021, arXiv:2105.03404): Mixer with one linear layer across tokens, and without statistics."""

from course.models.channel_mixers.mlp import MLP
from course.models.heads import MeanHead
from course.models.norms import Affine
from course.models.registry import register
from course.models.spec import Isotropic, part
from course.models.stems import PatchEmbed, Tokens
from course.models.token_mixers.token_linear import TokenLinear

PAPER = "Touvron et al. 2021, arXiv:2105.03404, table 1"

TIMM = {
    "stem.proj.*": "stem.proj.*",
    "blocks.#.norm1.alpha": "stages.0.blocks.#.token_mixer.norm.weight",
    "blocks.#.norm1.beta": "stages.0.blocks.#.token_mixer.norm.bias",
    "blocks.#.linear_tokens.*": "stages.0.blocks.#.token_mixer.branch.proj.*",
    "blocks.#.ls1": "stages.0.blocks.#.token_mixer.scale",
    "blocks.#.norm2.alpha": "stages.0.blocks.#.channel_mixer.norm.weight",
    "blocks.#.norm2.beta": "stages.0.blocks.#.channel_mixer.norm.bias",
    "blocks.#.mlp_channels.*": "stages.0.blocks.#.channel_mixer.branch.*",
    "blocks.#.ls2": "stages.0.blocks.#.channel_mixer.scale",
    "norm.alpha": "head.norm.weight",
    "norm.beta": "head.norm.bias",
    "head.*": "head.fc.*",
}


def resmlp(embed_dim: int, depth: int, layer_scale: float) -> Isotropic:
    return Isotropic(
        stem=part(PatchEmbed, patch_size=16),
        tokens=part(Tokens, class_tokens=0, position=None),
        token_mixer=part(TokenLinear),
        channel_mixer=part(MLP, mlp_ratio=4),
        norm=part(Affine),
        head=part(MeanHead, norm=Affine),
        layer_scale=layer_scale,
        embed_dim=embed_dim,
        depth=depth,
    )


register("resmlp_s12", resmlp(384, 12, layer_scale=1e-4), paper=PAPER, says="15M 3.0G", keys={"timm": TIMM})
register("resmlp_s24", resmlp(384, 24, layer_scale=1e-5), paper=PAPER, says="30M 6.0G", keys={"timm": TIMM})

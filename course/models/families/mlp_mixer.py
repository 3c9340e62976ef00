"""MLP-Mixer (Tolstikhin et al. 2021, arXiv:2105.01601)."""

from course.models.channel_mixers.mlp import MLP
from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Isotropic, part
from course.models.stems import PatchEmbed, Tokens
from course.models.token_mixers.token_mlp import TokenMLP

PAPER = "Tolstikhin et al. 2021, arXiv:2105.01601, table 1"

TIMM = {
    "stem.proj.*": "stem.proj.*",
    "blocks.#.norm1.*": "stages.0.blocks.#.token_mixer.norm.*",
    "blocks.#.mlp_tokens.*": "stages.0.blocks.#.token_mixer.branch.*",
    "blocks.#.norm2.*": "stages.0.blocks.#.channel_mixer.norm.*",
    "blocks.#.mlp_channels.*": "stages.0.blocks.#.channel_mixer.branch.*",
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}


def mixer(patch_size: int, embed_dim: int, depth: int, img_size: int = 224) -> Isotropic:
    return Isotropic(
        stem=part(PatchEmbed, patch_size=patch_size),
        tokens=part(Tokens, class_tokens=0, position=None),
        token_mixer=part(TokenMLP, token_ratio=0.5),
        channel_mixer=part(MLP, mlp_ratio=4),
        norm=part(LayerNorm, eps=1e-6),
        head=part(MeanHead),
        embed_dim=embed_dim,
        depth=depth,
        img_size=img_size,
    )


register("mixer_s16", mixer(16, 512, 8), paper=PAPER, says="18M", keys={"timm": TIMM})
register("mixer_b16", mixer(16, 768, 12), paper=PAPER, says="59M", keys={"timm": TIMM})
register("mixer_l16", mixer(16, 1024, 24), paper=PAPER, says="207M", keys={"timm": TIMM})
register(
    "mixer_cifar",
    mixer(4, 192, 8, img_size=32),
    paper="ours: MLP-Mixer at the size of 32×32 images",
    keys={"timm": TIMM},
)

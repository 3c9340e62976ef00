"""CaiT: deeper ViTs, by LayerScale and class attention (Touvron et al. 2021, arXiv:2103.17239)."""

from course.models.channel_mixers.mlp import MLP
from course.models.norms import LayerNorm
from course.models.pooling_heads import ClassAttentionHead
from course.models.registry import register
from course.models.spec import Isotropic, part
from course.models.stems import PatchEmbed, Tokens
from course.models.token_mixers.talking_heads import TalkingHeadsAttention

PAPER = "Touvron et al. 2021, arXiv:2103.17239, table 3"

TIMM = {
    "patch_embed.proj.*": "stem.proj.*",
    "pos_embed": "stages.0.entry.position",
    "blocks.#.norm1.*": "stages.0.blocks.#.token_mixer.norm.*",
    "blocks.#.attn.proj_l.*": "stages.0.blocks.#.token_mixer.branch.talk_before.*",
    "blocks.#.attn.proj_w.*": "stages.0.blocks.#.token_mixer.branch.talk_after.*",
    "blocks.#.attn.*": "stages.0.blocks.#.token_mixer.branch.*",
    "blocks.#.gamma_1": "stages.0.blocks.#.token_mixer.scale",
    "blocks.#.norm2.*": "stages.0.blocks.#.channel_mixer.norm.*",
    "blocks.#.mlp.*": "stages.0.blocks.#.channel_mixer.branch.*",
    "blocks.#.gamma_2": "stages.0.blocks.#.channel_mixer.scale",
    "cls_token": "head.class_token",
    "blocks_token_only.#.norm1.*": "head.blocks.#.token_mixer.norm.*",
    "blocks_token_only.#.attn.k.*": "head.blocks.#.token_mixer.branch.kv.*[0/2]",
    "blocks_token_only.#.attn.v.*": "head.blocks.#.token_mixer.branch.kv.*[1/2]",
    "blocks_token_only.#.attn.*": "head.blocks.#.token_mixer.branch.*",
    "blocks_token_only.#.gamma_1": "head.blocks.#.token_mixer.scale",
    "blocks_token_only.#.norm2.*": "head.blocks.#.channel_mixer.norm.*",
    "blocks_token_only.#.mlp.*": "head.blocks.#.channel_mixer.branch.branch.*",
    "blocks_token_only.#.gamma_2": "head.blocks.#.channel_mixer.scale",
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}


def cait(embed_dim: int, depth: int, num_heads: int, layer_scale: float, img_size: int = 224) -> Isotropic:
    return Isotropic(
        stem=part(PatchEmbed, patch_size=16),
        tokens=part(Tokens, class_tokens=0, position="learned"),
        token_mixer=part(TalkingHeadsAttention, num_heads=num_heads),
        channel_mixer=part(MLP, mlp_ratio=4),
        norm=part(LayerNorm, eps=1e-6),
        head=part(ClassAttentionHead, num_heads=num_heads, mlp_ratio=4, class_depth=2, class_layer_scale=layer_scale),
        layer_scale=layer_scale,
        embed_dim=embed_dim,
        depth=depth,
        img_size=img_size,
    )


# The deeper the network, the smaller the first value of LayerScale.
register("cait_s24", cait(384, 24, 8, layer_scale=1e-5), paper=PAPER, says="46.9M 9.4G", keys={"timm": TIMM})
register("cait_s36", cait(384, 36, 8, layer_scale=1e-6), paper=PAPER, says="68.2M 13.9G", keys={"timm": TIMM})
register("cait_m48", cait(768, 48, 16, layer_scale=1e-6, img_size=448), paper=PAPER, says="356M", keys={"timm": TIMM})

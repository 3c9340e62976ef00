"""Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929)."""

from course.models.channel_mixers.mlp import MLP
from course.models.heads import ClassTokenHead
from course.models.norms import LayerNorm
from course.models.registry import and_in_files, register, with_eps
from course.models.spec import Isotropic, part
from course.models.stems import PatchEmbed, Tokens
from course.models.token_mixers.attention import SelfAttention

PAPER = "Dosovitskiy et al. 2021, arXiv:2010.11929, table 1"

# Their names -> ours; see course/models/reference.py for the signs.
TIMM = {
    "patch_embed.proj.*": "stem.proj.*",
    "cls_token": "stages.0.entry.class_tokens",
    "pos_embed": "stages.0.entry.position",
    "blocks.#.norm1.*": "stages.0.blocks.#.token_mixer.norm.*",
    "blocks.#.attn.*": "stages.0.blocks.#.token_mixer.branch.*",
    "blocks.#.norm2.*": "stages.0.blocks.#.channel_mixer.norm.*",
    "blocks.#.mlp.*": "stages.0.blocks.#.channel_mixer.branch.*",
    "norm.*": "head.norm.*",
    "head.*": "head.fc.*",
}
TORCHVISION = {
    "conv_proj.*": "stem.proj.*",
    "class_token": "stages.0.entry.class_tokens",
    "encoder.pos_embedding": "stages.0.entry.position",
    "encoder.layers.encoder_layer_#.ln_1.*": "stages.0.blocks.#.token_mixer.norm.*",
    "encoder.layers.encoder_layer_#.self_attention.in_proj_*": "stages.0.blocks.#.token_mixer.branch.qkv.*",
    "encoder.layers.encoder_layer_#.self_attention.out_proj.*": "stages.0.blocks.#.token_mixer.branch.proj.*",
    "encoder.layers.encoder_layer_#.ln_2.*": "stages.0.blocks.#.channel_mixer.norm.*",
    "encoder.layers.encoder_layer_#.mlp.0.*": "stages.0.blocks.#.channel_mixer.branch.fc1.*",
    "encoder.layers.encoder_layer_#.mlp.3.*": "stages.0.blocks.#.channel_mixer.branch.fc2.*",
    "encoder.ln.*": "head.norm.*",
    "heads.head.*": "head.fc.*",
}
TRANSFORMERS = {
    "vit.embeddings.patch_embeddings.projection.*": "stem.proj.*",
    "vit.embeddings.cls_token": "stages.0.entry.class_tokens",
    "vit.embeddings.position_embeddings": "stages.0.entry.position",
    "vit.layers.#.layernorm_before.*": "stages.0.blocks.#.token_mixer.norm.*",
    "vit.layers.#.attention.q_proj.*": "stages.0.blocks.#.token_mixer.branch.qkv.*[0/3]",
    "vit.layers.#.attention.k_proj.*": "stages.0.blocks.#.token_mixer.branch.qkv.*[1/3]",
    "vit.layers.#.attention.v_proj.*": "stages.0.blocks.#.token_mixer.branch.qkv.*[2/3]",
    "vit.layers.#.attention.o_proj.*": "stages.0.blocks.#.token_mixer.branch.proj.*",
    "vit.layers.#.layernorm_after.*": "stages.0.blocks.#.channel_mixer.norm.*",
    "vit.layers.#.mlp.fc1.*": "stages.0.blocks.#.channel_mixer.branch.fc1.*",
    "vit.layers.#.mlp.fc2.*": "stages.0.blocks.#.channel_mixer.branch.fc2.*",
    "vit.layernorm.*": "head.norm.*",
    "classifier.*": "head.fc.*",
}
IN_FILES = {
    ".layers.#": ".encoder.layer.#",
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
KEYS = {"timm": TIMM, "torchvision": TORCHVISION, "transformers": and_in_files(TRANSFORMERS, IN_FILES)}
# transformers has another eps than the authors, in its configurations and in the published ones.
AS_IN = {"timm": with_eps(1e-6), "torchvision": with_eps(1e-6), "transformers": with_eps(1e-12)}


def vit(
    patch_size: int, embed_dim: int, depth: int, num_heads: int, img_size: int = 224, mlp_ratio: float = 4
) -> Isotropic:
    return Isotropic(
        stem=part(PatchEmbed, patch_size=patch_size),
        tokens=part(Tokens, class_tokens=1, position="learned"),
        token_mixer=part(SelfAttention, num_heads=num_heads),
        channel_mixer=part(MLP, mlp_ratio=mlp_ratio),
        norm=part(LayerNorm, eps=1e-6),
        head=part(ClassTokenHead),
        embed_dim=embed_dim,
        depth=depth,
        img_size=img_size,
    )


register("vit_s16", vit(16, 384, 12, 6), paper="Beyer et al. 2022, arXiv:2205.01580", keys=KEYS, as_in=AS_IN)
register("vit_b16", vit(16, 768, 12, 12), paper=PAPER, says="86M", keys=KEYS, as_in=AS_IN)
register("vit_b32", vit(32, 768, 12, 12), paper=PAPER, says="86M", keys=KEYS, as_in=AS_IN)
register("vit_l16", vit(16, 1024, 24, 16), paper=PAPER, says="307M", keys=KEYS, as_in=AS_IN)
register("vit_l32", vit(32, 1024, 24, 16), paper=PAPER, says="307M", keys=KEYS, as_in=AS_IN)
register("vit_h14", vit(14, 1280, 32, 16), paper=PAPER, says="632M", keys=KEYS, as_in=AS_IN)
register(
    "vit_g14",
    vit(14, 1664, 48, 16, mlp_ratio=8192 / 1664),
    paper="Zhai et al. 2022, arXiv:2106.04560",
    keys=KEYS,
    as_in=AS_IN,
)
register("vit_b16_384", vit(16, 768, 12, 12, img_size=384), paper=PAPER, says="86M", keys=KEYS, as_in=AS_IN)
register("vit_l16_384", vit(16, 1024, 24, 16, img_size=384), paper=PAPER, says="307M", keys=KEYS, as_in=AS_IN)
register(
    "vit_cifar", vit(4, 192, 9, 3, img_size=32), paper="ours: ViT at the size of 32×32 images", keys=KEYS, as_in=AS_IN
)

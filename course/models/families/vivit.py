"""ViViT, a video vision transformer (Arnab et al. 2021, arXiv:2103.15691), its four models.

The activation is the tanh form of GELU: the public weights were trained with it (JAX's default, and ``gelu_fast`` of
transformers). ``act=nn.GELU`` has the exact one.
"""

from course.models.families.vit import IN_FILES
from course.models.registry import and_in_files, register
from course.models.spec import Whole
from course.models.video import ClipTransformer, FactorisedEncoder, TanhGELU

PAPER = "Arnab et al. 2021, arXiv:2103.15691, table 2"

# Their names -> ours; transformers has Model 1 only.
TRANSFORMERS = {
    "vivit.embeddings.patch_embeddings.projection.*": "stem.proj.*",
    "vivit.embeddings.cls_token": "tokens.class_token",
    "vivit.embeddings.position_embeddings": "tokens.position",
    "vivit.layers.#.layernorm_before.*": "blocks.#.token_mixer.0.norm.*",
    "vivit.layers.#.attention.q_proj.*": "blocks.#.token_mixer.0.branch.qkv.*[0/3]",
    "vivit.layers.#.attention.k_proj.*": "blocks.#.token_mixer.0.branch.qkv.*[1/3]",
    "vivit.layers.#.attention.v_proj.*": "blocks.#.token_mixer.0.branch.qkv.*[2/3]",
    "vivit.layers.#.attention.o_proj.*": "blocks.#.token_mixer.0.branch.proj.*",
    "vivit.layers.#.layernorm_after.*": "blocks.#.channel_mixer.norm.*",
    "vivit.layers.#.mlp.fc1.*": "blocks.#.channel_mixer.branch.fc1.*",
    "vivit.layers.#.mlp.fc2.*": "blocks.#.channel_mixer.branch.fc2.*",
    "vivit.layernorm.*": "head.norm.*",
    "classifier.*": "head.fc.*",
}
KEYS = {"transformers": and_in_files(TRANSFORMERS, IN_FILES)}


def vivit(attention: tuple[str, ...], class_token: bool, **sizes) -> Whole:
    """Models 1, 3 (equations 4 to 6) and 4 (7): one transformer; the factorised ones have no class token."""
    return Whole(ClipTransformer, attention=attention, class_token=class_token, act=TanhGELU, **sizes)


def factorised_encoder(**sizes) -> Whole:
    """Model 2."""
    return Whole(FactorisedEncoder, act=TanhGELU, **sizes)


# ViViT-B/16×2: 32 frames in tubelets of 2×16×16, 400 classes; 12 layers, and 4 more over time in Model 2.
B16X2 = dict(img_size=224, num_frames=32, tubelet_size=2, patch_size=16, embed_dim=768, depth=12, num_heads=12)
register("vivit_model1", vivit(("joint",), True, **B16X2), paper=PAPER, says="88.9M 455.2G", keys=KEYS)
register("vivit_model2", factorised_encoder(temporal_depth=4, **B16X2), paper=PAPER, says="115.1M 284.4G")
register("vivit_model3", vivit(("space", "time"), False, **B16X2), paper=PAPER, says="117.3M 372.3G")
register("vivit_model4", vivit(("split_heads",), False, **B16X2), paper=PAPER, says="88.9M 277.1G")

DIGITS = dict(
    img_size=16,
    num_frames=5,
    in_chans=1,
    num_classes=4,
    tubelet_size=1,
    patch_size=4,
    embed_dim=64,
    depth=4,
    num_heads=4,
)
OURS = "ours: ViViT at the size of digit_video, 5 frames of 16×16"
register("vivit_digits", vivit(("joint",), True, **DIGITS), paper=OURS, keys=KEYS)
register("vivit_digits_model2", factorised_encoder(temporal_depth=2, **DIGITS), paper=OURS)
register("vivit_digits_model3", vivit(("space", "time"), False, **DIGITS), paper=OURS)
register("vivit_digits_model4", vivit(("split_heads",), False, **DIGITS), paper=OURS)

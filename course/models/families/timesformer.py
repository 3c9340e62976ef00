"""TimeSformer (Bertasius et al. 2021, arXiv:2102.05095), its five ways to attend over space and time.

The paper gives no listing for the sparse local-global and the axial form, and the public code has neither. Here the
attentions of a block come in the order of their names; all but the last leave the class token alone and have a second
linear layer, as the attention over time of the divided form does. That gives the paper's parameters (156.8M, 121.4M).
"Local" are the tokens of all frames in the same quarter of the image, "global" every second one along each axis.
"""

from course.models.registry import register
from course.models.spec import Whole
from course.models.video import ClipTransformer, FactorisedEncoder

PAPER = "Bertasius et al. 2021, arXiv:2102.05095, table 1"


def _transformers(space: str, tokens: str, blocks: str, norm: str, fc: str) -> dict[str, str]:
    """Their names -> ours; `space`: where in a block the attention over space stands."""
    layer = "timesformer.encoder.layer.#"
    return {
        "timesformer.embeddings.patch_embeddings.projection.*": "stem.proj.*",
        "timesformer.embeddings.cls_token": f"{tokens}.class_token",
        "timesformer.embeddings.position_embeddings": f"{tokens}.position",
        "timesformer.embeddings.time_embeddings": f"{tokens}.time",
        f"{layer}.temporal_layernorm.*": f"{blocks}.#.token_mixer.0.norm.*",
        f"{layer}.temporal_attention.attention.qkv.*": f"{blocks}.#.token_mixer.0.branch.qkv.*",
        f"{layer}.temporal_attention.output.dense.*": f"{blocks}.#.token_mixer.0.branch.proj.*",
        f"{layer}.temporal_dense.*": f"{blocks}.#.token_mixer.0.branch.fc.*",
        f"{layer}.layernorm_before.*": f"{blocks}.#.token_mixer.{space}.norm.*",
        f"{layer}.attention.attention.qkv.*": f"{blocks}.#.token_mixer.{space}.branch.qkv.*",
        f"{layer}.attention.output.dense.*": f"{blocks}.#.token_mixer.{space}.branch.proj.*",
        f"{layer}.layernorm_after.*": f"{blocks}.#.channel_mixer.norm.*",
        f"{layer}.intermediate.dense.*": f"{blocks}.#.channel_mixer.branch.fc1.*",
        f"{layer}.output.dense.*": f"{blocks}.#.channel_mixer.branch.fc2.*",
        "timesformer.layernorm.*": norm,
        "classifier.*": fc,
    }


ONE_ATTENTION = {"transformers": _transformers("0", "tokens", "blocks", "head.norm.*", "head.fc.*")}
DIVIDED = {"transformers": _transformers("1", "tokens", "blocks", "head.norm.*", "head.fc.*")}
SPACE = {
    "transformers": _transformers("0", "space.tokens", "space.blocks", "space.norm.*", "fc.*")
    | {"timesformer.embeddings.cls_token": "space.tokens.class_tokens"}
}

# 8 frames; with the 174 classes of Something-Something the parameters are those of table 1.
SIZES = dict(
    img_size=224,
    num_frames=8,
    num_classes=174,
    tubelet_size=1,
    embedding="frames",
    patch_size=16,
    embed_dim=768,
    depth=12,
    num_heads=12,
)


def timesformer(*attention: str) -> Whole:
    return Whole(ClipTransformer, attention=attention, position="separate", extra_linear=True, **SIZES)


# Space alone is ViT on each frame, and the mean over the frames.
register(
    "timesformer_space", Whole(FactorisedEncoder, temporal_depth=0, **SIZES), paper=PAPER, says="85.9M", keys=SPACE
)
register("timesformer_joint", timesformer("joint"), paper=PAPER, says="85.9M", keys=ONE_ATTENTION)
register("timesformer_divided", timesformer("time", "space"), paper=PAPER, says="121.4M", keys=DIVIDED)
register("timesformer_local_global", timesformer("local", "global"), paper=PAPER, says="121.4M")
register("timesformer_axial", timesformer("time", "width", "height"), paper=PAPER, says="156.8M")

"""CvT (Wu et al. 2021, arXiv:2103.15808): convolutions make the tokens, and the queries, keys and values."""

from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import ConvStem
from course.models.downsampling import ConvEmbed
from course.models.heads import ClassTokenHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Pyramid, part, per_stage
from course.models.token_mixers.conv_projection import ConvProjectionAttention

_STAGE = "cvt.encoder.stages"
_BLOCK = f"{_STAGE}.#.layers.#"
_ATTENTION = f"{_BLOCK}.attention.attention"
TRANSFORMERS = {
    f"{_STAGE}.0.embedding.convolution_embeddings.projection.*": "stem.conv.*",
    f"{_STAGE}.0.embedding.convolution_embeddings.normalization.*": "stem.norm.*",
    f"{_STAGE}.#.embedding.convolution_embeddings.projection.*": "stages.#.entry.conv.*",
    f"{_STAGE}.#.embedding.convolution_embeddings.normalization.*": "stages.#.entry.norm.*",
    f"{_STAGE}.#.cls_token": "stages.#.entry.tokens.class_tokens",
    f"{_BLOCK}.layernorm_before.*": "stages.#.blocks.#.token_mixer.norm.*",
    **{
        f"{_ATTENTION}.convolution_projection_{theirs}.convolution_projection.{part_of_it}.*": (
            f"stages.#.blocks.#.token_mixer.branch.{ours}.*"
        )
        for theirs, letter in (("query", "q"), ("key", "k"), ("value", "v"))
        for part_of_it, ours in (("convolution", f"{letter}.depthwise"), ("normalization", f"{letter}.norm"))
    },
    **{
        f"{_ATTENTION}.projection_{theirs}.*": f"stages.#.blocks.#.token_mixer.branch.{theirs[0]}.pointwise.*"
        for theirs in ("query", "key", "value")
    },
    f"{_BLOCK}.attention.output.dense.*": "stages.#.blocks.#.token_mixer.branch.proj.*",
    f"{_BLOCK}.layernorm_after.*": "stages.#.blocks.#.channel_mixer.norm.*",
    f"{_BLOCK}.intermediate.dense.*": "stages.#.blocks.#.channel_mixer.branch.fc1.*",
    f"{_BLOCK}.output.dense.*": "stages.#.blocks.#.channel_mixer.branch.fc2.*",
    "layernorm.*": "head.norm.*",
    "classifier.*": "head.fc.*",
}


def cvt(dims: tuple[int, ...], depths: tuple[int, ...], num_heads: tuple[int, ...]) -> Pyramid:
    return Pyramid(
        stem=part(ConvStem, patch_size=7, stride=4, padding=2, norm=LayerNorm, eps=1e-5),
        downsample=part(ConvEmbed, class_token=per_stage(False, False, True), eps=1e-5),
        token_mixer=part(ConvProjectionAttention, num_heads=per_stage(*num_heads), kernel_size=3, stride_kv=2),
        channel_mixer=part(MLP, mlp_ratio=4),
        norm=part(LayerNorm, eps=1e-5),
        head=part(ClassTokenHead, eps=1e-5),
        dims=dims,
        depths=depths,
    )


register(
    "cvt_13",
    cvt((64, 192, 384), (1, 2, 10), (1, 3, 6)),
    paper="Wu et al. 2021, arXiv:2103.15808, table 3",
    says="20M 4.5G",
    keys={"transformers": TRANSFORMERS},
)

"""Pyramid Vision Transformer (Wang et al. 2021, arXiv:2102.12122)."""

from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import PositionedPatchStem
from course.models.downsampling import PositionedPatches
from course.models.heads import ClassTokenHead
from course.models.norms import LayerNorm
from course.models.registry import register, with_eps
from course.models.spec import Pyramid, part, per_stage
from course.models.token_mixers.spatial_reduction import SpatialReductionAttention

PAPER = "Wang et al. 2021, arXiv:2102.12122, table 2"

_STAGE = "pvt.encoder.patch_embeddings"
_BLOCK = "pvt.encoder.block.#.#"
TRANSFORMERS = {
    f"{_STAGE}.0.position_embeddings": "stem.tokens.position",
    f"{_STAGE}.0.projection.*": "stem.proj.*",
    f"{_STAGE}.0.layer_norm.*": "stem.norm.*",
    f"{_STAGE}.#.position_embeddings": "stages.#.entry.tokens.position",
    f"{_STAGE}.#.cls_token": "stages.#.entry.tokens.class_tokens",
    f"{_STAGE}.#.projection.*": "stages.#.entry.proj.*",
    f"{_STAGE}.#.layer_norm.*": "stages.#.entry.norm.*",
    f"{_BLOCK}.layer_norm_1.*": "stages.#.blocks.#.token_mixer.norm.*",
    f"{_BLOCK}.attention.self.query.*": "stages.#.blocks.#.token_mixer.branch.q.*",
    f"{_BLOCK}.attention.self.key.*": "stages.#.blocks.#.token_mixer.branch.kv.*[0/2]",
    f"{_BLOCK}.attention.self.value.*": "stages.#.blocks.#.token_mixer.branch.kv.*[1/2]",
    f"{_BLOCK}.attention.self.sequence_reduction.*": "stages.#.blocks.#.token_mixer.branch.reduction.*",
    f"{_BLOCK}.attention.self.layer_norm.*": "stages.#.blocks.#.token_mixer.branch.norm.*",
    f"{_BLOCK}.attention.output.dense.*": "stages.#.blocks.#.token_mixer.branch.proj.*",
    f"{_BLOCK}.layer_norm_2.*": "stages.#.blocks.#.channel_mixer.norm.*",
    f"{_BLOCK}.mlp.dense1.*": "stages.#.blocks.#.channel_mixer.branch.fc1.*",
    f"{_BLOCK}.mlp.dense2.*": "stages.#.blocks.#.channel_mixer.branch.fc2.*",
    "pvt.encoder.layer_norm.*": "head.norm.*",
    "classifier.*": "head.fc.*",
}
KEYS = {"transformers": TRANSFORMERS}
AS_IN = {"transformers": with_eps(1e-6)}  # the authors have another behind patches and reductions


def pvt(depths: tuple[int, ...]) -> Pyramid:
    return Pyramid(
        stem=part(PositionedPatchStem, patch_size=4, eps=1e-5),
        # The class token joins for the last stage only, whose keys are not reduced: a map has no place for it.
        downsample=part(PositionedPatches, class_token=per_stage(False, False, False, True), eps=1e-5),
        token_mixer=part(
            SpatialReductionAttention, num_heads=per_stage(1, 2, 5, 8), sr_ratio=per_stage(8, 4, 2, 1), eps=1e-5
        ),
        channel_mixer=part(MLP, mlp_ratio=per_stage(8, 8, 4, 4)),
        norm=part(LayerNorm, eps=1e-6),
        head=part(ClassTokenHead, eps=1e-6),
        dims=(64, 128, 320, 512),
        depths=depths,
    )


register("pvt_s", pvt((3, 4, 6, 3)), paper=PAPER, says="24.5M 3.8G", keys=KEYS, as_in=AS_IN)
register("pvt_l", pvt((3, 8, 27, 3)), paper=PAPER, says="61.4M 9.8G", keys=KEYS, as_in=AS_IN)

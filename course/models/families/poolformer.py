"""PoolFormer (Yu et al. 2022, arXiv:2111.11418): a Transformer's blocks with average pooling for attention.

The paper's code norms the last map, over its positions and channels, and then averages; so do we and transformers.
timm averages and then norms, with an eps of 1e-6, and so does a network with timm's weights.
"""

from course.models.channel_mixers.mlp import MLP
from course.models.conv_stems import ConvStem
from course.models.downsampling import ConvDownsampling
from course.models.heads import MeanHead
from course.models.norms import GroupNorm1
from course.models.registry import register
from course.models.spec import Part, Pyramid, part
from course.models.token_mixers.pooling import Pooling

PAPER = "Yu et al. 2022, arXiv:2111.11418, table 2"

TIMM = {
    "stem.*": "stem.*",
    "stages.#.downsample.*": "stages.#.entry.*",
    "stages.#.blocks.#.norm1.*": "stages.#.blocks.#.token_mixer.norm.*",
    "stages.#.blocks.#.layer_scale1.scale": "stages.#.blocks.#.token_mixer.scale",
    "stages.#.blocks.#.norm2.*": "stages.#.blocks.#.channel_mixer.norm.*",
    "stages.#.blocks.#.mlp.*": "stages.#.blocks.#.channel_mixer.branch.*",
    "stages.#.blocks.#.layer_scale2.scale": "stages.#.blocks.#.channel_mixer.scale",
    "head.*": "head.*",
}
TRANSFORMERS = {
    "poolformer.encoder.patch_embeddings.0.projection.*": "stem.conv.*",
    "poolformer.encoder.patch_embeddings.#.projection.*": "stages.#.entry.conv.*",
    "poolformer.encoder.block.#.#.before_norm.*": "stages.#.blocks.#.token_mixer.norm.*",
    "poolformer.encoder.block.#.#.layer_scale_1": "stages.#.blocks.#.token_mixer.scale",
    "poolformer.encoder.block.#.#.after_norm.*": "stages.#.blocks.#.channel_mixer.norm.*",
    "poolformer.encoder.block.#.#.output.conv1.*": "stages.#.blocks.#.channel_mixer.branch.fc1.*",
    "poolformer.encoder.block.#.#.output.conv2.*": "stages.#.blocks.#.channel_mixer.branch.fc2.*",
    "poolformer.encoder.block.#.#.layer_scale_2": "stages.#.blocks.#.channel_mixer.scale",
    "norm.*": "head.norm.*",
    "classifier.*": "head.fc.*",
}
KEYS = {"timm": TIMM, "transformers": TRANSFORMERS}
AS_IN = {
    "timm": lambda spec: spec.but(head=spec.head.but(norm_first=False, eps=1e-6)),
    "transformers": lambda spec: spec.but(head=spec.head.but(norm_first=True, eps=1e-5)),
}

SMALL, MEDIUM = (64, 128, 320, 512), (96, 192, 384, 768)  # channels, stage by stage
STEM = part(ConvStem, patch_size=7, stride=4, padding=2)


def poolformer(
    dims: tuple, depths: tuple, layer_scale: float = 1e-5, stem: Part = STEM, img_size: int = 224
) -> Pyramid:
    return Pyramid(
        stem=stem,
        downsample=part(ConvDownsampling),
        token_mixer=part(Pooling, pool_size=3),
        channel_mixer=part(MLP, mlp_ratio=4),
        norm=part(GroupNorm1),
        head=part(MeanHead, norm=GroupNorm1),
        dims=dims,
        depths=depths,
        layer_scale=layer_scale,
        img_size=img_size,
    )


register("poolformer_s12", poolformer(SMALL, (2, 2, 6, 2)), paper=PAPER, says="12M 1.8G", keys=KEYS, as_in=AS_IN)
register("poolformer_s24", poolformer(SMALL, (4, 4, 12, 4)), paper=PAPER, says="21M 3.4G", keys=KEYS, as_in=AS_IN)
register("poolformer_s36", poolformer(SMALL, (6, 6, 18, 6)), paper=PAPER, says="31M 5.0G", keys=KEYS, as_in=AS_IN)
register(
    "poolformer_m36",
    poolformer(MEDIUM, (6, 6, 18, 6), layer_scale=1e-6),
    paper=PAPER,
    says="56M 8.8G",
    keys=KEYS,
    as_in=AS_IN,
)
register(
    "poolformer_m48",
    poolformer(MEDIUM, (8, 8, 24, 8), layer_scale=1e-6),
    paper=PAPER,
    says="73M 11.6G",
    keys=KEYS,
    as_in=AS_IN,
)
register(
    "poolformer_cifar",
    poolformer((64, 128, 320), (2, 2, 6), stem=part(ConvStem, patch_size=2, stride=2, padding=0), img_size=32),
    paper="ours: PoolFormer at the size of 32×32 images",
    keys={"transformers": TRANSFORMERS},  # timm has no other stem than the paper's
)

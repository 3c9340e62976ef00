"""ConvMixer (Trockman & Kolter 2022, arXiv:2201.09792): patches, then nothing but convolutions at one resolution."""

from torch import nn

from course.models.channel_mixers.batch_norm_mlp import PointwiseConv
from course.models.conv_stems import PatchConvStem
from course.models.heads import MeanHead
from course.models.registry import register
from course.models.spec import Pyramid, part
from course.models.token_mixers.depthwise import ConvMixerSpatial

TIMM = {
    "stem.0.*": "stem.conv.*",
    "stem.2.*": "stem.norm.*",
    "blocks.#.0.fn.0.*": "stages.0.blocks.#.token_mixer.branch.conv.*",
    "blocks.#.0.fn.2.*": "stages.0.blocks.#.token_mixer.branch.norm.*",
    "blocks.#.1.*": "stages.0.blocks.#.channel_mixer.fc.*",
    "blocks.#.3.*": "stages.0.blocks.#.channel_mixer.norm.*",
    "head.*": "head.fc.*",
}


def convmixer(
    dim: int, depth: int, kernel_size: int, patch_size: int, act: type = nn.GELU, img_size: int = 224
) -> Pyramid:
    """One stage: a pyramid that does not narrow."""
    return Pyramid(
        stem=part(PatchConvStem, patch_size=patch_size, act=act),
        downsample=None,
        token_mixer=part(ConvMixerSpatial, kernel_size=kernel_size, act=act),
        channel_mixer=part(PointwiseConv, act=act),
        norm=None,
        head=part(MeanHead, norm=None),
        dims=(dim,),
        depths=(depth,),
        img_size=img_size,
    )


# The public weights of 768/32 are of a network with ReLU; the paper's other sizes have GELU.
register(
    "convmixer_768_32",
    convmixer(768, 32, kernel_size=7, patch_size=7, act=nn.ReLU),
    paper="Trockman & Kolter 2022, arXiv:2201.09792, table 1",
    says="21.1M",
    keys={"timm": TIMM},
)
register(
    "convmixer_cifar",
    convmixer(256, 8, kernel_size=5, patch_size=2, img_size=32),
    paper="Trockman & Kolter 2022, arXiv:2201.09792, section 3 (their network for CIFAR-10)",
    keys={"timm": TIMM},
)

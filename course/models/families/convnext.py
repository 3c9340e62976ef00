"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545), and SLaK, which gives it kernels of 51 (Liu et al. 2023, arXiv:2207.03620)."""

from course.models.downsampling import ConvDownsampling
from course.models.heads import MeanHead
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Pyramid, part, per_stage
from course.models.stems import PatchEmbed
from course.models.token_mixers.depthwise import ConvNeXtMixer, DecomposedConv

PAPER = "Liu et al. 2022, arXiv:2201.03545, table 1"

_MIXER = "stages.#.blocks.#.token_mixer"
TIMM = {
    "stem.0.*": "stem.proj.*",
    "stem.1.*": "stem.norm.*",
    "stages.#.downsample.0.*": "stages.#.entry.norm.*",
    "stages.#.downsample.1.*": "stages.#.entry.conv.*",
    "stages.#.blocks.#.gamma": f"{_MIXER}.scale",
    "stages.#.blocks.#.conv_dw.*": f"{_MIXER}.branch.conv.*",
    "stages.#.blocks.#.norm.*": f"{_MIXER}.branch.norm.*",
    "stages.#.blocks.#.mlp.*": f"{_MIXER}.branch.*",
    "head.norm.*": "head.norm.*",
    "head.fc.*": "head.fc.*",
}
# torchvision numbers stem, stage, downsampling, stage, ...; block.1, .4 and .6 are permutations and the activation.
TORCHVISION = {
    "features.0.0.*": "stem.proj.*",
    "features.0.1.*": "stem.norm.*",
    **{
        f"features.{2 * i + 1}.#.{theirs}": f"stages.{i}.blocks.#.token_mixer.{ours}"
        for i in range(4)
        for theirs, ours in {
            "layer_scale": "scale",
            "block.0.*": "branch.conv.*",
            "block.2.*": "branch.norm.*",
            "block.3.*": "branch.fc1.*",
            "block.5.*": "branch.fc2.*",
        }.items()
    },
    **{f"features.{2 * i}.0.*": f"stages.{i}.entry.norm.*" for i in range(1, 4)},
    **{f"features.{2 * i}.1.*": f"stages.{i}.entry.conv.*" for i in range(1, 4)},
    "classifier.0.*": "head.norm.*",
    "classifier.2.*": "head.fc.*",
}
TRANSFORMERS = {
    "convnext.embeddings.patch_embeddings.*": "stem.proj.*",
    "convnext.embeddings.layernorm.*": "stem.norm.*",
    "convnext.encoder.stages.#.downsampling_layer.0.*": "stages.#.entry.norm.*",
    "convnext.encoder.stages.#.downsampling_layer.1.*": "stages.#.entry.conv.*",
    "convnext.encoder.stages.#.layers.#.layer_scale_parameter": f"{_MIXER}.scale",
    "convnext.encoder.stages.#.layers.#.dwconv.*": f"{_MIXER}.branch.conv.*",
    "convnext.encoder.stages.#.layers.#.layernorm.*": f"{_MIXER}.branch.norm.*",
    "convnext.encoder.stages.#.layers.#.pwconv#.*": f"{_MIXER}.branch.fc#.*",
    "convnext.layernorm.*": "head.norm.*",
    "classifier.*": "head.fc.*",
}
KEYS = {"timm": TIMM, "torchvision": TORCHVISION, "transformers": TRANSFORMERS}
# Its configuration's eps is that of the last norm alone.
AS_IN = {
    source: lambda spec, eps=eps: spec.but(head=spec.head.but(eps=eps))
    for source, eps in (("timm", 1e-6), ("torchvision", 1e-6), ("transformers", 1e-12))
}


def convnext(
    dims: tuple, depths: tuple, mixer=part(ConvNeXtMixer, kernel_size=7), img_size: int = 224, patch_size: int = 4
) -> Pyramid:
    return Pyramid(
        stem=part(PatchEmbed, patch_size=patch_size, norm=True, eps=1e-6),
        downsample=part(ConvDownsampling, overlap=False, norm=LayerNorm),
        token_mixer=mixer,
        channel_mixer=None,
        norm=None,
        layer_scale=1e-6,
        head=part(MeanHead, norm_first=False),
        dims=dims,
        depths=depths,
        img_size=img_size,
    )


register(
    "convnext_t", convnext((96, 192, 384, 768), (3, 3, 9, 3)), paper=PAPER, says="29M 4.5G", keys=KEYS, as_in=AS_IN
)
register(
    "convnext_s", convnext((96, 192, 384, 768), (3, 3, 27, 3)), paper=PAPER, says="50M 8.7G", keys=KEYS, as_in=AS_IN
)
register(
    "convnext_b", convnext((128, 256, 512, 1024), (3, 3, 27, 3)), paper=PAPER, says="89M 15.4G", keys=KEYS, as_in=AS_IN
)
register(
    "convnext_cifar",
    convnext((64, 128, 256), (2, 2, 2), img_size=32, patch_size=2),
    paper="ours: ConvNeXt at the size of 32×32 images",
    keys=KEYS,
    as_in=AS_IN,
)
# SLaK's figures (30M, 5.0G) are for weights of which 40 % are zero; here all are there.
register(
    "slak_t",
    convnext(
        (124, 249, 499, 998),
        (3, 3, 9, 3),
        part(ConvNeXtMixer, conv=DecomposedConv, kernel_size=per_stage(51, 49, 47, 13)),
    ),
    paper="Liu et al. 2023, arXiv:2207.03620, table 2, before its sparsity of 40 %",
)

"""Hybrid ViT: the patches of a ResNet's map instead of the image's (Dosovitskiy et al. 2021, arXiv:2010.11929)."""

from dataclasses import replace

from course.models.families.vit import TIMM, vit
from course.models.registry import register
from course.models.resnet_stem import ResNetStem
from course.models.spec import part

KEYS = {
    "patch_embed.backbone.stem.*": "stem.*",
    "patch_embed.backbone.stages.#.blocks.#.downsample.conv.*": "stem.stages.#.#.around.0.*",
    "patch_embed.backbone.stages.#.blocks.#.downsample.norm.*": "stem.stages.#.#.around.1.*",
    "patch_embed.backbone.stages.#.blocks.#.*": "stem.stages.#.#.*",
    **TIMM,
}

vit_b_r50 = replace(vit(16, 768, 12, 12), stem=part(ResNetStem, depths=(3, 4, 9), widths=(256, 512, 1024)))

register("vit_b_r50", vit_b_r50, paper="Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1", keys={"timm": KEYS})

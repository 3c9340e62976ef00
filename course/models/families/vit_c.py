"""ViT_C: early convolutions help transformers see better (Xiao et al. 2021, arXiv:2106.14881)."""

from dataclasses import replace

from course.models.conv_stems import EarlyConvStem
from course.models.families.vit import TORCHVISION, vit
from course.models.registry import register
from course.models.spec import part

KEYS = {
    "conv_proj.conv_bn_relu_#.*": "stem.layers.#.*",
    "conv_proj.conv_last.*": "stem.proj.*",
    **{theirs: ours for theirs, ours in TORCHVISION.items() if theirs != "conv_proj.*"},
}

# The stem costs as much as a block, so there are 11 and not 12.
vit_c_4gf = replace(vit(16, 384, 11, 6, mlp_ratio=3), stem=part(EarlyConvStem, widths=(48, 96, 192, 384)))

register(
    "vit_c_4gf", vit_c_4gf, paper="Xiao et al. 2021, arXiv:2106.14881", says="17.8M 4.0G", keys={"torchvision": KEYS}
)

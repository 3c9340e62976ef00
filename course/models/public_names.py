"""What our models are called in timm, in torchvision, and on the hub of transformers: names that people type.

The network of that name there computes what ours does once it has its weights (``tests/models/test_every_source.py``).
"""

from collections.abc import Iterable
from difflib import get_close_matches

TIMM = {
    "bit_r101x3": "resnetv2_101x3_bit",
    "bit_r152x4": "resnetv2_152x4_bit",
    "caformer_s18": "caformer_s18",
    "cait_m48": "cait_m48_448",
    "cait_s24": "cait_s24_224",
    "cait_s36": "cait_s36_384",
    "coatnet_0": "coatnet_0_224",
    "convformer_s18": "convformer_s18",
    "convit_s": "convit_small",
    "convmixer_768_32": "convmixer_768_32",
    "convnext_b": "convnext_base",
    "convnext_s": "convnext_small",
    "convnext_t": "convnext_tiny",
    "deit3_s": "deit3_small_patch16_224",
    "deit_b": "deit_base_patch16_224",
    "deit_b_384": "deit_base_patch16_384",
    "deit_s": "deit_small_patch16_224",
    "deit_s_distilled": "deit_small_distilled_patch16_224",
    "efficientformer_l1": "efficientformer_l1",
    # Not efficientnet_b3, which has the same names and shapes, and pads otherwise.
    "efficientnet_b3": "tf_efficientnet_b3",
    "efficientnet_b4": "tf_efficientnet_b4",
    "efficientnet_b5": "tf_efficientnet_b5",
    "efficientnet_b6": "tf_efficientnet_b6",
    "efficientnet_b7": "tf_efficientnet_b7",
    "efficientnet_l2": "tf_efficientnet_l2",
    "gmlp_b": "gmlp_b16_224",
    "gmlp_s": "gmlp_s16_224",
    "levit_256": "levit_256",
    "mixer_b16": "mixer_b16_224",
    "mixer_l16": "mixer_l16_224",
    "mixer_s16": "mixer_s16_224",
    "mobilenet_v1": "mobilenetv1_100",
    "mvit_v2_t": "mvitv2_tiny",
    "pit_s": "pit_s_224",
    "poolformer_m36": "poolformer_m36",
    "poolformer_m48": "poolformer_m48",
    "poolformer_s12": "poolformer_s12",
    "poolformer_s24": "poolformer_s24",
    "poolformer_s36": "poolformer_s36",
    "pvt_v2_b2": "pvt_v2_b2",
    "regnety_16gf": "regnety_160",
    "regnety_4gf": "regnety_040",
    "regnety_8gf": "regnety_080",
    "resmlp_s12": "resmlp_12_224",
    "resmlp_s24": "resmlp_24_224",
    "resnet_152": "resnet152",
    "resnet_50": "resnet50",
    "resnext_50_32x4d": "resnext50_32x4d",
    "swin_b": "swin_base_patch4_window7_224",
    "swin_b_384": "swin_base_patch4_window12_384",
    "swin_l_384": "swin_large_patch4_window12_384",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_t": "swin_tiny_patch4_window7_224",
    "visformer_s": "visformer_small",
    "vit_b16": "vit_base_patch16_224",
    "vit_b16_384": "vit_base_patch16_384",
    "vit_b32": "vit_base_patch32_224",
    "vit_b_r50": "vit_base_r50_s16_224",
    "vit_g14": "vit_gigantic_patch14_224",
    "vit_h14": "vit_huge_patch14_224",
    "vit_l16": "vit_large_patch16_224",
    "vit_l16_384": "vit_large_patch16_384",
    "vit_l32": "vit_large_patch32_224",
    "vit_s16": "vit_small_patch16_224",
}
TORCHVISION = {
    "convnext_b": "convnext_base",
    "convnext_s": "convnext_small",
    "convnext_t": "convnext_tiny",
    "fcn_r50": "fcn_resnet50",
    "resnet_152": "resnet152",
    "resnet_50": "resnet50",
    "resnext_50_32x4d": "resnext50_32x4d",
    "swin_b": "swin_b",
    "swin_s": "swin_s",
    "swin_t": "swin_t",
    "vgg_11": "vgg11",
    "vgg_13": "vgg13",
    "vgg_16": "vgg16",
    "vgg_19": "vgg19",
    "vit_b16": "vit_b_16",
    "vit_b32": "vit_b_32",
    "vit_h14": "vit_h_14",
    "vit_l16": "vit_l_16",
    "vit_l32": "vit_l_32",
}
TRANSFORMERS = {
    "convnext_b": "facebook/convnext-base-224",
    "convnext_s": "facebook/convnext-small-224",
    "convnext_t": "facebook/convnext-tiny-224",
    "cvt_13": "microsoft/cvt-13",
    "deit_b": "facebook/deit-base-patch16-224",
    "deit_b_384": "facebook/deit-base-patch16-384",
    "deit_s": "facebook/deit-small-patch16-224",
    "deit_s_distilled": "facebook/deit-small-distilled-patch16-224",
    "detr_r50": "facebook/detr-resnet-50",
    "perceiver_io": "deepmind/vision-perceiver-fourier",
    "poolformer_m36": "sail/poolformer_m36",
    "poolformer_m48": "sail/poolformer_m48",
    "poolformer_s12": "sail/poolformer_s12",
    "poolformer_s24": "sail/poolformer_s24",
    "poolformer_s36": "sail/poolformer_s36",
    "pvt_l": "Zetatech/pvt-large-224",
    "pvt_s": "Zetatech/pvt-small-224",
    "swin_b": "microsoft/swin-base-patch4-window7-224",
    "swin_b_384": "microsoft/swin-base-patch4-window12-384",
    "swin_l_384": "microsoft/swin-large-patch4-window12-384",
    "swin_s": "microsoft/swin-small-patch4-window7-224",
    "swin_t": "microsoft/swin-tiny-patch4-window7-224",
    "upernet_swin_b": "openmmlab/upernet-swin-base",
    "upernet_swin_l": "openmmlab/upernet-swin-large",
    "upernet_swin_s": "openmmlab/upernet-swin-small",
    "upernet_swin_t": "openmmlab/upernet-swin-tiny",
    "vit_b16": "google/vit-base-patch16-224",
    "vit_b16_384": "google/vit-base-patch16-384",
    "vit_b32": "google/vit-base-patch32-224",
    "vit_h14": "google/vit-huge-patch14-224-in21k",
    "vit_l16": "google/vit-large-patch16-224",
    "vit_l16_384": "google/vit-large-patch16-384",
    "vit_l32": "google/vit-large-patch32-224",
    "vivit_model1": "google/vivit-b-16x2",
}
PUBLIC = {"timm": TIMM, "torchvision": TORCHVISION, "transformers": TRANSFORMERS}
_OURS = {theirs.lower(): ours for names in PUBLIC.values() for ours, theirs in names.items()}


def ours(name: str) -> str | None:
    """Our name for a public one, or None. timm's may have a tag behind a dot and a place before a slash or a colon."""
    name = name.lower().removeprefix("hf-hub:").removeprefix("hf_hub:").removeprefix("timm/")
    return _OURS.get(name) or _OURS.get(name.partition(".")[0])


def nearest(name: str, registered: Iterable[str]) -> str | None:
    """Of ours and the public names the one that is most like this one, or None."""
    name = name.lower().removeprefix("timm/").partition(".")[0]
    near = get_close_matches(name, [*registered, *_OURS], n=1)
    return near[0] if near else None

"""Hybrid ViT against timm."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.models import create_model
from course.models.resnet_stem import Bottleneck, StandardisedConv
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = {
    "vit_b_r50": dict(img_size=32, depths=(2, 1), widths=(128, 256), embed_dim=48, depth=2, num_heads=4, num_classes=10)
}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def timm_hybrid():
    from timm.layers import HybridEmbed, StdConv2dSame
    from timm.models.resnetv2 import ResNetV2
    from timm.models.vision_transformer import VisionTransformer

    conv = partial(StdConv2dSame, eps=1e-8)
    resnet = ResNetV2(
        (2, 1), (128, 256), num_classes=0, global_pool="", preact=False, stem_type="same", conv_layer=conv
    )
    sizes = dict(img_size=32, patch_size=1, embed_dim=48, depth=2, num_heads=4, num_classes=10)
    return VisionTransformer(embed_layer=partial(HybridEmbed, backbone=resnet), **sizes)


def timm_pair():
    return pair("vit_b_r50", SMALL["vit_b_r50"], timm_hybrid(), "timm")


@proves(11, 196)
def test_agrees_with_timm():
    assert_agrees(*timm_pair(), IMAGES)


@proves(11)
def test_the_full_one_has_timms_shape():
    """Stages of 3, 4 and 9 blocks, 14×14 tokens: the fourth stage's blocks stand in the third."""
    with torch.device("meta"):
        stem = create_model("vit_b_r50").stem
    assert [len(stage) for stage in stem.stages] == [3, 4, 9] and stem.grid == (14, 14)
    assert stem.proj.weight.shape == (768, 1024, 1, 1)


def test_widths_that_the_groups_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiples of 128"):
        create_model("vit_b_r50", widths=(100, 200, 400))


def test_an_image_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(ValueError, match="224 and 240 fit"):
        create_model("vit_b_r50", img_size=232)


class PlainConv(StandardisedConv):
    def forward(self, x):
        return F.conv2d(x, self.weight, stride=self.stride, padding=self.kernel_size[0] // 2)


class SymmetricConv(StandardisedConv):
    def forward(self, x):
        weight = F.layer_norm(self.weight, self.weight.shape[1:], eps=1e-8)
        return F.conv2d(x, weight, stride=self.stride, padding=self.kernel_size[0] // 2)


def kernels_as_they_are(model):
    for conv in each(model, StandardisedConv):
        conv.__class__ = PlainConv


def padded_alike_on_both_sides(model):
    for conv in each(model, StandardisedConv):
        conv.__class__ = SymmetricConv


def stride_in_the_first_convolution(model):
    for block in each(model, Bottleneck):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def relu_before_the_sum(model):
    for block in each(model, Bottleneck):
        block.norm3 = nn.Sequential(block.norm3, nn.ReLU())


def one_group(model):
    for norm in each(model, nn.GroupNorm):
        norm.num_groups = 1


@pytest.mark.parametrize(
    "mistake",
    [kernels_as_they_are, padded_alike_on_both_sides, stride_in_the_first_convolution, relu_before_the_sum, one_group],
)
def test_catches(mistake):
    assert_catches(mistake, *timm_pair(), IMAGES)

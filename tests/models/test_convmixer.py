"""ConvMixer against timm."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.channel_mixers.batch_norm_mlp import PointwiseConv
from course.models.token_mixers.depthwise import ConvMixerSpatial
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = {
    "convmixer_768_32": dict(img_size=35, patch_size=7, dims=(24,), depths=(2,), num_classes=10),
    "convmixer_cifar": dict(img_size=32, patch_size=4, dims=(24,), depths=(2,), num_classes=10),
}
IMAGES = torch.randn(2, 3, 35, 35, generator=torch.Generator().manual_seed(2))


def timm_convmixer(act=nn.ReLU):
    from timm.models.convmixer import ConvMixer

    return ConvMixer(24, 2, kernel_size=7, patch_size=7, num_classes=10, act_layer=act)


@proves(85)
@pytest.mark.parametrize("act", [nn.ReLU, nn.GELU])
def test_agrees_with_timm(act):
    small = SMALL["convmixer_768_32"] | {"act": act}
    assert_agrees(*pair("convmixer_768_32", small, timm_convmixer(act), "timm"), IMAGES)


def gelu_for_relu(model):
    for layer in [*each(model, ConvMixerSpatial), *each(model, PointwiseConv)]:
        layer.act = nn.GELU()


def norm_before_the_activation(model):
    for layer in each(model, PointwiseConv):
        layer.act, layer.norm = layer.norm, layer.act


def a_path_around_the_pointwise_layer(model):
    for layer in each(model, PointwiseConv):
        layer.register_forward_hook(lambda module, inputs, output: inputs[0] + output)


@pytest.mark.parametrize("mistake", [gelu_for_relu, norm_before_the_activation, a_path_around_the_pointwise_layer])
def test_catches(mistake):
    assert_catches(mistake, *pair("convmixer_768_32", SMALL["convmixer_768_32"], timm_convmixer(), "timm"), IMAGES)


def test_patches_that_do_not_divide_the_image_are_one_sentence():
    with pytest.raises(ValueError, match="217 and 224 fit"):
        create_model("convmixer_768_32", img_size=220)

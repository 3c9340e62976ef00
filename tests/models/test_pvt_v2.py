"""PVT v2 against timm."""

from collections import Counter

import pytest
import torch
from torch import nn

from course.models.channel_mixers.conv_mlp import ConvMLP
from course.models.norms import Conv, LayerNorm
from course.models.spec import per_stage
from course.models.token_mixers.spatial_reduction import SpatialReductionAttention
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = {
    "pvt_v2_b2": dict(
        img_size=64, dims=(16, 24, 32, 48), depths=(1, 2, 1, 1), num_heads=per_stage(1, 2, 4, 8), num_classes=10
    )
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def timm_pvt_v2():
    from timm.models.pvt_v2 import PyramidVisionTransformerV2

    return PyramidVisionTransformerV2(
        depths=(1, 2, 1, 1), embed_dims=(16, 24, 32, 48), num_heads=(1, 2, 4, 8), num_classes=10
    )


def small_pair():
    return pair("pvt_v2_b2", SMALL["pvt_v2_b2"], timm_pvt_v2(), "timm")


@proves(64)
def test_agrees_with_timm():
    assert_agrees(*small_pair(), IMAGES)


def test_agrees_with_timm_on_oblong_images():
    small = SMALL["pvt_v2_b2"] | dict(img_size=(64, 96))
    ours, theirs = pair("pvt_v2_b2", small, timm_pvt_v2(), "timm")
    assert_agrees(ours, theirs, torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3)))


def test_eps_are_timms():
    ours, theirs = small_pair()
    # By numbers alone 1e-5 for 1e-6 behind the patches and the reductions would not show.
    counts = [Counter(m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)) for model in (ours, theirs)]
    assert counts[0] == counts[1] == {1e-5: 4 + 4, 1e-6: 2 * 5 + 4}
    behind = (ours.stem, ours.stages[1].entry, ours.stages[0].blocks[0].token_mixer.branch)
    assert all(module.norm.eps == 1e-5 for module in behind)


def no_convolution_in_the_mlps(model):
    for mlp in each(model, ConvMLP):
        mlp.depthwise = nn.Identity()


def activation_before_the_convolution(model):
    for mlp in each(model, ConvMLP):
        mlp.fc1, mlp.act = nn.Sequential(mlp.fc1, nn.GELU()), nn.Identity()


def borders_not_of_zeros(model):
    for conv in each(model, Conv):
        conv.padding_mode = "replicate"
        conv._reversed_padding_repeated_twice = [p for p in reversed(conv.padding) for _ in range(2)]


def eps_of_another_norm(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-5


def keys_and_values_swapped(model):
    for attention in each(model, SpatialReductionAttention):
        attention.kv.weight.data = torch.cat(attention.kv.weight.chunk(2)[::-1])
        attention.kv.bias.data = torch.cat(attention.kv.bias.chunk(2)[::-1])


def no_norm_behind_the_stages(model):
    for stage in model.stages[:-1]:
        stage.norm = nn.Identity()


@pytest.mark.parametrize(
    "mistake",
    [
        no_convolution_in_the_mlps,
        activation_before_the_convolution,
        borders_not_of_zeros,
        eps_of_another_norm,
        keys_and_values_swapped,
        no_norm_behind_the_stages,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

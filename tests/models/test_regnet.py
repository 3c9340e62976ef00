"""RegNetY against timm."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.count import count_macs, count_parameters
from course.models.regnet import RegNetBlock
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

TINY = dict(dims=(16, 40), depths=(1, 2), group_width=8, stem_dim=8, num_classes=10)
SMALL = dict.fromkeys(("regnety_4gf", "regnety_8gf", "regnety_16gf"), TINY)
IMAGES = torch.randn(2, 3, 36, 50, generator=torch.Generator().manual_seed(2))


def small_pair():
    """The few numbers that timm makes its four stages of are those of the paper's section 3.3: here 1, 1, 2 and 2 blocks."""
    from timm.models.regnet import RegNet, RegNetCfg

    config = RegNetCfg(depth=6, w0=16, wa=24.0, wm=2.0, group_size=8, se_ratio=0.25, stem_width=8)
    theirs = RegNet(config, num_classes=10)
    return pair("regnety_4gf", TINY | dict(dims=(16, 32, 64, 128), depths=(1, 1, 2, 2)), theirs, "timm")


@proves(113)
def test_agrees_with_timm():
    assert_agrees(*small_pair(), IMAGES)


@proves(113)
@pytest.mark.parametrize("name, timms", [("regnety_4gf", "regnety_040"), ("regnety_8gf", "regnety_080")])
def test_is_as_large_as_timms(name, timms):
    """The third is the row of the table and counted with it."""
    import timm

    with torch.device("meta"):
        ours, theirs = create_model(name), timm.create_model(timms)
    assert count_parameters(ours) == count_parameters(theirs)
    assert count_macs(ours, 1, 3, 224, 224) == count_macs(theirs, 1, 3, 224, 224)


def test_groups_that_do_not_fit_are_said():
    with pytest.raises(ValueError, match="regnety_4gf: groups of 7 channels do not divide 16"):
        create_model("regnety_4gf", **TINY | dict(group_width=7))


def gate_at_the_end_of_the_branch(model):
    for block in each(model, RegNetBlock):
        block.norm3, block.gate = nn.Sequential(block.norm3, block.gate), nn.Identity()


def gate_before_the_activation(model):
    for block in each(model, RegNetBlock):
        block.norm2, block.gate = nn.Sequential(block.norm2, block.gate), nn.Identity()


def stride_in_the_first_convolution(model):
    for block in each(model, RegNetBlock):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def channels_of_a_group_apart(model):
    for block in each(model, RegNetBlock):
        weight = block.conv3.weight.data
        block.conv3.weight.data = weight.unflatten(1, (-1, 8)).transpose(1, 2).reshape(weight.shape)


def no_activation_at_the_end(model):
    for block in each(model, RegNetBlock):
        block.shortcut = nn.Sequential(block.shortcut, nn.ReLU())


@pytest.mark.parametrize(
    "mistake",
    [
        gate_at_the_end_of_the_branch,
        gate_before_the_activation,
        stride_in_the_first_convolution,
        channels_of_a_group_apart,
        no_activation_at_the_end,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

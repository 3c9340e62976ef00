"""BiT against timm."""

from functools import partial

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.bit import CentredConv, PreActBottleneck
from course.models.resnet_stem import StandardisedConv
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

TINY = dict(depths=(2, 1), width=32, widen=1, num_classes=10)
SMALL = dict.fromkeys(("bit_r101x3", "bit_r152x4"), TINY)
IMAGES = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(2))


def timm_bit():
    from timm.layers import StdConv2d
    from timm.models.resnetv2 import ResNetV2

    conv = partial(StdConv2d, eps=1e-8)
    return ResNetV2([2, 1], (128, 256), stem_chs=32, stem_type="fixed", conv_layer=conv, num_classes=10)


def small_pair():
    return pair("bit_r101x3", TINY, timm_bit(), "timm")


@proves(115, 116)
def test_agrees_with_timm():
    assert_agrees(*small_pair(), IMAGES)


def test_agrees_with_timm_where_halves_are_rounded():
    assert_agrees(*small_pair(), torch.randn(2, 3, 36, 50, generator=torch.Generator().manual_seed(3)))


def test_channels_that_the_groups_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="bit_r101x3: width times widen is a multiple of 32, .*: not 48"):
        create_model("bit_r101x3", width=16, widen=3)


def the_odd_row_below(model):
    for conv in each(model, CentredConv):
        conv.__class__ = StandardisedConv


class PlainConv(CentredConv):
    def kernels(self):
        return self.weight


def kernels_as_they_are(model):
    for conv in each(model, CentredConv):
        conv.__class__ = PlainConv


def activation_behind_the_stem(model):
    model.conv = nn.Sequential(model.conv, nn.ReLU())


class Raised(nn.Module):
    """Far above the zeros around the map, which are then never the largest."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return self.conv(x) + 100


def zeros_around_the_map_left_out(model):
    model.conv = Raised(model.conv)
    model.stages[0][0].register_forward_pre_hook(lambda block, x: x[0] - 100)


class ShortcutOfTheMap(PreActBottleneck):
    def forward(self, x):
        y = super().forward(x)
        return y if self.shortcut is None else y - self.shortcut(self.norm1(x).relu()) + self.shortcut(x)


def shortcut_of_the_map_itself(model):
    for block in each(model, PreActBottleneck):
        block.__class__ = ShortcutOfTheMap


def one_group(model):
    for norm in each(model, nn.GroupNorm):
        norm.num_groups = 1


def last_norm_left_out(model):
    model.norm = nn.Identity()


@pytest.mark.parametrize(
    "mistake",
    [
        the_odd_row_below,
        kernels_as_they_are,
        activation_behind_the_stem,
        zeros_around_the_map_left_out,
        shortcut_of_the_map_itself,
        one_group,
        last_norm_left_out,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

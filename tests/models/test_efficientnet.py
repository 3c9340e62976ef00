"""EfficientNet against timm's, which has TensorFlow's padding and its weights' names."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.count import count_macs, count_parameters
from course.models.efficientnet import InvertedResidual, SameConv, rounded
from course.models.gates.squeeze_excite import SqueezeExcite
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

NAMES = [f"efficientnet_{size}" for size in ("b3", "b4", "b5", "b6", "b7", "l2")]
TINY = dict(width=0.25, depth=0.5, num_classes=10)
SMALL = dict.fromkeys(NAMES, TINY)
# Sides are odd in the middle: 25, 13 and 7 rows, where the padding is the same on both sides, and 36, 18 and 9 columns.
IMAGES = 3 * torch.randn(2, 3, 49, 72, generator=torch.Generator().manual_seed(2))


def timm_efficientnet():
    from timm.models.efficientnet import _gen_efficientnet

    sizes = dict(channel_multiplier=0.25, depth_multiplier=0.5, num_classes=10)
    return _gen_efficientnet("tf_efficientnet_b0", bn_eps=1e-3, pad_type="same", **sizes)


def small_pair():
    return pair("efficientnet_b7", TINY, timm_efficientnet(), "timm")


@proves(114, 117)
def test_agrees_with_timm():
    assert_agrees(*small_pair(), IMAGES)


@proves(114)
@pytest.mark.parametrize("size, side", [("b3", 300), ("b4", 380), ("b5", 456), ("b6", 528)])
def test_is_as_large_as_timms(size, side):
    """B7 and L2 are rows of the table and counted with it."""
    import timm

    with torch.device("meta"):
        ours, theirs = create_model(f"efficientnet_{size}"), timm.create_model(f"tf_efficientnet_{size}")
    assert count_parameters(ours) == count_parameters(theirs)
    assert count_macs(ours, 1, 3, side, side) == count_macs(theirs, 1, 3, side, side)


def test_widths_are_multiples_of_8_and_at_most_a_tenth_below():
    assert [rounded(width) for width in (4, 16, 19.2, 28.8, 32 * 4.3, 1280 * 1.2)] == [8, 16, 24, 32, 136, 1536]
    assert rounded(10) == 16  # 8 would be a fifth below


def the_odd_row_above(model):
    class Other(SameConv):
        def forward(self, x):
            return super().forward(x.flip(2, 3)).flip(2, 3)

    for conv in each(model, SameConv):
        conv.__class__ = Other
        conv.weight.data = conv.weight.data.flip(2, 3)


def gate_of_a_quarter_of_the_wide_map(model):
    for gate in each(model, SqueezeExcite):
        gate.fc1.weight.data[gate.fc1.weight.shape[0] // 2 :] = 0


def gate_by_relu(model):
    for gate in each(model, SqueezeExcite):
        gate.act = nn.ReLU()


def nothing_added(model):
    for block in each(model, InvertedResidual):
        block.adds = False


def activation_where_it_is_narrow(model):
    for block in each(model, InvertedResidual):
        block.norm2 = nn.Sequential(block.norm2, nn.SiLU())


def eps_of_torch(model):
    for norm in each(model, nn.BatchNorm2d):
        norm.eps = 1e-5


@pytest.mark.parametrize(
    "mistake",
    [
        the_odd_row_above,
        gate_of_a_quarter_of_the_wide_map,
        gate_by_relu,
        nothing_added,
        activation_where_it_is_narrow,
        eps_of_torch,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

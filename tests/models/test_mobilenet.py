"""MobileNet v1 against timm, and what its separable convolutions save."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.count import count_macs
from course.models.mobilenet import SeparableBlock
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = {"mobilenet_v1": dict(depths=(1, 2, 1), width=8, num_classes=10)}
IMAGES = torch.randn(2, 3, 64, 72, generator=torch.Generator().manual_seed(2))


def small_pair():
    """A quarter of the paper's channels; timm's own names have no such α."""
    from timm.models.efficientnet import _gen_mobilenet_v1

    theirs = _gen_mobilenet_v1("mobilenetv1_100", channel_multiplier=0.25, num_classes=10)
    return pair("mobilenet_v1", dict(width=8, num_classes=10), theirs, "timm")


@proves(192)
def test_agrees_with_timm():
    assert_agrees(*small_pair(), 3 * IMAGES)


def last_stride_of_the_table(model):
    model.stages[-1][-1].depthwise.stride = (2, 2)


def relu_without_a_ceiling(model):
    model.act = nn.ReLU()
    for block in each(model, SeparableBlock):
        block.act = nn.ReLU()


def no_activation_between_the_two(model):
    for block in each(model, SeparableBlock):
        block.register_forward_pre_hook(lambda block, inputs: setattr(block, "act", Second()))


class Second(nn.Module):
    """Nothing at the first call, ReLU6 at the second."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x if self.calls == 1 else x.clamp(0, 6)


@pytest.mark.parametrize("mistake", [last_stride_of_the_table, relu_without_a_ceiling, no_activation_between_the_two])
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), 3 * IMAGES)


@proves(111, 192)
def test_a_separable_block_costs_the_share_of_the_paper():
    """Howard et al. 2017, section 3.1: 1/D + 1/k² of a dense convolution's multiply-adds."""
    with torch.device("meta"):
        dense, block = nn.Conv2d(64, 64, 3, padding=1, bias=False), SeparableBlock(64, 64, 1)
    assert count_macs(block, 1, 64, 14, 14) / count_macs(dense, 1, 64, 14, 14) == pytest.approx(1 / 64 + 1 / 9)


def test_the_last_map_of_the_paper_is_7_by_7():
    with torch.device("meta"):
        maps = create_model("mobilenet_v1").features(torch.empty(1, 3, 224, 224))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 112, 112),
        (128, 56, 56),
        (256, 28, 28),
        (512, 14, 14),
        (1024, 7, 7),
    ]

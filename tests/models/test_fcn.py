"""FCN against torchvision."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.dense.fcn import FCN
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = dict.fromkeys(["fcn_r50", "fcn_shapes"], dict(depths=(1, 2, 2, 2), width=4, num_classes=5))
IMAGES = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(2))


def torchvision_fcn() -> nn.Module:
    """torchvision's own, made narrower: its ResNet takes a width for each group only in the 3×3 convolutions."""
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.resnet import Bottleneck, ResNet
    from torchvision.models.segmentation.fcn import FCN as Theirs
    from torchvision.models.segmentation.fcn import FCNHead

    class Narrow(ResNet):
        def _make_layer(self, block, planes, *arguments, **options):
            if planes == 64:
                self.inplanes = 4
            return super()._make_layer(block, planes // 16, *arguments, **options)

    backbone = Narrow(Bottleneck, [1, 2, 2, 2], replace_stride_with_dilation=[False, True, True])
    backbone.conv1, backbone.bn1 = nn.Conv2d(3, 4, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(4)
    return Theirs(IntermediateLayerGetter(backbone, {"layer4": "out"}), FCNHead(128, 5))


def made() -> tuple[nn.Module, nn.Module]:
    ours, theirs = pair("fcn_r50", SMALL["fcn_r50"], torchvision_fcn(), "torchvision")
    return ours, theirs


def logits(theirs):
    return lambda x: theirs.to(x.dtype)(x)["out"]


@proves(129)
def test_agrees_with_torchvision():
    ours, theirs = made()
    assert_agrees(ours, logits(theirs), IMAGES)


def corners_aligned(model):
    head = each(model, FCN)[0].classifier
    head.register_forward_hook(
        lambda head, inputs, y: nn.functional.interpolate(y, size=(40, 56), mode="bilinear", align_corners=True)
    )


def first_dilated_block_already_spread(model):
    """The block in which the stride was keeps the spread of the stage before it."""
    for stage in (2, 3):
        conv = model.backbone.stages[stage][0].conv2
        conv.dilation = conv.padding = (2 * conv.dilation[0], 2 * conv.dilation[0])


def not_spread_at_all(model):
    for conv in each(model, nn.Conv2d):
        if conv.dilation != (1, 1):
            conv.dilation = conv.padding = (1, 1)


def last_block_left_out(model):
    model.backbone.stages[3][1] = nn.Identity()


@pytest.mark.parametrize(
    "mistake", [corners_aligned, first_dilated_block_already_spread, not_spread_at_all, last_block_left_out]
)
def test_catches(mistake):
    ours, theirs = made()
    assert_catches(mistake, ours, logits(theirs), IMAGES)


def test_the_map_has_an_eighth_of_the_side():
    model = create_model("fcn_r50", **SMALL["fcn_r50"])
    assert [tuple(x.shape[2:]) for x in model.backbone.features(IMAGES)] == [(10, 14), (5, 7), (5, 7), (5, 7)]

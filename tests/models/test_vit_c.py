"""ViT_C against torchvision."""

import pytest
import torch
from torch import nn

from course.models import create_model
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = {
    "vit_c_4gf": dict(img_size=32, widths=(8, 16, 24), embed_dim=48, depth=2, num_heads=4, mlp_ratio=3, num_classes=10)
}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def torchvision_vit_c():
    from torchvision.models import VisionTransformer
    from torchvision.models.vision_transformer import ConvStemConfig

    stem = [ConvStemConfig(width, 3, 2) for width in (8, 16, 24)]
    return VisionTransformer(32, 8, 2, 4, 48, 144, num_classes=10, conv_stem_configs=stem)


@proves(61)
def test_agrees_with_torchvision():
    assert_agrees(*pair("vit_c_4gf", SMALL["vit_c_4gf"], torchvision_vit_c(), "torchvision"), IMAGES)


@proves(61)
def test_the_stem_agrees_with_torchvision_in_training():
    ours, theirs = pair("vit_c_4gf", SMALL["vit_c_4gf"], torchvision_vit_c(), "torchvision")
    ours.train(), theirs.train()  # batch norm now takes the batch's own statistics
    assert_agrees(ours, theirs, IMAGES)


def test_an_image_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(ValueError, match="32 and 40 fit"):
        create_model("vit_c_4gf", **SMALL["vit_c_4gf"] | {"img_size": 36})


def no_batch_norm(model):
    for layer in model.stem.layers:
        layer[1] = nn.Identity()


def no_relu(model):
    for layer in model.stem.layers:
        layer[2] = nn.Identity()


def relu_before_the_norm(model):
    for layer in model.stem.layers:
        layer[1], layer[2] = layer[2], layer[1]


def eps_of_the_layer_norms(model):
    for norm in each(model, nn.BatchNorm2d):
        norm.eps = 1e-6


@pytest.mark.parametrize("mistake", [no_batch_norm, no_relu, relu_before_the_norm, eps_of_the_layer_norms])
def test_catches(mistake):
    assert_catches(mistake, *pair("vit_c_4gf", SMALL["vit_c_4gf"], torchvision_vit_c(), "torchvision"), IMAGES)

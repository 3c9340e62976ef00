"""VGG against torchvision, all five columns of its table."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.vgg import VGG
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

NAMES = ("vgg_11", "vgg_13", "vgg_16_c", "vgg_16", "vgg_19")
TINY = dict(width=4, hidden=16, img_size=32, num_classes=10)
SMALL = dict.fromkeys(NAMES, TINY)
IMAGES = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(2))


def torchvision_vgg(name):
    """torchvision's network of that depth, narrow; column C is its 16 layers with three 1×1 convolutions in them."""
    from torchvision.models import vgg

    letter = {"vgg_11": "A", "vgg_13": "B", "vgg_16_c": "D", "vgg_16": "D", "vgg_19": "E"}[name]
    narrow = [layer if layer == "M" else layer // 16 for layer in vgg.cfgs[letter]]
    model = vgg.VGG(vgg.make_layers(narrow), num_classes=10, init_weights=False)
    model.avgpool = nn.Identity()  # it brings other sizes of images to 7×7, which the paper does not have
    for index, (ins, outs) in {0: (32 * 2, 16), 3: (16, 16), 6: (16, 10)}.items():
        model.classifier[index] = nn.Linear(ins, outs)
    if name == "vgg_16_c":
        for index in (14, 21, 28):
            model.features[index] = nn.Conv2d(model.features[index].in_channels, model.features[index].out_channels, 1)
    return model


def small_pair(name):
    return pair(name, TINY | {"img_size": (64, 32)}, torchvision_vgg(name), "torchvision")


@proves(183, 184, 185, 186, 187)
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_torchvision(name):
    assert_agrees(*small_pair(name), IMAGES)


def without_the_last_pooling(model):
    model.stages[3][-1], model.stages[4][-1] = nn.MaxPool2d(4), nn.Identity()


def mean_pooling(model):
    for stage in model.stages:
        stage[-1] = nn.AvgPool2d(2)


def places_before_channels(model):
    fc1 = model.fc1
    fc1.weight.data = fc1.weight.view(16, 32, 2).transpose(1, 2).reshape(16, -1)


def no_activation_between_linear_layers(model):
    for network in each(model, VGG):
        network.act = nn.Identity()


@pytest.mark.parametrize(
    "mistake",
    [without_the_last_pooling, mean_pooling, places_before_channels, no_activation_between_linear_layers],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair("vgg_16_c"), IMAGES)


def test_a_size_that_five_halvings_do_not_divide_is_one_sentence():
    with pytest.raises(ValueError, match="vgg_16: img_size is a multiple of 32, and not 224×200"):
        create_model("vgg_16", img_size=(224, 200))

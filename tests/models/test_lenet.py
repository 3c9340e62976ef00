"""LeNet-5 against its sums, pixel by pixel: no library has it."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.count import count_parameters
from tests.models.parity import assert_agrees, assert_catches, proves, randomised

SMALL = {"lenet_5": dict(img_size=20, num_classes=10)}
IMAGES = torch.randn(2, 1, 20, 24, generator=torch.Generator().manual_seed(2))


def convolved(x, weight, bias):
    """A 5×5 convolution without padding, tap by tap: (B, C, H, W) -> (B, D, H - 4, W - 4)."""
    height, width = x.shape[2] - 4, x.shape[3] - 4
    y = bias.view(1, -1, 1, 1)
    for i in range(5):
        for j in range(5):
            y = y + torch.einsum("dc,bchw->bdhw", weight[:, :, i, j], x[:, :, i : i + height, j : j + width])
    return y


def mean_of_four(x):
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def formula(model):
    def logits(images):
        p = {name: weight.to(images.dtype) for name, weight in model.state_dict().items()}
        x = images
        for conv in ("conv1", "conv2"):
            x = mean_of_four(convolved(x, p[f"{conv}.weight"], p[f"{conv}.bias"]).tanh())
        x = x.reshape(len(x), -1)
        for layer in ("fc1", "fc2"):
            x = (x @ p[f"{layer}.weight"].T + p[f"{layer}.bias"]).tanh()
        return x @ p["fc3.weight"].T + p["fc3.bias"]

    return logits


def made():
    return randomised(create_model("lenet_5", img_size=(20, 24)))


@proves(181)
def test_lenet_is_its_formula():
    model = made()
    assert_agrees(model, formula(model), IMAGES)


def relu_for_tanh(model):
    model.act = nn.ReLU()


def maximum_for_mean(model):
    model.pool = nn.MaxPool2d(2)


def activation_at_the_end(model):
    model.fc3 = nn.Sequential(model.fc3, nn.Tanh())


@pytest.mark.parametrize("mistake", [relu_for_tanh, maximum_for_mean, activation_at_the_end])
def test_catches(mistake):
    model = made()
    assert_catches(mistake, model, formula(model), IMAGES)


@proves(181)
def test_parameters_layer_by_layer():
    model = create_model("lenet_5")
    sizes = [count_parameters(layer) for layer in (model.conv1, model.conv2, model.fc1, model.fc2, model.fc3)]
    assert sizes == [156, 2416, 48120, 10164, 850] and sum(sizes) == 61706 == count_parameters(model)


def test_a_small_image_is_one_sentence():
    with pytest.raises(ValueError, match="lenet_5: img_size is at least 16, and not 15"):
        create_model("lenet_5", img_size=15)

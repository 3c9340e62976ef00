"""Recording what layers return, and reading a grid out of it."""

import pytest
import torch
from torch import nn

from course.analysis.features import as_map, layers, prepared, recorded
from course.data.normalise import Normalise
from course.models import create_model

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_layers_are_the_parts_and_not_what_strings_them_together():
    model = create_model("vit_cifar", embed_dim=8, depth=2, num_heads=1, num_classes=3)
    assert layers(model) == ["stem", "stages.0.entry", "stages.0.blocks.0", "stages.0.blocks.1", "head"]
    assert layers(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout(), nn.Sequential(nn.ReLU(), nn.Identity()))) == [
        "0",
        "2.0",
    ]


def test_what_a_layer_returned_is_not_what_the_next_one_made_of_it():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    with recorded(model) as features:
        model(IMAGES)
    assert features["0"].min() < 0 and torch.equal(features["1"], features["0"].relu())


def test_the_hooks_are_gone_afterwards_even_after_an_error():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(RuntimeError), recorded(model):
        model(IMAGES[:, :2])
    assert not model[0]._forward_hooks


def test_a_wrong_name_is_named():
    with pytest.raises(ValueError, match="did you mean '0'"), recorded(nn.Sequential(nn.ReLU()), ["00"]):
        pass


def test_images_are_normalised_as_in_training():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert torch.equal(prepared(model, IMAGES), IMAGES)
    model.normalise_images = Normalise((1.0, 2.0, 3.0), (2.0, 2.0, 2.0))
    assert torch.allclose(prepared(model, IMAGES)[:, 2], (IMAGES[:, 2] - 3) / 2)


def test_a_grid_is_found_in_tokens_and_in_maps_of_either_order():
    grid = torch.rand(2, 3, 6, 5)  # (B, h, w, D) of an image of 12×24
    tokens = torch.cat([torch.full((2, 1, 5), 9.0), grid.flatten(1, 2)], dim=1)  # one class token in front
    assert torch.equal(as_map(tokens, (12, 24)), grid)
    assert torch.equal(as_map(grid, (12, 24), channels_last=False), grid)
    assert torch.equal(as_map(grid.permute(0, 3, 1, 2), (12, 24)), grid)
    both = torch.rand(2, 4, 4, 4)
    assert torch.equal(as_map(both, (8, 8)), both)
    assert torch.equal(as_map(both, (8, 8), channels_last=False), both.permute(0, 2, 3, 1))
    rounded = torch.rand(2, 7, 4, 5)  # 30×40 with strides of 8 in all
    assert torch.equal(as_map(rounded, (30, 40)), rounded.permute(0, 2, 3, 1))
    with pytest.raises(ValueError, match="no grid"):
        as_map(torch.rand(2, 10), (8, 8))

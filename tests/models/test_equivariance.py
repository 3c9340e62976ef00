"""What a layer has built in: does its result move when its input moves, or change places when tokens do?"""

import pytest
import torch
from torch import Tensor, nn

from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.token_mlp import TokenMLP
from tests.models.parity import proves, randomised


def error(one: Tensor, other: Tensor) -> float:
    return float(((one - other).norm() / other.norm()).detach())


def convolution(**options) -> nn.Module:
    return randomised(nn.Conv2d(3, 5, 3, padding=1, **options))


@proves(178)
@pytest.mark.parametrize(
    ("layer", "moves_along"),
    [
        (convolution(padding_mode="circular"), True),
        (convolution(), False),  # zeros beyond the edge tell where it is
        (nn.Sequential(convolution(padding_mode="circular"), nn.AvgPool2d(8)), True),  # nothing is left that could move
    ],
    ids=["circular", "zero padding", "pooled"],
)
def test_a_convolution_moves_with_its_input_if_nothing_tells_it_where_the_edge_is(layer, moves_along):
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    moved = error(layer(images.roll((1, 2), dims=(2, 3))), layer(images).roll((1, 2), dims=(2, 3)))
    assert (moved < 1e-5) is moves_along, moved


@proves(178)
def test_a_stride_of_two_moves_along_with_even_steps_only():
    layer = convolution(padding_mode="circular", stride=2)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert error(layer(images.roll(2, dims=3)), layer(images).roll(1, dims=3)) < 1e-5
    assert error(layer(images.roll(1, dims=3)), layer(images).roll(1, dims=3)) > 0.1


@proves(178, 180)
@pytest.mark.parametrize(
    ("mixer", "knows_the_order"),
    [(SelfAttention(12, num_heads=3), False), (TokenMLP(12, grid=(3, 3)), True)],
    ids=["attention", "token MLP"],
)
def test_attention_changes_places_with_its_tokens_and_a_token_mlp_does_not(mixer, knows_the_order):
    randomised(mixer)
    generator = torch.Generator().manual_seed(1)
    tokens, order = torch.randn(2, 9, 12, generator=generator), torch.randperm(9, generator=generator)
    changed = error(mixer(tokens[:, order]), mixer(tokens)[:, order])
    assert (changed > 0.1) is knows_the_order, changed
    assert changed > 0.1 or changed < 1e-5

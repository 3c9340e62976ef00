"""Likeness of positions: what holds for any table, a closed form for sines and cosines, and errors."""

import pytest
import torch
from torch import nn

from course.analysis import position_similarity
from course.models import create_model
from course.models.stems import sinusoidal_2d
from tests.models.parity import proves


@proves(174)
def test_it_is_the_cosine_of_each_pair():
    table = torch.randn(1 + 12, 8, generator=torch.Generator().manual_seed(0))  # a class token and 3×4 positions
    similarity = position_similarity(table, (3, 4))
    assert similarity.shape == (3, 4, 3, 4)
    for row, column, other_row, other_column in [(0, 0, 0, 1), (2, 3, 1, 0), (1, 2, 2, 2), (1, 1, 1, 1)]:
        a, b = table[1 + row * 4 + column], table[1 + other_row * 4 + other_column]
        expected = float(a @ b / a.norm() / b.norm())
        assert float(similarity[row, column, other_row, other_column]) == pytest.approx(expected, abs=1e-6)


def test_each_is_like_itself_both_ways_alike_and_length_says_nothing():
    table = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    similarity = position_similarity(table).flatten(2).flatten(0, 1)  # (16, 16)
    assert torch.allclose(similarity.diagonal(), torch.ones(16)) and similarity.abs().max() <= 1
    assert torch.allclose(similarity, similarity.T)
    longer = table * torch.linspace(0.1, 10, 16)[:, None]
    assert torch.allclose(position_similarity(longer).reshape(16, 16), similarity, atol=1e-6)
    turned = table @ torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1))).Q
    assert torch.allclose(position_similarity(turned).reshape(16, 16), similarity, atol=1e-5)


def test_sines_and_cosines_depend_on_the_displacement_only():
    """With frequencies f: the mean of all cos(f dy) and cos(f dx), which is 1 at the place itself only."""
    similarity = position_similarity(sinusoidal_2d((5, 7), 32), (5, 7))
    frequency = 10_000.0 ** (-torch.arange(0, 16, 2) / 16)  # (8,)
    for row, column in [(0, 0), (2, 3), (4, 1)]:
        dy, dx = torch.arange(5)[:, None, None] - row, torch.arange(7)[None, :, None] - column
        expected = ((frequency * dy).cos() + (frequency * dx).cos()).mean(dim=-1) / 2  # (5, 7)
        assert torch.allclose(similarity[row, column], expected, atol=1e-5)
        elsewhere = similarity[row, column].flatten().topk(2).values[1]
        assert elsewhere < 0.999
    assert torch.allclose(similarity[:-1, :-1, :-1, :-1], similarity[1:, 1:, 1:, 1:], atol=1e-5)


def test_a_model_brings_its_own_table_and_grid():
    torch.manual_seed(0)
    model = create_model("vit_cifar", img_size=(16, 32), depth=1)
    similarity = position_similarity(model)
    assert similarity.shape == (4, 8, 4, 8) and not similarity.requires_grad
    table = model.stages[0].entry.position
    assert torch.equal(similarity, position_similarity(table[None], (4, 8)))
    distilled = create_model("deit_s_distilled", img_size=32, depth=1, position_on_class=True)
    assert torch.equal(position_similarity(distilled), position_similarity(distilled.stages[0].entry.position[2:]))


@pytest.mark.parametrize(
    ("position", "grid", "says"),
    [
        (lambda: create_model("mixer_cifar", depth=1), None, "has no tables"),
        (lambda: nn.Linear(2, 2), None, "pass the table itself"),
        (lambda: torch.ones(20, 8), (4, 4), "20 positions are not 4×4"),
        (lambda: torch.ones(12, 8), (4, 4), "12 positions are not 4×4"),
        (lambda: torch.ones(12, 8), None, "12 tokens are no grid"),
        (lambda: torch.ones(4, 4, 8), None, "and not .4, 4, 8"),
    ],
)
def test_what_is_no_table_is_named(position, grid, says):
    with pytest.raises(ValueError, match=says):
        position_similarity(position(), grid)

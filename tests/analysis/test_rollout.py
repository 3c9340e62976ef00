"""Attention rollout: what holds for any attention, and what it must give where one can work it out."""

import pytest
import torch

from course.analysis import rollout, rollout_maps
from tests.models.parity import proves


def random_layers(depth=4, heads=3, tokens=10, batch=2):
    generator = torch.Generator().manual_seed(0)
    return [(3 * torch.randn(batch, heads, tokens, tokens, generator=generator)).softmax(-1) for _ in range(depth)]


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_rows_sum_to_one(heads):
    shares = rollout(random_layers(), heads)
    assert shares.shape == (2, 10, 10) and shares.min() >= 0
    assert torch.allclose(shares.sum(dim=-1), torch.ones(()), atol=1e-6)


def test_who_looks_at_himself_only_stays_himself():
    identity = torch.eye(10).expand(2, 3, 10, 10)
    assert torch.allclose(rollout([identity] * 5), torch.eye(10).expand(2, 10, 10))


@proves(170)
def test_it_is_the_papers_recursion_written_as_loops():
    layers = random_layers(depth=3, heads=2, tokens=4, batch=1)
    expected = [[float(i == j) for j in range(4)] for i in range(4)]
    for layer in layers:
        attention = [
            [0.5 * sum(float(layer[0, head, i, j]) for head in range(2)) / 2 + 0.5 * (i == j) for j in range(4)]
            for i in range(4)
        ]
        expected = [[sum(attention[i][k] * expected[k][j] for k in range(4)) for j in range(4)] for i in range(4)]
    assert torch.allclose(rollout(layers)[0], torch.tensor(expected), atol=1e-6)


def test_tokens_that_change_places_take_their_shares_with_them():
    layers = random_layers()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    permuted = [layer[..., order, :][..., order] for layer in layers]
    assert torch.allclose(rollout(permuted), rollout(layers)[:, order][..., order], atol=1e-6)


def test_the_order_of_layers_counts_and_the_first_one_meets_the_input():
    """Token 1 reads token 2, then token 0 reads token 1: a quarter of token 2 arrives, but not vice versa."""
    reads_2, reads_1 = torch.eye(5).repeat(1, 1, 1, 1), torch.eye(5).repeat(1, 1, 1, 1)
    reads_2[0, 0, 1] = torch.eye(5)[2]
    reads_1[0, 0, 0] = torch.eye(5)[1]
    assert rollout([reads_2, reads_1])[0, 0].tolist() == [0.5, 0.25, 0.25, 0, 0]
    assert rollout([reads_1, reads_2])[0, 0].tolist() == [0.5, 0.5, 0, 0, 0]
    assert rollout_maps([reads_2, reads_1])[0].tolist() == [[0.25, 0.25], [0, 0]]  # 1 + 2×2 tokens


def test_max_and_min_of_the_heads():
    one_looks_left = torch.eye(4).repeat(1, 2, 1, 1)
    one_looks_left[0, 0, 3] = torch.eye(4)[0]
    assert rollout([one_looks_left], "mean")[0, 3].tolist() == [0.25, 0, 0, 0.75]
    assert torch.allclose(rollout([one_looks_left], "max")[0, 3], torch.tensor([1 / 3, 0, 0, 2 / 3]))
    assert rollout([one_looks_left], "min")[0, 3].tolist() == [0, 0, 0, 1]


def test_maps_come_from_the_class_token_or_else_from_all():
    with_class = random_layers(tokens=1 + 12)
    maps = rollout_maps(with_class, image_size=(24, 32))
    assert maps.shape == (2, 3, 4)
    assert torch.equal(maps.flatten(1), rollout(with_class)[:, 0, 1:])
    distilled = random_layers(tokens=2 + 16)
    assert torch.equal(rollout_maps(distilled).flatten(1), rollout(distilled)[:, 0, 2:])
    without = random_layers(tokens=16)
    assert torch.allclose(rollout_maps(without).flatten(1), rollout(without).mean(dim=1))
    assert torch.allclose(rollout_maps(without).sum(dim=(1, 2)), torch.ones(2))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([torch.ones(2, 16, 3, 16, 16)], "layer 0 is .*all tokens see all tokens"),
        ([torch.ones(2, 1, 64, 4)], "layer 0 is"),
        ([torch.ones(2, 3, 5, 5), torch.ones(2, 3, 6, 6)], "layer 1 has 6 tokens and the one before 5"),
        ([], "no layer"),
    ],
)
def test_what_has_no_product_is_named(layers, says):
    with pytest.raises(ValueError, match=says):
        rollout(layers)


def test_an_unknown_way_over_the_heads_and_a_wrong_grid_are_named():
    with pytest.raises(ValueError, match="median"):
        rollout(random_layers(), "median")
    with pytest.raises(ValueError, match="8 tokens are no grid"):
        rollout_maps(random_layers(tokens=8))

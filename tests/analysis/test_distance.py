"""Attention distance: against loops, against closed forms, and for heads built to look a known way."""

import math

import pytest
import torch

from course.analysis import attention_weights, mean_attention_distance
from course.analysis.token_grid import token_grid
from course.models import create_model
from tests.models.parity import proves


def only(weights, image_size):
    (distances,) = mean_attention_distance([weights], image_size)
    return distances


def one_hot(targets, heads=1):
    """Attention (1, heads, N, N) in which token i sees token targets[i] only."""
    return torch.eye(len(targets))[targets].expand(1, heads, -1, -1)


@proves(173)
def test_it_is_what_loops_over_all_pairs_give():
    generator = torch.Generator().manual_seed(0)
    weights = (2 * torch.randn(2, 3, 13, 13, generator=generator)).softmax(dim=-1)  # a class token and 3×4 patches
    expected = torch.zeros(3)
    for head in range(3):
        for image in range(2):
            for query in range(12):
                weighted = total = 0.0
                for key in range(12):
                    rows, columns = query // 4 - key // 4, query % 4 - key % 4
                    weight = float(weights[image, head, 1 + query, 1 + key])
                    weighted += weight * 8 * math.sqrt(rows**2 + columns**2)
                    total += weight
                expected[head] += weighted / total / 24
    assert torch.allclose(only(weights, (24, 32)), expected, atol=1e-5)


def test_who_sees_himself_looks_nowhere_else():
    assert only(one_hot(torch.arange(17), heads=2), 32).tolist() == [0, 0]


@pytest.mark.parametrize("n", [2, 5, 16])
def test_seeing_all_alike_in_a_row_of_patches(n):
    """The mean of |i - j| over all pairs of n places is (n² - 1) / 3n."""
    alike = torch.full((1, 1, n, n), 1 / n)
    assert float(only(alike, (4, 4 * n))) == pytest.approx(4 * (n**2 - 1) / (3 * n))
    assert float(only(alike, (4 * n, 4))) == pytest.approx(4 * (n**2 - 1) / (3 * n))


def test_seeing_all_alike_on_a_fine_grid():
    """The mean distance of two random points of a square of side 1 is (2 + √2 + 5 asinh 1) / 15 = 0.5214."""
    alike = torch.full((1, 1, 1, 1), 1 / 1024).expand(1, 1, 1024, 1024)
    assert float(only(alike, 100)) == pytest.approx(100 * (2 + math.sqrt(2) + 5 * math.asinh(1)) / 15, rel=2e-3)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_head_that_looks_so_many_patches_to_the_right(step):
    """Those at the edge look at themselves: of 8 columns, 8 - step look `step` patches of 4 pixels away."""
    place = torch.arange(64)
    targets = torch.where(place % 8 < 8 - step, place + step, place)
    assert float(only(one_hot(targets), 32)) == pytest.approx(4 * step * (8 - step) / 8)
    down = torch.where(place // 8 < 8 - step, place + 8 * step, place)
    assert float(only(one_hot(down), 32)) == pytest.approx(4 * step * (8 - step) / 8)


def test_a_diagonal_step_is_as_long_as_pythagoras_says():
    place = torch.arange(16)
    inside = (place % 4 < 3) & (place // 4 < 3)
    assert float(only(one_hot(torch.where(inside, place + 5, place)), 16)) == pytest.approx(4 * math.sqrt(2) * 9 / 16)


@pytest.mark.parametrize("class_tokens", [1, 2])
def test_class_tokens_have_no_place(class_tokens):
    """What a patch gives them does not shorten its way, and what they look at does not count."""
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(2, 3, 16, 16, generator=generator).softmax(dim=-1)
    whole = torch.rand(2, 3, 16 + class_tokens, 16 + class_tokens, generator=generator)
    whole[..., class_tokens:, class_tokens:] = 0.3 * patches
    assert torch.allclose(only(whole, 32), only(patches, 32))


def test_it_is_the_same_in_another_order_of_heads_and_images_and_grows_with_the_image():
    weights = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)).softmax(dim=-1)
    assert torch.allclose(only(weights.flip(0).flip(1), 32), only(weights, 32).flip(0))
    assert torch.allclose(only(weights, 64), 2 * only(weights, 32))
    # Tokens that change places change their distances.
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    near = one_hot(torch.arange(16) ^ 1)  # each sees its neighbour
    assert float(only(near, 16)) == 4.0 and float(only(near[..., order, :][..., order], 16)) > 6


def test_fewer_keys_stand_in_the_middle_of_what_they_stand_for():
    """4×4 queries, 2×2 keys: whoever looks at his own quarter looks half a patch away along each axis."""
    place = torch.arange(16)
    own_quarter = torch.eye(4)[place // 8 * 2 + place % 4 // 2][None, None]  # (1, 1, 16, 4)
    assert float(only(own_quarter, 32)) == pytest.approx(8 * math.sqrt(0.5))


def test_in_a_window_distances_are_those_in_the_image():
    """Four windows of 4×4 patches of 4 pixels: as one image of 16 pixels each."""
    weights = torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(4)).softmax(dim=-1)
    assert torch.allclose(only(weights, 32), only(weights.flatten(0, 1), 16))
    assert only(torch.eye(16).expand(1, 4, 2, 16, 16), 32).tolist() == [0, 0]
    # A map of 4×8 patches is two windows beside each other.
    assert torch.allclose(only(weights[:, :2], (16, 32)), only(weights[:, :2].flatten(0, 1), 16))


def test_swin_sees_no_farther_than_a_window_and_deeper_windows_are_larger():
    torch.manual_seed(0)
    model = create_model("swin_cifar", dims=(24, 48), depths=(2, 2))
    first, _, third, _ = mean_attention_distance(attention_weights(model, torch.randn(2, 3, 32, 32)), 32)
    assert first.shape == (3,) and third.shape == (6,)
    alike = only(torch.full((1, 4, 1, 16, 16), 1 / 16), 16)  # windows of 8 pixels
    assert torch.allclose(first, alike.expand(3), rtol=0.05) and torch.allclose(third, 2 * alike.expand(6), rtol=0.05)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((2, 3, 7, 7), r"layer 0, \(2, 3, 7, 7\): 7 tokens are no grid"),
        ((2, 3, 1, 17), "only one token asks"),
        ((3, 17, 17), "weights are"),
    ],
)
def test_other_forms_are_named(shape, says):
    with pytest.raises(ValueError, match=says):
        mean_attention_distance([torch.ones(shape)], 32)


def test_the_grid_behind_the_class_tokens():
    for side in range(1, 30):
        for class_tokens in (0, 1, 2):
            assert token_grid(side * side + class_tokens) == (class_tokens, (side, side))
            assert token_grid(3 * side * 4 * side + class_tokens, (48, 64)) == (
                class_tokens,
                (3 * side, 4 * side),
            )
    with pytest.raises(ValueError, match="48×64"):
        token_grid(64, (48, 64))

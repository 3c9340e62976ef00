"""Swin against timm, torchvision and transformers."""

from itertools import product

import pytest
import torch
from torch import nn

from course.models.norms import LayerNorm
from course.models.spec import per_stage
from course.models.token_mixers.window import (
    WindowAttention,
    relative_position_index,
    shift_mask,
    window_partition,
    window_reverse,
)
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves, randomised

SMALL = dict.fromkeys(
    ["swin_t", "swin_s", "swin_b", "swin_b_384", "swin_l_384", "swin_cifar"],
    dict(
        img_size=32,
        patch_size=2,
        window_size=4,
        dims=(24, 48),
        depths=(2, 2),
        num_heads=per_stage(2, 4),
        num_classes=10,
    ),
)
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def timm_swin():
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(32, 2, window_size=4, embed_dim=24, depths=(2, 2), num_heads=(2, 4), num_classes=10)


def torchvision_swin():
    from torchvision.models import SwinTransformer

    return SwinTransformer([2, 2], 24, [2, 2], [2, 4], [4, 4], num_classes=10)


def transformers_swin():
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=32, patch_size=2, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=10
    )
    return SwinForImageClassification(config)


@proves(12, 13, 14, 15, 16, 17, 19)
@pytest.mark.parametrize(
    "source, make", [("timm", timm_swin), ("torchvision", torchvision_swin), ("transformers", transformers_swin)]
)
def test_agrees_with(source, make):
    ours, theirs = pair("swin_t", SMALL["swin_t"], make(), source)
    logits = (lambda x: theirs.to(x.dtype)(x).logits) if source == "transformers" else theirs
    assert_agrees(ours, logits, IMAGES)


def merging_row_by_row(model):
    entry = model.stages[1].entry
    swapped = [0, 2, 1, 3]
    entry.norm.weight.data = entry.norm.weight.view(4, 24)[swapped].flatten()
    entry.norm.bias.data = entry.norm.bias.view(4, 24)[swapped].flatten()
    entry.reduction.weight.data = entry.reduction.weight.view(48, 4, 24)[:, swapped].flatten(1)


def index_transposed(model):
    for attention in each(model, WindowAttention):
        attention.index = attention.index.T.contiguous()


def no_mask(model):
    for attention in each(model, WindowAttention):
        attention.mask = None


def no_shift(model):
    for attention in each(model, WindowAttention):
        attention.shift, attention.mask = 0, None


def shifted_the_other_way(model):
    for attention in each(model, WindowAttention):
        attention.shift = -attention.shift


def eps_of_vit(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-6


@pytest.mark.parametrize(
    "mistake", [merging_row_by_row, index_transposed, no_mask, no_shift, shifted_the_other_way, eps_of_vit]
)
def test_catches(mistake):
    assert_catches(mistake, *pair("swin_t", SMALL["swin_t"], timm_swin(), "timm"), IMAGES)


@proves(18)
def test_relative_position_index_is_timms_table():
    from timm.models.swin_transformer import WindowAttention as Theirs

    for size in (3, 7):
        theirs = Theirs(12, num_heads=3, window_size=size).relative_position_index
        assert torch.equal(relative_position_index(size), theirs)


def test_a_window_as_large_as_the_map_is_not_shifted():
    attention = WindowAttention(8, (4, 4), num_heads=2, window_size=4, shift="half")
    assert attention.shift == 0 and attention.mask is None and isinstance(attention, nn.Module)


def test_windows_of_a_map_that_is_no_square():
    x = torch.randn(2, 4, 6, 3, generator=torch.Generator().manual_seed(3))
    windows = window_partition(x, 2)
    assert windows.shape == (2, 6, 4, 3)
    for i, j, m, n in product(range(2), range(3), range(2), range(2)):
        assert torch.equal(windows[:, 3 * i + j, 2 * m + n], x[:, 2 * i + m, 2 * j + n])
    assert torch.equal(window_reverse(windows, 4, 6), x)


@pytest.mark.parametrize("grid, size, shift", [((6, 9), 3, 1), ((8, 4), 4, 2)])
def test_the_mask_lets_those_see_each_other_who_were_neighbours_before_the_shift(grid, size, shift):
    """Two tokens of a shifted window lie as far apart as in the image, unless the seam is between them."""
    mask = shift_mask(grid, size, shift)
    columns = grid[1] // size
    for w, a, b in product(range(mask.shape[0]), range(size**2), range(size**2)):
        down = w // columns * size + a // size, w // columns * size + b // size  # places of the two in the shifted map
        along = w % columns * size + a % size, w % columns * size + b % size
        seam = any(
            (of_a + shift) % length - (of_b + shift) % length != of_a - of_b
            for length, (of_a, of_b) in zip(grid, (down, along))
        )
        assert mask[w, a, b] == (-100 if seam else 0)


@pytest.mark.parametrize("grid", [(8, 6), (6, 8), (5, 7)])
@pytest.mark.parametrize("shift", [0, 2])
def test_windows_that_do_not_divide_the_map_are_filled_up_as_torchvisions_are(grid, shift):
    from torchvision.models.swin_transformer import ShiftedWindowAttention

    theirs = randomised(ShiftedWindowAttention(8, [4, 4], [shift, shift], 2))
    ours = WindowAttention(8, grid, num_heads=2, window_size=4, shift=shift).eval()
    names = {"relative_position_bias_table": "bias_table"}
    state = {names.get(name, name): tensor for name, tensor in theirs.state_dict().items()}
    ours.load_state_dict({name: tensor for name, tensor in state.items() if name != "relative_position_index"})
    maps = torch.randn(2, *grid, 8, generator=torch.Generator().manual_seed(4))
    assert_agrees(ours, theirs, maps)


def test_half_of_a_window_of_odd_size_is_rounded_down():
    assert WindowAttention(8, (14, 14), num_heads=2, window_size=7, shift="half").shift == 3


def test_the_biases_begin_near_nothing():
    """Truncated normal with a spread of 0.02, as Swin's code has it: at first all displacements count alike."""
    table = WindowAttention(64, (14, 14), num_heads=16, window_size=7).bias_table
    assert table.shape == (169, 16) and 0.018 < table.std() < 0.022 and table.mean().abs() < 0.002
    assert table.abs().max() < 0.2

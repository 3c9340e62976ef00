"""ConViT against timm."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.token_mixers.gated_positional import (
    GatedPositionalAttention,
    displacements,
    kernel_of_heads,
)
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = {
    "convit_s": dict(
        img_size=32, patch_size=8, embed_dim=48, depth=4, local_depth=2, num_heads=4, mlp_ratio=4, num_classes=10
    )
}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def timm_convit():
    from timm.models.convit import ConVit

    # Its embed_dim is the width of one head.
    return ConVit(img_size=32, patch_size=8, embed_dim=12, depth=4, num_heads=4, local_up_to_layer=2, num_classes=10)


def timm_pair():
    return pair("convit_s", SMALL["convit_s"], timm_convit(), "timm")


@proves(60)
def test_agrees_with_timm():
    assert_agrees(*timm_pair(), IMAGES)


@proves(60)
@pytest.mark.parametrize("num_heads", [4, 9, 16])
def test_starts_with_timms_kernel_values_and_gates(num_heads):
    from timm.models.convit import GPSA

    theirs = GPSA(144, num_heads=num_heads)
    theirs.local_init()
    ours = GatedPositionalAttention(144, (4, 4), num_heads=num_heads)
    assert torch.equal(ours.position.weight, theirs.pos_proj.weight)
    assert torch.equal(ours.v.weight, theirs.v.weight)
    assert torch.equal(ours.gate, theirs.gating_param)


def test_each_head_starts_at_a_place_of_its_own():
    """Of nine heads, head 3i + j looks at column i - 1 and row j - 1 as seen from the query."""
    scores = displacements((7, 7)) @ kernel_of_heads(9).T  # (N, N, 9)
    middle = 3 * 7 + 3
    for head in range(9):
        key = scores[middle, :, head].argmax().item()
        assert (key % 7 - 3, key // 7 - 3) == (head // 3 - 1, head % 3 - 1)


def test_works_on_an_oblong_grid():
    """Which timm's does not."""
    model = create_model("convit_s", **SMALL["convit_s"] | {"img_size": (16, 40)})
    assert model(torch.zeros(1, 3, 16, 40)).shape == (1, 10)


def test_heads_that_fill_no_kernel_are_refused():
    with pytest.raises(ValueError, match="6 heads fill no square kernel: 4 and 9 do"):
        create_model("convit_s", **SMALL["convit_s"] | {"num_heads": 6})


def gate_the_other_way(model):
    for attention in each(model, GatedPositionalAttention):
        attention.gate.data = -attention.gate.data


def gate_left_open(model):
    for attention in each(model, GatedPositionalAttention):
        attention.gate.data.fill_(-1e4)


def from_key_to_query(model):
    for attention in each(model, GatedPositionalAttention):
        attention.displacements = attention.displacements.transpose(0, 1).contiguous()


def x_and_y_exchanged(model):
    for attention in each(model, GatedPositionalAttention):
        attention.displacements = attention.displacements[:, :, [1, 0, 2]]


def distance_for_its_square(model):
    for attention in each(model, GatedPositionalAttention):
        dx, dy, squared = attention.displacements.unbind(dim=-1)
        attention.displacements = torch.stack([dx, dy, squared.sqrt()], dim=-1)


def no_positions_beside_the_gate(model):
    model.tokens.position.data.zero_()


def class_token_one_block_late(model):
    model.local_depth = 3


def values_with_a_bias(model):
    for attention in each(model, GatedPositionalAttention):
        attention.v.bias = nn.Parameter(torch.ones(48))


@pytest.mark.parametrize(
    "mistake",
    [
        gate_the_other_way,
        gate_left_open,
        from_key_to_query,
        x_and_y_exchanged,
        distance_for_its_square,
        no_positions_beside_the_gate,
        class_token_one_block_late,
        values_with_a_bias,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *timm_pair(), IMAGES)

"""LeViT against timm."""

import pytest
import torch
from torch import nn

from course.models import create_model, load_reference
from course.models.channel_mixers.linear_norm import LinearNormMLP
from course.models.spec import per_stage
from course.models.token_mixers.offset_bias import (
    OffsetBias,
    OffsetBiasAttention,
    ShrinkingAttention,
)
from course.models.token_mixers.relative_bias import displacements
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    difference,
    each,
    pair,
    proves,
    randomised,
)

SMALL = {
    "levit_256": dict(
        img_size=80, dims=(16, 24, 32), depths=(2, 1, 1), num_heads=per_stage(2, 3, 4), key_dim=8, num_classes=10
    )
}
IMAGES = torch.randn(2, 3, 80, 80, generator=torch.Generator().manual_seed(2))  # a grid of 5×5, then 3×3 and 2×2


def timm_levit(img_size=80):
    from timm.models.levit import LevitDistilled

    return LevitDistilled(
        img_size=img_size, embed_dim=(16, 24, 32), key_dim=8, depth=(2, 1, 1), num_heads=(2, 3, 4), num_classes=10
    )


def small_pair():
    """With the statistics of some images in the batch norms: with random ones the numbers grow from layer to layer,
    until attention looks at one key only and float32 gradients, theirs as well, have few digits left."""
    theirs = randomised(timm_levit())
    for norm in each(theirs, nn.BatchNorm2d) + each(theirs, nn.BatchNorm1d):
        norm.momentum = 1.0
    theirs.train()(torch.randn(8, 3, 80, 80, generator=torch.Generator().manual_seed(5)))
    ours = create_model("levit_256", **SMALL["levit_256"]).eval()
    load_reference(ours, theirs.eval().state_dict(), "timm")
    return ours, theirs


@proves(58)
def test_agrees_with_timm():
    assert_agrees(*small_pair(), IMAGES)


def test_agrees_with_timm_on_oblong_images():
    ours, theirs = pair("levit_256", SMALL["levit_256"] | dict(img_size=(64, 96)), timm_levit((64, 96)), "timm")
    assert_agrees(ours, theirs, torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3)))


def test_both_heads_agree_with_timms_pair():
    ours, theirs = small_pair()
    features = torch.randn(2, 4, 4, 32, generator=torch.Generator().manual_seed(4))
    ours, theirs = ours.double(), theirs.double()

    def their_pair(x):
        return theirs.head(x.mean((1, 2))), theirs.head_dist(x.mean((1, 2)))

    assert max(difference(ours.head.both, their_pair, features)) < 1e-9


def test_a_branch_is_nothing_at_first():
    model = create_model("levit_256", **SMALL["levit_256"]).eval()
    x = torch.randn(1, 5, 5, 16)
    assert torch.equal(model.stages[0](x), x)


def test_heads_of_a_width_that_does_not_divide_are_said():
    with pytest.raises(ValueError, match="heads of width 9 do not divide 16 channels: 9 or 18 channels fit"):
        create_model("levit_256", **SMALL["levit_256"] | dict(key_dim=9))


def bias_with_the_sign(model):
    for bias in each(model, OffsetBias):
        side = round(bias.table.shape[1] ** 0.5)
        dy, dx = displacements((side, side), stride=1 if len(bias.index) == side**2 else 2)
        bias.index = dy % side * side + dx % side


def offsets_swapped(model):
    for bias in each(model, OffsetBias):
        side = round(bias.table.shape[1] ** 0.5)
        bias.index = bias.index % side * side + bias.index // side


def scaled_as_if_values_were_as_narrow(model):  # by the width of a value
    for attention in each(model, OffsetBiasAttention):
        dims = attention.widths
        scale = torch.ones(attention.num_heads, sum(dims))
        scale[:, : dims[0]] = (dims[0] / dims[2]) ** 0.5
        attention.qkv.norm.weight.data *= scale.flatten()
        attention.qkv.norm.bias.data *= scale.flatten()


def no_activation_before_the_projection(model):
    for attention in each(model, OffsetBiasAttention):
        attention.act = nn.Identity()


def silu_for_hardswish(model):
    for mlp in each(model, LinearNormMLP):
        mlp.act = nn.SiLU()


def no_path_around_the_mlp_between_stages(model):
    for attention in each(model, ShrinkingAttention):
        attention.mlp = attention.mlp.branch


def one_head_only(model):
    model.head.norm_distilled, model.head.fc_distilled = model.head.norm, model.head.fc


@pytest.mark.parametrize(
    "mistake",
    [
        bias_with_the_sign,
        offsets_swapped,
        scaled_as_if_values_were_as_narrow,
        no_activation_before_the_projection,
        silu_for_hardswish,
        no_path_around_the_mlp_between_stages,
        one_head_only,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

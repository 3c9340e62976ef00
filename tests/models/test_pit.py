"""PiT against timm."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.downsampling import TokenPooling
from course.models.norms import LayerNorm
from course.models.spec import per_stage
from course.models.stems import Tokens
from course.models.token_mixers.attention import SelfAttention
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = {"pit_s": dict(img_size=56, dims=(16, 32, 64), depths=(1, 2, 1), num_heads=per_stage(1, 2, 4), num_classes=10)}
IMAGES = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(2))


def timm_pit(img_size=56):
    from timm.models.pit import PoolingVisionTransformer

    return PoolingVisionTransformer(img_size, base_dims=(16, 16, 16), depth=(1, 2, 1), heads=(1, 2, 4), num_classes=10)


def small_pair():
    return pair("pit_s", SMALL["pit_s"], timm_pit(), "timm")


@proves(65)
def test_agrees_with_timm():
    assert_agrees(*small_pair(), IMAGES)


def test_agrees_with_timm_on_oblong_images():
    """Maps of 7×10, 4×5 and 2×3: sides are odd and are rounded up."""
    ours, theirs = pair("pit_s", SMALL["pit_s"] | dict(img_size=(64, 88)), timm_pit((64, 88)), "timm")
    assert_agrees(ours, theirs, torch.randn(2, 3, 64, 88, generator=torch.Generator().manual_seed(3)))


def test_the_map_shrinks_and_the_class_token_goes_along():
    with torch.device("meta"):
        features = create_model("pit_s").features(torch.empty(1, 3, 224, 224))
    assert [tuple(x.shape[1:]) for x in features] == [(1 + 27**2, 144), (1 + 14**2, 288), (1 + 7**2, 576)]


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (dict(img_size=12), "pit_s: an image of 12×12 is smaller than a patch of 16 pixels"),
        (
            dict(dims=(16, 24, 64)),
            "pit_s: each of 16 channels makes as many new ones, so 24 cannot follow: a multiple can",
        ),
    ],
)
def test_what_does_not_fit_is_said(overrides, sentence):
    with pytest.raises(ValueError) as error:
        create_model("pit_s", **SMALL["pit_s"] | overrides)
    assert str(error.value) == sentence


def position_on_the_class_token(model):
    for tokens in each(model, Tokens):
        tokens.class_tokens.data += tokens.position[0]


def class_token_not_widened_by_a_layer_of_its_own(model):
    for pooling in each(model, TokenPooling):
        pooling.fc.weight.data = pooling.conv.weight[:, :, 1, 1].expand_as(pooling.fc.weight).clone()


def pooled_by_a_mean(model):
    for pooling in each(model, TokenPooling):
        pooling.conv.weight.data[:] = 1 / 9


def heads_of_one_width_alone(model):
    for attention in each(model, SelfAttention):
        attention.num_heads = 1


def last_norm_left_out(model):
    model.head.norm = nn.Identity()


def eps_of_torch(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-5


@pytest.mark.parametrize(
    "mistake",
    [
        position_on_the_class_token,
        class_token_not_widened_by_a_layer_of_its_own,
        pooled_by_a_mean,
        heads_of_one_width_alone,
        last_norm_left_out,
        eps_of_torch,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

"""CvT against transformers."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.norms import BatchNorm, LayerNorm
from course.models.spec import per_stage
from course.models.token_mixers.conv_projection import (
    ConvProjection,
    ConvProjectionAttention,
)
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = {"cvt_13": dict(img_size=32, dims=(16, 32, 48), depths=(1, 2, 3), num_heads=per_stage(1, 2, 3), num_classes=10)}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def transformers_cvt():
    from transformers import CvtConfig, CvtForImageClassification

    # transformers 5.23 needs depth[stage] > stage.
    return CvtForImageClassification(
        CvtConfig(embed_dim=[16, 32, 48], num_heads=[1, 2, 3], depth=[1, 2, 3], num_labels=10)
    )


def small_pair(**sizes):
    ours, theirs = pair("cvt_13", SMALL["cvt_13"] | sizes, transformers_cvt(), "transformers")
    return ours, lambda x: theirs.to(x.dtype)(x).logits


@proves(59)
def test_agrees_with_transformers():
    assert_agrees(*small_pair(), IMAGES)


def test_agrees_with_transformers_on_odd_and_oblong_images():
    assert_agrees(*small_pair(img_size=(36, 50)), torch.randn(2, 3, 36, 50, generator=torch.Generator().manual_seed(3)))


def test_class_token_is_in_the_last_stage_only():
    shapes = [tuple(f.shape) for f in create_model("cvt_13", **SMALL["cvt_13"]).features(IMAGES)]
    assert shapes == [(2, 8, 8, 16), (2, 4, 4, 32), (2, 1 + 4, 48)]


def test_heads_that_do_not_divide_are_said():
    with pytest.raises(ValueError, match="5 heads do not divide 48 channels: 3, 4, 6 do"):
        create_model("cvt_13", **SMALL["cvt_13"] | dict(num_heads=per_stage(1, 2, 5)))


def scaled_by_the_width_of_a_head(model):
    for attention in each(model, ConvProjectionAttention):
        attention.scale *= attention.num_heads**0.5


def batch_statistics(model):
    for norm in each(model, BatchNorm):
        norm.train()


def keys_as_fine_as_queries(model):
    for attention in each(model, ConvProjectionAttention):
        attention.k.depthwise.stride = attention.v.depthwise.stride = (1, 1)


def one_convolution_for_keys_and_values(model):
    for attention in each(model, ConvProjectionAttention):
        attention.v.depthwise, attention.v.norm = attention.k.depthwise, attention.k.norm


def no_norm_in_the_projection(model):
    for projection in each(model, ConvProjection):
        projection.norm = nn.Identity()


def class_token_at_the_end(model):
    model.head.register_forward_pre_hook(lambda head, inputs: inputs[0].flip(1))


def eps_of_vit(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-6


def padding_of_pvt_v2(model):
    model.stem.conv.padding = (3, 3)


@pytest.mark.parametrize(
    "mistake",
    [
        scaled_by_the_width_of_a_head,
        batch_statistics,
        keys_as_fine_as_queries,
        one_convolution_for_keys_and_values,
        no_norm_in_the_projection,
        class_token_at_the_end,
        eps_of_vit,
        padding_of_pvt_v2,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

"""EfficientFormer against timm."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.channel_mixers.batch_norm_mlp import BatchNormMLP
from course.models.norms import LayerNorm
from course.models.token_mixers.offset_bias import OffsetBias
from course.models.token_mixers.pooling import Pooling
from course.models.token_mixers.wide_values import WideValueAttention
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SIZES = dict(depths=(1, 1, 1, 4), num_vit=1, num_classes=10)
DIMS = (8, 8, 12, 16)
SMALL = {"efficientformer_l1": SIZES | {"dims": DIMS, "img_size": 64}}
# Two, for of one image PyTorch 2.14 computes the gradient of batch norm wrongly in timm's layout, and 224 pixels,
# because timm's biases are those of 7×7 positions.
IMAGES = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(2))


def both():
    from timm.models.efficientformer import EfficientFormer

    ours = SMALL["efficientformer_l1"] | {"img_size": 224}
    return pair("efficientformer_l1", ours, EfficientFormer(embed_dims=DIMS, **SIZES), "timm")


@proves(84)
def test_agrees_with_timm():
    assert_agrees(*both(), IMAGES)


def attention_of(model):
    return each(model, WideValueAttention)


def heads_side_by_side(model):
    for attention in attention_of(model):  # all queries, all keys, all values, as ViT has them
        weight, bias = attention.qkv.weight.data, attention.qkv.bias.data
        parts = [t.unflatten(0, (8, 192)).split([32, 32, 128], dim=1) for t in (weight, bias)]
        attention.qkv.weight.data, attention.qkv.bias.data = (torch.cat([p.flatten(0, 1) for p in ps]) for ps in parts)


def bias_by_row_for_column(model):
    for attention in attention_of(model):
        attention.bias.table.data = attention.bias.table.data.view(8, 7, 7).transpose(1, 2).reshape(8, 49)


def scaled_by_the_values_width(model):
    for attention in attention_of(model):
        attention.qkv.weight.data.view(8, 192, 16)[:, :32] *= 32**0.5 / 128**0.5


def no_batch_norm_behind_the_mlp(model):
    for mlp in each(model, BatchNormMLP):
        mlp.norm2 = nn.Identity()


def pooling_counts_the_border(model):
    def wrong(pool, inputs, output):
        x = inputs[0]
        return nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), 3, stride=1, padding=1).permute(0, 2, 3, 1) - x

    for pool in each(model, Pooling):
        pool.register_forward_hook(wrong)


def first_head_alone(model):
    model.head.register_forward_hook(lambda head, inputs, output: head.both(inputs[0])[0])


@pytest.mark.parametrize(
    "mistake",
    [
        heads_side_by_side,
        bias_by_row_for_column,
        scaled_by_the_values_width,
        no_batch_norm_behind_the_mlp,
        pooling_counts_the_border,
        first_head_alone,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *both(), IMAGES)


def test_norms_have_timms_eps():
    ours, theirs = both()
    assert {norm.eps for norm in each(ours, LayerNorm)} == {norm.eps for norm in each(theirs, nn.LayerNorm)}


def test_bias_index_tells_distances():
    index = OffsetBias(1, (3, 4)).index
    for i in range(12):
        for j in range(12):
            assert index[i, j] == abs(i // 4 - j // 4) * 4 + abs(i % 4 - j % 4)


def test_other_image_sizes():
    small = SMALL["efficientformer_l1"] | {"img_size": (40, 72)}
    assert create_model("efficientformer_l1", **small).eval()(torch.zeros(1, 3, 40, 72)).shape == (1, 10)


def test_says_what_fits():
    with pytest.raises(ValueError, match="num_vit is at most 4"):
        create_model("efficientformer_l1", num_vit=5)

"""Visformer against timm."""

import pytest
import torch
from torch import nn

from course.models import create_model, load_reference
from course.models.channel_mixers.conv_mlp import GroupConvMLP
from course.models.norms import BatchNorm
from course.models.token_mixers.attention import SelfAttention
from tests.models.parity import assert_agrees, assert_catches, each, proves, randomised

SMALL = {"visformer_s": dict(img_size=64, dims=(16, 32, 64), depths=(2, 1, 1), num_heads=4, stem_dim=8, num_classes=10)}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def timm_visformer():
    from timm.models.visformer import Visformer

    return Visformer(
        img_size=64,
        init_channels=8,
        embed_dim=32,
        depth=(2, 1, 1),
        num_heads=4,
        mlp_ratio=4.0,
        group=8,
        attn_stage="011",
        spatial_conv="100",
        norm_layer=nn.BatchNorm2d,
        embed_norm=nn.BatchNorm2d,
        num_classes=10,
    )


def small_pair():
    """With the statistics of some images in the batch norms: with random ones the numbers grow from layer to layer,
    until attention looks at one key only and float32 gradients, theirs as well, have few digits left."""
    theirs = randomised(timm_visformer())
    for norm in each(theirs, nn.BatchNorm2d):
        norm.momentum = 1.0
    theirs.train()(torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(5)))
    ours = create_model("visformer_s", **SMALL["visformer_s"]).eval()
    load_reference(ours, theirs.eval().state_dict(), "timm")
    return ours, theirs


@proves(55)
def test_agrees_with_timm():
    assert_agrees(*small_pair(), IMAGES)


def test_nothing_in_the_blocks_has_a_bias_but_the_norms():
    model = create_model("visformer_s", **SMALL["visformer_s"])
    layers = [m for block in model.stages for m in block.blocks.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert layers and all(layer.bias is None for layer in layers)


def one_group(model):
    for mlp in each(model, GroupConvMLP):
        full = torch.zeros(32, 32, 3, 3)
        full[:, :4] = mlp.conv.weight.data  # every group reads the first group's channels
        mlp.conv.weight.data, mlp.conv.groups = full, 1


def no_second_activation(model):
    for mlp in each(model, GroupConvMLP):
        mlp.fc1, mlp.act = nn.Sequential(mlp.fc1, nn.GELU()), nn.Identity()


def positions_column_by_column(model):
    position = model.stem.tokens.position
    position.data = position.data.view(8, 8, 16).transpose(0, 1).reshape(64, 16)


def qkv_laid_out_head_by_head(model):
    for attention in each(model, SelfAttention):
        dim = attention.qkv.in_features
        attention.qkv.weight.data = attention.qkv.weight.view(3, 4, dim // 4, dim).transpose(0, 1).reshape(3 * dim, dim)


def batch_statistics(model):
    for norm in each(model, BatchNorm):
        norm.train()


@pytest.mark.parametrize(
    "mistake",
    [one_group, no_second_activation, positions_column_by_column, qkv_laid_out_head_by_head, batch_statistics],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

"""ViT against timm, torchvision and transformers."""

import pytest
import torch
from torch import nn

from course.models import create_model, load_reference
from course.models.channel_mixers.mlp import MLP
from course.models.norms import LayerNorm
from course.models.token_mixers.attention import SelfAttention
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    each,
    pair,
    proves,
    randomised,
)

SMALL = dict.fromkeys(
    [
        "vit_s16",
        "vit_b16",
        "vit_b32",
        "vit_l16",
        "vit_l32",
        "vit_h14",
        "vit_g14",
        "vit_b16_384",
        "vit_l16_384",
        "vit_cifar",
    ],
    dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, mlp_ratio=4, num_classes=10),
)
SIZES = dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=10)
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def timm_vit(**sizes):
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(**SIZES | sizes)


def torchvision_vit():
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 8, 2, 4, 48, 192, num_classes=10)


def transformers_vit():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        image_size=32,
        patch_size=8,
        layer_norm_eps=1e-6,
        num_labels=10,
    )
    return ViTForImageClassification(config)


@proves(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 201)
@pytest.mark.parametrize(
    "source, make", [("timm", timm_vit), ("torchvision", torchvision_vit), ("transformers", transformers_vit)]
)
def test_agrees_with(source, make):
    ours, theirs = pair("vit_b16", SMALL["vit_b16"], make(), source)
    logits = (lambda x: theirs.to(x.dtype)(x).logits) if source == "transformers" else theirs
    assert_agrees(ours, logits, IMAGES)


def eps_of_the_other_framework(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-5


def gelu_by_tanh(model):
    for mlp in each(model, MLP):
        mlp.act = nn.GELU(approximate="tanh")


def qkv_laid_out_head_by_head(model):
    for attention in each(model, SelfAttention):
        attention.qkv.weight.data = attention.qkv.weight.view(3, 4, 12, 48).transpose(0, 1).reshape(144, 48)


def scaled_by_the_whole_width(model):
    for attention in each(model, SelfAttention):  # 1/√D for 1/√d: the decks' listing
        attention.qkv.weight.data[:48] *= 12**0.5 / 48**0.5
        attention.qkv.bias.data[:48] *= 12**0.5 / 48**0.5


def positions_behind_the_blocks(model):
    model.stages[0].entry.position.data.zero_()


def class_token_at_the_end(model):
    model.head.register_forward_pre_hook(lambda head, inputs: inputs[0].flip(1))


@pytest.mark.parametrize(
    "mistake",
    [
        eps_of_the_other_framework,
        gelu_by_tanh,
        qkv_laid_out_head_by_head,
        scaled_by_the_whole_width,
        positions_behind_the_blocks,
        class_token_at_the_end,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *pair("vit_b16", SMALL["vit_b16"], timm_vit(), "timm"), IMAGES)


@proves(164)
def test_positions_are_resized_as_timm_does():
    from timm.layers import resample_abs_pos_embed

    theirs = randomised(timm_vit())
    ours = create_model("vit_b16", **SMALL["vit_b16"] | {"img_size": (40, 56)})
    load_reference(ours, theirs.state_dict())
    expected = resample_abs_pos_embed(theirs.pos_embed.detach(), (5, 7), num_prefix_tokens=1)[0]
    torch.testing.assert_close(ours.stages[0].entry.position, expected, rtol=1e-6, atol=1e-7)

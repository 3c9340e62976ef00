"""MLP-Mixer against timm."""

import pytest
import torch
from torch import nn

from course.models.token_mixers.token_mlp import TokenMLP
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = dict.fromkeys(
    ["mixer_s16", "mixer_b16", "mixer_l16", "mixer_cifar"],
    dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_classes=10),
)
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def timm_mixer():
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(img_size=32, patch_size=8, num_blocks=2, embed_dim=48, num_classes=10)


@proves(20, 21, 22)
def test_agrees_with_timm():
    assert_agrees(*pair("mixer_b16", SMALL["mixer_b16"], timm_mixer(), "timm"), IMAGES)


def gelu_by_tanh(model):
    for mixer in each(model, TokenMLP):
        mixer.act = nn.GELU(approximate="tanh")


def tokens_in_another_order(model):
    for mixer in each(model, TokenMLP):
        mixer.fc1.weight.data = mixer.fc1.weight.view(24, 4, 4).transpose(1, 2).reshape(24, 16)


def head_without_norm(model):
    model.head.norm = nn.Identity()


@pytest.mark.parametrize("mistake", [gelu_by_tanh, tokens_in_another_order, head_without_norm])
def test_catches(mistake):
    assert_catches(mistake, *pair("mixer_b16", SMALL["mixer_b16"], timm_mixer(), "timm"), IMAGES)

"""ResMLP against timm."""

from functools import partial

import pytest
import torch
from torch import nn

from course.models.backbone import Residual
from course.models.channel_mixers.mlp import MLP
from course.models.norms import Affine
from course.models.token_mixers.token_linear import TokenLinear
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = dict.fromkeys(
    ["resmlp_s12", "resmlp_s24"], dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_classes=10)
)
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def timm_resmlp():
    from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock

    return MlpMixer(
        img_size=32,
        patch_size=8,
        num_blocks=2,
        embed_dim=48,
        num_classes=10,
        mlp_ratio=4,
        block_layer=partial(ResBlock, init_values=1e-4),
        norm_layer=Affine,
    )


@proves(68, 69)
@pytest.mark.parametrize("name", SMALL)
def test_agrees_with_timm(name):
    assert_agrees(*pair(name, SMALL[name], timm_resmlp(), "timm"), IMAGES)


def tokens_in_another_order(model):
    for mixer in each(model, TokenLinear):
        mixer.proj.weight.data = mixer.proj.weight.view(16, 4, 4).transpose(1, 2).reshape(16, 16)


def no_layer_scale(model):
    for residual in each(model, Residual):
        residual.scale = None


def statistics_before_the_scale(model):
    for affine in each(model, Affine):
        affine.register_forward_pre_hook(
            lambda module, inputs: nn.functional.layer_norm(inputs[0], inputs[0].shape[-1:])
        )


def gelu_by_tanh(model):
    for mlp in each(model, MLP):
        mlp.act = nn.GELU(approximate="tanh")


def head_without_affine(model):
    model.head.norm = nn.Identity()


@pytest.mark.parametrize(
    "mistake", [tokens_in_another_order, no_layer_scale, statistics_before_the_scale, gelu_by_tanh, head_without_affine]
)
def test_catches(mistake):
    assert_catches(mistake, *pair("resmlp_s12", SMALL["resmlp_s12"], timm_resmlp(), "timm"), IMAGES)

"""gMLP against timm."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.token_mixers.spatial_gating import SpatialGating, SpatialGatingUnit
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = dict.fromkeys(["gmlp_s", "gmlp_b"], dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_classes=10))
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def timm_gmlp():
    from timm.layers import GatedMlp
    from timm.models.mlp_mixer import MlpMixer, SpatialGatingBlock

    return MlpMixer(
        img_size=32,
        patch_size=8,
        num_blocks=2,
        embed_dim=24,
        num_classes=10,
        mlp_ratio=6,
        block_layer=SpatialGatingBlock,
        mlp_layer=GatedMlp,
    )


@proves(70, 71)
@pytest.mark.parametrize("name", SMALL)
def test_agrees_with_timm(name):
    assert_agrees(*pair(name, SMALL[name], timm_gmlp(), "timm"), IMAGES)


def gated_by_the_first_half(model):
    for mixer in each(model, SpatialGating):
        mixer.fc1.weight.data = mixer.fc1.weight.roll(72, 0)
        mixer.fc1.bias.data = mixer.fc1.bias.roll(72, 0)


def gate_without_bias(model):
    for unit in each(model, SpatialGatingUnit):
        unit.proj.bias.data.zero_()


def gate_without_norm(model):
    for unit in each(model, SpatialGatingUnit):
        unit.norm = nn.Identity()


def eps_of_the_block_in_the_gate(model):
    for unit in each(model, SpatialGatingUnit):
        unit.norm.eps = 1e-6


def gelu_behind_the_gate(model):
    for mixer in each(model, SpatialGating):
        mixer.act, mixer.gate = nn.Identity(), nn.Sequential(mixer.gate, nn.GELU())


@pytest.mark.parametrize(
    "mistake",
    [gated_by_the_first_half, gate_without_bias, gate_without_norm, eps_of_the_block_in_the_gate, gelu_behind_the_gate],
)
def test_catches(mistake):
    assert_catches(mistake, *pair("gmlp_s", SMALL["gmlp_s"], timm_gmlp(), "timm"), IMAGES)


def test_a_fresh_gate_is_open():
    unit = SpatialGatingUnit(8, 16)
    z = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(unit(z), z[..., :8], rtol=1e-4, atol=1e-4)


def test_a_hidden_layer_that_cannot_be_halved_is_one_sentence():
    with pytest.raises(ValueError, match="cannot be halved"):
        create_model("gmlp_s", **SMALL["gmlp_s"] | {"embed_dim": 5, "mlp_ratio": 3})

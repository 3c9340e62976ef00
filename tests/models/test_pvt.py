"""PVT against transformers."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.channel_mixers.mlp import MLP
from course.models.norms import LayerNorm
from course.models.spec import per_stage
from course.models.token_mixers.spatial_reduction import SpatialReductionAttention
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = dict.fromkeys(
    ["pvt_s", "pvt_l"],
    dict(img_size=64, dims=(16, 24, 32, 48), depths=(1, 1, 1, 2), num_heads=per_stage(1, 2, 4, 8), num_classes=10),
)
# transformers has this eps in every norm; the authors' code, and ours, has 1e-5 in two kinds of them.
THEIR_EPS = SMALL["pvt_s"] | dict(eps=1e-6)
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def transformers_pvt():
    from transformers import PvtConfig, PvtForImageClassification

    config = PvtConfig(
        image_size=64,
        depths=[1, 1, 1, 2],
        hidden_sizes=[16, 24, 32, 48],
        num_attention_heads=[1, 2, 4, 8],
        num_labels=10,
    )
    return PvtForImageClassification(config)


def small_pair():
    ours, theirs = pair("pvt_s", THEIR_EPS, transformers_pvt(), "transformers")
    return ours, lambda x: theirs.to(x.dtype)(x).logits


@proves(62, 63)
def test_agrees_with_transformers():
    assert_agrees(*small_pair(), IMAGES)


def test_eps_is_larger_behind_patches_and_reductions_than_in_the_blocks():
    model = create_model("pvt_s", **SMALL["pvt_s"])
    norms = {name: m.eps for name, m in model.named_modules() if isinstance(m, LayerNorm)}
    behind = {name for name in norms if name.startswith("stem") or "entry" in name or "branch" in name}
    assert len(behind) == 4 + 3 and len(norms) == 7 + 2 * 5 + 1
    assert all(eps == (1e-5 if name in behind else 1e-6) for name, eps in norms.items())


def test_class_token_is_in_the_last_stage_only():
    shapes = [tuple(f.shape) for f in create_model("pvt_s", **SMALL["pvt_s"]).features(IMAGES)]
    assert shapes == [(2, 16, 16, 16), (2, 8, 8, 24), (2, 4, 4, 32), (2, 1 + 4, 48)]


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (dict(img_size=60), "pvt_s: a map of 15×15 is not divided by patches of 8×8: img_size=64 fits"),
        (dict(img_size=66), "image of 66×66 is not divided by patches of 4×4: img_size=64 fits"),
        (dict(num_heads=per_stage(1, 2, 4, 7)), "pvt_s: 7 heads do not divide 48 channels: 4, 6, 8 do"),
    ],
)
def test_what_does_not_fit_is_said(overrides, sentence):
    with pytest.raises(ValueError) as error:
        create_model("pvt_s", **SMALL["pvt_s"] | overrides)
    assert str(error.value).endswith(sentence)


def keys_and_values_swapped(model):
    for attention in each(model, SpatialReductionAttention):
        attention.kv.weight.data = torch.cat(attention.kv.weight.chunk(2)[::-1])
        attention.kv.bias.data = torch.cat(attention.kv.bias.chunk(2)[::-1])


def no_norm_behind_the_reduction(model):
    for attention in each(model, SpatialReductionAttention):
        attention.norm = nn.Identity()


def queries_of_the_reduced_width(model):  # 1/√D for 1/√d
    for attention in each(model, SpatialReductionAttention):
        attention.q.weight.data /= attention.num_heads**0.5
        attention.q.bias.data /= attention.num_heads**0.5


def reduction_transposed(model):
    for attention in each(model, SpatialReductionAttention):
        if not isinstance(attention.reduction, nn.Identity):
            attention.reduction.weight.data = attention.reduction.weight.data.transpose(2, 3).contiguous()


def no_position_for_the_class_token(model):
    model.stages[3].entry.tokens.position.data[0] = 0


def positions_before_the_norm(model):
    for entry in (model.stem, model.stages[1].entry, model.stages[2].entry):
        position = entry.tokens.position.detach().clone().unflatten(0, entry.grid)
        entry.proj.register_forward_hook(lambda conv, inputs, y, position=position: y + position.to(y.dtype))
        entry.tokens.position.data.zero_()


def eps_of_swin(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-5


def gelu_by_tanh(model):
    for mlp in each(model, MLP):
        mlp.act = nn.GELU(approximate="tanh")


@pytest.mark.parametrize(
    "mistake",
    [
        keys_and_values_swapped,
        no_norm_behind_the_reduction,
        queries_of_the_reduced_width,
        reduction_transposed,
        no_position_for_the_class_token,
        positions_before_the_norm,
        eps_of_swin,
        gelu_by_tanh,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

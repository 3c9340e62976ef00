"""CaiT and its three ideas (LayerScale, talking heads, class attention) against timm."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.backbone import Residual
from course.models.count import count_macs, count_parameters
from course.models.norms import LayerNorm
from course.models.registry import entry
from course.models.spec import Isotropic, part
from course.models.token_mixers.class_attention import ClassAttention
from course.models.token_mixers.talking_heads import TalkingHeadsAttention
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    each,
    pair,
    proves,
    randomised,
)

SMALL = dict.fromkeys(
    ["cait_s24", "cait_s36", "cait_m48"],
    dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=10),
)
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
TOKENS = torch.randn(2, 10, 48, generator=torch.Generator().manual_seed(3))


def timm_cait():
    from timm.models.cait import Cait

    return Cait(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=10, init_values=1e-5)


@proves(94, 95, 96, 97)
@pytest.mark.parametrize("name", SMALL)
def test_agrees_with_timm(name):
    assert_agrees(*pair(name, SMALL[name], timm_cait(), "timm"), IMAGES)


@proves(99)
def test_layer_scale_is_timms():
    from timm.layers import LayerScale

    branch = nn.Linear(48, 48)
    ours = randomised(Residual(branch, dim=48, layer_scale=1e-5))
    theirs = LayerScale(48, init_values=1e-5)
    assert torch.equal(Residual(branch, dim=48, layer_scale=1e-5).scale, theirs.gamma)
    theirs.gamma.data.copy_(ours.scale.data)
    assert_agrees(ours, lambda x: x + theirs.to(x.dtype)(branch.to(x.dtype)(x)), TOKENS)


@proves(99)
@pytest.mark.parametrize("name, first", [("cait_s24", 1e-5), ("cait_s36", 1e-6), ("cait_m48", 1e-6)])
def test_deeper_networks_start_with_a_smaller_layer_scale(name, first):
    scales = [m.scale for m in each(create_model(name, **SMALL[name]), Residual)]
    assert len(scales) == 8 and all(torch.equal(scale, torch.full((48,), first)) for scale in scales)


@proves(100)
def test_class_attention_is_timms():
    from timm.models.cait import ClassAttn

    theirs = randomised(ClassAttn(48, num_heads=4, qkv_bias=True))
    ours = ClassAttention(48, num_heads=4)
    weights = theirs.state_dict()
    for leaf in ("weight", "bias"):
        weights[f"kv.{leaf}"] = torch.cat([weights.pop(f"k.{leaf}"), weights.pop(f"v.{leaf}")])
    ours.load_state_dict(weights)
    assert not ours(TOKENS)[:, 1:].any(), "the patches do not change"
    assert_agrees(lambda x: ours.to(x.dtype)(x)[:, :1], theirs, TOKENS)


@proves(101)
def test_talking_heads_are_timms():
    from timm.models.cait import TalkingHeadAttn

    theirs = randomised(TalkingHeadAttn(48, num_heads=4, qkv_bias=True))
    ours = TalkingHeadsAttention(48, num_heads=4)
    for mine, other in [("qkv", "qkv"), ("talk_before", "proj_l"), ("talk_after", "proj_w"), ("proj", "proj")]:
        ours.get_submodule(mine).load_state_dict(theirs.get_submodule(other).state_dict())
    assert_agrees(ours, theirs, TOKENS)


DEIT, CAIT = entry("deit_s").spec, entry("cait_s36").spec
assert isinstance(DEIT, Isotropic) and isinstance(CAIT, Isotropic)
TALKING = replace(DEIT, token_mixer=part(TalkingHeadsAttention, num_heads=8))
# The rows of the paper's ablation table that change the network: spec, millions of parameters, billions of multiply-adds
STEPS = {
    "DeiT-S": (DEIT, 22, 4.6),
    "more heads": (DEIT.but(num_heads=8), 22, 4.6),
    "talking heads": (TALKING, 22, 4.6),
    "depth": (TALKING.but(depth=36), 64, 13.8),
    "LayerScale": (TALKING.but(depth=36, layer_scale=1e-6), 64, 13.8),
    "CaiT": (CAIT, 68, 13.9),
    "256 pixels": (CAIT.but(img_size=256), 68, 18.6),
    "384 pixels": (CAIT.but(img_size=384), 68, 48.0),
}


@proves(98, 203)
@pytest.mark.parametrize("row", STEPS)
def test_each_row_of_the_ablation_table_has_the_printed_size(row):
    spec, millions, billions = STEPS[row]
    with torch.device("meta"):
        model = spec.build()
    assert int(count_parameters(model) / 1e6) == millions
    assert count_macs(model, 1, 3, spec.img_size, spec.img_size) / 1e9 == pytest.approx(billions, abs=0.1)


def heads_talk_the_wrong_way(model):
    for attention in each(model, TalkingHeadsAttention):
        attention.talk_before.weight.data = attention.talk_before.weight.data.transpose(0, 1)


def before_and_after_exchanged(model):
    for attention in each(model, TalkingHeadsAttention):
        attention.talk_before, attention.talk_after = attention.talk_after, attention.talk_before


def silent_after_softmax(model):
    for attention in each(model, TalkingHeadsAttention):
        attention.talk_after = nn.Identity()


def class_token_does_not_see_itself(model):
    for attention in each(model, ClassAttention):
        attention.kv.register_forward_hook(lambda kv, inputs, output: output[:, 1:])


def mlp_changes_the_patches_too(model):
    for block in model.head.blocks:
        block.channel_mixer.branch = block.channel_mixer.branch.branch


def layer_scale_left_out_of_the_head(model):
    for residual in each(model.head, Residual):
        residual.scale = None


def eps_of_the_framework(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-5


@pytest.mark.parametrize(
    "mistake",
    [
        heads_talk_the_wrong_way,
        before_and_after_exchanged,
        silent_after_softmax,
        class_token_does_not_see_itself,
        mlp_changes_the_patches_too,
        layer_scale_left_out_of_the_head,
        eps_of_the_framework,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *pair("cait_s24", SMALL["cait_s24"], timm_cait(), "timm"), IMAGES)

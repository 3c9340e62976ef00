"""ConvFormer and CAFormer against timm."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.channel_mixers.star_relu import StarReLU
from course.models.downsampling import ConvDownsampling
from course.models.families.metaformer import ScaleNorm
from course.models.spec import per_stage
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.sep_conv import SepConv
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SIZES = dict(dims=(8, 16, 32, 64), depths=(1, 1, 2, 1), num_classes=10)
SMALL = {
    "convformer_s18": SIZES | {"img_size": 64},
    "caformer_s18": SIZES | {"img_size": 64, "num_heads": per_stage(1, 1, 1, 2)},
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def timm_metaformer(name):
    from timm.models.metaformer import (
        Attention,
        LayerNorm2dNoBias,
        LayerNormNoBias,
        MetaFormer,
        SepConv,
    )

    if name == "convformer_s18":
        return MetaFormer(token_mixers=SepConv, norm_layers=LayerNorm2dNoBias, **SIZES)
    mixers = [SepConv, SepConv, Attention, Attention]
    return MetaFormer(token_mixers=mixers, norm_layers=[LayerNorm2dNoBias] * 2 + [LayerNormNoBias] * 2, **SIZES)


def both(name):
    return pair(name, SMALL[name], timm_metaformer(name), "timm")


@proves(28)
@pytest.mark.parametrize("name", SMALL)
def test_agrees_with_timm(name):
    assert_agrees(*both(name), IMAGES)


def relu_not_squared(model):
    for act in each(model, StarReLU):
        act.register_forward_hook(lambda act, inputs, output: act.scale * inputs[0].relu() + act.bias)


def activation_not_learned(model):
    for act in each(model, StarReLU):
        act.scale.data.fill_(0.8944)
        act.bias.data.fill_(-0.4472)


def scale_on_the_branch_for_the_path_around(model):
    for stage in model.stages[2:]:
        for block in stage.blocks:
            block.token_mixer.scale, block.token_mixer.skip_scale = block.token_mixer.skip_scale, None


def activation_behind_the_convolution(model):
    for mixer in each(model, SepConv):
        mixer.register_forward_hook(lambda m, inputs, output: m.pwconv2(m.act(m.dwconv(m.pwconv1(inputs[0])))))


def maps_made_smaller_without_norm(model):
    for entry in each(model, ConvDownsampling):
        entry.norm = nn.Identity()


def eps_of_torch(model):
    for norm in each(model, ScaleNorm):
        norm.eps = 1e-5


def averaged_after_the_norm(model):
    def wrong(head, inputs, output):
        x = head.norm(inputs[0]).mean(dim=(1, 2))
        return head.fc2(head.hidden_norm(head.fc1(x).relu().square()))

    model.head.register_forward_hook(wrong)


def heads_of_another_width(model):
    for attention in each(model, SelfAttention):
        attention.num_heads *= 2


@pytest.mark.parametrize(
    "mistake",
    [
        relu_not_squared,
        activation_not_learned,
        scale_on_the_branch_for_the_path_around,
        activation_behind_the_convolution,
        maps_made_smaller_without_norm,
        eps_of_torch,
        averaged_after_the_norm,
        heads_of_another_width,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *both("caformer_s18"), IMAGES)


def test_the_two_differ_in_their_token_mixer_alone():
    from dataclasses import replace

    from course.models.registry import entry

    convformer, caformer = entry("convformer_s18").spec, entry("caformer_s18").spec
    assert convformer != caformer == replace(convformer, token_mixer=caformer.token_mixer)


def test_no_biases_but_those_of_head_and_convolutions_between_stages():
    with torch.device("meta"):
        model = create_model("caformer_s18")
    owners = {
        type(model.get_submodule(n.rpartition(".")[0])).__name__
        for n, _ in model.named_parameters()
        if n.endswith("bias")
    }
    blocks = [n for n, _ in model.stages.named_parameters() if n.endswith("bias") and "blocks" in n]
    assert owners == {"Conv", "StarReLU", "LayerNorm", "Linear"} and all(".act." in n for n in blocks)


def test_features_without_classes():
    model = create_model("caformer_s18", **SMALL["caformer_s18"] | {"num_classes": 0}).eval()
    assert model(IMAGES).shape == (2, 64)

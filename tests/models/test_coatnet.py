"""CoAtNet against timm."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.channel_mixers.mbconv import HalfMean, MBConv
from course.models.count import count_macs, count_parameters
from course.models.families.coatnet import WideningResidual
from course.models.norms import BatchNorm
from course.models.token_mixers.relative_bias import RelativeBiasAttention
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = {
    "coatnet_0": dict(img_size=64, dims=(16, 24, 32, 64), depths=(1, 2, 2, 1), stem_dim=8, num_classes=10),
    "coatnet_7": dict(
        img_size=64, dims=(8, 16, 24, 32, 64), depths=(1, 1, 2, 2, 1), stem_dim=4, head_dim=16, num_classes=10
    ),
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def timm_coatnet(img_size=64):
    from timm.models.maxxvit import MaxxVit, MaxxVitCfg

    config = MaxxVitCfg(embed_dim=(16, 24, 32, 64), depths=(1, 2, 2, 1), stem_width=8, head_hidden_size=64)
    return MaxxVit(config, img_size=img_size, num_classes=10)


def small_pair():
    return pair("coatnet_0", SMALL["coatnet_0"], timm_coatnet(), "timm")


@proves(56)
def test_agrees_with_timm():
    assert_agrees(*small_pair(), IMAGES)


def timm_coatnet_7(dims, depths, stem_width, dim_head, img_size, num_classes):
    """timm's parts with CoAtNet-7's third stage, which timm's largest networks have not: five stages for four halvings.

    The paper's step for it is that of section A.1 without the pooling, x <- Proj(x) + Attention(Norm(x)).
    """

    from timm.layers import RelPosBias
    from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitTransformerCfg

    config = MaxxVitCfg(
        embed_dim=dims,
        depths=depths,
        block_type=("C", "C", "C", "T", "T"),
        stem_width=stem_width,
        head_hidden_size=dims[-1],
        transformer_cfg=MaxxVitTransformerCfg(dim_head=dim_head),
    )
    model = MaxxVit(config, img_size=img_size, num_classes=num_classes)
    model.stages[3].blocks[0].shortcut.pool = model.stages[3].blocks[0].norm1.down = nn.Identity()
    for stage, side in ((3, img_size // 16), (4, img_size // 32)):
        for block in model.stages[stage].blocks:
            block.attn.rel_pos = RelPosBias((side, side), num_heads=dims[stage] // dim_head)
    return model


def small_coatnet_7():
    theirs = timm_coatnet_7((8, 16, 24, 32, 64), (1, 1, 2, 2, 1), 4, 16, img_size=64, num_classes=10)
    return pair("coatnet_7", SMALL["coatnet_7"], theirs, "timm")


@proves(57)
def test_a_stage_that_keeps_the_map_is_timms_without_the_pooling():
    assert_agrees(*small_coatnet_7(), IMAGES)


@proves(57)
def test_coatnet_7_has_the_size_of_timms_parts():
    with torch.device("meta"):
        theirs = timm_coatnet_7(
            (256, 512, 1024, 2048, 3072), (2, 4, 8, 42, 2), 192, 128, img_size=512, num_classes=1000
        )
        ours = create_model("coatnet_7")
        maps = ours.features(torch.empty(1, 3, 512, 512))
    assert count_parameters(ours) == count_parameters(theirs)
    assert count_macs(ours, 1, 3, 512, 512) == count_macs(theirs, 1, 3, 512, 512)
    assert [x.shape[1] for x in maps] == [128, 64, 32, 32, 16]


def test_agrees_with_timm_on_oblong_images():
    ours, theirs = pair("coatnet_0", SMALL["coatnet_0"] | dict(img_size=(64, 96)), timm_coatnet((64, 96)), "timm")
    assert_agrees(ours, theirs, torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (dict(dims=(16, 24, 40, 64)), "coatnet_0: heads of width 32 do not divide 40 channels: 32 or 64 channels fit"),
        (dict(layout="CCT"), "coatnet_0: layout has a C or a T for each entry of dims and of depths, and is 'CCT'"),
        (dict(strides=(2, 2, 3, 2)), "coatnet_0: strides has a 1 or a 2 for each entry of dims, and is (2, 2, 3, 2)"),
        (dict(img_size=72), "image of 72×72 is not divided by patches of 32×32: 64 and 96 fit"),
    ],
)
def test_what_does_not_fit_is_said(overrides, sentence):
    with pytest.raises(ValueError) as error:
        create_model("coatnet_0", **SMALL["coatnet_0"] | overrides)
    assert str(error.value).endswith(sentence)


def test_every_sample_is_kept_or_dropped_as_a_whole():
    torch.manual_seed(0)
    step = WideningResidual(HalfMean(), nn.Identity(), HalfMean(), 4, 4, drop_path=0.5)
    x = torch.randn(64, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    branch = step.pool(x)
    kept = (step(x) - step.linear(branch)) / branch  # 0 or 2 throughout a sample
    dropped = kept[:, 0, 0, 0].abs() < 1
    assert 0 < dropped.sum() < 64
    expected = torch.where(dropped, 0.0, 2.0)[:, None, None, None].expand_as(kept)
    torch.testing.assert_close(kept, expected, atol=1e-3, rtol=1e-3)


def index_transposed(model):
    for attention in each(model, RelativeBiasAttention):
        attention.index = attention.index.T.contiguous()


def qkv_not_head_by_head(model):
    for attention in each(model, RelativeBiasAttention):
        weight, heads = attention.qkv.weight.data, attention.num_heads
        attention.qkv.weight.data = weight.view(heads, 3, -1, weight.shape[1]).transpose(0, 1).reshape(weight.shape)


def pooled_before_the_norm(model):
    for step in each(model, WideningResidual):
        if isinstance(step.branch, nn.Sequential):
            step.norm, step.branch = nn.Sequential(HalfMean(), step.norm), step.branch[1]


def stride_on_the_first_layer(model):
    for mixer in each(model, MBConv):
        if mixer.depthwise.stride == (2, 2):
            mixer.depthwise.stride = (1, 1)
            mixer.register_forward_pre_hook(lambda m, x: x[0][:, ::2, ::2])


def gate_by_relu(model):
    for mixer in each(model, MBConv):
        mixer.gate.act = nn.ReLU()


def gate_before_the_norm(model):
    for mixer in each(model, MBConv):
        mixer.norm2, mixer.gate = nn.Sequential(mixer.gate, mixer.norm2), nn.Identity()


def batch_statistics(model):
    for norm in each(model, BatchNorm):
        norm.train()


@pytest.mark.parametrize(
    "mistake",
    [
        index_transposed,
        qkv_not_head_by_head,
        pooled_before_the_norm,
        stride_on_the_first_layer,
        gate_by_relu,
        gate_before_the_norm,
        batch_statistics,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)


def the_path_around_normed(model):
    step = model.stages[3].blocks[0].token_mixer
    step.pool = step.norm


@pytest.mark.parametrize("mistake", [the_path_around_normed, index_transposed])
def test_catches_in_the_stage_that_keeps_the_map(mistake):
    assert_catches(mistake, *small_coatnet_7(), IMAGES)

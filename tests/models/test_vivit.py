"""ViViT: Model 1 against transformers, and all four against attention with an explicit mask for each pair of tokens."""

import pytest
import torch
from torch import nn

from course.models import create_model, load_reference
from course.models.channel_mixers.mlp import MLP
from course.models.norms import LayerNorm
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.space_time import SplitHeadsAttention
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    each,
    pair,
    proves,
    randomised,
)
from tests.models.test_timesformer import (
    slow_blocks,
    slow_linear,
    slow_norm,
    slow_patches,
    sub,
    weights_of,
)

SIZES = dict(
    img_size=16,
    patch_size=4,
    num_frames=6,
    tubelet_size=2,
    embed_dim=24,
    depth=2,
    num_heads=4,
    mlp_ratio=2,
    num_classes=10,
)
SMALL = {
    **dict.fromkeys([f"vivit_model{i}" for i in (1, 3, 4)], SIZES),
    "vivit_model2": SIZES | {"temporal_depth": 2},
    **dict.fromkeys([f"vivit_digits{i}" for i in ("", "_model2", "_model3", "_model4")], dict(embed_dim=16, depth=2)),
}
CLIPS = torch.randn(2, 6, 3, 16, 16, generator=torch.Generator().manual_seed(2))
WIDE = {name: sizes | {"img_size": (16, 24)} for name, sizes in SMALL.items()}  # 3×4×6 tokens
WIDE_CLIPS = torch.randn(2, 6, 3, 16, 24, generator=torch.Generator().manual_seed(2))


def transformers_vivit(**options):
    from transformers import VivitConfig, VivitForVideoClassification

    sizes = dict(
        image_size=16,
        num_frames=6,
        tubelet_size=[2, 4, 4],
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        num_labels=10,
    )
    return VivitForVideoClassification(VivitConfig(**sizes | options))


def logits_of(theirs):
    return lambda x: theirs.to(x.dtype)(x).logits


def tanh_gelu(x):
    return x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2


def slow_transformer(model, attention, class_token):
    """Models 1, 3 and 4."""

    def logits(clips):
        p = weights_of(model, clips.dtype)
        rows = []
        for clip in clips:
            x, size = slow_patches(clip, p["stem.proj.weight"], p["stem.proj.bias"])
            if class_token:
                x = torch.cat([p["tokens.class_token"], x])
            x = slow_blocks(x + p["tokens.position"], sub(p, "blocks"), attention, size, 4, class_token, tanh_gelu)
            x = slow_norm(x, sub(p, "head.norm"))
            rows.append(slow_linear(x[0] if class_token else x.mean(0), sub(p, "head.fc")))
        return torch.stack(rows)

    return logits


def slow_factorised_encoder(model):
    """Model 2: each moment's tokens for themselves, then the moments' class tokens among each other."""

    def encoded(x, p):
        x = torch.cat([p["tokens.class_tokens"], x]) + p["tokens.position"]
        x = slow_blocks(x, sub(p, "blocks"), ("joint",), (len(x) - 1, 1, 1), 4, "there is one", tanh_gelu)
        return slow_norm(x[0], sub(p, "norm"))

    def logits(clips):
        p = weights_of(model, clips.dtype)
        rows = []
        for clip in clips:
            x, size = slow_patches(clip, p["stem.proj.weight"], p["stem.proj.bias"])
            moments = torch.stack([encoded(tokens, sub(p, "space")) for tokens in x.chunk(size[0])])
            rows.append(slow_linear(encoded(moments, sub(p, "time")), sub(p, "fc")))
        return torch.stack(rows)

    return logits


SLOW = {
    "vivit_model1": lambda model: slow_transformer(model, ("joint",), "there is one"),
    "vivit_model2": slow_factorised_encoder,
    "vivit_model3": lambda model: slow_transformer(model, ("space", "time"), None),
    "vivit_model4": lambda model: slow_transformer(model, ("split_heads",), None),
}


@proves(29)
def test_model_1_agrees_with_transformers():
    ours, theirs = pair("vivit_model1", SIZES, transformers_vivit(), "transformers")
    assert_agrees(ours, logits_of(theirs), CLIPS)


def test_model_1_with_exact_gelu_agrees_with_transformers():
    theirs = transformers_vivit(hidden_act="gelu")
    ours, theirs = pair("vivit_model1", SIZES | {"act": nn.GELU}, theirs, "transformers")
    assert_agrees(ours, logits_of(theirs), CLIPS)


@proves(29, 30, 31, 32)
@pytest.mark.parametrize("name", SLOW)
def test_agrees_with_explicit_masks(name):
    ours = randomised(create_model(name, **WIDE[name]))
    assert_agrees(ours, SLOW[name](ours), WIDE_CLIPS)


def test_the_small_ones_load_what_the_large_ones_load():
    sizes = dict(
        num_frames=5, tubelet_size=[1, 4, 4], num_channels=1, num_labels=4, num_hidden_layers=4, hidden_size=64
    )
    theirs = randomised(transformers_vivit(**sizes, intermediate_size=256))
    ours = create_model("vivit_digits").eval()
    load_reference(ours, theirs.state_dict(), "transformers")
    clips = torch.randn(2, 5, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    assert_agrees(ours, logits_of(theirs), clips)


def eps_of_the_other_framework(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-5


def exact_gelu(model):
    for mlp in each(model, MLP):
        mlp.act = nn.GELU()


def frames_backwards(model):
    model.stem.proj.weight.data = model.stem.proj.weight.flip(2)


def time_as_the_innermost_axis(model):
    position = model.tokens.position
    patches = position[1:].view(3, 16, -1).transpose(0, 1).flatten(0, 1)  # (t h w) for (h w t)
    position.data = torch.cat([position[:1], patches])


def qkv_laid_out_head_by_head(model):
    for attention in each(model, SelfAttention):
        attention.qkv.weight.data = attention.qkv.weight.view(3, 4, 6, 24).transpose(0, 1).reshape(72, 24)


@pytest.mark.parametrize(
    "mistake",
    [eps_of_the_other_framework, exact_gelu, frames_backwards, time_as_the_innermost_axis, qkv_laid_out_head_by_head],
)
def test_catches(mistake):
    ours, theirs = pair("vivit_model1", SIZES, transformers_vivit(), "transformers")
    assert_catches(mistake, ours, logits_of(theirs), CLIPS)


def moments_averaged(model):
    model.time = None


def moments_without_a_norm(model):
    model.space.norm = nn.Identity()


def moments_without_positions(model):
    model.time.tokens.position.data.zero_()


def clips_and_moments_swapped(model):
    model.stem.register_forward_hook(lambda stem, inputs, x: x.transpose(0, 1).reshape(x.shape))


def time_before_space(model):
    for block in model.blocks:
        block.token_mixer = nn.Sequential(*reversed(block.token_mixer))


def time_left_out(model):
    for block in model.blocks:
        block.token_mixer[1] = nn.Identity()


def averaged_before_the_norm(model):
    model.head.norm_first = False


def heads_over_time_first(model):
    order = [2, 3, 0, 1]
    for attention in each(model, SplitHeadsAttention):
        attention.qkv.weight.data = attention.qkv.weight.view(3, 4, 6, 24)[:, order].reshape(72, 24)
        attention.qkv.bias.data = attention.qkv.bias.view(3, 4, 6)[:, order].flatten()
        attention.proj.weight.data = attention.proj.weight.view(24, 4, 6)[:, order].flatten(1)


def every_second_head_over_time(model):
    order = [0, 2, 1, 3]
    for attention in each(model, SplitHeadsAttention):
        attention.qkv.weight.data = attention.qkv.weight.view(3, 4, 6, 24)[:, order].reshape(72, 24)
        attention.qkv.bias.data = attention.qkv.bias.view(3, 4, 6)[:, order].flatten()


def heads_of_half_the_clip(model):
    for attention in each(model, SplitHeadsAttention):
        attention.num_frames *= 2


@pytest.mark.parametrize(
    "name, mistake",
    [
        ("vivit_model2", moments_averaged),
        ("vivit_model2", moments_without_a_norm),
        ("vivit_model2", moments_without_positions),
        ("vivit_model2", clips_and_moments_swapped),
        ("vivit_model3", time_before_space),
        ("vivit_model3", time_left_out),
        ("vivit_model3", averaged_before_the_norm),
        ("vivit_model4", heads_over_time_first),
        ("vivit_model4", every_second_head_over_time),
        ("vivit_model4", heads_of_half_the_clip),
    ],
)
def test_explicit_masks_catch(name, mistake):
    ours = randomised(create_model(name, **WIDE[name]))
    assert_catches(mistake, ours, SLOW[name](ours), WIDE_CLIPS)


@pytest.mark.parametrize("name", ["vivit_digits", "vivit_digits_model2", "vivit_digits_model3", "vivit_digits_model4"])
def test_the_small_ones_take_the_clips_of_digit_video(name):
    from course.data import load

    clips = load("digit_video", "test", size=2, device="cpu").images / 255  # (2, 5, 1, 16, 16)
    assert create_model(name)(clips).shape == (2, 4)


@pytest.mark.parametrize("name", ["vivit_model1", "vivit_model2"])
def test_frames_may_be_sampled_instead_of_tubelets(name):
    """Row 34's tokens in a whole model: frames that are not kept change nothing."""
    model = randomised(create_model(name, **SMALL[name], embedding="frames"))
    changed = CLIPS.clone()
    changed[:, 0::2] = 0
    assert torch.equal(model(CLIPS), model(changed))
    changed[:, 1] = 0
    assert not torch.allclose(model(CLIPS), model(changed))


@pytest.mark.parametrize(
    "name, options, what",
    [
        ("vivit_model4", dict(num_heads=3), "half of the heads look over space and half over time: 3 is odd"),
        ("vivit_model4", dict(class_token=True), "class_token=False fits"),
        ("vivit_model1", dict(tubelet_size=4), "tubelet_size may be 1, 2, 3, 6"),
        ("vivit_model2", dict(patch_size=5), "15 and 20 fit"),
    ],
)
def test_says_what_fits(name, options, what):
    with pytest.raises(ValueError, match=what):
        create_model(name, **SMALL[name] | options)


def test_another_number_of_frames_is_a_sentence():
    with pytest.raises(ValueError, match="clips of 6 frames and got 4"):
        create_model("vivit_model1", **SIZES)(CLIPS[:, :4])

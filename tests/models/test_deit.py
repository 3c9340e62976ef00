"""DeiT and DeiT III against timm and transformers."""

import pytest
import torch

from course.models import create_model
from course.models.stems import Tokens
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = dict.fromkeys(
    ["deit_s", "deit_b", "deit_b_384", "deit_s_36", "deit_s_distilled", "deit3_s"],
    dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=10),
)
SIZES = dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=10)
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def timm_deit():
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(**SIZES)


def timm_deit3():
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(**SIZES, no_embed_class=True, init_values=1e-6)


def timm_distilled():
    from timm.models.deit import VisionTransformerDistilled

    return VisionTransformerDistilled(**SIZES)


def transformers_distilled():
    from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

    config = DeiTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        image_size=32,
        patch_size=8,
        layer_norm_eps=1e-6,
        num_labels=10,
    )
    return DeiTForImageClassificationWithTeacher(config)


@proves(86, 87, 88, 98)
@pytest.mark.parametrize("name", ["deit_s", "deit_b", "deit_b_384", "deit_s_36"])
def test_deit_agrees_with_timm(name):
    assert_agrees(*pair(name, SMALL[name], timm_deit(), "timm"), IMAGES)


@proves(89)
def test_distilled_agrees_with_timm():
    assert_agrees(*pair("deit_s_distilled", SMALL["deit_s_distilled"], timm_distilled(), "timm"), IMAGES)


@proves(89)
def test_distilled_agrees_with_transformers():
    ours, theirs = pair("deit_s_distilled", SMALL["deit_s_distilled"], transformers_distilled(), "transformers")
    assert_agrees(ours, lambda x: theirs.to(x.dtype)(x).logits, IMAGES)


@proves(89)
def test_both_answers_agree_with_timm_in_training():
    ours, theirs = pair("deit_s_distilled", SMALL["deit_s_distilled"], timm_distilled(), "timm")
    theirs.train().set_distilled_training(True)

    def both(images):
        model = ours.to(images.dtype)
        return model.head.both(model.features(images)[-1])

    assert_agrees(both, theirs, IMAGES)


@proves(93)
def test_deit3_agrees_with_timm():
    assert_agrees(*pair("deit3_s", SMALL["deit3_s"], timm_deit3(), "timm"), IMAGES)


@proves(93)
def test_deit3_starts_with_layer_scale_of_a_millionth():
    block = create_model("deit3_s", **SMALL["deit3_s"]).stages[0].blocks[0]
    assert torch.equal(block.token_mixer.scale, torch.full((48,), 1e-6))
    assert torch.equal(block.channel_mixer.scale, torch.full((48,), 1e-6))


def tokens_in_the_other_order(model):
    tokens = each(model, Tokens)[0].class_tokens
    tokens.data = tokens.data.flip(0)


def answer_of_the_class_token_only(model):
    model.head.fc_distilled = model.head.fc


def heads_exchanged(model):
    model.head.fc, model.head.fc_distilled = model.head.fc_distilled, model.head.fc


def sum_of_the_answers(model):
    model.head.register_forward_hook(lambda head, inputs, output: 2 * output)


@pytest.mark.parametrize(
    "mistake", [tokens_in_the_other_order, answer_of_the_class_token_only, heads_exchanged, sum_of_the_answers]
)
def test_distilled_catches(mistake):
    assert_catches(mistake, *pair("deit_s_distilled", SMALL["deit_s_distilled"], timm_distilled(), "timm"), IMAGES)


def no_layer_scale(model):
    for block in model.stages[0].blocks:
        block.token_mixer.scale = block.channel_mixer.scale = None


def scales_exchanged(model):
    for block in model.stages[0].blocks:
        block.token_mixer.scale, block.channel_mixer.scale = block.channel_mixer.scale, block.token_mixer.scale


def a_position_for_the_class_token(model):
    entry = model.stages[0].entry
    entry.class_tokens.data += entry.position.data[:1]


@pytest.mark.parametrize("mistake", [no_layer_scale, scales_exchanged, a_position_for_the_class_token])
def test_deit3_catches(mistake):
    assert_catches(mistake, *pair("deit3_s", SMALL["deit3_s"], timm_deit3(), "timm"), IMAGES)

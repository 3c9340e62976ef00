"""How the tables of names are read."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from course.models import create_model, load_reference, reference
from course.models.spec import per_stage


def test_numbers_and_rests_are_taken_over_in_order():
    table = {"blocks.#.mlp.*": "stages.0.blocks.#.channel_mixer.branch.*"}
    name, slot, _ = reference._translated("blocks.11.mlp.fc1.weight", table)
    assert name == "stages.0.blocks.11.channel_mixer.branch.fc1.weight" and slot == (0, 1)


def test_a_slot_says_which_piece_and_none_that_it_is_not_needed():
    table = {"q.*": "qkv.*[0/3]", "mask": None}
    assert reference._translated("q.bias", table)[:2] == ("qkv.bias", (0, 3))
    assert reference._translated("mask", table)[0] is None
    with pytest.raises(KeyError):
        reference._translated("maskx", table)


def test_a_missing_piece_is_an_error_that_names_it():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=192,
        image_size=32,
        patch_size=4,
        num_labels=10,
    )
    state = ViTForImageClassification(config).state_dict()
    del state["vit.layers.0.attention.k_proj.weight"]
    model = create_model("vit_cifar", embed_dim=48, depth=1, num_heads=4)
    with pytest.raises(ValueError, match=r"qkv.weight: pieces \[1\] of 3 are missing"):
        load_reference(model, state, "transformers")


def test_buffers_that_we_compute_are_named_as_left_over():
    from torchvision.models import SwinTransformer

    sizes = dict(
        img_size=32,
        patch_size=2,
        window_size=4,
        dims=(24, 48),
        depths=(2, 2),
        num_heads=per_stage(2, 4),
        num_classes=10,
    )
    theirs = SwinTransformer([2, 2], 24, [2, 2], [2, 4], [4, 4], num_classes=10)
    left = load_reference(create_model("swin_t", **sizes), theirs.state_dict(), "torchvision")
    assert left and all(name.endswith("relative_position_index") for name in left)


def test_the_model_needs_a_name():
    with pytest.raises(ValueError, match="made by create_model"):
        load_reference(nn.Linear(1, 1), {})


def test_what_a_training_wraps_around_weights_is_taken_off():
    model, other = (create_model("vit_cifar", embed_dim=48, depth=1, num_heads=4) for _ in range(2))
    theirs = VisionTransformer(img_size=32, patch_size=4, embed_dim=48, depth=1, num_heads=4)
    load_reference(model, theirs.state_dict())
    load_reference(other, {"model": {f"module.{name}": w for name, w in theirs.state_dict().items()}, "epoch": 1})
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))


def test_another_number_of_classes_or_channels_says_the_way_out():
    theirs = VisionTransformer(img_size=32, patch_size=4, embed_dim=48, depth=1, num_heads=4, num_classes=7, in_chans=2)
    model = create_model("vit_cifar", embed_dim=48, depth=1, num_heads=4)
    with pytest.raises(ValueError, match=r"create_model\('vit_cifar', ..., num_classes=7, in_chans=2\) makes one"):
        load_reference(model, theirs.state_dict())

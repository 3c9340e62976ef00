"""Drawings of models: what is in them is what is built, and every model has one that fits its page."""

import pytest

from course.models import architecture, card, list_models, show
from tests.pictures import assert_nothing_is_cut_off

A_FEW = ("swin_cifar", "vit_cifar", "convmixer_cifar", "vivit_digits_model2", "resnet_50_cifar", "perceiver_cifar")


def texts(picture):
    return [text.get_text() for axis in picture.axes for text in axis.texts]


@pytest.mark.parametrize("name", [*A_FEW, *(pytest.param(n, marks=pytest.mark.long) for n in list_models())])
def test_every_model_is_drawn_whole(name):
    picture = architecture(name)
    assert_nothing_is_cut_off(name, picture)
    assert picture.alt.startswith(f"{name}: ") and " gives " in picture.alt


def test_stages_blocks_and_shapes_of_a_pyramid():
    picture = architecture("swin_t")
    found = texts(picture)
    assert found[5:14:2] == ["56 × 56 × 96", "28 × 28 × 192", "14 × 14 × 384", "7 × 7 × 768", "1000"]
    assert "stage 3\nPatchMerging,\nthen 6 blocks" in found and "blocks 2, 4, …\nof stages 1–4" in found
    assert "WindowAttention\nshift=half" in found and found.count("⊕") == 4 and found.count("LayerNorm") == 4
    assert "; stage 3, PatchMerging, then 6 blocks gives 14 × 14 × 384;" in picture.alt


def test_overrides_are_drawn():
    found = texts(architecture("vit_cifar", depth=7, embed_dim=24, num_heads=3))
    assert "Tokens,\nthen 7 blocks" in found and any(text.endswith(" × 24") for text in found)


def test_a_step_without_a_path_around_is_drawn_without_one():
    assert texts(architecture("convmixer_cifar")).count("⊕") < 2


def test_a_model_that_is_no_sequence_of_blocks_is_the_modules_it_calls_in_order():
    found = texts(architecture("detr_r50"))
    names = [text.split("\n")[0] for text in found if "\n" in text]
    assert names == ["backbone", "reduce", "encoder", "decoder", "norm", "classifier", "box"]
    assert "encoder\nDETREncoder\nLayer\n× 6" in found


def test_a_clip_in_two_encoders_has_their_blocks_and_counts_its_frames():
    found = texts(architecture("vivit_digits_model2"))
    assert "space\nEncoder\n4 blocks" in found and "time\nEncoder\n2 blocks" in found
    assert found[5:10:2] == ["5 × 64", "64", "4"]  # a token for each of the 5 frames, which share the batch
    assert "every block" in found and found.count("⊕") == 2 and "SelfAttention" in found


def test_a_block_of_several_attentions_is_drawn_whole_in_rows():
    picture = architecture("timesformer_axial")
    steps = [text for text in texts(picture) if text.startswith("GroupedAttention") or text == "MLP"]
    assert steps == [*(f"GroupedAttention\nwithin={axis}" for axis in ("time", "width", "height")), "MLP"]
    assert texts(picture).count("⊕") == 4 and "blocks\n× 12" in texts(picture)
    assert_nothing_is_cut_off("timesformer_axial", picture)


def test_a_step_of_its_own_kind_is_not_left_out():
    """The first block of a stage has one, which halves the map; with its MLP alone it would be another block."""
    words = architecture("mvit_v2_t").alt
    assert words.endswith("PooledResidual, LayerNorm, MLP, added") and words.count("PoolingAttention, added") == 1


def test_cards_and_pages_show_it_with_its_words():
    for shown in (card("vit_cifar"), show("vit_cifar")):
        assert 'alt="vit_cifar: image gives 3 × 32 × 32' in shown._repr_html_()


def test_no_such_model():
    with pytest.raises(ValueError, match="did you mean"):
        architecture("swin_tt")

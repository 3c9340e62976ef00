"""The figures of lecture 5 draw what they are given, say it in words, and name wrong input."""

import pytest
import torch

from course.analysis import position_similarity
from course.drawing import MEANINGS
from course.figures import vision_transformer as figures
from course.models.stems import PatchEmbed, sinusoidal_2d
from tests.pictures import assert_nothing_is_cut_off


@pytest.fixture
def image():
    return torch.arange(3 * 16 * 24, dtype=torch.int64).reshape(3, 16, 24).remainder(251).byte()  # (C, H, W)


def texts(picture):
    return [text.get_text() for axis in picture.axes for text in axis.texts]


def titles(picture):
    return [axis.get_title() for axis in picture.axes if axis.get_title()]


def test_patch_to_token_draws_the_numbers_of_the_patch_embedding(image):
    stem = PatchEmbed(dim=5, img_size=(16, 24), patch_size=8)
    picture = figures.patch_to_token(image, stem.proj.weight, stem.proj.bias, token=4)
    bars = torch.tensor([bar.get_height() for bar in picture.axes[3].patches]).float()  # (D,)
    expected = stem(image[None].float() / 255)[0, 1, 1]  # token 4 of 2 × 3: row 1, column 1
    assert torch.allclose(bars, expected.detach(), atol=1e-5)
    frame = picture.axes[0].patches[0]
    assert (frame.get_x(), frame.get_y(), frame.get_width()) == (7.5, 7.5, 8)
    assert picture.alt.startswith(
        "patch 4 of 6, in row 1 and column 1 of the image; its 192 numbers, 64 of each colour;"
    )
    assert picture.alt.endswith(f"5 numbers made of them, from {expected.min():.2f} to {expected.max():.2f}")
    assert_nothing_is_cut_off("patch_to_token", picture)


@pytest.mark.parametrize(
    "token, size, sentence",
    [
        (6, (3, 16, 24), "tokens 0 to 5, and no 6"),
        (0, (3, 16, 20), "do not tile an image of 16×20"),
        (0, (1, 16, 24), "three channels are needed: the image has 1"),
    ],
)
def test_patch_to_token_names_what_is_wrong(token, size, sentence):
    with pytest.raises(ValueError, match=sentence):
        figures.patch_to_token(torch.zeros(size), torch.zeros(5, 3, 8, 8), torch.zeros(5), token)


def test_filters_and_maps_shows_a_panel_for_each(image):
    filters = {"red": torch.randn(3, 8, 8), "edge": torch.randn(3, 8, 8)}
    maps = torch.randn(2, 2, 3)
    picture = figures.filters_and_maps(image, filters, maps)
    numbers = [f"number {number} of\nevery token" for number in (0, 1)]
    assert titles(picture) == ["red", "edge", "the image", *numbers]
    assert (picture.axes[5].images[0].get_array() == maps[1].numpy()).all()
    row, column = divmod(int(maps[1].argmax()), 3)
    assert picture.alt.endswith(f"edge: highest in row {row}, column {column}")
    assert_nothing_is_cut_off("filters_and_maps", picture)
    with pytest.raises(ValueError, match="2 filters and 3 maps"):
        figures.filters_and_maps(image, filters, torch.randn(3, 2, 3))


def test_rolled_counts_the_patches_that_are_the_same(image):
    picture = figures.rolled(image, [(8, 16), (0, 1)], patch=8)
    assert "rolled by 8 and 16 pixels: 6 of 6 patches are patches of the image" in picture.alt
    assert "rolled by 0 and 1 pixels: 0 of 6 patches" in picture.alt
    shown = torch.from_numpy(picture.axes[1].images[0].get_array().data)  # (H, W, C)
    assert torch.allclose(shown, image.roll((8, 16), (1, 2)).permute(1, 2, 0) / 255)
    assert_nothing_is_cut_off("rolled", picture)


def test_sizes_of_tokens_measures_the_spread():
    pair = torch.tensor([-1.0, 1.0])
    picture = figures.sizes_of_tokens({"tokens": pair, "code": pair / 100})
    assert texts(picture) == ["1.4", "0.014"] and "tokens 1.4; code 0.014" in picture.alt
    tokens, code = picture.axes[0].patches
    assert tokens.get_width() == pytest.approx(100 * code.get_width()) and tokens.get_x() == code.get_x() == 0
    assert_nothing_is_cut_off("sizes_of_tokens", picture)


def test_parts_removed_draws_every_seed_on_one_scale():
    accuracies = {
        "1 block": {"all parts": (0.9, 0.95, 0.92), "no MLP": (0.5, 0.45, 0.4)},
        "8 blocks": {"all parts": (1.0, 1.0, 1.0), "no MLP": (0.99, 1.0, 0.98)},
    }
    picture = figures.parts_removed(accuracies, 0.125)
    left, right = picture.axes
    assert "1 block: all parts 90–95 %, no MLP 40–50 %; 8 blocks: all parts 100 %, no MLP 98–100 %" in picture.alt
    assert "guessing gets 12 %" in picture.alt and left.get_xlim() == right.get_xlim()
    assert [bar.get_width() for bar in left.patches] == pytest.approx([92.333, 45], abs=0.01)
    assert list(right.lines[1].get_xdata()) == [99, 100, 98] and left.lines[2].get_xdata()[0] == 12.5
    assert_nothing_is_cut_off("parts_removed", picture)


def test_receptive_fields_say_how_much_of_the_image_counts():
    square, wide = torch.zeros(4, 5), torch.ones(4, 5)
    square[1:3, 1:3] = 1
    picture = figures.receptive_fields({"patch": square, "CNN": wide})
    assert "patch: 20 % of the image can move it, half of the effect comes from 10 %" in picture.alt
    assert "CNN: 100 % of the image can move it, half of the effect comes from 50 %" in picture.alt
    assert (picture.axes[0].images[0].get_array() == square.numpy()).all()
    assert_nothing_is_cut_off("receptive_fields", picture)


def test_by_pretraining_leaves_out_what_the_source_has_not():
    picture = figures.by_pretraining([1, 10], {"ViT-H": [None, 88.0], "CNN (ResNet)": [81.5, 85.0]})
    huge, resnet = picture.axes[0].lines
    assert list(huge.get_xdata()) == [10] and list(resnet.get_ydata()) == [81.5, 85.0]
    assert (huge.get_color(), resnet.get_color()) == (MEANINGS["ViT"], MEANINGS["CNN"])
    assert (
        picture.alt
        == "ImageNet top-1. ViT-H: 88.0 % from 10 million; CNN (ResNet): 81.5 % from 1 million, 85.0 % from 10 million"
    )
    assert_nothing_is_cut_off("by_pretraining", picture)


def test_crossover_draws_a_line_in_a_band_for_each_network():
    results = {
        "texture": {"CNN": {"100": (0.5, 0.6), "300": (0.9, 0.9)}, "ViT": {"100": (0.2, 0.3)}},
        "relation": {"ViT": {1000: (0.75,)}},
    }
    picture = figures.crossover(results, chance=0.1)
    left, right = picture.axes
    assert [line.get_label() for line in left.lines[:2]] == ["CNN", "ViT"]
    assert list(left.lines[0].get_xdata()) == [100, 300] and list(left.lines[0].get_ydata()) == [55, 90]
    assert left.lines[0].get_color() == MEANINGS["CNN"]
    assert right.lines[0].get_color() == left.lines[1].get_color() == MEANINGS["ViT"]
    band = left.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 50 and band[:, 1].max() == 90
    assert "texture, CNN: 50–60 % from 100, 90 % from 300" in picture.alt
    assert_nothing_is_cut_off("crossover", picture)
    for nothing in ({}, {"texture": {}}):
        with pytest.raises(ValueError, match="a question is needed"):
            figures.crossover(nothing)


def test_grids_counts_patches():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    picture = figures.grids(image, [32, 48], patch=4)
    assert titles(picture)[1].endswith("N = 12 × 12 = 144 patches")
    assert [len(axis.lines) for axis in picture.axes] == [14, 22]
    with pytest.raises(ValueError, match="images of 34"):
        figures.grids(image, [32, 34], patch=4)


def test_same_place_marks_the_place_in_every_grid():
    tables = {str(side): position_similarity(sinusoidal_2d((side, side), 24)) for side in (4, 8)}
    picture = figures.same_place(tables, (0.5, 0.3))
    small, large = picture.axes[:2]
    assert (small.images[0].get_array() == tables["4"][2, 1].numpy()).all()
    assert (large.images[0].get_array() == tables["8"][4, 2].numpy()).all()
    assert (small.lines[0].get_xdata()[0], small.lines[0].get_ydata()[0]) == (0.375, 0.625)
    beside = [tables["4"][2, 1, y, x] for y, x in ((1, 1), (3, 1), (2, 0), (2, 2))]
    assert f"4: {sum(beside) / 4:.2f} beside it" in picture.alt
    assert_nothing_is_cut_off("same_place", picture)
    with pytest.raises(ValueError, match="two shares"):
        figures.same_place(tables, (0.5, 1.0))
    with pytest.raises(ValueError, match="must be"):
        figures.same_place({"table": torch.zeros(16, 24)}, (0.5, 0.5))


def test_class_token_looks_leaves_the_class_token_itself_out(image):
    row = torch.zeros(2, 17)  # (h, 1 + N)
    row[:, 0], row[0, 6], row[1, 16] = 0.5, 0.5, 0.5
    picture = figures.class_token_looks(image, [row, row], "relation 54°")
    assert "2 layers of 2 heads; relation 54°" in picture.alt
    assert "layer 1, head 0: 0.50 on row 1, column 1; layer 1, head 1: 0.50 on row 3, column 3" in picture.alt
    assert_nothing_is_cut_off("class_token_looks", picture)
    drawn = [axis.images[0].get_array() for axis in picture.axes[1:3]]
    assert drawn[0][1, 1] == 0.5 and drawn[0].sum() == 0.5 and drawn[1][3, 3] == 0.5
    with pytest.raises(ValueError, match="a square number"):
        figures.class_token_looks(image, [torch.zeros(2, 16)])

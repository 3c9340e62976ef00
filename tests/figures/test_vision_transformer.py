"""The figures of lecture 5 draw what they are given, say it in words, and name wrong input."""

import pytest
import torch
from matplotlib.patches import FancyBboxPatch

from course.analysis import position_similarity
from course.figures import vision_transformer as figures
from course.models import create_model
from course.models.stems import PatchEmbed, sinusoidal_2d

SMALL = {"num_classes": 7, "img_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 3}


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
    assert picture.alt == "patch 4 of 6, its 192 numbers, and the token of 5 numbers made of them"


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
    with pytest.raises(ValueError, match="2 filters and 3 maps"):
        figures.filters_and_maps(image, filters, torch.randn(3, 2, 3))


def test_sizes_of_tokens_measures_the_spread():
    pair = torch.tensor([-1.0, 1.0])
    picture = figures.sizes_of_tokens({"tokens": pair, "code": pair / 100})
    assert texts(picture) == ["1.4", "0.014"] and "tokens 1.4; code 0.014" in picture.alt
    with pytest.raises(ValueError, match="zeros: all numbers are the same"):
        figures.sizes_of_tokens({"zeros": torch.zeros(3)})


def test_forward_chain_reads_names_and_shapes_from_the_model():
    model = create_model("vit_cifar", **SMALL)
    picture = figures.forward_chain(model, torch.zeros(2, 3, 16, 16))
    boxes = [patch for patch in picture.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == 8  # four parts in a row, and four in the two halves of a block
    said = texts(picture)
    names = ("PatchEmbed", "Tokens", "2 × Block", "SelfAttention")
    for expected in (*names, "(2, 4, 4, 24)", "(2, 17, 24)", "(2, 7)"):
        assert expected in said
    assert not model.stem._forward_hooks and "ClassTokenHead (2, 7)" in picture.alt


def test_forward_chain_follows_another_mixer_and_refuses_a_pyramid():
    mixer = create_model("mixer_cifar", num_classes=7)
    assert "TokenMLP" in texts(figures.forward_chain(mixer, torch.zeros(1, 3, 32, 32)))
    with pytest.raises(ValueError, match="one stage"):
        figures.forward_chain(create_model("swin_cifar"), torch.zeros(1, 3, 32, 32))


def test_crossover_draws_a_line_for_each_network():
    results = {"texture": {"CNN": {300: 0.9, 100: 0.5}, "ViT": {100: 0.2}}, "relation": {"ViT": {1000: 0.75}}}
    picture = figures.crossover(results, chance=0.1)
    left, right = picture.axes
    assert [line.get_label() for line in left.lines[:2]] == ["CNN", "ViT"]
    assert list(left.lines[0].get_xdata()) == [100, 300] and list(left.lines[0].get_ydata()) == [50, 90]
    assert right.lines[0].get_color() == left.lines[1].get_color()
    assert "texture, CNN: 50 % from 100, 90 % from 300" in picture.alt
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
    with pytest.raises(ValueError, match="two shares"):
        figures.same_place(tables, (0.5, 1.0))
    with pytest.raises(ValueError, match="must be"):
        figures.same_place({"table": torch.zeros(16, 24)}, (0.5, 0.5))


def test_class_token_looks_leaves_the_class_token_itself_out(image):
    row = torch.zeros(2, 17)  # (h, 1 + N)
    row[:, 0], row[0, 6], row[1, 16] = 0.5, 0.5, 0.5
    picture = figures.class_token_looks(image, [row, row], "relation 54°")
    assert "2 layers of 2 heads; relation 54°" in picture.alt
    drawn = [axis.images[0].get_array() for axis in picture.axes[1:3]]
    assert drawn[0][1, 1] == 0.5 and drawn[0].sum() == 0.5 and drawn[1][3, 3] == 0.5
    with pytest.raises(ValueError, match="a square number"):
        figures.class_token_looks(image, [torch.zeros(2, 16)])

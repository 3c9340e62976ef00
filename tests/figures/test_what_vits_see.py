"""The figures of lecture 6: that they draw what they are given, fit the page, and name wrong input."""

import struct

import numpy as np
import pytest
import torch
from matplotlib import pyplot

from course.analysis.cka import Similarity
from course.drawing import DPI, GREEN, GREY, PURPLE
from course.figures import what_vits_see as figures
from tests.pictures import assert_nothing_is_cut_off

HEADS = [torch.tensor([1.0, 5.0]), torch.tensor([2.0, 3.0]), torch.tensor([9.0, 4.0])]
BLOCKS = ("stem", "stages.0.entry", "stages.0.blocks.0", "stages.0.blocks.1")
CKA = Similarity(torch.linspace(0, 1, 8).view(4, 2), BLOCKS, ("conv1", "conv2"))
IMAGES = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
GRAM = torch.diag(torch.ones(5), 1) + torch.diag(torch.ones(5), -1)
PANELS = {
    "texture": ([0, 50], {"ViT": ([90, 30], [80, 40]), "CNN": ([95, 50], [99, 60])}),
    "relation": (["1×1", "2×2"], {"untrained": [10.0, 12.0]}),
}
HAND = {"itself": torch.eye(16), "all": torch.full((16, 16), 1 / 16)}


def grid_similarity(side=4):
    """1 for the same row and 0 for others: (h, w, h, w)."""
    rows = torch.arange(side)
    return (rows[:, None, None, None] == rows[None, None, :, None]).float().expand(side, side, side, side)


@pytest.fixture(scope="module")
def drawn():
    return {
        "heads": figures.heads_over_depth({"a": HEADS, "b": HEADS[::-1]}, ylabel="tokens", level=("all alike", 16.5)),
        "dots": figures.dots({"ViT": (0.5, 0.7, 0.6), "untrained": (0.1,)}, xlabel="share", level=("chance", 0.2)),
        "panels": figures.panels(PANELS, xlabel="tiles", ylabel="accuracy, %", level=("chance", 10)),
        "gram": figures.gram_matrices({"ViT": GRAM, "CNN": 2 * GRAM}, list("aabbbc")),
        "cka": figures.cka_maps({"a × a": CKA, "a × b": CKA, "b × b": CKA}),
        "rows": figures.rows_of_images(
            {"CNN": IMAGES, "ViT": IMAGES}, list("abcde"), below={"ViT": list("vwxyz")}, said="noise"
        ),
        "hand": figures.by_hand(HAND, 5, ["0.0 pixels", "8.3 pixels"]),
        "shares": figures.shares_of_components({"trained": torch.tensor([0.5, 0.3, 0.2])}),
    }


def test_pictures_fit_a_page_and_the_budget(drawn):
    for name, picture in drawn.items():
        assert_nothing_is_cut_off(name, picture)
        png = picture.png()
        width, height = struct.unpack(">II", png[16:24])
        assert width <= 9 * DPI and height <= 7 * DPI and len(png) < 40_000, name
    assert pyplot.get_fignums() == []


def test_names_of_layers_are_short():
    assert [figures.short_name(name) for name in BLOCKS] == ["stem", "entry", "block 1", "block 2"]
    assert figures.short_name("conv1") == "conv1"


def test_a_dot_for_each_head_of_each_network(drawn):
    (axis,) = drawn["heads"].get_axes()
    dots = [line for line in axis.lines if line.get_linestyle() == "None"]
    assert [line.get_ydata().tolist() for line in dots] == [x.tolist() for x in [*HEADS, *HEADS[::-1]]]
    # Side by side, around the number of the layer.
    for layer in range(3):
        first, second = dots[layer].get_xdata()[0], dots[3 + layer].get_xdata()[0]
        assert first < second and (first + second) / 2 == pytest.approx(layer + 1)
    (level,) = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert set(level.get_ydata()) == {16.5}
    assert "a 3.0, 2.5, 6.5; b 6.5, 2.5, 3.0" in drawn["heads"].alt


def test_the_mean_of_pairs_of_one_distance():
    cosines = figures.cosines_by_distance(grid_similarity())
    # Of pairs one patch apart (diagonal neighbours are 1.4 patches apart, which is nearer to 1): in a grid of 4 × 4,
    # 12 pairs in a row, 12 in a column and 18 across.
    assert cosines[:2] == pytest.approx([1, 12 / 42]) and len(cosines) == 5


def test_a_dot_for_each_seed_and_the_range_in_words(drawn):
    (axis,) = drawn["dots"].get_axes()
    assert [list(line.get_xdata()) for line in axis.lines[:2]] == [[0.5, 0.7, 0.6], [0.1]]
    assert [line.get_color() for line in axis.lines[:2]] == [GREEN, GREY]
    assert drawn["dots"].alt == "share: ViT 0.50 to 0.70; untrained 0.10"
    assert figures.dots({"a": [-0.001, 0.3], "b": [-0.21]}, xlabel="x").alt == "x: a 0.00 to 0.30; b −0.21"
    assert [text.get_text() for text in axis.texts] == ["0.50 to 0.70", "0.10", "chance"]


def test_a_half_is_rounded_up_as_in_the_text():
    assert figures.dots({"a": [0.125, 0.375]}, xlabel="x").alt == "x: a 0.13 to 0.38"
    lines = {"a": ([0], {"ViT": ([0.445], [0.575])})}  # 57.49999999999999 when multiplied
    assert figures.panels(lines, xlabel="x", ylabel="y", scale=100).alt == "y over x. a, ViT: 45 to 58 at 0"


def test_panels_share_a_scale_and_show_every_seed(drawn):
    left, right = drawn["panels"].get_axes()
    assert left.get_ylim() == right.get_ylim()
    vit, cnn, chance = left.lines
    assert vit.get_ydata().tolist() == [85, 35] and (vit.get_color(), cnn.get_color()) == (GREEN, PURPLE)
    band = left.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (30, 90) and set(chance.get_ydata()) == {10}
    assert [label.get_text() for label in right.get_xticklabels()] == ["1×1", "2×2"]
    assert "texture, ViT: 80 to 90 at 0, 30 to 40 at 50" in drawn["panels"].alt
    long, short = ({"a": (range(n), {"ViT": [0.5] * n})} for n in (8, 7))
    assert figures.panels(long, xlabel="x", ylabel="y").alt == "y over x. a, ViT: 0.50 at 0, 0.50 at 7"
    assert figures.panels(short, xlabel="x", ylabel="y").alt.count("0.50 at") == 7


def test_gram_matrices_stand_on_one_scale_with_lines_between_classes(drawn):
    vit, cnn, bar = drawn["gram"].get_axes()
    assert np.allclose(vit.images[0].get_array(), cnn.images[0].get_array())  # each of length 1
    assert vit.images[0].get_clim() == cnn.images[0].get_clim() == pytest.approx((-(0.1**0.5), 0.1**0.5))
    assert [label.get_text() for label in vit.get_xticklabels()] == ["a", "b", "c"]
    assert {line.get_ydata()[0] for line in vit.lines if line.get_ydata()[0] == line.get_ydata()[1]} == {1.5, 4.5}
    # Of 8 pairs within a class 6 are neighbours, of the other 28 and the diagonal 4.
    assert f"mean {0.1**0.5 * 6 / 8:.3f} within a class" in drawn["gram"].alt and "alike" in bar.get_ylabel()


def test_rows_and_columns_of_cka_are_named(drawn):
    axes = drawn["cka"].get_axes()
    assert [axis.get_title() for axis in axes[:3]] == ["a × a", "a × b", "b × b"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["stem", "entry", "block 1", "block 2"]
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["conv1", "conv2"]
    assert np.allclose(axes[1].images[0].get_array(), CKA.values.numpy())
    assert axes[1].images[0].get_clim() == (0, 1) and axes[1].images[0].origin == "lower"
    row, column = divmod(int(CKA.values.argmin()), CKA.values.shape[1])
    lowest = [axes[1].get_yticklabels()[row].get_text(), axes[1].get_xticklabels()[column].get_text()]
    assert f"lowest {CKA.values.min():.2f} ({lowest[0]} with {lowest[1]})" in drawn["cka"].alt


def test_images_stand_in_their_row(drawn):
    axes = drawn["rows"].get_axes()
    assert len(axes) == 10 and [axis.get_title() for axis in axes[:5]] == list("abcde")
    assert axes[0].get_ylabel() == "CNN" and axes[5].get_ylabel() == "ViT"
    assert [axis.get_xlabel() for axis in axes] == [""] * 5 + list("vwxyz")
    assert "noise; ViT: v, w, x, y, z" in drawn["rows"].alt
    assert np.allclose(axes[7].images[0].get_array(), IMAGES[2].permute(1, 2, 0).numpy())


def test_a_head_by_hand_shows_the_row_of_its_query(drawn):
    itself, everything = drawn["hand"].get_axes()
    shown = itself.images[0].get_array()
    assert shown[1, 1] == 1 and shown.sum() == 1 and itself.get_xlabel() == "0.0 pixels"
    assert np.allclose(everything.images[0].get_array(), 1)
    assert itself.lines[0].get_xydata().tolist() == [[1, 1]]
    assert "all: 8.3 pixels" in drawn["hand"].alt


def test_shares_add_up(drawn):
    (axis,) = drawn["shares"].get_axes()
    assert np.allclose(axis.lines[0].get_ydata(), [50, 80, 100])
    assert np.allclose(axis.lines[1].get_ydata(), [100 / 3, 200 / 3, 100])
    assert "trained 50 %" in drawn["shares"].alt


@pytest.mark.parametrize(
    "draw, says",
    [
        (lambda: figures.heads_over_depth({"a": HEADS, "b": HEADS[:2]}, ylabel=""), r"not \[2, 3\]"),
        (lambda: figures.cosines_by_distance(torch.ones(16, 16)), "of one grid"),
        (lambda: figures.dots({}, xlabel=""), "no number"),
        (lambda: figures.gram_matrices({"a": GRAM}, list("ab")), "2 classes"),
        (lambda: figures.cka_maps({}), "no comparison"),
        (lambda: figures.rows_of_images({"a": IMAGES, "b": IMAGES[:2]}), r"\[2, 5\]"),
        (lambda: figures.rows_of_images({"a": IMAGES}, ["one"]), "5 columns and 1 captions"),
        (lambda: figures.by_hand({"a": torch.eye(15)}, 0, ["a"]), "one square number"),
        (lambda: figures.by_hand(HAND, 0, ["a"]), "a line for each"),
        (lambda: figures.shares_of_components({"a": torch.ones(3), "b": torch.ones(4)}), r"\[3, 4\]"),
    ],
)
def test_wrong_input_is_named(draw, says):
    with pytest.raises(ValueError, match=says):
        draw()

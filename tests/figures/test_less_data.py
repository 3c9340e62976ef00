"""The figures of lecture 7 draw what they are given, and say so in words."""

import pytest
import torch

from course.drawing import MEANINGS
from course.figures import less_data as figures
from tests.pictures import assert_nothing_is_cut_off

RUNGS = {"nothing": {"ViT": (0.4, 0.5), "CNN": (0.2, 0.1)}, "+ crop": {"ViT": (0.8, 0.7), "CNN": (0.9, 0.95)}}
CLASSES = ["0°", "18°", "36°"]
BENT = {"ViT": {"AdamW": {"λ_max": (30.0, 20.0), "accuracy": (0.9, 0.92)}}}
BENT["ViT"]["AdamW + SAM"] = {"λ_max": (10.0, 5.0), "accuracy": (0.88, 0.89)}


def valley(w):
    return (w - 1) ** 2


SHOWN = {
    "ladder": lambda: figures.ladder(RUNGS, chance=0.1),
    "ranking": lambda: figures.ranking(RUNGS, chance=0.1),
    "targets": lambda: figures.targets(
        {
            "as it is": (torch.rand(3, 8, 8), torch.tensor([0.0, 1, 0])),
            "mixup": (torch.rand(3, 8, 8), torch.tensor([0.3, 0, 0.7])),
        },
        CLASSES,
    ),
    "printed": lambda: figures.printed(
        {"224": {"alone": 81.8, "taught": 83.4}, "384": {"alone": 83.1}}, xlabel="top-1, %"
    ),
    "worst_nearby": lambda: figures.worst_nearby(valley, {"a": 1.0, "b": 2.0}, rho=0.5, limits=(-1, 3)),
    "flatness": lambda: figures.flatness(BENT),
    "surfaces": lambda: figures.surfaces(
        {"a": torch.ones(3, 3), "b": torch.full((3, 3), 5.0)}, torch.linspace(-1, 1, 3)
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_word_can_be_read_and_nothing_is_cut_off(name):
    assert_nothing_is_cut_off(name, SHOWN[name]())


def test_a_ladder_has_a_dot_a_seed_and_a_line_of_means():
    picture = SHOWN["ladder"]()
    assert picture.alt == (
        "accuracies, one change a rung. nothing: ViT 40–50 %, CNN 10–20 %; + crop: ViT 70–80 %, CNN 90–95 %"
    )
    (axis,) = picture.axes
    mean, first, second = axis.lines[:3]
    assert list(mean.get_xdata()) == pytest.approx([45, 75]) and mean.get_color() == MEANINGS["ViT"]
    assert list(first.get_xdata()) == pytest.approx([40, 80]) and list(second.get_xdata()) == pytest.approx([50, 70])


def test_a_ranking_turns_where_the_lines_cross():
    (axis,) = SHOWN["ranking"]().axes
    drawn = [(line.get_color(), list(line.get_ydata())) for line in axis.lines[:4]]
    vit, cnn = MEANINGS["ViT"], MEANINGS["CNN"]
    assert drawn == [
        (vit, pytest.approx([40, 80])),
        (vit, pytest.approx([50, 70])),
        (cnn, pytest.approx([20, 90])),
        (cnn, pytest.approx([10, 95])),
    ]
    with pytest.raises(ValueError, match="two recipes"):
        figures.ranking({"nothing": RUNGS["nothing"]}, chance=0.1)


def test_targets_are_the_bars_under_the_images():
    picture = SHOWN["targets"]()
    assert [bar.get_height() for bar in picture.axes[3].patches] == pytest.approx([0.3, 0, 0.7])
    assert picture.alt.endswith("mixup: 36° 0.70, 0° 0.30")
    with pytest.raises(ValueError, match="sums to 0.5"):
        figures.targets({"half": (torch.rand(3, 8, 8), torch.tensor([0.5, 0, 0]))}, CLASSES)


def test_printed_figures_stand_beside_their_marks():
    picture = SHOWN["printed"]()
    assert [text.get_text() for text in picture.axes[0].texts] == ["81.8", "83.4", "83.1"]
    assert picture.alt == "top-1, %. 224: alone 81.8, taught 83.4; 384: alone 83.1"


def test_the_worst_within_rho_is_at_the_steeper_side():
    picture = SHOWN["worst_nearby"]()
    assert picture.alt.endswith("a: loss 0.00, worst 0.25; b: loss 1.00, worst 2.25")  # (2 + 0.5 - 1)²


def test_flatness_has_a_row_a_method_and_a_dot_a_seed():
    picture = SHOWN["flatness"]()
    left, right = picture.axes
    assert [list(line.get_xdata()) for line in left.lines] == [[30, 20], [10, 5]]
    assert [list(line.get_xdata()) for line in right.lines] == [pytest.approx([90, 92]), pytest.approx([88, 89])]
    assert picture.alt.endswith("ViT with AdamW + SAM: 5.0 to 10.0, 88–89 %")
    # A logarithmic axis of one decade would write "3 × 10⁰" beside each other, over each other.
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["5", "10", "20", "50"]
    assert not len(left.get_xticks(minor=True))


def test_surfaces_share_one_scale():
    first, second = (axis.collections[0] for axis in SHOWN["surfaces"]().axes)
    assert (first.norm.vmin, first.norm.vmax) == (second.norm.vmin, second.norm.vmax)
    with pytest.raises(ValueError, match="at least one"):
        figures.surfaces({}, torch.linspace(-1, 1, 3))
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        figures.surfaces({"a": torch.ones(2, 2)}, torch.linspace(-1, 1, 3))

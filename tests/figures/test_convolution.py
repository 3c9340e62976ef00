"""The figures of lecture 1 draw what they are given, and say so in words."""

import pytest
import torch

from course.figures import convolution as figures
from course.figures.convolution import Counted
from tests.models.parity import proves
from tests.pictures import assert_readable


def bowl(title, points):
    return (points**2).sum(-1)


def straight_down(steps=5):
    return torch.linspace(2, 0, steps + 1)[:, None].expand(-1, 2).double()  # (steps + 1, 2)


SHOWN = {
    "layers": lambda: figures.layers({"image": torch.rand(3, 8, 8), "map": torch.tensor([[-1.0, 0.5]])}),
    "chain": lambda: figures.forward_and_backward([("w", 0.5, -1.25), ("L = w²", 0.25, 1.0)]),
    "history": lambda: figures.history(
        {"A": Counted(1998, 2572, 59134, 416_520), "B": Counted(2015, 23 * 10**6, 0, 4 * 10**9)}
    ),
    "descents": lambda: figures.descents(
        bowl, {"bowl": {"GD": straight_down(), "none": straight_down()[:2]}}, limits=(-3, 3, -3, 3), low=0.5
    ),
    "curves": lambda: figures.curves_to_name(
        {"A": ([1, 2], [2.0, 1.0], [0.1, 0.5]), "B": ([1, 2], ([2.0, 0.5], [4.0, 1.5]), ([0.1, 0.3], [0.1, 0.5]))},
        chance=0.1,
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_word_can_be_read(name):
    assert_readable(name, SHOWN[name]())


def test_layers_are_as_many_panels_with_their_range_in_words():
    picture = SHOWN["layers"]()
    assert [axis.get_title() for axis in picture.axes] == ["image", "map"]
    assert picture.alt == "an image and its maps. image; map: 1 by 2, from -1 to 0.5"
    shown = picture.axes[1].images[0]
    assert (shown.norm.vmin, shown.norm.vmax) == (-1, 1)  # white is 0


def test_a_chain_has_each_value_above_and_each_derivative_below():
    (axis,) = SHOWN["chain"]().axes
    heights = {text.get_text(): text.get_position()[1] for text in axis.texts}
    assert heights["0.5"] > heights["w"] > heights["−1.25"]
    assert SHOWN["chain"]().alt.endswith("w = 0.5, derivative -1.25; L = w² = 0.25, derivative 1")


@proves(194)
def test_history_splits_the_parameters_and_counts_the_multiply_adds():
    picture = SHOWN["history"]()
    left, right = picture.axes
    widths = [bar.get_width() for bar in left.patches]
    assert widths == pytest.approx([0.002572, 0.059134, 23, 0])
    assert [bar.get_width() for bar in right.patches] == pytest.approx([0.00041652, 4])
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["A, 1998", "B, 2015"]
    assert picture.alt.startswith(
        "A (1998): 61.7 k parameters, 96 % of them fully connected, 417 k multiply-adds; B (2015): 23 M parameters, 0 %"
    )


def test_a_way_ends_where_it_arrives():
    picture = SHOWN["descents"]()
    assert picture.alt == "ways down to a height of 0.5, in steps. bowl: GD after 4, none not at all"
    lines = {line.get_label(): line for line in picture.axes[0].lines if not line.get_label().startswith("_")}
    assert len(lines["GD"].get_xdata()) == 5 and len(lines["none"].get_xdata()) == 2
    assert (picture.axes[0].get_xlabel(), picture.axes[0].get_ylabel()) == ("first weight", "second weight")


def test_arrival_is_the_first_step_below():
    heights = torch.tensor([3.0, 1.0, 0.4, 1.0, 0.1])
    assert figures.arrival(heights, 0.5) == 2
    assert figures.arrival(heights, 0.05) is None


def test_curves_are_means_in_bands_and_the_words_say_their_ends():
    picture = SHOWN["curves"]()
    above, below = picture.axes[1], picture.axes[3]
    assert above.lines[0].get_ydata() == pytest.approx([3.0, 1.0])
    assert below.lines[0].get_ydata() == pytest.approx([10, 40])
    assert "B: loss 3 to 1, test accuracy 10 to 40 %" in picture.alt


def test_losses_beyond_the_axis_are_said_in_words():
    picture = figures.curves_to_name({"A": ([1, 2], [700.0, 140.0], [0.1, 0.5]), "B": ([1, 2], [2.0, 1.0], [0.1, 0.5])})
    words = [[text.get_text() for text in axis.texts] for axis in picture.axes[:2]]
    assert words == [["all above 3:\n700 at first,\n140 at the end"], []]

"""The figures of lecture 15 on detection draw what they are given, and say so in words."""

import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from course.drawing import COLOURS, RED
from course.figures import detection
from tests.pictures import assert_readable

IMAGES = torch.rand(2, 3, 64, 64)
DISC, RING = torch.tensor([0.5, 0.5, 0.25, 0.5]), torch.tensor([0.75, 0.25, 0.25, 0.25])


def rectangles(axis):
    return [patch for patch in axis.patches if isinstance(patch, Rectangle)]


def test_boxes_lie_where_their_numbers_say_and_have_the_colour_of_their_kind():
    picture = detection.boxes(IMAGES, [[("disc 0.90", DISC), ("ring", RING)], []], ["two", "nothing"])
    assert_readable("lecture 15", picture)
    left, right = picture.axes
    disc, ring = rectangles(left)
    assert (*disc.get_xy(), disc.get_width(), disc.get_height()) == (23.5, 15.5, 16, 32)
    assert [patch.get_edgecolor() for patch in (disc, ring)] == [to_rgba(colour) for colour in COLOURS[:2]]
    assert [text.get_text() for text in left.texts] == ["disc 0.90", "ring"] and not rectangles(right)
    assert picture.alt == "boxes on images. two: disc 0.90, ring; nothing: none"
    with pytest.raises(ValueError, match="2 images, 1 lists"):
        detection.boxes(IMAGES, [[]], ["a", "b"])


def test_words_do_not_stand_on_each_other():
    picture = detection.boxes(IMAGES[:1], [[("disc", DISC), ("disc", DISC + 0.01), ("disc", DISC)]], ["copies"])
    (axis,) = picture.axes
    assert len(rectangles(axis)) == 3
    assert [text.get_va() for text in axis.texts] == ["bottom", "top"]  # above, below, and no room for a third


def test_what_is_chosen_is_framed_and_summed():
    cost = torch.tensor([[0.5, -1.0], [2.0, 0.25], [0.0, 3.0]])
    picture = detection.assignments(cost, {"best": ([0, 2], [1, 0]), "in order": ([0, 1], [0, 1])})
    assert_readable("lecture 15", picture)
    best, in_order = picture.axes
    assert [axis.get_title() for axis in picture.axes] == ["best\nsum −1.00", "in order\nsum 0.75"]
    frames = [patch for patch in rectangles(best) if patch.get_edgecolor() == to_rgba(RED)]
    assert [(round(f.get_x() + 0.47), round(f.get_y() + 0.45)) for f in frames] == [(1, 0), (0, 2)]
    assert "best sum −1.00: query 0 object 1, query 2 object 0" in picture.alt
    with pytest.raises(ValueError, match="greedy gives a query two objects"):
        detection.assignments(cost, {"greedy": ([0, 0], [0, 1])})


def test_places_leave_out_what_found_nothing():
    centres = torch.tensor([[[0.2, 0.4], [torch.nan, torch.nan]], [[0.4, 0.6], [torch.nan, torch.nan]]])  # (2, 2, 2)
    picture = detection.places_of_queries(centres, areas=torch.full((2, 2), 0.25))
    assert_readable("lecture 15", picture)
    assert [len(axis.collections[0].get_offsets()) for axis in picture.axes] == [2, 0]
    assert picture.alt == (
        "where the boxes of each query lie: query 0 has 2, on average at 0.30 across and 0.50 down, of side 0.50; "
        "query 1 has none"
    )


def test_looks_say_how_much_of_the_weight_lies_in_the_box():
    weights = torch.zeros(4, 4)
    weights[1, 2], weights[3, 3] = 0.75, 0.25
    box = torch.tensor([0.625, 0.375, 0.2, 0.2])  # within the place in row 1, column 2
    picture = detection.looks(IMAGES[0], {"query 3": weights}, {"query 3": box})
    assert_readable("lecture 15", picture)
    assert "query 3 puts 75 % of its weight on places that its box covers" in picture.alt
    assert picture.axes[1].images[0].get_array().shape == (64, 64)
    with pytest.raises(ValueError, match="weights of a, and boxes of b"):
        detection.looks(IMAGES[0], {"a": weights}, {"b": box})
    with pytest.raises(ValueError, match="does not tile"):
        detection.looks(IMAGES[0], {"a": torch.ones(5, 5)}, {"a": box})


def test_bars_of_average_precision_do_not_call_it_accuracy():
    picture = detection.average_precisions({"matched": {"AP50": (0.5, 0.6)}})
    assert picture.axes[0].get_xlabel() == "AP50, %"
    assert picture.alt == "AP50, %. matched: AP50 50–60 %"

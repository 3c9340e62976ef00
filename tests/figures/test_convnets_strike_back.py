"""The figures of lecture 12 draw what they are given, and say so in words."""

import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import Polygon, Rectangle

from course.drawing import MEANINGS, PURPLE, SKY
from course.figures import convnets_strike_back as figures
from tests.pictures import assert_readable

ROWS = {"resnet": {"texture": [99.0], "relation": [90.0, 92.0, 97.0]}, "convnext": {"texture": [98.0]}}
NOTES = {"resnet": "4.09 G", "convnext": "4.46 G"}


def test_steps_are_a_dot_at_the_mean_and_a_line_from_lowest_to_highest():
    picture = figures.steps(ROWS, NOTES, level=("Swin-T", 95.0), xlabel="accuracy, %")
    assert_readable("lecture 12", picture)
    (axis,) = picture.axes
    dots = {
        tuple(float(v) for line in line.get_data() for v in line) for line in axis.lines if line.get_marker() == "o"
    }
    assert dots == {(99.0, 0.0), (98.0, 1.0), (93.0, 0.0)}
    relation = [line for line in axis.lines if line.get_color() == MEANINGS["relation"]]
    assert [90.0, 97.0] in [list(line.get_xdata()) for line in relation]
    assert {text.get_text() for text in axis.texts} == {"4.09 G", "4.46 G", "Swin-T"}
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["resnet", "convnext"]
    assert picture.alt == (
        "accuracy, %, step by step. resnet (4.09 G): texture 99 %, relation 93 %; convnext (4.46 G): texture 98 %; "
        "Swin-T 95 %"
    )


@pytest.mark.parametrize("rows, notes", [({}, {}), (ROWS, {"resnet": ""})])
def test_a_step_without_a_note_is_refused(rows, notes):
    with pytest.raises(ValueError, match="every step has"):
        figures.steps(rows, notes, xlabel="")


KINDS = {"bottleneck": [(256, 64, 1, False), (64, 64, 3, True)], "one": [(8, 32, 1, False)]}


def test_a_convolution_is_as_wide_as_its_channels_at_both_ends():
    picture = figures.blocks(KINDS)
    assert_readable("lecture 12", picture)
    left, right = picture.axes
    first, second = (patch for patch in left.patches if isinstance(patch, Polygon))
    corners = {(x, y) for x, y in first.get_xy().round(3).tolist()}
    assert corners == {(-128, 0), (128, 0), (32, -0.7), (-32, -0.7)}
    colours = [tuple(patch.get_facecolor()) for patch in (first, second)]
    assert colours == [to_rgba(SKY), to_rgba(PURPLE)]
    assert [text.get_text() for text in left.texts] == ["1×1\n256→64", "d3×3\n64→64"]
    assert [axis.get_title() for axis in (left, right)] == list(KINDS) and len(right.texts) == 1
    assert picture.alt == (
        "blocks by their channels. bottleneck: 1×1 from 256 to 64, d3×3 from 64 to 64; one: 1×1 from 8 to 32"
    )
    with pytest.raises(ValueError, match="at least one convolution"):
        figures.blocks({"nothing": []})


def test_stripes_cross_in_the_middle_and_count_their_weights():
    picture = figures.stripes(kernel_size=9, small=3)
    assert_readable("lecture 12", picture)
    shapes = [
        [
            (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height())
            for patch in axis.patches[1:]
            if isinstance(patch, Rectangle)
        ]
        for axis in picture.axes
    ]
    tall, wide, square = (3, 0, 3, 9), (0, 3, 9, 3), (3, 3, 3, 3)
    assert shapes == [[tall], [wide], [square], [tall, wide, square]]
    assert "63 weights in place of 81: 78 %" in picture.alt and "see 45 of 81 places" in picture.alt
    with pytest.raises(ValueError, match="1 to 9 places wide, and not 10"):
        figures.stripes(kernel_size=9, small=10)

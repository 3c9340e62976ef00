"""The figures of lecture 2 draw what they are given, and say so in words."""

import pytest
from matplotlib.patches import Rectangle

from course.figures import beyond_local
from tests.pictures import assert_readable

KINDS = {"SE": ("mean", True, False), "places": ("conv", False, True), "BAM": ("both", True, True)}


def test_a_gate_has_factors_of_the_shape_it_is_said_to_have():
    picture = beyond_local.gates(KINDS)
    assert_readable("lecture 2", picture)
    texts = [text.get_text() for text in picture.axes[0].texts]
    assert [text for text in texts if text.startswith("(")] == ["(1, 1, D)", "(H, W, 1)", "(H, W, D)"]
    sides, channels = beyond_local.SIDE, beyond_local.CHANNELS
    maps, factors = 2 * channels * sides**2, (channels, sides**2, channels * sides**2)
    cells = [patch for patch in picture.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(cells) == sum(maps + each for each in factors)
    assert "SE: mean; one factor for each channel" in picture.alt and "BAM: both; a factor for each" in picture.alt


@pytest.mark.parametrize("kinds", [{}, {"nothing": ("mean", False, False)}])
def test_a_gate_without_factors_is_refused(kinds):
    with pytest.raises(ValueError, match="a factor"):
        beyond_local.gates(kinds)


ROWS = [("ResNet", "SE", 10.7, 0.77), ("ResNet", "BAM", 1.5, 1.49), ("WRN", "SE", 0.8, 0.55)]


def test_the_price_of_a_gate_is_a_point_a_row():
    picture = beyond_local.price_of_a_gate(ROWS)
    assert_readable("lecture 2", picture)
    points = sorted((x, y) for line in picture.axes[0].lines[:2] for x, y in zip(*line.get_data()))
    assert points == sorted((added, saved) for _, _, added, saved in ROWS)
    assert "BAM in ResNet: 1.5 % more, 1.49 points" in picture.alt
    assert picture.legends and not picture.axes[0].get_legend()  # a mark of the legend is no point of the table
    with pytest.raises(ValueError, match="without rows"):
        beyond_local.price_of_a_gate([])

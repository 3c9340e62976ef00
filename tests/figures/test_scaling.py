"""The figures of lecture 13 draw what they are given, and say so in words."""

import numpy as np
import pytest
import torch
from matplotlib.patches import FancyBboxPatch, Rectangle

from course.figures import scaling
from tests.pictures import assert_readable

ERRORS = {4: {10: (0.5, 0.6), 100: (0.4, 0.4)}, 8: {10: (0.3, 0.3), 100: (0.02, 0.04)}}


def a_law(parameters, images):
    return 1 / parameters + 1 / images


def test_the_law_is_lines_and_every_run_a_point():
    picture = scaling.law(ERRORS, {4: 20, 8: 80}, a_law)
    assert_readable("lecture 13", picture)
    for axis in picture.axes:
        points = sorted(y for line in axis.lines if line.get_linestyle() == "None" for y in line.get_ydata())
        assert points == sorted(error for row in ERRORS.values() for seeds in row.values() for error in seeds)
    line = next(line for line in picture.axes[0].lines if len(line.get_xdata()) == 50)
    assert np.allclose(line.get_ydata(), 1 / 20 + 1 / line.get_xdata())
    assert "width 8: 30 % at 10 images, 3 % at 100 images" in picture.alt


def test_an_error_of_zero_is_refused():
    with pytest.raises(ValueError, match="error of 0"):
        scaling.law({4: {10: (0.0, 0.1)}}, {4: 20}, a_law)


def test_a_ladder_shows_what_rose_and_what_fell():
    picture = scaling.ladder({"base": 80.0, "deeper": 70.0, "scaled": 83.0}, start=66, xlabel="top-1, %")
    assert_readable("lecture 13", picture)
    bars = [(round(bar.get_x(), 1), round(bar.get_width(), 1)) for bar in picture.axes[0].patches]
    assert bars == [(66, 14), (80, 0), (66, 4), (70, 10), (66, 4), (70, 13)]
    assert "deeper: 70.0; scaled: 83.0" in picture.alt
    with pytest.raises(ValueError, match="begins at 75"):
        scaling.ladder({"base": 70.0}, start=75, xlabel="top-1, %")


def test_class_attention_has_two_rows_of_five_and_two_layers_that_only_read():
    picture = scaling.class_attention()
    assert_readable("lecture 13", picture)
    assert len([patch for patch in picture.axes[0].patches if isinstance(patch, FancyBboxPatch)]) == 10
    assert [text.get_text() for text in picture.axes[0].texts].count("class\nattention") == 2


def test_routing_writes_each_patchs_expert():
    chosen = torch.tensor([[[0, 1], [2, 1]], [[1, 1], [0, 2]]])
    loads = {"alone": [0.5, 0.25, 0.25], "balanced": [0.3, 0.3, 0.4]}
    picture = scaling.routing(torch.rand(2, 1, 4, 4), chosen, loads)
    assert_readable("lecture 13", picture)
    first, second, below = picture.axes
    assert [text.get_text() for text in first.texts] == ["0", "1", "2", "1"]
    heights = [bar.get_height() for bar in below.patches if isinstance(bar, Rectangle)]
    assert heights == pytest.approx([0.5, 0.25, 0.25, 0.3, 0.3, 0.4])
    assert "alone: the busiest expert gets 50 % and the idlest 25 %" in picture.alt
    with pytest.raises(ValueError, match="sum to 0.900"):
        scaling.routing(torch.rand(2, 1, 4, 4), chosen, {"wrong": [0.5, 0.4]})


def test_the_roof_bends_where_arithmetic_takes_over():
    picture = scaling.roofline({"ViT": (100.0, 0.4), "CNN": (20.0, 0.1)}, peak=100e12, bandwidth=1e12)
    assert_readable("lecture 13", picture)
    roof = picture.axes[0].lines[0]
    expected = 100 * np.minimum(1, np.asarray(roof.get_xdata()) / 100)
    assert np.allclose(roof.get_ydata(), expected)
    assert "up to 100 FLOP per byte" in picture.alt and "CNN 20 FLOP per byte, 10 % of the peak" in picture.alt
    with pytest.raises(ValueError, match="above the roof"):
        scaling.roofline({"magic": (10.0, 0.5)}, peak=100e12, bandwidth=1e12)

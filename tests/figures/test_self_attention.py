"""The figures of lecture 3 draw what they are given, and say what they cannot draw."""

import numpy as np
import pytest
import torch
from einops import rearrange

from course.figures import self_attention as figures


def test_a_wrong_split_looks_different_from_a_right_one():
    numbered = torch.arange(24).view(3, 8)
    right = rearrange(numbered, "n (h d) -> h n d", h=2)
    picture = figures.regrouped(numbered, {"right": right, "wrong": numbered.reshape(2, 3, 4)})

    def heads_in_first_block(axis):
        colours = [1 - np.array(box.get_facecolor()[:3]) for box in axis.patches if box.get_x() < 4]
        return {tuple(np.round(colour / colour.max(), 2)) for colour in colours}  # the hue, without the shade

    _, good, bad = picture.get_axes()
    assert len(heads_in_first_block(good)) == 1
    assert len(heads_in_first_block(bad)) == 2


def test_the_star_is_the_weighted_average():
    points, weights = torch.tensor([[0.0, 0.0], [1.0, 0.5]]), torch.tensor([0.25, 0.75])
    picture = figures.weighted_average(points, {"pull": weights}, ["a", "b"])
    assert "(0.75, 0.38)" in picture.get_axes()[0].get_title()


def test_what_cannot_be_regrouped_is_named():
    with pytest.raises(ValueError, match=r"0, 1, 2, \.\.\. in reading order"):
        figures.regrouped(torch.ones(2, 4), {})
    with pytest.raises(ValueError, match="same numbers"):
        figures.regrouped(torch.arange(8).view(2, 4), {"x": torch.ones(2, 2, 2)})

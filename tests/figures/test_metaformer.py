"""The figures of lecture 11 draw what they are given, and say so in words."""

import pytest
import torch
from matplotlib.patches import FancyBboxPatch, Rectangle

from course.drawing import MEANINGS
from course.figures import metaformer


def test_the_block_has_four_parts_and_a_box_for_each_mixer():
    names = ["identity", "pooling", "attention"]
    (axis,) = metaformer.block(names).axes
    assert len([p for p in axis.patches if isinstance(p, FancyBboxPatch)]) == 4 + len(names)
    assert set(names) <= {text.get_text() for text in axis.texts}
    assert "token mixer can be identity, pooling, attention" in metaformer.block(names).alt


def test_a_block_without_mixers_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        metaformer.block([])


def test_windows_are_cut_off_at_the_border():
    x = torch.arange(20.0).view(4, 5)
    left, right = metaformer.windows_averaged(x, x + 0.5, [(0, 0), (2, 2)]).axes
    corner, middle = [p for p in left.patches if isinstance(p, Rectangle)]
    assert corner.get_width() == pytest.approx(2 - 0.12) and middle.get_width() == pytest.approx(3 - 0.12)
    assert len(right.texts) == 20 and right.texts[0].get_text() == "0.5"


def test_maps_of_two_shapes_and_places_outside_are_refused():
    x = torch.zeros(4, 5)
    with pytest.raises(ValueError, match="one shape"):
        metaformer.windows_averaged(x, x.T, [(0, 0)])
    with pytest.raises(ValueError, match="no place"):
        metaformer.windows_averaged(x, x, [(4, 0)])


def test_reach_counts_the_places_that_are_heard():
    pattern = torch.zeros(5, 7)
    pattern[1:4, 2:5] = 1.0
    alone = torch.zeros(5, 7)
    alone[2, 3] = 3.0
    picture = metaformer.reach({"pooling": pattern, "identity": alone})
    assert [axis.get_title() for axis in picture.axes] == ["pooling\n9 places", "identity\n1 place"]
    assert picture.alt == "on how many of 35 places the middle token depends. pooling: 9; identity: 1"
    with pytest.raises(ValueError, match="from 0 up"):
        metaformer.reach({"wrong": -pattern})


def test_ratios_are_bars_of_their_logarithm_and_no_number_is_written():
    picture = metaformer.ratios({"a": 4.0, "b": 0.5, "c": 1.1}, against="ReLU", counted={"a": 2.0})
    (axis,) = picture.axes
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([2.0, -1.0, 0.1375], abs=1e-3)
    assert not axis.texts
    assert picture.alt == (
        "time against ReLU: a takes 4 times as long (multiply-adds: 2); b takes 0.5 times as long; "
        "c takes 1.1 times as long"
    )
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["× 1/2", "× 1", "× 2", "× 4"]
    with pytest.raises(ValueError, match="above 0"):
        metaformer.ratios({"a": 0.0}, against="b")


def test_what_was_changed_is_drawn_with_its_tenths_in_two_groups():
    body, mixer = {"no norm": 46.1, "no residual connection": 0.1}, {"identity": 74.3, "pooling": 77.2}
    picture = metaformer.one_thing_changed(body, mixer, xlabel="top-1, %")
    (axis,) = picture.axes
    assert [text.get_text() for text in axis.texts] == ["46.1", "0.1", "74.3", "77.2"]
    assert [bar.get_width() for bar in axis.patches] == [46.1, 0.1, 74.3, 77.2]
    colours = [bar.get_facecolor() for bar in axis.patches]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert "no residual connection 0.1. The mixer exchanged: identity 74.3, pooling 77.2" in picture.alt
    with pytest.raises(ValueError, match="0 to 100"):
        metaformer.one_thing_changed(body, {"identity": 743.0}, xlabel="")


def test_families_name_every_model():
    points = {"Pool": {"S12": (1.8, 77.2), "S24": (3.4, 80.3)}, "Conv": {"S18": (3.9, 83.0)}}
    picture = metaformer.families(points, xlabel="G", ylabel="top-1, %")
    (axis,) = picture.axes
    assert sorted(text.get_text() for text in axis.texts) == ["S12", "S18", "S24"]
    assert "S24 3.4 80.3" in picture.alt and len(axis.lines) == 2
    assert not {line.get_color() for line in axis.lines} & set(MEANINGS.values())  # no CNN, no question
    (axis,) = metaformer.families(points, above=["S24"], xlabel="G", ylabel="top-1, %").axes
    assert {text.get_text(): text.get_va() for text in axis.texts} == {"S12": "top", "S24": "bottom", "S18": "top"}

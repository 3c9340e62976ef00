"""The figures of lecture 10: they draw what they are given, fit a page, and name wrong input."""

import struct

import pytest
import torch

from course import drawing
from course.figures import all_mlp


def tables():
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    return x, x + 1, 2 * x


def frames(axis):
    """The rectangles that are drawn on an axis, as (x, y, width, height)."""
    return [
        (*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in axis.patches if hasattr(patch, "get_xy")
    ]


def drawn():
    points = [("Mixer-B/16", "free", 12.6, 76.4), ("DeiT-S", "attention", 4.6, 79.8)]
    table = {"Mixer": {"fits": False, "share": 0.25, "well": 81}, "S²-MLP": {"fits": True, "share": 0.0, "well": 4}}
    return {
        "mixer_block": all_mlp.mixer_block(*tables(), token=5, channel=3, hidden=(2, 16)),
        "reach_maps": all_mlp.reach_maps({str(i): torch.rand(9, 9) for i in range(12)}, (4, 4)),
        "channel_sources": all_mlp.channel_sources({"S²-MLP": torch.tensor([11, 11, 13, 13, 7, 17, 12])}, 5),
        "kernels": all_mlp.kernels(torch.randn(32, 64), (8, 8)),
        "properties": all_mlp.properties(table),
        "accuracy_and_work": all_mlp.accuracy_and_work(points, xlabel="work", ylabel="accuracy"),
    }


def test_every_figure_is_drawn_here_fits_a_page_and_says_what_it_shows():
    pictures = drawn()
    public = {
        name
        for name, value in vars(all_mlp).items()
        if callable(value) and getattr(value, "__module__", "") == "course.figures.all_mlp" and not name.startswith("_")
    }
    assert public == set(pictures)
    for name, picture in pictures.items():
        png = picture.png()
        width, height = struct.unpack(">II", png[16:24])
        assert width <= 9 * drawing.DPI and height <= 7 * drawing.DPI and len(png) < 40_000, name
        assert len(picture.alt) > 20 and "\n" not in picture.alt, name


def test_the_block_frames_the_channel_before_and_the_same_numbers_as_a_row_when_turned():
    picture = all_mlp.mixer_block(*tables(), token=5, channel=3, hidden=(2, 16))
    upper, lower = picture.subfigs
    assert frames(upper.axes[0]) == [(2.5, -0.5, 1, 6)]  # column 3 of 6 rows
    assert frames(upper.axes[1]) == [(-0.5, 2.5, 6, 1)]  # row 3 of 6 columns
    assert frames(lower.axes[0]) == [(-0.5, 4.5, 4, 1)]  # token 5 of 4 channels
    x, _, _ = tables()
    assert torch.equal(torch.tensor(upper.axes[1].images[0].get_array().data), x.T)
    assert "4 channels" in picture.alt and "6 over 2 to 6" in picture.alt and "4 over 16 to 4" in picture.alt


def test_reach_counts_the_tokens_leaves_those_not_heard_white_and_frames_the_query():
    strength = torch.zeros(3, 5)
    strength[1, 2], strength[0, 4] = 1.0, 1e-6
    picture = all_mlp.reach_maps({"cross": strength}, (1, 2))
    (axis,) = picture.axes
    assert axis.get_title() == "cross\n2 of 15 tokens"
    assert picture.alt.endswith("cross: 2 of 15, 1 of them above a tenth of the largest")
    colours = torch.tensor(axis.images[0].get_array().data)
    white = (colours == 1).all(dim=-1)
    assert torch.equal(white, strength == 0)
    assert colours[1, 2, 0] < colours[0, 4, 0] < 1
    assert frames(axis) == [(1.5, 0.5, 1, 1)]


def test_channels_stand_where_they_come_from():
    (axis,) = all_mlp.channel_sources({"in turn": torch.tensor([11, 12, 11, 12, 7, 7, 7])}, 5).axes
    assert {text.get_text(): text.get_position() for text in axis.texts} == {
        "4–6": (2, 1),
        "0, 2\n…": (1, 2),
        "1, 3\n…": (2, 2),
    }
    colours = torch.tensor(axis.images[0].get_array().data)
    assert (colours[1, 2] < colours[2, 1]).any() and (colours[0, 0] == 1).all()
    assert frames(axis) == [(1.5, 1.5, 1, 1)]
    alt = all_mlp.channel_sources({"a": torch.tensor([7, 8, 12])}, 5).alt
    assert alt == ("a: channels 0 from 1 above, channels 1 from 1 above and 1 to the right, channels 2 from itself")


def test_kernels_come_strongest_first_as_maps():
    weights = torch.zeros(3, 6)
    weights[0, 0], weights[1] = 0.1, torch.arange(6.0)
    picture = all_mlp.kernels(weights, (2, 3), count=2)
    assert picture.alt.startswith("the 2 strongest of 3 rows") and "correlate by 0.98" in picture.alt
    shown = [axis.images[0].get_array().data.tolist() for axis in picture.axes if axis.images]
    assert len(shown) == 2 and shown[0] == [[0, 1, 2], [3, 4, 5]] and shown[1][0][0] == pytest.approx(0.1)


def test_properties_colour_only_yes_and_no():
    (axis,) = drawn()["properties"].axes
    assert len(axis.patches) == 2
    assert axis.patches[0].get_facecolor() != axis.patches[1].get_facecolor()
    written = [text.get_text() for text in axis.texts]
    assert {"Mixer", "no", "yes", "0.25", "81", "fits"} <= set(written)


def test_every_point_has_its_name():
    (axis,) = drawn()["accuracy_and_work"].axes
    assert [text.get_text() for text in axis.texts] == ["Mixer-B/16", "DeiT-S"]
    points = [("near", "g", 4.0, 80.0), ("by", "g", 4.1, 80.0)]
    (axis,) = all_mlp.accuracy_and_work(points, left=["near"], xlabel="work", ylabel="accuracy").axes
    assert [text.get_ha() for text in axis.texts] == ["right", "left"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: all_mlp.mixer_block(
                torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(2, 3), token=0, channel=0, hidden=(1, 1)
            ),
            "one shape",
        ),
        (lambda: all_mlp.mixer_block(*tables(), token=6, channel=0, hidden=(1, 1)), "no token 6"),
        (lambda: all_mlp.reach_maps({}), "no map"),
        (lambda: all_mlp.reach_maps({"a": torch.zeros(4)}), "must be"),
        (lambda: all_mlp.reach_maps({"a": -torch.ones(2, 2)}), "from 0"),
        (lambda: all_mlp.reach_maps({"a": torch.ones(2, 2)}, (2, 0)), "no token"),
        (lambda: all_mlp.channel_sources({"a": torch.tensor([9])}, 3), "from 0 to 8"),
        (lambda: all_mlp.kernels(torch.zeros(2, 5), (2, 2)), "N = 4"),
        (lambda: all_mlp.properties({}), "no row"),
        (lambda: all_mlp.properties({"a": {"x": 1}, "b": {"y": 1}}), "'b' has"),
        (lambda: all_mlp.accuracy_and_work([("a", "g", 0.0, 1.0)], xlabel="", ylabel=""), "above 0"),
    ],
)
def test_wrong_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()

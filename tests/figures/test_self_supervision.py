"""The figures of lecture 16, sections 1 to 4, draw what they are given, and say so in words."""

import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Rectangle

from course.drawing import BLUE, ORANGE, PALE
from course.figures import self_supervision
from tests.pictures import assert_readable


def test_rows_paint_over_the_pixels_they_are_told_to():
    images = torch.full((3, 1, 4, 5), 255, dtype=torch.uint8)
    where = torch.zeros(3, 4, 5, dtype=torch.bool)
    where[1, 2, 3] = True
    picture = self_supervision.rows(
        {"image": images, "mask": images}, painted={"mask": where}, captions={"mask": ["1", "2", "3"]}
    )
    assert_readable("lecture 16", picture)
    assert len(picture.axes) == 6 and picture.alt == (
        "3 images in each row. image; mask, 2 % painted over, labelled 1 2 3"
    )
    drawn = [axis.images[0].get_array() for axis in picture.axes]  # (H, W, 3) each
    assert all((pixels == 1).all() for i, pixels in enumerate(drawn) if i != 4)
    assert tuple(drawn[4][2, 3]) == pytest.approx(to_rgb(BLUE))
    assert (drawn[4] != 1).any(axis=-1).sum() == 1
    assert [axis.get_xlabel() for axis in picture.axes] == ["", "", "", "1", "2", "3"]
    assert [axis.get_ylabel() for axis in picture.axes] == ["image", "", "", "mask", "", ""]


def test_rows_that_do_not_fit_are_refused():
    images = torch.zeros(3, 3, 4, 5)
    with pytest.raises(ValueError, match="equally long"):
        self_supervision.rows({"a": images, "b": images[:2]})
    for painted in ({"b": torch.zeros(3, 4, 5, dtype=torch.bool)}, {"a": torch.zeros(3, 5, 4, dtype=torch.bool)}):
        with pytest.raises(ValueError, match="does not fit"):
            self_supervision.rows({"a": images}, painted=painted)


def test_mae_puts_mask_tokens_in_behind_its_encoder_and_simmim_in_front():
    picture = self_supervision.two_ways(count=16, kept=4)
    assert_readable("lecture 16", picture)
    (axis,) = picture.axes
    tokens = [p for p in axis.patches if isinstance(p, Rectangle)]
    orange = [token for token in tokens if token.get_facecolor()[:3] == pytest.approx(to_rgb(ORANGE))]
    encoder = min(box.get_x() for box in axis.patches if isinstance(box, FancyBboxPatch))
    upper, lower = ([t.get_x() for t in orange if (t.get_y() >= 0) == above] for above in (True, False))
    assert len(upper) == len(lower) == 12
    assert min(upper) > encoder > max(lower)
    assert "of 16 patches the 4 that are left" in " ".join(picture.alt.split())
    for kept in (0, 16):
        with pytest.raises(ValueError, match="are left"):
            self_supervision.two_ways(16, kept)


def test_answers_are_drawn_with_their_entropy():
    picture = self_supervision.answers({"flat": torch.full((4,), 0.25), "one": torch.tensor([0.0, 1.0, 0.0, 0.0])})
    assert_readable("lecture 16", picture)
    assert [axis.get_title() for axis in picture.axes] == ["flat\nentropy 1.39", "one\nentropy 0.00"]
    assert [bar.get_height() for bar in picture.axes[1].patches] == [0, 1, 0, 0]
    assert "flat: largest 0.25, entropy 1.39" in picture.alt
    for wrong in (torch.tensor([0.5, 0.6]), torch.tensor([1.5, -0.5]), torch.full((2, 2), 0.25)):
        with pytest.raises(ValueError, match="sum to 1"):
            self_supervision.answers({"x": wrong})


def test_a_leak_is_the_share_of_hidden_pixels_that_are_seen():
    hidden = torch.zeros(4, 4, dtype=torch.bool)
    hidden[:, 2:] = True
    seen = torch.zeros(4, 4, dtype=torch.bool)
    seen[:, :3] = True
    picture = self_supervision.leak(hidden, {"apart": ~hidden, "over": seen})
    assert_readable("lecture 16", picture)
    assert "apart: 0 % of the hidden pixels; over: 50 % of the hidden pixels" in picture.alt
    colours = picture.axes[1].images[0].get_array()
    assert [tuple(colours[0, x]) for x in range(4)] == [
        pytest.approx(to_rgb(colour)) for colour in (BLUE, BLUE, ORANGE, PALE)
    ]
    with pytest.raises(ValueError, match="shape"):
        self_supervision.leak(hidden, {"x": seen[:3]})

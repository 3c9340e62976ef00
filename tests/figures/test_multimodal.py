"""The figures on Perceivers and on what comes together draw what they are given, and say what they cannot draw."""

import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from course.drawing import BLUE, PALE, RED
from course.figures import multimodal
from tests.pictures import assert_nothing_is_cut_off

IMAGE = torch.rand(1, 12, 12)
ORDER = torch.randperm(144)
CLIPS, TONES = torch.rand(2, 4, 1, 6, 6), torch.randn(2, 32)
SENTENCES = [["it is a two", "now we look"], ["see again", "the nine was here"]]


def permuted():
    return multimodal.permuted_pixels(IMAGE, IMAGE.flatten(1)[:, ORDER].view_as(IMAGE), window=3, patch=4)


def test_tables_are_drawn_to_scale():
    picture = multimodal.tables_to_scale({"all": (4000, 4000), "few": (20, 4000)})
    sizes = [(axis.patches[0].get_width(), axis.patches[0].get_height()) for axis in picture.axes]
    assert sizes == [(4000, 4000), (4000, 20)]
    assert picture.axes[0].get_xlim() == picture.axes[1].get_xlim()
    assert "all: 4,000 × 4,000 = 16 million; few: 20 × 4,000 = 80,000" in picture.alt
    with pytest.raises(ValueError, match="at least one query"):
        multimodal.tables_to_scale({"none": (0, 3)})


def test_permuted_pixels_have_the_window_and_the_patch():
    for axis in permuted().axes:
        assert [patch.get_width() for patch in axis.patches] == [3, 4]
    with pytest.raises(ValueError, match="in another order"):
        multimodal.permuted_pixels(IMAGE, IMAGE + 1, window=3, patch=4)


def test_what_comes_together_stands_in_a_row():
    picture = multimodal.come_together(CLIPS, TONES, SENTENCES)
    assert len(picture.axes) == 2 * 6
    tone = picture.axes[6 + 4].lines[0].get_ydata()
    assert torch.equal(torch.as_tensor(tone), TONES[1])
    assert [text.get_text() for text in picture.axes[-1].texts] == ["“see again”", "“the nine was here”"]
    with pytest.raises(ValueError, match="2 clips, 1 tones"):
        multimodal.come_together(CLIPS, TONES[:1], SENTENCES)


def test_the_pairs_of_one_clip():
    (axis,) = multimodal.pairs(4, 2, of=1).axes
    cells = {(p.get_x(), p.get_y()): p.get_facecolor()[:3] for p in axis.patches if isinstance(p, Rectangle)}
    positive = {place for place, colour in cells.items() if colour == to_rgb(BLUE)}
    negative = {place for place, colour in cells.items() if colour == to_rgb(RED)}
    assert positive == {(2, 1), (3, 1)}
    assert negative == {(x, 1) for x in (0, 1, 4, 5, 6, 7)} | {(x, y) for x in (2, 3) for y in (0, 2, 3)}
    assert sum(colour == to_rgb(PALE) for colour in cells.values()) == 32 - 2 - 12
    assert (
        "2\n        sentences" not in multimodal.pairs(4, 2).alt
        and "12 pairs are negative" in multimodal.pairs(4, 2).alt
    )
    with pytest.raises(ValueError, match="no 4"):
        multimodal.pairs(4, 2, of=4)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: multimodal.tables_to_scale({"pixels at pixels": (50176, 50176), "latents at pixels": (512, 50176)}),
        permuted,
        lambda: multimodal.come_together(CLIPS, TONES, SENTENCES),
        lambda: multimodal.pairs(4, 2),
    ],
)
def test_everything_can_be_read(draw):
    picture = draw()
    assert_nothing_is_cut_off(picture.alt, picture)

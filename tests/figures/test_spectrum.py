"""The figures of lecture 9 draw what they are given, and say so in words."""

import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Rectangle

from course.drawing import MEANINGS
from course.figures import spectrum
from tests.pictures import assert_readable

TABLE = {
    "ViT": {"layout": ("one grid", 0.0), "head": ("class token", 0.0)},
    "PVT": {"layout": ("4 stages", 1.0), "head": ("class token", 0.0)},
    "CvT": {"layout": ("3 stages", 1.0), "head": ("both", 0.5)},
}


def test_the_table_has_a_coloured_cell_for_each_word():
    picture = spectrum.spectrum(TABLE)
    assert_readable("lecture 9", picture)
    (axis,) = picture.axes
    cells = {(cell.get_x(), cell.get_y()): cell.get_facecolor()[:3] for cell in axis.patches}
    assert len(cells) == 6
    assert cells[0, 0] == cells[1, 0] == cells[1, 1] != cells[0, 1] == cells[0, 2] != cells[1, 2]
    texts = {text.get_position(): text.get_text() for text in axis.texts}
    assert texts[0.5, 1.5] == "4 stages" and texts[1.5, 2.5] == "both"
    assert "PVT: 4 stages, class token" in picture.alt and "by layout, head" in picture.alt


def test_a_network_without_a_word_and_a_place_beyond_the_ends_are_refused():
    with pytest.raises(ValueError, match="same axes"):
        spectrum.spectrum(TABLE | {"X": {"layout": ("one grid", 0.0)}})
    with pytest.raises(ValueError, match="between 0"):
        spectrum.spectrum({"X": {"layout": ("one grid", 2.0)}})


def test_tints_are_light_and_go_from_green_to_purple():
    for share, name in ((0, "ViT"), (1, "CNN")):
        full, light = to_rgb(MEANINGS[name]), spectrum.tint(share)
        assert all(low <= high for low, high in zip(full, light)) and min(light) > 0.5


def test_a_stage_is_as_long_as_its_blocks_and_coloured_by_what_it_does():
    picture = spectrum.stages({"BoTNet": [("C", 56, 3), ("A", 7, 2)], "ViT": [("A", 14, 12)]})
    assert_readable("lecture 9", picture)
    (axis,) = picture.axes
    boxes = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    assert [box.get_width() for box in boxes] == [3, 2, 12]
    assert boxes[0].get_facecolor() != boxes[1].get_facecolor() == boxes[2].get_facecolor()
    assert boxes[1].get_facecolor()[:3] == pytest.approx(tuple(spectrum.tint(0)))
    assert "BoTNet: 3 blocks of convolution on 56 by 56, 2 blocks of attention on 7 by 7" in picture.alt
    for wrong in ({"X": [("B", 7, 2)]}, {"X": []}):
        with pytest.raises(ValueError, match="X: stages"):
            spectrum.stages(wrong)


def test_only_the_class_token_runs_through_the_blocks():
    picture = spectrum.heads(depth=3)
    assert_readable("lecture 9", picture)
    (axis,) = picture.axes
    blocks = [patch for patch in axis.patches if isinstance(patch, FancyBboxPatch)]
    assert len(blocks) == 4 * 3
    first, end = min(box.get_x() for box in blocks), 1.5 + 1.5 * 3
    collectors = [line for line in axis.lines if line.get_marker() == "s"]
    starts = sorted(float(line.get_xdata()[0]) for line in collectors)
    assert starts[0] < first and all(start > end for start in starts[1:]) and len(starts) == 3
    assert "only it changes" in " ".join(picture.alt.split())


def test_rates_are_drawn_as_a_mean_in_a_band():
    line = {0.001: (0.5, 0.7), 0.01: (0.9, 0.9)}
    panels = {"AdamW": {"ViT, patches": line, "CNN stem": line}, "SGD": {"ViT, patches": {0.1: (0.1, 0.3)}}}
    picture = spectrum.over_rates(panels, chance=0.1)
    assert_readable("lecture 9", picture)
    adam, sgd = picture.axes
    assert [axis.get_title() for axis in (adam, sgd)] == ["AdamW", "SGD"]
    assert list(adam.lines[0].get_ydata()) == pytest.approx([60, 90])
    assert adam.lines[0].get_color() == MEANINGS["ViT"] and adam.lines[1].get_color() == MEANINGS["CNN"]
    assert (
        "AdamW, ViT, patches: 50–70 at 0.001, 90 at 0.01" in picture.alt
        and "SGD, ViT, patches: 10–30 at 0.1" in picture.alt
    )

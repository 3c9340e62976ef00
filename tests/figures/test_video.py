"""The figures of lecture 14 draw what they are given, and say what they cannot draw."""

import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from course.drawing import MEANINGS, ORANGE, RED, SKY
from course.figures import video
from tests.pictures import assert_nothing_is_cut_off

CLIP = torch.rand(4, 1, 8, 8)  # (T, C, H, W)


def texts(picture) -> list[str]:
    return [text.get_text() for axis in picture.axes for text in axis.texts]


def of_colour(axis, colour) -> list[Rectangle]:
    return [patch for patch in axis.patches if patch.get_facecolor()[:3] == to_rgb(colour) and patch.get_fill()]


def tokens_of_colour(axis, colour) -> int:
    """How many tokens of a frame lie under that colour."""
    _, cover = axis.images  # the frame, and (h, w, RGBA) over it
    return int((abs(cover.get_array()[..., :3] - to_rgb(colour)).max(axis=-1) < 1e-6).sum())


def test_a_moving_dot_is_a_slanted_line_and_a_still_one_is_not():
    clips = torch.zeros(2, 3, 1, 5, 6)  # moves along x; stands still
    for time in range(3):
        clips[0, time, 0, 2, time + 1] = 1
        clips[1, time, 0, 2, 3] = 1
    picture = video.space_time_slices(clips, ["moving", "still"])
    x_over_t = [axis.images[0].get_array() for axis in picture.axes[2:4]]  # (T, W) each
    assert x_over_t[0].argmax(axis=1).tolist() == [1, 2, 3] and x_over_t[1].argmax(axis=1).tolist() == [3, 3, 3]
    y_over_t = picture.axes[4].images[0].get_array()  # (T, H)
    assert y_over_t.shape == (3, 5) and y_over_t.argmax(axis=1).tolist() == [2, 2, 2]
    assert "moving: x +1.0, y +0.0; still: x +0.0, y +0.0" in picture.alt
    still = torch.ones(1, 2, 1, 16, 16)
    still[0, 1, 0, 0, 15] = 0  # so the middle of what is bright moves by 0.03 pixels, to the left and down
    assert "a: x +0.0, y +0.0" in video.space_time_slices(still, ["a"]).alt
    with pytest.raises(ValueError, match="2 clips and 1 captions"):
        video.space_time_slices(clips, ["one"])
    with pytest.raises(ValueError, match="N, T, C, H, W"):
        video.space_time_slices(clips[0], ["one"] * 3)


def test_kernels_are_written_out():
    kernels = {"a": torch.arange(18.0).view(2, 3, 3), "b": -torch.ones(2, 2, 2)}
    picture = video.kernel_in_time(kernels)
    said = texts(picture)
    assert len(picture.axes) == 4 and "17" in said and said.count("−1") == 8
    with pytest.raises(ValueError, match="same t"):
        video.kernel_in_time({"a": torch.ones(2, 3, 3), "b": torch.ones(3, 3, 3)})


def test_flow_has_an_arrow_where_there_is_flow():
    flow = torch.full((2, 2, 2), torch.nan)
    flow[0, 1] = torch.tensor([1.0, -1.0])
    flow[1, 1] = 0
    picture = video.flow_field(CLIP[0], CLIP[1], flow, patch=4)
    last = picture.axes[-1]
    (arrow,) = last.texts
    assert arrow.xyann == (5.5, 1.5) and arrow.xy[0] > 5.5 and arrow.xy[1] < 1.5  # right, and up
    assert len(last.lines) == 1  # a dot for what stands still
    assert "blue: brighter, red: darker" in [axis.get_xlabel() for axis in picture.axes]
    assert_nothing_is_cut_off("flow", picture)
    assert "2 arrows" in picture.alt and "x +0.5, y -0.5" in picture.alt  # those that are no number have none
    with pytest.raises(ValueError, match=r"\(2, 2, 2\)"):
        video.flow_field(CLIP[0], CLIP[1], flow[:1], patch=4)


def test_frame_rates_draw_a_bar_a_frame():
    picture = video.frame_rates(12, 4, channels=(64, 8), shares=(0.7, 0.2))
    bars = picture.axes[0].patches
    heights = [round(bar.get_height(), 6) for bar in bars if isinstance(bar, Rectangle)]
    assert len(heights) == 3 + 12 and heights[0] == pytest.approx(8 * heights[-1])
    assert any("70%" in said for said in texts(picture)) and "3 frames, 70%" in picture.alt
    with pytest.raises(ValueError, match="divide"):
        video.frame_rates(12, 5, channels=(64, 8), shares=(0.7, 0.2))


def test_embeddings_keep_the_later_middle_frame_and_count_tokens():
    picture = video.two_embeddings(CLIP, tubelet=2, patch=4)
    faded = [any(p.get_facecolor() == (1, 1, 1, 0.8) for p in axis.patches) for axis in picture.axes[:4]]
    assert faded == [True, False, True, False]
    assert "8 tokens each" in picture.alt and "2×4×4" in picture.axes[4].get_ylabel()
    below = [axis.patches[-1].get_edgecolor() for axis in picture.axes[4:]]
    assert below[0] == below[1] != below[2] == below[3]
    with pytest.raises(ValueError, match="do not tile"):
        video.two_embeddings(CLIP, tubelet=3, patch=4)


def test_stages_show_who_is_seen_and_who_asks():
    space = torch.zeros(3, 2, 2, dtype=torch.bool)
    space[1] = True
    later = torch.ones(3, 1, 1, dtype=torch.bool)
    steps = [("space", space, (1, 0, 1)), ("time", later, (1, 0, 0))]
    picture = video.attention_stages({"one": steps, "two": [steps[0], ("+ time", later, (1, 0, 0))]})
    for axis in picture.axes:
        assert len(of_colour(axis, SKY)) == 4 and len(of_colour(axis, RED)) == 3  # space, time
        asking = [patch for patch in axis.patches if patch.get_linewidth() > 2]
        assert len(asking) == 2
    assert "space: sees 4 of 12" in texts(picture) and "time: sees 3 of 3" in texts(picture)
    assert "+" not in [text.get_text() for text in picture.axes[0].texts]
    assert "+" in [text.get_text() for text in picture.axes[1].texts]
    with pytest.raises(ValueError, match="one step"):
        video.attention_stages({"none": []})
    with pytest.raises(ValueError, match=r"\(T, h, w\)"):
        video.attention_stages({"flat": [("space", space[0], (0, 0))]})


def test_neighbourhoods_colour_the_first_step_and_fade_the_rest():
    time, space = torch.zeros(2, 4, 2, 2, dtype=torch.bool)
    time[:, 0, 1] = True
    space[2] = True
    picture = video.neighbourhoods(CLIP, {"divided": {"time": time, "space": space}}, query=(2, 0, 1))
    frames = picture.axes[:4]
    assert [tokens_of_colour(axis, RED) for axis in frames] == [1, 1, 1, 1]  # time
    assert [tokens_of_colour(axis, SKY) for axis in frames] == [0, 0, 3, 0]  # space, where it is not time too
    assert [tokens_of_colour(axis, "white") for axis in frames] == [3, 3, 0, 3]
    frame = [[p for p in axis.patches if not p.get_fill()] for axis in frames]
    framed = [any(p.get_edgecolor()[:3] == to_rgb(ORANGE) for p in boxes) for boxes in frame]
    assert framed == [False, False, True, False]
    assert "7 of 16 tokens" in frames[0].get_ylabel() and {"time", "space"} <= set(texts(picture))
    legend = [to_rgb(patch.get_facecolor()) for patch in picture.axes[4].patches]
    assert legend == [to_rgb(RED), to_rgb(SKY)]
    with pytest.raises(ValueError, match="T = 4"):
        video.neighbourhoods(CLIP, {"short": {"time": time[:3]}}, query=(0, 0, 0))
    with pytest.raises(ValueError, match="no token"):
        video.neighbourhoods(CLIP, {"divided": {"time": time}}, query=(0, 2, 0))


def test_a_step_has_its_colour_in_every_row_and_no_two_have_the_same():
    seen = torch.zeros(4, 2, 2, dtype=torch.bool)
    seen[0] = True
    picture = video.neighbourhoods(CLIP, {"one": {"space": seen}, "two": {"time": ~seen, "space": seen}}, (0, 0, 0))
    assert [tokens_of_colour(axis, SKY) for axis in (picture.axes[0], picture.axes[5])] == [4, 4]
    assert len(set(video.STEPS.values())) == len(video.STEPS)
    assert not {ORANGE, *MEANINGS.values()} & set(video.STEPS.values())


def test_gains_add_up():
    picture = video.gains({"start": 10.0, "+ a": 12.0, "+ b": 11.5})
    bars = [patch for patch in picture.axes[0].patches if isinstance(patch, Rectangle)]
    assert [(bar.get_x(), round(bar.get_width(), 6)) for bar in bars] == [(10.0, 2.0), (12.0, -0.5)]
    assert "+ a +2.0" in picture.alt and "−0.5  →  11.5" in texts(picture)
    with pytest.raises(ValueError, match="one step"):
        video.gains({"start": 1.0})


def test_every_figure_becomes_a_png():
    for picture in (
        video.frame_rates(8, 4, (64, 8), (0.8, 0.2)),
        video.gains({"a": 1.0, "b": 2.0}),
        video.two_embeddings(CLIP, 2, 4),
    ):
        assert picture.png().startswith(b"\x89PNG")
        assert_nothing_is_cut_off(picture.alt, picture)


def test_the_reach_of_a_token_is_counted_and_tokens_of_other_frames_are_named():
    seen = torch.zeros(4, 2, 2, dtype=torch.bool)  # (T, h, w)
    seen[1] = True
    picture = video.reach_in_clip(CLIP, {"one frame": seen}, (1, 0, 1))
    assert picture.alt == "one frame: 4 of 16 tokens"
    assert [len(of_colour(axis, SKY)) for axis in picture.axes] == [0, 4, 0, 0]
    with pytest.raises(ValueError, match=r"'one frame' must be \(T, h, w\) with T = 4"):
        video.reach_in_clip(CLIP, {"one frame": seen[:3]}, (1, 0, 1))

"""The figures of lecture 15, sections 1 to 5, draw what they are given, and say so in words."""

import pytest
import torch
from matplotlib.patches import FancyBboxPatch, Rectangle

from course.figures import segmentation as figures
from tests.pictures import assert_nothing_is_cut_off

IMAGES, MASKS = torch.rand(3, 3, 8, 8), torch.arange(5).repeat(3, 8, 2)[:, :, :8]
NAMES = ["ground", "disc", "ring", "square", "triangle"]
BOXES = [torch.tensor([[0.5, 0.25, 0.5, 0.25], [0.25, 0.75, 0.25, 0.25]]), torch.zeros(0, 4), torch.zeros(0, 4)]
PATHS = {"naive": [(8, 64), (8, 5), (64, 5)], "PUP": [(8, 64), (16, 32)]}
STEPS = {"naive": ["conv", "× 8"], "PUP": ["× 2, conv"]}
LADDER = dict(across="beside", bottom="convs", downwards="pool", upwards="up", last="classes")

SHOWN = {
    "masks": lambda: figures.masks(IMAGES, {"mask": MASKS, "FCN": MASKS}, NAMES, BOXES),
    "map_sizes": lambda: figures.map_sizes(PATHS, STEPS),
    "ladder": lambda: figures.ladder(["64", "32", "16"], ["64", "32"], **LADDER),
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_word_can_be_read(name):
    assert_nothing_is_cut_off(name, SHOWN[name]())


def test_masks_are_drawn_class_by_class_under_their_images():
    picture = SHOWN["masks"]()
    assert len(picture.axes) == 9 and picture.alt == "3 images, and under each: mask, FCN"
    assert [axis.get_ylabel() for axis in picture.axes[3::3]] == ["mask", "FCN"]
    drawn = picture.axes[3].images[0]
    assert torch.equal(torch.as_tensor(drawn.get_array()), MASKS[0])
    colours = drawn.cmap(drawn.norm(torch.arange(5).numpy()))
    assert len({tuple(colour) for colour in colours}) == 5, "each class has its own colour"
    (legend,) = picture.legends
    assert [text.get_text() for text in legend.get_texts()] == NAMES
    assert [tuple(handle.get_facecolor()) for handle in legend.get_patches()] == [tuple(c) for c in colours]


def test_boxes_lie_on_the_borders_of_their_pixels():
    frames = [p for p in SHOWN["masks"]().axes[0].patches if isinstance(p, Rectangle)]
    left, top, width, height = 2, 1, 4, 2  # pixels of the first box
    assert len(frames) == 4, "a dark and a light line for each box"
    assert frames[0].get_xy() == pytest.approx((left - 0.5, top - 0.5))
    assert (frames[0].get_width(), frames[0].get_height()) == pytest.approx((width, height))


def test_what_has_no_mask_or_no_colour_is_refused():
    with pytest.raises(ValueError, match="each of the 3 images"):
        figures.masks(IMAGES, {"mask": MASKS[:2]}, NAMES)
    with pytest.raises(ValueError, match="not for 6"):
        figures.masks(IMAGES, {"mask": MASKS}, [*NAMES, "star"])


def test_maps_are_as_large_as_they_are():
    picture = SHOWN["map_sizes"]()
    ways = "naive: 8 × 8 × 64 → 8 × 8 × 5 → 64 × 64 × 5; PUP: 8 × 8 × 64 → 16 × 16 × 32"
    assert picture.alt == f"the maps of 2 decoders. {ways}"
    sides = [patch.get_width() for patch in picture.axes[0].patches if isinstance(patch, Rectangle)]
    assert sides[0] == sides[1] < sides[2]
    written = [text.get_text() for text in picture.axes[1].texts if text.get_text()]
    assert written == ["8 × 8 × 64", "16 × 16 × 32", "× 2, conv", "PUP"]
    with pytest.raises(ValueError, match="2 steps"):
        figures.map_sizes(PATHS, STEPS | {"naive": ["conv"]})


def test_a_ladder_hands_every_level_but_the_coarsest_across():
    picture = SHOWN["ladder"]()
    (axis,) = picture.axes
    written = [text.get_text() for text in axis.texts]
    assert written.count("beside") == 2 and written.count("64") == 2 and written.count("16") == 1
    assert len([p for p in axis.patches if isinstance(p, FancyBboxPatch)]) == 6
    assert "by up: 32, 64" in picture.alt and "the last goes through convs" in picture.alt
    with pytest.raises(ValueError, match="need 2 on the way up"):
        figures.ladder(["64", "32", "16"], ["64"], **LADDER)

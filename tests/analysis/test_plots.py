"""The figures of the analyses: what is in them, and that they fit a page."""

import struct

import numpy as np
import pytest
import torch
from matplotlib import pyplot

from course.analysis import (
    attention_weights,
    position_similarity,
    principal_filters,
    rollout_maps,
)
from course.analysis import plots as drawing
from course.drawing import DPI
from course.models import create_model
from course.models.stems import sinusoidal_2d
from tests.pictures import assert_nothing_is_cut_off

IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
FIELD = torch.zeros(16, 24)
FIELD[4:8, 2:6] = 1.0
FIELD[8:12, 2:6] = 0.1
FALL = [1, 0.7, 0.1]
STEPS = torch.linspace(-1, 1, 9)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("vit_cifar", depth=3, embed_dim=64, num_heads=4)


@pytest.fixture(scope="module")
def weights(model):
    return attention_weights(model, IMAGES)


@pytest.fixture(scope="module")
def drawn(model, weights):
    return {
        "position_maps": drawing.position_maps(position_similarity(model)),
        "position_maps of ViT-B": drawing.position_maps(position_similarity(sinusoidal_2d((14, 14), 64))),
        "filters": drawing.filters(principal_filters(model), 12),
        "rollout_on_images": drawing.rollout_on_images(IMAGES, rollout_maps(weights)),
        "patch_attention": drawing.patch_attention(IMAGES[0], weights[1][0], 13),
        "receptive_fields": drawing.receptive_fields({f"stages.0.blocks.{i}": FIELD for i in range(8)}),
        "occlusion_curves": drawing.occlusion_curves([0, 0.5, 1], dict.fromkeys("abcde", FALL), chance=0.1),
        "shuffling_curves": drawing.shuffling_curves([1, 2, 8], {"ViT": FALL, "CNN": [1, 0.8, 0.1]}),
        "shuffled_images": drawing.shuffled_images(IMAGES[0]),
        "loss_surface": drawing.loss_surface(1 + STEPS.square()[:, None] + 9 * STEPS.square(), STEPS),
    }


def test_pictures_fit_a_page_and_the_budget(drawn):
    for name, picture in drawn.items():
        assert_nothing_is_cut_off(name, picture)
        png = picture.png()
        width, height = struct.unpack(">II", png[16:24])
        assert width <= 9 * DPI and height <= 7 * DPI and len(png) < 40_000, name
    assert pyplot.get_fignums() == []


def test_a_map_for_each_position_with_itself_marked(model, drawn):
    axis, _ = drawn["position_maps"].get_axes()  # and the colours
    similarity = position_similarity(model)
    canvas = axis.images[0].get_array()
    assert np.allclose(canvas[9 * 2 :, 9 * 5 :][:8, :8], similarity[2, 5].numpy())
    assert axis.images[0].get_clim() == (-1, 1)
    assert f"from {similarity.min():.2f} to 1.00; " in drawn["position_maps"].alt
    rows = torch.linspace(0, 1, 4).view(4, 1, 1, 1).expand(4, 4, 4, 4)  # what a position is like says its row
    assert "0.50 on average beside it, 0.50 half" in drawing.position_maps(rows).alt
    assert len(axis.lines) == 64 and axis.lines[8 * 2 + 5].get_xydata().tolist() == [[9 * 5 + 5, 9 * 2 + 2]]
    above, _ = drawing.position_maps(similarity.clamp(min=0.5), lowest=0.5).get_axes()
    assert above.images[0].get_clim() == (0.5, 1) and above.images[0].get_cmap().name == "Blues"
    large, _ = drawn["position_maps of ViT-B"].get_axes()
    assert [label.get_text() for label in large.get_yticklabels()] == list("1357") + ["9", "11", "13"]


def test_zero_is_grey_in_filters(model, drawn):
    found = principal_filters(model)
    shown = drawn["filters"].get_axes()[0].images[0].get_array()
    component = found.components[0].permute(1, 2, 0).numpy()
    assert np.allclose(shown, 0.5 + 0.5 * component / abs(component).max(), atol=1e-6)
    assert drawn["filters"].get_axes()[0].get_xlabel() == f"{float(found.shares[0]):.1%}"


def test_the_area_of_a_square_is_the_share_of_its_patch():
    maps = torch.zeros(1, 4, 4)
    maps[0, 1, 2], maps[0, 3, 0] = 0.36, 0.09
    picture = drawing.rollout_on_images(IMAGES[:1], maps)
    assert "the largest is 0.360 in row 1, column 2; all alike" in picture.alt
    above, below = picture.get_axes()
    squares = np.array([path.vertices[:4] for path in below.collections[0].get_paths()])  # (16, 4, 2): x, y
    assert np.allclose(squares.mean(axis=1)[[6, 12]], [(2, 1), (0, 3)])
    areas = np.ptp(squares, axis=1).prod(axis=1)
    assert np.allclose(areas, maps.flatten().numpy() / 0.36, atol=1e-6)
    assert below.get_xlabel() == "up to 0.360" and len(above.images) == 1


def test_a_patch_looks_without_the_class_token(weights, drawn):
    assert "token 13 looks: head 0 looks most at token" in drawn["patch_attention"].alt
    heat = weights[1][0][2, 14, 1:].reshape(8, 8)
    assert f"up to {float(heat.max()):.2f}" in drawn["patch_attention"].get_axes()[3].get_title()


def test_wrong_input_is_named(weights):
    for draw, says in [
        (lambda: drawing.rollout_on_images(IMAGES, torch.ones(2, 4, 4)), "6 images and 2 maps"),
        (lambda: drawing.patch_attention(IMAGES[0], weights[0], 3), r"weights\[layer\]\[number\]"),
        (lambda: drawing.patch_attention(IMAGES[0], weights[0][0], 64), "64 patches, counted from 0"),
        (lambda: drawing.filters(principal_filters(torch.rand(4, 2, 3, 3))), "2 channels are no images"),
    ]:
        with pytest.raises(ValueError, match=says):
            draw()


def test_the_outline_goes_around_half_of_the_field(drawn):
    axis = drawn["receptive_fields"].get_axes()[0]
    outline = np.concatenate([path.vertices for path in axis.collections[0].get_paths()])
    # Half are 9 of the 16 strongest, which are alike: rows 4 to 7, columns 2 to 5. That is edges at 3.5 and 7.5,
    # 1.5 and 5.5, to an eighth of a pixel.
    assert np.allclose([*outline.min(0), *outline.max(0)], [1.5, 3.5, 5.5, 7.5], atol=0.13)
    assert axis.get_title() == f"0.blocks.0\n50 % in {100 * 9 / (16 * 24):.1f} %"
    drawing.receptive_fields({"nothing": torch.zeros(4, 4)})


def test_curves_are_in_per_cent(drawn):
    (axis,) = drawn["occlusion_curves"].get_axes()
    assert axis.lines[0].get_ydata().tolist() == [100, 70, 10]
    assert axis.lines[0].get_xdata().tolist() == [0, 50, 100]
    (axis,) = drawn["shuffling_curves"].get_axes()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1×1", "2×2", "8×8"]


def test_shuffled_images_start_with_the_image_itself(drawn):
    axes = drawn["shuffled_images"].get_axes()
    shown = [axis.images[0].get_array() for axis in axes]
    assert len(shown) == 4 and np.allclose(shown[0], IMAGES[0].permute(1, 2, 0))
    assert not np.allclose(shown[3], shown[0]) and axes[3].get_xlabel() == "8×8 tiles"


def test_the_first_direction_goes_up(drawn):
    (axis,) = drawn["loss_surface"].get_axes()
    lines = axis.collections[-1]
    innermost = np.concatenate([path.vertices for path in lines.get_paths()[:3]])  # (points, x and y)
    assert np.ptp(innermost[:, 1]) > 2 * np.ptp(innermost[:, 0])  # the second direction is the steeper
    with pytest.raises(ValueError, match="along one direction is drawn by course.plots.curves"):
        drawing.loss_surface(torch.zeros(9), STEPS)

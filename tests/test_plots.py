"""The figures: what is in them, that they fit a page, that they are shown once, and that wrong input is named."""

import base64
import html
import io
import struct
from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bs4 import BeautifulSoup
from einops import rearrange
from IPython.core.formatters import DisplayFormatter
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image
from torch import Tensor

from course import drawing, plots
from course.data import load
from tests.pictures import assert_nothing_is_cut_off

NAMES = ["plus", "ground a", "ground b", "ring"]


@pytest.fixture(scope="module")
def questions():
    return load("two_questions", "test", size=12, device="cpu")


@pytest.fixture(scope="module")
def clips():
    return load("digit_video", "test", size=4, device="cpu")


class Says(torch.nn.Module):
    """One class of everything."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.normalise_images = kind, Tensor.float

    def forward(self, images):
        return F.one_hot(torch.full((len(images),), self.kind), 10).float()


def test_images_that_are_misread_are_shown_with_both_classes(questions):
    picture = plots.misread(Says(3), questions, count=2)
    wrong = [int(label) for label in questions.labels if label != 3][:2]
    assert [axis.get_xlabel() for axis in picture.axes] == [
        f"{questions.classes[kind]}, read as {questions.classes[3]}" for kind in wrong
    ]
    alike = questions.subset(1)
    with pytest.raises(ValueError, match="right about all 1 images"):
        plots.misread(Says(int(alike.labels[0])), alike)


def pictures(questions, clips):
    """One call of every function, as the lectures make them."""
    image = questions.images[3]
    numbered = torch.arange(24).view(3, 8)
    mask = torch.ones(5, 5).tril().bool()
    one_frame = torch.zeros(clips.images.shape[1], 4, 4, dtype=torch.bool)  # (T, h, w)
    one_frame[1] = True
    return {
        "image_grid": plots.image_grid(questions, count=7),
        "misread": plots.misread(Says(3), questions),
        "video_strip": plots.video_strip(clips),
        "token_maps": plots.token_maps({"map": torch.arange(24).reshape(4, 6)}, window=2),
        "reach_in_clip": plots.reach_in_clip(
            clips.images[0] / 255, {"a frame": one_frame, "all": one_frame | True}, (1, 2, 3)
        ),
        "windows_on_image": plots.windows_on_image(image, [(0, 0), (31, 31), (16, 4)], 9),
        "patches": plots.patches(image, 4, order=torch.randperm(64)),
        "attention_maps": plots.attention_maps(image, torch.rand(8, 64).softmax(-1), 13),
        "matrices": plots.matrices({"a": torch.randn(4, 3), "b": mask[:4]}, rows=NAMES),
        "regrouped": plots.regrouped(numbered, {"split": rearrange(numbered, "n (h d) -> h n d", h=2)}),
        "curves": plots.curves([1, 10, 100], {"a": [1, 2, 3], "b": [3, 2, 1]}, log="x", levels={"top": 3}),
        "bars": plots.bars({"CNN": {"texture": 1.0, "relation": 0.1}, "other": {"relation": 0.9}}, chance=0.1),
        "weighted_average": plots.weighted_average(torch.rand(4, 2), {"mean": torch.full((4,), 0.25)}, NAMES),
        "shape_letters": plots.shape_letters(clips.images[:2], image),
        "course_map": plots.course_map(),
        "course_progress": plots.course_progress().picture,
    }


@pytest.fixture(scope="module")
def drawn(questions, clips):
    return pictures(questions, clips)


def test_every_public_function_is_drawn_here(drawn):
    modules = [import_module(f"course.plots.{found.name}") for found in iter_modules(plots.__path__)]
    public = {
        name
        for module in modules
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    }
    assert modules and public <= set(plots.__all__), "what a module of course.plots draws is named in its __init__"
    assert set(plots.__all__) == set(drawn)


def test_pictures_fit_a_page_and_the_budget(drawn):
    for name, picture in drawn.items():
        png = picture.png()
        width, height = struct.unpack(">II", png[16:24])
        assert width <= 9 * drawing.DPI and height <= 7 * drawing.DPI, name
        assert len(png) < 40_000, name


def test_nothing_is_cut_off_and_no_title_runs_into_another(drawn):
    for name, picture in drawn.items():
        assert_nothing_is_cut_off(name, picture)


def test_pyplot_knows_nothing_of_them_so_a_notebook_shows_them_once(drawn):
    assert pyplot.get_fignums() == []


def test_a_notebook_gets_a_png_words_for_it_and_always_the_same_bytes(questions):
    first, second = (plots.image_grid(questions) for _ in range(2))
    data, metadata = first._repr_mimebundle_()
    assert data["image/png"][:4] == b"\x89PNG"
    assert metadata["image/png"]["alt"] == first.alt and "relation" in first.alt
    assert data["text/plain"] == f"[picture: {first.alt}]"
    assert f'alt="{html.escape(first.alt)}"' in data["text/html"]
    assert first.png() == second.png() == data["image/png"]


def test_the_words_reach_a_reader_of_the_page_that_nbconvert_makes(questions):
    picture = plots.image_grid(questions)
    picture.alt = 'two "questions" & <answers>'
    data, metadata = DisplayFormatter().format(picture)
    data["image/png"] = base64.b64encode(data["image/png"]).decode()  # as a kernel sends it
    cell = new_code_cell(outputs=[new_output("display_data", data, metadata=metadata)])
    page, _ = HTMLExporter().from_notebook_node(new_notebook(cells=[cell]))
    assert [image["alt"] for image in BeautifulSoup(page, "html.parser").find_all("img")] == [picture.alt]
    assert "No description has been provided" not in page


def test_the_palette_keeps_every_colour(questions):
    """What is drawn and what is stored differ by little, for the noisiest figure too."""
    for picture, most in ((plots.matrices({"x": torch.eye(3)}), 8), (plots.image_grid(questions), 40)):
        stored = np.asarray(Image.open(io.BytesIO(picture.png())).convert("RGB")).astype(int)
        canvas = FigureCanvasAgg(picture)
        canvas.draw()
        drawn = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
        height, width = stored.shape[:2]
        # The stored picture is the drawn one without its white margins: find where it was cut out.
        places = np.ndindex(drawn.shape[0] - height + 1, drawn.shape[1] - width + 1)
        off = min(abs(drawn[y : y + height, x : x + width] - stored).max() for y, x in places)
        assert off < most


def test_images_are_shown_as_they_are(questions):
    picture = plots.image_grid(questions, count=3)
    shown = picture.get_axes()[2].images[0].get_array()
    assert np.allclose(shown, questions.images[2].permute(1, 2, 0).numpy() / 255)
    caption = picture.get_axes()[2].get_xlabel()
    assert f"relation {questions.classes[questions.labels[2]]}" in caption and "texture" in caption


def test_one_question_needs_no_name():
    digits = load("digits", "test", device="cpu")
    picture = plots.image_grid(digits, count=2)
    assert picture.get_axes()[0].get_xlabel() == digits.classes[digits.labels[0]]


def test_floats_outside_0_and_1_are_stretched_and_inside_are_not():
    for low, high, shown in ((-2.0, 3.0, (0.0, 1.0)), (0.25, 0.5, (0.25, 0.5))):
        image = torch.linspace(low, high, 16).view(1, 4, 4)
        pixels = plots.image_grid(image[None]).get_axes()[0].images[0].get_array()
        assert np.allclose((pixels.min(), pixels.max()), shown)


def test_clips_run_to_the_right(clips):
    axes = plots.video_strip(clips, count=2).get_axes()
    assert len(axes) == 10
    assert np.allclose(axes[5 + 3].images[0].get_array(), clips.images[1, 3, 0].numpy() / 255)


def test_windows_stay_inside_the_image(questions):
    image = questions.images[0]
    corner = plots.windows_on_image(image, [(31, 0)], 9).get_axes()[1].images[0].get_array()
    assert np.allclose(corner, image[:, 23:, :9].permute(1, 2, 0).numpy() / 255)


def test_shuffled_patches_keep_their_numbers(questions):
    order = torch.randperm(64)
    picture = plots.patches(questions.images[0], 4, order=order)
    assert [int(text.get_text()) for text in picture.get_axes()[1].texts] == order.tolist()
    canvas = picture.get_axes()[1].images[0].get_array()
    row, column = divmod(int(order[0]), 8)
    expected = questions.images[0][:, 4 * row, 4 * column] / 255
    assert np.allclose(canvas[0, 0], expected)


def test_attention_is_darkest_where_the_weight_is():
    weights = torch.full((16,), 0.01)
    weights[6] = 0.85
    heat = plots.attention_maps(torch.zeros(1, 8, 8), weights, 3).get_axes()[1].images[0].get_array()
    rows, columns = np.nonzero(heat == heat.max())
    assert set(rows) == {2, 3} and set(columns) == {4, 5}  # token 6 of a 4 × 4 grid, 2 × 2 pixels each


def test_attention_maps_share_a_scale_have_frames_and_say_where_each_looks():
    weights = torch.full((2, 16), 0.01)
    weights[0, 6], weights[1, 2] = 0.85, 0.4
    picture = plots.attention_maps(torch.zeros(1, 8, 8), weights, [3, 5])
    image, *maps = picture.get_axes()
    assert [axis.images[0].get_clim() for axis in maps] == [(0, pytest.approx(0.85))] * 2
    assert all(axis.spines["left"].get_visible() for axis in maps) and len(image.patches) == 2
    assert "token 3 looks most at token 6, with weight 0.85; token 5 looks most at token 2" in picture.alt


def test_the_names_of_many_curves_stand_below_them_and_cover_none():
    few, many = (plots.curves([1, 2], {f"line {i}": [i, i] for i in range(count)}) for count in (3, 4))
    assert few.axes[0].get_legend() and not few.legends
    assert not many.axes[0].get_legend() and len(many.legends[0].get_texts()) == 4


def test_the_name_of_a_level_stands_where_no_curve_covers_it():
    def side(y, log="", level=0.1):
        (name,) = plots.curves(range(7), {"a": y}, log=log, levels={"chance": level}).axes[0].texts
        return name.get_horizontalalignment(), name.xy

    falling = [0.95, 0.6, 0.4, 0.2, 0.15, 0.13, 0.12]
    assert side(falling) == ("left", (0.02, 0.1)) and side(falling[::-1]) == ("right", (1, 0.1))
    assert side(([0.9] * 7, falling))[0] == "left"  # one seed is enough
    rising = [
        10,
        15,
        30,
        60,
        100,
        110,
        120,
    ]  # on a linear axis 50 lies nearer to the beginning, on a logarithmic to the end
    assert side(rising, level=50)[0] == "right" and side(rising, log="y", level=50)[0] == "left"


def test_whole_numbers_have_ticks_at_whole_numbers():
    (axis,) = plots.curves(range(1, 21), {"a": range(20)}).axes
    assert all(tick == round(tick) for tick in axis.get_xticks())
    (axis,) = plots.curves(range(61), {"a": range(61)}).axes
    assert all(tick % 10 == 0 for tick in axis.get_xticks())  # and at round ones
    (axis,) = plots.curves([0.0, 0.5], {"a": [1, 2]}).axes
    assert any(tick != round(tick) for tick in axis.get_xticks())


def test_curves_say_where_they_begin_and_end():
    picture = plots.curves([1, 2], {"a": ([0.1, 0.5], [0.2, 0.9]), "b": [3, 4]}, xlabel="step")
    assert picture.alt == "curves over step: a from 0.1–0.2 to 0.5–0.9; b from 3 to 4"
    assert (
        plots.curves(range(3), {"a": ([1, 0.5, 2], [1, 0.7, 2])}).alt == "curves over x: a 1 at 0, 0.5–0.7 at 1, 2 at 2"
    )
    assert plots.curves(range(9), {"a": range(9)}).alt == "curves over x: a from 0 to 8"


def test_a_picture_can_be_given_better_words():
    assert plots.curves([1], {"a": [1]}).described("one\n  point").alt == "one point"


def test_matrices_write_what_is_in_them():
    values = torch.tensor([[1.234, -0.5], [torch.nan, -torch.inf]])
    texts = [text.get_text() for text in plots.matrices({"x": values}).get_axes()[0].texts]
    assert texts == ["1.23", "−0.50", "nan", "−∞"]
    assert not plots.matrices({"x": torch.zeros(40, 40)}).get_axes()[0].texts


def test_only_labels_that_are_one_number_become_captions():
    shapes = plots.image_grid(load("shapes", "test", size=2, device="cpu"), count=2)
    assert not any(axis.get_xlabel() or axis.get_title() for axis in shapes.axes)
    narrated = load("narrated_digits", "test", size=2, device="cpu")
    said = plots.video_strip(narrated, count=2).alt
    for i in range(2):
        digit, motion = (narrated.all_classes[name][narrated.all_labels[name][i]] for name in ("digit", "motion"))
        assert f"digit {digit}, motion {motion}" in said
    assert "tone" not in said


def test_small_matrices_and_captions_are_in_the_words_of_a_picture(questions):
    values = torch.tensor([[-1.0, 2.1], [0, 12]])
    assert plots.matrices({"z\n(N, D)": values}, rows=["class", "patch"]).alt == (
        "matrices. z (N, D), 2 by 2: class −1, 2.10; patch 0, 12"
    )
    assert plots.matrices({"x": torch.zeros(7, 3)}).alt == "matrices. x, 7 by 3"
    assert plots.image_grid(torch.zeros(3, 1, 8, 8), captions=["a\nb", "c", "d"]).alt == "3 images: a, b; c; d"
    assert plots.image_grid(torch.zeros(2, 1, 8, 8)).alt == "2 images"
    second = plots.image_grid(questions, count=2).alt.split("; ")[1]
    assert second.startswith("relation ") and ", texture " in second


def test_a_mask_crosses_out_what_is_hidden():
    mask = torch.tensor([[True, False, False], [True, True, False]])
    crosses = {text.get_position() for text in plots.matrices({"mask": mask}).get_axes()[0].texts}
    assert crosses == {(1, 0), (2, 0), (2, 1)}  # (column, row)


def test_what_is_shown_in_many_lectures_has_one_colour_in_all_of_them():
    assert drawing.colours_of(["relation"]) == [drawing.ORANGE] == drawing.colours_of(["texture", "relation"])[1:]
    assert drawing.colours_of(["ViT, 1,000 images", "CNN"]) == [drawing.GREEN, drawing.PURPLE]
    assert drawing.colours_of(["untrained ViT", "ViT"]) == [drawing.GREY, drawing.GREEN]
    others = drawing.colours_of(["a", "relation", "b"])
    assert len(set(others)) == 3 and len(drawing.colours_of("abcdefgh")) == 8
    (bar, *_), line = (
        plots.bars({"x": {"relation": 0.5}}).axes[0].patches,
        plots.curves([1], {"CNN": [1]}).axes[0].lines,
    )
    assert to_hex(bar.get_facecolor()).upper() == drawing.ORANGE and line[0].get_color() == drawing.PURPLE


def test_bars_name_another_measure_on_the_axis_and_in_words():
    picture = plots.bars({"FCN": {"edges": 0.5}}, measure="mIoU")
    assert picture.axes[0].get_xlabel() == "mIoU, %" and picture.alt == "mIoU. FCN: edges 50 %"
    assert plots.bars({"FCN": {"edges": 0.5}}).axes[0].get_xlabel() == "accuracy, %"


def test_neutral_bars_have_no_colour_that_means_something():
    picture = plots.bars({"MAE": {"linear probe": 0.3, "neighbours": 0.5}}, neutral=True)
    drawn = {to_hex(bar.get_facecolor()).upper() for bar in picture.axes[0].patches}
    assert len(drawn) == 2 and not drawn & {colour.upper() for colour in drawing.MEANINGS.values()}


def test_bars_say_their_numbers():
    picture = plots.bars({"CNN": {"texture": 0.998, "relation": 0.1}})
    assert [text.get_text() for text in picture.get_axes()[0].texts] == ["100", "10"]
    assert "CNN: texture 100 %, relation 10 %" in picture.alt


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda image: plots.image_grid(image), "images are (N, C, H, W)"),
        (lambda image: plots.image_grid(image[None], captions=[]), "1 images and only 0 captions"),
        (lambda image: plots.video_strip(image[None]), "a film strip needs clips"),
        (lambda image: plots.patches(image, 5), "patches of 5 pixels do not tile an image of 32×32"),
        (lambda image: plots.attention_maps(image, torch.rand(2, 60), 1), "60 tokens are not a square grid"),
        (
            lambda image: plots.attention_maps(image, torch.rand(2, 64), [1]),
            "2 rows of weights and 1 queries",
        ),
        (lambda image: plots.matrices({"x": image}), "'x' has shape (3, 32, 32)"),
        (lambda image: plots.matrices({"x": image[0]}, rows=["a"]), "32 rows and 1 names"),
    ],
)
def test_wrong_input_is_named(questions, call, says):
    with pytest.raises(ValueError) as error:
        call(questions.images[0])
    assert says in str(error.value)

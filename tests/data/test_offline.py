"""The offline sets: what they claim about their pixels is measured here from the pixels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from course.data import available, fetch, load, two_questions

# What the last two claim: tests/data/test_shapes.py, tests/data/test_narrated.py
OFFLINE = ["digits", "two_questions", "digit_video", "shapes", "narrated_digits"]
SEQUENCES = ["sentiment", "lookup", "reversal"]  # tests/data/test_sequences.py


def distinct_images(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.cpu()}


@pytest.mark.parametrize(
    ("name", "shape", "train", "test", "classes"),
    [
        ("digits", (1, 8, 8), 1400, 397, 10),
        ("two_questions", (3, 32, 32), 5000, 1000, 10),
        ("digit_video", (5, 1, 16, 16), 4000, 1000, 4),
    ],
)
def test_sizes_types_and_classes(name, shape, train, test, classes):
    for split, count in (("train", train), ("test", test)):
        data = load(name, split, device="cpu")
        images, labels = data
        assert images.shape == (count, *shape) and images.dtype == torch.uint8
        assert labels.shape == (count,) and labels.dtype == torch.int64
        assert len(data) == count and len(data.classes) == classes
        assert set(labels.tolist()) == set(range(classes))
        assert images.min() == 0 and images.max() == 255, "the whole range of uint8 is used"


@pytest.mark.parametrize("name", OFFLINE)
def test_same_call_same_bytes_and_splits_share_nothing(name):
    again = [load(name, "train", device="cpu"), load(name, "train", device="cpu")]
    assert torch.equal(again[0].images, again[1].images) and torch.equal(again[0].labels, again[1].labels)
    again[1].images.zero_()
    again[1].labels.zero_()
    assert torch.equal(load(name, "train", device="cpu").labels, again[0].labels), "each load is its own"
    test = load(name, "test", device="cpu")
    assert not distinct_images(again[0].images) & distinct_images(test.images)
    assert len(distinct_images(again[0].images)) == len(again[0])


@pytest.mark.parametrize("name", ["two_questions", "digit_video", "shapes", "narrated_digits"])
def test_a_longer_set_begins_with_the_shorter(name):
    short, long = load(name, size=300, seed=3, device="cpu"), load(name, size=2500, seed=3, device="cpu")
    assert len(short) == 300 and len(long) == 2500
    assert torch.equal(short.images, long.images[:300])
    for question, labels in short.all_labels.items():
        assert torch.equal(labels, long.all_labels[question][:300])
    assert not distinct_images(long.images[:1000]) & distinct_images(long.images[1000:]), "blocks differ"
    other = load(name, size=300, seed=4, device="cpu")
    assert not distinct_images(short.images) & distinct_images(other.images)


def test_digits_are_scikit_learns_and_split_once():
    from sklearn.datasets import load_digits

    train, test = load("digits", device="cpu"), load("digits", "test", device="cpu")
    images = torch.cat([train.images, test.images])[:, 0]
    labels = torch.cat([train.labels, test.labels])
    ours = sorted(zip(images.flatten(1).tolist(), labels.tolist(), strict=True))
    original = load_digits()
    scaled = np.rint(original.data * 255 / 16).astype(int)
    assert ours == sorted(zip(scaled.tolist(), original.target.tolist(), strict=True))


# two_questions
# -------------------------------------------------------------------------------------------------------


def glyph_centres(images: Tensor) -> tuple[Tensor, Tensor]:
    """Where the plus and the ring are, found by template: (N, 2) each, as (x, y)."""
    red, _, blue = images.float().unbind(1)
    centres = []
    for difference, glyph in ((red - blue, two_questions.PLUS), (blue - red, two_questions.RING)):
        template = torch.tensor(glyph - glyph.mean())[None, None]
        best = F.conv2d(difference[:, None], template).flatten(1).argmax(1)
        width = two_questions.SIZE - two_questions.GLYPH + 1
        centres.append(torch.stack([best % width, best // width], dim=1))
    return centres[0], centres[1]


def test_relation_is_the_direction_from_plus_to_ring():
    data = load("two_questions", "test", device="cpu")
    plus, ring = glyph_centres(data.images)
    right, down = (ring - plus).T.float()
    angle = torch.rad2deg(torch.atan2(-down, right)) % 360  # counter-clockwise
    middle = torch.tensor([float(name.removesuffix("°")) for name in data.classes])[data.labels]
    off = (angle - middle + 180) % 360 - 180
    assert (off.abs() < 18).float().mean() > 0.99
    distance = torch.hypot(right, down)
    assert ((distance > 14) & (distance < 22)).float().mean() > 0.99


@pytest.mark.parametrize("near, right", [(3, 0.39), (6, 0.67)])
def test_the_borders_near_which_the_glyphs_lie_say_much_about_the_relation(near, right):
    """The docstring's numbers: why a small field with zero padding, which marks the borders, leaves chance."""
    assert f"{100 * right:.0f} in 100" in two_questions.__doc__
    data = load("two_questions", "train", size=10000, device="cpu")
    last = two_questions.SIZE - two_questions.GLYPH
    edges = torch.cat(glyph_centres(data.images), dim=1)  # (N, 4): left and top of the plus, then of the ring
    which = torch.where(edges <= near, 0, torch.where(edges >= last - near, 1, 2))  # low border, high border, neither
    known = (which * torch.tensor([27, 9, 3, 1])).sum(1)  # (N,)
    count = torch.zeros(81, two_questions.CLASSES)
    count.index_put_((known[:8000], data.labels[:8000]), torch.tensor(1.0), accumulate=True)
    guessed = count.argmax(1)[known[8000:]]
    assert (guessed == data.labels[8000:]).float().mean().item() == pytest.approx(right, abs=0.03)


def test_texture_is_the_direction_of_the_stripes():
    """The strongest wave of the summed colours runs at right angles to the stripes."""
    data = load("two_questions", "test", size=500, label="texture", device="cpu")
    grey = data.images.float().mean(1)
    spectrum = torch.fft.fft2(grey - grey.mean((1, 2), keepdim=True), s=(128, 128)).abs()
    frequency = torch.fft.fftfreq(128)
    fy, fx = torch.meshgrid(frequency, frequency, indexing="ij")
    length = torch.hypot(fx, fy)
    spectrum = spectrum * ((length > 1 / 5) & (length < 1 / 3.2))  # the stripes' wavelengths
    peak = spectrum.flatten(1).argmax(1)
    wave = torch.rad2deg(torch.atan2(-fy.flatten()[peak], fx.flatten()[peak]))
    named = torch.tensor([float(name.removesuffix("°")) for name in data.classes])[data.labels]
    off = (wave + 90 - named + 90) % 180 - 90
    assert (off.abs() < 9).float().mean() > 0.97


def test_the_place_of_one_glyph_says_little_of_both_nearly_everything():
    """The claim on which the lesson rests: the relation needs two places, not one."""
    from sklearn.neighbors import KNeighborsClassifier

    train, test = load("two_questions", size=4000, device="cpu"), load("two_questions", "test", device="cpu")
    places = [torch.cat(glyph_centres(data.images), dim=1).numpy() for data in (train, test)]  # (N, 4)

    def accuracy(columns: slice) -> float:
        neighbours = KNeighborsClassifier(15).fit(places[0][:, columns], train.labels)
        return neighbours.score(places[1][:, columns], test.labels)

    assert accuracy(slice(0, 2)) < 0.45 and accuracy(slice(2, 4)) < 0.45
    assert accuracy(slice(0, 4)) > 0.9


def test_labels_are_balanced_and_independent():
    data = load("two_questions", size=10_000, device="cpu")
    pairs = data.all_labels["texture"] * 10 + data.all_labels["relation"]
    counts = torch.bincount(pairs, minlength=100)
    assert counts.min() > 60 and counts.max() < 145  # 100 expected, 4 standard deviations


# digit_video
# ---------------------------------------------------------------------------------------------------------


def box_starts(clips: Tensor) -> Tensor:
    """Centre of mass of the bright pixels of every frame: (N, T, 2) as (x, y)."""
    bright = clips[:, :, 0].float().clamp(min=110) - 110  # (N, T, H, W), above the noise
    weight = bright.sum((2, 3))
    place = torch.arange(clips.shape[-1]).float()
    along_x, along_y = (bright.sum(2) * place).sum(2), (bright.sum(3) * place).sum(2)
    return torch.stack([along_x / weight, along_y / weight], dim=2)


def test_motion_is_one_pixel_a_frame_in_the_named_direction():
    data = load("digit_video", "test", device="cpu")
    moved = (box_starts(data.images)[:, -1] - box_starts(data.images)[:, 0]) / 4  # pixels a frame
    expected = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])[data.labels]
    assert data.classes == ["right", "left", "down", "up"]
    assert ((moved - expected).abs().amax(1) < 0.3).float().mean() > 0.98


def test_the_middle_frame_is_blind_to_motion_and_the_set_of_frames_to_its_sign():
    data = load("digit_video", size=4000, device="cpu")
    starts = box_starts(data.images)
    for dimension in range(2):
        middle = torch.stack([starts[data.labels == motion, 2, dimension].mean() for motion in range(4)])
        assert middle.max() - middle.min() < 0.25, "pixels; the standard error is 0.05"
        mean = starts.mean(1)[:, dimension]
        assert abs(mean[data.labels == 0].mean() - mean[data.labels == 1].mean()) < 0.25


def test_the_digits_of_a_split_are_its_own():
    """The digit image nearest to a test clip, over all places in the frame, is one of the test split."""
    clips = load("digit_video", "test", size=200, label="digit", device="cpu")
    digits = {split: load("digits", split, device="cpu").images[:, 0].float() for split in ("train", "test")}
    middle = clips.images[:, 2, 0].float()
    nearest = {}
    for split, templates in digits.items():
        windows = middle.unfold(1, 8, 1).unfold(2, 8, 1).flatten(1, 2).flatten(2)  # (N, 81, 64)
        nearest[split] = torch.cdist(windows, templates.flatten(1)).amin((1, 2))
    assert (nearest["test"] < nearest["train"]).float().mean() > 0.95


# What a caller can do wrong, and the object itself
# -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "cifar1O"}, ["cifar1O", "cifar10", "two_questions"]),
        ({"name": "mnist"}, ["mnist", "digits"]),
        ({"name": "digits", "split": "trian"}, ["trian", "'train'", "test"]),
        ({"name": "two_questions", "label": "texure"}, ["texure", "'texture'", "relation"]),
        ({"name": "digit_video", "label": "relation"}, ["relation", "motion", "digit"]),
        ({"name": "digits", "size": 2000}, ["1400", "2000"]),
        ({"name": "digits", "size": 0}, ["size"]),
        ({"name": "two_questions", "seed": -1}, ["seed"]),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ValueError) as caught:
        load(**arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_imageset():
    data = load("two_questions", "test", size=50, device="cpu")
    assert data.question == "relation"
    texture = data.ask("texture")
    assert torch.equal(texture.labels, data.all_labels["texture"]) and texture.images is data.images
    assert texture.classes[1] == "18°"
    loaded = load("two_questions", "test", size=50, label="texture", device="cpu")
    assert torch.equal(loaded.labels, texture.labels)

    few = data.subset([3, 1])
    assert torch.equal(few.images, data.images[[3, 1]])
    assert all(torch.equal(few.all_labels[name], data.all_labels[name][[3, 1]]) for name in data.all_labels)
    assert torch.equal(data.subset(data.labels == 2).labels.unique(), torch.tensor([2]))
    assert len(data.subset(7)) == 7
    assert data.to("meta").images.device.type == "meta" and data.to("meta").all_labels["texture"].is_meta
    for part in ("two_questions/test", "50 images", "3×32×32", "relation", "10 classes", "texture"):
        assert part in repr(data)
    with pytest.raises(ValueError, match="51"):
        data.subset(51)
    with pytest.raises(ValueError, match="texture"):
        data.ask("color")
    with pytest.raises(AttributeError):
        data.images = data.images[:1]


def test_the_catalogue_lists_the_offline_sets_as_here(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    rows = {row["name"]: row for row in available()}
    assert {name for name, row in rows.items() if row["state"] == "here"} == {*OFFLINE, *SEQUENCES}
    for name in (*OFFLINE, *SEQUENCES):
        train, test = (load(name, split, device="cpu") for split in ("train", "test"))
        assert rows[name]["images"] == f"{len(train):,} + {len(test):,}"
        shown = test.words if name in SEQUENCES else test.images
        assert rows[name]["size"] == "×".join(map(str, shown.shape[1:]))
        assert fetch(name) is None

"""A folder of one's own images: which are taken, what becomes of their pixels, and what is said of the others."""

import os
import shutil
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from course.cli import main
from course.data import DataError, folder, load
from course.data.imageset import placed
from course.models.registry import input_shape
from course.training import recipes
from course.training.command import _network


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))


def saved(path: Path, pixels, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    image.save(path, **options)
    return path


def photos(root: Path, classes=("cat", "dog"), each: int = 10, size=(8, 8)) -> Path:
    """Images of one colour each, so that an image tells which file it comes from."""
    for number in range(each * len(classes)):
        pixels = np.full((*size, 3), 10 * number, dtype=np.uint8)
        saved(root / classes[number % len(classes)] / f"{number:03}.png", pixels)
    return root


def colours(data) -> list[int]:
    return sorted((data.images[:, 0, 0, 0] // 10).tolist())


# -- Which images


def test_one_in_five_of_each_class_is_for_the_test_and_the_seed_says_which(tmp_path):
    root = photos(tmp_path / "photos")
    train, test = load(root, device="cpu"), load(str(root), "test", device="cpu")
    assert train.images.shape == (16, 3, 8, 8) and train.images.dtype == torch.uint8
    assert train.classes == ["cat", "dog"] and train.labels.dtype == torch.int64
    assert test.labels.bincount().tolist() == [2, 2] and train.labels.bincount().tolist() == [8, 8]
    assert sorted(colours(train) + colours(test)) == list(range(20)), "every image is in one of them"
    for data in (train, test):
        assert torch.equal(data.labels, data.images[:, 0, 0, 0].long() // 10 % 2), "each has the label of its folder"
    assert len(set(train.labels[:8].tolist())) == 2, "classes are mixed, so that the first few are a sample"
    assert torch.equal(load(root, size=5, device="cpu").images, train.images[:5])
    others = [colours(load(root, "test", seed=seed, device="cpu")) for seed in (1, 2, 3)]
    assert any(colours(test) != other for other in others)
    assert "photos/train: 16 images 3×8×8 uint8 on cpu, class: 2 classes (cat, dog)" in repr(train)


@pytest.mark.parametrize("test_folder", ["test", "val"])
def test_train_and_test_folders_are_taken_as_they_are(tmp_path, test_folder):
    photos(tmp_path / "own" / "train", each=4)
    saved(tmp_path / "own" / test_folder / "dog" / "deeper" / "x.PNG", np.full((8, 8, 3), 200))
    train, test = load(tmp_path / "own", device="cpu"), load(tmp_path / "own", "test", device="cpu")
    assert colours(train) == list(range(8)) and colours(test) == [20] and test.labels.tolist() == [1]


def test_a_train_folder_alone_is_split(tmp_path):
    photos(tmp_path / "own" / "train")
    assert len(load(tmp_path / "own", device="cpu")) == 16 and len(load(tmp_path / "own", "test", device="cpu")) == 4


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: shutil.rmtree(root), "there is no folder"),
        (lambda root: [shutil.rmtree(root), root.write_text("")], "is a file"),
        (lambda root: [shutil.rmtree(root), (root / "cat").mkdir(parents=True)], "there is no image in"),
        (lambda root: (root / "bird").mkdir(), "there is no image in .*bird"),
        (lambda root: saved(root / "bird" / "one.png", np.zeros((8, 8))), "bird has one image"),
        (lambda root: [photos(root / "train"), photos(root / "test", ("cow",))], "class 'cow' that .*cat, dog"),
    ],
)
def test_a_folder_that_is_no_set_is_a_sentence(tmp_path, spoil, words):
    spoil(photos(tmp_path / "photos"))
    with pytest.raises(DataError, match=words):
        load(tmp_path / "photos", "test", device="cpu")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"img_size": "32"}, "img_size of a folder is"),
        ({"in_chans": 2}, "in_chans of a folder is 1 for grey or 3"),
        ({"label": "kind"}, "has no label 'kind'"),
        ({"size": 17}, "has 16 images of this split; size=17"),
        ({"device": "gpu"}, "a device is 'cpu', 'cuda'"),
    ],
)
def test_wrong_arguments_are_a_sentence(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        load(photos(tmp_path / "photos"), **{"device": "cpu"} | options)
    with pytest.raises(ValueError, match="images of digits are what they are"):
        load("digits", img_size=32)
    with pytest.raises(ValueError, match="no data set 'digit': did you mean 'digits'"):
        load("digit")


def test_a_device_that_is_not_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="there is no device 'cuda' here"):
        load("digits", device="cuda")


# -- Their pixels


def test_the_middle_square_upright_of_any_size_and_kind(tmp_path):
    """Left half red, right half blue, in all the ways in which files say so."""
    red, blue = (255, 0, 0), (0, 0, 255)
    halves = np.zeros((40, 60, 3), dtype=np.uint8)
    halves[:, :30], halves[:, 30:] = red, blue
    plain = Image.fromarray(halves)
    turned = Image.Exif()
    turned[0x0112] = 6  # "turn me right by a quarter"
    clear = Image.fromarray(np.dstack([halves, np.full((40, 60), 255, dtype=np.uint8)]))
    clear.paste((9, 9, 9, 0), (0, 0, 60, 10))  # the upper quarter is transparent
    root = tmp_path / "kinds"
    saved(root / "a" / "plain.png", plain)
    saved(root / "a" / "large.jpg", plain.resize((900, 600)), quality=95, subsampling=0)
    saved(root / "b" / "turned.jpg", plain.transpose(Image.Transpose.ROTATE_90), quality=95, subsampling=0, exif=turned)
    saved(root / "b" / "palette.gif", plain.quantize(4))
    saved(root / "c" / "cmyk.tif", plain.convert("CMYK"))
    saved(root / "c" / "clear.png", clear)
    data = [load(root, split, img_size=20, device="cpu") for split in ("train", "test")]
    images = torch.cat([part.images for part in data])  # (6, 3, 20, 20)
    assert images.shape == (6, 3, 20, 20)
    lower = images[:, :, 12:].int()
    for columns, colour in ((slice(0, 8), red), (slice(12, 20), blue)):
        assert (lower[..., columns] - torch.tensor(colour).view(3, 1, 1)).abs().max() < 20
    upper = images[:, :, :2].float().mean((1, 2, 3))
    assert (upper > 250).sum() == 1, "what is transparent is white, in that one image"


def test_grey_stays_grey_and_sixteen_bits_are_scaled(tmp_path):
    ramp = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    root = tmp_path / "scans"
    saved(root / "a" / "16.png", Image.fromarray(ramp))
    saved(root / "a" / "8.png", (ramp >> 8).astype(np.uint8))
    images = torch.cat([load(root, split, device="cpu").images for split in ("train", "test")])
    assert images.shape == (2, 1, 8, 8) and torch.equal(images[0], images[1])
    assert images.min() == 0 and images.max() == 255
    three = load(root, in_chans=3, device="cpu").images
    assert three.shape == (1, 3, 8, 8) and torch.equal(three[:, 0], three[:, 2])
    saved(root / "a" / "colour.png", np.zeros((8, 8, 3)))
    assert load(root, device="cpu").images.shape[1] == 3, "one image of colours, and all have three channels"


def test_images_of_several_sizes_become_224(tmp_path):
    photos(photos(tmp_path / "photos", each=1), ("cat", "dog"), each=3, size=(9, 12))
    assert load(tmp_path / "photos", device="cpu").images.shape[1:] == (3, 224, 224)


# -- Files that cannot be read


def test_what_cannot_be_read_is_named_counted_and_left_out(tmp_path, capsys):
    root = photos(tmp_path / "photos")
    whole = saved(tmp_path / "photo.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3))).read_bytes()
    (root / "cat" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "text.png").write_text("no image")
    (root / "dog" / "notes.txt").write_text("no image by its name")
    (root / "dog" / ".DS_Store").write_text("nobody's business")
    loaded = [load(root, split, img_size=8, device="cpu") for split in ("train", "test")]
    assert sum(map(len, loaded)) == 20
    assert sorted(colours(loaded[0]) + colours(loaded[1])) == list(range(20))
    said = capsys.readouterr().err
    assert "cat/cut.jpg (image file is truncated" in said and "dog/text.png (no image, or one of a kind" in said
    assert "dog/notes.txt (no image by its name)" in said and "files are left out" in said and ".DS_Store" not in said
    load(root, img_size=8, device="cpu")
    assert "left out" in capsys.readouterr().err, "each time, not only when they are first read"


def test_nothing_that_can_be_read(tmp_path):
    root = tmp_path / "broken"
    for number in range(9):
        saved(root / "cat" / f"{number}.png", np.zeros((8, 8))).write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 8 files can be read: cat/\d.png .*; and 3 more"):
        load(root, img_size=8, device="cpu")
    assert not list((tmp_path / "data").rglob("*.pixels")), "nothing is kept"


# -- What is kept


def test_each_file_is_decoded_once_until_it_changes(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos")
    decoded = []
    pixels = folder._pixels
    monkeypatch.setattr(folder, "_pixels", lambda file, *rest: decoded.append(file.name) or pixels(file, *rest))
    first = load(root, device="cpu")
    assert len(decoded) == 16
    again = load(root, device="cpu")
    assert len(decoded) == 16 and torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    again.images.zero_()
    assert torch.equal(load(root, device="cpu").images, first.images), "who changes the images changes no file"
    changed = root / "cat" / decoded[0] if (root / "cat" / decoded[0]).exists() else root / "dog" / decoded[0]
    saved(changed, np.full((8, 8, 3), 255))
    os.utime(changed, ns=(1, 1))
    assert 25 in colours(load(root, device="cpu")) and len(decoded) == 32
    [kept] = (tmp_path / "data" / "folders").glob("*.pixels")
    kept.write_bytes(kept.read_bytes()[:-20])
    assert len(load(root, device="cpu")) == 16 and len(decoded) == 48, "a file that was cut is made anew"


def test_two_programs_that_load_a_new_folder_at_once_decode_it_once(tmp_path, monkeypatch, capsys):
    root = photos(tmp_path / "photos")
    decoded, begun, others_wait = [], threading.Event(), threading.Event()
    pixels = folder._pixels

    def slowly(file, *rest):
        decoded.append(file.name)
        begun.set()
        assert others_wait.wait(60)
        return pixels(file, *rest)

    monkeypatch.setattr(folder, "_pixels", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(load, root, device="cpu")
        assert begun.wait(60)
        second = pool.submit(load, root, device="cpu")
        said = ""
        while "waiting for it" not in said and not second.done():
            said += capsys.readouterr().err
        others_wait.set()
        assert torch.equal(first.result(60).images, second.result(60).images)
    assert len(decoded) == 16 and f"{root} is being read by another program already" in said


def test_no_room_and_no_place_are_a_sentence(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos")
    (tmp_path / "a_file").write_text("")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "a_file"))
    with pytest.raises(DataError, match="the pixels cannot be kept in .*a_file.*COURSE_DATA names another folder"):
        load(root, device="cpu")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 3000, 3000))
    with pytest.raises(DataError, match=r"take 0.0 GB, and .* has 0.0 GB free: COURSE_DATA"):
        load(root, device="cpu")


def test_images_that_do_not_fit_on_a_gpu_stay_where_they_are(monkeypatch):
    images = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)  # 1,920 bytes
    monkeypatch.setattr("course.data.imageset._free_on", lambda device: 3000)
    assert placed(images, torch.device("cuda")) is images


# -- Training on them


def test_course_train_takes_a_folder_in_the_size_of_the_model(tmp_path, capsys):
    root = photos(tmp_path / "photos", size=(30, 40))
    out = tmp_path / "out"
    arguments = ["train", "vit_cifar", "img_size=16", "depth=1", "--data", str(root), "--steps", "2", "--device", "cpu"]
    assert main([*arguments, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "vit_cifar on photos" in said and "2 of 2 steps" in said and "validation accuracy" in said
    assert main([*arguments, "--out", str(out)]) == 0
    assert "holds all 2 steps of this training" in capsys.readouterr().out


def test_random_crops_are_cut_out_of_larger_images(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos", size=(30, 40))
    seen = []
    real = folder.load_folder
    monkeypatch.setattr(
        "course.data.catalogue.load_folder", lambda *a, **k: seen.append(k["img_size"]) or real(*a, **k)
    )
    model = ["train", "vit_cifar", "img_size=28", "depth=1", "--recipe", "swin", "--steps", "1", "--batch-size", "4"]
    assert main([*model, "--device", "cpu", "--out", str(tmp_path / "out"), "--data", str(root)]) == 0
    assert seen == [32, 32], "28 pixels of 32 are 0.875, which the recipe looks at"


def test_a_model_of_any_size_is_made_for_none(tmp_path):
    data = load(photos(tmp_path / "photos", each=2), img_size=24, device="cpu")
    with torch.device("meta"):
        network = _network("resnet_50_cifar", input_shape("resnet_50_cifar"), {}, data, recipes.cpu_minute)
        assert network(torch.zeros(2, 3, 24, 24)).shape == (2, 2)
    sized = _network("vit_cifar", input_shape("vit_cifar"), {"depth": 1}, data, recipes.cpu_minute)
    assert sized.spec.img_size == 24


def test_a_folder_that_is_not_there_is_a_sentence_of_the_command(tmp_path, capsys):
    assert main(["train", "vit_cifar", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "course train: there is no folder" in capsys.readouterr().err

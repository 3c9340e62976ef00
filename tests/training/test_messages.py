"""What is said where a training cannot begin or go on, and in the forms of data of other libraries: lines that work."""

import errno
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import course.training.checkpoint as checkpoints
from course.cli import main
from course.models import create_model
from course.models.spec import per_stage
from course.training import CheckpointError, Recipe, TrainingError, fit
from course.training import loop as loops
from course.training.not_finite import cause_of
from tests.training.after_steps import after_each_step

QUICK = Recipe(steps=6, batch_size=4)
IMAGES = torch.arange(8 * 3 * 4 * 4, dtype=torch.uint8).view(8, 3, 4, 4)
LABELS = torch.arange(8) % 2


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))


# -- Forms of data


class Pairs(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index):
        return IMAGES[index], int(LABELS[index])


class HuggingFace:
    """As much of a ``datasets.Dataset`` as counts: rows with an image of Pillow, columns by name."""

    column_names = ("id", "image", "label")

    def __iter__(self):
        for image, label in zip(IMAGES, LABELS):
            yield {"image": Image.fromarray(image.permute(1, 2, 0).numpy()), "label": int(label)}

    def __getitem__(self, name):
        return (row[name] for row in self)


def follow(message: str, **known) -> dict:
    """What the lines of a message make, when they are copied."""
    first, *lines = message.split("\n")
    names = {"torch": torch, "np": np} | known
    for line in lines:
        exec(line.strip(), names)
    return names


@pytest.mark.parametrize(
    ("data", "what", "known"),
    [
        (Pairs(), "a Dataset,", "dataset"),
        (TensorDataset(IMAGES, LABELS), "a TensorDataset", "dataset"),
        (DataLoader(Pairs(), batch_size=3), "a DataLoader", "loader"),
        ((IMAGES.numpy(), LABELS.numpy()), "NumPy arrays", None),
        ((IMAGES.permute(0, 2, 3, 1).numpy(), LABELS.numpy()), "NumPy arrays", None),
    ],
)
def test_the_lines_that_convert_it_do(data, what, known):
    with pytest.raises(ValueError, match=f"data is {what}") as caught:
        fit(linear(), data, QUICK)
    made = follow(str(caught.value), **({known: data} if known else {"images": data[0], "labels": data[1]}))
    assert torch.equal(made["images"], IMAGES) and torch.equal(made["labels"], LABELS)
    assert len(fit(linear(), (made["images"], made["labels"]), QUICK).loss) == 6
    with pytest.raises(ValueError, match=f"val is {what}"):
        fit(linear(), (IMAGES, LABELS), QUICK, val=data)


def test_grey_arrays_get_their_channel():
    with pytest.raises(ValueError) as caught:
        fit(linear(), (IMAGES[:, 0].numpy(), LABELS.numpy()), QUICK)
    made = follow(str(caught.value), images=IMAGES[:, 0].numpy(), labels=LABELS.numpy())
    assert torch.equal(made["images"], IMAGES[:, :1])


def test_hugging_face_without_its_library(monkeypatch):
    module = types.SimpleNamespace(Dataset=HuggingFace, DatasetDict=type("DatasetDict", (dict,), {}))
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(ValueError, match="data is a Dataset of Hugging Face") as caught:
        fit(linear(), HuggingFace(), QUICK)
    made = follow(str(caught.value), dataset=HuggingFace())
    assert made["images"].shape == (8, 3, 224, 224) and torch.equal(made["labels"], LABELS)
    with pytest.raises(ValueError, match=r"dataset = dataset\['train'\]"):
        fit(linear(), module.DatasetDict(train=HuggingFace(), test=HuggingFace()), QUICK)


def test_an_image_folder_is_sent_to_load(tmp_path):
    from torchvision.datasets import ImageFolder

    for kind in "ab":
        (tmp_path / kind).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / kind / "0.png")
    with pytest.raises(ValueError, match="which load\\(\\) reads itself") as caught:
        fit(linear(), ImageFolder(tmp_path), QUICK)
    assert f"load({str(tmp_path)!r}, 'test')" in str(caught.value)


# -- Wrong arguments


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(recipe="cpu_minute"), "the recipe is one of course.training.recipes.*not 'cpu_minute'"),
        (dict(model="vit_cifar"), "the first argument is a model.*not 'vit_cifar'"),
        (dict(val_points=0), "val_points is a whole number"),
        (dict(device="gpu"), "a device is 'cpu', 'cuda'"),
        (dict(device="mps"), "no device 'mps' here"),
    ],
)
def test_wrong_arguments_are_a_sentence(change, words):
    if change.get("device") == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is one here")
    given = dict(model=linear(), data=(IMAGES, LABELS), recipe=QUICK, val=(IMAGES, LABELS)) | change
    with pytest.raises(ValueError, match=words):
        fit(given.pop("model"), given.pop("data"), given.pop("recipe"), **given)


def test_no_driver_is_a_sentence_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["train", "vit_cifar", "--data", "digits", "--device", "cuda"]) == 2
    assert "course train: there is no device 'cuda' here" in capsys.readouterr().err


def test_images_with_nan_are_named_before_the_first_step():
    images = IMAGES.float()
    images[5, 0, 1, 1] = float("nan")
    with pytest.raises(TrainingError, match="data: .*images themselves.*the first such image is number 5") as caught:
        fit(linear(), (images, LABELS), QUICK)
    assert "rate" not in str(caught.value)


def test_what_is_not_finite_between_two_layers_is_not_blamed_on_the_next():
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.second(self.first(x) / 0)

    assert "what the model gives to second (Linear), computed between two" in cause_of(Between(), torch.ones(1, 3))


def test_a_layer_that_gives_a_tuple_is_looked_into():
    model = nn.Sequential(nn.MultiheadAttention(4, 1))
    model.forward = lambda x: model[0](x, x, x)[0]
    model[0].register_forward_hook(lambda module, inputs, output: (output[0] / 0, output[1]))
    assert "what 0 (MultiheadAttention) makes of" in cause_of(model, torch.ones(1, 2, 4))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(img_size="224"), "img_size is a whole number, at least 1, or two of them, .*not '224'"),
        (dict(img_size=0), "img_size is a whole number, at least 1"),
        (dict(num_classes="10"), "num_classes is a whole number, at least 0; not '10'"),
        (dict(img_size=2), "the images are too small for this network: an image of 2×2"),
    ],
)
def test_a_model_of_wrong_sizes_is_a_sentence(options, words):
    with pytest.raises(ValueError, match=f"vit_cifar: {words}"):
        create_model("vit_cifar", depth=1, **options)


@pytest.mark.parametrize("size", ["depth", "embed_dim", "num_heads", "patch_size"])
@pytest.mark.parametrize("value", [0, -4])
def test_a_size_of_nothing_is_a_sentence(size, value):
    with pytest.raises(ValueError, match=f"^vit_cifar: {size} is greater than 0, and not {value}$"):
        create_model("vit_cifar", **{size: value})


@pytest.mark.parametrize("options", [dict(dims=(24, 0)), dict(depths=()), dict(num_heads=per_stage(1, 2, -1, 4))])
def test_a_size_of_nothing_in_one_stage_is_a_sentence(options):
    with pytest.raises(ValueError, match=f"^swin_t: {next(iter(options))} is greater than 0"):
        create_model("swin_t", **options)


def test_bytes_are_no_input_of_a_model():
    model = create_model("vit_cifar", depth=1)
    with pytest.raises(ValueError, match="takes float images, and these are uint8: model.normalise_images"):
        model(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


# -- Checkpoints that cannot be written


def test_a_folder_where_nothing_can_be_written_is_known_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    steps = []
    with after_each_step(steps.append), pytest.raises(CheckpointError, match="the training does not begin") as caught:
        fit(linear(), (IMAGES, LABELS), QUICK, checkpoint=tmp_path / "file" / "run.safetensors")
    assert steps == [] and "file/run.safetensors cannot be written (" in str(caught.value)


def test_a_full_disk_keeps_the_last_save_and_training_goes_on_from_it(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run.safetensors"
    undisturbed = linear()
    fit(undisturbed, (IMAGES, LABELS), QUICK)
    write, written = checkpoints.write_atomically, []

    def full_after_two(where, data):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(where))
        written.append(where)
        write(where, data)

    monkeypatch.setattr(checkpoints, "write_atomically", full_after_two)
    monkeypatch.setattr(loops, "SAVE_EVERY", 0.0)
    with pytest.raises(CheckpointError) as caught:
        fit(linear(), (IMAGES, LABELS), QUICK, checkpoint=path)
    assert "(No space left on device), so the training stops after step 3 of 6. The file holds step 2" in str(
        caught.value
    )
    monkeypatch.setattr(checkpoints, "write_atomically", write)
    model = linear()
    fit(model, (IMAGES, LABELS), QUICK, checkpoint=path)
    assert f"Going on after step 2 of 6, from {path}." in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), undisturbed.parameters()))

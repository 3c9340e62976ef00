"""``course train MODEL``: one training from the command line, also of several processes under ``torchrun``."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from course.atomic import replacing
from course.data import load
from course.data.catalogue import folder_of
from course.data.cifar import DataError
from course.data.imageset import ImageSet
from course.data.sequences import SequenceSet
from course.models import create_model
from course.models.registry import input_shape, takes_any_size
from course.models.spec import read
from course.training import recipes
from course.training.checkpoint import CheckpointError
from course.training.history import History
from course.training.loop import fit
from course.training.not_finite import TrainingError
from course.training.parallel import Processes, process_group
from course.training.recipe import Recipe

CHECKPOINT, FIGURES, CURVE = "run.safetensors", "history.json", "curve.png"


def train_command(
    model: str,
    spec: list[str],
    *,
    data: str,
    recipe: str | None,
    epochs: int | None,
    steps: int | None,
    batch_size: int | None,
    seed: int,
    out: Path | None,
    device: str | None,
) -> int:
    """Train and keep everything in a folder; 0 when it is done, 130 after Ctrl-C, 2 if it cannot be.

    Args:
        spec: what is other than the model's own spec, ``KEY=VALUE`` each.
        data: its name; behind a colon the question, if it has several (``two_questions:texture``). Or a folder of images,
            which are brought to the size of the model, ``img_size=`` of `spec` or else the paper's; to that of the
            recipe's crops, where it has such, they are cut in training.
        recipe: its name; None: ``gpu`` where there is one, else ``cpu_minute``.
        epochs, steps, batch_size: in place of the recipe's; the learning rate follows the batch size.
        out: where checkpoint, figures and curve go; there already: training goes on. None: runs/MODEL-DATA-...
        device: ``cpu``, ``cuda`` or ``mps``.
    """
    try:
        usual = input_shape(model)  # a wrong name is an error before anything is loaded
        with process_group(device) as where:
            chosen = recipes.get(recipe or ("gpu" if where.type == "cuda" else "cpu_minute")).but(seed=seed)
            for length in ({"epochs": epochs}, {"steps": steps}):
                if None not in length.values():
                    chosen = chosen.but(**length)
            if batch_size is not None:
                chosen = chosen.at_batch_size(batch_size)
            given = _overrides(spec)
            folder = folder_of(data)
            if folder:
                chosen, kept = _sizes_of_a_folder(usual, given, chosen)
                if takes_any_size(model):
                    given.pop("img_size", None)
            processes = Processes.running()
            for turn in (True, False):  # the first process keeps a folder's pixels, and the others find them kept
                if processes.first == turn:
                    train, test = (
                        load(folder, split, seed=seed, device="cpu", **kept) if folder else _loaded(data, split)
                        for split in ("train", "test")
                    )
                processes.wait()
            # The weights come from the seed, so that all processes start from the same.
            torch.manual_seed(seed)
            network = _network(model, usual, given, train, chosen)
            named = folder.name if folder else data.replace(":", "-")
            out = out or Path("runs") / f"{model}-{named}-{recipe or 'default'}-seed{seed}"
            history = _train(network, train, test, chosen, out, where)
    except (ValueError, DataError, CheckpointError, TrainingError) as error:
        print(f"course train: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"course train: {error.filename} cannot be written or read: {error.strerror}", file=sys.stderr)
        return 2
    return 130 if history.interrupted else 0


def _train(
    network: nn.Module, train: ImageSet, test: ImageSet, recipe: Recipe, out: Path, device: torch.device
) -> History:
    first = Processes.running().first
    if first:
        count = Processes.running().count
        print(
            f"{network.name} on {train.name}, {sum(p.numel() for p in network.parameters()):,} weights, "
            f"{count} process{'es' if count > 1 else ''} on {device.type}; all of it goes to {out}",
            flush=True,
        )
    history = fit(network, train.to(device), recipe, val=test.to(device), device=device, checkpoint=out / CHECKPOINT)
    if first:
        figures = {
            "model": network.name,
            "data": train.name,
            "question": train.question,
            "recipe": asdict(recipe),
            "steps": history.steps,
            "loss": history.loss,
            "val_steps": history.val_steps,
            "val_accuracy": history.val_accuracy,
        }
        with replacing(out / FIGURES) as partial:
            partial.write_text(json.dumps(figures) + "\n", encoding="utf-8")
        with replacing(out / CURVE) as partial:
            history.figure().savefig(partial, format="png", dpi=100)
        print(f"{history!r}, {history.seconds:.0f} s")
    return history


def _loaded(name: str, split: str) -> ImageSet:
    name, _, question = name.partition(":")
    loaded = load(name, split, label=question or None, device="cpu")
    if isinstance(loaded, SequenceSet):
        raise ValueError(
            f"{name} is sequences of words, and `course train` trains on images: lecture 4 trains on words"
        )
    return loaded


def _sizes_of_a_folder(usual: tuple[int, ...], given: dict, recipe: Recipe) -> tuple[Recipe, dict]:
    """The recipe for images of a folder, and what `load` is to make of them.

    Random crops and the centre that is evaluated are cut out of somewhat larger images: of 256 pixels for 224, where
    the recipe looks at 0.875 of a side.
    """
    side = given.get("img_size", usual[-2])
    if len(usual) != 3 or not isinstance(side, int) or side < 1 or (usual[-2] != usual[-1] and "img_size" not in given):
        raise ValueError("a folder has square images, and this model takes others: say img_size=N, one whole number")
    kept = {"img_size": side, "in_chans": given.get("in_chans")}
    if "random_resized_crop" not in recipe.augment:
        return recipe, kept
    return recipe.but(img_size=side), kept | {"img_size": round(side / recipe.test_crop)}


def _network(name: str, usual: tuple[int, ...], overrides: dict, data: ImageSet, recipe: Recipe) -> nn.Module:
    """The model for this data: classes, size, channels and frames are the data's, unless they are given."""
    shape = tuple(data.images.shape[1:])
    size, usual_size = (
        _size(shape if recipe.img_size is None else (*shape[:-2], recipe.img_size, recipe.img_size)),
        _size(usual),
    )
    other = {key: value for key, value in size.items() if value != usual_size.get(key)}
    if takes_any_size(name):
        other.pop("img_size", None)
    if recipe.layer_scale is not None:
        other["layer_scale"] = recipe.layer_scale
    return create_model(name, **{"num_classes": len(data.classes), **other, **overrides})


def _size(shape: tuple[int, ...]) -> dict:
    """What (C, H, W), or (T, C, H, W), is in the words of a spec."""
    *frames, channels, height, width = shape
    size = {"img_size": height if height == width else (height, width), "in_chans": channels}
    return size | ({"num_frames": frames[0]} if frames else {})


def _overrides(spec: list[str]) -> dict:
    found = {}
    for word in spec:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"what is other than the model's own spec is said as KEY=VALUE (depth=3), not {word!r}")
        found[key] = read(value)
    return found

"""``course bench photographs``: what small networks of each kind learn of real photographs in some minutes of two CPU cores.

Each run is one `course train` by the recipe ``photographs``, from CIFAR-10 or from a folder of its images. With ``--save``
it is stored when it ends: the curve in ``course/checkpoints/photographs_NAME.json``, the weights in half precision beside
it, ``photographs_NAME.safetensors`` of seed 0 and ``photographs_NAME_seed1.safetensors`` of another. A run that is stored
already is not made again. Without ``--save`` a run is compared with the stored one of its seed. Only the plain ViT has
three seeds, and whichever ``--seeds 3`` is said for; what has one is shown and never ranked.
"""

import json
import platform
import shlex
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch import nn

from course.analysis.segmentation import confusion
from course.atomic import write_atomically
from course.authoring.stored_runs import commit_of
from course.bench import CannotRunHere
from course.data import load
from course.data.imageset import ImageSet
from course.data.normalise import Normalise
from course.models import create_model
from course.models.spec import read as read_value
from course.models.spec import written
from course.names import one_of
from course.notebook import budget_name
from course.training.command import CHECKPOINT, FIGURES, train_command
from course.training.pretrained import FOLDER, Origin, runs_of, save_pretrained, weights_of
from course.training.stored import read

RECIPE = "photographs"
TOLERANCE = 0.03  # of the share of right test images, for the same run on another machine
POINTS = 100  # of a stored curve
TINY_STEPS = 3
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """A network: its name here, what `course train` is told of it, and how many seeds it is trained with."""

    name: str
    model: str
    spec: str = ""
    seeds: int = 1

    @property
    def stored(self) -> str:
        return f"photographs_{self.name}"

    @property
    def overrides(self) -> dict:
        return {key: read_value(value) for key, _, value in (word.partition("=") for word in self.spec.split())}

    def command(self, data: str, seed: int) -> str:
        return " ".join(
            ["course train", self.model, *map(shlex.quote, self.spec.split()), "--data", data]
            + ["--recipe", RECIPE, "--seed", str(seed)]
        )


# Each fits into a file of two million bytes, and an image costs each of them some 20 to 50 million multiply-adds.
ROWS = (
    Row("vit", "vit_cifar", "embed_dim=96 depth=6 num_heads=3", seeds=3),
    Row("cct", "cct_7_3x1_cifar", "embed_dim=64 depth=2"),
    Row("swin", "swin_cifar", "dims=(48,96) depths=(2,2) num_heads=per_stage(3,6)"),
    Row("mixer", "mixer_cifar", "embed_dim=96 depth=6"),
    Row("poolformer", "poolformer_cifar", "dims=(48,96,160) depths=(2,2,2)"),
    Row("convmixer", "convmixer_cifar", "dims=(96,) depths=(6,)"),
)


def bench(words: list[str], *, data: Path | None = None, seeds: int | None = None, save: bool = False) -> dict:
    """Train row after row, seed after seed.

    Args:
        words: rows (``vit``, ``mixer``); none: all.
        data: a folder of images, as `course train --data` takes it, in place of CIFAR-10.
        seeds: how often each row is trained, with seeds 0, 1, ...; default: the row's own number.
        save: store each run when it ends.

    Returns:
        {row: {seed: what `runs_of` gives of it, and "stored", the accuracy of the stored run, or None}}.

    Raises:
        CannotRunHere: there are no images, or the training could not be done; `course train` has said why.
    """
    tiny = budget_name() == "tiny"
    if tiny and save:
        raise ValueError("what three steps have learned is not worth storing: --save without COURSE_BUDGET=tiny")
    if seeds is not None and seeds < 1:
        raise ValueError(f"--seeds is how often each row is trained, 1 at least, and not {seeds}")
    for word in words:
        one_of(word, [row.name for row in ROWS], "there is no row")
    figures: dict[str, dict] = {}
    for row in ROWS:
        if words and row.name not in words:
            continue
        figures[row.name] = {}
        for seed in range(seeds or row.seeds):
            before = runs_of(row.stored, FOLDER).get(str(seed))
            if save and before:
                print(f"{row.name}, seed {seed}: is stored; delete it from {row.stored}.json to have it trained again")
                continue
            model, run = trained(row, seed, data, tiny)
            if save:
                store(row, seed, model, run)
            figures[row.name][str(seed)] = run | {"stored": before and before["accuracy"]}
            print(f"{row.name}, seed {seed}: {_line(run, before, tiny)}", flush=True)
    count = sum(map(len, figures.values()))
    print(
        f"{count} runs of {TINY_STEPS} steps: they run, nothing is learned" if tiny else f"{count} runs by {RECIPE!r}"
    )
    return figures


def trained(row: Row, seed: int, data: Path | None, tiny: bool) -> tuple[nn.Module, dict]:
    """One `course train`, and what is kept of it."""
    name = "cifar10" if data is None else str(data)
    with tempfile.TemporaryDirectory() as folder:
        out, begin, of_processor = Path(folder) / "run", time.monotonic(), time.process_time()
        code = train_command(
            row.model,
            row.spec.split(),
            data=name,
            recipe=RECIPE,
            epochs=None,
            steps=TINY_STEPS if tiny else None,
            batch_size=None,
            seed=seed,
            out=out,
            device=None,
        )
        seconds, of_processor = time.monotonic() - begin, time.process_time() - of_processor
        if code == 130:
            raise KeyboardInterrupt
        if code:
            raise CannotRunHere(f"{row.name} could not be trained on {name}: `course train` says above why")
        kept = json.loads((out / FIGURES).read_text(encoding="utf-8"))
        _, tensors = read(out / CHECKPOINT)
    train = load(name, "train", device="cpu")
    model = create_model(row.model, num_classes=len(train.classes), **row.overrides)
    weights = {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
    model.load_state_dict(weights)
    model.normalise_images = Normalise.of(train.images)
    model.eval()
    steps, loss = thinned(kept["loss"])
    lossy = "" if data is None else f", a folder's {len(train):,} images"
    return model, {
        "command": row.command("cifar10" if data is None else "FOLDER", seed),
        "model": row.model,
        "overrides": {"num_classes": str(len(train.classes))} | {k: written(v) for k, v in row.overrides.items()},
        "recipe": kept["recipe"],
        "data": f"{kept['data']}{lossy}",
        "device": f"{_device()}, {torch.get_num_threads()} threads",
        "date": date.today().isoformat(),
        "commit": commit_of(ROOT),
        "seconds": round(seconds, 1),
        "processor_seconds": round(of_processor, 1),  # of all threads: what stays the same beside other work
        "accuracy": kept["val_accuracy"][-1],
        "steps": steps,
        "loss": loss,
        "classes": list(train.classes),
        "answers": answers(model, load(name, "test", device="cpu")),
        "val_steps": kept["val_steps"],
        "val_accuracy": kept["val_accuracy"],
    }


@torch.no_grad()
def answers(model: nn.Module, test: ImageSet) -> list[list[int]]:
    """How many test images of each class (a row) get which class (a column) from the model."""
    said = [model(model.normalise_images(images)).argmax(dim=1) for images in test.images.split(500)]
    return confusion(torch.cat(said), test.labels, len(test.classes)).tolist()


def thinned(losses: list[float]) -> tuple[list[int], list[float]]:
    """At most `POINTS` steps, and the mean of the loss since the one before."""
    edges = sorted({round(k * len(losses) / POINTS) for k in range(1, POINTS + 1)} - {0})
    means = [statistics.mean(losses[start:end]) for start, end in zip([0, *edges], edges)]
    return edges, [round(mean, 4) for mean in means]


def store(row: Row, seed: int, model: nn.Module, run: dict) -> None:
    """The weights first: a curve that is stored is never without them."""
    known = ("model", "overrides", "data", "recipe", "accuracy", "seconds", "device", "date", "commit")
    save_pretrained(weights_of(row.stored, seed, FOLDER), model, Origin(**{key: run[key] for key in known}))
    runs = runs_of(row.stored, FOLDER) | {str(seed): run}
    text = json.dumps({"runs": dict(sorted(runs.items()))}, indent=1)
    write_atomically(FOLDER / f"{row.stored}.json", (text + "\n").encode())


def _line(run: dict, before: dict | None, tiny: bool) -> str:
    if tiny:
        return "runs"
    said = f"{run['accuracy']:.1%} of the test images in {run['seconds']:.0f} s ({run['processor_seconds']:.0f} s of processor)"
    if before:
        apart = abs(run["accuracy"] - before["accuracy"])
        said += f"; stored {before['accuracy']:.1%}, {'within' if apart <= TOLERANCE else 'NOT within'} {TOLERANCE:.0%}"
    return said


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {platform.machine()}"

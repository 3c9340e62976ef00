"""``course bench cifar``: how well, and how fast, each kind of network learns CIFAR-10 on one GPU.

A row is a network, a recipe and, where the course has set one, a target: so much accuracy in so many seconds.
Accuracy is that of the 10,000 test images as they are (no test-time augmentation), after the last step, over
several seeds. Seconds are those of training: a few steps beforehand compile and warm up, outside the clock.

The epochs are chosen so that a training should end within its target, from counted FLOPs and an assumed 40 %
of the matrix rate of an H200, or 12 to 18 % where a network mostly moves memory. None of this has run on a GPU.
"""

import statistics
import time
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

import torch
from torch import nn

from benchmarks import pack_cifar
from course.bench import CannotRunHere
from course.data import DataError, ImageSet, load
from course.models import create_model
from course.models.conv_stems import EarlyConvStem
from course.models.count import count_macs, count_parameters
from course.models.heads import MeanHead
from course.models.spec import part, per_stage, written
from course.names import one_of
from course.notebook import budget_name
from course.progress_bar import progress_bar
from course.training import History, Recipe, evaluate, fit, recipes
from course.training.pretrained import FOLDER, Origin, save_pretrained
from course.training.speed import Speed

SEEDS = 5
WARM_UP_STEPS = 20  # mixing stops within them too, so that both kinds of step are compiled
GPU_SPEED = Speed("bfloat16", "fused", compiled=True)
SHORT = {"steps": 3, "batch_size": 32}
SHORT_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class Row:
    """One training of the board.

    Attributes:
        name: kind and target, or kind and size: ``course bench cifar vit`` runs all whose kind that is.
        model, overrides: for `create_model`.
        accuracy, seconds: the target, 0..1 and on one H200; None: a yardstick, or a network for the lectures.
    """

    name: str
    model: str
    recipe: Recipe
    overrides: dict = field(default_factory=dict)
    accuracy: float | None = None
    seconds: float | None = None

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]

    def build(self) -> nn.Module:
        return create_model(self.model, num_classes=10, **self.overrides)


# Batches and clipping as in Beyer et al. 2022 (arXiv:2205.01580), cutout as in airbench; Muon for matrices.
LIGHT = recipes.photographs.but(
    epochs=100, batch_size=1024, ema=0.999, augment=(*recipes.photographs.augment, "cutout")
)
# As CCT's for CIFAR (arXiv:2104.05704), which stops mixing after 175 of 300 epochs.
STRONG = LIGHT.but(rand_augment=(9, 0.5), mixup=0.8, cutmix=1.0, mix_until=0.6)

_PLAIN = dict(class_tokens=0, position="sinusoidal", head=part(MeanHead), mlp_ratio=2)
_VIT = dict(embed_dim=256, depth=7, num_heads=4, **_PLAIN)
_CONV_STEM = dict(stem=part(EarlyConvStem, widths=(64, 128)), position="sinusoidal")  # 4×4 pixels a token
_MIXER = dict(embed_dim=256)

ROWS = (
    Row(name="vit-90", model="vit_cifar", overrides=_VIT, recipe=LIGHT.but(epochs=150), accuracy=0.90, seconds=45),
    Row(name="vit-93", model="vit_cifar", overrides=_VIT, recipe=STRONG.but(epochs=400), accuracy=0.93, seconds=120),
    Row(
        name="cct-93",
        model="cct_7_3x1_cifar",
        overrides=_CONV_STEM,
        recipe=LIGHT.but(epochs=110),
        accuracy=0.93,
        seconds=30,
    ),
    Row(
        name="cct-94.5",
        model="cct_7_3x1_cifar",
        overrides=_CONV_STEM,
        recipe=STRONG.but(epochs=280),
        accuracy=0.945,
        seconds=75,
    ),
    Row(name="cct-96.5", model="cct_7_3x1_cifar", recipe=STRONG.but(epochs=170), accuracy=0.965, seconds=240),
    Row(name="swin-91", model="swin_cifar", recipe=LIGHT.but(epochs=100), accuracy=0.91, seconds=60),
    Row(name="swin-94", model="swin_cifar", recipe=STRONG.but(epochs=250), accuracy=0.94, seconds=150),
    Row(
        name="mixer-88", model="mixer_cifar", overrides=_MIXER, recipe=STRONG.but(epochs=70), accuracy=0.88, seconds=25
    ),
    Row(
        name="mixer-91", model="mixer_cifar", overrides=_MIXER, recipe=STRONG.but(epochs=170), accuracy=0.91, seconds=60
    ),
    Row(name="poolformer-90", model="poolformer_cifar", recipe=LIGHT.but(epochs=50), accuracy=0.90, seconds=25),
    Row(name="poolformer-93", model="poolformer_cifar", recipe=STRONG.but(epochs=130), accuracy=0.93, seconds=60),
    # Yardsticks. ConvMixer's paper reports 92.6 % after 25 epochs; ResNet-18 is where CNNs on CIFAR begin.
    Row(
        name="convmixer",
        model="convmixer_cifar",
        recipe=LIGHT.but(epochs=25, optimizer="adamw", lr=0.01, weight_decay=0.005, ema=None),
    ),
    Row(
        name="resnet",
        model="resnet_50_cifar",
        overrides=dict(block="basic", depths=(2, 2, 2, 2)),
        recipe=LIGHT.but(epochs=30, optimizer="sgd", lr=0.4, weight_decay=5e-4, grad_clip=None, ema=None),
    ),
    # Small enough to be stored, for the lectures.
    Row(name="vit-small", model="vit_cifar", recipe=STRONG, overrides=_VIT | dict(embed_dim=128)),
    Row(
        name="cct-small",
        model="cct_7_3x1_cifar",
        recipe=STRONG,
        overrides=dict(stem=part(EarlyConvStem, widths=(32, 64)), position="sinusoidal", embed_dim=128),
    ),
    Row(name="swin-small", model="swin_cifar", recipe=STRONG, overrides=dict(dims=(48, 96), num_heads=per_stage(3, 6))),
    Row(name="mixer-small", model="mixer_cifar", recipe=STRONG, overrides=dict(embed_dim=128, depth=6)),
    Row(
        name="poolformer-small",
        model="poolformer_cifar",
        recipe=STRONG,
        overrides=dict(dims=(32, 64, 128), depths=(2, 2, 4)),
    ),
)


def bench(words: list[str], *, data: Path | None = None, seeds: int = SEEDS, save: bool = False) -> dict:
    """Train every row with every seed and print what came out.

    Args:
        words: rows or kinds (``vit``, ``cct-93``); none: all.
        data: a file of `pack_cifar`, in place of the downloaded set.
        seeds: how often each row is trained, with seeds 0, 1, ...
        save: store the weights of seed 0 in ``course/checkpoints``, if they are small enough.

    Returns:
        {"device", "torch", "date", "data", "short", "matrix_rate" (FLOP/s), "rows": [...], "met", "targets"}.

    Raises:
        CannotRunHere: there is no GPU, or no CIFAR-10.
    """
    rows = chosen(words)
    short = budget_name() == "tiny"
    if not short and not torch.cuda.is_available():
        raise CannotRunHere(
            "cifar trains networks for minutes on a GPU, and there is no CUDA device here; "
            "COURSE_BUDGET=tiny runs three steps of each, to see that they run"
        )
    if short and save:
        raise ValueError("what three steps have learned is not worth storing: --save without COURSE_BUDGET=tiny")
    if seeds < 1:
        raise ValueError(f"--seeds is how often each row is trained, 1 at least, and not {seeds}")
    seeds = 1 if short else seeds
    train, test = _loaded(data, short)
    rate = matrix_rate(train.images.device)
    figures = {
        "device": _device_name(train.images.device),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "data": train.name,
        "short": short,
        "matrix_rate": rate,
        "rows": [],
    }
    print(
        f"{figures['device']}, {rate / 1e12:.3g} TFLOP/s in bfloat16 products of matrices; {train.name}; "
        f"{figures['date']}"
    )
    with progress_bar(len(rows) * seeds, None, desc="cifar", unit=" trainings") as progress:
        for row in rows:
            torch.compiler.reset()  # after eight different networks PyTorch would compile no more
            runs = []
            for seed in range(seeds):
                model, run = _run(row, seed, train, test, short)
                runs.append(run)
                if save and seed == 0:
                    _save(row, model, run, figures)
                progress.update()
            figures["rows"].append(_summary(row, runs, rate, short))
            progress.clear()
            print(_line(figures["rows"][-1]))
    aimed = [row for row in figures["rows"] if row["met"] is not None]
    figures |= {"targets": len(aimed), "met": sum(row["met"] for row in aimed)}
    if short:
        print(f"{len(rows)} rows, {SHORT['steps']} steps each on {SHORT_IMAGES} images: they run, nothing is learned")
    else:
        print(f"{figures['met']} of {len(aimed)} targets met, {seeds} seeds, {train.name}, one {figures['device']}")
    return figures


def chosen(words: list[str]) -> list[Row]:
    """The rows of these names and kinds, in the order of the board.

    Raises:
        ValueError: no row and no kind is called so.
    """
    known = list(dict.fromkeys(name for row in ROWS for name in (row.kind, row.name)))
    for word in words:
        one_of(word, known, "there is no row")
    return [row for row in ROWS if not words or row.name in words or row.kind in words]


def matrix_rate(device: torch.device, seconds: float = 0.5) -> float:
    """FLOP/s of a large bfloat16 product of square matrices: the median of as many as fit into the time."""
    side = 8192 if device.type == "cuda" else 256
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    times = []
    while len(times) < 5 or sum(times) < seconds:
        start = _now(device)
        left @ right
        times.append(_now(device) - start)
    return 2 * side**3 / statistics.median(times)


def flops_of(row: Row) -> int:
    """FLOPs of one image in training: three times forward, as a backward pass is two products for each one.

    Counted in forward alone: the counter takes the backward pass of a depthwise convolution for a dense one.
    """
    with torch.device("meta"):
        model = row.build()
    return 3 * 2 * count_macs(model, 1, 3, 32, 32)


def _loaded(file: Path | None, short: bool) -> tuple[ImageSet, ImageSet]:
    try:
        sets = [pack_cifar.read(file, split) if file else load("cifar10", split) for split in pack_cifar.SPLITS]
    except DataError as error:
        remedy = "`course bench cifar --data FILE` takes a file of benchmarks/pack_cifar.py instead."
        raise CannotRunHere(f"{error} {remedy}") from error
    if short:
        sets = [images.subset(min(SHORT_IMAGES, len(images))) for images in sets]
    return tuple(images.to("cuda" if torch.cuda.is_available() else "cpu") for images in sets)


def _run(row: Row, seed: int, train: ImageSet, test: ImageSet, short: bool) -> tuple[nn.Module, dict]:
    """One training: the model, and {"seed", "accuracy", "seconds", "images"}."""
    device = train.images.device
    recipe = row.recipe.but(seed=seed, **SHORT if short else {})
    torch.manual_seed(seed)
    model = row.build().to(device)
    seconds, history = timed_fit(model, train, recipe, GPU_SPEED if device.type == "cuda" else Speed.plain())
    images = history.total_steps * min(recipe.batch_size, len(train))
    return model, {"seed": seed, "accuracy": evaluate(model, test), "seconds": seconds, "images": images}


def timed_fit(model: nn.Module, train: ImageSet, recipe: Recipe, speed: Speed) -> tuple[float, History]:
    """Seconds of a whole training; compiling and warming up come before, and leave no trace.

    Raises:
        KeyboardInterrupt: somebody stopped it.
    """
    device = train.images.device
    options = {"device": device, "speed": speed, "plot": False}
    if speed.compiled:
        fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        warm_up = fit(model, train, recipe.but(steps=WARM_UP_STEPS), **options, progress=False)
        model.load_state_dict(fresh)
        if warm_up.interrupted:
            raise KeyboardInterrupt
    start = _now(device)
    history = fit(model, train, recipe, **options, progress=False)
    seconds = _now(device) - start
    if history.interrupted:
        raise KeyboardInterrupt
    return seconds, history


def _summary(row: Row, runs: list[dict], rate: float, short: bool) -> dict:
    """One row's figures; of a short run none that would have a meaning."""
    accuracies = [run["accuracy"] for run in runs]
    seconds = statistics.mean(run["seconds"] for run in runs)
    per_second = statistics.mean(run["images"] / run["seconds"] for run in runs)
    with torch.device("meta"):
        parameters = count_parameters(row.build())
    summary = {
        "name": row.name,
        "model": row.model,
        "overrides": _written(row.overrides),
        "recipe": asdict(row.recipe),
        "parameters": parameters,
        "target": {"accuracy": row.accuracy, "seconds": row.seconds},
        "accuracy": statistics.mean(accuracies),
        "spread": statistics.stdev(accuracies) if len(runs) > 1 else None,
        "seconds": seconds,
        "images_per_second": per_second,
        "share_of_matrix_rate": per_second * flops_of(row) / rate,
        "met": None,
        "runs": runs,
    }
    if short:
        without = dict.fromkeys(("accuracy", "spread", "seconds", "images_per_second", "share_of_matrix_rate"))
        return summary | without | {"runs": []}
    if row.accuracy is not None:
        summary["met"] = summary["accuracy"] >= row.accuracy and seconds <= row.seconds
    return summary


def _line(row: dict) -> str:
    name = f"{row['name']:17} {row['parameters'] / 1e6:6.2f} M"
    if row["accuracy"] is None:
        return f"{name}  runs"
    spread = "" if row["spread"] is None else f" ± {100 * row['spread']:.2f}"
    line = (
        f"{name}  {100 * row['accuracy']:.2f}{spread} %  {row['seconds']:6.1f} s  "
        f"{row['images_per_second']:9,.0f} images/s  "
        f"{100 * row['share_of_matrix_rate']:3.0f} % of the matrix rate"
    )
    if row["met"] is not None:
        target = row["target"]
        said = "met" if row["met"] else "not met"
        line += f"  {100 * target['accuracy']:g} % in {target['seconds']:g} s: {said}"
    return line


def _save(row: Row, model: nn.Module, run: dict, figures: dict) -> None:
    origin = Origin(
        model=row.model,
        overrides={"num_classes": "10"} | _written(row.overrides),
        data=figures["data"],
        recipe=asdict(row.recipe.but(seed=run["seed"])),
        accuracy=run["accuracy"],
        seconds=run["seconds"],
        device=figures["device"],
        date=figures["date"],
    )
    try:
        save_pretrained(FOLDER / f"{row.name}.safetensors", model, origin)
    except ValueError as error:
        print(f"{row.name}: {error}")


def _written(overrides: dict) -> dict[str, str]:
    return {name: written(value) for name, value in overrides.items()}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

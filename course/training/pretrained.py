"""Train a model, or load the weights of a training on a GPU where there is none; what a training costs is printed first.

Such a training leaves one small file in ``course/checkpoints``: weights in half precision, and in the header how
they came about. ``course bench cifar --save`` writes them, ``course bench photographs --save`` those of a CPU with their
curves beside them, ``course bench shapes --save`` a detector's, and nothing else does: what is there was measured.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from course.atomic import write_atomically
from course.data.imageset import ImageSet
from course.data.normalise import Normalise
from course.names import one_of
from course.notebook import budget_name
from course.training import recipes
from course.training.checkpoint import CheckpointError
from course.training.history import History
from course.training.loop import evaluate, fit
from course.training.recipe import Recipe
from course.training.stored import copied, read, to_bytes

FOLDER = Path(__file__).resolve().parents[1] / "checkpoints"
LARGEST = 2_000_000  # bytes; they come with the course's repository, which everybody copies whole
FORMAT = 1
TINY_STEPS = 3


@dataclass(frozen=True)
class Price:
    """What a training cell costs; None: not measured.

    Attributes:
        cpu_minutes: of the small training, on the two cores of a laptop.
        gpu_seconds: of the real one, on one GPU.
        accuracy: what the real one reaches, 0..1.
    """

    cpu_minutes: float | None = None
    gpu_seconds: float | None = None
    accuracy: float | None = None

    def __str__(self) -> str:
        cpu = "not measured" if self.cpu_minutes is None else f"{self.cpu_minutes:.2g} min"
        gpu = "not measured" if self.gpu_seconds is None else f"{self.gpu_seconds:.0f} s"
        end = "" if self.accuracy is None else f", which reaches {_percent(self.accuracy)}"
        return f"Training here costs, small, on a CPU: {cpu}; in full, on a GPU: {gpu}{end}."


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How stored weights came about.

    Attributes:
        model, overrides: what `create_model` was called with; the overrides as one writes them.
        data: what was trained and measured on.
        recipe: its fields.
        accuracy: share of the test images, 0..1, without test-time augmentation.
        seconds: of training.
        device, date: where and when (YYYY-MM-DD).
        commit: of the code that trained it, as git describes it; "" where that is not known.
    """

    model: str
    overrides: dict[str, str]
    data: str
    recipe: dict
    accuracy: float
    seconds: float
    device: str
    date: str
    commit: str = ""

    def __str__(self) -> str:
        return (
            f"{_percent(self.accuracy)} of the test images, after {self.seconds:.0f} s of training on "
            f"{self.data} ({self.device}, {self.date})"
        )

    @property
    def call(self) -> str:
        """What makes the model, as one writes it."""
        return f"create_model({', '.join([repr(self.model), *(f'{k}={v}' for k, v in self.overrides.items())])})"


@dataclass(frozen=True, repr=False)
class TrainedOrLoaded:
    """What `train_or_load` did: `history` of a training, or `origin` of the weights that were loaded instead.

    Attributes:
        accuracy: on `val`, measured now, 0..1; None without one.
    """

    accuracy: float | None
    history: History | None = None
    origin: Origin | None = None

    def __repr__(self) -> str:
        what = "loaded" if self.origin else repr(self.history)
        return what if self.accuracy is None or self.history else f"{what}, {_percent(self.accuracy)} right here"


def train_or_load(
    model: nn.Module,
    data: ImageSet | tuple[Tensor, Tensor] | Callable[[], ImageSet],
    recipe: Recipe,
    *,
    name: str,
    small: Recipe = recipes.cpu_minute,
    val=None,
    price: Price = Price(),
    folder: Path = FOLDER,
) -> TrainedOrLoaded:
    """Print what a training costs, and train; or load the weights of a training on a GPU. Then the model is ready.

    With a GPU (or ``COURSE_BUDGET=gpu``) the model is trained by `recipe`. Elsewhere the weights of a real run
    are loaded if ``folder/NAME.safetensors`` is there, and else the model is trained by `small`, of which
    ``COURSE_BUDGET=tiny`` leaves a few steps.

    Args:
        model: fresh, as the real run had it.
        data: to train on, or a function that loads it, called only if there is something to train.
        val: likewise for `fit`, without the function; accuracy is measured on it in either case.
        price: printed first. What is not given is taken from the stored run.

    Raises:
        CheckpointError: what is stored is damaged, too large, or of another model.
    """
    path = folder / f"{name}.safetensors"
    origin = read_origin(path) if path.exists() else None
    if origin and price.gpu_seconds is None and price.accuracy is None:
        price = replace(price, gpu_seconds=origin.seconds, accuracy=origin.accuracy)
    print(price)
    budget = budget_name()
    if origin and budget != "gpu":
        load_pretrained(path, model)
        print(f"Loaded instead: {name}, {origin}.")
        return TrainedOrLoaded(None if val is None else evaluate(model, val), origin=origin)
    if budget != "gpu":
        print(f"No real run of {name} is stored yet, so a small one is trained here.")
        recipe = small if budget == "cpu" else small.but(steps=TINY_STEPS)
    history = fit(model, data() if callable(data) else data, recipe, val=val)
    return TrainedOrLoaded(history.final_accuracy, history=history)


def save_pretrained(path: Path, model: nn.Module, origin: Origin) -> None:
    """Store the weights in half precision, with their origin; whole or not at all.

    Args:
        model: trained by `fit`, whose ``normalise_images`` is stored too.

    Raises:
        ValueError: a weight is not finite in half precision, or the file would exceed `LARGEST` bytes.
    """
    tensors = copied(model.state_dict())
    tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    if wrong := _not_finite(tensors):
        raise ValueError(f"{path.name}: {wrong} has values that are no numbers in half precision; it is not stored")
    normalise = model.normalise_images
    header = {
        "format": FORMAT,
        "origin": asdict(origin),
        "normalise": {"mean": list(normalise.mean), "std": list(normalise.std)},
        "sha256": _sha256(tensors),
    }
    data = to_bytes(tensors, header)
    if len(data) > LARGEST:
        raise ValueError(
            f"{path.name} would have {len(data):,} bytes, and stored weights have at most "
            f"{LARGEST:,}, two for each number"
        )
    write_atomically(path, data)


def read_origin(path: Path) -> Origin:
    """How the weights in a file came about.

    Raises:
        CheckpointError: the file is damaged or too large.
    """
    return _opened(path)[0]


def runs_of(name: str, folder: Path = FOLDER) -> dict[str, dict]:
    """The runs that ``course bench photographs --save`` has stored under a name, by seed ("0", "1", ...); {} if none.

    Returns:
        Of each: "command", "model", "overrides", "recipe", "data", "device", "date", "commit", "seconds",
        "processor_seconds" (of all threads), "accuracy" (0..1, of the test images), "answers" (how many test images of each
        of the "classes", a row, got which, a column); "steps" and "loss", its mean since the step before; "val_steps" and "val_accuracy".
    """
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else {}


def weights_of(name: str, seed: int = 0, folder: Path = FOLDER) -> Path:
    """Where a run's weights are: ``NAME.safetensors`` of seed 0, ``NAME_seed1.safetensors`` of seed 1."""
    return folder / (f"{name}_seed{seed}.safetensors" if seed else f"{name}.safetensors")


def stored_model(name: str, seed: int = 0, *, folder: Path = FOLDER) -> nn.Module:
    """The network of a run in ``course/checkpoints`` with its weights, in eval mode and with ``normalise_images``.

    Raises:
        ValueError: there is no such file; says which there are.
        CheckpointError: it is damaged or too large.
    """
    from course.models import create_model  # here: graded code may train, and must not reach the models by it
    from course.models.spec import read as read_value

    path = weights_of(name, seed, folder)
    one_of(path.stem, [file.stem for file in folder.glob("*.safetensors")], "there are no stored weights")
    origin = read_origin(path)
    model = create_model(origin.model, **{key: read_value(value) for key, value in origin.overrides.items()})
    load_pretrained(path, model)
    return model


def load_pretrained(path: Path, model: nn.Module) -> Origin:
    """Put stored weights into a model; it comes back in eval mode, with ``model.normalise_images`` set.

    Raises:
        CheckpointError: the file is damaged, too large, or of another model. Then the model is as it was.
    """
    origin, normalise, tensors = _opened(path)
    own = model.state_dict()
    shapes = {name: (_shape(tensors.get(name)), _shape(own.get(name))) for name in {**own, **tensors}}
    differing = [f"{name} is {there} there and {here} here" for name, (there, here) in shapes.items() if there != here]
    if getattr(model, "name", origin.model) != origin.model:
        differing.insert(0, f"that one is {origin.model} and this one {model.name}")
    if differing:
        more = f"; and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise CheckpointError(f"{path} is of another model: {'; '.join(differing[:3])}{more}. It fits {origin.call}.")
    model.load_state_dict(tensors)  # copies, so that the model keeps its own precision and device
    model.normalise_images = normalise
    model.eval()
    return origin


def _opened(path: Path) -> tuple[Origin, Normalise, dict[str, Tensor]]:
    remedy = "delete it, and a small training takes its place"
    if (size := path.stat().st_size) > LARGEST:
        raise CheckpointError(
            f"{path} has {size:,} bytes, and stored weights have at most {LARGEST:,}, so it was not opened; {remedy}"
        )
    damaged = CheckpointError(f"{path} is damaged; {remedy}")
    try:
        header, tensors = read(path)
        if header["format"] != FORMAT:
            raise CheckpointError(f"{path} was written by another version of the course; {remedy}")
        origin = Origin(**header["origin"])
        normalise = Normalise(*(tuple(header["normalise"][what]) for what in ("mean", "std")))
    except (KeyError, TypeError, ValueError) as error:  # `Damaged` is a ValueError
        raise damaged from error
    if header["sha256"] != _sha256(tensors) or _not_finite(tensors):
        raise damaged
    return origin, normalise, tensors


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {_shape(tensors[name])}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _not_finite(tensors: dict[str, Tensor]) -> str | None:
    return next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)


def _shape(tensor: Tensor | None) -> str:
    return "not" if tensor is None else "×".join(map(str, tensor.shape)) or "a number"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

"""The training loop of the course: ``fit``, and ``evaluate``."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.data.imageset import device_of, placed
from course.data.normalise import Normalise
from course.notebook import budget_name, in_notebook
from course.progress_bar import CellOutput, progress_bar
from course.training import checkpoint as checkpoints
from course.training import recipes
from course.training.batches import Batches, mixed_seed
from course.training.checkpoint import CheckpointError
from course.training.history import History, LiveCurve
from course.training.not_finite import TrainingError
from course.training.other_forms import in_two_lines
from course.training.parallel import Processes
from course.training.recipe import Recipe
from course.training.regularise import set_drop_path, set_dropout
from course.training.speed import Speed, fastest
from course.training.step import Step, check_logits, distillation_modes

EVALUATED_AT_ONCE = 500  # images
SAVE_EVERY = 20.0  # seconds


def fit(
    model: nn.Module,
    data,
    recipe: Recipe = recipes.cpu_minute,
    *,
    val=None,
    val_points: int = 5,
    teacher: nn.Module | None = None,
    speed: Speed | None = None,
    device: torch.device | str | None = None,
    checkpoint: str | Path | None = None,
    plot: bool = True,
    progress: bool = True,
) -> History:
    """Train a classifier in place; it comes back in eval mode, with ``model.normalise_images`` set.

    Or whatever gives its own loss: a model that makes of images a scalar needs no labels (MAE, SimMIM and DINO in
    ``course.models``). If it has a method ``after_step(step, steps)``, it is called after each update.

    What happens in a step depends only on the recipe, the number of the step and the weights. So a training
    that was stopped goes on from its checkpoint as if nothing had happened: on a CPU, to the last bit.

    Under ``torchrun`` (``course train``), every process calls this alike and takes its share of each batch; the
    first one shows and saves.

    Args:
        model: images (B, C, H, W), or clips (B, T, C, H, W), float32, to logits (B, classes) or to a loss ().
        data: an ``ImageSet`` or a pair of images (uint8 or float) and labels (N,); images alone where the model
            gives its own loss; of other libraries' data, an error says which two lines make these. In place of images also sequences of words, int64 (N, L), which nothing normalises.
        recipe: what to do; ``recipes.cpu_minute.but(steps=100)``.
        val: images and labels likewise, for a model that gives logits; its accuracy is measured at `val_points` even
            distances and at the end.
        val_points: how often.
        teacher: a trained classifier of the same images and classes, for a recipe that distils.
        speed: precision, attention kernel and compilation; default: the fastest that was measured here.
        device: CUDA if there is one, else the CPU.
        checkpoint: a file. Written every `SAVE_EVERY` seconds, at the end and after Ctrl-C; if it is there
            already, training goes on from it (and is over at once if it was over).
        plot: in a notebook, draw the curve while training and leave it in the output.
        progress: show a bar (never with ``COURSE_BUDGET=tiny``).

    Returns:
        History: losses and accuracies. Ctrl-C ends training after the step in progress and returns it too,
        with ``interrupted`` set; a second Ctrl-C ends at once.

    Raises:
        ValueError: data or outputs that do not fit together; says which.
        TrainingError: the loss is no longer a number.
        CheckpointError: the checkpoint is damaged or of another training.
    """
    training = _Training(model, data, recipe, val, val_points, teacher, device, checkpoint)
    training.prepare(training.resumed(speed))
    history, first = training.history, training.processes.first
    show = _Display(history, plot, progress) if first else nullcontext()
    with (
        show as display,
        _held_interrupt() as pressed,
        _own_randomness(training.device),
        distillation_modes(model, teacher),
    ):
        training.run(display, pressed)
    if history.interrupted and first:
        print(_how_to_go_on(history, training.path, training.between_steps))
    return history


class _Training:
    """One call of `fit`, in its phases: made (all is checked), `resumed`, `prepare`, `run`.

    Attributes:
        between_steps: the weights are those of whole steps, and may be saved.
        unread: losses that are still on the device.
        saved: the step that the checkpoint holds; 0: there is none.
    """

    def __init__(
        self, model: nn.Module, data, recipe: Recipe, val, val_points: int, teacher, device, checkpoint
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ValueError(f"the first argument is a model, an nn.Module as create_model() makes, and not {model!r}")
        if not isinstance(recipe, Recipe):
            raise ValueError(f"the recipe is one of course.training.recipes, or a Recipe(...), and not {recipe!r}")
        if val is not None and (not isinstance(val_points, int) or val_points < 1):
            raise ValueError(f"val_points is a whole number, at least 1, and not {val_points!r}")
        self.model, self.recipe = model, recipe
        self.processes = Processes.running()
        self.device = device_of(device)
        alone = isinstance(data, Tensor)
        if alone:
            data = data, torch.full(data.shape[:1], -1, device=data.device)
        images, labels = _checked(data, "data", lowest=-1 if alone else 0)
        classes = 1 + int(labels.max())
        if val is not None:
            val_images, val_labels = _checked(val, "val")
            val = placed(val_images, self.device), val_labels.to(self.device)
            classes = max(classes, 1 + int(val[1].max()))
        model.to(self.device)
        model.normalise_images = None if _are_words(images) else Normalise.of(images)
        if recipe.drop_path is not None:
            set_drop_path(model, recipe.drop_path)
        if recipe.dropout is not None:
            set_dropout(model, recipe.dropout)
        images, labels = placed(images, self.device), labels.to(self.device)
        self.batches = Batches(images, labels, model.normalise_images or _as_they_are, recipe, self.processes)
        self.steps = steps = self.batches.steps
        self.history = History(recipe, steps, model.normalise_images)
        self.val, self.val_at = val, set()
        if val is not None:
            self.val_at = {math.ceil(steps * point / val_points) for point in range(1, val_points + 1)} | {steps}
        self.step_of = Step(model, recipe, steps, classes, teacher)
        self.path = None if checkpoint is None else Path(checkpoint)
        self.signed = checkpoints.signature(model, data, recipe) if self.path else None
        self.between_steps = True
        # Reading a loss waits for the GPU to have computed it; so there they are read some steps later, together.
        self.read_every = 1 if self.device.type == "cpu" else 20
        self.unread: list[Tensor] = []
        self.saved = 0

    def resumed(self, speed: Speed | None) -> Speed | None:
        """Put the checkpoint back, if there is one; the speed to go on with, None where none was given or stored."""
        if not self.path:
            return speed
        stored = checkpoints.resume(self.path, self.model, self.step_of.optimizer, self.signed, self.step_of.ema) or {}
        if speed is None and "speed" in stored:  # so that it goes on to the last bit
            speed = Speed(**stored["speed"])
        for name in stored.keys() - {"speed"}:
            setattr(self.history, name, stored[name])
        self.saved = len(self.history.steps)
        if self.saved and self.processes.first:
            print(_from_where(self.saved, self.steps, self.path))
        if self.saved < self.steps:
            self._together(lambda: checkpoints.require_writable(self.path))
        return speed

    def prepare(self, speed: Speed | None) -> None:
        """Model and batches for that speed; for the fastest that was measured here, if it is None."""
        if speed is None:
            some = self.batches.images[: self.recipe.batch_size // self.processes.count].to(self.device)
            some = self.batches.normalise(some)
            some = some if _are_words(some) else centre(some, 1.0, self.recipe.img_size)
            speed = self.processes.agreed(lambda: fastest(self.model, some, self.device, steps=self.steps))
        self.speed = speed
        self.step_of.prepare(speed, self.processes, self.device)
        if speed.compiled:
            self.batches.compile()

    def run(self, display, pressed: list) -> None:
        """The steps that are left, and a last save; Ctrl-C ends them."""
        first_step = len(self.history.steps)
        started = self.saved_at = time.monotonic()
        try:
            for step in range(first_step, self.steps):
                self._step(step)
                if display:
                    display.advance()
                self._save_or_stop(step + 1, pressed)
        except KeyboardInterrupt:
            self.history.interrupted = True
            if self.processes.count == 1:
                self._read_losses()
        finally:
            self.model.eval()
            self.history.seconds = time.monotonic() - started
        if self.path and self.between_steps and len(self.history.steps) > first_step:
            self._save()
        self.step_of.keep_what_is_evaluated()

    def _step(self, step: int) -> None:
        """One step, counted from 0; where it is time, losses are read and the accuracy is measured."""
        self.between_steps = False
        self.model.train()
        seed = mixed_seed(self.recipe.seed, step, 0, self.processes.rank)
        self.unread.append(self.step_of(self.batches(step), step, seed, self.path))
        if self.step_of.own_loss and self.val is not None:
            raise ValueError(
                "val= measures accuracy, and this model gives a loss and no logits: course.analysis.linear_probe says "
                "what its features are good for"
            )
        at = step + 1  # steps are counted from 1 where a person sees them
        if self._reads_at(at):
            self._read_losses()
        if at in self.val_at:
            with self.step_of.as_evaluated():
                accuracy = _evaluated(self.model, self.val, self.recipe, self.speed, self.processes)
            self.history.val_accuracy.append(accuracy)
            self.history.val_steps.append(at)
        self.between_steps = True

    def _save_or_stop(self, at: int, pressed: list) -> None:
        """After a step, where losses were read: all processes then do the same.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed in one of them.
        """
        if at == self.steps or not self._reads_at(at):
            return
        if self.path and self.processes.any(time.monotonic() - self.saved_at >= SAVE_EVERY):
            self._save()
            self.saved_at = time.monotonic()
        if self.processes.any(pressed):
            raise KeyboardInterrupt

    def _reads_at(self, at: int) -> bool:
        return at % self.read_every == 0 or at in self.val_at or at == self.steps

    def _read_losses(self) -> None:
        if not self.unread:
            return
        history = self.history
        values = (self.processes.sum(torch.stack(self.unread)) / self.processes.count).tolist()
        self.unread.clear()
        for value in values:
            history.steps.append(len(history.steps) + 1)
            history.loss.append(value)
            if not math.isfinite(value):
                at, what = history.steps[-1], f"the loss is {value}"
                raise TrainingError.at(at, self.steps, self.recipe, what, self.path)

    def _save(self) -> None:
        self._read_losses()
        names = ("steps", "loss", "val_steps", "val_accuracy")
        progress = {name: getattr(self.history, name) for name in names} | {"speed": asdict(self.speed)}
        model, optimizer, ema = self.model, self.step_of.optimizer, self.step_of.ema
        self._together(lambda: checkpoints.save(self.path, model, optimizer, self.signed, progress, ema))
        self.saved = len(self.history.steps)

    def _together(self, write: Callable[[], None]) -> None:
        """Let the first process write, while the others wait.

        Raises:
            CheckpointError: it cannot, in every process.
        """

        def failure() -> str:
            try:
                write()
            except OSError as error:
                return error.strerror or str(error)
            return ""

        if why := self.processes.agreed(failure):
            at = len(self.history.steps)
            lost = f"the training stops after step {at} of {self.steps}" if at else "the training does not begin"
            kept = f"holds step {self.saved}: mend that, and run this again to go on from there"
            remedy = kept if self.saved else "is not there yet: mend that, or give another checkpoint="
            raise CheckpointError(f"the checkpoint {self.path} cannot be written ({why}), so {lost}. The file {remedy}")


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data,
    normalise: Normalise | None = None,
    *,
    batch_size: int | None = None,
    crop: float = 1.0,
    side: int | None = None,
    speed: Speed = Speed.plain(),
) -> float:
    """The share of images that the model gets right, 0..1. The model is left in the mode it was in.

    Args:
        model: as for `fit`.
        data: an ``ImageSet`` or a pair of images and labels.
        normalise: what was done to the training images; default: what `fit` left in
            ``model.normalise_images``.
        batch_size: images at once; decides memory, not the result. None: 500, fewer where they are large.
        crop: share of height and width, from the centre, that is enlarged to the whole and looked at.
        side: height and width in pixels that it then has; None: those of the images.
        speed: precision and attention kernel.

    Raises:
        ValueError: the data do not fit the model, or it is not known how to normalise.
    """
    images, labels = _checked(data, "data")
    normalise = _as_they_are if _are_words(images) else normalise or getattr(model, "normalise_images", None)
    if normalise is None:
        raise ValueError("this model was not trained by fit(): pass normalise=Normalise.of(training_images)")
    device = next((parameter.device for parameter in model.parameters()), images.device)
    classes = 1 + int(labels.max())
    at_once = batch_size or _at_once(images)
    was_training = model.training
    model.eval()
    try:
        right = 0
        for batch, answer in zip(images.split(at_once), labels.to(device).split(at_once), strict=True):
            batch = centre(normalise(batch.to(device)), crop, side)
            with speed.applied(device):
                logits = model(batch)  # (B, classes)
            check_logits(logits, len(batch), classes)
            right += (logits.argmax(1) == answer).sum()
    finally:
        model.train(was_training)
    return int(right) / len(images)


def centre(images: Tensor, share: float, side: int | None = None) -> Tensor:
    """The middle of float images (B, ..., H, W), that share of each side, brought to the whole size again, or to `side`."""
    height, width = images.shape[-2:]
    high, wide = round(share * height), round(share * width)
    top, left = (height - high) // 2, (width - wide) // 2
    height, width = (height, width) if side is None else (side, side)
    if (high, wide) == (height, width):
        return images[..., top : top + high, left : left + wide]
    middle = images[..., top : top + high, left : left + wide].flatten(0, -4)  # (B, C, high, wide)
    return F.interpolate(middle, (height, width), mode="bicubic", antialias=True).view(
        *images.shape[:-2], height, width
    )


def _at_once(images: Tensor) -> int:
    """How many images are evaluated together: of large ones, as many as have the pixels of `EVALUATED_AT_ONCE` of 64×64."""
    if _are_words(images):
        return EVALUATED_AT_ONCE
    return max(1, min(EVALUATED_AT_ONCE, EVALUATED_AT_ONCE * 64 * 64 // images[0, ..., 0, :, :].numel()))


def _evaluated(model: nn.Module, val, recipe: Recipe, speed: Speed, processes: Processes) -> float:
    """`evaluate`, each process its share of the images."""
    mine = tuple(part[processes.rank :: processes.count] for part in val)
    looked_at = dict(crop=recipe.test_crop, side=recipe.img_size, speed=speed)
    share = evaluate(model, mine, **looked_at) if len(mine[0]) else 0.0
    right = torch.tensor(share * len(mine[0]), device=val[1].device, dtype=torch.float64)
    return round(float(processes.sum(right))) / len(val[0])


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """torch's global random state is the caller's: it comes back as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def _held_interrupt() -> Iterator[list]:
    """Note Ctrl-C in the list instead of raising amid an update of the weights; a second one raises."""
    pressed: list[int] = []

    def note(number, frame) -> None:
        pressed.append(number)
        if len(pressed) > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only there do signals arrive
        yield pressed
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)


class _Display:
    """The bar, and in a notebook the curve; nothing of the bar is left when it is over."""

    def __init__(self, history: History, plot: bool, progress: bool) -> None:
        self.history = history
        self.output = (LiveCurve(history) if plot else CellOutput()) if in_notebook() else None
        self.bar = progress_bar(
            history.total_steps,
            self.output,
            desc="training",
            unit="step",
            disable=not progress or budget_name() == "tiny",
        )

    def __enter__(self) -> "_Display":
        self.bar.update(len(self.history.steps))
        return self

    def advance(self) -> None:
        if self.history.loss:
            self.bar.set_postfix_str(f"loss {self.history.loss[-1]:.3f}", refresh=False)
        self.bar.update()

    def __exit__(self, *_) -> None:
        self.bar.close()
        if isinstance(self.output, LiveCurve):
            self.output.close()
        elif self.output and self.output.handle:
            self.output.show({"text/plain": repr(self.history)})


def _checked(data, name: str, lowest: int = 0) -> tuple[Tensor, Tensor]:
    """Images and int64 labels of a data set, or a ValueError that says what is wrong with them.

    Args:
        lowest: the lowest label; -1 stands for none.
    """
    if advice := in_two_lines(data):
        raise ValueError(f"{name} is {advice}")
    try:
        images, labels = data
    except (TypeError, ValueError):
        raise ValueError(f"{name} is an ImageSet from load(), or a pair (images, labels)") from None
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise ValueError(f"{name}: images and labels are tensors; torch.as_tensor() makes them")
    pixels = images.ndim in (4, 5) and (images.dtype == torch.uint8 or images.is_floating_point())
    if not pixels and not _are_words(images):
        raise ValueError(
            f"{name}: images are uint8 or float, (N, C, H, W) or for video (N, T, C, H, W), and words int64, (N, L); "
            f"these are {images.dtype} {tuple(images.shape)}"
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"{name}: labels are whole numbers (N,), one for each of the {len(images)} images; "
            f"these are {labels.dtype} {tuple(labels.shape)}"
        )
    if len(images) == 0:
        raise ValueError(f"{name}: there is no image in it")
    if images.is_floating_point() and (wrong := _first_not_finite(images)) is not None:
        raise TrainingError(
            f"{name}: there are values in the images themselves that are not finite (NaN or infinite); the first such "
            f"image is number {wrong}, counted from 0"
        )
    if labels.min() < lowest:
        raise ValueError(f"{name}: labels are counted from 0; there is a {int(labels.min())} among them")
    return images, labels.long()


def _first_not_finite(images: Tensor) -> int | None:
    for number, image in enumerate(images):
        if not torch.isfinite(image).all():
            return number
    return None


def _are_words(images: Tensor) -> bool:
    """Whether they are no images, but sequences of words, int64 (N, L)."""
    return images.dtype == torch.int64 and images.ndim == 2


def _as_they_are(images: Tensor) -> Tensor:
    return images


def _from_where(done: int, steps: int, path: Path) -> str:
    if done >= steps:
        return f"{path} holds all {steps} steps of this training, so there is nothing left to train."
    return f"Going on after step {done} of {steps}, from {path}."


def _how_to_go_on(history: History, path: Path | None, saved: bool) -> str:
    text = f"Stopped after step {len(history.steps)} of {history.total_steps}. "
    if path is None:
        return text + "The model keeps what it has learned; with checkpoint=FILE one can go on from there."
    if not saved:  # stopped amid a step, whose half-made weights are not worth keeping
        return text + f"{path} holds the last whole save; run this again to go on from there."
    return text + f"Run this again to go on from there ({path} has it)."

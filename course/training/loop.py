"""The training loop of the course: ``fit``, and ``evaluate``."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.data.augment import AUGMENTATIONS
from course.data.imageset import default_device
from course.data.normalise import Normalise
from course.data.progress import InPlace, progress_bar
from course.notebook import budget_name, in_notebook
from course.training import checkpoint as checkpoints
from course.training import recipes
from course.training.history import History, LiveCurve
from course.training.recipes import Recipe


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says why and what to change."""


def fit(
    model: nn.Module,
    data,
    recipe: Recipe = recipes.cpu_minute,
    *,
    val=None,
    val_points: int = 5,
    device: torch.device | str | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 20.0,
    plot: bool = True,
    progress: bool = True,
    on_step: Callable[[int], None] | None = None,
) -> History:
    """Train a classifier in place; it comes back in eval mode, with ``model.normalise_images`` set.

    What happens in a step depends only on the recipe, the number of the step and the weights. So a training
    that was stopped goes on from its checkpoint as if nothing had happened: on a CPU, to the last bit.

    Args:
        model: images (B, C, H, W), or clips (B, T, C, H, W), float32, to logits (B, classes).
        data: an ``ImageSet`` or a pair of images (uint8 or float) and labels (N,).
        recipe: what to do; ``recipes.cpu_minute.but(steps=100)``.
        val: likewise; its accuracy is measured at `val_points` even distances and at the end.
        val_points: how often.
        device: CUDA if there is one, else the CPU.
        checkpoint: a file. Written every `checkpoint_seconds`, at the end and after Ctrl-C; if it is there
            already, training goes on from it (and is over at once if it was over).
        plot: in a notebook, draw the curve while training and leave it in the output.
        progress: show a bar (never with ``COURSE_BUDGET=tiny``).
        on_step: called after each step with its number, counted from 1.

    Returns:
        History: losses and accuracies. Ctrl-C ends training after the step in progress and returns it too,
        with ``interrupted`` set; a second Ctrl-C ends at once.

    Raises:
        ValueError: data or outputs that do not fit together; says which.
        TrainingError: the loss is no longer a number.
        CheckpointError: the checkpoint is damaged or of another training.
    """
    device = default_device() if device is None else torch.device(device)
    images, labels = _checked(data, "data")
    highest_label = int(labels.max())
    if val is not None:
        val = tuple(part.to(device) for part in _checked(val, "val"))
        highest_label = max(highest_label, int(val[1].max()))
    model.to(device)
    model.normalise_images = Normalise.of(images)
    optimizer = _optimizer(model, recipe)
    batches = _Batches(images.to(device), labels.to(device), model.normalise_images, recipe)
    steps = recipe.total_steps(batches.per_epoch)
    history = History(recipe, steps, model.normalise_images)
    val_at = set()
    if val is not None:
        val_at = {math.ceil(steps * point / val_points) for point in range(1, val_points + 1)} | {steps}

    path = None if checkpoint is None else Path(checkpoint)
    if path:
        signed = checkpoints.signature(model, data, recipe)
        for name, values in (checkpoints.resume(path, model, optimizer, signed) or {}).items():
            setattr(history, name, values)

    def save() -> None:
        _read_losses(unread, history)
        record = {name: getattr(history, name) for name in ("steps", "loss", "val_steps", "val_accuracy")}
        checkpoints.save(path, model, optimizer, signed, record)

    # Reading a loss waits for the GPU to have computed it; so there they are read some steps later, together.
    read_every = 1 if device.type == "cpu" else 20
    unread: list[Tensor] = []
    first_step = len(history.steps)
    started = saved_at = time.monotonic()
    between_steps = True
    with _Display(history, plot, progress) as display, _held_interrupt() as pressed, _own_randomness(device):
        try:
            for step in range(first_step, steps):
                between_steps = False
                model.train()
                torch.manual_seed(_mix(recipe.seed, step, 0))  # dropout and the like
                for group in optimizer.param_groups:
                    group["lr"] = recipe.learning_rate(step, steps)
                unread.append(_train_step(model, optimizer, *batches(step), recipe, highest_label))
                at = step + 1  # steps are counted from 1 where a person sees them
                if at % read_every == 0 or at in val_at or at == steps:
                    _read_losses(unread, history)
                if at in val_at:
                    accuracy = evaluate(model, val)
                    history.val_steps.append(at)
                    history.val_accuracy.append(accuracy)
                between_steps = True
                display.advance()
                if on_step:
                    on_step(at)
                if path and time.monotonic() - saved_at >= checkpoint_seconds and at < steps:
                    save()
                    saved_at = time.monotonic()
                if pressed and at < steps:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            history.interrupted = True
            _read_losses(unread, history)
        finally:
            model.eval()
            history.seconds = time.monotonic() - started
        if path and between_steps and len(history.steps) > first_step:
            save()
    if history.interrupted:
        print(_how_to_go_on(history, path, between_steps))
    return history


@torch.no_grad()
def evaluate(model: nn.Module, data, normalise: Normalise | None = None, *, batch_size: int = 500) -> float:
    """The share of images that the model gets right, 0..1. The model is left in the mode it was in.

    Args:
        model: as for `fit`.
        data: an ``ImageSet`` or a pair of images and labels.
        normalise: what was done to the training images; default: what `fit` left in
            ``model.normalise_images``.
        batch_size: images at once; decides memory, not the result.

    Raises:
        ValueError: the data do not fit the model, or it is not known how to normalise.
    """
    images, labels = _checked(data, "data")
    normalise = normalise or getattr(model, "normalise_images", None)
    if normalise is None:
        raise ValueError("this model was not trained by fit(): pass normalise=Normalise.of(training_images)")
    device = next((parameter.device for parameter in model.parameters()), images.device)
    highest_label = int(labels.max())
    was_training = model.training
    model.eval()
    try:
        right = 0
        for batch, answer in zip(images.split(batch_size), labels.to(device).split(batch_size), strict=True):
            logits = model(normalise(batch.to(device)))  # (B, classes)
            _check_logits(logits, len(batch), highest_label)
            right += (logits.argmax(1) == answer).sum()
    finally:
        model.train(was_training)
    return int(right) / len(images)


def _train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, recipe: Recipe,
    highest_label: int,
) -> Tensor:
    """Forward, backward, one step of the optimizer. Returns the loss, not yet read from the device."""
    logits = model(images)  # (B, classes)
    _check_logits(logits, len(images), highest_label)
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    if recipe.grad_clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
    optimizer.step()
    return loss.detach()


class _Batches:
    """``batches(step)`` -> images (B, C, H, W), normalised, and labels (B,).

    The order comes from (seed, epoch), augmentation from (seed, step), and from nothing that happened before.
    The last images of an epoch that do not fill a batch wait for the next one, so that all batches are of one
    size.
    """

    def __init__(self, images: Tensor, labels: Tensor, normalise: Normalise, recipe: Recipe) -> None:
        self.images, self.labels, self.normalise, self.recipe = images, labels, normalise, recipe
        self.size = min(recipe.batch_size, len(images))
        self.per_epoch = len(images) // self.size
        self.generator = torch.Generator(images.device)
        self.epoch = -1

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, batch = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            # On the CPU, so that the order is the same on every device.
            generator = _seeded(torch.Generator(), self.recipe.seed, epoch, 1)
            order = torch.randperm(len(self.images), generator=generator)
            self.order, self.epoch = order.to(self.images.device), epoch
        chosen = self.order[batch * self.size : (batch + 1) * self.size]  # (B,)
        images = self.images[chosen]
        _seeded(self.generator, self.recipe.seed, step, 2)
        for name in self.recipe.augment:
            images = AUGMENTATIONS[name](images, self.generator)
        return self.normalise(images), self.labels[chosen]


def _mix(*numbers: int) -> int:
    """One seed from several numbers, such that neighbouring numbers give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _seeded(generator: torch.Generator, *numbers: int) -> torch.Generator:
    return generator.manual_seed(_mix(*numbers))


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
        self.place = (LiveCurve(history) if plot else InPlace()) if in_notebook() else None
        self.bar = progress_bar(
            history.total_steps, self.place, desc="training", unit="step",
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
        if isinstance(self.place, LiveCurve):
            self.place.close()
        elif self.place and self.place.handle:
            self.place.show({"text/plain": repr(self.history)})


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("this model has no parameter to train (all of them have requires_grad=False)")
    matrices = [parameter for parameter in trained if parameter.ndim >= 2]
    vectors = [parameter for parameter in trained if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.betas[0], nesterov=recipe.betas[0] > 0)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas)


def _read_losses(unread: list[Tensor], history: History) -> None:
    values = torch.stack(unread).tolist() if unread else []
    unread.clear()
    for value in values:
        history.steps.append(len(history.steps) + 1)
        history.loss.append(value)
        if not math.isfinite(value):
            step = history.steps[-1]
            rate = history.recipe.learning_rate(step - 1, history.total_steps)
            raise TrainingError(
                f"the loss is {value} at step {step}, where the learning rate is {rate:.2g}. Build the model "
                f"anew and train with a smaller one, say recipe.but(lr={history.recipe.lr / 10:.2g}), or "
                "with a longer warmup; if it stays, look in the model for a division by zero or an exp of "
                "something large."
            )


def _checked(data, name: str) -> tuple[Tensor, Tensor]:
    """Images and int64 labels of a data set, or a ValueError that says what is wrong with them."""
    try:
        images, labels = data
    except (TypeError, ValueError):
        raise ValueError(f"{name} is an ImageSet from load(), or a pair (images, labels)") from None
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise ValueError(f"{name}: images and labels are tensors; torch.as_tensor() makes them")
    if images.ndim not in (4, 5) or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise ValueError(f"{name}: images are uint8 or float, (N, C, H, W) or for video (N, T, C, H, W); "
                         f"these are {images.dtype} {tuple(images.shape)}")
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"{name}: labels are whole numbers (N,), one for each of the {len(images)} images; "
                         f"these are {labels.dtype} {tuple(labels.shape)}")
    if len(images) == 0:
        raise ValueError(f"{name}: there is no image in it")
    if labels.min() < 0:
        raise ValueError(f"{name}: labels are counted from 0; there is a {int(labels.min())} among them")
    return images, labels.long()


def _check_logits(logits, count: int, highest_label: int) -> None:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != count:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"the model must return logits (B, classes), here ({count}, classes), not {found}")
    if highest_label >= logits.shape[1]:
        raise ValueError(f"the labels go up to {highest_label}, but the model tells only {logits.shape[1]} "
                         f"classes apart; give it at least {highest_label + 1} outputs")


def _how_to_go_on(history: History, path: Path | None, saved: bool) -> str:
    text = f"Stopped after step {len(history.steps)} of {history.total_steps}. "
    if path is None:
        return text + "The model keeps what it has learned; with checkpoint=FILE one can go on from there."
    if not saved:  # stopped amid a step, whose half-made weights are not worth keeping
        return text + f"{path} holds the last whole save; run this again to go on from there."
    return text + f"Run this again to go on from there ({path} has it)."

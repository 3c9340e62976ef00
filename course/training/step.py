"""One step of a training: forward, backward, update."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from course.training.batches import Batch
from course.training.ema import Ema
from course.training.loss import training_loss
from course.training.not_finite import TrainingError, cause_of, gradient_cause
from course.training.optimizers import make_optimizer
from course.training.parallel import Processes
from course.training.recipe import Recipe
from course.training.sam import sharpness_step
from course.training.speed import Speed


class Step:
    """``step(batch, number)`` trains the model on one batch and returns its loss, not yet read from the device.

    Attributes:
        optimizer: with what it has gathered.
        ema: the running mean of the weights; None without `recipe.ema`.
        own_loss: whether the model turned out to give its loss itself, and no logits.
    """

    own_loss = False

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int, classes: int, teacher: nn.Module | None) -> None:
        """
        Args:
            classes: how many there are in the labels; 0: there are no labels.
        """
        if (recipe.distill is None) != (teacher is None):
            has, lacks = (
                ("a recipe with distill", "teacher=") if teacher is None else ("teacher=", "a recipe with distill")
            )
            raise ValueError(f"distillation needs both: there is {has} but no {lacks}")
        if recipe.views > 1 and not getattr(model, "takes_views", False):
            raise ValueError(
                f"the recipe makes {recipe.views} views of each image, for a model that compares them (DINO), and "
                f"{type(model).__name__} takes the image: recipe.but(views=1, local_views=None)"
            )
        self.model, self.recipe, self.steps, self.classes, self.teacher = model, recipe, steps, classes, teacher
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not self.parameters:
            raise ValueError("this model has no parameter to train (all of them have requires_grad=False)")
        self.optimizer = make_optimizer(model, recipe)
        self.ema = None if recipe.ema is None else Ema(model, recipe.ema)

    def prepare(self, speed: Speed, processes: Processes, device: torch.device) -> None:
        self.speed, self.device = speed, device
        self.network = processes.together(speed.prepare(self.model), device)
        # Reading the loss at once is free on a CPU. Several processes must fail together, which `loop` sees to.
        self.checks_finite = device.type == "cpu" and processes.count == 1
        if self.teacher is not None:
            self.teacher.to(device)

    def __call__(self, batch: Batch, step: int, seed: int, path: Path | None = None) -> Tensor:
        """
        Args:
            step: counted from 0.
            seed: of what is random inside the network.
            path: the checkpoint, to be named in an error.

        Raises:
            TrainingError: on a CPU, the loss or its gradient is not finite; nothing was updated.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate(step, self.steps) * group["lr_scale"]
        teacher_logits = self._teacher_logits(batch.images)

        def loss_of() -> Tensor:
            torch.manual_seed(seed)  # dropout and the like
            loss = self._loss(batch, teacher_logits)
            if self.checks_finite and not torch.isfinite(loss):
                raise self._error(step, f"the loss is {loss.item()}", cause_of(self.model, batch.images), path)
            return loss

        if self.recipe.sam is not None:
            loss = sharpness_step(self.model, loss_of, self.recipe.sam)
        else:
            self.optimizer.zero_grad()
            loss = loss_of()
            loss.backward()
        if self.recipe.grad_clip is not None:
            norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.grad_clip)
            if self.checks_finite and not torch.isfinite(norm):
                raise self._error(step, "the gradient is not finite", gradient_cause(self.model), path)
        self.optimizer.step()
        if hasattr(self.model, "after_step"):
            self.model.after_step(step, self.steps)
        if self.ema:
            self.ema.update(self.model)
        return loss.detach()

    def _loss(self, batch: Batch, teacher_logits: Tensor | None) -> Tensor:
        with self.speed.applied(self.device):
            logits = self.network(batch.images)  # (B, classes), or a pair of those; or a loss of its own
            if isinstance(logits, Tensor) and logits.ndim == 0:
                self.own_loss = True
                if teacher_logits is not None:
                    raise ValueError("distillation is for a model that gives logits; this one gives a loss of its own")
                return logits.float()
            if self.classes == 0:
                raise ValueError(
                    "labels are needed, for the model gives no loss of its own: data is an ImageSet from load(), or a "
                    "pair (images, labels)"
                )
            answers = logits if isinstance(logits, tuple) and teacher_logits is not None else (logits, logits)
            for one in answers:
                check_logits(one, len(batch.images), self.classes)
            return training_loss(answers, batch, teacher_logits, self.recipe)

    def _error(self, step: int, what: str, cause: str, path: Path | None) -> TrainingError:
        return TrainingError.at(step + 1, self.steps, self.recipe, what, path, cause)

    def _teacher_logits(self, images: Tensor) -> Tensor | None:
        if self.teacher is None:
            return None
        mine, theirs = self.model.normalise_images, getattr(self.teacher, "normalise_images", None)
        if theirs is not None and theirs != mine:
            images = theirs(mine.undo(images))
        with torch.no_grad(), self.speed.applied(self.device):
            logits = self.teacher(images)
        check_logits(logits, len(images), self.classes)
        return logits

    def as_evaluated(self):
        """Inside, the model has the weights that count: the running mean, if there is one."""
        return self.ema.in_place_of(self.model) if self.ema else nullcontext()

    def keep_what_is_evaluated(self) -> None:
        if self.ema:
            self.model.load_state_dict(self.ema.mean)


@contextmanager
def distillation_modes(model: nn.Module, teacher: nn.Module | None) -> Iterator[None]:
    """Within it, the teacher is in eval mode and a student with an output for it gives both outputs; after it, all is as before."""
    if teacher is None:
        yield
        return
    heads = [module for module in model.modules() if hasattr(module, "gives_both")]
    was_training = teacher.training
    teacher.eval()
    for head in heads:
        head.gives_both = True
    try:
        yield
    finally:
        teacher.train(was_training)
        for head in heads:
            head.gives_both = False


def check_logits(logits, count: int, classes: int) -> None:
    """
    Raises:
        ValueError: what a model returned is not (count, at least `classes`).
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != count:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"the model must return logits (B, classes), here ({count}, classes), not {found}")
    if classes > logits.shape[1]:
        raise ValueError(
            f"the labels go up to {classes - 1}, but the model tells only {logits.shape[1]} "
            f"classes apart; give it at least {classes} outputs"
        )

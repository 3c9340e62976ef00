"""Recipes: how a model is trained, as data. ``recipes.cpu_minute.but(steps=100)`` is a shorter one."""

import math
from dataclasses import dataclass, fields, replace

from course.data.augment import AUGMENTATIONS
from course.data.names import one_of

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "flat_then_linear", "constant")
FLAT_UNTIL = 0.3


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training, apart from the model and the data.

    Attributes:
        steps, epochs: how long; exactly one of them is given. A step is one batch.
        batch_size: images a step.
        optimizer: ``adamw`` (with `betas`) or ``sgd`` (momentum is ``betas[0]``, Nesterov).
        lr: the highest learning rate.
        weight_decay: of matrices and other tensors of two or more axes; biases and norm scales are not
            decayed.
        warmup: share of the steps in which the learning rate climbs from 0 to `lr`.
        schedule: then ``cosine`` to 0; ``flat_then_linear``, at `lr` until 30 % and straight to 0;
            ``constant``.
        label_smoothing: share of the target spread over all classes.
        grad_clip: the gradient is scaled down to this norm if longer; None: never.
        augment: names from ``course.data.augment``, applied in this order.
        seed: of the order of the data, of augmentation and of dropout.
    """

    steps: int | None = None
    epochs: int | None = None
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = 0.1
    schedule: str = "flat_then_linear"
    label_smoothing: float = 0.0
    grad_clip: float | None = 1.0
    augment: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a recipe says how long either as steps= or as epochs=, and not as both")
        lengths = [self.batch_size, self.epochs if self.steps is None else self.steps]
        if not all(isinstance(length, int) and length >= 1 for length in lengths):
            raise ValueError("steps, epochs and batch_size are whole numbers, at least 1")
        if self.lr <= 0 or not 0 <= self.warmup < 1 or self.seed < 0:
            raise ValueError("lr is above 0, warmup a share of the steps (0 to below 1), and seed 0 or more")
        one_of(self.optimizer, OPTIMIZERS, "there is no optimizer")
        one_of(self.schedule, SCHEDULES, "there is no schedule")
        for name in self.augment:
            one_of(name, AUGMENTATIONS, "there is no augmentation")

    def but(self, **changes) -> "Recipe":
        """The same recipe with some fields changed; giving `steps` drops `epochs`, and the other way round.

        Raises:
            ValueError: a field that recipes do not have, or a value that cannot be.
        """
        for name in changes:
            one_of(name, [field.name for field in fields(self)], "a recipe has no field")
        if "steps" in changes:
            changes.setdefault("epochs", None)
        elif "epochs" in changes:
            changes.setdefault("steps", None)
        return replace(self, **changes)

    def total_steps(self, steps_per_epoch: int) -> int:
        """How many steps in all, on data of which an epoch takes that many."""
        return self.steps if self.steps is not None else self.epochs * steps_per_epoch

    def learning_rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, out of `steps`."""
        done = step / steps
        climb = min(1.0, (step + 1) / (self.warmup * steps)) if self.warmup else 1.0
        if self.schedule == "cosine":
            fall = 0.5 * (1 + math.cos(math.pi * max(0.0, done - self.warmup) / (1 - self.warmup)))
        elif self.schedule == "flat_then_linear":
            fall = min(1.0, (1 - done) / (1 - FLAT_UNTIL))
        else:
            fall = 1.0
        return self.lr * climb * fall


cpu_minute = Recipe(steps=200, batch_size=64, lr=3e-3)
"""Half a minute on two cores for a network of width 64 on 32×32 images, mostly less. No augmentation: most
offline sets ask questions whose answer a flip would change."""

gpu = Recipe(
    epochs=50, batch_size=1024, lr=1e-3, warmup=0.05, label_smoothing=0.1,
    augment=("random_crop", "random_flip"),
)
"""For CIFAR on one GPU. Batch size, learning rate and clipping are those of Beyer, Zhai and Kolesnikov,
"Better plain ViT baselines for ImageNet-1k" (2022); crop and flip are usual on CIFAR. A starting point."""

_NAMED = {"cpu_minute": cpu_minute, "gpu": gpu}


def get(name: str) -> Recipe:
    """A recipe by name, for the command line.

    Raises:
        ValueError: no such recipe; names the nearest.
    """
    return _NAMED[one_of(name, _NAMED, "there is no recipe")]

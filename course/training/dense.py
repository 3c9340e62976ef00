"""Training by any loss: for masks and boxes, where an image's label is no single class."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course.data.imageset import ImageSet, device_of
from course.data.normalise import Normalise
from course.notebook import budget_name
from course.progress_bar import progress_bar
from course.training.batches import Batch, Batches, mixed_seed
from course.training.history import History
from course.training.parallel import Processes
from course.training.recipe import Recipe
from course.training.step import Step

# What would move or mix pixels and leave masks and boxes as they are, or is done by `fit` alone.
NOT_HERE = ("augment", "rand_augment", "random_erasing", "mixup", "cutmix", "sam", "ema", "distill")


def fit_dense(
    model: nn.Module,
    data: ImageSet,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    recipe: Recipe,
    *,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> History:
    """Train a model in place; it comes back in eval mode, with ``model.normalise_images`` set.

    As in `fit`, what happens in a step depends on the recipe, its number and the weights alone.

    Args:
        model: images (B, C, H, W), float32, to whatever the loss reads.
        data: ``load("shapes")``, say.
        loss: (model, images (B, C, H, W), their numbers in `data` (B,)) -> a scalar:
            ``lambda model, images, chosen: F.cross_entropy(model(images), data.labels[chosen])``.
        recipe: how long and by what steps.
        device: CUDA if there is one, else the CPU.
        progress: show a bar (never with ``COURSE_BUDGET=tiny``).

    Raises:
        ValueError: the recipe changes images in a way that masks and boxes would have to follow.
        TrainingError: the loss is no longer a number.
    """
    if asked := [name for name in NOT_HERE if getattr(recipe, name)]:
        raise ValueError(f"fit_dense leaves images as they are, and this recipe has {', '.join(asked)}")
    device = device_of(device)
    images = data.images.to(device)
    model.to(device).train()
    model.normalise_images = Normalise.of(images)
    numbers = torch.arange(len(images), device=device)  # what a batch has for labels
    batches = Batches(images, numbers, model.normalise_images, recipe, Processes.running())
    one_step = _Step(model, recipe, batches.steps, loss)
    history = History(recipe, batches.steps, model.normalise_images)
    started = time.monotonic()
    silent = not progress or budget_name() == "tiny"
    with progress_bar(batches.steps, None, desc="training", unit=" steps", disable=silent) as bar:
        for step in range(batches.steps):
            value = one_step(batches(step), step, mixed_seed(recipe.seed, step, 0))
            history.steps.append(step + 1)
            history.loss.append(value.item())
            bar.update()
    model.eval()
    history.seconds = time.monotonic() - started
    return history


class _Step(Step):
    """A step of `fit`, whose loss is the caller's. It is not prepared for a speed: it computes in float32, as it is."""

    checks_finite = True

    def __init__(
        self, model: nn.Module, recipe: Recipe, steps: int, loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    ) -> None:
        super().__init__(model, recipe, steps, classes=0, teacher=None)
        self.loss = loss

    def _loss(self, batch: Batch, teacher_logits: None) -> Tensor:
        return self.loss(self.model, batch.images, batch.labels)

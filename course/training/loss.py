"""The loss of a training: kinds of cross-entropy, on mixed images too, and what a teacher adds."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course.training.batches import Batch
from course.training.recipe import Recipe


def training_loss(
    answers: tuple[Tensor, Tensor], batch: Batch, teacher_logits: Tensor | None, recipe: Recipe
) -> Tensor:
    """The loss of a batch, a scalar in float32.

    Args:
        answers: logits (B, classes) for the label and for the teacher; the same ones twice, where a network
            has no output of its own for the teacher.
        teacher_logits: the teacher's logits (B, classes); None without `recipe.distill`.
    """
    own, distilled = (logits.float() for logits in answers)
    loss = label_loss(own, batch, recipe)
    if teacher_logits is None:
        return loss
    share = recipe.distill_weight
    return (1 - share) * loss + share * distillation_loss(
        distilled, teacher_logits.float(), recipe.distill, recipe.distill_temperature
    )


def label_loss(logits: Tensor, batch: Batch, recipe: Recipe) -> Tensor:
    """Cross-entropy with label smoothing, or binary cross-entropy; of mixed images with both labels.

    A mixed image of share s has the target s of its own class and 1 - s of the other's (Zhang et al. 2018,
    arXiv:1710.09412, equation 2). Binary cross-entropy sets both to 1, as Wightman et al. 2021
    (arXiv:2110.00476, section 3) and DeiT III do, and adds up over nothing: it is the mean over classes.
    """
    if recipe.loss == "bce":
        targets = _smooth(_present(batch, logits.shape[1]), recipe.label_smoothing)
        return F.binary_cross_entropy_with_logits(logits, targets)

    if batch.share is None:
        return F.cross_entropy(logits, batch.labels, label_smoothing=recipe.label_smoothing)

    def against(labels: Tensor) -> Tensor:  # (B,)
        return F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing, reduction="none")

    return (batch.share * against(batch.labels) + (1 - batch.share) * against(batch.other_labels)).mean()


def distillation_loss(logits: Tensor, teacher_logits: Tensor, kind: str, temperature: float = 1.0) -> Tensor:
    """How far a student (B, classes) is from its teacher (B, classes).

    ``soft``: temperature² times the Kullback-Leibler divergence of the student's distribution from the
    teacher's, both at that temperature (Hinton et al. 2015, arXiv:1503.02531; DeiT, arXiv:2012.12877, equation 2).
    ``hard``: cross-entropy with the teacher's decision (DeiT, equation 3).
    """
    if kind == "hard":
        return F.cross_entropy(logits, teacher_logits.argmax(1))
    student = F.log_softmax(logits / temperature, dim=1)  # (B, classes)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)  # (B, classes)
    return temperature**2 * F.kl_div(student, teacher, log_target=True, reduction="batchmean")


def _present(batch: Batch, classes: int) -> Tensor:
    """1 for every class that is in the image, (B, classes)."""
    targets = F.one_hot(batch.labels, classes).float()
    if batch.share is None:
        return targets
    own, other = batch.share > 0, batch.share < 1  # (B,)
    return torch.maximum(targets * own[:, None], F.one_hot(batch.other_labels, classes) * other[:, None])


def _smooth(targets: Tensor, smoothing: float) -> Tensor:
    return targets * (1 - smoothing) + smoothing / targets.shape[1]

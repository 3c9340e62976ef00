"""The losses against their equations, written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from course.training.batches import Batch
from course.training.loss import distillation_loss, label_loss, training_loss
from course.training.recipe import Recipe
from tests.models.parity import proves

CLASSES = 5


def recipe(**fields) -> Recipe:
    return Recipe(steps=1, **fields)


@pytest.fixture
def logits():
    return torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


LABELS, OTHERS = torch.tensor([0, 1, 4, 2]), torch.tensor([1, 0, 2, 4])
SHARE = torch.tensor([0.3, 0.3, 1.0, 0.0], dtype=torch.float64)


def mixed() -> Batch:
    return Batch(torch.zeros(4, 1, 2, 2), LABELS, OTHERS, SHARE)


@proves(36, 162)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_images_have_mixed_targets(logits, smoothing):
    targets = SHARE[:, None] * F.one_hot(LABELS, CLASSES) + (1 - SHARE[:, None]) * F.one_hot(OTHERS, CLASSES)
    targets = targets * (1 - smoothing) + smoothing / CLASSES
    expected = -(targets * logits.log_softmax(1)).sum(1).mean()
    assert label_loss(logits, mixed(), recipe(label_smoothing=smoothing)) == pytest.approx(float(expected))


def test_binary_cross_entropy_has_every_class_that_is_there(logits):
    """An image of which nothing is left (share 0) does not count for its class, nor one that was not mixed in."""
    targets = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]])
    p = torch.sigmoid(logits)
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert label_loss(logits, mixed(), recipe(loss="bce")) == pytest.approx(float(expected))
    alone = label_loss(logits, Batch(torch.zeros(4, 1, 2, 2), LABELS), recipe(loss="bce"))
    only = F.one_hot(LABELS, CLASSES)
    assert alone == pytest.approx(float(-(only * p.log() + (1 - only) * (1 - p).log()).mean()))


@proves(90)
def test_soft_distillation_by_hand():
    """Two classes: KL of (σ(a), 1-σ(a)) from (σ(b), 1-σ(b)), at temperature 3, times 9."""
    student, teacher, temperature = torch.tensor([[1.5, 0.0]]), torch.tensor([[-0.6, 0.0]]), 3.0
    p, q = (1 / (1 + math.exp(-value / temperature)) for value in (-0.6, 1.5))
    expected = 9 * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
    assert distillation_loss(student, teacher, "soft", temperature) == pytest.approx(expected, rel=1e-5)


@proves(90)
def test_hard_distillation_is_the_teachers_decision(logits):
    taught = torch.eye(CLASSES, dtype=torch.float64)[[2, 2, 0, 1]] * 7
    expected = F.cross_entropy(logits, torch.tensor([2, 2, 0, 1]))
    assert distillation_loss(logits, taught, "hard") == pytest.approx(float(expected))


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_a_student_that_is_its_teacher(logits, kind):
    loss = distillation_loss(50 * logits, 50 * logits, kind, 1.0)
    assert float(loss) == pytest.approx(0.0, abs=1e-3)


def test_label_and_teacher_share_the_loss(logits):
    """DeiT, equation 3: each head has its own question."""
    own, distilled = logits.float(), -logits.float()
    batch = Batch(torch.zeros(4, 1, 2, 2), LABELS)
    taught = torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(5))
    found = training_loss((own, distilled), batch, taught, recipe(distill="hard", distill_weight=0.25))
    expected = 0.75 * F.cross_entropy(own, LABELS) + 0.25 * F.cross_entropy(distilled, taught.argmax(1))
    assert found == pytest.approx(float(expected))
    assert training_loss((own, own), batch, None, recipe()) == pytest.approx(float(F.cross_entropy(own, LABELS)))

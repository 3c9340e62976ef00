"""DINO against its equations, written with loops: the loss, the centre, the teacher; views of other sizes."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.models import at_resolution, create_model
from course.models.dino import DINO, DINOHead, dino_loss
from tests.models.parity import proves, randomised

GENERATOR = torch.Generator().manual_seed(5)
STUDENT = [torch.randn(3, 5, generator=GENERATOR, dtype=torch.float64) for _ in range(4)]
TEACHER = [torch.randn(3, 5, generator=GENERATOR, dtype=torch.float64) for _ in range(2)]
CENTRE = torch.randn(5, generator=GENERATOR, dtype=torch.float64)
VIEWS = [torch.randn(6, 1, 8, 8, generator=GENERATOR) for _ in range(2)]
LOCAL = [torch.randn(6, 1, 4, 4, generator=GENERATOR) for _ in range(3)]


def dino(**changes) -> DINO:
    torch.manual_seed(0)
    encoder = create_model(
        "vit_cifar", img_size=8, patch_size=2, in_chans=1, embed_dim=16, depth=2, num_heads=2, num_classes=0
    )
    return DINO(encoder, **dict(prototypes=7, hidden=24, bottleneck=6) | changes)


def softmax(logits: list[float]) -> list[float]:
    largest = max(logits)
    exponentials = [math.exp(x - largest) for x in logits]
    return [x / sum(exponentials) for x in exponentials]


def by_loops(student, teacher, centre, student_temp, teacher_temp) -> float:
    """Equations 1 to 3: the mean of H(P_t(x), P_s(x')) over all images and all pairs of different views."""
    found = []
    for i, t in enumerate(teacher):
        for j, s in enumerate(student):
            for b in range(len(t)) if i != j else ():
                p = softmax([(x - c) / teacher_temp for x, c in zip(t[b].tolist(), centre.tolist())])
                q = softmax([x / student_temp for x in s[b].tolist()])
                found.append(-sum(a * math.log(z) for a, z in zip(p, q)))
    return sum(found) / len(found)


@proves(148)
def test_the_loss_is_the_papers_equation():
    ours = dino_loss(STUDENT, TEACHER, CENTRE, 0.3, 0.1)
    assert ours.item() == pytest.approx(by_loops(STUDENT, TEACHER, CENTRE, 0.3, 0.1), rel=1e-12)


def not_centred(student, teacher, centre, student_temp, teacher_temp):
    return dino_loss(student, teacher, torch.zeros_like(centre), student_temp, teacher_temp)


def centre_added(student, teacher, centre, student_temp, teacher_temp):
    return dino_loss(student, teacher, -centre, student_temp, teacher_temp)


def temperatures_swapped(student, teacher, centre, student_temp, teacher_temp):
    return dino_loss(student, teacher, centre, teacher_temp, student_temp)


def student_centred_too(student, teacher, centre, student_temp, teacher_temp):
    return dino_loss([s - centre for s in student], teacher, centre, student_temp, teacher_temp)


def the_same_view_counts(student, teacher, centre, student_temp, teacher_temp):
    """Every view of the student against every one of the teacher, its own included."""
    targets = [((t - centre) / teacher_temp).softmax(-1) for t in teacher]
    return torch.stack([-(t * (s / student_temp).log_softmax(-1)).sum(-1) for t in targets for s in student]).mean()


def teacher_and_student_swapped(student, teacher, centre, student_temp, teacher_temp):
    return dino_loss(teacher, student, centre, student_temp, teacher_temp)


@pytest.mark.parametrize(
    "mistake",
    [
        not_centred,
        centre_added,
        temperatures_swapped,
        student_centred_too,
        the_same_view_counts,
        teacher_and_student_swapped,
    ],
)
def test_catches_in_the_loss(mistake):
    expected = by_loops(STUDENT, TEACHER, CENTRE, 0.3, 0.1)
    assert abs(mistake(STUDENT, TEACHER, CENTRE, 0.3, 0.1).item() - expected) > 1e-3


@proves(148)
def test_there_is_no_gradient_into_the_teacher():
    student, teacher = ([t.clone().requires_grad_() for t in logits] for logits in (STUDENT, TEACHER))
    centre = CENTRE.clone().requires_grad_()
    dino_loss(student, teacher, centre, 0.3, 0.1).backward()
    assert all(t.grad is None for t in teacher) and centre.grad is None
    # The gradient of a cross-entropy: (answer - target) / temperature, over its pairs and images.
    targets = [((t - CENTRE) / 0.1).softmax(-1) for t in TEACHER]
    pairs = 2 * 4 - 2
    for j, s in enumerate(student):
        answer = (s.detach() / 0.3).softmax(-1)
        expected = sum((answer - target) / 0.3 for i, target in enumerate(targets) if i != j) / (3 * pairs)
        torch.testing.assert_close(s.grad, expected)
    model = dino()
    model(VIEWS).backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {name for name, _ in model.named_parameters() if not name.startswith("teacher")}


@proves(148)
def test_the_centre_is_the_running_mean_of_the_teachers_answers():
    model = randomised(dino(centre_momentum=0.9)).train()
    model.centre.zero_()
    expected = torch.zeros(7)
    for _ in range(3):
        answers = torch.cat([model.teacher_head(model.teacher(view)) for view in VIEWS])
        with torch.no_grad():
            expected = 0.9 * expected + 0.1 * answers.mean(0)
        model(VIEWS)
    torch.testing.assert_close(model.centre, expected)
    model.eval()(VIEWS)  # moves nothing
    torch.testing.assert_close(model.centre, expected)
    still = randomised(dino(centre_momentum=1.0)).train()
    still.centre.zero_()
    still(VIEWS)
    assert not still.centre.any(), "so one leaves centring out"


@proves(148)
def test_the_teacher_is_the_running_mean_of_the_student():
    """θt ← λ θt + (1 - λ) θs, λ from 0.9 to 1 along a cosine."""
    model, steps = dino(momentum=0.9), 4
    mean = {name: p.clone() for name, p in model.teacher.named_parameters()}
    for step in range(steps):
        with torch.no_grad():
            for p in model.encoder.parameters():
                p.add_(torch.randn(p.shape, generator=GENERATOR))
        model.after_step(step, steps)
        share = 1 - 0.1 * (math.cos(math.pi * step / steps) + 1) / 2
        mean = {n: share * mean[n] + (1 - share) * p.detach() for n, p in model.encoder.named_parameters()}
    assert share == pytest.approx(0.985, abs=1e-3)
    for name, p in model.teacher.named_parameters():
        torch.testing.assert_close(p, mean[name])
    assert not any(p.requires_grad for p in model.teacher.parameters())


def test_teacher_and_student_begin_as_one_and_the_teacher_never_drops():
    model = dino()
    assert all(torch.equal(a, b) for a, b in zip(model.encoder.parameters(), model.teacher.parameters()))
    assert model.encoder.stages[0] is not model.teacher.stages[0]
    model.train()
    assert model.encoder.training and model.head.training and not model.teacher.training
    assert not any(module.training for module in model.teacher_head.modules())


def test_the_head_measures_cosines():
    head = randomised(DINOHead(4, 7, 8, 6))
    x = torch.randn(3, 4)
    y = head(x)
    for b in range(3):
        for k in range(7):
            expected = F.cosine_similarity(head.mlp(x)[b], head.prototypes[k], dim=0)
            assert y[b, k].item() == pytest.approx(expected.item(), abs=1e-6)


def test_all_views_count_and_the_teacher_sees_the_large_ones():
    model = randomised(dino()).eval()
    views = [*VIEWS, *LOCAL]
    student = model.logits(views)
    teacher = model.teacher_logits(VIEWS)
    expected = by_loops(student, teacher, model.centre, 0.1, 0.04)
    assert model(views).item() == pytest.approx(expected, rel=1e-4)


def test_smaller_views_are_read_with_resized_positions():
    model = randomised(dino()).eval()
    smaller = at_resolution(model.encoder, 4)
    torch.testing.assert_close(model.logits(LOCAL[:1])[0], model.head(smaller(LOCAL[0])), rtol=1e-5, atol=1e-6)
    model.logits(LOCAL)[0].sum().backward()
    assert model.encoder.stages[0].entry.position.grad.any(), "and they learn from these views, too"
    assert not any(name.startswith("_sized") for name in model.state_dict())


def test_one_image_for_all_views():
    model = randomised(dino()).eval()
    assert model(VIEWS[0]).item() == pytest.approx(model([VIEWS[0], VIEWS[0]]).item())


def test_running_statistics_are_the_students():
    class WithNorm(nn.Module):
        num_features = 4

        def __init__(self):
            super().__init__()
            self.norm, self.linear = nn.BatchNorm2d(1), nn.Linear(64, 4)

        def forward(self, x):
            return self.linear(self.norm(x).flatten(1))

    model = DINO(WithNorm(), prototypes=3, hidden=4, bottleneck=2).train()
    before = copy.deepcopy(model.teacher.norm.running_mean)
    model(VIEWS)
    model.after_step(0, 2)
    assert torch.equal(model.teacher.norm.running_mean, model.encoder.norm.running_mean)
    assert not torch.equal(model.teacher.norm.running_mean, before)

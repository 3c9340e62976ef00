"""The right answers of homework 8 are what torch, torchvision and the course's own training compute."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import stochastic_depth

from course.checks import load_homework
from course.data.mix import Mix
from course.models import create_model
from course.training import recipes, update_rules
from course.training.loss import distillation_loss
from course.training.optimizers import layer_scales
from course.training.sam import sharpness_step

ROOT = Path(__file__).resolve().parents[2]
STEPS, RATE = 6, 0.05


@pytest.fixture(scope="module")
def right() -> dict:
    return load_homework(ROOT / "solutions/hw8_training").reference


@pytest.fixture
def gradients() -> torch.Tensor:
    return torch.randn(STEPS, 3, 4, generator=torch.Generator().manual_seed(0))


def by_torch(kind: type, gradients: torch.Tensor, **options) -> torch.Tensor:
    w = torch.ones(3, 4, requires_grad=True)
    optimizer = kind([w], lr=RATE, **options)
    for g in gradients:
        w.grad = g.clone()
        optimizer.step()
    return w.detach()


def test_both_forms_of_momentum(right, gradients):
    first = second = torch.ones(3, 4)
    v = mean = torch.zeros(3, 4)
    for g in gradients:
        first, v = right["sgd_momentum"](first, g, v, RATE, 0.9)
        second, mean = right["sgd_momentum_averaged"](second, g, mean, RATE / 0.1, 0.9)
    torch.testing.assert_close(first, by_torch(torch.optim.SGD, gradients, momentum=0.9))
    torch.testing.assert_close(second, first)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_and_adamw(right, gradients, name):
    kind, options, more = {
        "adam": (torch.optim.Adam, {}, ()),
        "adamw": (torch.optim.AdamW, {"weight_decay": 0.3}, (0.3,)),
    }[name]
    w, m, v = torch.ones(3, 4), torch.zeros(3, 4), torch.zeros(3, 4)
    of_course, state = w, {}
    for step, g in enumerate(gradients, start=1):
        w, m, v = right[f"{name}_step"](w, g, m, v, step, RATE, 0.8, 0.95, 1e-2, *more)
        rule = getattr(update_rules, name)
        of_course = rule(of_course, lambda _: g, state, RATE, betas=(0.8, 0.95), eps=1e-2, **options)
    torch.testing.assert_close(w, by_torch(kind, gradients, betas=(0.8, 0.95), eps=1e-2, **options))
    torch.testing.assert_close(w, of_course)


def test_the_learning_rate_is_that_of_a_recipe(right):
    recipe = recipes.vit.but(warmup=5 / 40, schedule="cosine", lr=2.0)
    rates = [right["lr_schedule"](step, 40, 5, 2.0, 0.0) for step in range(40)]
    assert rates == pytest.approx([recipe.learning_rate(step, 40) for step in range(40)])


def test_smoothing_and_cross_entropy(right):
    scores, labels = torch.randn(5, 7), torch.randint(7, (5,))
    loss = right["soft_cross_entropy"](scores, right["label_smoothing"](F.one_hot(labels, 7).float(), 0.2))
    torch.testing.assert_close(loss, F.cross_entropy(scores, labels, label_smoothing=0.2))


def test_mixed_images_and_the_box(right):
    images, labels = torch.randn(6, 3, 20, 26), torch.randint(4, (6,))
    for mix in (Mix(mixup=1.0, cutmix=0.0), Mix(mixup=0.0, cutmix=1.0)):
        drawn = mix.draw(6, images.shape, torch.Generator().manual_seed(3))
        mixed, partners, shares = mix.apply(images, drawn)
        if mix.mixup:
            torch.testing.assert_close(right["mixup_images"](images, partners, shares), mixed)
        targets = right["mixup_targets"](labels, partners, shares, 4)
        expected = shares[:, None] * F.one_hot(labels, 4) + (1 - shares[:, None]) * F.one_hot(labels[partners], 4)
        torch.testing.assert_close(targets, expected)


def test_the_box_is_that_of_the_course(right):
    """The course draws share, row and column itself: the same box for each of many draws, with the share that is left."""
    mix, cut_off = Mix(mixup=0.0, cutmix=1.0), 0
    for seed in range(40):
        _, down, across = torch.rand(3, generator=torch.Generator().manual_seed(seed)).tolist()
        kept, _, top, left, height, width = mix.draw(1, (3, 20, 26), torch.Generator().manual_seed(seed))[0].tolist()
        found = [
            right["cutmix_box"](20, 26, share, math.floor(down * 20), math.floor(across * 26))
            for share in [n / 1000 for n in range(1, 1000)]
        ]
        assert any(box == pytest.approx((top, left, top + height, left + width, kept), abs=1e-5) for box in found), seed
        cut_off += 0 in (top, left) or top + height == 20 or left + width == 26
    assert cut_off > 5


def test_drop_path(right):
    branch, rate = torch.randn(400, 3, 2), 0.3
    dropped = right["drop_path"](branch, rate, True, torch.Generator().manual_seed(0))
    kept = dropped.flatten(1).any(1)
    torch.testing.assert_close(dropped[kept], branch[kept] / 0.7)
    theirs = stochastic_depth(branch, rate, "row").flatten(1).any(1)
    assert abs(float(kept.float().mean() - theirs.float().mean())) < 0.15
    assert right["drop_path"](branch, rate, False, None) is branch


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(right, training):
    x, scale, shift = torch.randn(4, 3, 5, 2) * 2 + 1, torch.randn(3), torch.randn(3)
    mean, var = torch.randn(3), torch.rand(3) + 0.5
    found = right["batch_norm"](x, scale, shift, mean, var, training, 0.2, 1e-3)
    expected = F.batch_norm(x, mean, var, scale, shift, training, 0.2, 1e-3)  # writes into mean and var
    torch.testing.assert_close(found, (expected, mean, var))


def test_distillation(right):
    scores, labels, taught = torch.randn(5, 7), torch.randint(7, (5,)), torch.randn(5, 7)
    found = right["distillation_loss"](scores, F.one_hot(labels, 7).float(), taught, 3.0, 0.4)
    of_course = distillation_loss(scores, taught, "soft", 3.0)
    torch.testing.assert_close(found, 0.6 * F.cross_entropy(scores, labels) + 0.4 * of_course)


def test_layer_decay(right):
    scales = layer_scales(create_model("vit_cifar", depth=3), 0.7)
    for name, expected in scales.items():
        start, _, rest = name.partition(".")
        renamed = {"stem": "patch_embed", "stages": "blocks"}.get(start, "head")
        renamed += "." + rest.removeprefix("0.blocks.")
        if name.startswith("stages.") and ".blocks." not in name:
            continue  # the norm of a stage stands in none of the homework's names
        assert right["layer_decay"](renamed, 3, 0.7) == pytest.approx(expected), name
    assert len(set(scales.values())) == 5


def test_sharpness_aware_step(right):
    images, labels = torch.randn(6, 1, 3, 4), torch.randint(5, (6,))
    ours, theirs = (nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 5)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    loss = right["sam_step"](ours, images, labels, 0.3, 0.5)
    expected = sharpness_step(theirs, lambda: F.cross_entropy(theirs(images), labels), 0.5)
    torch.optim.SGD(theirs.parameters(), lr=0.3).step()
    assert loss == pytest.approx(float(expected))
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(weight, theirs.state_dict()[name])

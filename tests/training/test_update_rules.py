"""The update rules against torch.optim, step by step, and what makes the examples of a step."""

import inspect
from itertools import islice

import pytest
import torch

from course.training import update_rules
from course.training.update_rules import (
    adagrad,
    adam,
    adamw,
    averaged_momentum,
    descend,
    gradient_descent,
    minibatches,
    momentum,
    nesterov,
    rmsprop,
)
from tests.models.parity import proves

START = torch.tensor([[-1.5, 0.7, 2.0], [0.3, -0.2, 1.1]], dtype=torch.float64)
STEPS = 12


def surface(w):
    """Not the same in any two directions, and not quadratic: (2, 3) -> ()."""
    steep = torch.tensor([[1.0, 5.0, 0.3], [2.0, 0.1, 9.0]], dtype=w.dtype)
    return (steep * w**2).sum() / 2 + w.sin().prod() + (w[0] * w[1].cos()).sum()


def gradient(w):
    w = w.detach().requires_grad_()
    return torch.autograd.grad(surface(w), w)[0]


def torch_path(make, gradient=gradient, steps=STEPS, start=START):
    w = start.clone().requires_grad_()
    optimizer, path = make([w]), [start]
    for _ in range(steps):
        w.grad = gradient(w)
        optimizer.step()
        path.append(w.detach().clone())
    return torch.stack(path)


def with_a_buffer(parameters, **options):
    """torch's first gradient is not damped; with a momentum of 0 to begin with it is, as all others."""
    optimizer = torch.optim.SGD(parameters, **options)
    for w in parameters:
        optimizer.state[w]["momentum_buffer"] = torch.zeros_like(w)
    return optimizer


PAIRS = {
    "gradient_descent": (gradient_descent, dict(lr=0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (momentum, dict(lr=0.02, decay=0.8), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8)),
    "averaged_momentum": (
        averaged_momentum,
        dict(lr=0.1, decay=0.8),
        lambda p: with_a_buffer(p, lr=0.1, momentum=0.8, dampening=0.8),
    ),
    "adagrad": (adagrad, dict(lr=0.3), lambda p: torch.optim.Adagrad(p, lr=0.3)),
    "rmsprop": (rmsprop, dict(lr=0.05, decay=0.9), lambda p: torch.optim.RMSprop(p, lr=0.05, alpha=0.9)),
    "adam": (adam, dict(lr=0.1, betas=(0.8, 0.95)), lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95))),
    "adamw": (
        adamw,
        dict(lr=0.1, betas=(0.8, 0.95), weight_decay=0.3),
        lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.3),
    ),
}
DEFAULTS = {
    "adagrad": (adagrad, torch.optim.Adagrad),
    "rmsprop": (rmsprop, torch.optim.RMSprop),
    "adam": (adam, torch.optim.Adam),
    "adamw": (adamw, torch.optim.AdamW),
}


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@proves(159)
@pytest.mark.parametrize("name", PAIRS)
def test_a_rule_is_torchs(name):
    rule, options, make = PAIRS[name]
    assert_same(descend(rule, gradient, START, STEPS, **options), torch_path(make))


@pytest.mark.parametrize("name", DEFAULTS)
def test_so_are_its_defaults(name):
    rule, optimizer = DEFAULTS[name]
    assert_same(descend(rule, gradient, START, STEPS, lr=0.1), torch_path(lambda p: optimizer(p, lr=0.1)))


def test_nesterov_is_torchs_at_the_point_it_looks_at():
    ours, state = [START], {}
    seen = [START]
    for _ in range(STEPS):
        ours.append(nesterov(ours[-1], gradient, state, lr=0.02, decay=0.8))
        seen.append(ours[-1] + 0.8 * state["v"])
    theirs = torch_path(lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, nesterov=True))
    assert_same(torch.stack(seen), theirs)
    assert (torch.stack(ours) - theirs).abs().max() > 1e-3


def test_every_rule_is_compared():
    rules = {
        name
        for name, f in inspect.getmembers(update_rules, inspect.isfunction)
        if "state" in inspect.signature(f).parameters
    }
    assert rules == set(PAIRS) | {"nesterov"}


def test_the_two_forms_of_momentum_agree_at_another_rate():
    averaged = descend(averaged_momentum, gradient, START, STEPS, lr=0.1, decay=0.9)
    assert_same(averaged, descend(momentum, gradient, START, STEPS, lr=0.01, decay=0.9))
    assert (averaged - descend(momentum, gradient, START, STEPS, lr=0.1, decay=0.9)).abs().max() > 0.1


@pytest.mark.parametrize(
    "name, mistake",
    [
        ("adam", lambda s, r, t: (s, r)),
        ("adam", lambda s, r, t: (s / (1 - 0.8**t), r)),
    ],
)
def test_adam_without_its_corrections_is_another_rule(name, mistake):
    def uncorrected(w, gradient, state, lr):
        g = gradient(w)
        t = state["t"] = state.get("t", 0) + 1
        state["s"] = 0.8 * state.get("s", 0.0) + 0.2 * g
        state["r"] = 0.95 * state.get("r", 0.0) + 0.05 * g * g
        s, r = mistake(state["s"], state["r"], t)
        return w - lr * s / (r.sqrt() + 1e-8)

    right = descend(adam, gradient, START, STEPS, lr=0.1, betas=(0.8, 0.95))
    assert (descend(uncorrected, gradient, START, STEPS, lr=0.1) - right).abs().max() > 1e-2


def test_decay_beside_the_gradient_and_not_in_it():
    """Adam with an L2 term, where decay goes through the division, is torch's Adam and not its AdamW."""

    def with_l2(w):
        return gradient(w) + 0.3 * w

    l2 = descend(adam, with_l2, START, STEPS, lr=0.1)
    assert_same(l2, torch_path(lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.3)))
    assert (l2 - descend(adamw, gradient, START, STEPS, lr=0.1, weight_decay=0.3)).abs().max() > 1e-2


# Which examples a step sees


@pytest.mark.parametrize("size", [1, 4, 12])
def test_gd_sgd_and_minibatches_are_torchs(size):
    """Least squares on 12 examples; the three differ in how many of them a step sees."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(12, generator=generator, dtype=torch.float64)

    def of_batches():
        batches = minibatches(12, size)

        def gradient(w):
            chosen = next(batches)
            w = w.detach().requires_grad_()
            return torch.autograd.grad(((x[chosen] @ w - y[chosen]) ** 2).mean() / 2, w)[0]

        return gradient

    start = torch.zeros(3, dtype=torch.float64)
    ours = descend(gradient_descent, of_batches(), start, 30, lr=0.1)
    assert_same(ours, torch_path(lambda p: torch.optim.SGD(p, lr=0.1), of_batches(), 30, start))


def test_every_example_once_an_epoch():
    two_epochs = list(islice(minibatches(10, 3), 6))
    for epoch in (two_epochs[:3], two_epochs[3:]):
        assert len(set(torch.cat(epoch).tolist())) == 9
    assert not torch.equal(torch.cat(two_epochs[:3]), torch.cat(two_epochs[3:]))
    (everything,) = islice(minibatches(10, 10), 1)
    assert sorted(everything.tolist()) == list(range(10))
    assert torch.equal(next(minibatches(10, 3, seed=4)), next(minibatches(10, 3, seed=4)))


@pytest.mark.parametrize("size", [0, 11])
def test_a_batch_that_cannot_be(size):
    with pytest.raises(ValueError, match=f"a batch of 10 examples has 1 to 10 of them, and not {size}"):
        next(minibatches(10, size))

"""Update rules in ten lines each: how weights follow a gradient. What `fit` uses are torch's; these are to be read.

Each rule makes one step. It takes weights ``w``, a function ``gradient(w)``, which may look at another batch each time,
a dictionary ``state`` that is empty before the first step and keeps what the rule remembers, and the learning rate
``lr``; it returns the new weights. Weights are a tensor of any shape. Each equals the optimizer of ``torch.optim`` of
the same name (tests/training/test_update_rules.py), Nesterov's at the point that it looks at.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Gradient = Callable[[Tensor], Tensor]


def gradient_descent(w: Tensor, gradient: Gradient, state: dict, lr: float) -> Tensor:
    """w ← w - lr · g. Batch, stochastic and minibatch descent differ in the examples of g alone: see `minibatches`."""
    return w - lr * gradient(w)


def momentum(w: Tensor, gradient: Gradient, state: dict, lr: float, decay: float = 0.9) -> Tensor:
    """v ← decay · v - lr · g, then w ← w + v: the heavy ball (Polyak 1964), as torch has it."""
    v = decay * state.get("v", 0.0) - lr * gradient(w)
    state["v"] = v
    return w + v


def averaged_momentum(w: Tensor, gradient: Gradient, state: dict, lr: float, decay: float = 0.9) -> Tensor:
    """v ← decay · v - (1 - decay) · g, then w ← w + lr · v: v is a running mean of the gradients.

    The same as `momentum` whose learning rate is ``(1 - decay) * lr``.
    """
    v = decay * state.get("v", 0.0) - (1 - decay) * gradient(w)
    state["v"] = v
    return w + lr * v


def nesterov(w: Tensor, gradient: Gradient, state: dict, lr: float, decay: float = 0.9) -> Tensor:
    """v ← decay · v - lr · g(w + decay · v), then w ← w + v (Sutskever et al. 2013, equations 3 and 4).

    torch keeps ``w + decay * v``, the point at which the gradient is taken, where this keeps w.
    """
    carried = decay * state.get("v", 0.0)
    v = carried - lr * gradient(w + carried)
    state["v"] = v
    return w + v


def adagrad(w: Tensor, gradient: Gradient, state: dict, lr: float, eps: float = 1e-10) -> Tensor:
    """r ← r + g², then w ← w - lr · g / (√r + eps) (Duchi et al. 2011): each number has its own rate, which falls."""
    g = gradient(w)
    r = state.get("r", 0.0) + g * g
    state["r"] = r
    return w - lr * g / (r.sqrt() + eps)


def rmsprop(w: Tensor, gradient: Gradient, state: dict, lr: float, decay: float = 0.99, eps: float = 1e-8) -> Tensor:
    """r ← decay · r + (1 - decay) · g², then w ← w - lr · g / (√r + eps) (Tieleman & Hinton 2012)."""
    g = gradient(w)
    r = decay * state.get("r", 0.0) + (1 - decay) * g * g
    state["r"] = r
    return w - lr * g / (r.sqrt() + eps)


def adam(
    w: Tensor, gradient: Gradient, state: dict, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> Tensor:
    """Running means s of g and r of g², each divided by what it lacks after t steps (Kingma & Ba 2015, algorithm 1).

    w ← w - lr · ŝ / (√r̂ + eps) with ŝ = s / (1 - β₁ᵗ) and r̂ = r / (1 - β₂ᵗ).
    """
    g = gradient(w)
    t = state["t"] = state.get("t", 0) + 1
    s = state["s"] = betas[0] * state.get("s", 0.0) + (1 - betas[0]) * g
    r = state["r"] = betas[1] * state.get("r", 0.0) + (1 - betas[1]) * g * g
    s_hat, r_hat = s / (1 - betas[0] ** t), r / (1 - betas[1] ** t)
    return w - lr * s_hat / (r_hat.sqrt() + eps)


def adamw(
    w: Tensor,
    gradient: Gradient,
    state: dict,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> Tensor:
    """`adam`, and besides w shrinks by lr · weight_decay, whatever the gradient (Loshchilov & Hutter 2019)."""
    return adam(w, gradient, state, lr, betas, eps) - lr * weight_decay * w


def descend(rule: Callable[..., Tensor], gradient: Gradient, start: Tensor, steps: int, **options) -> Tensor:
    """The way that a rule takes, (steps + 1, *start.shape), with the start first.

    Args:
        options: of the rule: ``lr`` and what else it knows.
    """
    path, state = [start], {}
    for _ in range(steps):
        path.append(rule(path[-1], gradient, state, **options))
    return torch.stack(path)


def minibatches(count: int, size: int, seed: int = 0) -> Iterator[Tensor]:
    """The examples of one step after another, without end: indices (size,) into `count`, each once an epoch.

    With ``size=count`` this is batch gradient descent, with 1 stochastic gradient descent. A rest that fills no batch
    is left out of its epoch.

    Raises:
        ValueError: a batch is empty, or larger than all there is.
    """
    if not 1 <= size <= count:
        raise ValueError(f"a batch of {count} examples has 1 to {count} of them, and not {size}")
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(count, generator=generator)  # (count,)
        yield from order[: count - count % size].split(size)

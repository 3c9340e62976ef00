"""Sharpness-aware minimisation: the gradient is taken a small step uphill from the weights."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def perturbed(parameters: Iterable[Tensor], rho: float) -> Iterator[None]:
    """Within it, the weights are w + e, e = rho · g / ‖g‖₂ with g their gradients; after it w, bit for bit.

    Foret et al. 2021, arXiv:2010.01412, equation 2 with p = 2; ‖g‖₂ is the length over all parameters
    together. Parameters without a gradient stay, and so do all if every gradient is 0. ``.grad`` stays too.

    Args:
        parameters: those of the model, after ``loss.backward()``.
        rho: length of e, in the units of the weights.
    """
    moved = [parameter for parameter in parameters if parameter.grad is not None]
    before = [parameter.detach().clone() for parameter in moved]
    try:
        if moved:
            _add(moved, [parameter.grad for parameter in moved], rho)
        yield
    finally:
        if moved:
            with torch.no_grad():
                torch._foreach_copy_(moved, before)


@torch.no_grad()
def _add(parameters: list[Tensor], gradients: list[Tensor], rho: float) -> None:
    length = nn.utils.get_total_norm(gradients)
    scale = torch.where(length > 0, rho / length, 0.0)
    torch._foreach_add_(parameters, torch._foreach_mul(gradients, scale))


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Whatever forward passes do to the buffers within it is undone: running statistics of batch norms."""
    buffers = list(model.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


def sharpness_step(model: nn.Module, loss_of: Callable[[], Tensor], rho: float) -> Tensor:
    """Leave in ``.grad`` the gradient at w + e, for an ``optimizer.step()`` from w. Returns the loss at w.

    Foret et al. 2021, equation 3. Costs two forward and two backward passes. What it does for ViTs and Mixers
    without pre-training: Chen et al. 2022, arXiv:2106.01548.

    Args:
        model: its gradients are dropped first. The second pass does not count for its running statistics.
        loss_of: forward pass and loss of the batch; called twice. If it draws random numbers (dropout), it
            seeds them, so that both passes see the same network.
        rho: how far from w, in the units of the weights.
    """
    model.zero_grad()
    loss = loss_of()
    loss.backward()
    with perturbed(model.parameters(), rho), buffers_kept(model):
        model.zero_grad()
        loss_of().backward()
    return loss.detach()

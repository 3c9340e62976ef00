"""Proving a model: weights that make mistakes visible, agreement in both precisions, mistakes that must be caught."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course.models import create_model
from course.models.reference import copy_weights
from course.models.registry import entry

FLOAT32, FLOAT64 = 1e-5, 1e-9  # largest difference allowed, relative to the largest number
ROUNDINGS = 2  # in float32, so many times the public model's own rounding error on top: each of the two has one


def proves(*rows: int):
    """Marks a test as the proof of these rows of ``course/models/references.csv``: ``course build`` looks for it, and
    ``notebooks/COVERAGE.md`` names it."""

    def marked(test):
        test.proves = rows
        return test

    return marked


def randomised(module: nn.Module, seed: int = 0, std: float = 0.2) -> nn.Module:
    """Fresh weights for every parameter and running statistic, in eval mode.

    As made, much of a network is invisible: scales near 0, biases and gates at 0. Here matrices are normal with
    `std` (less where a layer has very many inputs, or activations explode), biases likewise, and what multiplies
    (norms, LayerScale) lies around 1.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            if not p.is_floating_point() or p.numel() == 0:
                continue
            noise = torch.randn(p.shape, generator=generator)
            leaf = name.rpartition(".")[2]
            if isinstance(p, nn.Parameter) and p.squeeze().ndim >= 2:
                p.copy_(noise * min(std, 2 * p[0].numel() ** -0.5))
            elif leaf == "running_var":
                p.copy_(0.5 + torch.rand(p.shape, generator=generator))
            elif leaf == "running_mean" or ("bias" in leaf and isinstance(p, nn.Parameter)):
                p.copy_(noise * std)
            elif isinstance(p, nn.Parameter):
                p.copy_(1 + noise * std)
    return module.eval()


def pair(name: str, small: dict, theirs: nn.Module, source: str) -> tuple[nn.Module, nn.Module]:
    """Our small variant with the weights of the public model, both ready to compare.

    The weights alone: where what the library computes with them by itself differs from the paper, `theirs` is made as
    in the paper. What ``load_reference`` makes of the two is compared in ``test_every_source.py``.
    """
    randomised(theirs)
    ours = create_model(name, **small).eval()
    copy_weights(ours, theirs.state_dict(), entry(name).keys[source])
    return ours, theirs


def difference(
    ours: Callable, theirs: Callable, *inputs: Tensor, dtype: torch.dtype = torch.float64
) -> tuple[float, float]:
    """The largest difference of outputs and of gradients by the first input, each relative to their largest number.

    Outputs may be one tensor or a tuple of them.
    """
    return _difference(_run(ours, inputs, dtype), _run(theirs, inputs, dtype))


def _run(function: Callable, inputs: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """(outputs, gradient of an uneven sum of them by the first input)"""
    if isinstance(function, nn.Module):
        function = copy.deepcopy(function).to(dtype)
    x, *rest = [t.clone().to(dtype) if t.is_floating_point() else t for t in inputs]
    x.requires_grad_(x.is_floating_point())
    outputs = function(x, *rest)
    outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    generator = torch.Generator().manual_seed(1)
    weighted = sum((y * torch.randn(y.shape, generator=generator).to(dtype)).sum() for y in outputs)
    gradient = torch.autograd.grad(weighted, x)[0] if x.requires_grad else torch.zeros(1)
    return [y.detach() for y in outputs], gradient


def _difference(ours: tuple[list[Tensor], Tensor], theirs: tuple[list[Tensor], Tensor]) -> tuple[float, float]:
    assert [y.shape for y in ours[0]] == [y.shape for y in theirs[0]]
    return max(map(_relative, ours[0], theirs[0])), _relative(ours[1], theirs[1])


def _relative(ours: Tensor, theirs: Tensor) -> float:
    assert theirs.isfinite().all(), "the test's own numbers are not finite"
    largest = theirs.abs().max().item()
    found = (ours - theirs).abs().max().item()
    return found / largest if largest else found


def assert_agrees(ours, theirs, *inputs: Tensor, float32: float = FLOAT32, float64: float = FLOAT64) -> None:
    """Outputs and input gradients agree in float64, and in float32 as far as float32 goes.

    How far it goes is the public model's own error, its float32 against its float64: what a processor that adds in
    another order makes of the same network differs by as much. A network that amplifies rounding has more of it.
    """
    exactly = _run(theirs, inputs, torch.float64)
    _require("float64", _difference(_run(ours, inputs, torch.float64), exactly), (float64, float64))
    roughly = _run(theirs, inputs, torch.float32)
    rounding = _difference(roughly, exactly)
    allowed = tuple(float32 + ROUNDINGS * error for error in rounding)
    _require("float32", _difference(_run(ours, inputs, torch.float32), roughly), allowed)


def _require(dtype: str, found: tuple[float, float], allowed: tuple[float, float]) -> None:
    for what, difference, most in zip(("outputs", "gradients"), found, allowed):
        assert difference <= most, f"{dtype}: {what} differ by {difference:.1e} of the largest, {most:.0e} is allowed"


def assert_catches(mistake: Callable[[nn.Module], None], ours: nn.Module, theirs, *inputs: Tensor) -> None:
    """With the mistake made in (a copy of) our model, the comparison fails, and by far."""
    wrong = copy.deepcopy(ours)
    mistake(wrong)
    output, _ = difference(wrong, theirs, *inputs)
    assert output > 1000 * FLOAT64, f"{mistake.__name__} changes nothing the test can see ({output:.1e})"


def each(model: nn.Module, cls: type) -> list[nn.Module]:
    """All modules of a class in a model, for a mistake to be made in each; there is at least one."""
    found = [m for m in model.modules() if isinstance(m, cls)]
    assert found, f"no {cls.__name__} in this model"
    return found

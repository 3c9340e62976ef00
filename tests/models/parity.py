"""Proving a model: weights that make mistakes visible, agreement in both precisions, mistakes that must be caught."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course.models import create_model, load_reference

FLOAT32, FLOAT64 = 1e-5, 1e-9  # largest difference allowed, relative to the largest number


def proves(*rows: int):
    """Marks a test as the proof of these rows of ``course/models/references.csv``; ``test_rows.py`` looks for it."""

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
            elif leaf == "running_mean" or "bias" in leaf and isinstance(p, nn.Parameter):
                p.copy_(noise * std)
            elif isinstance(p, nn.Parameter):
                p.copy_(1 + noise * std)
    return module.eval()


def pair(name: str, small: dict, theirs: nn.Module, source: str) -> tuple[nn.Module, nn.Module]:
    """Our small variant with the weights of the public model, both ready to compare."""
    randomised(theirs)
    ours = create_model(name, **small).eval()
    load_reference(ours, theirs.state_dict(), source)
    return ours, theirs


def difference(
    ours: Callable, theirs: Callable, *inputs: Tensor, dtype: torch.dtype = torch.float64
) -> tuple[float, float]:
    """The largest difference of outputs and of gradients by the first input, each relative to their largest number.

    Outputs may be one tensor or a tuple of them.
    """
    results = []
    for function in (ours, theirs):
        if isinstance(function, nn.Module):
            function = copy.deepcopy(function).to(dtype)
        x, *rest = [t.clone().to(dtype) if t.is_floating_point() else t for t in inputs]
        x.requires_grad_(x.is_floating_point())
        outputs = function(x, *rest)
        outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        generator = torch.Generator().manual_seed(1)
        weighted = sum((y * torch.randn(y.shape, generator=generator).to(dtype)).sum() for y in outputs)
        gradient = torch.autograd.grad(weighted, x)[0] if x.requires_grad else torch.zeros(1)
        results.append(([y.detach() for y in outputs], gradient))
    (our_outputs, our_gradient), (their_outputs, their_gradient) = results
    assert [y.shape for y in our_outputs] == [y.shape for y in their_outputs]
    return max(map(_relative, our_outputs, their_outputs)), _relative(our_gradient, their_gradient)


def _relative(ours: Tensor, theirs: Tensor) -> float:
    assert theirs.isfinite().all(), "the test's own numbers are not finite"
    largest = theirs.abs().max().item()
    found = (ours - theirs).abs().max().item()
    return found / largest if largest else found


def assert_agrees(ours, theirs, *inputs: Tensor, float32: float = FLOAT32, float64: float = FLOAT64) -> None:
    """Outputs and input gradients agree in float32 and in float64."""
    for dtype, allowed in ((torch.float64, float64), (torch.float32, float32)):
        output, gradient = difference(ours, theirs, *inputs, dtype=dtype)
        assert output <= allowed, f"{dtype}: outputs differ by {output:.1e} of the largest, {allowed:.0e} is allowed"
        assert gradient <= allowed, (
            f"{dtype}: gradients differ by {gradient:.1e} of the largest, {allowed:.0e} is allowed"
        )


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

"""When two results are the same except for rounding. Judging and building both ask here.

Two processors, or two ways to write one formula, add the same float32 numbers in another order, and each step then
rounds differently. By how much depends on the result: where a sum cancels, only rounding is left. So it is
measured. The same code runs again on inputs whose last digit was changed; the largest change in a tensor is the
tensor's *noise*.

Two values are the same where they differ by no more than the exercise's tolerance (absolute, and the same relative to
the value) and `NOISE_FACTOR` times the noise. Why these bounds: between the kernels of torch for AVX-512, for AVX2 and for
neither (2.14.1), all results of all exercises, answers and mistakes, on three seeds differ by less than 0.9 of a
tolerance of 1e-4, or else by at most 3.7 times their noise; `NOISE_FACTOR` doubles that. `tests/test_processors.py` repeats
the comparison on every set of instructions that a machine offers.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from course.checks.calls import Call, Observation, Probe

NOISE_FACTOR = 8
# For numbers that are drawn or come out of a formula of a few steps, as inputs do: some 50 roundings of float32.
INPUT_TOLERANCE = 1e-5


def close(expected: Tensor, seen: Tensor, tolerance: float, noise: float = 0.0) -> bool:
    """Are all values the same within `tolerance`, absolute and relative, and `NOISE_FACTOR` times `noise`? NaN equals NaN.

    Shapes must be equal. Whole numbers and True/False must be equal to the last digit, whatever type holds them.
    """
    if expected.dtype == torch.bool:
        return torch.equal(expected, seen)
    atol = tolerance + NOISE_FACTOR * noise
    if expected.is_complex():
        return torch.allclose(seen.to(torch.complex128), expected.to(torch.complex128), rtol=tolerance, atol=atol)
    if not expected.is_floating_point():
        return _same_whole_numbers(expected, seen)
    return torch.allclose(seen.double(), expected.double(), rtol=tolerance, atol=atol, equal_nan=True)


def nudged(calls: Iterable[Call]) -> list[Call]:
    """The same calls with every float among inputs and weights moved by one unit in its last place, up or down."""
    generator = torch.Generator().manual_seed(0)

    def nudge(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            up_or_down = 2 * torch.randint(2, value.shape, generator=generator) - 1
            return value * (1 + up_or_down * torch.finfo(value.dtype).eps).to(value.dtype)
        if isinstance(value, Probe):
            weights = {name: nudge(weight) for name, weight in value.tensors.items()}
            return replace(value, tensors=weights, ask=nudge(value.ask))
        return value

    def nudge_all(values: dict | None) -> dict | None:
        return values and {name: nudge(value) for name, value in values.items()}

    return [
        replace(
            call,
            arguments=nudge_all(call.arguments),
            init=nudge_all(call.init),
            parameters=nudge_all(call.parameters),
        )
        for call in calls
    ]


def noise_between(seen: Observation, on_nudged: Observation) -> dict[str, float]:
    """By tensor, how far the same code moved when its inputs were nudged: the largest difference of finite values.

    What is not of floats, or changed its shape, has none.
    """
    noise = {}
    for key, value in seen.tensors.items():
        other = on_nudged.tensors.get(key)
        if other is not None and other.shape == value.shape and value.is_floating_point() and value.numel():
            difference = (other.double() - value.double()).abs()
            noise[key] = float(difference[difference.isfinite()].max()) if difference.isfinite().any() else 0.0
    return noise


def _same_whole_numbers(expected: Tensor, seen: Tensor) -> bool:
    # torch itself would compare int64 with float32 as float32.
    if seen.dtype == torch.uint64:
        value = seen.view(torch.int64)
        fits = value >= 0
    elif seen.is_floating_point():
        value = seen.double()
        fits = (value == value.round()) & (value >= -(2.0**63)) & (value < 2.0**63)
    else:
        value, fits = seen, torch.ones_like(seen, dtype=torch.bool)
    return bool(fits.all()) and torch.equal(value.to(torch.int64), expected.to(torch.int64))

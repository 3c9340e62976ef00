"""What is kept of the intermediate values of right solutions: enough to know a value again, too little to have it.

A fingerprint of a tensor is its number of elements, six moments of them, its shape, and one number that depends on
their order. Two tensors of the same numbers in another order share all but the last two. `Pool.knows` asks for the
numbers, `Pool.knows_order` for how they lie as well.
"""

import hashlib
import math
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy
import torch
from torch import Tensor

MOST_ELEMENTS = 60_000  # of a value that is looked at
MOST_IN_A_LIST = 400
MOST_AXES = 5  # of a value whose order is looked at
FORBIDDEN_SCORE = -9e3  # what is below stands for minus infinity
_CLOSE = 5e-5  # relative to the largest moment
_ORDER_CLOSE = 1e-3  # in units of the root mean square times the root of the number of elements


@dataclass(frozen=True, eq=False)
class Value:
    """Numbers (n,) float64 as they lie in a tensor, a list or alone, and their shape without axes of length 1."""

    numbers: numpy.ndarray
    shape: tuple[int, ...]
    alone: bool  # one number without axes

    @property
    def counts(self) -> tuple[int, int, int]:
        """(elements, of these forbidden scores, NaN or infinite)."""
        low, bad = self._special
        return self.numbers.size, int(low.sum()), int(bad.sum())

    @property
    def ordinary(self) -> numpy.ndarray:
        """The numbers that are neither forbidden scores nor NaN nor infinite."""
        low, bad = self._special
        return self.numbers[~low & ~bad]

    @property
    def whole(self) -> bool:
        ordinary = self.ordinary
        return bool((ordinary == numpy.round(ordinary)).all())

    @property
    def _special(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        bad = ~numpy.isfinite(self.numbers)
        low = numpy.isneginf(self.numbers) | (numpy.where(bad, 0, self.numbers) <= FORBIDDEN_SCORE)
        return low, bad & ~low


def value_of(thing: Any) -> Value | None:
    """The numbers in a tensor, an array, a number or a list of such; None of anything else, and of what is too large."""
    if isinstance(thing, (list, tuple)) and len(thing) < 6 and all(isinstance(each, int) for each in thing):
        return None  # a shape
    return _value_of(thing)


def _value_of(thing: Any) -> Value | None:
    if isinstance(thing, Tensor):
        if not 0 < thing.numel() <= MOST_ELEMENTS or thing.is_complex() or thing.layout is not torch.strided:
            return None
        numbers = thing.detach().to("cpu", torch.float64).reshape(-1).numpy().copy()
        return Value(numbers, _squeezed(thing.shape), thing.ndim == 0)
    if isinstance(thing, (bool, torch.Size)):
        return None
    if isinstance(thing, (int, float, numpy.integer, numpy.floating)):
        return Value(numpy.array([float(thing)]), (), True)
    if isinstance(thing, numpy.ndarray):
        if thing.dtype.kind not in "biuf" or not 0 < thing.size <= MOST_ELEMENTS:
            return None
        return Value(thing.astype(numpy.float64).reshape(-1), _squeezed(thing.shape), thing.ndim == 0)
    if isinstance(thing, (list, tuple)) and 0 < len(thing) <= MOST_IN_A_LIST:
        parts = [_value_of(each) for each in thing]
        if any(part is None for part in parts):
            return None
        numbers = numpy.concatenate([part.numbers for part in parts])
        inner = parts[0].shape if len({part.shape for part in parts}) == 1 else ()
        shape = _squeezed((len(parts), *inner)) if inner or len(parts) == len(numbers) else (len(numbers),)
        return Value(numbers, shape, False) if numbers.size <= MOST_ELEMENTS else None
    return None


def _squeezed(shape: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in shape if size != 1)


def _moments(value: Value) -> numpy.ndarray:
    """(6,) float32."""
    x = value.ordinary
    if not x.size:
        return numpy.zeros(6, numpy.float32)
    square, cube = (x**2).mean(), (x**3).mean()
    moments = [x.mean(), math.sqrt(square), numpy.cbrt(cube), x.min(), x.max(), numpy.abs(x).mean()]
    return numpy.array(moments, numpy.float32)


def _digest(number: float) -> int:
    """Of the first five digits."""
    return int.from_bytes(hashlib.blake2b(f"{number:.4e}".encode(), digest_size=7).digest(), "big")


def _ordered(value: Value) -> numpy.ndarray:
    """(n,) float64 with nothing in it that is not finite."""
    return numpy.nan_to_num(numpy.clip(value.numbers, -1e4, 1e4), nan=7.7)


def _projected(numbers: numpy.ndarray) -> float:
    """One number that changes when two elements change places."""
    return float(numbers @ numpy.cos(0.7 * numpy.arange(numbers.size) + 0.3))


class Pool:
    """The fingerprints of all values that right solutions compute in one call. Of a number alone it keeps a digest."""

    def __init__(self) -> None:
        self._digests: set[int] = set()
        self._shapes: list[tuple[int, ...]] = []
        self._rows: list[tuple[tuple[int, ...], numpy.ndarray, float, int]] = []  # counts, moments, order, which shape
        self._by_counts: dict[tuple[int, ...], list[int]] = {}
        self._known: set[tuple] = set()

    def __len__(self) -> int:
        return len(self._rows) + len(self._digests)

    def add(self, value: Value) -> None:
        if value.alone:
            self._digests.add(_digest(float(value.numbers[0])))
            return
        order, moments = _projected(_ordered(value)), _moments(value)
        scale = float(numpy.abs(moments).max())
        digits = 4 - math.floor(math.log10(scale)) if scale > 0 else 4
        rounded = tuple(round(float(moment), digits) for moment in moments)
        known = value.counts, rounded, value.shape, round(order, digits - 1)
        if known not in self._known:
            self._known.add(known)
            if value.shape not in self._shapes:
                self._shapes.append(value.shape)
            self._keep(value.counts, moments, order, self._shapes.index(value.shape))

    def _keep(self, counts: tuple[int, ...], moments: numpy.ndarray, order: float, shape: int) -> None:
        self._by_counts.setdefault(counts, []).append(len(self._rows))
        self._rows.append((counts, moments, order, shape))

    def knows(self, value: Value) -> bool:
        """Does it hold the same numbers, in any order?"""
        if value.alone:
            number = float(value.numbers[0])
            return any(_digest(number * (1 + nudge)) in self._digests for nudge in (-3e-5, 0, 3e-5))
        return bool(self._with(value.counts, _moments(value)))

    def _with(self, counts: tuple[int, ...], moments: numpy.ndarray) -> list[int]:
        rows = self._by_counts.get(counts, [])
        if not rows:
            return []
        there = numpy.stack([self._rows[row][1] for row in rows])
        tolerance = _CLOSE * max(1e-3, float(numpy.abs(moments).max())) + 1e-7
        return [rows[k] for k in numpy.flatnonzero((numpy.abs(there - moments) <= tolerance).all(axis=1))]

    def knows_order(self, value: Value) -> bool:
        """Do the numbers lie as in one that it holds, but for the order of axes?"""
        if value.alone or len(value.shape) > MOST_AXES:
            return True
        rows = self._with(value.counts, _moments(value))
        numbers = _ordered(value).reshape(value.shape or (-1,))
        same_axes = [row for row in rows if sorted(self._shapes[self._rows[row][3]]) == sorted(value.shape)]
        tolerance = _ORDER_CLOSE * max(float(numpy.linalg.norm(numbers.reshape(-1))), 1e-6)
        for axes in permutations(range(numbers.ndim)):
            turned = numbers.transpose(axes)
            projected = _projected(turned.reshape(-1))
            for row in same_axes or rows:
                fits = not same_axes or self._shapes[self._rows[row][3]] == turned.shape
                if fits and abs(self._rows[row][2] - projected) <= tolerance:
                    return True
        return False

    def share_in(self, other: "Pool") -> float:
        """Which share of these fingerprints `other` has too, 0 to 1."""
        found = len(self._digests & other._digests)
        found += sum(bool(other._with(counts, moments)) for counts, moments, _, _ in self._rows)
        return found / len(self) if len(self) else 1.0

    # -- as tensors

    def to_tensors(self) -> dict[str, Tensor]:
        """``digests`` (m,) int64; ``counts`` (n, 4) uint16: elements, forbidden scores, not finite, which shape;
        ``moments`` (n, 7) float32, the last for the order; ``shapes`` (s, axes) uint16, filled up with 0."""
        widest = max([len(shape) for shape in self._shapes], default=0)
        shapes = [[*shape, *[0] * (widest - len(shape))] for shape in self._shapes]
        counts = [[*counts, shape] for counts, _, _, shape in self._rows]
        moments = [[*moments, order] for _, moments, order, _ in self._rows]
        return {
            "digests": torch.tensor(sorted(self._digests), dtype=torch.int64),
            "counts": torch.from_numpy(numpy.array(counts, numpy.uint16).reshape(-1, 4)),
            "moments": torch.from_numpy(numpy.array(moments, numpy.float32).reshape(-1, 7)),
            "shapes": torch.from_numpy(numpy.array(shapes, numpy.uint16).reshape(len(shapes), widest)),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Pool":
        pool = cls()
        pool._digests = set(tensors["digests"].tolist())
        pool._shapes = [tuple(size for size in shape if size) for shape in tensors["shapes"].tolist()]
        for (*counts, shape), row in zip(tensors["counts"].tolist(), tensors["moments"].numpy()):
            pool._keep(tuple(counts), row[:6], float(row[6]), shape)
        return pool

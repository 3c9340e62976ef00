"""Arguments and results as plain data: tensors under keys of their own, everything else as JSON holds it.

Used on both sides of the question what the reference says (`course.grading.run.stand_in`, `course.grading.run.oracle`).
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor


class CannotTravel(TypeError):
    """A value is neither tensor nor number, text, list, dictionary or something to call."""


def encode(value: Any, tensors: dict[str, Tensor], given: list[Callable] | None = None) -> dict:
    """`value` as JSON can hold it; its tensors go into `tensors`, what can be called into `given`.

    Raises:
        CannotTravel: it holds something else, or something to call where `given` is None.
    """
    if isinstance(value, Tensor):
        return {"tensor": put(value, tensors)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"plain": value}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [encode(item, tensors, given) for item in value]}
    if isinstance(value, dict):
        pairs = [[encode(key, tensors), encode(item, tensors, given)] for key, item in value.items()]
        return {"dict": pairs}
    if given is not None and callable(value) and not isinstance(value, type):
        given.append(value)
        return {"given": len(given) - 1}
    raise CannotTravel(f"a {type(value).__name__} cannot be handed to the course's own code")


def decode(described: dict, tensors: dict[str, Tensor], given: Callable[[int], Callable] | None = None) -> Any:
    """What went into `encode`. `given` makes what stands for the k-th thing to call."""

    def again(inner: dict) -> Any:
        return decode(inner, tensors, given)

    ((kind, content),) = described.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "plain":
        return content
    if kind in ("list", "tuple"):
        return (list if kind == "list" else tuple)(again(item) for item in content)
    if kind == "dict":
        return {again(key): again(item) for key, item in content}
    if kind == "given" and given is not None:
        return given(content)
    raise CannotTravel(f"a value of kind {kind!r} was not expected here")


def put(tensor: Tensor, tensors: dict[str, Tensor]) -> str:
    """Add a tensor under a key of its own; returns the key."""
    tensors[key := str(len(tensors))] = tensor
    return key

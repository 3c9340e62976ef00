"""Public weights into our models: a table of names for each family and library, and strictness about the rest.

A table maps the library's names to ours. ``#`` stands for a number and ``*`` for any rest; ours take them over in
order. ``[1/3]`` behind a name of ours: this is the second of three tensors that are put one under the other (separate
queries, keys and values into one matrix). None: known and not needed. A pair (name, function): the function changes
the tensor first.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor, nn

from course.models.registry import Keys, entry
from course.names import one_of


class ReferenceMismatch(ValueError):
    """A state dict does not fit the model; the message lists what is unknown, missing or misshaped."""


def load_reference(model: nn.Module, state_dict: Mapping[str, Tensor], source: str = "timm") -> list[str]:
    """Copy the weights of a public implementation into our model, in place.

    Position embeddings made for another resolution are resized (``resized_positions``).

    Args:
        model: made by ``create_model``, of the same sizes.
        state_dict: of the public model.
        source: whose names these are: "timm", "torchvision", "transformers", or "official", the authors' own.

    Returns:
        The names in `state_dict` that are known and not needed (tables that we compute).

    Raises:
        ReferenceMismatch: a name is unknown, or one of ours is left without a value, or a shape differs. All of
            them are listed, and the model is unchanged.
        ValueError: nothing is known about that library's names for this model.
    """
    if not hasattr(model, "name"):
        raise ValueError("load_reference takes a model made by create_model, which knows its family")
    keys = entry(model.name).keys
    if not keys:
        raise ValueError(f"for {model.name} no public implementation with weights is known")
    table = keys[one_of(source, keys, f"for {model.name} the weights' names are not known as those of")]
    ours = model.state_dict()
    found, unknown, left_over = _sorted_out(state_dict, table, ours)
    misshaped, values = [], {}
    for target, pieces in found.items():
        value, problem = _fitted(model, target, pieces, ours[target])
        if problem:
            misshaped.append(problem)
        values[target] = value
    problems = {
        "unknown names": unknown,
        "missing, so without a value here": [k for k in ours if k not in found],
        "of another shape": misshaped,
    }
    if any(problems.values()):
        raise ReferenceMismatch(
            f"these weights do not fit {model.name}:\n"
            + "\n".join(_listed(what, which) for what, which in problems.items() if which)
        )
    with torch.no_grad():
        for target, value in values.items():
            ours[target].copy_(value)
    return left_over


def _sorted_out(
    state_dict: Mapping[str, Tensor], table: Keys, ours: Mapping[str, Tensor]
) -> tuple[dict[str, dict], list[str], list[str]]:
    """The public weights by our names and pieces, the names that are unknown, and those that are not needed."""
    found, unknown, left_over = {}, [], []
    for theirs, tensor in state_dict.items():
        try:
            target, slot, change = _translated(theirs, table)
        except KeyError:
            unknown.append(theirs)
            continue
        if target is None:
            left_over.append(theirs)
        elif target not in ours:
            unknown.append(f"{theirs} (would be {target})")
        else:
            found.setdefault(target, {})[slot] = change(tensor)
    return found, unknown, left_over


def _translated(theirs: str, table: Keys) -> tuple[str | None, tuple[int, int], Callable[[Tensor], Tensor]]:
    """Our name, which piece of it (index, of how many) and a change to make; KeyError if no line fits."""
    for pattern, target in table.items():
        match = _regex(pattern).fullmatch(theirs)
        if not match:
            continue
        if target is None:
            return None, (0, 1), _unchanged
        target, change = (target, _unchanged) if isinstance(target, str) else target
        slot = re.search(r"\[(\d+)/(\d+)\]$", target)
        rest = iter(match.groups())
        name = re.sub(r"[#*]", lambda _: next(rest), target[: slot.start()] if slot else target)
        return name, (int(slot[1]), int(slot[2])) if slot else (0, 1), change
    raise KeyError(theirs)


@cache
def _regex(pattern: str) -> re.Pattern:
    return re.compile(re.escape(pattern).replace(r"\#", r"(\d+)").replace(r"\*", r"(.+)"))


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _fitted(model: nn.Module, target: str, pieces: dict, ours: Tensor) -> tuple[Tensor | None, str | None]:
    """The value for one of our tensors, or why there is none."""
    count = next(iter(pieces))[1]
    missing = [i for i in range(count) if (i, count) not in pieces]
    if missing:
        return None, f"{target}: pieces {missing} of {count} are missing"
    shape = _squeezed(ours)
    parts = [pieces[i, count] for i in range(count)]
    # 1×1 kernels against linear layers, a batch axis before positions: axes of length 1 tell nothing.
    value = parts[0] if count == 1 else torch.cat([p.reshape(-1, *ours.shape[1:]) for p in parts])
    if _squeezed(value) != shape:
        owner, _, leaf = target.rpartition(".")
        resize = getattr(model.get_submodule(owner), "resized", None)
        resized = resize(leaf, value) if resize else value
        if _squeezed(resized) != shape:
            return None, f"{target}: theirs {tuple(value.shape)}, ours {tuple(ours.shape)}"
        value = resized
    return value.reshape(ours.shape), None


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    return tuple(side for side in tensor.shape if side != 1)


def _listed(what: str, which: list[str]) -> str:
    more = f"\n    and {len(which) - 20} more" if len(which) > 20 else ""
    return f"  {what} ({len(which)}):\n    " + "\n    ".join(which[:20]) + more

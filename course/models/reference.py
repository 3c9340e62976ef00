"""Public weights into our models: a table of names for each family and library, and strictness about the rest.

A table maps the library's names to ours. ``#`` stands for a number and ``*`` for any rest; ours take them over in
order. ``[1/3]`` behind a name of ours: this is the second of three tensors that are put one under the other (separate
queries, keys and values into one matrix). None: known and not needed. A pair (name, function): the function changes
the tensor first.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor, nn

from course.models.registry import Keys, entry
from course.models.spec import Spec, Whole
from course.names import one_of

# Where a training keeps the weights in its file; a running mean before what was trained, as timm chooses.
WRAPPERS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict", "model", "module")
# What DistributedDataParallel, torch.compile, Lightning and running means put in front of every name.
PREFIXES = ("module.", "_orig_mod.", "model.", "ema_model.", "ema.")


class ReferenceMismatch(ValueError):
    """A state dict does not fit the model; the message lists what is unknown, missing or misshaped."""


def load_reference(model: nn.Module, state_dict: Mapping[str, Tensor], source: str = "timm") -> list[str]:
    """Copy the weights of a public implementation into our model, in place, and make it compute what that one does.

    Where a library has another eps or another head than the paper, so has the model from then on, and its ``spec``
    says so. Position embeddings made for another resolution are resized (``resized_positions``).

    Args:
        model: made by ``create_model``, of the same sizes.
        state_dict: of the public model that ``course.models.public_names`` has beside ours, or of the same class with
            other sizes; what a training wrapped around it (``{"model": ...}``, ``module.``) is taken off. Weights alone
            do not tell what is done with them: those of a relative with the same names (timm's ``resnetaa50``) belong
            to another function.
        source: whose names these are: "timm", "torchvision", "transformers", or "official", the authors' own.

    Returns:
        The names in `state_dict` that are known and not needed (tables that we compute).

    Raises:
        ReferenceMismatch: a name is unknown, or one of ours is left without a value, or a shape differs. All of
            them are listed, and the model is unchanged.
        ValueError: nothing is known about that library's names for this model, or its network computes something
            that ours does not; a sentence says what.
    """
    table, spec = for_source(model, source)
    left_over = copy_weights(model, unwrapped(state_dict)[0], table)
    become(model, spec)
    return left_over


def for_source(model: nn.Module, source: str) -> tuple[Keys, Spec]:
    """How a library names the weights of this model, and the spec with which ours computes what that library's does.

    Raises:
        ValueError: as ``load_reference``.
    """
    if not hasattr(model, "name"):
        raise ValueError("load_reference takes a model made by create_model, which knows its family")
    keys = entry(model.name).keys
    if not keys:
        raise ValueError(f"for {model.name} no public implementation with weights is known")
    table = keys[one_of(source, keys, f"for {model.name} the weights' names are not known as those of")]
    try:
        return table, entry(model.name).as_in.get(source, _unchanged)(model.spec)
    except ValueError as error:
        raise ValueError(f"no weights of {source} are those of {model.name}: {error}") from None


def copy_weights(model: nn.Module, state_dict: Mapping[str, Tensor], table: Keys, resize: bool = True) -> list[str]:
    """The weights alone, by a table of names: what is computed with them stays as it is. Else as ``load_reference``.

    `resize`: whether what belongs to places may come from another resolution.
    """
    ours = model.state_dict()
    found, unknown, left_over = sorted_out(state_dict, table, ours)
    misshaped, values = [], {}
    for target, pieces in found.items():
        value, problem = _fitted(model, target, pieces, ours[target], resize)
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
            + _way_out(model, found)
        )
    with torch.no_grad():
        for target, value in values.items():
            ours[target].copy_(value)
    return left_over


def unwrapped(stored: Mapping) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors by name in what a training stores, and what was taken off, in words."""
    said = []
    while (key := next((key for key in WRAPPERS if isinstance(stored.get(key), Mapping)), None)) is not None:
        said.append(f"from its {key!r}")
        stored = stored[key]
    tensors = {str(name): value for name, value in stored.items() if isinstance(value, Tensor) and name != "n_averaged"}
    if any(name.startswith("optimizer.") for name in tensors):  # a checkpoint of ``fit``
        kind = "ema." if any(name.startswith("ema.") for name in tensors) else "model."
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(kind)}
    while prefix := next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None):
        said.append(f"without {prefix!r} before every name")
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors, said


def following(model: nn.Module, option: str) -> dict[str, tuple[int, int, int]]:
    """The weights whose shapes follow an option of the spec: by name the axis, its length, and the option's value."""
    spec = model.spec
    if isinstance(spec, Whole):
        parameters = inspect.signature(spec.part.cls).parameters
        if option not in parameters:
            return {}
        value = dict(spec.part.options).get(option, parameters[option].default)
    else:
        value = getattr(spec, option)
    with torch.device("meta"):
        one, other = (spec.but(**{option: v}).build().state_dict() for v in (value, value + 1))
    axes = {}
    for name in one:
        differs = [axis for axis, (a, b) in enumerate(zip(one[name].shape, other[name].shape)) if a != b]
        if differs:
            axes[name] = (differs[0], one[name].shape[differs[0]], value)
    return axes


def told_by(model: nn.Module, found: Mapping[str, dict], option: str) -> tuple[int, int] | None:
    """The number of classes or channels by the shapes of weights, and the model's own; None: they do not tell.

    `found`: the weights by our names, as ``sorted_out`` gives them. No classes: there is no last layer.
    """
    axes = following(model, option)
    if not axes:
        return None
    stored = {n: pieces for n, pieces in found.items() if n in axes and list(pieces) == [(0, 1)]}
    usual = next(iter(axes.values()))[2]
    if not stored:
        return (0 if option == "num_classes" and not any(n in found for n in axes) else usual), usual
    name = min(stored, key=lambda n: stored[n][0, 1].ndim)
    axis, length, usual = axes[name]
    return usual + stored[name][0, 1].shape[axis] - length, usual


def _way_out(model: nn.Module, found: Mapping[str, dict]) -> str:
    told = {option: told_by(model, found, option) for option in ("num_classes", "in_chans")}
    other = [f"{option}={values[0]}" for option, values in told.items() if values and values[0] != values[1]]
    return f"\n  create_model({model.name!r}, ..., {', '.join(other)}) makes one for them" if other else ""


def become(model: nn.Module, spec: Spec) -> None:
    """Make of a model, in place, what another spec with the same weights says: the eps of a norm, where it stands."""
    if spec == model.spec:
        return
    with torch.device("meta"):
        other = spec.build()
    for ours, theirs in zip(model.modules(), other.modules(), strict=True):
        for name, value in vars(theirs).items():
            if isinstance(value, bool | int | float) and name != "training":
                setattr(ours, name, value)
    model.spec = spec


def sorted_out(
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


def _unchanged(thing):
    return thing


def _fitted(
    model: nn.Module, target: str, pieces: dict, ours: Tensor, may_resize: bool
) -> tuple[Tensor | None, str | None]:
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
        resized = resize(leaf, value) if resize and may_resize else value
        if _squeezed(resized) != shape:
            return None, f"{target}: theirs {tuple(value.shape)}, ours {tuple(ours.shape)}"
        value = resized
    return value.reshape(ours.shape), None


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    return tuple(side for side in tensor.shape if side != 1)


def _listed(what: str, which: list[str]) -> str:
    more = f"\n    and {len(which) - 20} more" if len(which) > 20 else ""
    return f"  {what} ({len(which)}):\n    " + "\n    ".join(which[:20]) + more

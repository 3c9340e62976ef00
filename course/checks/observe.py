"""Run a student's object on given calls and write down what it did. Knows no answer and gives no verdict."""

import linecache
import traceback
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from course.checks import probes
from course.checks.calls import PLAIN, Call, Observation, Probe, Seeded
from course.checks.message import DTYPES, LARGEST_DIMENSION, MOST_DIMENSIONS
from course.notebook import unwritten_exercise

LONGEST_NOTE = 600  # characters: an error message of a student's making may be megabytes
LONGEST_LINE = 160  # characters of a student's line in it
MOST_PARAMETERS = 6  # that are named of those that do not fit
MOST_RESULTS = 100  # of one call; no exercise asks for more than a handful
HANGING = "a list of tensors that hang on the computation that made them"


def observe(objects: dict[str, Any], calls: list[Call], outside: bool = False) -> Observation:
    """Make every call on the student's `objects` (by name) and record results, gradients and errors.

    Args:
        outside: another process compares the inputs and runs the trained modules (`course.grading.run.outside`). For
            it, both are recorded as they are after the call: ``"0.in.1"`` is the second argument,
            ``"0.state.0.weight"`` a weight of the first.

    Nothing the student's code raises passes through; KeyboardInterrupt does.
    """
    seen = Observation()
    for i, call in enumerate(calls):
        if call.target not in objects:
            seen.notes[f"{i}.undefined"] = call.target
            continue
        # Calls are made on the CPU; torch.manual_seed would format the stack for every kind of device that is not there.
        torch.default_generator.manual_seed(0)
        try:
            _observe_call(objects[call.target], call, str(i), seen, outside)
        except Exception as error:  # whatever a student's code can raise
            _note_error(error, objects[call.target], str(i), seen)
        except SystemExit:
            seen.notes[f"{i}.error"] = "SystemExit: your code asked Python to quit"
    return seen


def _observe_call(target: Any, call: Call, i: str, seen: Observation, outside: bool) -> None:
    arguments = {name: live(value) for name, value in call.arguments.items()}
    module = None
    if call.init is not None:
        module = target(*[live(value) for value in call.init.values()])
        if not isinstance(module, nn.Module):
            seen.notes[f"{i}.type"] = f"{call.target} is not an nn.Module: write `class {call.target}(nn.Module)`"
            return
        begun = {name: value.detach().clone() for name, value in module.named_parameters() if name in call.start}
        layout = _load_parameters(module, call, i, seen)
        if layout is None:
            return
        seen.tensors.update({f"{i}.start.{name}": value for name, value in begun.items()})
        module.eval()
    before = {name: value.clone() for name, value in arguments.items() if isinstance(value, Tensor)}
    leaves = {name: arguments[name].requires_grad_() for name in call.gradients}
    # What is handed over are copies of the leaves: writing into them is then possible, and noticed below.
    arguments.update({name: leaf.clone() for name, leaf in leaves.items()})

    results = (module or target)(*arguments.values())

    named = _results_by_name(results, i, seen)
    for k, name in enumerate(arguments):
        if name in before and outside:
            seen.tensors[f"{i}.in.{k}"] = _as_tensor(arguments[name].detach().clone())
        elif name in before and not torch.equal(arguments[name].detach(), before[name]):
            seen.notes[f"{i}.changed"] = name
    if call.gradients:
        _observe_gradients(named, {f"{i}.grad.{name}": leaf for name, leaf in leaves.items()}, i, seen)
        if module is not None:
            _observe_parameter_gradients(module, call, layout, i, seen)
    seen.tensors.update({name: value.detach().clone() for name, value in named.items()})
    for k, (name, value) in enumerate(call.arguments.items()):
        if isinstance(value, Probe) and value.ask is not None:
            if outside:
                weights = nn.Module.named_parameters(arguments[name])
                seen.tensors.update({f"{i}.state.{k}.{path}": weight.detach().clone() for path, weight in weights})
                continue
            with torch.no_grad():
                seen.tensors[f"{i}.after.{name}"] = arguments[name].eval()(value.ask.clone())


def live(value: Any) -> Any:
    """What the student's code receives for one described argument: never the described tensor itself."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Probe):
        return probes.build(value)
    if isinstance(value, Seeded):
        return torch.Generator().manual_seed(value.seed)
    return value


def _results_by_name(results: Any, i: str, seen: Observation) -> dict[str, Tensor]:
    several = _are_several(results)
    if several and len(results) > MOST_RESULTS:
        seen.notes[f"{i}.type"] = f"a {'tuple' if isinstance(results, tuple) else 'list'} of {len(results)} results"
        return {}
    named = {}
    if not several and isinstance(results, (list, tuple, numpy.ndarray)):
        seen.notes[f"{i}.{PLAIN}"] = "an array" if isinstance(results, numpy.ndarray) else "a list"
    for j, result in enumerate(results if several else (results,)):
        tensor = _as_tensor(result)
        if tensor is None:
            # A missing `return` is the most common slip, so it has a note of its own.
            seen.notes[f"{i}.type"] = _kind(result)
        else:
            named[f"{i}.out.{j}" if several else f"{i}.out"] = tensor
    return named


def _are_several(results: Any) -> bool:
    """A tuple is, unless it is a table, row by row; a list is, if there are tensors with axes in it."""
    if isinstance(results, tuple):
        return not results or not all(isinstance(each, (tuple, list)) for each in results)
    return isinstance(results, list) and any(isinstance(each, Tensor) and each.ndim for each in results)


def _as_tensor(result: Any) -> Tensor | None:
    if type(result) in (Tensor, nn.Parameter):  # a subclass could answer for itself; it is not accepted
        fits = result.layout is torch.strided and result.dtype in DTYPES.values() and _has_sensible_axes(result)
        return result.cpu() if fits else None
    if isinstance(result, (bool, int, float, list, tuple, numpy.ndarray, numpy.generic)):
        try:
            array = numpy.asarray(result)
            return torch.from_numpy(array.copy()) if array.dtype.kind in "biuf" else None
        except (ValueError, TypeError, OverflowError, RuntimeError):  # RuntimeError: tensors that need a gradient
            return None
    return None


def _has_sensible_axes(tensor: Tensor) -> bool:
    """One without elements may have axes of any length."""
    return tensor.ndim <= MOST_DIMENSIONS and max(tensor.shape, default=0) <= LARGEST_DIMENSION


def _kind(result: Any) -> str:
    """What a result is that is no tensor, or none that can be compared."""
    if result is None:
        return "nothing"
    if isinstance(result, list) and any(isinstance(each, Tensor) and each.requires_grad for each in result):
        return HANGING
    if type(result) in (Tensor, nn.Parameter):
        if result.layout is torch.strided and result.dtype in DTYPES.values():
            return f"a tensor of shape {tuple(result.shape)}"[:200]
        return f"a tensor of dtype {result.dtype}" if result.layout is torch.strided else f"a {result.layout} tensor"
    return f"a {type(result).__name__[:100]}"


def _observe_gradients(outputs: dict[str, Tensor], leaves: dict[str, Tensor], i: str, seen: Observation) -> None:
    differentiable = [value for value in outputs.values() if value.requires_grad and value.is_floating_point()]
    if not differentiable:
        if outputs:
            seen.notes[f"{i}.no_gradient"] = "the result is cut off from the inputs"
        return
    # Any fixed uneven weighting of the outputs will do; a plain sum would hide errors (softmax rows sum to 1).
    loss = sum((value * _uneven(value)).sum() for value in differentiable)
    loss.backward()
    for name, leaf in leaves.items():
        seen.tensors[name] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _uneven(like: Tensor) -> Tensor:
    return torch.cos(0.7 * torch.arange(like.numel(), dtype=like.dtype) + 0.3).view(like.shape)


def _load_parameters(module: nn.Module, call: Call, i: str, seen: Observation) -> dict[str, list[str]] | None:
    """Fill the module with the call's weights; return the layout that fits, None (and a note) if none does."""
    own = dict(module.named_parameters())
    straight = {name: [name] for name in call.parameters}
    for layout in (straight, *call.layouts):
        weights = {name: torch.cat([call.parameters[part] for part in parts]) for name, parts in layout.items()}
        if {name: p.shape for name, p in own.items()} == {name: w.shape for name, w in weights.items()}:
            with torch.no_grad():
                for name, weight in weights.items():
                    own[name].copy_(weight)
            return layout
    seen.notes[f"{i}.parameters"] = _cut(_misfit(module, call), LONGEST_NOTE)
    return None


def _misfit(module: nn.Module, call: Call) -> str:
    """Which parameters are missing or of another shape, and which are there in their place; those that fit are left out.

    Of several layouts, the one that is meant has most of the names.
    """
    found = {name: tuple(value.shape) for name, value in module.named_parameters()}
    wanted = max(call.shapes(), key=lambda layout: len(layout.keys() & found))
    missing, others = (
        [f"{name} {shape}" for name, shape in these.items() if those.get(name) != shape]
        for these, those in ((wanted, found), (found, wanted))
    )
    return f"expected {_first_few(missing) or 'no others'}; yours has {_first_few(others) or 'none'}"


def _first_few(parameters: list[str]) -> str:
    """Which ones are left out depends on their names alone: an order could tell of the inputs."""
    named = set(sorted(parameters)[:MOST_PARAMETERS])
    more = len(parameters) - len(named)
    return ", ".join(each for each in parameters if each in named) + (f" and {more} more" if more > 0 else "")


def _observe_parameter_gradients(
    module: nn.Module, call: Call, layout: dict[str, list[str]], i: str, seen: Observation
) -> None:
    for name, parameter in module.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        pieces = gradient.split([len(call.parameters[part]) for part in layout[name]])
        for part, piece in zip(layout[name], pieces):
            seen.tensors[f"{i}.grad.{part}"] = piece


def _note_error(error: Exception, target: Any, i: str, seen: Observation) -> None:
    exercise = unwritten_exercise(error)
    if exercise is not None:
        seen.notes[f"{i}.unwritten"] = exercise
        return
    where = _where(error, target)
    seen.notes[f"{i}.error"] = _cut(f"{type(error).__name__}: {error}", LONGEST_NOTE - len(where)) + where


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + " …"


def _where(error: Exception, target: Any) -> str:
    """The student's own line that raised, if it can be found."""
    functions = [target, getattr(target, "forward", None), getattr(target, "__init__", None)]
    files = {function.__code__.co_filename for function in functions if hasattr(function, "__code__")}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if not frames:
        return ""
    line = frames[-1].line or linecache.getline(frames[-1].filename, frames[-1].lineno).strip()
    file = frames[-1].filename
    place = file[1:-1] if file.startswith("<") and file.endswith(".py>") else "your cell"  # or a file of theirs
    return f" (line {frames[-1].lineno} of {place}{': ' + _cut(line, LONGEST_LINE) if line else ''})"

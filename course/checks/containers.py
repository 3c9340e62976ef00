"""One rule for what results come in: several may stand in a tuple or a list, and a number may be a tensor of no axes."""

import re

import torch
from torch import Tensor

from course.checks.calls import Observation


def as_asked(answer: Observation, seen: Observation) -> Observation:
    """`seen`, where what came in another container than the right answer's is put into that one.

    As many numbers as are asked for may come as one list or one tensor, and what is asked for as one tensor may come row by
    row. Where gradients are compared, neither holds: they were taken of the results as they came.
    """
    tensors = dict(seen.tensors)
    calls = {key.split(".")[0] for key in answer.tensors}
    for i in calls - {key.split(".")[0] for key in answer.tensors if ".grad." in key}:
        asked, came = _parts(i, answer), _parts(i, seen)
        one = tensors.get(f"{i}.out")
        if asked and one is not None and one.shape == (len(asked),) and not any(each.ndim for each in asked):
            del tensors[f"{i}.out"]
            tensors |= {f"{i}.out.{j}": number for j, number in enumerate(one)}
        elif f"{i}.out" in answer.tensors and came and len({(each.shape, each.dtype) for each in came}) == 1:
            for j in range(len(came)):
                del tensors[f"{i}.out.{j}"]
            tensors[f"{i}.out"] = torch.stack(came)
    return Observation(tensors, seen.notes, seen.noise)


def _parts(i: str, observation: Observation) -> list[Tensor]:
    """The results of call `i` that came side by side, in their order."""
    keys = [key for key in observation.tensors if re.fullmatch(rf"{i}\.out\.\d+", key)]
    wanted = [f"{i}.out.{j}" for j in range(len(keys))]
    return [observation.tensors[key] for key in wanted] if set(wanted) == set(keys) else []

"""What the grader finds out itself of what a student's code did, where the child's word would be the student's.

The child sends the inputs back as they are when a call is through, and they are compared here; of a module that was to
be trained it sends the weights, and what these know is asked here, of a module that nobody has touched. The examples
that are asked about never reach the child.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from course.checks import probes
from course.checks.calls import Call, Observation, Probe, calls_from_bytes, calls_to_bytes

MOST_REMEMBERED = 64  # questions, each some hundred KB


@lru_cache(maxsize=MOST_REMEMBERED)
def sent(calls: bytes) -> bytes:
    """`calls` as a child receives them: what is asked of a trained module is left out."""
    described = calls_from_bytes(calls)
    if not any(_asked_later(value) for call in described for value in call.arguments.values()):
        return calls
    return calls_to_bytes(
        [
            replace(call, arguments={name: _without_ask(value) for name, value in call.arguments.items()})
            for call in described
        ]
    )


def found_out(seen: Observation, calls: bytes) -> Observation:
    """What a child sent, with `observe`'s ``in`` and ``state`` tensors made into what they say."""
    tensors = {key: value for key, value in seen.tensors.items() if key.split(".")[1] not in ("in", "state", "after")}
    notes = {key: note for key, note in seen.notes.items() if not key.endswith(".changed")}
    for i, call in enumerate(_calls(calls)):
        for k, (name, value) in enumerate(call.arguments.items()):
            returned = seen.tensors.get(f"{i}.in.{k}")
            if isinstance(value, Tensor) and returned is not None and not _equal(value, returned):
                notes[f"{i}.changed"] = name
            if _asked_later(value):
                prefix = f"{i}.state.{k}."
                state = {key.removeprefix(prefix): t for key, t in seen.tensors.items() if key.startswith(prefix)}
                answer = _asked(value, state)
                if answer is not None:
                    tensors[f"{i}.after.{name}"] = answer
    return Observation(tensors, notes)


@lru_cache(maxsize=MOST_REMEMBERED)
def _calls(calls: bytes) -> list[Call]:
    return calls_from_bytes(calls)


def _asked_later(value: Any) -> bool:
    return isinstance(value, Probe) and value.ask is not None


def _without_ask(value: Any) -> Any:
    return replace(value, ask=torch.zeros(0)) if _asked_later(value) else value


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


def _asked(probe: Probe, state: dict[str, Tensor]) -> Tensor | None:
    """What a module with these weights says; None where they are not those of the module."""
    module: nn.Module = probes.build(probe)
    own = dict(module.named_parameters())
    if {name: (p.shape, p.dtype) for name, p in own.items()} != {n: (t.shape, t.dtype) for n, t in state.items()}:
        return None
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])
        return module.eval()(probe.ask)

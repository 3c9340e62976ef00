"""What a check asks of a student's object, as plain data, and what it saw: both travel as safetensors bytes.

A `Call` is one use of something the student wrote: the name, the arguments, the weights to load. It holds no
answer, so it may be stored beside a student's notebook and sent into the process that runs student code. An
`Observation` is what came back. Neither is ever pickled.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from course.checks.message import Bounds, pack, unpack

# Of one observation, which may come from student code. The largest of the course has 76 tensors and 7 KB of header.
BOUNDS = Bounds(header=2**16, tensors=600)
MOST_NOTES = 200
LONGEST_NOTE = 2_000  # characters; `observe` writes at most 700

PLAIN = "plain"  # the note of a result that came as a list or an array where a tensor could be
FORBIDDEN = "0.forbidden"  # the note of a sentence about what its exercise forbids (`course.checks.guards`)
SEAL = "0.seal"  # the note that the guards were still standing when the calls were made

_KEY = re.compile(r"\d{1,4}\.[\w.]{1,200}", re.ASCII)


@dataclass(frozen=True)
class Probe:
    """A small module of ours, handed to the student's code as an argument (see `course.checks.probes`).

    Args:
        kind: the name of the probe in `course.checks.probes.KINDS`.
        tensors: its weights by name.
        seed: where its other weights come from.
        ask: inputs to run it on after the student's code is through; None asks nothing.
    """

    kind: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    seed: int = 0
    ask: Tensor | None = None


@dataclass(frozen=True)
class Seeded:
    """Stands for ``torch.Generator().manual_seed(seed)`` among the arguments."""

    seed: int


@dataclass(frozen=True)
class Call:
    """One use of the student's object.

    Args:
        target: the name the student defines, a function or a module class.
        arguments: what the function, or the module's forward, receives, in order; passed by position, so that a
            student may name parameters as they like. Tensors, numbers, None, `Probe`, `Seeded`.
        init: for a module class, the constructor's arguments, in order.
        parameters: for a module class, the weights to load, by the names the exercise states.
        layouts: other accepted layouts of the same weights: ``{"qkv.weight": ["query.weight", ...]}`` says that
            the named weights, concatenated along axis 0, make up ``qkv.weight``.
        gradients: arguments to differentiate with respect to; for a module its parameters are added.
        start: for a module, the parameters whose values are looked at before the weights are loaded.
    """

    target: str
    arguments: dict[str, Any]
    init: dict[str, Any] | None = None
    parameters: dict[str, Tensor] = field(default_factory=dict)
    layouts: tuple[dict[str, list[str]], ...] = ()
    gradients: tuple[str, ...] = ()
    start: tuple[str, ...] = ()

    def shapes(self) -> list[dict[str, tuple[int, ...]]]:
        """By layout, the one of `parameters` first: the shapes that a module's parameters may have, by name."""
        found = [{name: tuple(value.shape) for name, value in self.parameters.items()}]
        for layout in self.layouts:
            parts = {name: [self.parameters[part].shape for part in names] for name, names in layout.items()}
            found.append({name: (sum(shape[0] for shape in each), *each[0][1:]) for name, each in parts.items()})
        return found


@dataclass(frozen=True)
class Accuracy:
    """A call that trains a network is judged by what the network then knows, not number by number.

    Args:
        labels: (N,) the true classes of the inputs the call's `Probe` asks about. Never sent to student code.
        at_least: the share that must be right, 0 to 1.
    """

    labels: Tensor
    at_least: float


@dataclass
class Observation:
    """What the student's object did, call by call.

    `tensors` has keys ``"0.out"`` (or ``"0.out.1"`` for the second of several results), ``"0.grad.x"``,
    ``"0.start.weight"``, ``"0.after.model"``; `notes` says in words what no tensor can: an error, a wrong type, an input that was
    changed. Keys start with the number of the call. `noise`, of what others are compared with, says by tensor how
    much of it is rounding (`course.checks.rounding`); it does not travel.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict, compare=False)

    def to_bytes(self) -> bytes:
        return pack(self.tensors, self.notes)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Observation":
        """Raises ValueError if `data` is not what `to_bytes` writes, or is beyond bounds: it may be student code's."""
        tensors, notes = unpack(data, BOUNDS)
        if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
            raise ValueError("an observation's notes must be texts by name")
        if len(notes) > MOST_NOTES or any(len(note) > LONGEST_NOTE for note in notes.values()):
            raise ValueError("an observation's notes are too many or too long")
        if not all(_KEY.fullmatch(key) for key in (*tensors, *notes)):
            raise ValueError("an observation holds a name that it never gives")
        return cls(tensors, notes)


def calls_to_bytes(calls: Iterable[Call]) -> bytes:
    """Calls as safetensors bytes: the same calls give the same bytes."""
    tensors: dict[str, Tensor] = {}
    return pack(tensors, [_call_to_json(call, f"{i}", tensors) for i, call in enumerate(calls)])


def calls_from_bytes(data: bytes) -> list[Call]:
    tensors, described = unpack(data)
    return [_call_from_json(entry, tensors) for entry in described]


def _call_to_json(call: Call, prefix: str, tensors: dict[str, Tensor]) -> dict:
    def encode(value: Any, where: str) -> Any:
        if isinstance(value, Tensor):
            tensors[where] = value
            return {"tensor": where}
        if isinstance(value, Probe):
            weights = {name: encode(weight, f"{where}.{name}") for name, weight in value.tensors.items()}
            return {"probe": value.kind, "tensors": weights, "seed": value.seed, "ask": encode(value.ask, f"{where}.?")}
        if isinstance(value, Seeded):
            return {"seeded": value.seed}
        if value is None or isinstance(value, (bool, int, float, str)):
            return {"plain": value}
        raise TypeError(f"argument {where} is a {type(value).__name__}; a call holds tensors, numbers, Probe, Seeded")

    def encode_all(values: dict | None, part: str) -> list | None:
        return values and [[name, encode(value, f"{prefix}.{part}.{name}")] for name, value in values.items()]

    return {
        "target": call.target,
        "arguments": encode_all(call.arguments, "in"),
        "init": encode_all(call.init, "init"),
        "parameters": encode_all(call.parameters, "param"),
        "layouts": list(call.layouts),
        "gradients": list(call.gradients),
        "start": list(call.start),
    }


def _call_from_json(described: dict, tensors: dict[str, Tensor]) -> Call:
    def decode(value: dict) -> Any:
        if "tensor" in value:
            return tensors[value["tensor"]]
        if "probe" in value:
            weights = {name: decode(weight) for name, weight in value["tensors"].items()}
            return Probe(value["probe"], weights, value["seed"], decode(value["ask"]))
        if "seeded" in value:
            return Seeded(value["seeded"])
        return value["plain"]

    def decode_all(values: list | None) -> dict:
        return {name: decode(value) for name, value in values or []}

    return Call(
        target=described["target"],
        arguments=decode_all(described["arguments"]),
        init=None if described["init"] is None else decode_all(described["init"]),
        parameters=decode_all(described["parameters"]),
        layouts=tuple(described["layouts"]),
        gradients=tuple(described["gradients"]),
        start=tuple(described["start"]),
    )

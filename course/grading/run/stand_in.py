"""In the child: what stands under the name of a function or class that the student got wrong, so that later ones run.

A stand-in knows nothing. Called, it sends its arguments out of the process to where the course's own code is
(`course.grading.run.oracle`) and gives back what that says; asked for gradients, it asks again. Student code may send
what a stand-in sends and gets no more for it.

What the course's code is given to call (an attention module handed to a block) stays here. Where it would be called,
the answer is "first tell me what this says to these tensors": it is called here, and the same question is asked again
with the answer added. Each of these rounds is one differentiable step, so gradients flow through all of them.
"""

import socket
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from course.checks.message import pack, unpack
from course.grading.run import frames
from course.grading.run.values import decode, encode, put


class _Line:
    """The channel out of this process, shared by all stand-ins."""

    channel: socket.socket
    answers: BinaryIO
    number = 0
    lock = threading.Lock()


def connect(channel: socket.socket, answers: BinaryIO) -> None:
    """Say where questions go and where answers come from."""
    _Line.channel, _Line.answers = channel, answers


def stand_in(target: str) -> Callable:
    """A function or a module class to put under the name `target`.

    Raises:
        RuntimeError: nobody answers for this name.
    """
    _, said = _ask({"do": "tell", "target": target}, {})
    if said["is"] == "class":
        return type(target, (_StandIn,), {"_target": target, "__module__": "__main__"})

    def function(*arguments: Any, **options: Any) -> Any:
        return _converse({"target": target}, {}, [], arguments, options)[0]

    function.__name__ = function.__qualname__ = target
    return function


class _StandIn(nn.Module):
    """A module whose parameters, buffers and submodules have the names of the course's own; the subclass says whose."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__()
        tensors, given = {}, []
        described = encode((arguments, options), tensors, given)
        asked = {"do": "make", "target": self._target, "init": described}
        answered, said = _ask({**asked, "random": put(torch.get_rng_state(), tensors)}, tensors)
        torch.set_rng_state(answered["random"])
        self._made_with = described, {key: tensor.detach() for key, tensor in tensors.items()}
        self._given = given
        self._not_ours = tuple(f"{path}." for path, number in said["modules"] if number is not None)
        for path, number in said["modules"]:
            owner, name = self._owner(path)
            setattr(owner, name, nn.Module() if number is None else given[number])
        for path, key, learned in said["parameters"]:
            owner, name = self._owner(path)
            owner.register_parameter(name, nn.Parameter(answered[key], requires_grad=learned))
        for path, key, persistent in said["buffers"]:
            owner, name = self._owner(path)
            owner.register_buffer(name, answered[key], persistent=persistent)
        for name, value in said["attributes"].items():
            setattr(self, name, value)

    def forward(self, *arguments: Any, **options: Any) -> Any:
        described, tensors = self._made_with
        tensors = dict(tensors)
        state = [*self.named_parameters(), *self.named_buffers()]
        asked = {
            "target": self._target,
            "init": described,
            "training": self.training,
            "state": {name: put(value, tensors) for name, value in state if not name.startswith(self._not_ours)},
        }
        result, answered, said = _converse(asked, tensors, list(self._given), arguments, options)
        with torch.no_grad():
            for name, key in said["changed"].items():
                self.get_buffer(name).copy_(answered[key])
        return result

    def _owner(self, path: str) -> tuple[nn.Module, str]:
        above, _, name = path.rpartition(".")
        return self.get_submodule(above), name


def _converse(
    asked: dict, tensors: dict[str, Tensor], given: list[Callable], arguments: tuple, options: dict
) -> tuple[Any, dict[str, Tensor], dict]:
    """Ask for a call until nothing more has to be told; returns the result and the last answer."""
    asked = {**asked, "do": "call", "arguments": encode((arguments, options), tensors, given), "heard": []}
    asked["random"] = put(torch.get_rng_state(), tensors)
    while True:
        result, answered, said = _one_round(asked, tensors)
        if said["needed"] is None:
            return result, answered, said
        inner_arguments, inner_options = result
        answer = given[said["needed"]](*inner_arguments, **inner_options)
        tensors = dict(tensors)
        answer_and_state = [encode(answer, tensors), put(torch.get_rng_state(), tensors)]
        asked = {**asked, "heard": [*asked["heard"], answer_and_state]}


def _one_round(asked: dict, tensors: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor], dict]:
    learns = torch.is_grad_enabled()
    asked = {**asked, "wanted": [key for key, tensor in tensors.items() if learns and tensor.requires_grad]}
    # Copies: the student may write into a tensor before gradients are asked for.
    copies = {key: tensor.detach().clone() for key, tensor in tensors.items()}
    answered, said = _ask(asked, copies)
    torch.set_rng_state(answered["random"])  # random numbers go on as if the course's code had drawn them here
    differentiable = said["differentiable"]
    if differentiable:
        values = [answered[key] for key in differentiable]
        live = _Asked.apply(asked, copies, differentiable, values, *[tensors[key] for key in asked["wanted"]])
        answered.update(zip(differentiable, live))
    return decode(said["result"], answered), answered, said


class _Asked(torch.autograd.Function):
    """What was answered, as a function of the tensors that gradients are wanted of."""

    @staticmethod
    def forward(ctx, asked: dict, tensors: dict, differentiable: list[str], values: list[Tensor], *wanted: Tensor):
        ctx.question = asked, tensors, differentiable
        ctx.set_materialize_grads(False)
        return tuple(value.clone() for value in values)  # they are views of what came

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor | None):
        asked, tensors, differentiable = ctx.question
        tensors = dict(tensors)
        known = zip(differentiable, gradients)
        of = {key: put(gradient, tensors) for key, gradient in known if gradient is not None}
        answered, _ = _ask({**asked, "gradients": of}, tensors) if of else ({}, {})
        return (None, None, None, None, *[answered.get(key) for key in asked["wanted"]])


def _ask(asked: dict, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict]:
    payload = pack(tensors, asked)
    if len(payload) > frames.LARGEST_ASKED:
        raise RuntimeError(f"{asked['target']}: its arguments take more than {frames.LARGEST_ASKED // 2**20} MB")
    with _Line.lock:
        _Line.number += 1
        _Line.channel.sendall(frames.pack(frames.ASK, _Line.number, payload))
        while (message := frames.read(_Line.answers)) is not None:
            if message[:2] == (frames.ASK, _Line.number):
                answered, said = unpack(message[2])
                if "refused" in said:
                    raise RuntimeError(f"{asked['target']}: {said['refused']}")
                return answered, said
    raise RuntimeError("the grader has gone")

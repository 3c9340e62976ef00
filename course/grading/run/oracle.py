"""The course's own answers in a process of their own: asked by the grader on behalf of a stand-in in a child.

What is asked comes from student code, so it is treated as hostile: for each submission the process forks, and the
fork, with limits on memory and on seconds a question, answers for the names it was told and for no other. It reads
safetensors and JSON, runs no code but the course's, and what it is sent never reaches another submission's fork.
"""

import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from course.checks.message import Bounds, pack, unpack
from course.grading.run import frames
from course.grading.run.values import decode, encode, put
from course.grading.sandbox.forked import Forked
from course.grading.sandbox.jobs import data_bytes
from course.grading.sandbox.supervise import close_all_but

SECONDS_TO_START = 180  # for the imports, on a machine that is busy with something else
SECONDS_A_QUESTION = 5.0
MEMORY = 2**30  # bytes that answering may add to what the process has
MOST_QUESTIONS = 20_000  # of one session
MOST_LOSSES = 5  # of the fork that answers, in one session
LONGEST_REFUSAL = 300  # characters
BOUNDS = Bounds(header=2**20, tensors=10_000)  # of a question


class NoOracle(RuntimeError):
    """The process with the answers cannot be started; the text says why."""


_early: list[tuple[socket.socket, Forked]] = []


def fork_early() -> None:
    """Fork a process for the first `Oracle` from this one, which has loaded PyTorch and knows no secret yet."""
    control, theirs = socket.socketpair()
    with theirs:
        _early.append((control, Forked(partial(_take_over, theirs.fileno()))))


class Oracle:
    """The answers of one homework, ready to be asked. Nothing is started before the first session.

    The process ends when this object does. A pickled copy has a process of its own.

    Args:
        reference: Python that defines the right answers, setup included.
    """

    def __init__(self, reference: str):
        self._reference = reference
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._end = None

    def __reduce__(self):
        return Oracle, (self._reference,)

    def session(self, targets: Iterable[str]) -> "Session":
        """Someone to ask about `targets`, for one submission.

        Raises:
            NoOracle: it cannot be started.
        """
        session = Session(self, sorted(targets))
        session.connect()
        return session

    def connect(self) -> socket.socket:
        """A channel to a fresh fork. Raises NoOracle. May be called from several threads at once."""
        with self._lock:
            for last in (False, True):
                if self._control is None:
                    self._start()
                ours, theirs = socket.socketpair()
                try:
                    with theirs:
                        socket.send_fds(self._control, [b"F"], [theirs.fileno()])
                    return ours
                except OSError as error:  # it has died since
                    ours.close()
                    self._end()
                    self._control = None
                    if last:
                        raise NoOracle(f"the process with the answers has ended: {error}") from None

    def close(self) -> None:
        with self._lock:
            if self._control is not None:
                self._end()
                self._control = None

    def _start(self) -> None:
        control, process = _early.pop() if _early else _started()
        end = weakref.finalize(self, _end, control, process)
        try:
            said = _exchange(control, frames.READY, 0, self._reference.encode(), SECONDS_TO_START)
        except (OSError, frames.BadFrame) as error:
            end()
            raise NoOracle(f"the process with the answers does not start: {error}") from None
        if said:
            end()
            raise NoOracle(f"the course's own answers cannot be run: {said.decode()}")
        self._control, self._end = control, end


class Session:
    """The questions of one submission. Use it in a `with` statement."""

    def __init__(self, oracle: Oracle, targets: list[str]):
        self._oracle = oracle
        self._targets = targets
        self._channel: socket.socket | None = None
        self._asked = 0
        self._losses = 0

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *error) -> None:
        self._hang_up()

    def answer(self, question: bytes, seconds: float) -> bytes:
        """What to send back into the child. Whatever the question holds, this returns within about `seconds`."""
        self._asked += 1
        if self._asked > MOST_QUESTIONS or self._losses >= MOST_LOSSES:
            return refusal("no more questions are answered for this submission")
        try:
            if self._channel is None:
                self.connect()
            wait = max(0.001, min(seconds, SECONDS_A_QUESTION))
            return _exchange(self._channel, frames.ASK, self._asked, question, wait)
        except (OSError, frames.BadFrame, NoOracle):
            self._losses += 1
            self._hang_up()
            return refusal("the course's own answer took too much time or memory")

    def connect(self) -> None:
        self._channel = self._oracle.connect()
        terms = {"targets": self._targets, "memory": MEMORY, "seconds": SECONDS_A_QUESTION}
        self._channel.settimeout(SECONDS_A_QUESTION)
        self._channel.sendall(frames.pack(frames.READY, 0, json.dumps(terms).encode()))

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def refusal(why: str) -> bytes:
    return pack({}, {"refused": why})


def _exchange(channel: socket.socket, kind: bytes, number: int, payload: bytes, seconds: float) -> bytes:
    """Send one message and wait for the one that answers it.

    Raises:
        OSError: it has not come after `seconds`, or the other end is gone.
        frames.BadFrame: it is none, or too large.
    """
    deadline = time.monotonic() + seconds
    channel.settimeout(seconds)
    channel.sendall(frames.pack(kind, number, payload))
    buffer = bytearray()
    while (message := frames.unpack_first(buffer, frames.LARGEST_ASKED, frames.LARGEST_ASKED)) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        channel.settimeout(left)
        data = channel.recv(2**18)
        if not data:
            raise ConnectionError("it ended without an answer")
        buffer += data
    return message[2]


def _started() -> tuple[socket.socket, subprocess.Popen]:
    control, theirs = socket.socketpair()
    try:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "course.grading.run.oracle", str(theirs.fileno())],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
    except OSError as error:
        control.close()
        raise NoOracle(f"the process with the answers cannot be started: {error.strerror}") from None
    return control, process


def _end(control: socket.socket, process: subprocess.Popen | Forked) -> None:
    control.close()
    process.kill()
    process.wait()


def _environment() -> dict[str, str]:
    import course

    root = os.path.dirname(os.path.dirname(os.path.abspath(course.__file__)))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    quiet = {"CUDA_VISIBLE_DEVICES": "", "COURSE_OFFLINE": "1", "MPLBACKEND": "agg", "COURSE_BUDGET": "cpu"}
    return {**os.environ, **threads, **quiet, "PYTHONPATH": root}


# -- in the process with the answers


def _take_over(control_number: int) -> None:
    """In a fork. Never returns."""
    try:
        os.setsid()  # Ctrl-C is for the grader
        close_all_but({control_number})
        main(control_number)
    finally:
        os._exit(0)


def main(control_number: int) -> None:
    """Run the answers that come first, then fork for every channel that is handed over."""
    torch.set_num_threads(1)  # a process with threads cannot be forked
    control = socket.socket(fileno=control_number)
    _, _, reference = frames.read(control.makefile("rb"))
    answers: dict[str, Any] = {"__name__": "reference"}
    said = ""
    try:
        exec(compile(reference, "<the course's answers>", "exec"), answers)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    _warm_up()
    control.sendall(frames.pack(frames.READY, 0, said.encode()))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended forks leave nothing behind
    while True:
        data, channels, *_ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        if os.fork() == 0:
            control.close()
            try:
                _serve(socket.socket(fileno=channels[0]), answers)
            finally:
                os._exit(0)
        os.close(channels[0])


def _warm_up() -> None:
    """Do once what is slow the first time, so that no fork has to."""
    layer = nn.Linear(2, 2)
    x = torch.ones(1, 2, requires_grad=True)
    out = torch.func.functional_call(layer, dict(layer.named_parameters()), (x,))
    torch.autograd.grad([out], [x], [out.detach()])
    unpack(pack({"0": x}, {}), BOUNDS)
    gc.collect()
    gc.freeze()  # a fork that collects garbage would otherwise copy every page that it shares with this process


def _serve(channel: socket.socket, answers: dict[str, Any]) -> None:
    requests = channel.makefile("rb")
    _, _, payload = frames.read(requests)
    terms = json.loads(payload)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = data_bytes() + terms["memory"]
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    while (request := frames.read(requests)) is not None:
        kind, number, payload = request
        signal.setitimer(signal.ITIMER_REAL, terms["seconds"])  # then the system ends this process
        reply = answer(payload, answers, terms["targets"])
        if len(reply) > frames.LARGEST_ASKED:
            reply = refusal("the result is too large")
        channel.sendall(frames.pack(kind, number, reply))
        signal.setitimer(signal.ITIMER_REAL, 0)


def answer(question: bytes, answers: dict[str, Any], targets: Iterable[str]) -> bytes:
    """What a stand-in is told; a refusal for everything that is no proper question about `targets`."""
    try:
        tensors, asked = unpack(question, BOUNDS)
        if asked["target"] not in targets:
            return refusal("this name is not replaced here")
        target = answers[asked["target"]]
        is_class = isinstance(target, type) and issubclass(target, nn.Module)
        if asked["do"] == "tell":
            return pack({}, {"is": "class" if is_class else "function"})
        if asked["do"] == "make":
            return _make(target, asked, tensors)
        return _call(target, asked, tensors)
    except (Exception, _Needed) as error:
        return refusal(f"{type(error).__name__}: {error}"[:LONGEST_REFUSAL])


def _make(target: type[nn.Module], asked: dict, tensors: dict[str, Tensor]) -> bytes:
    """What a fresh module is made of: names, kinds and first values."""
    torch.set_rng_state(tensors[asked["random"]])
    module = _module(target, asked, tensors, _Round([], {}))
    answered: dict[str, Tensor] = {"random": torch.get_rng_state()}
    kept = set(module.state_dict())
    plain = {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"}
    said = {
        "modules": [[path, getattr(m, "given_number", None)] for path, m in module.named_modules() if path],
        "parameters": [[name, put(p, answered), p.requires_grad] for name, p in module.named_parameters()],
        "buffers": [[name, put(b, answered), name in kept] for name, b in module.named_buffers()],
        "attributes": {name: value for name, value in plain.items() if isinstance(value, (bool, int, float, str))},
    }
    return pack(answered, said)


def _call(target: Any, asked: dict, tensors: dict[str, Tensor]) -> bytes:
    """One round of a call, or the gradients of one: see `course.grading.run.stand_in`."""
    leaves = {key: tensors[key].requires_grad_() for key in asked["wanted"]}
    live = {key: tensor.clone() if key in leaves else tensor for key, tensor in tensors.items()}
    round_ = _Round(asked["heard"], live)
    arguments, options = decode(asked["arguments"], live, round_.given)
    changed: dict[str, Tensor] = {}
    with torch.set_grad_enabled(bool(leaves)):
        if "init" in asked:
            module = _module(target, asked, tensors, round_).train(asked["training"])
            buffers = dict(module.named_buffers())
            own = {**dict(module.named_parameters()), **buffers}
            state = {name: live[key] for name, key in asked["state"].items() if name in own}
            before = {name: state[name]._version for name in buffers if name in state}
        torch.set_rng_state(tensors[asked["random"]])
        needed = None
        try:
            if "init" in asked:
                result = torch.func.functional_call(module, state, tuple(arguments), options)
                changed = {name: state[name] for name in before if state[name]._version > before[name]}
            else:
                result = target(*arguments, **options)
        except _Needed as call:
            needed, result = call.number, (call.arguments, call.options)
    answered: dict[str, Tensor] = {}
    described = encode(result, answered)
    if "gradients" in asked:
        return _gradients(answered, leaves, {key: tensors[of] for key, of in asked["gradients"].items()})
    said = {
        "needed": needed,
        "result": described,
        "differentiable": [key for key, tensor in answered.items() if tensor.requires_grad],
        "changed": {name: put(buffer, answered) for name, buffer in changed.items()},
    }
    return pack({**answered, "random": torch.get_rng_state()}, said)


def _gradients(results: dict[str, Tensor], leaves: dict[str, Tensor], of: dict[str, Tensor]) -> bytes:
    outputs = [results[key] for key in of]
    found = torch.autograd.grad(outputs, list(leaves.values()), list(of.values()), allow_unused=True)
    return pack({key: gradient for key, gradient in zip(leaves, found) if gradient is not None}, {})


def _module(target: type[nn.Module], asked: dict, tensors: dict[str, Tensor], round_: "_Round") -> nn.Module:
    arguments, options = decode(asked["init"], tensors, round_.given)
    return target(*arguments, **options)


class _Round:
    """What the course's code was given to call, and what is known of what that says.

    Args:
        heard: in the order of the calls, [the result as `encode` describes it, the key of the random state after it].
    """

    def __init__(self, heard: list, tensors: dict[str, Tensor]):
        self._heard = iter(heard)
        self._tensors = tensors
        self._made: dict[int, _Given] = {}

    def given(self, number: int) -> "_Given":
        return self._made.setdefault(number, _Given(number, self))

    def hear(self, number: int, arguments: tuple, options: dict) -> Any:
        for result, random in self._heard:
            torch.set_rng_state(self._tensors[random])
            return decode(result, self._tensors)
        raise _Needed(number, arguments, options)


class _Given(nn.Module):
    """Stands for something callable that lives with the student's code."""

    def __init__(self, number: int, round_: _Round):
        super().__init__()
        self.given_number = number
        self._round = round_

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return self._round.hear(self.given_number, arguments, options)


class _Needed(BaseException):
    """The course's code calls what it was given, and what that says is not known yet: not for it to catch."""

    def __init__(self, number: int, arguments: tuple, options: dict):
        super().__init__("what it was given is called before it is done")
        self.number, self.arguments, self.options = number, arguments, options


if __name__ == "__main__":
    # Under its own name, so that its classes are the ones that others import.
    from course.grading.run import oracle

    oracle.main(int(sys.argv[1]))

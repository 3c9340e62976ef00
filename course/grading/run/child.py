"""The grader's end of one process for student code: requests, answers, and what is made of its silence or death."""

import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from course.checks.calls import Observation
from course.grading.read.merge import RunCell
from course.grading.read.modules import OwnModule
from course.grading.run import frames, outside
from course.grading.sandbox import CannotStart, Sandbox, ServerLost
from course.grading.sandbox.client import MOST_SERVERS
from course.grading.statuses import Status

MOST_FAILED = 20  # statements of a cell of which the error is told
LARGEST_REPLY = 2**18  # bytes of what is told of a cell
SECONDS_TO_START = 180  # for the imports, on a machine that is busy with something else

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)

NO_ANSWER = "wrote into the grader's channel: it sent something that is no answer"


@dataclass(frozen=True)
class Question:
    """What an exercise asks of the child: its calls as `calls_to_bytes` gives them, and a bound on the answer.

    `forbidden` are full names that a student's code may not use for it (`course.checks.guards`).
    """

    calls: bytes
    largest_answer: int
    forbidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """A statement of a cell that raised, as the child says.

    Args:
        statement: its number among those at the top of the cell.
        first_line: of it, 0 if that is not known.
        line: of the cell, in which it was raised; 0 if that is not known.
        error: what was raised.
        file, line_there: the student's own module in which that was, or ``""``.
    """

    statement: int
    first_line: int
    line: int
    error: str
    file: str = ""
    line_there: int = 0


@dataclass(frozen=True)
class Ran:
    """How a cell went.

    Args:
        failed: its statements that raised, the first of them.
        more: how many more there are.
        kept: which of ``cell.keep`` it gave a meaning to.
        not_run: the statements that were passed over because they are no definitions.
    """

    failed: tuple[Failed, ...] = ()
    more: int = 0
    kept: tuple[str, ...] = ()
    not_run: tuple[int, ...] = ()


class ChildLost(Exception):
    """The child is of no more use: it hangs, has died or breaks the protocol. `status` is for the student's row."""

    def __init__(self, status: Status, sentence: str):
        super().__init__(sentence)
        self.status = status


class Stopped(Exception):
    """`Limits.stop` was set."""


@contextmanager
def start_child(sandbox: Sandbox) -> Iterator["Child"]:
    """A running child that has done its imports. At the end it is killed with all that it started.

    Raises:
        CannotStart: with the last words of the child.
    """
    child = _ready(sandbox)
    try:
        yield child
    finally:
        child.close()


def _ready(sandbox: Sandbox) -> "Child":
    for servers_left in reversed(range(MOST_SERVERS)):
        child = Child(sandbox)
        try:
            child.wait_until_ready()
            return child
        except BaseException as error:
            child.close()
            # A server that is being ended may still have taken the request.
            if not (isinstance(error, ServerLost) and servers_left):
                raise


def _ran(reply: dict, cell: RunCell) -> Ran:
    """What a child says, in bounds. Raises TypeError, ValueError or KeyError where it is something else."""
    failed = []
    for number, first_line, line, error, file, line_there in reply["failed"][:MOST_FAILED]:
        if not (isinstance(error, str) and isinstance(file, str)):
            raise TypeError
        at, first, here, there = (
            value if type(value) is int and 0 < value < 10**6 else 0 for value in (number, first_line, line, line_there)
        )
        failed.append(Failed(at, first, here, error[:400], file[:200], there))
    more, kept, not_run = reply["more"], reply["kept"], reply["not_run"]
    if not (type(more) is int and isinstance(kept, list) and isinstance(not_run, list)):
        raise TypeError
    not_run = tuple(k for k in not_run if type(k) is int)
    return Ran(tuple(failed), max(0, more), tuple(name for name in cell.keep if name in kept), not_run)


class Child:
    """The parent's end of one child process. Every wait has a deadline, every size a bound."""

    def __init__(self, sandbox: Sandbox):
        self.limits = sandbox.limits
        self.printed = 0
        self.last_words = b""
        self.at = 0  # the statement of the cell that it runs, or died of
        self._number = 0
        self._buffer = bytearray()
        # What stand-ins ask is handed to it with the seconds there are; without it, nobody may ask.
        self.answer_asked: Callable[[bytes, float], bytes] | None = None
        self._job = sandbox.start()
        self._channel, self._output = self._job.channel, self._job.output
        self._channel.setblocking(False)
        os.set_blocking(self._output, False)

    def wait_until_ready(self) -> None:
        try:
            self.exchange(frames.READY, b"", SECONDS_TO_START, 0)
        except ChildLost as why:
            said = " ".join(self.last_words.decode("utf-8", "replace").split()[-60:])
            raise CannotStart(f"the process for student code {why}{': ' + said if said else ''}") from None
        self.printed = 0

    def run(self, cell: RunCell, seconds: float, skip: Collection[int] = (), only_definitions: bool = False) -> Ran:
        """Run one cell, without the statements `skip`. Where it is lost, `at` is the one that it had come to."""
        request = {
            "source": cell.source,
            "label": cell.label,
            "keep": cell.keep,
            "skip": sorted(skip),
            "definitions": only_definitions,
        }
        try:
            reply = json.loads(self.exchange(frames.CELL, json.dumps(request).encode(), seconds, LARGEST_REPLY))
            return _ran(reply, cell)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ChildLost(Status.CRASHED, NO_ANSWER) from None

    def execute(self, cell: RunCell, seconds: float) -> tuple[str, int, list[str]]:
        """Run one cell. Returns (its first error or ``""``, the line of that or 0, which of ``cell.keep`` it defined)."""
        ran = self.run(cell, seconds)
        first = ran.failed[0] if ran.failed else Failed(0, 0, 0, "")
        return first.error, first.line, list(ran.kept)

    def know(self, modules: Iterable[OwnModule], seconds: float) -> None:
        """Let cells import the student's own modules."""
        told = [asdict(module) for module in modules]
        if told:
            self.exchange(frames.MODULES, json.dumps(told).encode(), seconds, 0)

    def observe(self, question: Question, seconds: float) -> Observation:
        """Make the calls of one exercise and bring back what was seen."""
        try:
            answer = self.exchange(frames.OBSERVE, outside.sent(question.calls), seconds, question.largest_answer)
            return outside.found_out(Observation.from_bytes(answer), question.calls)
        except (ValueError, RecursionError, MemoryError):
            raise ChildLost(Status.CRASHED, NO_ANSWER) from None

    def exchange(self, kind: bytes, payload: bytes, seconds: float, largest: int) -> bytes:
        """Send a request and wait for its answer, throwing printed output away meanwhile.

        Raises:
            ChildLost: no answer in time, the child died, or what came breaks the protocol.
            Stopped: see `Limits`.
        """
        self._number += 1
        self.at = 0
        outgoing = memoryview(frames.pack(kind, self._number, payload))
        deadline = time.monotonic() + seconds
        received = 0
        output = self._output
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
            selector.register(output, selectors.EVENT_READ)
            while True:
                message = self._next(kind, largest, sending=bool(outgoing))
                if message is not None and message[0] == kind:
                    self._drain_output()
                    return message[2]
                if message is not None:
                    _, number, question = message
                    reply = self.answer_asked(question, deadline - time.monotonic())
                    outgoing = memoryview(frames.pack(frames.ASK, number, reply))
                    selector.modify(self._channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
                    received -= len(question)
                if self.limits.stop.is_set():
                    raise Stopped
                if time.monotonic() >= deadline:
                    raise ChildLost(Status.TIMEOUT, f"did not come to an end within {self._told(seconds)}")
                for key, events in selector.select(min(0.5, max(0.0, deadline - time.monotonic()))):
                    if key.fileobj is output:
                        if not self._drain_output():
                            selector.unregister(output)
                        continue
                    if events & selectors.EVENT_WRITE:
                        outgoing = self._send(outgoing)
                        if not outgoing:
                            selector.modify(self._channel, selectors.EVENT_READ)
                    if events & selectors.EVENT_READ:
                        received += self._receive()
                        if received > 2 * largest + self._largest_asked + 2**20:
                            raise ChildLost(Status.LIMIT, "wrote into the grader's channel, and without end")

    def _told(self, seconds: float) -> str:
        """In words that say nothing of how long the code before it took."""
        if seconds >= self.limits.timeout:
            return f"{seconds:.3g} seconds"
        return f"what was left of the {self.limits.whole_submission:g} seconds for the whole notebook"

    def _next(self, kind: bytes, largest: int, sending: bool) -> tuple[bytes, int, bytes] | None:
        """The answer that is waited for, or a question; no question while what was told before is still on its way."""
        try:
            while not (sending and self._buffer[:1] == frames.ASK):
                message = frames.unpack_first(self._buffer, largest, self._largest_asked)
                if message is None:
                    return None
                if message[:2] == (frames.AT, self._number):
                    self.at = frames.statement(message[2])
                if message[:2] == (kind, self._number) or (message[0] == frames.ASK and self.answer_asked):
                    return message
        except frames.TooLarge as problem:
            raise ChildLost(Status.LIMIT, str(problem)) from None
        except frames.BadFrame:
            raise ChildLost(Status.CRASHED, NO_ANSWER) from None
        return None

    @property
    def _largest_asked(self) -> int:
        return frames.LARGEST_ASKED if self.answer_asked else 0

    def _send(self, outgoing: memoryview) -> memoryview:
        try:
            return outgoing[self._channel.send(outgoing[: 2**16]) :]
        except BlockingIOError:
            return outgoing
        except OSError:
            raise self._dead() from None

    def _receive(self) -> int:
        try:
            data = self._channel.recv(2**18)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            raise self._dead()
        self._buffer += data
        return len(data)

    def _drain_output(self) -> bool:
        """Count what was printed and throw it away, all but the end. False once nobody can print any more."""
        for _ in range(64):  # then the channel has its turn
            try:
                data = os.read(self._output, 2**16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.printed += len(data)
            self.last_words = (self.last_words + data)[-4000:]
        return True

    def _dead(self) -> ChildLost:
        self._drain_output()
        code = self._job.exit_code(seconds=2)
        if code is None:
            return ChildLost(Status.CRASHED, "closed the grader's channel")
        if code == -signal.SIGKILL:
            return ChildLost(
                Status.LIMIT, "was killed by the system, as happens when memory or room on the disk runs out"
            )
        if code < 0:
            return ChildLost(Status.CRASHED, f"crashed Python{_signal_name(-code)}")
        return ChildLost(
            Status.CRASHED, f"ended the process it ran in{f' (exit code {code})' if code in (0, 1) else ''}"
        )

    def close(self) -> None:
        self._job.close()


def _signal_name(number: int) -> str:
    """Of what crashes by itself: any other is chosen."""
    return f" ({signal.Signals(number).name})" if number in _CRASHES else ""

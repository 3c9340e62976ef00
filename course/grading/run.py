"""Drive the child process in which a student's code runs; whatever it does there, one exercise at a time is lost.

A child is started for each submission, in a process group, a folder and an environment of its own. It is told to
execute the cells and then to call what each exercise defined. If it hangs, dies or talks nonsense, it is killed with
all that it started, what it was busy with is left out, and a fresh child goes on with the rest.

How far this contains hostile code is told by `isolation`.
"""

import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from course.checks.calls import Observation
from course.grading import frames
from course.grading.merge import Merged, RunCell

LONGEST_OUTPUT = 2**20  # bytes that student code may print before it counts as a flood
SECONDS_TO_START = 180  # for the imports, on a machine that is busy with something else
WHOLE_SUBMISSION = 5  # times the seconds for a cell or an exercise
MOST_STARTS = 25  # of a child for one submission

_NO_ANSWER = "wrote into the grader's channel: it sent something that is no answer"
_OUT_OF_MEMORY = re.compile(r"MemoryError|can't allocate memory|not enough memory|Cannot allocate memory")


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Args:
        timeout: seconds for a cell or an exercise; the whole submission has `WHOLE_SUBMISSION` times that.
        memory: bytes on top of what the imports take.
        enforced: False takes the limits on memory, files and processes away; time and output stay bounded.
        stop: set from outside to end every child soon.
    """

    timeout: float = 60.0
    memory: int = 4 * 2**30
    enforced: bool = True
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def isolation(self) -> str:
        """What contains student code, in honest words for the summary and for every report."""
        if not self.enforced:
            return (
                "Isolation: none was asked for. A separate process for each submission, with a time limit and "
                "nothing else; student code can read, write and send whatever the grader can."
            )
        return (
            "Isolation: process limits only; namespaces come later. Each submission ran in a separate process with "
            "its own folder, a clean environment and limits on time, memory, files and output. Answers were compared "
            "outside it, but it could read files that the grader can read, and use the network."
        )


@dataclass(frozen=True)
class Question:
    """What an exercise asks of the child: its calls as `calls_to_bytes` gives them, and a bound on the answer."""

    calls: bytes
    largest_answer: int


@dataclass(frozen=True)
class Lost:
    """Why an exercise has no observation: the status for the row (or ``""``) and a sentence for the student."""

    status: str
    sentence: str


@dataclass
class Outcome:
    """What running one submission gave: an observation or a loss for each exercise, and what else was noticed."""

    exercises: dict[str, Observation | Lost] = field(default_factory=dict)
    statuses: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)


class ChildLost(Exception):
    """The child is of no more use: it hangs, has died or breaks the protocol. `status` is for the student's row."""

    def __init__(self, status: str, sentence: str):
        super().__init__(sentence)
        self.status = status


class CannotStart(RuntimeError):
    """A child did not get as far as running student code: the fault of the machine or of the limits."""


class Stopped(Exception):
    """`Limits.stop` was set."""


def run_submission(merged: Merged, questions: dict[str, Question], limits: Limits) -> Outcome:
    """Execute a student's cells and make every exercise's calls.

    Args:
        questions: for each exercise of the homework, in order.

    Raises:
        CannotStart: no child could be started.
        Stopped: see `Limits`.
    """
    return _Run(merged, questions, limits).run()


class _Run:
    """The state of one submission between one child and the next."""

    def __init__(self, merged: Merged, questions: dict[str, Question], limits: Limits):
        self.cells = merged.cells
        self.place = {cell.exercise: i for i, cell in enumerate(merged.cells) if cell.exercise}
        self.questions = questions
        self.waiting = [name for name in questions if name in self.place]
        self.limits = limits
        self.seconds_left = WHOLE_SUBMISSION * limits.timeout
        self.left_out: dict[int, Lost] = {}  # cells that may not be executed again
        self.stopped_at: dict[int, str] = {}  # cells that raised, and what to say of it
        self.undefined: set[str] = set()  # exercises whose cell raised before it defined anything
        self.printed = 0
        self.outcome = Outcome()

    def run(self) -> Outcome:
        for start in range(MOST_STARTS):
            if not self.waiting or self.seconds_left <= 0:
                break
            try:
                self._go_on_in_a_fresh_child()
            except CannotStart:
                if start == 0:
                    raise
                break  # what the first child left behind may be the cause; what is known already stays
        for name in self.waiting:
            self._lose(name, self._never_reached())
        if self.printed > LONGEST_OUTPUT:
            self.outcome.statuses.add("limit")
            self.outcome.messages.append(
                f"The code went over the limit on output: {self.printed / 2**20:.0f} MB printed, "
                f"{LONGEST_OUTPUT // 2**20} MB is sensible; the rest was thrown away."
            )
        return self.outcome

    def _go_on_in_a_fresh_child(self) -> None:
        with start_child(self.limits) as child:
            try:
                self._execute_cells(child)
                self._make_calls(child)
            except _StartAgain:
                pass
            finally:
                self.printed = max(self.printed, child.printed)

    def _never_reached(self) -> Lost:
        if self.seconds_left > 0:
            return Lost("crashed", "It was not run, because the code before it crashed too often.")
        seconds = WHOLE_SUBMISSION * self.limits.timeout
        return Lost("timeout", f"It was not run, because the {seconds:g} seconds for the whole notebook were used up.")

    def _execute_cells(self, child: "Child") -> None:
        for i, cell in enumerate(self.cells):
            try:
                with self._timed() as seconds:
                    if i in self.left_out:
                        child.execute(_stand_in(cell), seconds)
                        continue
                    error, line, kept = child.execute(cell, seconds)
            except ChildLost as why:
                self.left_out[i] = Lost(why.status, f"Your cell {why}.")
                self._note(self.left_out[i])
                if not cell.exercise:
                    self.outcome.messages.append(_sentence(f"{cell.label} {why}. It was left out."))
                raise _StartAgain from None
            if error:
                self._cell_raised(i, cell, error, line, kept)

    def _make_calls(self, child: "Child") -> None:
        while self.waiting:
            name = self.waiting[0]
            i = self.place[name]
            if i in self.left_out:
                self._lose(name, self.left_out[i])
            elif name in self.undefined:
                self._lose(name, Lost("", f"Your cell {self.stopped_at[i]}."))
            else:
                try:
                    with self._timed() as seconds:
                        seen = child.observe(self.questions[name], seconds)
                except ChildLost as why:
                    self.waiting.pop(0)
                    self.left_out[i] = Lost(why.status, f"Your code {why}.")
                    self._lose(name, self.left_out[i])
                    raise _StartAgain from None
                self.outcome.exercises[name] = seen
                self._note_memory(seen)
                if i in self.stopped_at:  # a line below the function, say, that tries it out
                    told = f"{self.cells[i].label} {self.stopped_at[i]}; what it had defined by then was graded."
                    self.outcome.messages.append(_sentence(told))
            self.waiting.pop(0)

    def _cell_raised(self, i: int, cell: RunCell, error: str, line: int, kept: list[str]) -> None:
        first_time = i not in self.stopped_at
        self.stopped_at[i] = f"stops{f' in line {line}' if line else ''} with {error}"
        if _OUT_OF_MEMORY.search(error):
            self.outcome.statuses.add("limit")
        if cell.exercise and not kept:
            self.undefined.add(cell.exercise)
        elif not cell.exercise and first_time:
            self.outcome.messages.append(_sentence(f"{cell.label} {self.stopped_at[i]}."))

    def _lose(self, name: str, lost: Lost) -> None:
        self.outcome.exercises[name] = lost
        self._note(lost)

    def _note(self, lost: Lost) -> None:
        if lost.status:
            self.outcome.statuses.add(lost.status)

    def _note_memory(self, seen: Observation) -> None:
        for key, note in seen.notes.items():
            if key.endswith(".error") and _OUT_OF_MEMORY.search(note[:2000]):
                self.outcome.statuses.add("limit")
                place = note.partition(" (line ")
                allowed = f"it asked for more memory than the {self.limits.memory / 2**20:.0f} MB allowed"
                seen.notes[key] = f"MemoryError: {allowed}{place[1]}{place[2]}"

    @contextmanager
    def _timed(self) -> Iterator[float]:
        """Gives the seconds that the next thing may take, and takes those it did from the submission's."""
        if self.seconds_left <= 0:
            raise _StartAgain
        begin = time.monotonic()
        try:
            yield min(self.limits.timeout, self.seconds_left)
        finally:
            self.seconds_left -= time.monotonic() - begin


class _StartAgain(Exception):
    """Go on with a fresh child, if there is time left."""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _stand_in(cell: RunCell) -> RunCell:
    """In place of a cell that was left out: who calls what it defined learns at once why that is not there."""
    source = "".join(
        f"def {name}(*arguments, **options):\n"
        f"    raise RuntimeError('{name} hung or crashed before and was left out')\n"
        for name in cell.keep
    )
    return RunCell(cell.label, source, cell.exercise, ())


# -- one child


@contextmanager
def start_child(limits: Limits) -> Iterator["Child"]:
    """A running child that has done its imports. At the end it is killed with all that it started.

    Raises:
        CannotStart: with the last words of the child.
    """
    child = Child(limits)
    try:
        try:
            child.exchange(frames.READY, b"", SECONDS_TO_START, 0)
        except ChildLost as why:
            said = " ".join(child.last_words.decode("utf-8", "replace").split()[-60:])
            raise CannotStart(f"the process for student code {why}{': ' + said if said else ''}") from None
        child.printed = 0
        yield child
    finally:
        child.close()


class Child:
    """The parent's end of one child process. Every wait has a deadline, every size a bound."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.printed = 0
        self.last_words = b""
        self._number = 0
        self._buffer = bytearray()
        self._folder = tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True)
        self._channel, theirs = socket.socketpair()
        memory = str(limits.memory) if limits.enforced else ""
        try:
            self._process = subprocess.Popen(
                # -P: a file torch.py that student code leaves in its folder is not imported.
                [sys.executable, "-P", "-m", "course.grading.worker", str(theirs.fileno()), memory],
                cwd=self._folder.name,
                env=_environment(Path(self._folder.name)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            self._channel.close()
            self._folder.cleanup()
            raise CannotStart(f"a process for student code cannot be started: {error.strerror}") from None
        finally:
            theirs.close()
        self._channel.setblocking(False)
        os.set_blocking(self._process.stdout.fileno(), False)

    def execute(self, cell: RunCell, seconds: float) -> tuple[str, int, list[str]]:
        """Run one cell. Returns (error or ``""``, its line or 0, which of ``cell.keep`` it defined)."""
        request = {"source": cell.source, "label": cell.label, "keep": cell.keep}
        try:
            reply = json.loads(self.exchange(frames.CELL, json.dumps(request).encode(), seconds, 2**16))
            error, line, kept = reply["error"], reply["line"], reply["kept"]
            if not (isinstance(error, str) and isinstance(line, int) and isinstance(kept, list)):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ChildLost("crashed", _NO_ANSWER) from None
        return error[:400], line if 0 < line < 10**6 else 0, [name for name in cell.keep if name in kept]

    def observe(self, question: Question, seconds: float) -> Observation:
        """Make the calls of one exercise and bring back what was seen."""
        try:
            answer = self.exchange(frames.OBSERVE, question.calls, seconds, question.largest_answer)
            return Observation.from_bytes(answer)
        except (ValueError, RecursionError, MemoryError):
            raise ChildLost("crashed", _NO_ANSWER) from None

    def exchange(self, kind: bytes, payload: bytes, seconds: float, largest: int) -> bytes:
        """Send a request and wait for its answer, throwing printed output away meanwhile.

        Raises:
            ChildLost: no answer in time, the child died, or what came breaks the protocol.
            Stopped: see `Limits`.
        """
        self._number += 1
        outgoing = memoryview(frames.pack(kind, self._number, payload))
        deadline = time.monotonic() + seconds
        received = 0
        output = self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
            selector.register(output, selectors.EVENT_READ)
            while True:
                answer = self._answer(kind, largest)
                if answer is not None:
                    self._drain_output()
                    return answer
                if self.limits.stop.is_set():
                    raise Stopped
                if time.monotonic() >= deadline:
                    raise ChildLost("timeout", f"did not come to an end within {seconds:.3g} seconds")
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
                        if received > 2 * largest + 2**20:
                            raise ChildLost("limit", "wrote into the grader's channel, and without end")

    def _answer(self, kind: bytes, largest: int) -> bytes | None:
        try:
            while (message := frames.unpack_first(self._buffer, largest)) is not None:
                if message[:2] == (kind, self._number):
                    return message[2]
        except frames.TooLarge as problem:
            raise ChildLost("limit", str(problem)) from None
        except frames.BadFrame:
            raise ChildLost("crashed", _NO_ANSWER) from None
        return None

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
                data = os.read(self._process.stdout.fileno(), 2**16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.printed += len(data)
            self.last_words = (self.last_words + data)[-4000:]
        return True

    def _dead(self) -> ChildLost:
        self._drain_output()
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return ChildLost("crashed", "closed the grader's channel")
        if code == -signal.SIGKILL:
            return ChildLost("limit", "was killed by the system, as happens when memory runs out")
        if code < 0:
            return ChildLost("crashed", f"crashed Python ({_signal_name(-code)})")
        return ChildLost("crashed", f"ended the process it ran in (exit code {code})")

    def close(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # all gone already; macOS says the latter of zombies
            pass
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._channel.close()
        self._folder.cleanup()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _environment(folder: Path) -> dict[str, str]:
    """All that the child gets: nothing of the grader's own environment but where libraries are."""
    import course

    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(course.__file__).resolve().parent.parent),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "MPLCONFIGDIR": str(_font_cache(folder)),
        "MPLBACKEND": "agg",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "COURSE_BUDGET": "cpu",
        "COURSE_OFFLINE": "1",
    }
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
        if name in os.environ:
            environment[name] = os.environ[name]
    return environment


def _font_cache(folder: Path) -> Path:
    """A private copy of matplotlib's list of fonts: making it anew takes seconds in every child."""
    import matplotlib

    private = folder / "matplotlib"
    private.mkdir()
    for cache in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):
        shutil.copy(cache, private)
    return private

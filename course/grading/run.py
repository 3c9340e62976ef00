"""Drive the child process in which a student's code runs; whatever it does there, one exercise at a time is lost.

A child is started for each submission (see `course.grading.sandbox`). It is told to execute the cells and then to call what each exercise defined. If it hangs, dies or talks nonsense, it is killed with
all that it started, what it was busy with is left out, and a fresh child goes on with the rest.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from course.checks.calls import Observation
from course.grading.child import Child, ChildLost, Question, start_child
from course.grading.merge import Merged, RunCell
from course.grading.sandbox import CannotStart, Sandbox

LONGEST_OUTPUT = 2**20  # bytes that student code may print before it counts as a flood
MOST_STARTS = 25  # of a child for one submission

_OUT_OF_MEMORY = re.compile(r"MemoryError|can't allocate memory|not enough memory|Cannot allocate memory")


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


def run_submission(merged: Merged, questions: dict[str, Question], sandbox: Sandbox) -> Outcome:
    """Execute a student's cells and make every exercise's calls.

    Args:
        questions: for each exercise of the homework, in order.

    Raises:
        CannotStart: no child could be started.
        Stopped: see `Limits`.
    """
    return _Run(merged, questions, sandbox).run()


class _Run:
    """The state of one submission between one child and the next."""

    def __init__(self, merged: Merged, questions: dict[str, Question], sandbox: Sandbox):
        self.cells = merged.cells
        self.place = {cell.exercise: i for i, cell in enumerate(merged.cells) if cell.exercise}
        self.questions = questions
        self.waiting = [name for name in questions if name in self.place]
        self.sandbox = sandbox
        self.limits = sandbox.limits
        self.seconds_left = self.limits.whole_submission
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
        with start_child(self.sandbox) as child:
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
        seconds = self.limits.whole_submission
        return Lost("timeout", f"It was not run, because the {seconds:g} seconds for the whole notebook were used up.")

    def _execute_cells(self, child: Child) -> None:
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

    def _make_calls(self, child: Child) -> None:
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

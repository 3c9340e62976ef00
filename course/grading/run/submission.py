"""Drive the child process in which a student's code runs; whatever it does there, one exercise at a time is lost.

A child is started for each submission (see `course.grading.sandbox`). It is told to execute the cells and then to call
what each exercise defined. If it hangs, dies or talks nonsense, it is killed with all that it started, what it was busy
with is left out, and a fresh child goes on with the rest.
"""

import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from course.checks import guards
from course.checks.calls import FORBIDDEN, SEAL, Observation
from course.grading import known_safe
from course.grading.read.merge import Merged, RunCell
from course.grading.read.python_source import defined_names
from course.grading.run import frames
from course.grading.run.child import SECONDS_TO_START, Child, ChildLost, Question, start_child
from course.grading.run.oracle import Session
from course.grading.sandbox import CannotStart, Sandbox, ServerLost
from course.grading.statuses import Status

LONGEST_OUTPUT = 2**20  # bytes that student code may print before it counts as a flood
MOST_STARTS = 25  # of a child for one submission
MOST_SERVERS_LOST = 3  # fork servers that something outside ended under it

_OUT_OF_MEMORY = re.compile(r"MemoryError|can't allocate memory|not enough memory|Cannot allocate memory")


@dataclass(frozen=True)
class Lost:
    """Why an exercise has no observation: the status for the row, if it is one for that, and a sentence for the student."""

    status: Status | None
    sentence: str


@dataclass
class RunResult:
    """What running one submission gave: an observation or a loss for each exercise, and what else was noticed."""

    exercises: dict[str, Observation | Lost] = field(default_factory=dict)
    statuses: set[Status] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)
    seconds_left: float = 0.0
    left_out: set[int] = field(default_factory=set)  # cells that hung or crashed when they were executed


Quote = Callable[[str, RunCell], str]


def run_submission(
    merged: Merged, questions: dict[str, Question], sandbox: Sandbox, quote: Quote | None = None
) -> RunResult:
    """Execute a student's cells and make every exercise's calls.

    Args:
        questions: for each exercise of the homework, in order.
        quote: how the error of a cell is told; None makes it safe for a page. Notes of observations are as they came; see `judge_exercise`.

    Raises:
        CannotStart: no child could be started.
        Stopped: see `Limits`.
    """
    return _Run(merged.cells, questions, sandbox, sandbox.limits.whole_submission, quote).run()


def run_with_stand_ins(
    merged: Merged,
    questions: dict[str, Question],
    replaced: dict[str, tuple[str, ...]],
    first: RunResult,
    session: Session,
    sandbox: Sandbox,
) -> dict[str, Observation | Lost]:
    """Run a submission again with the course's own answers in place of the student's, for what builds on them.

    Args:
        questions: of the exercises that are asked again.
        replaced: by exercise, the names that a stand-in takes.
        first: how the submission went by itself; its `seconds_left` is brought up to date.
        session: who answers for the replaced names, and for no others.

    Raises:
        Stopped: see `Limits`.
    """
    run = _Run(_with_stand_ins(merged.cells, questions, replaced, first), questions, sandbox, first.seconds_left)
    run.answer_asked = session.answer
    try:
        again = run.run()
    except CannotStart:
        return {}
    first.seconds_left = again.seconds_left
    return again.exercises


def _with_stand_ins(
    cells: list[RunCell], again: Collection[str], replaced: dict[str, tuple[str, ...]], first: RunResult
) -> list[RunCell]:
    """The student's cells, each stand-in behind the cell whose names it takes, and behind what takes them back."""
    targets = {target for names in replaced.values() for target in names}
    run = [_stand_in(sorted(targets))]  # for the exercises whose cell is missing
    for i, cell in enumerate(cells):
        if i not in first.left_out or cell.exercise in again:
            run.append(cell)
        elif cell.exercise not in replaced:
            run.append(_left_out(cell))
        taken_back = targets & defined_names(cell.source)
        if taken_back and cell.exercise not in again:
            run.append(_stand_in(sorted(taken_back)))
    return run


def _stand_in(targets: list[str]) -> RunCell:
    """A cell that puts what asks the course's own answers under the names `targets`."""
    lines = [f"{target} = _stand_in({target!r})\n" for target in targets]
    source = "".join(["from course.grading.run.stand_in import stand_in as _stand_in\n", *lines])
    return RunCell(f"the course's own {', '.join(targets)}", source)


class _Run:
    """The state of one submission between one child and the next."""

    def __init__(
        self,
        cells: list[RunCell],
        questions: dict[str, Question],
        sandbox: Sandbox,
        seconds: float,
        quote: Quote | None = None,
    ):
        self.cells = cells
        self.place = {cell.exercise: i for i, cell in enumerate(cells) if cell.exercise}
        self.questions = questions
        self.forbidden = sorted({name for question in questions.values() for name in question.forbidden})
        self.waiting = [name for name in questions if name in self.place]
        self.sandbox = sandbox
        self.limits = sandbox.limits
        self.seconds_left = seconds
        self.quote = quote or self._known_safe
        self.answer_asked: Callable[[bytes, float], bytes] | None = None
        self.left_out: dict[int, Lost] = {}  # cells that may not be executed again
        self.stopped_at: dict[int, str] = {}  # cells that raised, and what to say of it
        self.undefined: set[str] = set()  # exercises whose cell raised before it defined anything
        self.printed = 0
        self.outcome = RunResult()

    def run(self) -> RunResult:
        servers_lost = 0
        for start in range(MOST_STARTS):
            if not self.waiting or self.seconds_left <= 0:
                break
            try:
                self._go_on_in_a_fresh_child()
            except ServerLost:  # nothing that ran is to blame
                servers_lost += 1
                if servers_lost == MOST_SERVERS_LOST:
                    raise
            except CannotStart:
                if start == 0:
                    raise
                break  # what the first child left behind may be the cause; what is known already stays
        for name in self.waiting:
            self._lose(name, self._never_reached())
        if self.printed > LONGEST_OUTPUT:
            self.outcome.statuses.add(Status.LIMIT)
            self.outcome.messages.append(
                f"The code went over the limit on output: {_about(self.printed / 2**20)} MB printed, "
                f"{LONGEST_OUTPUT // 2**20} MB is sensible; the rest was thrown away."
            )
        self.outcome.seconds_left = self.seconds_left
        return self.outcome

    def _go_on_in_a_fresh_child(self) -> None:
        with start_child(self.sandbox) as child:
            child.answer_asked = self.answer_asked
            try:
                # Once before any cell runs, so that all of them meet the guards.
                self._set_guards(child)
                self._execute_cells(child)
                self._make_calls(child)
            except _StartAgain:
                pass
            finally:
                self.printed = max(self.printed, child.printed)

    def _never_reached(self) -> Lost:
        if self.seconds_left > 0:
            return Lost(Status.CRASHED, "It was not run, because the code before it crashed too often.")
        seconds = self.limits.whole_submission
        return Lost(
            Status.TIMEOUT, f"It was not run, because the {seconds:g} seconds for the whole notebook were used up."
        )

    def _execute_cells(self, child: Child) -> None:
        for i, cell in enumerate(self.cells):
            try:
                with self._timed() as seconds:
                    if i in self.left_out:
                        child.execute(_left_out(cell), seconds)
                        continue
                    self._tell_rule(child, cell.exercise, seconds)
                    error, line, kept = child.execute(cell, seconds)
            except ChildLost as why:
                self.left_out[i] = Lost(why.status, f"Your cell {why}.")
                self._note(self.left_out[i])
                self.outcome.left_out.add(i)
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
                self._lose(name, Lost(None, f"Your cell {self.stopped_at[i]}."))
            else:
                try:
                    with self._timed() as seconds:
                        seal = self._tell_rule(child, name, seconds)
                        seen = child.observe(self.questions[name], seconds)
                except ChildLost as why:
                    self.waiting.pop(0)
                    self.left_out[i] = Lost(why.status, f"Your code {why}.")
                    self._lose(name, self.left_out[i])
                    raise _StartAgain from None
                if self.forbidden and seen.notes.pop(SEAL, "") != seal:
                    seen.notes.setdefault(FORBIDDEN, known_safe.UNSEALED)
                self.outcome.exercises[name] = seen
                self._note_memory(seen)
                if i in self.stopped_at:  # a line below the function, say, that tries it out
                    sentence = f"{self.cells[i].label} {self.stopped_at[i]}; what it had defined by then was graded."
                    self.outcome.messages.append(_sentence(sentence))
            self.waiting.pop(0)

    def _set_guards(self, child: Child) -> None:
        try:
            if self.forbidden:
                child.exchange(frames.RULE, guards.rule("", self.forbidden), SECONDS_TO_START, 0)
        except ChildLost as why:
            raise CannotStart(f"the process for student code {why}") from None

    def _tell_rule(self, child: Child, exercise: str, seconds: float) -> str:
        """What runs from now on is for this exercise, or for none, and its forbidden names are refused.

        Returns what the child says at the end if its guards were still standing.
        """
        forbidden = self.questions[exercise].forbidden if exercise in self.questions else ()
        seal = secrets.token_hex(8)
        if self.forbidden:
            child.exchange(frames.RULE, guards.rule(exercise if forbidden else "", forbidden, seal), seconds, 0)
        return seal

    def _cell_raised(self, i: int, cell: RunCell, error: str, line: int, kept: list[str]) -> None:
        first_time = i not in self.stopped_at
        line = line if line <= min(len(cell.source.split("\n")), known_safe.MOST_LINES) else 0
        self.stopped_at[i] = f"stops{f' in line {line}' if line else ''} with {self.quote(error, cell)}"
        if _OUT_OF_MEMORY.search(error):
            self.outcome.statuses.add(Status.LIMIT)
        if cell.exercise and not kept:
            self.undefined.add(cell.exercise)
        elif not cell.exercise and first_time:
            self.outcome.messages.append(_sentence(f"{cell.label} {self.stopped_at[i]}."))

    def _known_safe(self, error: str, cell: RunCell) -> str:
        sources = tuple(cell.source for cell in self.cells)
        return known_safe.error(
            error, known_safe.Known(forbidden=tuple(self.forbidden), cell=cell.source, cells=sources)
        )

    def _lose(self, name: str, lost: Lost) -> None:
        self.outcome.exercises[name] = lost
        self._note(lost)

    def _note(self, lost: Lost) -> None:
        if lost.status:
            self.outcome.statuses.add(lost.status)

    def _note_memory(self, seen: Observation) -> None:
        for key, note in seen.notes.items():
            if key.endswith(".error") and _OUT_OF_MEMORY.search(note[:2000]):
                self.outcome.statuses.add(Status.LIMIT)
                line = note.partition(" (line ")
                allowed = f"it asked for more memory than the {self.limits.memory / 2**20:.0f} MB allowed"
                seen.notes[key] = f"MemoryError: {allowed}{line[1]}{line[2]}"

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


def _about(number: float) -> int:
    """Rounded down to 1, 10, 100, ...: more would tell what a student's code chose to print."""
    return 10 ** (len(str(int(number))) - 1)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _left_out(cell: RunCell) -> RunCell:
    """In place of a cell that was left out: who calls what it defined learns at once why that is not there."""
    source = "".join(
        f"def {name}(*arguments, **options):\n"
        f"    raise RuntimeError('{name} hung or crashed before and was left out')\n"
        for name in cell.keep
    )
    return RunCell(cell.label, source, cell.exercise, ())

"""What is known of each student, and writing it down so that a reader never sees half a file."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from course.grading.collect.handed_in import HandedIn
from course.grading.statuses import Outcome, in_order

if TYPE_CHECKING:  # it loads torch, for which a wrong date in the settings should not wait
    from course.grading.judge.exercise import ExerciseResult

LONGEST_MESSAGE = 2_000  # characters


@dataclass(frozen=True)
class Mark:
    """What a person gave for an exercise or a written question, in formgrader.

    Args:
        score: in place of the automatic points; None leaves those.
        extra: on top.
        stale: the student handed in again since.
    """

    score: float | None = None
    extra: float = 0.0
    stale: bool = False


@dataclass(frozen=True)
class StudentResult:
    """One row of the class.

    Args:
        student: the name as it is shown.
        page: the name of the files about this student, without ending.
        statuses: of `course.grading.statuses.Status`; kept in their order. Raises ValueError for what is none.
        exercises: in the order of the notebook; empty where nothing could be graded.
        messages: what was odd, one sentence each.
        handed_in: when, as far as that is known.
        penalty: share of the points that is taken off for coming late; `lateness` says why. See `Deadline.applied`.
        written: highest points of the questions that a person marks, by name.
        marks: what a person gave, by exercise or written question; the gradebook alone keeps these.
        remarks: what was odd and cost nothing, one sentence each: for the student's page alone.
        unanswered: why there is nothing to mark, by written question: an automatic 0, until a person gives a mark.
    """

    student: str
    page: str
    statuses: tuple[str, ...]
    exercises: "tuple[ExerciseResult, ...]" = ()
    messages: tuple[str, ...] = field(default=())
    handed_in: HandedIn | None = None
    penalty: float = 0.0
    lateness: str = ""
    written: dict[str, float] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    unanswered: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "statuses", in_order(self.statuses))

    @property
    def points(self) -> float:
        """Of the automatic exercises."""
        return self.points_with(False)

    def points_with(self, written: bool) -> float:
        """The points after the penalty, with or without those of the written questions."""
        counted = [name for name in self.columns if written or name not in self.written]
        return sum(self.columns[name] for name in counted) * (1 - self.penalty)

    @property
    def is_marked(self) -> bool:
        """No written question waits for a mark, and there are some."""
        return bool(self.written) and all(name in self.columns for name in self.written)

    @property
    def columns(self) -> dict[str, float]:
        """Points by exercise and by written question that is marked or has no answer, before the penalty."""
        earned = {exercise.name: exercise.points for exercise in self.exercises}
        earned |= {name: 0.0 for name in self.written if name in self.unanswered}
        for name, mark in self.marks.items():
            score = earned.get(name) if mark.score is None else mark.score
            if score is not None:  # extra credit for what has no points counts nothing, as in nbgrader
                earned[name] = score + mark.extra
        return earned

    @property
    def notes(self) -> tuple[str, ...]:
        """The messages, then what there is to say about coming late and about marks."""
        notes = [*self.messages, *([self.lateness] if self.lateness else [])]
        given = [f"{e.name} {number(self.columns[e.name])}" for e in self.exercises if e.name in self.marks]
        if given:
            notes.append(f"Points given by a person: {', '.join(given)}.")
        stale = sorted(name for name, mark in self.marks.items() if mark.stale and mark.score is not None)
        if stale:
            notes.append(f"Handed in again since a person marked {', '.join(stale)}: to be looked at once more.")
        return tuple(notes)

    @property
    def automatic(self) -> "StudentResult":
        """The row without the written questions."""
        marks = {name: mark for name, mark in self.marks.items() if name not in self.written}
        return replace(self, written={}, marks=marks)

    @property
    def status(self) -> str:
        return ",".join(self.statuses)

    @property
    def message(self) -> str:
        """Everything there is to say, in one line: oddities, then what is wrong, then what was not started."""
        from course.grading.judge.exercise import one_line

        parts = list(self.notes)
        parts += [f"{e.name}: {e.full_sentence}" for e in self.exercises if e.outcome in (Outcome.WRONG, Outcome.LOST)]
        untouched = [exercise.name for exercise in self.exercises if exercise.outcome == Outcome.NOT_STARTED]
        if untouched:
            parts.append(f"Not started: {', '.join(untouched)}.")
        parts += [f"{name}: {self.told_of(name)}" for name in self.written if self.told_of(name)]
        return one_line(" ".join(parts), LONGEST_MESSAGE)

    def told_of(self, question: str) -> str:
        """A sentence about a written question that has no answer and no mark; ``""`` for any other."""
        why = self.unanswered.get(question)
        is_marked = self.marks.get(question, Mark()).score is not None
        return f"{why}: an automatic 0, unless a person decides otherwise." if why and not is_marked else ""

    def to_json(self, kept: dict | None = None) -> bytes:
        """`kept` is stored beside the row, for a later run; see `course.grading.resume`."""
        row = asdict(replace(self, marks={}))
        row = row if kept is None else {**row, "kept": kept}
        return (json.dumps(row, indent=1, ensure_ascii=False, default=datetime.isoformat) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> "StudentResult":
        """Raises ValueError if `data` is not what `to_json` writes."""
        from course.grading.judge.exercise import ExerciseResult

        try:
            read = json.loads(data)
            read.pop("kept", None)
            exercises = tuple(ExerciseResult(**exercise) for exercise in read.pop("exercises"))
            statuses, messages = tuple(read.pop("statuses")), tuple(read.pop("messages"))
            remarks = tuple(read.pop("remarks", ()))
            handed_in = read.pop("handed_in", None)
            if handed_in is not None:
                for date in ("time", "file_date"):
                    handed_in[date] = datetime.fromisoformat(handed_in[date]) if handed_in.get(date) else None
                handed_in = HandedIn(**handed_in)
            told = {"statuses": statuses, "exercises": exercises, "messages": messages, "remarks": remarks}
            return cls(**read, **told, handed_in=handed_in)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the result of a student: {error}") from None


def page_names(students: Iterable[str]) -> dict[str, str]:
    """A file name for each student: the name itself where every file system takes it, else a safe one like it.

    No two are alike, even where capitals do not count.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for student in sorted(students):
        safe = re.sub(r"[^\w.@+=-]", "_", student).lstrip(".-")
        while len(safe.encode()) > 100:
            safe = safe[:-1]
        if safe != student or safe.casefold() in taken:
            safe = f"{safe or 'student'}-{hashlib.sha256(student.encode()).hexdigest()[:8]}"
        taken.add(safe.casefold())
        names[student] = safe
    return names


def is_begun(results: list[StudentResult]) -> bool:
    """A person has marked a written question of somebody."""
    return any(result.marks.get(name, Mark()).score is not None for result in results for name in result.written)


def number(points: float) -> str:
    """``4`` rather than ``4.0``; at most three decimals."""
    return f"{round(points, 3):.10g}"

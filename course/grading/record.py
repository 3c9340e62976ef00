"""What is known of each student, and writing it down so that a reader never sees half a file."""

import csv
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from course.grading.judge import ExerciseResult, one_line

STATUSES = ("graded", "late", "missing", "unreadable", "timeout", "crashed", "limit", "tampered")
LONGEST_MESSAGE = 2_000  # characters


@dataclass(frozen=True)
class StudentResult:
    """One row of the class.

    Args:
        student: the name as it is shown.
        page: the name of the files about this student, without ending.
        statuses: of `STATUSES`.
        exercises: in the order of the notebook; empty where nothing could be graded.
        messages: what was odd, one sentence each.
    """

    student: str
    page: str
    statuses: tuple[str, ...]
    exercises: tuple[ExerciseResult, ...] = ()
    messages: tuple[str, ...] = field(default=())

    @property
    def points(self) -> float:
        return sum(exercise.points for exercise in self.exercises)

    @property
    def status(self) -> str:
        return ",".join(status for status in STATUSES if status in self.statuses)

    @property
    def message(self) -> str:
        """Everything there is to say, in one line: oddities, then what is wrong, then what was not started."""
        parts = list(self.messages)
        parts += [f"{e.name}: {e.sentence}" for e in self.exercises if e.outcome in ("wrong", "lost")]
        untouched = [exercise.name for exercise in self.exercises if exercise.outcome == "not started"]
        if untouched:
            parts.append(f"Not started: {', '.join(untouched)}.")
        return one_line(" ".join(parts), LONGEST_MESSAGE)

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> "StudentResult":
        """Raises ValueError if `data` is not what `to_json` writes."""
        try:
            read = json.loads(data)
            exercises = tuple(ExerciseResult(**exercise) for exercise in read.pop("exercises"))
            statuses, messages = tuple(read.pop("statuses")), tuple(read.pop("messages"))
            return cls(**read, statuses=statuses, exercises=exercises, messages=messages)
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


def grades_csv(
    assignment: str, exercises: dict[str, float], written: Iterable[str], results: Iterable[StudentResult]
) -> bytes:
    """``grades.csv``: a row a student, a column an exercise.

    `max_points` counts the automatic exercises, as does `points`; the column of a written question stays empty until
    a person has marked it. Where nothing could be graded, points are 0 and the exercises' columns are empty.

    Args:
        exercises: highest points by exercise, in the order of the notebook.
        written: the names of the questions that a person marks.
    """
    written = list(written)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "assignment", "points", "max_points", "status", "message", *exercises, *written])
    for result in results:
        earned = {exercise.name: number(exercise.points) for exercise in result.exercises}
        writer.writerow(
            [
                _harmless(result.student),
                assignment,
                number(result.points),
                number(sum(exercises.values())),
                result.status,
                _harmless(result.message),
                *(earned.get(name, "") for name in exercises),
                *("" for _ in written),
            ]
        )
    return text.getvalue().encode()


def number(points: float) -> str:
    """``4`` rather than ``4.0``; at most three decimals."""
    return f"{round(points, 3):.10g}"


def write_atomically(path: Path, data: bytes) -> None:
    """Write so that `path` holds either what it held before or all of `data`."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _harmless(text: str) -> str:
    """A spreadsheet would run what begins with one of these signs as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text

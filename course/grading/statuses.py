"""What is said of a student's row as a whole, and of one exercise, each with the sentence that explains it."""

from collections.abc import Iterable
from enum import StrEnum


class _Explained(StrEnum):
    sentence: str

    def __new__(cls, name: str, sentence: str):
        made = str.__new__(cls, name)
        made._value_, made.sentence = name, sentence
        return made


class Status(_Explained):
    """Of a row of `grades.csv`, in the order in which it shows them. ``Status("no such status")`` raises ValueError."""

    GRADED = "graded", "The work was run and has its points."
    LATE = "late", "It was handed in after it was due."
    MISSING = "missing", "No notebook of this homework was handed in."
    UNREADABLE = "unreadable", "There is a file, but it is no notebook that can be read."
    AMBIGUOUS = "ambiguous", "Whose work it is, or which of two is meant, cannot be told; a person has to look."
    TIMEOUT = "timeout", "Some of the code did not come to an end in its time."
    CRASHED = (
        "crashed",
        "Some of the code ended the process that it ran in, or grading itself failed: the message says which.",
    )
    LIMIT = "limit", "Something went over a limit: of memory, output, files, or size."
    TAMPERED = (
        "tampered",
        "A cell of the course, or its grading data, was edited. It has no effect; there may be an innocent reason.",
    )


class Outcome(_Explained):
    """Of one exercise. The first three are the words of a check's verdict, too (`course.checks.compare`)."""

    RIGHT = "right", "Everything that was asked for is right."
    WRONG = "wrong", "Something is not right: the sentence beside it says what, and what was earned all the same."
    NOT_STARTED = "not started", "It still says that it is not written."
    LOST = "lost", "It could not be run: the code did not end in its time, crashed, or went over a limit."
    MISSING = "missing", "The notebook has no cell of this exercise."


def in_order(statuses: Iterable[str]) -> tuple[Status, ...]:
    """Each once, in the order in which a row shows them. Raises ValueError for what is none."""
    wanted = {Status(status) for status in statuses}
    return tuple(status for status in Status if status in wanted)

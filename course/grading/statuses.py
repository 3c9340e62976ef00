"""What `grades.csv` says of a student's row as a whole, each with the sentence that explains it."""

from collections.abc import Iterable
from enum import StrEnum


class Status(StrEnum):
    """In the order in which a row shows them. ``Status("no such status")`` raises ValueError."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> "Status":
        made = str.__new__(cls, name)
        made._value_, made.sentence = name, sentence
        return made

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


def in_order(statuses: Iterable[str]) -> tuple[Status, ...]:
    """Each once, in the order in which a row shows them. Raises ValueError for what is none."""
    wanted = {Status(status) for status in statuses}
    return tuple(status for status in Status if status in wanted)

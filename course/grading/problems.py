"""What can go wrong in grading: what stops the command, and what ends as a status on one student's row."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from course.grading.statuses import Status


class CannotGrade(Exception):
    """The command as a whole cannot run or go on; the text says why and what to do."""


class NothingToGrade(CannotGrade):
    """The class cannot be read."""


class BadConfiguration(CannotGrade):
    """The configuration cannot be used; the text names file, key and what fits."""


class BadRoster(CannotGrade):
    """The list of students cannot be read; the text says why and what fits."""


class BadGradebook(CannotGrade):
    """The gradebook cannot be used."""


class Unreadable(Exception):
    """A student's work cannot be read: `status` for the row and a sentence that says why.

    Raises:
        ValueError: there is no such status.
    """

    def __init__(self, sentence: str, status: str = Status.UNREADABLE):
        super().__init__(sentence)
        self.status = Status(status)


class Missing(Unreadable):
    """The student handed in no notebook of this homework; the text says what there is instead."""

    def __init__(self, sentence: str):
        super().__init__(sentence, Status.MISSING)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Around whatever writes into `out`: turns a full disk, say, into one sentence.

    Raises:
        CannotGrade: see there.
    """
    try:
        yield
    except OSError as error:
        raise CannotGrade(
            f"{error.filename or out} cannot be written ({error.strerror or error}); what was graded so far is kept, "
            "and the same command goes on from there."
        ) from None

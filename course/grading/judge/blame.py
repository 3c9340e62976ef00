"""Which mishaps in a student's cells cost something: those that an exercise which is not right builds on."""

from collections.abc import Iterable
from functools import cached_property

from course.grading.judge.exercise import ExerciseResult
from course.grading.read.depends import names_reached
from course.grading.read.merge import Merged
from course.grading.run.submission import Mishap
from course.grading.statuses import Outcome


class Blame:
    """Of one student.

    Args:
        results: as they stand in the end.
        merged: what was run.
    """

    def __init__(self, results: Iterable[ExerciseResult], merged: Merged):
        self._wrong = [result.name for result in results if result.outcome in (Outcome.WRONG, Outcome.LOST)]
        self._merged = merged

    def cost_something(self, mishap: Mishap) -> bool:
        """Whether it stands in the cell of an exercise that is not right, or would have given a name that one reads."""
        if mishap.exercise:
            return mishap.exercise in self._wrong
        return bool(self._wrong) and bool(mishap.names) and not mishap.names.isdisjoint(self._read)

    @cached_property
    def _read(self) -> set[str]:
        reached = names_reached(self._merged)
        return set().union(*(reached.get(name, ()) for name in self._wrong))

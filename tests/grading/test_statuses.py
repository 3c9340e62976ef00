"""Statuses and outcomes: what is none cannot be written down, and each is explained where people look."""

from pathlib import Path

import pytest

from course.grading.judge.exercise import ExerciseResult
from course.grading.problems import Unreadable
from course.grading.record.result import StudentResult
from course.grading.statuses import Outcome, Status, in_order

PAGE = Path(__file__).parents[2] / "docs" / "statuses.md"


def test_a_row_shows_each_once_and_in_order():
    row = StudentResult("ada", "ada", ("tampered", "graded", "late", "graded"))
    assert row.status == "graded,late,tampered" and row.statuses == (Status.GRADED, Status.LATE, Status.TAMPERED)
    assert in_order([]) == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda: StudentResult("ada", "ada", ("graded", "tamperd")),
        lambda: Unreadable("There is nothing.", "unredable"),
        lambda: in_order(["Graded"]),
        lambda: ExerciseResult("mix", 0, 2, "rihgt", "All right."),
    ],
)
def test_a_misspelt_one_does_not_vanish(make):
    with pytest.raises(ValueError, match="is not a valid (Status|Outcome)"):
        make()


def test_each_is_explained_in_the_docs():
    rows = [f"| `{word}` | {word.sentence} |" for word in (*Status, *Outcome)]
    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert table == rows, f"{PAGE.name} repeats course/grading/statuses.py: write there\n" + "\n".join(rows)

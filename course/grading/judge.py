"""From what was seen of an exercise to points and a sentence, here in the trusted process and nowhere else."""

import re
from dataclasses import dataclass, field
from typing import Any

from course.checks.calls import Observation
from course.checks.compare import NOT_STARTED, RIGHT, WRONG, Expected, judge
from course.grading.run import Lost

LOST, MISSING = "lost", "missing"
LONGEST_SENTENCE = 400  # characters

_EXERCISE = re.compile(r"hw\d+\.[A-Za-z]\w*")
# Every number is tried from its first digit only: from each of them, a text of a million digits would take hours.
_DECIMAL = re.compile(r"-?(?<!\d)\d++(?:\.\d*(?:[eE][+-]?\d+)?|[eE][+-]?\d+)")

# Whole numbers that hold the bits of one, and numbers spelled in letters: no shape or index looks like that.
_CODED = re.compile(r"\d{6,}+|[A-Za-z0-9+/=]{20,}+")


@dataclass(frozen=True)
class ExerciseResult:
    """One exercise of one student.

    Args:
        outcome: ``"right"``, ``"wrong"``, ``"not started"``, ``"lost"`` (it could not be run) or ``"missing"``.
        sentence: what to tell the student; holds no value of a hidden input.
        named: the sentence is that of a named mistake.
        earned: what the points of an answer that is not all right are for, or ``""``.
        picture: of public inputs, see `course.grading.pictures`.
    """

    name: str
    points: float
    max_points: float
    outcome: str
    sentence: str
    named: bool = False
    earned: str = ""
    picture: dict[str, Any] | None = field(default=None, compare=False)

    @property
    def told(self) -> str:
        """The sentence, after what was earned in spite of it."""
        if not self.earned:
            return self.sentence
        return f"{self.points:g} of {self.max_points:g} points: {self.earned}. {self.sentence}"


def judge_exercise(
    name: str, max_points: float, expected: Expected, seen: Observation | Lost | None, rule_broken: str | None = None
) -> ExerciseResult:
    """All points, those of the parts that are right (`course.checks.credit`), or none.

    Args:
        seen: None where the exercise's cell is missing.
        rule_broken: the sentence about a forbidden name in the student's source.

    Whatever `seen` holds, it is data from student code: nothing in it makes this raise.
    """
    if seen is None:
        return ExerciseResult(name, 0.0, max_points, MISSING, "The cell of this exercise is missing.")
    if isinstance(seen, Lost):
        return ExerciseResult(name, 0.0, max_points, LOST, one_line(seen.sentence))
    try:
        verdict = judge(expected, _without_values(seen), rule_broken)
    except Exception as error:  # tensors of a kind that cannot be compared
        sentence = f"Your result could not be compared with the right one ({type(error).__name__})."
        return ExerciseResult(name, 0.0, max_points, WRONG, sentence)
    # `detail` and `picture` stay behind: they show values of hidden inputs.
    return ExerciseResult(
        name,
        verdict.points(max_points),
        max_points,
        verdict.status,
        one_line(verdict.sentence),
        verdict.named,
        verdict.earned,
    )


def one_line(text: str, longest: int = LONGEST_SENTENCE) -> str:
    """Text for a cell of a table: one line, printable, valid UTF-8, not too long."""
    text = text[: 20 * longest]
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    text = "".join(letter if letter.isprintable() else "�" for letter in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _unless_a_word(found: re.Match) -> str:
    return found[0] if found[0].isalpha() else "…"


def _without_values(seen: Observation) -> Observation:
    """An error message may quote the hidden input it stumbled over, or be made to: its numbers are taken out."""
    notes = {}
    for key, note in seen.notes.items():
        if _EXERCISE.fullmatch(note):  # the name of an exercise that is not written
            notes[key] = note
            continue
        notes[key] = _CODED.sub(_unless_a_word, _DECIMAL.sub("…", note))
    return Observation(seen.tensors, notes)


__all__ = ["LOST", "MISSING", "NOT_STARTED", "RIGHT", "WRONG", "ExerciseResult", "judge_exercise", "one_line"]

"""From what was seen of an exercise to points and a sentence, here in the trusted process and nowhere else."""

import re
from dataclasses import dataclass

from course.checks.calls import Observation
from course.checks.compare import NOT_STARTED, RIGHT, WRONG, Expected, judge
from course.grading.run import Lost

LOST, MISSING = "lost", "missing"
LONGEST_SENTENCE = 400  # characters

_EXERCISE = re.compile(r"hw\d+\.[A-Za-z]\w*")
_DECIMAL = re.compile(r"-?\d+\.\d*(?:[eE][+-]?\d+)?|-?\d+[eE][+-]?\d+")


@dataclass(frozen=True)
class ExerciseResult:
    """One exercise of one student.

    Args:
        outcome: ``"right"``, ``"wrong"``, ``"not started"``, ``"lost"`` (it could not be run) or ``"missing"``.
        sentence: what to tell the student; holds no value of a hidden input.
        named: the sentence is that of a named mistake.
    """

    name: str
    points: float
    max_points: float
    outcome: str
    sentence: str
    named: bool = False


def judge_exercise(
    name: str, max_points: float, expected: Expected, seen: Observation | Lost | None, rule_broken: str | None = None
) -> ExerciseResult:
    """Points are all or nothing. `seen` is None where the exercise's cell is missing.

    `rule_broken` is the sentence about a forbidden name in the student's code: then no answer is right.

    Whatever `seen` holds, it is data from student code: nothing in it makes this raise.
    """
    if seen is None:
        return ExerciseResult(name, 0.0, max_points, MISSING, "The cell of this exercise is missing.")
    if isinstance(seen, Lost):
        return ExerciseResult(name, 0.0, max_points, LOST, one_line(seen.sentence))
    try:
        verdict = judge(expected, _without_values(seen))
    except Exception as error:  # tensors of a kind that cannot be compared
        sentence = f"Your result could not be compared with the right one ({type(error).__name__})."
        return ExerciseResult(name, 0.0, max_points, WRONG, sentence)
    if rule_broken and verdict.status == RIGHT:
        return ExerciseResult(name, 0.0, max_points, WRONG, one_line(rule_broken))
    points = max_points if verdict.status == RIGHT else 0.0
    # `detail` and `picture` stay behind: they show values of hidden inputs.
    return ExerciseResult(name, points, max_points, verdict.status, one_line(verdict.sentence), verdict.named)


def one_line(text: str, longest: int = LONGEST_SENTENCE) -> str:
    """Text for a cell of a table: one line, printable, valid UTF-8, not too long."""
    text = text[: 20 * longest]
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    text = "".join(letter if letter.isprintable() else "�" for letter in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _without_values(seen: Observation) -> Observation:
    """An error message may quote the hidden input it stumbled over: its decimal numbers are taken out."""
    notes = {}
    for key, note in seen.notes.items():
        if _EXERCISE.fullmatch(note):  # the name of an exercise that is not written
            notes[key] = note
            continue
        message, line, place = note.partition(" (line ")
        notes[key] = _DECIMAL.sub("…", message) + line + place
    return Observation(seen.tensors, notes)


__all__ = ["LOST", "MISSING", "NOT_STARTED", "RIGHT", "WRONG", "ExerciseResult", "judge_exercise", "one_line"]

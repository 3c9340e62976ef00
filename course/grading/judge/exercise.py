"""From what was seen of an exercise to points and a sentence, here in the trusted process and nowhere else."""

from dataclasses import dataclass, field
from typing import Any

from course.checks.calls import Observation
from course.checks.compare import Expected, judge, taken_apart
from course.grading.known_safe import Known, known_of, observation
from course.grading.run.submission import Lost
from course.grading.statuses import Outcome

LONGEST_SENTENCE = 400  # characters


@dataclass(frozen=True)
class ExerciseResult:
    """One exercise of one student.

    Args:
        outcome: given as a string, it becomes an `Outcome`; what is none raises ValueError.
        sentence: what to tell the student; holds no value of a hidden input.
        named: the sentence is that of a named mistake.
        earned: what the points of an answer that is not all right are for, or ``""``.
        picture: of public inputs, see `course.grading.judge.pictures`.
    """

    name: str
    points: float
    max_points: float
    outcome: Outcome
    sentence: str
    named: bool = False
    earned: str = ""
    picture: dict[str, Any] | None = field(default=None, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "outcome", Outcome(self.outcome))

    @property
    def full_sentence(self) -> str:
        """The sentence, after what was earned in spite of it."""
        if not self.earned:
            return self.sentence
        return f"{self.points:g} of {self.max_points:g} points: {self.earned}. {self.sentence}"


def judge_exercise(
    name: str,
    max_points: float,
    expected: Expected,
    seen: Observation | Lost | None,
    rule_broken: str | None = None,
    known: Known | None = None,
) -> ExerciseResult:
    """All points, those of the parts that are right (`course.checks.credit`), or none.

    Args:
        seen: None where the exercise's cell is missing.
        rule_broken: the sentence about a forbidden name in the student's source.
        known: what a sentence may be made of; None makes do with what the right answer tells.

    Whatever `seen` holds, it is data from student code: nothing in it makes this raise.
    """
    if seen is None:
        return ExerciseResult(name, 0.0, max_points, Outcome.MISSING, "The cell of this exercise is missing.")
    if isinstance(seen, Lost):
        return ExerciseResult(name, 0.0, max_points, Outcome.LOST, one_line(seen.sentence))
    try:
        seen = taken_apart(expected, seen)  # before what is too much is thrown together under one name
        known = known or known_of(expected, exercises=[f"hw{number}.{name}" for number in range(100)])
        verdict = judge(expected, observation(seen, known), rule_broken, [asked.sizes for asked in known.calls])
    except Exception as error:  # tensors of a kind that cannot be compared
        sentence = f"Your result could not be compared with the right one ({type(error).__name__})."
        return ExerciseResult(name, 0.0, max_points, Outcome.WRONG, sentence)
    # `detail` and `picture` stay behind: they show values of hidden inputs.
    return ExerciseResult(
        name,
        verdict.points(max_points),
        max_points,
        Outcome(verdict.status),
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

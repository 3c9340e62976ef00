"""A homework made ready for grading: what is asked of student code, with hidden inputs, and what is right."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from course.checks import Exercise, expected_for
from course.checks.calls import calls_from_bytes, calls_to_bytes
from course.checks.compare import Expected
from course.checks.exercise import one_thread
from course.grading.judge.pictures import PublicChecks
from course.grading.known_safe import Known, known_of
from course.grading.problems import CannotGrade
from course.grading.read.cells import cells_from_notebook
from course.grading.read.merge import Template
from course.grading.run.child import Question
from course.grading.run.oracle import Oracle
from course.steps import Step, silent


@dataclass(frozen=True)
class Exam:
    """A homework made ready for one class: what is asked, with the hidden inputs of one seed, and what is right.

    Lives in the grader's own process only; of all this, a child sees the `Question` of an exercise.

    `reference` is the Python of the right answers, setup included; `described` the text of exercises.py;
    `public` the check data that students have.
    """

    topic: str
    template: Template
    points: dict[str, float]
    rules: dict[str, tuple[str, ...]]
    targets: dict[str, tuple[str, ...]]
    questions: dict[str, Question]
    expected: dict[str, Expected]
    reference: str
    described: str
    public: PublicChecks

    @cached_property
    def known(self) -> dict[str, Known]:
        """By exercise, what a sentence about it may be made of."""
        ids = [f"{self.topic.partition('_')[0]}.{name}" for name in self.questions]
        return {
            name: known_of(self.expected[name], calls_from_bytes(question.calls), ids, question.forbidden)
            for name, question in self.questions.items()
        }

    @cached_property
    def oracle(self) -> Oracle:
        """The right answers, to be asked in a process of their own."""
        return Oracle(self.reference)


def prepare_exam(root: Path, folder: Path, seed: int, step: Step = silent) -> Exam:
    """Load a homework and run the right answers on the hidden inputs of `seed`; the named mistakes once one is made.

    Args:
        root: the repository.
        folder: ``root/solutions/hwN_topic``.
        step: told how far it is.

    Raises:
        CannotGrade: its source does not fit its exercises.
    """
    step(f"reading {folder.name}")
    from course.authoring.cells import ASSIGNMENT, built_cells
    from course.authoring.source import AuthoringError, read_source, require_homework
    from course.checks import load_homework

    try:
        homework = load_homework(folder)
        source = read_source(folder / f"{folder.name}.py", root)
        require_homework(source, homework)
        cells = cells_from_notebook({"cells": built_cells(source, ASSIGNMENT, homework)})
    except (AuthoringError, FileNotFoundError, ValueError) as error:
        raise CannotGrade(str(error)) from None
    # In the order of the notebook, which is the order of the columns.
    order = [cell.name for cell in source.cells if cell.role == "exercise"]
    exercises: list[Exercise] = [homework.exercises[name] for name in order]
    with one_thread():
        expected = {}
        for number, exercise in enumerate(exercises, start=1):
            step("right answers on hidden inputs, by exercise", number, len(exercises))
            expected[exercise.name] = expected_for(exercise, seed)
    targets = {exercise.name: exercise.targets for exercise in exercises}
    return Exam(
        topic=homework.topic,
        template=Template.from_cells(cells, targets),
        points={exercise.name: exercise.points for exercise in exercises},
        rules={exercise.name: exercise.forbidden for exercise in exercises},
        targets=targets,
        questions={
            e.name: question_for(calls_to_bytes(expected[e.name].made), expected[e.name], e.forbidden)
            for e in exercises
        },
        expected=expected,
        reference="\n\n".join(cell.text for cell in source.cells if cell.role in ("setup", "exercise")),
        described=(folder / "exercises.py").read_text(encoding="utf-8"),
        public=PublicChecks(root / "assignments" / homework.topic),
    )


def question_for(calls: bytes, expected: Expected, forbidden: tuple[str, ...]) -> Question:
    """The calls with a bound on the answer: generous, since an answer of the wrong shape deserves its sentence."""
    right = sum(tensor.nbytes for tensor in expected.answer.tensors.values())
    return Question(calls, 2**20 + 16 * right + len(calls), forbidden)  # the inputs come back, too

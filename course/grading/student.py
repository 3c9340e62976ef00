"""One student, in three steps: read what was handed in, run and judge it, and put the row together.

Whatever a student hands in, none of the three raises. Only the middle one runs student code; it needs no file and
its arguments and result can be pickled, so that it may be done on another machine.
"""

import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field

from course.grading.collect.choose import choose
from course.grading.collect.handed_in import HandedIn
from course.grading.collect.whose import Found
from course.grading.exam import Exam
from course.grading.judge.blame import Blame
from course.grading.judge.exercise import ExerciseResult, judge_exercise, one_line
from course.grading.judge.pictures import with_pictures
from course.grading.judge.second_chance import with_second_chances
from course.grading.judge.unnamed import unnamed
from course.grading.known_safe import Known
from course.grading.limits import Limits
from course.grading.problems import Unreadable
from course.grading.read.merge import Merged, merge
from course.grading.read.rules import rule_broken
from course.grading.record.result import StudentResult
from course.grading.run.child import Stopped
from course.grading.run.submission import run_submission, without_what_hung
from course.grading.sandbox import CannotStart, Sandbox
from course.grading.statuses import Status, in_order

MOST_MESSAGES = 50  # of one student; each cell that they added may give one


@dataclass(frozen=True)
class ToRun:
    """What was read of one student and is to be run.

    Args:
        student, page: as in `StudentResult`.
        merged: what is executed, and what is shown on the student's page.
        messages: what was odd about finding the notebook.
        broken: by exercise, the sentence about a forbidden name in its cell.
        asked: the exercises whose answers are asked for, in the order of the notebook.
        handed_in: when, as far as that is known.
    """

    student: str
    page: str
    merged: Merged
    messages: tuple[str, ...]
    broken: dict[str, str]
    asked: tuple[str, ...]
    handed_in: HandedIn = HandedIn()


@dataclass(frozen=True)
class Judged:
    """What running a submission gave: the exercises that were asked for, and what was odd on the way.

    `fault` says why nothing could be graded, where that is no fault of the student. `remarks` are what was odd and cost
    nothing: they stand on the student's page and not in the row. `did` is what `course.grading.judge.unnamed` keeps.
    """

    exercises: tuple[ExerciseResult, ...] = ()
    statuses: tuple[Status, ...] = ()
    messages: tuple[str, ...] = ()
    fault: str = ""
    remarks: tuple[str, ...] = ()
    did: dict[str, str] = field(default_factory=dict)


def read_student(found: Found, page: str, exam: Exam) -> StudentResult | ToRun:
    """What is to be run for one student, or the finished row where there is nothing that could be."""
    try:
        submission = choose(found, exam.topic, exam.template)
        merged = merge(exam.template, submission.cells, submission.modules)
        broken = rule_broken(merged, exam.rules)
    except Unreadable as problem:
        return StudentResult(found.student, page, (problem.status,), messages=(one_line(str(problem)),))
    except Exception as error:
        return not_graded(found.student, page, our_fault(error))
    asked, messages = tuple(exam.questions), tuple(submission.messages)
    return ToRun(found.student, page, merged, messages, broken, asked, submission.handed_in)


def run_and_judge(work: ToRun, exam: Exam, sandbox: Sandbox) -> Judged:
    """Run what one student wrote and compare it with what is right, for the exercises in ``work.asked``.

    Raises:
        Stopped: see `Limits`.
    """
    try:
        outcome = run_submission(work.merged, {name: exam.questions[name] for name in work.asked}, sandbox)
        known = known_of_student(work.merged, exam, sandbox.limits)
        exercises = tuple(
            judge_exercise(
                name,
                exam.points[name],
                exam.expected[name],
                outcome.exercises.get(name),
                work.broken.get(name),
                known[name],
            )
            for name in work.asked
        )
        exercises = with_second_chances(exercises, work.merged, work.broken, outcome, exam, sandbox, known)
        did = unnamed(exercises, {**outcome.exercises, **outcome.alone}, exam.expected, work.broken)
        ran = without_what_hung(work.merged, outcome)
        exercises = with_pictures(exercises, outcome.exercises, ran, exam.public, sandbox)
        blame = Blame(exercises, work.merged)
        costly = [mishap for mishap in outcome.mishaps if blame.cost_something(mishap)]
        outcome.statuses.update(mishap.status for mishap in costly if mishap.status)
        messages = tuple(map(one_line, (*outcome.messages, *(mishap.sentence for mishap in costly))))
        remarks = tuple(one_line(mishap.sentence) for mishap in outcome.mishaps if mishap not in costly)
        return Judged(exercises, in_order(outcome.statuses), messages, remarks=remarks, did=did)
    except Stopped:
        raise
    except CannotStart as problem:
        return Judged(fault=one_line(str(problem)))
    except Exception as error:
        our_fault(error)  # what it says may be of the student's making
        return Judged(fault=f"the grader failed with {type(error).__name__}")


def known_of_student(merged: Merged, exam: Exam, limits: Limits) -> dict[str, Known]:
    """By exercise, what a sentence for this student may be made of."""
    sources = [cell.source for cell in merged.cells]
    own = {name: cells[-1].source for name, cells in merged.by_exercise.items()}
    files = [(module.file, module.source) for module in merged.modules]
    return {name: known.about(own.get(name, ""), sources, limits.memory, files) for name, known in exam.known.items()}


def put_together(work: ToRun, judged: Judged) -> StudentResult:
    """The student's row, from what was read and what was judged."""
    if judged.fault:
        return not_graded(work.student, work.page, judged.fault)
    statuses = {Status.GRADED, *judged.statuses, *([Status.TAMPERED] if work.merged.tampered else [])}
    messages = [*work.messages, *work.merged.messages, *judged.messages]
    return StudentResult(
        work.student,
        work.page,
        tuple(statuses),
        judged.exercises,
        _bounded(messages),
        work.handed_in,
        remarks=_bounded(judged.remarks),
        unanswered=work.merged.unanswered,
    )


def _bounded(messages: Iterable[str]) -> tuple[str, ...]:
    made = list(dict.fromkeys(one_line(message) for message in messages))
    if len(made) > MOST_MESSAGES:
        made[MOST_MESSAGES:] = [f"{len(made) - MOST_MESSAGES} further messages are left out."]
    return tuple(made)


def not_graded(student: str, page: str, fault: str) -> StudentResult:
    """A row for what this program or this machine could not do."""
    message = one_line(f"Not graded, through no fault of the student: {fault}")
    return StudentResult(student, page, (Status.CRASHED,), messages=(message,))


def our_fault(error: Exception) -> str:
    """A fault of this program, in words; the class goes on, and whoever mends it finds the place on stderr."""
    traceback.print_exception(error)
    return one_line(f"the grader failed with {type(error).__name__}: {error}")

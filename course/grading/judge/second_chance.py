"""One early error costs its own points only: what builds on it is run again with the course's own answer in its place.

Only what went wrong is run again, and only if it uses the name of an earlier exercise that went wrong too; a
submission without such a pair costs nothing more. The course's answer stays outside the process of the student's code
(`course.grading.run.stand_in`). Only what comes earlier in the notebook is replaced: a later exercise may well do an
earlier one.
"""

from collections import defaultdict

from course.grading.exam import Exam
from course.grading.judge.exercise import ExerciseResult, judge_exercise
from course.grading.known_safe import Known
from course.grading.read.depends import names_reached
from course.grading.read.merge import Merged
from course.grading.run.oracle import NoOracle
from course.grading.run.submission import Lost, RunResult, run_with_stand_ins
from course.grading.sandbox import Sandbox
from course.grading.statuses import Outcome


def with_second_chances(
    results: tuple[ExerciseResult, ...],
    merged: Merged,
    broken: dict[str, str],
    outcome: RunResult,
    exam: Exam,
    sandbox: Sandbox,
    known: dict[str, Known],
) -> tuple[ExerciseResult, ...]:
    """The verdicts, better where an exercise is right once earlier ones are.

    Args:
        results: of the first run, in the order of the notebook.
        merged, broken: see `course.grading.student.ToRun`.
        known: by exercise, see `judge_exercise`.
        outcome: of the first run; receives a message for each exercise that is right now.

    Raises:
        Stopped: see `Limits`.
    """
    better = {result.name: result for result in results}
    # Endless loops may have used all seconds up; without any, they would cost what builds on them too.
    outcome.seconds_left = max(outcome.seconds_left, sandbox.limits.timeout)
    for replaced, again in _groups(results, merged, broken, outcome, exam).items():
        used = {name: exam.targets[name] for name in replaced}
        questions = {name: exam.questions[name] for name in again}
        try:
            with exam.oracle.session(target for targets in used.values() for target in targets) as session:
                seen = run_with_stand_ins(merged, questions, used, outcome, session, sandbox)
        except NoOracle as problem:
            outcome.messages.append(f"Nothing was run again in place of earlier mistakes: {problem}.")
            break
        outcome.alone.update(seen)
        for name, reached in again.items():
            first, now = better[name], seen.get(name)
            second = judge_exercise(name, exam.points[name], exam.expected[name], now, broken.get(name), known[name])
            if second.outcome == Outcome.RIGHT:
                own = " and ".join(f"`{t}`" for targets in used.values() for t in targets if t in reached)
                note = f"Graded with the course's own {own} in place of yours."
                outcome.messages.append(f"{name}: {note}")
                better[name] = ExerciseResult(name, second.points, second.max_points, Outcome.RIGHT, note)
            elif (second.points, second.named) > (first.points, first.named):
                better[name] = second
    return tuple(better.values())


def _groups(
    results: tuple[ExerciseResult, ...], merged: Merged, broken: dict[str, str], outcome: RunResult, exam: Exam
) -> dict[tuple[str, ...], dict[str, set[str]]]:
    """By the earlier exercises to replace, the exercises to run again, each with the names that its code reaches."""
    groups: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(dict)
    wrong: list[str] = []
    reached: dict[str, set[str]] | None = None
    for result in results:
        if result.outcome == Outcome.RIGHT:
            continue
        if wrong and _may_be_right(result, broken, outcome):
            reached = names_reached(merged) if reached is None else reached
            names = reached.get(result.name, set())
            replaced = tuple(earlier for earlier in wrong if names & set(exam.targets[earlier]))
            if replaced:
                groups[replaced][result.name] = names
        wrong.append(result.name)
    return groups


def _may_be_right(result: ExerciseResult, broken: dict[str, str], outcome: RunResult) -> bool:
    """Not where the cell is missing or untouched, or uses what its exercise forbids."""
    seen = outcome.exercises.get(result.name)
    if result.outcome == Outcome.MISSING or result.name in broken or seen is None:
        return False
    if isinstance(seen, Lost) or result.outcome != Outcome.NOT_STARTED:
        return True
    unwritten = [note.rpartition(".")[2] for key, note in seen.notes.items() if key.endswith(".unwritten")]
    return result.name not in unwritten

"""``course grade``: a class of submissions to grades, a gradebook and pages."""

import os
import secrets
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from course.checks import Exercise, expected_for
from course.checks.calls import calls_to_bytes
from course.checks.compare import Expected
from course.grading import report
from course.grading.cells import Unreadable, cells_from_notebook
from course.grading.child import Question, Stopped, start_child
from course.grading.collect import Found, Missing, NothingToGrade, choose, collect
from course.grading.gradebook import BadGradebook, write_gradebook
from course.grading.judge import judge_exercise, one_line
from course.grading.limits import Limits
from course.grading.merge import ShownCell, Template, merge
from course.grading.record import STATUSES, StudentResult, grades_csv, page_names, write_atomically
from course.grading.rules import rule_broken
from course.grading.run import run_submission
from course.grading.sandbox import CannotStart, Sandbox

LEAST_MEMORY = 64 * 2**20  # bytes; with less, not even a small network can be trained


class CannotGrade(Exception):
    """The command as a whole cannot run; the text says why and what to do."""


@dataclass(frozen=True)
class Exam:
    """A homework made ready for one class: what is asked, with the hidden inputs of one seed, and what is right.

    Lives in the grader's own process only; of all this, a child sees the `Question` of an exercise.
    """

    topic: str
    template: Template
    points: dict[str, float]
    rules: dict[str, tuple[str, ...]]
    targets: dict[str, tuple[str, ...]]
    questions: dict[str, Question]
    expected: dict[str, Expected]


def grade_command(
    submissions: Path,
    assignment: str,
    out: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    seed: int | None = None,
    timeout: float = 60.0,
    memory: int = 4 * 2**30,
    sandbox: str = "auto",
) -> int:
    """Grade a class and write ``OUT/grades.csv``, ``gradebook.db``, ``report.html``, ``feedback/``, ``results/``.

    Args:
        submissions: a folder or zip, see `course.grading.collect`.
        assignment: ``"hw1_self_attention"`` or ``"hw1"``.
        workers: submissions graded at a time; None takes one a core.
        seed: of the hidden inputs; None draws a fresh secret one.
        timeout: seconds for a cell or an exercise; a whole submission has five times that.
        memory: bytes that a submission may use on top of what the imports take.
        sandbox: ``"auto"`` or ``"none"``, see `course.grading.sandbox`.

    Returns:
        0 if every submission has a row, whatever is in it; 2 if the command itself could not run.
    """
    try:
        limits = _checked_limits(workers, scheduler, timeout, memory, sandbox)
        _grade_class(Path(submissions), assignment, Path(out), workers or _cores(), seed, limits)
        return 0
    except CannotGrade as problem:
        print(f"course grade: {problem}", file=sys.stderr)
        return 2


def prepare_exam(root: Path, folder: Path, seed: int) -> Exam:
    """Load a homework and run the right answers and the named mistakes on the hidden inputs of `seed`.

    Args:
        root: the repository.
        folder: ``root/solutions/hwN_topic``.

    Raises:
        CannotGrade: its source does not fit its exercises.
    """
    # These load jupytext, nbformat and nbgrader, which takes seconds that a mistyped path should not cost.
    from course.authoring import notebooks
    from course.authoring.source import AuthoringError, read_source, require_homework
    from course.checks import load_homework

    try:
        homework = load_homework(folder)
        source = read_source(folder / f"{folder.name}.py", root)
        require_homework(source, homework)
        notebook = notebooks.make_notebook(source, notebooks.ASSIGNMENT, homework)
    except (AuthoringError, FileNotFoundError, ValueError) as error:
        raise CannotGrade(str(error)) from None
    # In the order of the notebook, which is the order of the columns.
    order = [cell.name for cell in source.cells if cell.role == "exercise"]
    exercises: list[Exercise] = [homework.exercises[name] for name in order]
    expected = {exercise.name: expected_for(exercise, seed) for exercise in exercises}
    targets = {exercise.name: exercise.targets for exercise in exercises}
    return Exam(
        topic=homework.topic,
        template=Template.from_cells(cells_from_notebook(notebook), targets),
        points={exercise.name: exercise.points for exercise in exercises},
        rules={exercise.name: exercise.forbidden for exercise in exercises},
        targets=targets,
        questions={e.name: question_for(calls_to_bytes(e.calls(seed)), expected[e.name]) for e in exercises},
        expected=expected,
    )


def question_for(calls: bytes, expected: Expected) -> Question:
    """The calls with a bound on the answer: generous, since an answer of the wrong shape deserves its sentence."""
    right = sum(tensor.nbytes for tensor in expected.answer.tensors.values())
    return Question(calls, 2**20 + 16 * right)


def grade_student(found: Found, page: str, exam: Exam, sandbox: Sandbox) -> tuple[StudentResult, list[ShownCell]]:
    """Grade one student. Whatever the submission holds, this returns a result.

    Raises:
        Stopped: see `Limits`.
    """
    try:
        submission = choose(found, exam.topic, exam.targets)
        merged = merge(exam.template, submission.cells)
        broken = rule_broken(merged, exam.rules)
        outcome = run_submission(merged, exam.questions, sandbox)
    except Missing as problem:
        return StudentResult(found.student, page, ("missing",), messages=(one_line(str(problem)),)), []
    except Unreadable as problem:
        return StudentResult(found.student, page, (problem.status,), messages=(one_line(str(problem)),)), []
    except Stopped:
        raise
    except CannotStart as problem:
        message = f"Not graded, through no fault of the student: {problem}"
        return StudentResult(found.student, page, ("crashed",), messages=(one_line(message),)), []
    except Exception as error:  # a fault of this program; the class goes on, and the row says so
        traceback.print_exc()
        message = f"Not graded, through no fault of the student: the grader failed with {type(error).__name__}: {error}"
        return StudentResult(found.student, page, ("crashed",), messages=(one_line(message),)), []
    exercises = tuple(
        judge_exercise(name, exam.points[name], exam.expected[name], outcome.exercises.get(name), broken.get(name))
        for name in exam.questions
    )
    statuses = {"graded", *outcome.statuses, *(["tampered"] if merged.tampered else [])}
    messages = [*submission.messages, *merged.messages, *outcome.messages]
    result = StudentResult(
        found.student,
        page,
        tuple(status for status in STATUSES if status in statuses),
        exercises,
        tuple(one_line(message) for message in dict.fromkeys(messages)),
    )
    return result, merged.shown


def _grade_class(
    submissions: Path, assignment: str, out: Path, workers: int, seed: int | None, limits: Limits
) -> None:
    begin = time.monotonic()
    root, folder = find_homework(assignment)
    _prepare_folder(out, submissions)
    fresh_seed = seed is None
    seed = secrets.randbits(62) if seed is None else seed
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="grading")
    sandbox = Sandbox(limits)
    try:
        trial = pool.submit(_try_child, sandbox)
        exam = prepare_exam(root, folder, seed)
        try:
            found = collect(submissions, exam.topic)
        except NothingToGrade as problem:
            raise CannotGrade(str(problem)) from None
        _write_down(out, lambda: write_gradebook(out / "gradebook.db", exam.topic, exam.template, ()))
        problem = trial.result()
        if problem:
            raise CannotGrade(f"{problem}; if memory ran out, give more with --memory")
        results = _grade_all(found, exam, sandbox, out, pool)
    finally:
        limits.stop.set()  # on Ctrl-C, whatever still runs ends within a second
        pool.shutdown(wait=True, cancel_futures=True)
        sandbox.close()
    _write_down(out, lambda: _write_class(out, exam, results, sandbox.isolation))
    _print_summary(out, exam, results, sandbox.isolation, time.monotonic() - begin, seed if fresh_seed else None)


def _grade_all(
    found: list[Found], exam: Exam, sandbox: Sandbox, out: Path, pool: ThreadPoolExecutor
) -> list[StudentResult]:
    pages = page_names(student.student for student in found)

    def grade_and_record(student: Found) -> StudentResult:
        result, shown = grade_student(student, pages[student.student], exam, sandbox)
        feedback = report.feedback_page(
            exam.topic, exam.template, result, shown, sum(exam.points.values()), sandbox.isolation
        )
        write_atomically(out / "results" / f"{result.page}.json", result.to_json())
        write_atomically(out / "feedback" / f"{result.page}.html", feedback)
        return result

    waiting: dict[Future, int] = {pool.submit(grade_and_record, student): k for k, student in enumerate(found)}
    results: dict[int, StudentResult] = {}
    with tqdm(total=len(found), desc=f"Grading {exam.topic}", unit="student", file=sys.stderr) as bar:
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                k = waiting.pop(future)
                _write_down(out, lambda: results.update({k: future.result()}))
                bar.update()
    return [results[k] for k in range(len(found))]


def _write_class(out: Path, exam: Exam, results: list[StudentResult], isolation: str) -> None:
    write_atomically(out / "grades.csv", grades_csv(exam.topic, exam.points, exam.template.written, results))
    page = report.class_page(exam.topic, exam.template, exam.points, results, isolation)
    write_atomically(out / "report.html", page)
    write_gradebook(out / "gradebook.db", exam.topic, exam.template, results)


def _write_down(out: Path, write) -> None:
    """Do it, and turn a full disk or a bad gradebook into one sentence."""
    try:
        write()
    except BadGradebook as problem:
        raise CannotGrade(str(problem)) from None
    except OSError as error:
        raise CannotGrade(
            f"{error.filename or out} cannot be written ({error.strerror or error}); results so far are in {out}"
        ) from None


def _try_child(sandbox: Sandbox) -> str:
    """Start a child once, for nothing, so that a machine that cannot is noticed before a student is blamed."""
    try:
        with start_child(sandbox):
            return ""
    except CannotStart as problem:
        return str(problem)
    except Stopped:
        return "stopped"


def _print_summary(
    out: Path, exam: Exam, results: list[StudentResult], isolation: str, seconds: float, fresh_seed: int | None
) -> None:
    counts = Counter(status for result in results for status in result.statuses)
    told = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    print(f"{exam.topic}: {len(results)} students in {seconds:.0f} s: {told}")
    print(f"  grades     {out / 'grades.csv'}")
    print(f"  gradebook  {out / 'gradebook.db'}")
    print(f"  report     {out / 'report.html'}")
    print(f"  feedback   {out / 'feedback'}")
    if fresh_seed is not None:
        print(f"  seed       {fresh_seed} (with --seed, the same hidden inputs again)")
    print(isolation)


# -- what the command is given


def _checked_limits(workers: int | None, scheduler: str | None, timeout: float, memory: int, sandbox: str) -> Limits:
    if os.name != "posix":
        raise CannotGrade("grading needs Linux or macOS; on Windows, use WSL.")
    if scheduler is not None:
        raise CannotGrade("--scheduler: grading on a cluster is not there yet; leave it out to use this machine.")
    if workers is not None and workers < 1:
        raise CannotGrade(f"--workers must be at least 1, not {workers}.")
    if not 0 < timeout < 10**6:
        raise CannotGrade(f"--timeout must be a number of seconds above 0, not {timeout}.")
    if memory < LEAST_MEMORY:
        raise CannotGrade(f"--memory must be at least {LEAST_MEMORY} bytes ({LEAST_MEMORY // 2**20} MB), not {memory}.")
    if sandbox not in ("auto", "none"):
        raise CannotGrade(f"--sandbox is auto or none, not {sandbox!r}.")
    return Limits(timeout=timeout, memory=memory, enforced=sandbox == "auto", stop=threading.Event())


def find_homework(assignment: str) -> tuple[Path, Path]:
    """(the repository's root, the homework's folder under solutions/) for ``"hw1_self_attention"`` or ``"hw1"``.

    Raises:
        CannotGrade: there is no such homework, or no repository around the current folder or this package.
    """
    from course.authoring.source import AuthoringError, find_root

    root = None
    for start in (Path.cwd(), Path(__file__).parent):
        try:
            root = find_root(start)
            break
        except AuthoringError:
            continue
    if root is None:
        raise CannotGrade("solutions/ was not found: run this inside the course's repository, which holds the answers.")
    known = sorted(path.parent for path in (root / "solutions").glob("hw*/exercises.py"))
    for folder in known:
        if assignment in (folder.name, folder.name.split("_")[0]):
            return root, folder
    names = ", ".join(folder.name for folder in known) or "none"
    raise CannotGrade(f"there is no homework {assignment!r} in solutions/; there is {names}.")


def _prepare_folder(out: Path, submissions: Path) -> None:
    if not submissions.exists():
        raise CannotGrade(f"{submissions} does not exist: give the folder or the zip with the submissions.")
    if submissions.is_dir() and out.resolve().is_relative_to(submissions.resolve()):
        raise CannotGrade(f"{out} is inside {submissions}, where it would be taken for a student: write elsewhere.")
    try:
        for folder in (out / "results", out / "feedback"):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / ".writable", b"")
            (folder / ".writable").unlink()
    except (FileExistsError, NotADirectoryError):
        raise CannotGrade(f"{out} is a file, or part of it is: give a folder with -o.") from None
    except OSError as error:
        raise CannotGrade(f"{out} cannot be written ({error.strerror}): give another folder with -o.") from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

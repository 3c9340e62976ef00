"""The commands ``course grade`` and ``course check``: what they are given is checked before anything slow is begun."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.atomic import remove_left_overs, write_atomically
from course.grading.limits import Limits
from course.grading.problems import CannotGrade, writing
from course.steps import Steps

if TYPE_CHECKING:
    from course.grading.collect.roster import Matched
    from course.grading.settings import Settings

LEAST_MEMORY = 64 * 2**20  # bytes; with less, not even a small network can be trained


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
    again: bool = False,
    config: Path | None = None,
    gradebook: str | None = None,
    roster: Path | None = None,
    is_said: bool = False,
) -> int:
    """Grade a class and write ``OUT/grades.csv``, ``gradebook.db``, ``report.html``, ``feedback/``, ``results/``.

    ``canvas.csv`` and ``moodle.csv`` are what these systems import.

    The same command goes on where an earlier one was stopped, by whatever; see `course.grading.resume`.

    Args:
        submissions: a folder or zip, see `course.grading.collect.find`.
        assignment: ``"hw1_self_attention"`` or ``"hw1"``.
        workers: submissions graded at a time; None takes one a core.
        scheduler: address of a Dask cluster that runs them instead, see `course.grading.cluster`.
        seed: of the hidden inputs; None goes on with the one of the earlier run in `out`, or draws a secret one.
        timeout: seconds for a cell or an exercise; a whole submission has five times that.
        memory: bytes that a submission may use on top of what the imports take.
        sandbox: ``"auto"`` or ``"none"``, see `course.grading.sandbox`.
        again: take nothing from an earlier run, and draw a fresh seed. Marks given by a person stay.
        config: due dates; None takes ``solutions/grading.toml``, see `course.grading.record.deadlines`.
        gradebook: address of a database that takes the place of ``OUT/gradebook.db``, as SQLAlchemy writes it.
        roster: CSV with the students of the course, see `course.grading.collect.roster`.
        is_said: what there is to say before anything slow is begun has been said.

    Returns:
        0 if every submission has a row, whatever is in it; 2 if the command itself could not run.
    """
    try:
        checked = check_given(
            submissions,
            assignment,
            out,
            workers=workers,
            scheduler=scheduler,
            timeout=timeout,
            memory=memory,
            sandbox=sandbox,
            config=config,
            gradebook=gradebook,
            roster=roster,
        )
        root, folder, out = checked.root, checked.folder, checked.out
        with alone_in(out, folder.name, is_said), Steps(f"course grade: preparing {folder.name}") as steps:
            # All that can be said at once has been said; what follows takes seconds before the first student.
            if not is_said:
                steps("loading PyTorch")
            from course.grading.grade import Request, grade_class

            students, settings, limits = checked.students, checked.settings, checked.limits
            request = Request(
                students, root, folder, out, settings, limits, workers or _cores(), scheduler, seed, again
            )
            grade_class(request, steps)
        return 0
    except CannotGrade as problem:
        print(f"course grade: {problem}", file=sys.stderr)
        return 2


@dataclass(frozen=True)
class Checked:
    """What ``course grade`` was given, as far as it can be told right from wrong without loading anything slow.

    Args:
        root, folder: of the homework, see `course.grading.settings.find_homework`.
    """

    root: Path
    folder: Path
    out: Path
    limits: Limits
    settings: "Settings"
    students: "Matched"


def check_given(
    submissions: Path,
    assignment: str,
    out: Path,
    *,
    workers: int | None,
    scheduler: str | None,
    timeout: float,
    memory: int,
    sandbox: str,
    config: Path | None,
    gradebook: str | None,
    roster: Path | None,
    **others: Any,
) -> Checked:
    """Arguments as in `grade_command`, of which `others` need no check. Raises `CannotGrade`."""
    limits = _checked_limits(workers, timeout, memory, sandbox)
    submissions, out = Path(submissions), Path(out)
    _check_place(out, submissions)
    from course.grading.collect.find import collect
    from course.grading.collect.roster import match
    from course.grading.settings import find_homework, read_settings, require_scheduler

    root, folder = find_homework(assignment)
    settings = read_settings(folder, out, config, gradebook, roster)
    if scheduler is not None:
        require_scheduler(scheduler)
    students = match(settings.roster, collect(submissions, folder.name))
    settings.deadline.require_students(student.student for student in students.found)
    return Checked(root, folder, out, limits, settings, students)


@contextmanager
def alone_in(out: Path, homework: str, is_said: bool = False) -> Iterator[None]:
    """The folder of results, made, tidied and held: no other run works in it meanwhile. What it held is said."""
    from course.grading.lock import only_one
    from course.grading.settings import held_before

    _prepare_folder(out)
    with ExitStack() as stack:
        stack.enter_context(_no_folder_of_torch())
        with writing(out):
            stack.enter_context(only_one(out))
            for place in (out, *out.glob("*/"), *out.glob("autograded/*/*/")):
                remove_left_overs(place)
        said = held_before(out, homework)
        if said and not is_said:
            print(said, file=sys.stderr)
        yield


def check_command(notebook: Path) -> int:
    """``course check``: run a notebook's exercises as grading would and print a line for each.

    Returns:
        0 if all is right, 1 if not, 2 if the notebook or its check data cannot be read.
    """
    from course.grading.own_notebook import CannotCheck, read_own

    try:
        own = read_own(Path(notebook))
        from course.grading.check_notebook import run_checks  # loads PyTorch

        return run_checks(own)
    except CannotCheck as problem:
        print(f"course check: {problem}", file=sys.stderr)
        return 2


@contextmanager
def _no_folder_of_torch() -> Iterator[None]:
    """Parts of torch make a folder for compiled code when they are imported, and grading compiles nothing."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    if name in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            os.environ.pop(name, None)


def _checked_limits(workers: int | None, timeout: float, memory: int, sandbox: str) -> Limits:
    if os.name != "posix":
        raise CannotGrade("grading needs Linux or macOS; on Windows, use WSL.")
    if workers is not None and workers < 1:
        raise CannotGrade(f"--workers must be at least 1, not {workers}.")
    if not 0 < timeout < 10**6:
        raise CannotGrade(f"--timeout must be a number of seconds above 0, not {timeout}.")
    if memory < LEAST_MEMORY:
        raise CannotGrade(f"--memory must be at least {LEAST_MEMORY} bytes ({LEAST_MEMORY // 2**20} MB), not {memory}.")
    if sandbox not in ("auto", "none"):
        raise CannotGrade(f"--sandbox is auto or none, not {sandbox!r}.")
    return Limits(timeout=timeout, memory=memory, enforced=sandbox == "auto", stop=threading.Event())


def _check_place(out: Path, submissions: Path) -> None:
    if not submissions.exists():
        raise CannotGrade(f"{submissions} does not exist: give the folder or the zip with the submissions.")
    if out.exists() and not out.is_dir():
        raise CannotGrade(f"{out} is a file, or part of it is: give a folder with -o.")
    if submissions.is_dir() and out.resolve().is_relative_to(submissions.resolve()):
        raise CannotGrade(f"{out} is inside {submissions}, where it would be taken for a student: write elsewhere.")


def _prepare_folder(out: Path) -> None:
    try:
        for folder in (out, out / "results", out / "feedback"):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / ".writable", b"")
            (folder / ".writable").unlink()
    except (FileExistsError, NotADirectoryError):
        raise CannotGrade(f"{out} is a file, or part of it is: give a folder with -o.") from None
    except OSError as error:
        raise CannotGrade(f"{out} cannot be written ({error.strerror}): give another folder with -o.") from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

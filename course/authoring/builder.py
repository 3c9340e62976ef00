"""``course build``: sources to notebooks; with ``--check``, whatever is not what its source says is named."""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from course import glossary
from course.atomic import write_together
from course.authoring import coverage, notebooks
from course.authoring.examine import (
    check_data,
    checked,
    glossary_problems,
    has_glossary,
    hygiene_problems,
    leak_problems,
    read_homework,
    strays,
)
from course.authoring.execute import execute
from course.authoring.files import HomeworkFiles, LectureFiles, all_targets, shown, targets_of
from course.authoring.outputs import clean, hygiene
from course.authoring.repository import AuthoringError, find_root
from course.authoring.source import SourceFile, read_source, require_lecture
from course.checks import Homework, public
from course.remembered import Memory
from course.steps import Step, Steps, silent

_Fresh = dict[Path, tuple[bytes, str]]  # what is to be written, and what is then said of it


def build_command(
    paths: Iterable[Path] = (), check: bool = False, steps: Steps | None = None, memory: bool = False
) -> int:
    """``course build [PATH ...] [--check]`` for a terminal. Returns 0, 1 (differs or failed) or 2.

    `memory`: whether ``--check`` may pass over what it found clean before, see `course.authoring.examine.checked`.
    """
    step, say = (steps, steps.say) if steps else (silent, print)
    try:
        root = find_root()
        problems = build(paths, check=check, root=root, say=say, step=step, memory=Memory(root) if memory else None)
    except AuthoringError as error:
        print(error, file=sys.stderr)
        return 2
    if steps:
        steps.close()
    for line in problems:
        print(line, file=sys.stdout if check else sys.stderr)
    if check and not problems:
        print("Every notebook is what its source says, and no assignment holds an answer.")
    return 1 if problems else 0


def build(
    paths: Iterable[Path] = (),
    *,
    check: bool = False,
    root: Path | None = None,
    say: Callable[[str], None] = print,
    step: Step = silent,
    memory: Memory | None = None,
) -> list[str]:
    """Write, or with `check` only examine, the notebooks of `paths`; without paths, all of the repository.

    A lecture or solution is executed again only if its code has changed since, if its outputs are missing, or
    if it is named in `paths`. A failing source does not keep the others from being built. What belongs to one source
    is written when all of it is ready.

    Args:
        paths: sources, built notebooks, homework folders, or the folders that hold them.
        root: the repository; by default found from the current folder upwards.
        say: called with one line for each file that is written.
        step: called with each source as its turn comes.
        memory: with `check`, see `course.authoring.examine.checked`.

    Returns:
        One line a problem or difference, with the file and the remedy; empty if there is none.

    Raises:
        AuthoringError: there is no repository here, or a path that belongs to no source.
    """
    root = (root or find_root()).resolve()
    paths = list(paths)
    targets = all_targets(root)
    if paths:
        targets = list(dict.fromkeys(target for path in paths for target in targets_of(Path(path), root)))
    problems: list[str] = []
    for number, target in enumerate(targets, start=1):
        step(target.name, number, len(targets))
        if check:
            problems += checked(target, memory)
            continue
        try:
            if isinstance(target, LectureFiles):
                problems += _build_lecture(target, bool(paths), say, step)
            else:
                problems += _build_homework(target, bool(paths), say, step)
        except AuthoringError as error:
            problems += error.lines
    if not paths and has_glossary(root):
        problems += glossary_problems(root) if check else _build_glossary(root, say)
    if not paths and coverage.is_kept(root):
        problems += coverage.page_problems(root) if check else _build_coverage(root, say)
    if check and not paths:
        problems += strays(root)
    return problems


# -- building


def _build_lecture(lecture: LectureFiles, run_again: bool, say: Callable[[str], None], step: Step) -> list[str]:
    source = read_source(lecture.source, lecture.root)
    require_lecture(source)
    notebook = notebooks.make_notebook(source, notebooks.LECTURE)
    _write(_fresh_notebook(lecture.root, lecture.notebook, notebook, source, run_again, None, step), say)
    return hygiene_problems(lecture.root, lecture.notebook, notebook)


def _build_homework(work: HomeworkFiles, run_again: bool, say: Callable[[str], None], step: Step) -> list[str]:
    source, homework = read_homework(work)
    fresh = _fresh_assignment(work, source, homework)
    run_again |= work.checks in fresh
    checks = fresh[work.checks][0] if work.checks in fresh else work.checks.read_bytes()
    solution = notebooks.make_notebook(source, notebooks.SOLUTION, homework)
    fresh |= _fresh_notebook(work.root, work.solution, solution, source, run_again, checks, step)
    _write(fresh, say)
    return hygiene_problems(work.root, work.solution, solution) + leak_problems(work)


def _build_glossary(root: Path, say: Callable[[str], None]) -> list[str]:
    if glossary_problems(root):
        path = root / "notebooks" / glossary.PAGE
        _write({path: (glossary.page().encode(), f"{shown(path, root)}: written")}, say)
    return []


def _build_coverage(root: Path, say: Callable[[str], None]) -> list[str]:
    lists = coverage.Coverage(root)
    problems = lists.problems()
    if not problems and not lists.is_written():
        _write({lists.path: (lists.page().encode(), f"{shown(lists.path, root)}: written")}, say)
    return problems


def write_assignment(work: HomeworkFiles) -> None:
    """Write what students receive of one homework, and nothing else: for ``nbgrader_config.py``.

    Raises:
        AuthoringError: its sources are wrong.
    """
    _write(_fresh_assignment(work, *read_homework(work)), say=print)


def _fresh_assignment(work: HomeworkFiles, source: SourceFile, homework: Homework) -> _Fresh:
    """The assignment and its check data, as far as they are not up to date."""
    fresh: _Fresh = {}
    data = check_data(work, homework)
    # Rewritten only when the content differs: last digits differ between processors.
    if not (work.checks.is_file() and public.same_content(work.checks, data)):
        fresh[work.checks] = data, "written"
    assignment = notebooks.to_bytes(notebooks.make_notebook(source, notebooks.ASSIGNMENT, homework))
    if not (work.assignment.is_file() and work.assignment.read_bytes() == assignment):
        fresh[work.assignment] = assignment, "written"
    return {path: (data, f"{shown(path, work.root)}: {said}") for path, (data, said) in fresh.items()}


def _fresh_notebook(
    root: Path, path: Path, notebook, source: SourceFile, run_again: bool, checks: bytes | None, step: Step
) -> _Fresh:
    """Give a notebook its outputs: those at `path`, or by running it. Returns it if it is not up to date there.

    Args:
        checks: the check data of a homework; None for a lecture.
    """
    name = shown(path, root)
    try:
        before = notebooks.read_notebook(path) if path.is_file() else None
    except ValueError:
        before = None  # unreadable: made anew
    kept = before is not None and notebooks.take_outputs(notebook, before)
    if kept:
        clean(notebook)  # by the rules of today
        kept = not hygiene(notebook, root)
    if run_again or not kept:
        with _folder_to_run_in(path, checks) as folder:
            seconds = execute(notebook, folder, name, source, step)
        return {path: (notebooks.to_bytes(notebook), f"{name}: run in {seconds:.0f} s and written")}
    if path.read_bytes() != notebooks.to_bytes(notebook):
        return {path: (notebooks.to_bytes(notebook), f"{name}: written, outputs kept (no code changed)")}
    return {}


@contextmanager
def _folder_to_run_in(path: Path, checks: bytes | None) -> Iterator[Path]:
    """A lecture runs in its own folder. A solution runs in a new one that holds its new check data, not yet written."""
    if checks is None:
        yield path.parent
        return
    with tempfile.TemporaryDirectory(prefix="course-build-") as temporary:
        folder = Path(temporary) / path.stem
        folder.mkdir()
        (folder / public.FILE_NAME).write_bytes(checks)
        yield folder


def _write(fresh: _Fresh, say: Callable[[str], None]) -> None:
    write_together({path: data for path, (data, _) in fresh.items()})
    for _, said in fresh.values():
        say(said)

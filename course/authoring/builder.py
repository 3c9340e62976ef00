"""``course build``: sources to notebooks; with ``--check``, whatever is not what its source says is named."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from course.atomic import write_together
from course.authoring import leaks, notebooks
from course.authoring.execute import execute
from course.authoring.outputs import hygiene, machine_paths
from course.authoring.repository import AuthoringError, find_root
from course.authoring.source import Source, read_source, require_homework, require_lecture
from course.checks import Homework, load_homework, public
from course.remembered import NOT_OURS, Memory, code_and_versions, digest_of, digest_of_files, files_below
from course.steps import Step, Steps, silent

_LECTURE_NAME = re.compile(r"^\d\d_[a-z0-9_]+$")
_HOMEWORK_NAME = re.compile(r"^hw\d+_[a-z0-9_]+$")
_Fresh = dict[Path, tuple[bytes, str]]  # what is to be written, and what is then said of it
REBUILD = "run `course build {}`"


@dataclass(frozen=True)
class Lecture:
    root: Path
    name: str  # "03_self_attention"

    @property
    def source(self) -> Path:
        return self.root / "notebooks" / "source" / f"{self.name}.py"

    @property
    def notebook(self) -> Path:
        return self.root / "notebooks" / f"{self.name}.ipynb"


@dataclass(frozen=True)
class HomeworkFolder:
    root: Path
    name: str  # "hw1_self_attention"

    @property
    def folder(self) -> Path:
        return self.root / "solutions" / self.name

    @property
    def source(self) -> Path:
        return self.folder / f"{self.name}.py"

    @property
    def solution(self) -> Path:
        return self.folder / f"{self.name}.ipynb"

    @property
    def assignment(self) -> Path:
        return self.root / "assignments" / self.name / f"{self.name}.ipynb"

    @property
    def checks(self) -> Path:
        return self.assignment.parent / public.FILE_NAME


def build_command(
    paths: Iterable[Path] = (), check: bool = False, steps: Steps | None = None, memory: bool = False
) -> int:
    """``course build [PATH ...] [--check]`` for a terminal. Returns 0, 1 (differs or failed) or 2.

    `memory`: whether ``--check`` may pass over what it found clean before, see `checked`.
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
        say: told what is written, one line a file.
        step: told how far it is.
        memory: with `check`, see `checked`.

    Returns:
        One line a problem or difference, with its place and remedy; empty if there is none.

    Raises:
        AuthoringError: there is no repository here, or a path that belongs to no source.
    """
    root = (root or find_root()).resolve()
    paths = list(paths)
    targets = _all_targets(root)
    if paths:
        targets = list(dict.fromkeys(target for path in paths for target in _targets_of(Path(path), root)))
    problems: list[str] = []
    for number, target in enumerate(targets, start=1):
        step(target.name, number, len(targets))
        if check:
            problems += checked(target, memory)
            continue
        try:
            if isinstance(target, Lecture):
                problems += _build_lecture(target, bool(paths), say, step)
            else:
                problems += _build_homework(target, bool(paths), say, step)
        except AuthoringError as error:
            problems += error.lines
    if check and not paths:
        problems += _strays(root)
    return problems


def checked(target: Lecture | HomeworkFolder, memory: Memory | None = None) -> list[str]:
    """What `check_lecture` or `check_homework` finds, or why it cannot look.

    With a memory, what was found clean is not examined again while nothing of what that rests on has changed.
    """
    key = _rests_on(target) if memory else ""
    if memory and memory.recall(f"checked-{target.name}", key) is not None:
        return []
    try:
        problems = check_lecture(target) if isinstance(target, Lecture) else check_homework(target)
    except AuthoringError as error:
        return error.lines
    if memory and not problems and _rests_on(target) == key:  # else somebody wrote while it was examined
        memory.keep(f"checked-{target.name}", key, "")
    return problems


def _rests_on(target: Lecture | HomeworkFolder) -> str:
    """Digest of the contents of everything that `checked` looks at, and of what it looks with."""
    root = target.root
    if isinstance(target, Lecture):
        files = [target.source, target.notebook]
    else:  # all of solutions/, since an assignment may hold no answer of another homework either
        files = files_below(root / "solutions") + files_below(target.assignment.parent)
    with_what = (code_and_versions(), torch.__version__, torch.backends.cpu.get_cpu_capability())
    paths = sorted(machine_paths(root))  # which no output may show
    return digest_of(target.name.encode(), repr((with_what, paths)).encode(), digest_of_files(root, files).encode())


def check_lecture(lecture: Lecture) -> list[str]:
    """What differs between a lecture's source and its notebook, and what its outputs should not hold."""
    source = read_source(lecture.source, lecture.root)
    require_lecture(source)
    return _executed_differences(
        lecture.root, lecture.notebook, notebooks.make_notebook(source, notebooks.LECTURE), source
    )


def check_homework(work: HomeworkFolder) -> list[str]:
    """The same for a homework: solution, assignment, check data, and answers where none may be.

    Runs every exercise with its mistakes, to compare with the stored check data.
    """
    source, homework = _read_homework(work)
    solution = notebooks.make_notebook(source, notebooks.SOLUTION, homework)
    problems = _executed_differences(work.root, work.solution, solution, source)
    problems += _assignment_differences(work, source, homework)
    if not work.checks.is_file():
        problems.append(f"{_shown(work.root, work.checks)}: missing; {_rebuild(source)}")
    elif not public.same_content(work.checks, _check_data(work, homework)):
        problems.append(f"{_shown(work.root, work.checks)}: not what exercises.py gives; {_rebuild(source)}")
    if work.assignment.is_file() and work.checks.is_file():
        problems += leak_problems(work)
    return problems


def leak_problems(work: HomeworkFolder) -> list[str]:
    """Answers in the files of an assignment, and exercises that do something before a student wrote them."""
    secrets = leaks.secrets_in_tree(work.root / "solutions")
    problems = [
        f"{_shown(work.root, path)}: {finding}; students must not receive it"
        for path in files_below(work.assignment.parent)
        for finding in leaks.find_in_assignment(path, secrets)
    ]
    try:
        untouched = leaks.untouched_problems(work.assignment.parent)
    except (ValueError, KeyError) as error:
        untouched = [f"cannot be run against its checks ({error})"]
    return problems + [f"{_shown(work.root, work.assignment)}: {problem}" for problem in untouched]


def all_homeworks(root: Path) -> list[HomeworkFolder]:
    return [target for target in _all_targets(root) if isinstance(target, HomeworkFolder)]


def all_lectures(root: Path) -> list[Lecture]:
    return [target for target in _all_targets(root) if isinstance(target, Lecture)]


# -- building


def _build_lecture(lecture: Lecture, run_again: bool, say: Callable[[str], None], step: Step) -> list[str]:
    source = read_source(lecture.source, lecture.root)
    require_lecture(source)
    notebook = notebooks.make_notebook(source, notebooks.LECTURE)
    _write(_fresh_notebook(lecture.root, lecture.notebook, notebook, source, run_again, None, step), say)
    return _hygiene_problems(lecture.root, lecture.notebook, notebook)


def _build_homework(work: HomeworkFolder, run_again: bool, say: Callable[[str], None], step: Step) -> list[str]:
    source, homework = _read_homework(work)
    fresh = _fresh_assignment(work, source, homework)
    run_again |= work.checks in fresh
    checks = fresh[work.checks][0] if work.checks in fresh else work.checks.read_bytes()
    solution = notebooks.make_notebook(source, notebooks.SOLUTION, homework)
    fresh |= _fresh_notebook(work.root, work.solution, solution, source, run_again, checks, step)
    _write(fresh, say)
    return _hygiene_problems(work.root, work.solution, solution) + leak_problems(work)


def write_assignment(work: HomeworkFolder) -> None:
    """Write what students receive of one homework, and nothing else: for ``nbgrader_config.py``.

    Raises:
        AuthoringError: its sources are wrong.
    """
    _write(_fresh_assignment(work, *_read_homework(work)), say=print)


def _fresh_assignment(work: HomeworkFolder, source: Source, homework: Homework) -> _Fresh:
    """The assignment and its check data, as far as they are not up to date."""
    fresh: _Fresh = {}
    data = _check_data(work, homework)
    # Rewritten only when the content differs: last digits differ between processors.
    if not (work.checks.is_file() and public.same_content(work.checks, data)):
        fresh[work.checks] = data, "written"
    assignment = notebooks.to_bytes(notebooks.make_notebook(source, notebooks.ASSIGNMENT, homework))
    if not (work.assignment.is_file() and work.assignment.read_bytes() == assignment):
        fresh[work.assignment] = assignment, "written"
    return {path: (data, f"{_shown(work.root, path)}: {said}") for path, (data, said) in fresh.items()}


def _fresh_notebook(
    root: Path, path: Path, notebook, source: Source, run_again: bool, checks: bytes | None, step: Step
) -> _Fresh:
    """Give a notebook its outputs: those at `path`, or by running it. Returns it if it is not up to date there.

    Args:
        checks: the check data of a homework; None for a lecture.
    """
    shown = _shown(root, path)
    try:
        before = notebooks.read_notebook(path) if path.is_file() else None
    except ValueError:
        before = None  # unreadable: made anew
    kept = before is not None and notebooks.take_outputs(notebook, before) and not hygiene(notebook, root)
    if run_again or not kept:
        with _place_to_run(path, checks) as folder:
            seconds = execute(notebook, folder, shown, source, step)
        return {path: (notebooks.to_bytes(notebook), f"{shown}: run in {seconds:.0f} s and written")}
    if path.read_bytes() != notebooks.to_bytes(notebook):
        return {path: (notebooks.to_bytes(notebook), f"{shown}: written, outputs kept (no code changed)")}
    return {}


@contextmanager
def _place_to_run(path: Path, checks: bytes | None) -> Iterator[Path]:
    """A lecture runs where it stands. A solution runs beside its new check data, which is not in place yet."""
    if checks is None:
        yield path.parent
        return
    with tempfile.TemporaryDirectory(prefix="course-build-") as place:
        folder = Path(place) / path.stem
        folder.mkdir()
        (folder / public.FILE_NAME).write_bytes(checks)
        yield folder


def _write(fresh: _Fresh, say: Callable[[str], None]) -> None:
    write_together({path: data for path, (data, _) in fresh.items()})
    for _, said in fresh.values():
        say(said)


def _read_homework(work: HomeworkFolder) -> tuple[Source, Homework]:
    source = read_source(work.source, work.root)
    shown = _shown(work.root, work.folder / "exercises.py")
    try:
        homework = load_homework(work.folder)
    except (FileNotFoundError, ValueError) as error:
        raise AuthoringError(str(error).replace(f"{work.root}{os.sep}", "")) from None
    except Exception as error:  # whatever the author's file can raise
        raise AuthoringError(f"{shown}: {_mishap(error, work.folder / 'exercises.py')}") from error
    require_homework(source, homework)
    return source, homework


def _check_data(work: HomeworkFolder, homework: Homework) -> bytes:
    try:
        return public.to_bytes(homework)
    except Exception as error:
        where = _shown(work.root, work.folder)
        raise AuthoringError(f"{where}: its checks cannot be made: {_mishap(error, work.folder)}") from error


def _mishap(error: Exception, file: Path) -> str:
    """What happened, and in which line of a file or of a file below a folder."""
    at, frame = "", error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if name.startswith(str(file)):
            at = f" ({Path(name).name}, line {frame.tb_lineno})"
        frame = frame.tb_next
    if isinstance(error, SyntaxError):
        at = f" (line {error.lineno})"
    return f"{type(error).__name__}: {getattr(error, 'msg', None) or error}{at}"


# -- examining


def _executed_differences(root: Path, path: Path, wanted, source: Source) -> list[str]:
    shown = _shown(root, path)
    if not path.is_file():
        return [f"{shown}: not built from {source.shown}; {_rebuild(source)}"]
    try:
        found = notebooks.read_notebook(path)
    except ValueError as error:
        return [f"{shown}: {error}; {_rebuild(source)}"]
    lines = notebooks.differences(wanted, notebooks.without_outputs(found), source)
    if not lines and not notebooks.is_executed(found):
        lines = ["has cells that were never run"]
    problems = [f"{shown}: {line}; edit {source.shown}, then {_rebuild(source)}" for line in lines]
    return problems + _hygiene_problems(root, path, found)


def _hygiene_problems(root: Path, path: Path, notebook) -> list[str]:
    return [f"{_shown(root, path)}: {problem}" for problem in hygiene(notebook, root)]


def _assignment_differences(work: HomeworkFolder, source: Source, homework: Homework) -> list[str]:
    shown = _shown(work.root, work.assignment)
    wanted = notebooks.make_notebook(source, notebooks.ASSIGNMENT, homework)
    if not work.assignment.is_file():
        return [f"{shown}: not built from {source.shown}; {_rebuild(source)}"]
    if work.assignment.read_bytes() == notebooks.to_bytes(wanted):
        return []
    try:
        lines = notebooks.differences(wanted, notebooks.read_notebook(work.assignment), source)
    except ValueError as error:
        lines = [str(error)]
    lines = lines or ["same cells, but other bytes: another program saved it"]
    return [f"{shown}: {line}; edit {source.shown}, then {_rebuild(source)}" for line in lines]


def _strays(root: Path) -> list[str]:
    """Files whose source is gone, and files that no source makes."""
    problems = []
    lectures = {lecture.notebook for lecture in all_lectures(root)}
    works = all_homeworks(root)
    expected = {path for work in works for path in (work.solution, work.assignment, work.checks)}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        if path not in lectures:
            problems.append(
                f"{_shown(root, path)}: its source notebooks/source/{path.stem}.py is gone; restore it, or delete this"
            )
    for path in sorted((root / "notebooks" / "source").iterdir()):
        if path.suffix == ".py" and not _LECTURE_NAME.match(path.stem):
            problems.append(f"{_shown(root, path)}: a lecture's source is named NN_topic.py, in lower case; rename it")
    for path in files_below(root / "solutions"):
        if path.suffix == ".ipynb" and path not in expected:
            problems.append(f"{_shown(root, path)}: no source makes this notebook; delete it")
    for folder in sorted((root / "solutions").glob("*/")):
        if folder.name not in NOT_OURS and folder not in [work.folder for work in works]:
            problems.append(
                f"{_shown(root, folder)}: no homework; it should be named hwN_topic and hold {folder.name}.py"
            )
    for path in files_below(root / "assignments"):
        if path not in expected:
            problems.append(
                f"{_shown(root, path)}: no source makes this file, and students would receive it; delete it"
            )
            secrets = leaks.secrets_in_tree(root / "solutions")
            problems += [f"{_shown(root, path)}: {found}" for found in leaks.find_in_assignment(path, secrets)]
    return problems


# -- names


def _all_targets(root: Path) -> list[Lecture | HomeworkFolder]:
    lectures = sorted(path.stem for path in (root / "notebooks" / "source").glob("*.py"))
    folders = {path.parent.name for path in (root / "solutions").glob("*/*.py")}
    folders = sorted(folders, key=lambda name: (len(name.partition("_")[0]), name))  # hw2 before hw10
    return [
        *(Lecture(root, name) for name in lectures if _LECTURE_NAME.match(name)),
        *(HomeworkFolder(root, name) for name in folders if _HOMEWORK_NAME.match(name)),
    ]


def _targets_of(path: Path, root: Path) -> list[Lecture | HomeworkFolder]:
    """The source or sources that a path of a command line means."""
    known = _all_targets(root)
    for place in (Path.cwd() / path, root / path):
        place = Path(os.path.normpath(place))
        if place in (
            root,
            root / "notebooks",
            root / "notebooks" / "source",
            root / "solutions",
            root / "assignments",
        ):
            kind = Lecture if "notebooks" in place.relative_to(root).parts else HomeworkFolder
            return known if place == root else [target for target in known if isinstance(target, kind)]
        for target in known:
            if isinstance(target, Lecture) and place in (target.source, target.notebook):
                return [target]
            if isinstance(target, HomeworkFolder) and (
                place in (target.folder, target.assignment.parent)
                or place.parent in (target.folder, target.assignment.parent)
            ):
                return [target]
    names = ", ".join(target.name for target in known) or "none"
    raise AuthoringError(
        f"{path} belongs to no source here: give notebooks/source/NN_topic.py, solutions/hwN_topic, or what "
        "is built "
        f"from them; there are {names}"
    )


def _shown(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _rebuild(source: Source) -> str:
    return REBUILD.format(source.shown)

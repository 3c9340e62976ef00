"""Does a built file say what its source says, and may it be given to students? ``course build --check`` asks this.

Each function returns one line a problem, with the file and what to do about it. Nothing here writes a file.
"""

import os
from pathlib import Path

import torch

from course import glossary
from course.authoring import leaks, notebooks
from course.authoring.files import HomeworkFiles, LectureFiles, all_homeworks, all_lectures, is_lecture_name, shown
from course.authoring.outputs import hygiene, machine_paths
from course.authoring.repository import AuthoringError
from course.authoring.source import SourceFile, read_source, require_homework, require_lecture
from course.checks import Homework, load_homework, public
from course.remembered import NOT_OURS, Memory, code_and_versions, digest_of, digest_of_files, files_below
from course.syllabus import LECTURES


def checked(target: LectureFiles | HomeworkFiles, memory: Memory | None = None) -> list[str]:
    """What `check_lecture` or `check_homework` finds, or why they cannot examine it.

    With a memory, what was found clean is examined again only when something that this depends on has changed.
    """
    key = _depends_on(target) if memory else ""
    if memory and memory.recall(f"checked-{target.name}", key) is not None:
        return []
    try:
        problems = check_lecture(target) if isinstance(target, LectureFiles) else check_homework(target)
    except AuthoringError as error:
        return error.lines
    if memory and not problems and _depends_on(target) == key:  # else somebody wrote while it was examined
        memory.keep(f"checked-{target.name}", key, "")
    return problems


def _depends_on(target: LectureFiles | HomeworkFiles) -> str:
    """Digest of the contents of all files that `checked` reads, of the code that reads them, and of the machine."""
    root = target.root
    if isinstance(target, LectureFiles):
        files = [target.source, target.notebook]
    else:  # all of solutions/, since an assignment may hold no answer of another homework either
        files = files_below(root / "solutions") + files_below(target.assignment.parent)
    read_with = (code_and_versions(), torch.__version__, torch.backends.cpu.get_cpu_capability())
    paths = sorted(machine_paths(root))  # which no output may show
    return digest_of(target.name.encode(), repr((read_with, paths)).encode(), digest_of_files(root, files).encode())


def check_lecture(lecture: LectureFiles) -> list[str]:
    """What differs between a lecture's source and its notebook, and what its outputs should not hold."""
    source = read_source(lecture.source, lecture.root)
    require_lecture(source)
    wanted = notebooks.make_notebook(source, notebooks.LECTURE)
    return _executed_differences(lecture.root, lecture.notebook, wanted, source)


def has_glossary(root: Path) -> bool:
    """Whether a lecture here is one whose terms the glossary explains."""
    explaining = {LECTURES[term.lecture].name for term in glossary.TERMS}
    return any(lecture.name in explaining for lecture in all_lectures(root))


def glossary_problems(root: Path) -> list[str]:
    path = root / "notebooks" / glossary.PAGE
    if path.is_file() and path.read_text(encoding="utf-8") == glossary.page():
        return []
    return [f"{shown(path, root)}: not what course/glossary.py says; edit that, then run `course build`"]


def check_homework(work: HomeworkFiles) -> list[str]:
    """The same for a homework: solution, assignment, check data, and answers where none may be.

    Runs every exercise with its mistakes, to compare with the stored check data.
    """
    source, homework = read_homework(work)
    solution = notebooks.make_notebook(source, notebooks.SOLUTION, homework)
    problems = _executed_differences(work.root, work.solution, solution, source)
    problems += _assignment_differences(work, source, homework)
    if not work.checks.is_file():
        problems.append(f"{shown(work.checks, work.root)}: missing; {_rebuild(source)}")
    elif not public.same_content(work.checks, check_data(work, homework)):
        problems.append(f"{shown(work.checks, work.root)}: not what exercises.py gives; {_rebuild(source)}")
    if work.assignment.is_file() and work.checks.is_file():
        problems += leak_problems(work)
    return problems


def leak_problems(work: HomeworkFiles) -> list[str]:
    """Answers in the files of an assignment, and exercises that do something before a student wrote them."""
    secrets = leaks.secrets_in_tree(work.root / "solutions")
    problems = [
        f"{shown(path, work.root)}: {finding}; students must not receive it"
        for path in files_below(work.assignment.parent)
        for finding in leaks.find_in_assignment(path, secrets)
    ]
    try:
        untouched = leaks.untouched_problems(work.assignment.parent)
    except (ValueError, KeyError) as error:
        untouched = [f"cannot be run against its checks ({error})"]
    return problems + [f"{shown(work.assignment, work.root)}: {problem}" for problem in untouched]


# -- what a homework is made from


def read_homework(work: HomeworkFiles) -> tuple[SourceFile, Homework]:
    """The source and the ``exercises.py`` of a homework. Raises AuthoringError unless both are right and fit together."""
    source = read_source(work.source, work.root)
    exercises = work.folder / "exercises.py"
    try:
        homework = load_homework(work.folder)
    except (FileNotFoundError, ValueError) as error:
        raise AuthoringError(str(error).replace(f"{work.root}{os.sep}", "")) from None
    except Exception as error:  # whatever the author's file can raise
        raise AuthoringError(f"{shown(exercises, work.root)}: {_what_happened(error, exercises)}") from error
    require_homework(source, homework)
    return source, homework


def check_data(work: HomeworkFiles, homework: Homework) -> bytes:
    """What ``checks.safetensors`` should hold: runs every answer and every mistake. Raises AuthoringError if one stops."""
    try:
        return public.to_bytes(homework)
    except Exception as error:
        where = shown(work.folder, work.root)
        raise AuthoringError(f"{where}: its checks cannot be made: {_what_happened(error, work.folder)}") from error


def _what_happened(error: Exception, file: Path) -> str:
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


# -- differences


def _executed_differences(root: Path, path: Path, wanted, source: SourceFile) -> list[str]:
    name = shown(path, root)
    if not path.is_file():
        return [f"{name}: not built from {source.shown}; {_rebuild(source)}"]
    try:
        found = notebooks.read_notebook(path)
    except ValueError as error:
        return [f"{name}: {error}; {_rebuild(source)}"]
    lines = notebooks.differences(wanted, notebooks.without_outputs(found), source)
    if not lines and not notebooks.is_executed(found):
        lines = ["has cells that were never run"]
    problems = [f"{name}: {line}; edit {source.shown}, then {_rebuild(source)}" for line in lines]
    return problems + hygiene_problems(root, path, found)


def hygiene_problems(root: Path, path: Path, notebook) -> list[str]:
    return [f"{shown(path, root)}: {problem}" for problem in hygiene(notebook, root)]


def _assignment_differences(work: HomeworkFiles, source: SourceFile, homework: Homework) -> list[str]:
    name = shown(work.assignment, work.root)
    wanted = notebooks.make_notebook(source, notebooks.ASSIGNMENT, homework)
    if not work.assignment.is_file():
        return [f"{name}: not built from {source.shown}; {_rebuild(source)}"]
    if work.assignment.read_bytes() == notebooks.to_bytes(wanted):
        return []
    try:
        lines = notebooks.differences(wanted, notebooks.read_notebook(work.assignment), source)
    except ValueError as error:
        lines = [str(error)]
    lines = lines or ["same cells, but other bytes: another program saved it"]
    return [f"{name}: {line}; edit {source.shown}, then {_rebuild(source)}" for line in lines]


def strays(root: Path) -> list[str]:
    """Files whose source is gone, and files that no source makes."""
    problems = []
    lectures = {lecture.notebook for lecture in all_lectures(root)}
    works = all_homeworks(root)
    expected = {path for work in works for path in (work.solution, work.assignment, work.checks)}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        if path not in lectures:
            problems.append(
                f"{shown(path, root)}: its source notebooks/source/{path.stem}.py is gone; restore it, or delete this"
            )
    for path in sorted((root / "notebooks" / "source").iterdir()):
        if path.suffix == ".py" and not is_lecture_name(path.stem):
            problems.append(f"{shown(path, root)}: a lecture's source is named NN_topic.py, in lower case; rename it")
    for path in files_below(root / "solutions"):
        if path.suffix == ".ipynb" and path not in expected:
            problems.append(f"{shown(path, root)}: no source makes this notebook; delete it")
    for folder in sorted((root / "solutions").glob("*/")):
        if folder.name not in NOT_OURS and folder not in [work.folder for work in works]:
            problems.append(
                f"{shown(folder, root)}: no homework; it should be named hwN_topic and hold {folder.name}.py"
            )
    for path in files_below(root / "assignments"):
        if path not in expected:
            problems.append(f"{shown(path, root)}: no source makes this file, and students would receive it; delete it")
            secrets = leaks.secrets_in_tree(root / "solutions")
            problems += [f"{shown(path, root)}: {found}" for found in leaks.find_in_assignment(path, secrets)]
    return problems


def _rebuild(source: SourceFile) -> str:
    return f"run `course build {source.shown}`"

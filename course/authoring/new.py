"""``course new``: a small homework, complete and right as it stands, for its author to change piece by piece."""

import re
import sys
from contextlib import suppress
from pathlib import Path

from course.atomic import write_together
from course.authoring.repository import AuthoringError, find_root

FRAME, FRAMED = Path("docs/new_homework"), "hw10_topic"  # not in course/, which students receive
SYLLABUS = Path("course/syllabus.py")
ROWS = "\nWITHOUT_LECTURE: list[Homework] = ["
MINUTES = 60  # what the frame takes a student
LONGEST_NAME = 40
_NAME = re.compile(r"hw(?:0|[1-9]\d*)_[a-z][a-z0-9_]*")

_NEXT = """
It is complete as it stands: two exercises, a question in words, and all that their checks need. Next:

course build {folder}
pytest tests/test_mistakes.py -k {name}
course release build/student {short}

Yours to change, in any order; after each change the three commands say whether it still holds together:

- {folder}/{name}.py: the title, the texts, the exercises and their answers, the question in words
- {folder}/exercises.py: for each exercise the points, the inputs, 1 to 3 hints, at least 4 mistakes, 2 other right answers
- {syllabus}: the title and the minutes; once it follows a lecture, move its line into the row of that lecture
- solutions/grading.toml: when it is due, if it is

docs/authoring.md explains every line of it.
"""


def new_command(name: str) -> int:
    """``course new hwN_topic`` for a terminal. Returns 0, or 1 if nothing was written."""
    try:
        root = find_root()
        for path, what in new_homework(name, root).items():
            print(f"{path.as_posix()}: {what}")
    except AuthoringError as error:
        print(f"course new: {error}", file=sys.stderr)
        return 1
    folder = f"solutions/{name}"
    print(_NEXT.format(folder=folder, name=name, short=name.partition("_")[0], syllabus=SYLLABUS.as_posix()), end="")
    return 0


def new_homework(name: str, root: Path) -> dict[Path, str]:
    """Write the sources of a homework called `name`, and its row in the syllabus: all of it or nothing.

    Returns:
        What was written, relative to `root`: path -> what it is.

    Raises:
        AuthoringError: the name does not fit or is taken, or a file cannot be read or written.
    """
    syllabus = _text(root, SYLLABUS)
    _require_free(name, root, syllabus)
    folder = Path("solutions") / name
    texts = {
        folder / f"{name}.py": _renamed(_text(root, FRAME / f"{FRAMED}.py"), name),
        folder / "exercises.py": _renamed(_text(root, FRAME / "exercises.py"), name),
        SYLLABUS: _with_row(syllabus, name),
    }
    try:
        write_together({root / path: text.encode() for path, text in texts.items()})
    except OSError as error:
        with suppress(OSError):
            (root / folder).rmdir()
        raise AuthoringError(
            f"nothing was written: {error.strerror} ({error.filename}); put that right and run it again"
        ) from None
    said = ("what the notebooks are built from", "inputs, points, mistakes, other right answers", "one line more")
    return dict(zip(texts, said))


def _renamed(text: str, name: str) -> str:
    """A file of the frame with the name, the number and the title of another homework."""
    for here, there in zip(_spellings(FRAMED), _spellings(name)):
        text = text.replace(here, there)
    return text


def _spellings(name: str) -> tuple[str, ...]:
    short = name.partition("_")[0]
    number = short.removeprefix("hw")
    return name, f"{short}.", f"Homework {number} · {_title(name)}", f"Homework {number}"


def _title(name: str) -> str:
    return name.partition("_")[2].replace("_", " ").strip().capitalize()


def _require_free(name: str, root: Path, syllabus: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise AuthoringError(
            f"{name!r} is no name of a homework: it is hw, a number, _ and the topic in lower-case letters, digits "
            f"and _, at most {LONGEST_NAME} characters in all; for instance: course new {_next_free(root, syllabus)}_topic"
        )
    short = name.partition("_")[0]
    taken = _names(root, syllabus)
    if name in taken:
        raise AuthoringError(f"{taken[name]} has {name} already: edit it there, or take another name")
    same = next((other for other in taken if other.startswith(f"{short}_")), None)
    if same:
        raise AuthoringError(
            f"{short} is {same} already ({taken[same]}), and commands know a homework by its number: take another "
            f"one, the next that is free is {_next_free(root, syllabus)}"
        )


def _names(root: Path, syllabus: str) -> dict[str, str]:
    """The homeworks there are, and where each is."""
    listed = {name: SYLLABUS.as_posix() for name in re.findall(r'Homework\("(hw\d+_\w+)"', syllabus)}
    for place in ("assignments", "solutions"):
        listed |= {path.name: place for path in sorted((root / place).glob("hw*_*")) if path.is_dir()}
    return listed


def _next_free(root: Path, syllabus: str) -> str:
    numbers = [int(match[1]) for name in _names(root, syllabus) if (match := re.match(r"hw(\d+)_", name))]
    return f"hw{max(numbers, default=-1) + 1}"


def _with_row(syllabus: str, name: str) -> str:
    """The syllabus with one row more among the homeworks that follow no lecture."""
    before, mark, after = syllabus.partition(ROWS)
    if not mark:
        raise AuthoringError(f"{SYLLABUS.as_posix()} has no line {ROWS.strip()!r}: put it back, nothing was written")
    row = f'\n    Homework("{name}", "{_title(name)}", {MINUTES}),'
    return before + mark + row + ("\n" if after.startswith("]") else "") + after


def _text(root: Path, path: Path) -> str:
    try:
        return (root / path).read_text(encoding="utf-8")
    except OSError as error:
        raise AuthoringError(f"{path.as_posix()} cannot be read ({error.strerror}): restore it from git") from None

"""What an instructor says about a class beside its notebooks: the homework, its due date, gradebook, list of students.

Loads nothing slow: a misspelt homework or a wrong date is told at once.
"""

import importlib.util
import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from course.authoring.repository import AuthoringError, find_root
from course.grading.collect.roster import Roster, read_roster
from course.grading.collect.whose import shown
from course.grading.problems import CannotGrade
from course.grading.record.deadlines import FILE_NAME, Deadline, read_deadline

RUN_FILE = "run.json"  # in OUT: what is graded there, see `course.grading.resume`
SECONDS_TO_CONNECT = 1.5  # to a scheduler


@dataclass(frozen=True)
class Settings:
    """What holds for one homework of one class.

    Args:
        deadline: when it is due.
        gradebook: an SQLite file, or the address of a database.
        roster: the students of the course; empty where nobody listed them.
    """

    deadline: Deadline
    gradebook: Path | str
    roster: Roster


def find_homework(assignment: str) -> tuple[Path, Path]:
    """(the repository's root, the homework's folder under solutions/) for ``"hw1_self_attention"`` or ``"hw1"``.

    Raises:
        CannotGrade: there is no such homework, or no repository around the current folder or this package.
    """
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


def read_settings(folder: Path, out: Path, config: Path | None, gradebook: str | None, roster: Path | None) -> Settings:
    """Read what there is.

    Args:
        folder: of the homework, ``solutions/hwN_topic``.
        config: None takes ``solutions/grading.toml``, if that is there.
        gradebook: None takes ``OUT/gradebook.db``.

    Raises:
        CannotGrade: something does not fit.
    """
    usual = folder.parent / FILE_NAME
    deadline = Deadline()
    if config is not None or usual.exists():
        homework = [path.parent.name for path in folder.parent.glob("hw*/exercises.py")]
        deadline = read_deadline(usual if config is None else Path(config), folder.name, homework)
    students = Roster() if roster is None else read_roster(Path(roster))
    place = out / "gradebook.db" if gradebook is None else gradebook
    if gradebook is not None or place.exists():
        from course.grading.record.gradebook import require_reachable

        require_reachable(place)
    return Settings(deadline, place, students)


def held_before(out: Path, topic: str) -> str:
    """A sentence for the instructor where `out` holds the grades of another homework than `topic`, else ``""``."""
    try:
        held = json.loads((out / RUN_FILE).read_bytes())["assignment"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    if held == topic or not isinstance(held, str):
        return ""
    return f"{out} held {shown(held)}: its grades.csv, report and pages give way to {topic}."


def require_scheduler(address: str) -> None:
    """Raises CannotGrade: nothing listens at the address of a Dask scheduler, or ``distributed`` is not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise CannotGrade(
            "--scheduler needs the package `distributed` here and on every worker: pip install distributed"
        )
    match = re.fullmatch(r"(?:(?:tcp|tls)://)?(\[[^\]]+\]|[^:/]+):([0-9]{1,5})/?", address)
    if match is None or int(match[2]) >= 2**16:
        raise CannotGrade(f"--scheduler takes the address of a Dask scheduler, tcp://HOST:PORT; {address!r} is none.")
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), SECONDS_TO_CONNECT).close()
    except (OSError, UnicodeError) as error:
        raise CannotGrade(
            f"no Dask scheduler answers at {address} ({error}). Start one with `dask scheduler`, and workers with "
            f"`dask worker {address}`."
        ) from None

"""What an instructor says about a class beside its notebooks: the homework, its due date, gradebook, list of students.

Loads nothing slow: a misspelt homework or a wrong date is told at once.
"""

from dataclasses import dataclass
from pathlib import Path

from course.authoring.repository import AuthoringError, find_root
from course.grading.collect.roster import Roster, read_roster
from course.grading.problems import CannotGrade
from course.grading.record.deadlines import FILE_NAME, Deadline, read_deadline


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
    return Settings(deadline, out / "gradebook.db" if gradebook is None else gradebook, students)

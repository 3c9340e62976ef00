"""Which files belong to a lecture and to a homework: its source, and what is built from it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from course.authoring.repository import AuthoringError
from course.checks import public

_LECTURE_NAME = re.compile(r"^\d\d_[a-z0-9_]+$")
_HOMEWORK_NAME = re.compile(r"^hw\d+_[a-z0-9_]+$")


@dataclass(frozen=True)
class LectureFiles:
    """Of one lecture: `source`, edited by hand, and `notebook`, built from it."""

    root: Path
    name: str  # "03_self_attention"

    @property
    def source(self) -> Path:
        return self.root / "notebooks" / "source" / f"{self.name}.py"

    @property
    def notebook(self) -> Path:
        return self.root / "notebooks" / f"{self.name}.ipynb"


@dataclass(frozen=True)
class HomeworkFiles:
    """Of one homework: `source` in `folder`, edited by hand; `solution`, `assignment` and `checks`, built from it."""

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


def all_targets(root: Path) -> list[LectureFiles | HomeworkFiles]:
    """All lectures, then all homeworks: whatever has a source with the right name."""
    return [*all_lectures(root), *all_homeworks(root)]


def all_lectures(root: Path) -> list[LectureFiles]:
    names = sorted(path.stem for path in (root / "notebooks" / "source").glob("*.py"))
    return [LectureFiles(root, name) for name in names if is_lecture_name(name)]


def all_homeworks(root: Path) -> list[HomeworkFiles]:
    names = {path.parent.name for path in (root / "solutions").glob("*/*.py")}
    names = sorted(names, key=lambda name: (len(name.partition("_")[0]), name))  # hw2 before hw10
    return [HomeworkFiles(root, name) for name in names if _HOMEWORK_NAME.match(name)]


def targets_of(path: Path, root: Path) -> list[LectureFiles | HomeworkFiles]:
    """The source or sources that a path of a command line means.

    Raises:
        AuthoringError: it belongs to none.
    """
    known = all_targets(root)
    for full in (Path(os.path.normpath(start / path)) for start in (Path.cwd(), root)):
        if full == root:
            return known
        if full in (root / "notebooks", root / "notebooks" / "source"):
            return list(all_lectures(root))
        if full in (root / "solutions", root / "assignments"):
            return list(all_homeworks(root))
        for target in known:
            if isinstance(target, LectureFiles):
                found = full in (target.source, target.notebook)
            else:
                folders = (target.folder, target.assignment.parent)
                found = full in folders or full.parent in folders
            if found:
                return [target]
    names = ", ".join(target.name for target in known) or "none"
    raise AuthoringError(
        f"{path} belongs to no source here: give notebooks/source/NN_topic.py, solutions/hwN_topic, or what is built "
        f"from them; there are {names}"
    )


def is_lecture_name(stem: str) -> bool:
    return bool(_LECTURE_NAME.match(stem))


def shown(path: Path, root: Path) -> str:
    """A file's name in messages: its path from the root of the repository."""
    return path.relative_to(root).as_posix()

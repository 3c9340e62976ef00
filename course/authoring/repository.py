"""Finds the repository, and has the error for what is wrong in it. Imports nothing slow: commands call this first."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

RELEASE_MARKER = ".course-release.json"  # what was released there, so that later it is known what a student changed


class AuthoringError(Exception):
    """Something an author can put right; `lines` holds one sentence a problem, with the file and the remedy."""

    def __init__(self, *lines: str):
        super().__init__("\n".join(lines))
        self.lines = list(lines)


def find_root(start: Path | None = None) -> Path:
    """The repository's root: the nearest folder upwards that holds ``notebooks/source`` and ``solutions``.

    Raises AuthoringError, saying so where `start` lies in a student's tree.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "notebooks" / "source").is_dir() and (folder / "solutions").is_dir():
            return folder
    for folder in (start, *start.parents):
        if (folder / "notebooks").is_dir() and (folder / "assignments").is_dir():
            raise AuthoringError(
                f"{folder} is a student's tree: it has no solutions/ and nothing to build or release; "
                "`course check NOTEBOOK` checks your work"
            )
    raise AuthoringError(
        f"{start} is not inside the course's repository: go to the folder that holds notebooks/source and solutions"
    )


def homework_names(root: Path) -> list[str]:
    """The homework of the repository, as its folders are called."""
    folders = {path.parent.name for path in (root / "solutions").glob("hw*/*.py")}
    return sorted(name for name in folders if re.fullmatch(r"hw\d+_[a-z0-9_]+", name))


def require_releasable(out: Path, homeworks: Iterable[str], root: Path) -> None:
    """Raises AuthoringError: `out` cannot be written to by ``course release``, or there is no such homework."""
    out = out.resolve()
    inside = [
        name for name in ("notebooks", "assignments", "solutions", "course") if (root / name) in (out, *out.parents)
    ]
    if inside or out == root:
        raise AuthoringError(f"{out} lies within what is released from: give a folder of its own")
    if out.exists() and not out.is_dir():
        raise AuthoringError(f"{out} is a file: give a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / RELEASE_MARKER).is_file():
        raise AuthoringError(f"{out} is not empty and no earlier release: empty it, or give another folder")
    known = homework_names(root)
    unknown = [name for name in homeworks if name not in {*known, *(work.split("_")[0] for work in known)}]
    if unknown:
        names = ", ".join(known) or "none"
        raise AuthoringError(f"there is no homework {', '.join(map(repr, unknown))}; there is {names}")
    above = next(folder for folder in (out, *out.parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise AuthoringError(f"{out} cannot be written: {above} is {'no folder' if above.is_file() else 'read-only'}")

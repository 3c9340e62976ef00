"""Finds the repository, and has the error for what is wrong in it. Imports nothing slow: commands call this first."""

from pathlib import Path


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

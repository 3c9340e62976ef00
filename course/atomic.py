"""Files that are written whole or not at all: a reader sees what was there before or all of what is new."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WRITING = ".writing-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write a file to. After the block that file takes the place of `path`.

    Folders are made where they are missing. If the block raises, `path` stays as it was and nothing is left behind; a
    process that is killed in it leaves one file, which the next writing of `path` or `remove_left_overs` removes.
    No two may write the same `path` at once.

    Raises:
        OSError: the disk is full, say; its `filename` is `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{_WRITING}{path.name}")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # which nobody else knows by its other name, if by any
        raise


def write_atomically(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write `data` to `path`, whole or not at all; see `replacing`.

    Args:
        mode: who may read and write the file, less what the umask takes away.
    """
    with replacing(path) as partial:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)


def remove_left_overs(folder: Path) -> None:
    """Remove what a process that was killed while writing into `folder` left there."""
    for partial in folder.glob(f"{_WRITING}*"):
        partial.unlink(missing_ok=True)

"""Files that are written whole or not at all: a reader sees what was there before or all of what is new."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
            error.filename = str(path)  # callers know this name, and not that of the partial file
        raise


def write_atomically(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write `data` to `path`, whole or not at all; see `replacing`.

    Args:
        mode: who may read and write the file, less what the umask takes away.
    """
    with replacing(path) as partial:
        _write(partial, data, mode)


def write_together(files: dict[Path, bytes]) -> None:
    """Write files that belong together: all of them are written before the first takes its place.

    Ctrl-C and SIGTERM take effect after the last has; a process that is killed in between leaves each file old or new.

    Raises:
        OSError: as `replacing`; then no file has changed, unless the disk failed between two of them.
    """
    with undisturbed(), ExitStack() as replaced:
        for path, data in files.items():
            _write(replaced.enter_context(replacing(path)), data)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM that come in the block take effect after it."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def remove_left_overs(folder: Path) -> None:
    """Remove what a process that was killed while writing into `folder` left there."""
    for partial in folder.glob(f"{_WRITING}*"):
        partial.unlink(missing_ok=True)


def _write(path: Path, data: bytes, mode: int = 0o666) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)

"""One grader at a time writes to a folder."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from course.grading.problems import CannotGrade

FILE = ".lock"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The system releases it when this process ends, however it ends.

    Raises:
        CannotGrade: another process holds it.
        OSError: the lock file cannot be made.
    """
    handle = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.read(handle, 20).decode("ascii", "replace").strip()
            raise CannotGrade(
                f"another `course grade`{f' (process {process})' if process else ''} is writing to {folder}: wait "
                "until it is done, or give another folder with -o."
            ) from None
        except OSError as error:  # a network disk without locks
            print(f"{folder} cannot be locked ({error.strerror}): do not grade into it twice at once.", file=sys.stderr)
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)

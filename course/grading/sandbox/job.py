"""What a job is to the grader, whichever walls are around it, and what it is given to know."""

import os
import shutil
import socket
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path


class CannotStart(RuntimeError):
    """A job did not get as far as running student code: the fault of the machine or of the limits."""


class ServerLost(CannotStart):
    """The fork server was ended from outside, and every job with it: no fault of the code that ran."""


class Job(ABC):
    """One process for student code, seen from outside.

    Attributes:
        channel: the socket on which it is told what to do.
        output: file descriptor of what it prints.
    """

    channel: socket.socket
    output: int

    @abstractmethod
    def exit_code(self, seconds: float) -> int | None:
        """How it ended (minus the signal, where one ended it); None if it has not within `seconds`.

        Raises:
            ServerLost: nobody can tell any more.
        """

    @abstractmethod
    def close(self) -> None:
        """Kill it with all that it started, and remove what it wrote."""


def environment(home: str, fonts: str) -> dict[str, str]:
    """All that a job gets: nothing of the grader's own environment but where libraries are.

    Args:
        home: the folder it may write to.
        fonts: matplotlib's folder.
    """
    import course

    found = {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(course.__file__).resolve().parent.parent),
        "HOME": home,
        "TMPDIR": home,
        "MPLCONFIGDIR": fonts,
        "MPLBACKEND": "agg",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "COURSE_BUDGET": "cpu",
        "COURSE_OFFLINE": "1",
    }
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
        if name in os.environ:
            found[name] = os.environ[name]
    return found


def copy_font_lists(folder: str) -> None:
    """Give a job matplotlib's lists of fonts, if this user has them: making one anew takes seconds."""
    with suppress(OSError):  # a folder that this user may not read
        for path in _matplotlib_cache().glob("fontlist-*.json"):
            shutil.copy(path, folder)


def _matplotlib_cache() -> Path:
    """``matplotlib.get_cachedir()``, on Linux without loading it."""
    if sys.platform != "linux" or "matplotlib" in sys.modules:
        import matplotlib

        return Path(matplotlib.get_cachedir())
    own, cache = os.environ.get("MPLCONFIGDIR"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(cache or Path.home() / ".cache") / "matplotlib"

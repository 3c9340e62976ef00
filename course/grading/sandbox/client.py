"""The grader's side: start processes for student code and end them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from course.grading.limits import Limits


class CannotStart(RuntimeError):
    """A child did not get as far as running student code: the fault of the machine or of the limits."""


class Job:
    """One process for student code, seen from outside.

    Attributes:
        channel: the socket on which it is told what to do.
        output: file descriptor of what it prints.
    """

    def __init__(self, limits: Limits):
        self._folder = tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True)
        self.channel, theirs = socket.socketpair()
        memory = str(limits.memory) if limits.enforced else ""
        try:
            self._process = subprocess.Popen(
                # -P: a file torch.py that student code leaves in its folder is not imported.
                [sys.executable, "-P", "-m", "course.grading.worker", str(theirs.fileno()), memory],
                cwd=self._folder.name,
                env=_environment(Path(self._folder.name)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            self.channel.close()
            self._folder.cleanup()
            raise CannotStart(f"a process for student code cannot be started: {error.strerror}") from None
        finally:
            theirs.close()
        self.output = self._process.stdout.fileno()

    def exit_code(self, seconds: float) -> int | None:
        """How it ended (minus the signal, where one ended it); None if it has not within `seconds`."""
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Kill it with all that it started, and remove what it wrote."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # all gone already; macOS says the latter of zombies
            pass
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self.channel.close()
        self._folder.cleanup()


class Sandbox:
    """Starts processes for student code, all under the same `limits`. Use it in a `with` statement."""

    def __init__(self, limits: Limits):
        self.limits = limits

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def start(self) -> Job:
        """A fresh process. Raises `CannotStart`. May be called from several threads at once."""
        return Job(self.limits)

    def close(self) -> None:
        """End everything that is still running."""

    @property
    def isolation(self) -> str:
        """What contains student code, in honest words for the summary and for every report."""
        if not self.limits.enforced:
            return (
                "Isolation: none was asked for. A separate process for each submission, with a time limit and "
                "nothing else; student code can read, write and send whatever the grader can."
            )
        return (
            "Isolation: process limits only; namespaces come later. Each submission ran in a separate process with "
            "its own folder, a clean environment and limits on time, memory, files and output. Answers were compared "
            "outside it, but it could read files that the grader can read, and use the network."
        )


def _environment(folder: Path) -> dict[str, str]:
    """All that the child gets: nothing of the grader's own environment but where libraries are."""
    import course

    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(course.__file__).resolve().parent.parent),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "MPLCONFIGDIR": str(_font_cache(folder)),
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
            environment[name] = os.environ[name]
    return environment


def _font_cache(folder: Path) -> Path:
    """A private copy of matplotlib's list of fonts: making it anew takes seconds in every child."""
    import matplotlib

    private = folder / "matplotlib"
    private.mkdir()
    for cache in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):
        shutil.copy(cache, private)
    return private

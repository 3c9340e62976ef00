"""Without any wall: a fresh Python for each job. For one's own code, and where the instructor asks for it by name."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from course.grading.sandbox.job import CannotStart, Job, copy_font_lists, environment
from course.grading.sandbox.remove import remove_folder


class PlainJob(Job):
    """A process with nothing around it but a folder, an environment and a process group of its own."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True)
        self.channel, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                # -P: a file torch.py that student code leaves in its folder is not imported.
                [sys.executable, "-P", "-m", "course.grading.run.worker", str(theirs.fileno())],
                cwd=self._folder.name,
                env=environment(self._folder.name, _fonts(self._folder.name)),
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
        remove_folder(self._folder.name)
        self._folder.cleanup()


def _fonts(folder: str) -> str:
    private = Path(folder) / "matplotlib"
    private.mkdir()
    copy_font_lists(str(private))
    return str(private)

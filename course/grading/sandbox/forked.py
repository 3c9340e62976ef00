"""A process that is a fork of this one and goes another way: of `subprocess.Popen`, what is needed of it."""

import os
import select
import signal
import subprocess
from collections.abc import Callable


class Forked:
    """Args:
    go: what the fork does; it never returns.
    """

    def __init__(self, go: Callable[[], None]):
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                go()
            finally:
                os._exit(1)
        self._ended = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        try:
            return self.wait(timeout=0.0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a fork", timeout or 0.0)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._ended)
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

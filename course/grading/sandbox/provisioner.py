"""Warm, sandboxed kernels for any Jupyter program: JUPYTER_DEFAULT_PROVISIONER_NAME=course-sandbox.

Unchanged `pytest --nbval-lax`, `nbgrader autograde`, JupyterLab and Sphinx then take their kernels from a fork server:
ready in a fraction of a second with PyTorch loaded, and behind the walls that grading has. The program's first kernel
waits for the server. A kernel sees copies of the files beside its notebook; what it writes is gone when it ends.

This is for speed and containment. It makes no verdict of a notebook's own tests trustworthy: they run beside the code
that they test. Only `course grade` decides outside.
"""

import asyncio
import json
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import LocalProvisioner

from course.grading.limits import Limits
from course.grading.sandbox.client import ForkedJob, ForkServer
from course.grading.sandbox.house import NAMESPACES
from course.grading.sandbox.job import CannotStart, ServerLost
from course.grading.sandbox.notebook_kernel import pack

LONGEST_LIFE = 7 * 24 * 3600  # seconds
LARGEST_FILES = 100 * 2**20  # bytes, of all files beside a notebook
MOST_PASSED_ON = 2**20  # bytes
_PORTS = ("shell", "iopub", "stdin", "hb", "control")


class SandboxProvisioner(LocalProvisioner):
    """Starts kernels as forks of one server for each process that uses it."""

    job: ForkedJob | None = None
    _code: int | None = None
    _folder: Path | None = None

    @property
    def has_process(self) -> bool:
        return self.job is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        # There is no network in there: the kernel's sockets are files in a folder that both sides see.
        server, exchange = await asyncio.get_running_loop().run_in_executor(None, _server)
        manager = self.parent
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(dir=exchange, prefix="k"))
            if os.getuid() == 0:
                os.chown(self._folder, server.user, server.user)
            manager.cache_ports = False
            manager.transport, manager.ip = "ipc", str(self._folder / "k")
            for number, name in enumerate(_PORTS, start=1):
                setattr(manager, f"{name}_port", number)
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        server, _ = _server()
        connection = json.loads(Path(self.parent.connection_file).read_text())
        files = pack(os.path.abspath(kwargs.get("cwd") or os.getcwd()), LARGEST_FILES)
        request = {
            "job": "notebook kernel",
            "seconds": LONGEST_LIFE,
            "exchange": self._folder.name,
            "connection": connection,
        }
        self._code = None
        with tempfile.TemporaryFile() as tar:
            tar.write(files.getbuffer())
            tar.seek(0)
            self.job = ForkedJob(server, Limits(), request, (tar.fileno(),))
        threading.Thread(target=_pass_on, args=(os.dup(self.job.output),), daemon=True).start()
        self.pid, self.pgid = None, None
        return self.connection_info

    async def poll(self) -> int | None:
        if self.job is None:
            return 0
        if self._code is None:
            try:
                self._code = self.job.exit_code(seconds=0)
            except ServerLost:
                self._code = -signal.SIGKILL
        return self._code

    async def wait(self) -> int | None:
        while await self.poll() is None:
            await asyncio.sleep(0.02)
        if self.job is not None:
            self.job.close()
            self.job = None
        return self._code

    async def send_signal(self, signum: int) -> None:
        if self.job is None or await self.poll() is not None:
            return
        if signum == signal.SIGINT:
            self.job.interrupt()
        elif signum in (signal.SIGKILL, signal.SIGTERM):
            self.job.end()

    async def kill(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:
        if self._folder is not None and not restart:
            for socket in self._folder.iterdir():
                socket.unlink(missing_ok=True)
            self._folder.rmdir()
            self._folder = None


def _pass_on(output: int) -> None:
    """Show what the kernel prints past its notebook where this program prints, as other kernels' is; not without end."""
    left = MOST_PASSED_ON
    with open(output, "rb", buffering=0) as file:
        while said := file.read(2**16):
            os.write(2, said[:left])
            left -= len(said[:left])


_starting = threading.Lock()
_running: tuple[ForkServer, Path, tempfile.TemporaryDirectory] | None = None


def _server() -> tuple[ForkServer, Path]:
    """This process's fork server and the folder in which its kernels meet the outside."""
    global _running
    with _starting:
        if _running is None:
            folder = tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True)
            os.chmod(folder.name, 0o711)
            server = ForkServer(exchange=Path(folder.name))
            if server.kind != NAMESPACES:
                server.close()
                raise CannotStart("sandboxed kernels need user namespaces; this machine allows none")
            _running = server, Path(folder.name), folder
        return _running[:2]

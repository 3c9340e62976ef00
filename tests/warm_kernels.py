"""Kernels for nbval from a process that has PyTorch loaded: `pytest -p tests.warm_kernels --nbval-lax notebooks`.

A notebook's kernel takes seconds of imports before its first cell, the same for every notebook. Here each pytest
process starts one server on its first notebook; the server imports what the notebooks import and forks a kernel for each. A
fork has a fresh namespace, its own folder and environment, and shares nothing that another wrote. It has no walls, so
it is for our own notebooks only; `course build` and a student's JupyterLab start their kernels as always.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import course.quick_nbformat  # noqa: F401  (this plugin is loaded before nbval)

NAME = "course-warm"
# The last one is what the first step of an optimizer imports.
PRELOADED = [
    "einops",
    "ipywidgets",
    "matplotlib.pyplot",
    "sklearn.datasets",
    "torch",
    "torchvision",
    "course",
    "course.analysis",
    "course.checks",
    "course.data",
    "course.models",
    "course.plots",
    "course.training",
    "torch._dynamo",
]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """In this process alone, and again after a test that had the factory made anew."""
    from jupyter_client.provisioning import KernelProvisionerFactory

    factory = KernelProvisionerFactory.instance()
    if NAME not in factory.provisioners:
        entry = EntryPoint(NAME, "tests.warm_kernels:provisioner_class", KernelProvisionerFactory.GROUP_NAME)
        factory.provisioners[NAME] = entry
    factory.default_provisioner_name = NAME  # the list above is kept when the factory is made anew, the name is not


def pytest_unconfigure(config) -> None:
    global _server
    if _server is not None:
        _server.close()
        _server = None


class Server:
    """The process that forks kernels."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_kernels", str(theirs.fileno())],
                cwd=Path(__file__).parents[1],
                env={**os.environ, "OMP_NUM_THREADS": "1"},  # a second thread would not outlive the fork
                pass_fds=(theirs.fileno(),),
            )

    def kernel(self, connection_file: str, folder: str, environment: dict[str, str], stderr: int) -> "Kernel":
        request = {"connection": connection_file, "folder": folder, "environment": environment}
        socket.send_fds(self._channel, [json.dumps(request).encode() + b"\n"], [stderr])
        return Kernel(int(self._channel.recv(20)))

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


class Kernel:
    """What jupyter_client asks of a child process, for one that is a grandchild."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = False

    def poll(self) -> int | None:
        if not self._ended:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                self._ended = True
        return 1 if self._ended else None

    wait = poll  # is only called once it has ended

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


_server: Server | None = None


def provisioner_class(**options: Any):
    """An instance of the provisioner; jupyter_client is not imported where the server runs."""
    from jupyter_client.provisioning import LocalProvisioner

    class WarmProvisioner(LocalProvisioner):
        async def launch_kernel(self, cmd: list[str], **options: Any) -> dict[str, Any]:
            global _server
            if _server is None:
                _server = Server()
            self.cwd = str(options.get("cwd") or Path.cwd())
            stderr = options.get("stderr")
            self.process = _server.kernel(
                self.parent.connection_file,
                self.cwd,
                options.get("env") or dict(os.environ),
                2 if stderr is None else stderr.fileno(),
            )
            self.pid = self.pgid = self.process.pid
            return self.connection_info

    return WarmProvisioner(**options)


# ---- in the server


def serve(channel: socket.socket) -> None:
    """Fork a kernel for each request, until the other side hangs up."""
    from course.grading.sandbox import notebook_kernel

    notebook_kernel.warm_up()
    for name in PRELOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, _forget_ended)
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, 2**20, 1)
        if not data:
            return
        while not data.endswith(b"\n"):
            data += channel.recv(2**20)
        pid = os.fork()
        if pid == 0:
            channel.close()
            _become_kernel(json.loads(data), descriptors[0])
        os.close(descriptors[0])
        channel.sendall(str(pid).encode())


def _forget_ended(*_: Any) -> None:
    """As soon as it ends, or its number would still look alive."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _become_kernel(request: dict, stderr: int) -> None:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    os.dup2(stderr, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.close(stderr)
    sys.path[:] = [path for path in sys.path if path not in ("", str(Path(__file__).parents[1]))]
    from course.grading.sandbox.notebook_kernel import start

    start(request["connection"])
    os._exit(0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))

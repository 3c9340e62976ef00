"""The grader's side of the sandbox: `Sandbox` starts jobs, each in its own walls, from one warm fork server."""

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from course.grading.limits import Limits
from course.grading.sandbox import cgroups, server
from course.grading.sandbox.forked import Forked
from course.grading.sandbox.house import KINDS, LANDLOCK, NAMESPACES, SERVER_HOME
from course.grading.sandbox.job import CannotStart, Job, ServerLost, copy_font_lists, environment
from course.grading.sandbox.jobs import MOST_PROCESSES
from course.grading.sandbox.plain import PlainJob
from course.grading.sandbox.remove import remove_folder
from course.grading.sandbox.supervise import INTERRUPT

SECONDS_TO_WARM_UP = 180  # for the imports, on a machine that is busy with something else
MOST_SERVERS = 3  # one after the other, when something outside ends them
_MORE_MEMORY = 128 * 2**20  # bytes beyond which the kernel ends what its own process did not notice
_MORE_TIME = 60  # seconds after which a supervisor ends a job that the grader should have ended

_REMEDY = (
    "student code cannot be contained on this machine: {why}. Allow user namespaces (sysctl "
    "kernel.unprivileged_userns_clone=1, or in a container --security-opt seccomp=unconfined), or grade on a Linux "
    "machine that has them (WSL 2 does); or ask for no walls by name: --sandbox none"
)


_early: list["ForkServer"] = []


def fork_early() -> None:
    """Fork a server from this process, which has done `server.load` and knows no secret yet, for its first `Sandbox`."""
    try:
        _early.append(ForkServer(here=True))
    except CannotStart:  # the sandbox tries again in the other ways there are, and says why if none works
        pass


class Sandbox:
    """Starts processes for student code, all under the same `limits`. Use it in a `with` statement."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._starting = threading.Lock()
        self._server: ForkServer | None = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def start(self) -> Job:
        """A fresh process. Raises `CannotStart`. May be called from several threads at once."""
        if not self.limits.enforced:
            return PlainJob()
        for _ in range(MOST_SERVERS):
            running = self._running_server()
            try:
                return ForkedJob(running, self.limits)
            except ServerLost:
                with self._starting:
                    if self._server is running:
                        self._server = None
                running.close()
        raise CannotStart("the process that starts others ends again and again: is there too little memory?")

    def _running_server(self) -> "ForkServer":
        with self._starting:
            if self._server is None:
                self._server = _early.pop() if _early else ForkServer()
            return self._server

    def close(self) -> None:
        """End everything that is still running."""
        if self._server is not None:
            self._server.close()
            self._server = None

    @property
    def isolation(self) -> str:
        """What contains student code, in honest words for the summary and for every report."""
        if not self.limits.enforced:
            return (
                "Isolation: none was asked for. A separate process for each submission, with a time limit and "
                "nothing else; student code can read, write and send whatever the grader can."
            )
        kind = self._server.kind if self._server else NAMESPACES
        walls = {
            NAMESPACES: "in namespaces of its own (users, files, processes, network), with a read-only system, an "
            "empty scratch folder, and no network",
            LANDLOCK: "behind Landlock and seccomp (this machine allows no namespaces): a read-only system, a scratch "
            "folder of its own, no network, no signals to others; it could see that other processes exist",
        }[kind]
        if self._server and self._server.bubblewrap:
            walls += ", all of it inside bubblewrap"
        limits = "limits on time, memory, processes, files and output"
        if self._server and not self._server.bounds_memory_of_all:
            limits += " (on memory for each process alone: no control group can be made here)"
        return f"Isolation: each submission ran {walls}; {limits}. Answers were compared outside it."


class ForkServer:
    """A running fork server (see `server`), with the best walls that this machine allows.

    Args:
        exchange: for notebook kernels: a folder in which each has one of its own that it shares with the outside.
        here: it is a fork of this process and no program of its own; see `fork_early`.

    Attributes:
        kind: of walls, see `house.KINDS`.
        bubblewrap: whether it runs inside that as well.
        user: whose processes the jobs are.
        bounds_memory_of_all: whether the processes of a job share one limit on memory.

    Raises:
        CannotStart: this machine allows none; the text says what to do.
    """

    def __init__(self, exchange: Path | None = None, here: bool = False):
        self._exchange, self._here = exchange, here
        if sys.platform != "linux":
            raise CannotStart(_REMEDY.format(why="it is not Linux"))
        cgroups.remove_left_overs()
        group = cgroups.make(2**30, MOST_PROCESSES)
        self.bounds_memory_of_all = group is not None and "memory" in group.bounded
        if group:
            group.close()
        refused = []
        for self.kind, around in [(kind, []) for kind in KINDS] if here else _walls(exchange):
            try:
                self._start(around)
                self.bubblewrap = bool(around)
                return
            except _Refused as why:
                refused.append(f"{self.kind}: {why}")
        raise CannotStart(_REMEDY.format(why="; ".join(refused)))

    def _start(self, around: list[str]) -> None:
        self._asking = threading.Lock()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        exchange = {"COURSE_EXCHANGE": str(self._exchange)} if self._exchange else {}
        self._folder = tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True)
        os.chmod(self._folder.name, 0o777)  # the server is another user
        copy_font_lists(self._folder.name)
        home = SERVER_HOME if self.kind == NAMESPACES else self._folder.name
        variables = environment(home, home) | {"COURSE_FONT_LISTS": self._folder.name} | exchange
        with theirs, tempfile.TemporaryFile() as said:
            try:
                if self._here:
                    self._process = Forked(
                        partial(server.take_over, theirs.fileno(), self.kind, variables, said.fileno())
                    )
                else:
                    self._process = subprocess.Popen(
                        [*around, sys.executable, "-P", "-m", server.__name__, str(theirs.fileno()), self.kind],
                        cwd="/",
                        env=variables,
                        stdin=subprocess.DEVNULL,
                        stdout=said,
                        stderr=said,
                        pass_fds=(theirs.fileno(),),
                        start_new_session=True,  # Ctrl-C is for the grader, who then ends it in order
                    )
            except OSError as error:
                self._line.close()
                raise CannotStart(f"a process for student code cannot be started: {error.strerror}") from None
            theirs.close()
            self._line.settimeout(SECONDS_TO_WARM_UP)
            try:
                answer = self._line.recv(4096)
            except TimeoutError:
                answer = b"it did not get ready in time"
            self._line.settimeout(None)
            if answer.startswith(server.READY):
                self.user = int(answer.split()[1])
                return
            self.close()
            said.seek(0)
            last_words = " ".join(said.read()[-4000:].decode("utf-8", "replace").split()[-60:])
        why = answer.decode("utf-8", "replace").removeprefix("refused: ")
        raise _Refused(why or last_words or "it ended without a word")

    def ask(self, request: dict, descriptors: list[int]) -> None:
        """Send a request. Raises `ServerLost` if the server is no more."""
        try:
            with self._asking:
                socket.send_fds(self._line, [json.dumps(request).encode()], descriptors)
        except OSError as error:
            raise ServerLost(f"the process that starts others was ended from outside ({error.strerror})") from None

    def close(self) -> None:
        """End it; with namespaces, every job ends with it."""
        self._line.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


def _walls(exchange: Path | None) -> list[tuple[str, list[str]]]:
    """The kinds of walls, the best first, each with the command around the server."""
    walls = [(kind, []) for kind in KINDS]
    if shutil.which("bwrap") and NAMESPACES in KINDS:
        # A second wall, by other people's hands, should ours have a hole. It keeps what the house is built from.
        unshared = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--new-session"]
        tree = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
        tree += ["--bind", str(exchange), str(exchange)] if exchange else []
        rights = ["--cap-add", "ALL"] if os.getuid() == 0 else []
        walls.insert(0, (NAMESPACES, ["bwrap", *tree, *unshared, *rights, "--"]))
    return walls


class _Refused(Exception):
    """This kind of walls cannot be had on this machine."""


class ForkedJob(Job):
    """A fork of the server, behind its walls."""

    def __init__(self, running: ForkServer, limits: Limits, job: dict | None = None, gives: tuple[int, ...] = ()):
        """
        Args:
            job: what it does (see `jobs`), ``{"job": "cells"}`` by default, and what to know for that.
            gives: descriptors it gets besides the channel.
        """
        self._told = b""
        self._scratch: Path | None = None
        self._group = cgroups.make(limits.memory + _MORE_MEMORY, MOST_PROCESSES)
        self.channel, channel = socket.socketpair()
        self._line, line = socket.socketpair()
        self.output, output = os.pipe()
        try:
            groups = self._group.entries if self._group else []
            request = {
                "job": "cells",
                "seconds": limits.whole_submission + _MORE_TIME,
                "memory": limits.memory,
                "groups": len(groups),
            }
            if running.kind == LANDLOCK:
                self._scratch = Path(tempfile.mkdtemp(prefix="course-"))
                os.chown(self._scratch, running.user, -1)
                request["scratch"] = str(self._scratch)
            running.ask(request | (job or {}), [line.fileno(), output, channel.fileno(), *gives, *groups])
        except BaseException:
            self.close()
            raise
        finally:
            channel.close()
            line.close()
            os.close(output)

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._line.send(INTERRUPT)

    def exit_code(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while not self._told:
            ready, _, _ = select.select([self._line], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            self._told = self._line.recv(4096)
            if not self._told:
                raise ServerLost("the process that watched over it was ended from outside")
        return json.loads(self._told)["exit"]

    def end(self) -> None:
        """Have it killed, without waiting."""
        self._line.shutdown(socket.SHUT_WR)  # on this the supervisor ends the job

    def close(self) -> None:
        try:
            self.end()
            self.exit_code(seconds=15)
        except (OSError, ServerLost):
            pass
        self._line.close()
        self.channel.close()
        os.close(self.output)
        if self._group:
            self._group.close()
        if self._scratch:
            remove_folder(self._scratch)

"""``course grade`` as a person types it: PyTorch is loaded once, for the fork server and for the grader.

Three processes follow from each other, so that student code is forked from one that never held a secret:

1. the command checks what it was given, as always, and starts
2. the *origin*: an environment of nothing but where libraries are, no argument but a socket and names of modules. It loads
   PyTorch, forks the fork server and the process for the `run.oracle`, and says so. Only then
3. the command tells it what to grade, with the seed if one was given, and the origin becomes the grader.

Nothing of what comes in step 3 can be in the fork server's memory, and nothing that the grader reads later. Where a server
cannot be forked like this (bubblewrap goes around a program, a cluster has its own, without walls there is none), the
command grades in its own process. For Linux only.
"""

import ast
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from course.grading.command import Checked, alone_in, check_given, grade_command
from course.grading.problems import CannotGrade
from course.grading.sandbox import client, kernel, server
from course.grading.sandbox.house import HIDDEN
from course.grading.sandbox.job import copy_font_lists, environment
from course.steps import Steps

PROGRAM = ("-m", "course.grading.apart")  # of the origin, for Python
READY = b"ready"
DO_EXERCISES = tuple(name.replace("/", ".") for name in HIDDEN)
# What of its own environment the grader keeps: it compares on one thread and on the processor.
KEPT = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "MPLBACKEND")


def grade_apart(submissions: Path, assignment: str, out: Path, **options: Any) -> int:
    """The same as `course.grading.command.grade_command`."""
    try:
        checked = check_given(submissions, assignment, out, **options)
        if not _can_be(checked, options["scheduler"]):
            return grade_command(submissions, assignment, out, **options)
        with alone_in(checked.out, checked.folder.name):
            pass  # what is wrong with the folder is said now
        with Steps(f"course grade: preparing {checked.folder.name}") as steps:
            steps("loading PyTorch")
            with _origin(_modules_of(checked.root / "assignments" / checked.folder.name)) as (process, channel):
                channel.recv(len(READY), socket.MSG_WAITALL)
                steps.close()
                told = {"given": [str(submissions), assignment, str(out)], "options": options}
                told |= {"environment": dict(os.environ), "encoding": sys.stdout.encoding}
                with suppress(OSError):  # it has ended, which is noticed now
                    channel.sendall(json.dumps(told, default=str).encode() + b"\n")
                return _wait(process)
    except CannotGrade as problem:
        print(f"course grade: {problem}", file=sys.stderr)
        return 2


def _can_be(checked: Checked, scheduler: str | None) -> bool:
    return checked.limits.enforced and scheduler is None and shutil.which("bwrap") is None


def _modules_of(folder: Path) -> list[str]:
    """What the notebook that students receive imports: their code needs it too, and it is nobody's secret."""
    try:
        cells = json.loads((folder / f"{folder.name}.ipynb").read_bytes())["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    except (OSError, ValueError, KeyError, TypeError, SyntaxError):
        return []
    names = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return sorted(set(names))


@contextmanager
def _origin(modules: list[str]) -> Iterator[tuple[subprocess.Popen, socket.socket]]:
    """The process that becomes fork server and grader, with the line to it. Ctrl-C does not end this one meanwhile."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True))
        copy_font_lists(folder)
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        variables = environment(folder, folder) | {"TMPDIR": tempfile.gettempdir(), "TORCHINDUCTOR_CACHE_DIR": folder}
        del variables["PYTHONDONTWRITEBYTECODE"]  # the server writes none
        with theirs:
            command = [sys.executable, "-P", *PROGRAM, str(theirs.fileno()), *modules]
            process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGCHLD))
        stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        yield process, ours


def _wait(process: subprocess.Popen) -> int:
    """The exit code of the grader. Ctrl-C in a terminal reaches it by itself; another process's SIGINT is handed on."""
    while process.poll() is None:
        came = signal.sigtimedwait((signal.SIGINT, signal.SIGCHLD), 1.0)
        if came and came.si_signo == signal.SIGINT and came.si_pid:
            process.send_signal(signal.SIGINT)
    if process.returncode < 0:
        raise CannotGrade(
            f"the grader was ended from outside ({signal.Signals(-process.returncode).name}); what was graded so far is "
            "kept, and the same command goes on from there"
        )
    return process.returncode


# -- the origin


def main(channel_number: int, modules: list[str]) -> int:
    """Load, fork, and only then hear what is to be graded."""
    kernel.prctl(kernel.SET_DEATH_SIGNAL, signal.SIGKILL)  # with the command that started it, however that ends
    channel = socket.socket(fileno=channel_number)
    server.load(_there(modules))
    too_much = [name for name in sys.modules if name.startswith(DO_EXERCISES)]
    if too_much:
        raise RuntimeError(f"student code could use {', '.join(too_much)}, which the fork server would have loaded")
    gc.freeze()  # else both would write to, and so copy, every page that they share
    client.fork_early()
    from course.grading.run import oracle  # nothing of it is in the fork server

    oracle.fork_early()
    channel.sendall(READY)
    told = json.loads(channel.makefile("rb").readline() or b"null")
    channel.close()
    if told is None:  # the command has ended
        return 130
    kept = {name: os.environ[name] for name in KEPT}
    os.environ.clear()
    os.environ.update(told["environment"] | kept)
    time.tzset()
    tempfile.tempdir = None
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding=told["encoding"])
    return _grade(*told["given"], **told["options"])


def _there(modules: list[str]) -> list[str]:
    """Of these, what may be loaded: nothing that would do an exercise for a student, and nothing that is missing."""
    return [name for name in modules if not name.startswith(DO_EXERCISES) and find_spec(name.partition(".")[0])]


def _grade(submissions: str, assignment: str, out: str, **options: Any) -> int:
    for name in ("config", "roster"):
        options[name] = options[name] and Path(options[name])
    return grade_command(Path(submissions), assignment, Path(out), **options, is_said=True)


if __name__ == "__main__":
    # Under its own name: a student's notebook takes the name __main__ over.
    from course.grading import apart

    try:
        code = apart.main(int(sys.argv[1]), sys.argv[2:])
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    sys.exit(code)

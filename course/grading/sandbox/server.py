"""The fork server: ``python -P -m course.grading.sandbox.server FD KIND``, or a fork of the grader to be (`client`).

It imports everything that homework uses, once, and then forks for each job, so that a job starts in milliseconds with
PyTorch loaded. It has one thread, no privilege and no secret: whatever it holds in memory, every job inherits. It
lives in the house (see `house`) and ends when the other end of its socket is closed.

A request is one message on the socket: JSON, and file descriptors: the job's line to whoever asked, its output, then
what the job itself needs (see `jobs`).
"""

import gc
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterable
from contextlib import suppress

from course.grading.sandbox import house
from course.grading.sandbox.supervise import close_all_but, fork_job, supervise

READY, REFUSED = b"ready", b"refused"  # followed by the user whose the jobs are; by the reason
LARGEST_REQUEST = 2**16  # bytes
MOST_DESCRIPTORS = 16


def take_over(descriptor: int, kind: str, environment: dict[str, str], said: int) -> None:
    """In a fork of a process that has done `load`: become the server. Never returns.

    Args:
        environment: the variables that it has from now on.
        said: where what it prints goes.
    """
    code = 1
    try:
        os.setsid()  # Ctrl-C is for the grader, who then ends it in order
        close_all_but({descriptor, said})
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.close(said)
        os.environ.clear()
        os.environ.update(environment)
        sys.dont_write_bytecode = True
        tempfile.tempdir = None
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir("/")
        main(descriptor, kind)
        code = 0
    except SystemExit as ends:
        code = ends.code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main(descriptor: int, kind: str) -> None:
    """Serve on the socket `descriptor`. Says `READY` on it, or `REFUSED` and why, before anything else."""
    line = socket.socket(fileno=descriptor)
    try:
        if kind == house.NAMESPACES:
            house.enter_house()
        elif kind == house.LANDLOCK:
            house.become_nobody_if_possible()
        else:
            raise OSError("there are no such walls")
        for name in ("PWD", "COURSE_FONT_LISTS"):  # of bubblewrap, of the house: nothing that a job should know
            os.environ.pop(name, None)
        _try_the_walls(kind)
        _warm_up()
        os.environ.pop("COURSE_EXCHANGE", None)
    except (OSError, RuntimeError) as problem:
        line.send(REFUSED + f": {problem}".encode())
        sys.exit(3)
    line.send(READY + f" {os.getuid()}".encode())
    _serve(line, kind)


def _serve(line: socket.socket, kind: str) -> None:
    signal.signal(signal.SIGCHLD, lambda *_: None)  # so that select below notices
    awake, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    lines = selectors.DefaultSelector()
    lines.register(line, selectors.EVENT_READ)
    lines.register(awake, selectors.EVENT_READ)
    while True:
        for key, _ in lines.select():
            if key.fileobj is awake:
                awake.recv(4096)
                _reap()
            elif not _answer(line, kind):
                return


def _answer(line: socket.socket, kind: str) -> bool:
    """Take one request; False once the other end is closed."""
    try:
        message, descriptors, _, _ = socket.recv_fds(line, LARGEST_REQUEST, MOST_DESCRIPTORS)
    except OSError:
        return False
    if not message:
        return False
    if os.fork() == 0:
        # From here on this is the job's own supervisor, and never comes back.
        signal.set_wakeup_fd(-1)
        supervise(json.loads(message), descriptors, kind)
    for descriptor in descriptors:
        os.close(descriptor)
    return True


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _try_the_walls(kind: str) -> None:
    """Start a job that does nothing, so that a machine that lacks something is noticed before the long imports."""
    request = {"job": "nothing", "memory": 2**30, "groups": 0, "scratch": os.environ["HOME"]}
    hearing, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            job = fork_job(request, kind, telling, [])
            code = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
        except OSError as problem:
            os.write(telling, str(problem).encode())
        finally:
            os._exit(code)
    os.close(telling)
    with open(hearing, errors="replace") as said:
        why = said.read().strip()
    if os.waitpid(pid, 0)[1]:
        raise OSError(why.splitlines()[-1] if why else "a job does not start")


def _warm_up() -> None:
    """Import what homework imports, if that is not done yet, and do once what is slow the first time."""
    if not _loaded:
        load(("sklearn.datasets", "scipy.optimize"))
    import numpy
    import torch

    if "COURSE_EXCHANGE" in os.environ:
        from course.grading.sandbox import notebook_kernel

        notebook_kernel.warm_up()
    else:
        from course.checks import guards
        from course.checks.from_scratch import ALWAYS

        guards.install((*ALWAYS, "torch.nn.functional.scaled_dot_product_attention"))
    _train_a_step(torch)
    numpy.random.seed(0)
    torch.manual_seed(0)
    _require_one_thread()
    # A job that collects garbage would otherwise write to, and so copy, every page it shares with this process.
    gc.collect()
    gc.freeze()


_loaded: set[str] = set()


def load(more: Iterable[str]) -> None:
    """Import what homework imports, and `more`, on one thread. Raises RuntimeError if a part starts another one."""
    import importlib

    gc.disable()  # what is imported stays
    # It compiles for GPUs, which no job has, and takes 80 MB.
    without_triton = "triton" not in sys.modules and "COURSE_EXCHANGE" not in os.environ
    if without_triton:
        sys.modules.setdefault("triton", None)  # so that torch takes it for missing
    import torch

    torch.set_num_threads(1)
    for name in (
        "dataclasses",
        "einops",
        "einops.layers.torch",
        "matplotlib.pyplot",
        "safetensors.torch",
        "torch._dynamo",
        "torch.nn.functional",
        "torch.utils.data",
        "course",
        "course.checks.observe",
        "course.data",
        "course.plots",
        "course.training",
        "course.grading.run.worker",
    ):
        importlib.import_module(name)
        _loaded.add(name)
    for name in more:
        with suppress(ImportError):  # then it fails where it is used, and says so
            importlib.import_module(name)
    if without_triton:
        del sys.modules["triton"]
    gc.enable()
    _require_one_thread()


def _require_one_thread() -> None:
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("a library has started a thread, after which no process can be forked safely")


def _train_a_step(torch) -> None:
    from torch import nn

    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.LayerNorm(144))
    head = nn.Linear(144, 2)
    for optimizer in (torch.optim.AdamW(head.parameters()), torch.optim.SGD(head.parameters(), momentum=0.9)):
        logits = head(model(torch.randn(4, 1, 8, 8)))  # (4, 2)
        nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long)).backward()
        optimizer.step()
    queries = torch.randn(1, 1, 4, 8, requires_grad=True)  # (batch, head, token, channel)
    torch.softmax(torch.einsum("bhic,bhjc->bhij", queries, queries), -1).sum().backward()


if __name__ == "__main__":
    # Under its own name, because a student's notebook takes the name __main__ over.
    from course.grading.sandbox import server

    server.main(int(sys.argv[1]), sys.argv[2])

"""Between the fork server and one job: the supervisor, which student code can neither see nor signal.

It makes the job's namespaces, forks the job into them, watches the clock and the line to whoever asked for the job,
and ends the job with all that it started when either says so. How the job ended is told on that line.
"""

import json
import os
import select
import signal
import socket
import time
from pathlib import Path

from course.grading.sandbox import house, kernel

INTERRUPT = b"i"  # on the line: interrupt the job, as Ctrl-C would


def supervise(request: dict, descriptors: list[int], kind: str) -> None:
    """Run one job to its end. Never returns.

    Args:
        request: ``{"job", "seconds", "memory", "groups", ...}``, see `client`.
        descriptors: the line, the output, the job's own, and last the ``request["groups"]`` control groups.
        kind: `server.NAMESPACES` or `server.LANDLOCK`.
    """
    code = 70
    try:
        groups = descriptors[len(descriptors) - request["groups"] :]
        line, output, *own = descriptors[: len(descriptors) - len(groups)]
        os.setsid()
        for name in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(name, signal.default_int_handler if name == signal.SIGINT else signal.SIG_DFL)
        _close_all_but({line, output, *own, *groups})
        for group in groups:
            os.write(group, b"0")  # whoever writes is moved
            os.close(group)
        job = _fork_job(request, kind, output, own)
        for descriptor in (output, *own):
            os.close(descriptor)
        _watch(job, socket.socket(fileno=line), request["seconds"])
        code = 0
    except BaseException as problem:
        os.write(descriptors[1], f"{type(problem).__name__}: {problem}".encode())
    finally:
        os._exit(code)


def _fork_job(request: dict, kind: str, output: int, own: list[int]) -> int:
    from course.grading.sandbox import jobs
    from course.grading.sandbox.server import NAMESPACES

    if kind == NAMESPACES:
        house.own_user_namespace(house.ROOM, os.getuid(), os.getgid(), house.INSIDE)
    else:
        kernel.prctl(kernel.SET_CHILD_SUBREAPER, 1)  # what outlives its parent becomes ours to end
    job = os.fork()
    if job == 0:
        _close_all_but({output, *own})  # above all the line: on it the supervisor's word is believed
        jobs.run(request, kind, output, own)  # never returns
    return job


def _watch(job: int, line: socket.socket, seconds: float) -> None:
    ended = os.pidfd_open(job)
    deadline = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([ended, line], [], [], max(0.0, deadline - time.monotonic()))
        if ended in ready:
            break
        if line in ready and line.recv(16) == INTERRUPT:
            os.kill(job, signal.SIGINT)
            continue
        os.kill(job, signal.SIGKILL)  # the first process of its namespace: everything in there ends with it
        break
    _, status, used = os.wait4(job, 0)
    _end_what_is_left()
    told = {
        "exit": os.waitstatus_to_exitcode(status),
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_memory": used.ru_maxrss * 1024,
    }
    try:
        line.send(json.dumps(told).encode())
    except OSError:  # nobody waits for it any more
        pass


def _end_what_is_left() -> None:
    """Without a process namespace, what the job started has become this process's own children."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            left = [int(pid) for pid in children.read_text().split()]
        except OSError:
            left = []
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _close_all_but(kept: set[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:  # the one that listed them
                pass

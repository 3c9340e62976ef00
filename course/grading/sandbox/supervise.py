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
        descriptors: the line, the output, and what the job itself gets (see `jobs`).
        kind: `house.NAMESPACES` or `house.LANDLOCK`.
    """
    code = 70
    try:
        line, output, *own = descriptors
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _close_all_but(set(descriptors))
        job = fork_job(request, kind, output, own)
        for descriptor in (output, *own):
            os.close(descriptor)
        _watch(job, socket.socket(fileno=line), request["seconds"])
        code = 0
    except BaseException as problem:
        os.write(descriptors[1], f"{type(problem).__name__}: {problem}".encode())
    finally:
        os._exit(code)


def fork_job(request: dict, kind: str, output: int, own: list[int]) -> int:
    """Make the namespaces and fork the job into them. Returns its number. Raises OSError."""
    from course.grading.sandbox import jobs

    if kind == house.NAMESPACES:
        house.own_user_namespace(house.ROOM, os.getuid(), os.getgid(), house.INSIDE)
    else:
        kernel.prctl(kernel.SET_CHILD_SUBREAPER, 1)  # what outlives its parent becomes ours to end
    job = os.fork()
    if job == 0:
        _close_all_but({output, *own})  # above all the line: on it the supervisor's word is believed
        os.setsid()  # a signal to one's process group goes to all of it, whatever namespaces lie between
        kernel.prctl(kernel.SET_DEATH_SIGNAL, signal.SIGKILL)  # nothing goes on unwatched
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

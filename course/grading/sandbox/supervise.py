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

BETWEEN_LOOKS = 0.3  # seconds from one look at the scratch folder to the next
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
        close_all_but(set(descriptors))
        job = fork_job(request, kind, output, own)
        for descriptor in (output, *own):
            os.close(descriptor)
        _watch(job, socket.socket(fileno=line), request["seconds"], request.get("scratch"))
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
        close_all_but({output, *own})  # above all the line: on it the supervisor's word is believed
        os.setsid()  # a signal to one's process group goes to all of it, whatever namespaces lie between
        kernel.prctl(kernel.SET_DEATH_SIGNAL, signal.SIGKILL)  # nothing goes on unwatched
        jobs.run(request, kind, output, own)  # never returns
    return job


def _watch(job: int, line: socket.socket, seconds: float, scratch: str | None) -> None:
    ended = os.pidfd_open(job)
    deadline = time.monotonic() + seconds
    while True:
        left = max(0.0, deadline - time.monotonic())
        # In namespaces the scratch folder has a size limit; behind Landlock it is an ordinary folder, so its size is measured.
        ready, _, _ = select.select([ended, line], [], [], min(left, BETWEEN_LOOKS) if scratch else left)
        if ended in ready:
            break
        if line in ready and line.recv(16) == INTERRUPT:
            os.kill(job, signal.SIGINT)
            continue
        if not ready and scratch and left > BETWEEN_LOOKS and not _holds_too_much(scratch):
            continue
        os.kill(job, signal.SIGKILL)  # the first process of its namespace: everything in there ends with it
        break
    _, status, used = os.wait4(job, 0)
    _end_what_is_left()
    report = {
        "exit": os.waitstatus_to_exitcode(status),
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_memory": used.ru_maxrss * 1024,
    }
    try:
        line.send(json.dumps(report).encode())
    except OSError:  # nobody waits for it any more
        pass


def _holds_too_much(folder: str) -> bool:
    """Whether there is more below `folder` than a job may write; what it has locked away counts as too much."""
    files = size = 0
    waiting = [folder]
    try:
        while waiting:
            for entry in os.scandir(waiting.pop()):
                found = entry.stat(follow_symlinks=False)
                files, size = files + 1, size + 512 * found.st_blocks
                if files > house.MOST_FILES or size > house.MOST_WRITTEN:
                    return True
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    except FileNotFoundError:  # it goes on writing and removing meanwhile
        return False
    except OSError:
        return True
    return False


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


def close_all_but(kept: set[int]) -> None:
    """Every descriptor; those of what is read, printed and said lead nowhere from now on."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:  # the one that listed them
                pass

"""A process with limits in which what students wrote is parsed and made into HTML: a bound that holds for any text.

The JSON of a notebook, Python's parser, the colours of code and Markdown are the work of others, and there are short
texts on which one or the other takes the square of its usual time, or more. So a text is read in a process that the
system ends when it takes too much. What comes back depends on the text alone; nothing of it is run.
"""

import atexit
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

SECONDS = 3.0  # of a processor, for one text
SECONDS_A_MB = 0.05  # on top: files may be large
MEMORY = 2 * 2**30  # bytes that the process may have
LONGEST_WAIT = 120.0  # seconds, on a machine that is busy with something else
LONGEST_ANSWER = 24 * 2**20  # bytes

# What can be asked for: a function of bytes whose result JSON can hold.
TASKS = {
    "cells": ("course.grading.read.cells", "described"),
    "outline": ("course.grading.read.python_source", "described"),
    "bare": ("course.grading.read.bare", "described"),
    "html": ("course.grading.read.formatting", "described"),
}


class TooMuch(Exception):
    """A text takes more time or memory to read than there is for it."""


def ask(task: str, data: bytes) -> Any:
    """What one of `TASKS` says of `data`.

    Raises:
        TooMuch: see there.
        RuntimeError: the task failed, through no fault of the text.
    """
    with _LOCK:
        if _reader is None or _reader.of != os.getpid() or _reader.process.poll() is not None:
            _start()
        try:
            _reader.channel.send_bytes(task.encode())
            _reader.channel.send_bytes(data)
            if not _reader.channel.poll(LONGEST_WAIT):
                raise TimeoutError
            answer = _reader.channel.recv_bytes(LONGEST_ANSWER)
        except (OSError, EOFError):
            _reader.end()
            raise TooMuch from None
    fault, result = json.loads(answer)
    if fault:
        raise RuntimeError(f"{task}: {fault}")
    return result


class _Reader:
    """The process, as the one that asks has it."""

    def __init__(self, process: subprocess.Popen, channel: Connection):
        self.process, self.channel, self.of = process, channel, os.getpid()

    def end(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()


_LOCK = threading.Lock()
_reader: _Reader | None = None


def _start() -> None:
    global _reader
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "course.grading.read.reader", str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": _root()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )
    _reader = _Reader(process, Connection(ours.detach()))
    atexit.unregister(end)
    atexit.register(end)


def end() -> None:
    """End the process; the next text gets another."""
    if _reader is not None and _reader.of == os.getpid():
        _reader.end()


def _root() -> str:
    import course

    return os.path.dirname(os.path.dirname(os.path.abspath(course.__file__)))


# -- in that process


def main(channel_number: int) -> None:
    """Answer until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    channel = Connection(channel_number)
    tasks = {name: getattr(importlib.import_module(module), function) for name, (module, function) in TASKS.items()}
    try:
        while True:
            task, data = channel.recv_bytes(), channel.recv_bytes()
            seconds = SECONDS + SECONDS_A_MB * len(data) / 2**20
            signal.setitimer(signal.ITIMER_PROF, seconds)  # then the system ends this process
            answer = _answer(tasks[task.decode()], data)
            signal.setitimer(signal.ITIMER_PROF, 0)
            channel.send_bytes(answer)
    except (EOFError, OSError, MemoryError):
        pass


def _answer(task: Any, data: bytes) -> bytes:
    try:
        answer = ["", task(data)]
    except MemoryError:
        raise
    except Exception as error:
        answer = [f"{type(error).__name__}: {error}", None]
    return json.dumps(answer, ensure_ascii=False).encode("utf-8", "surrogatepass")


if __name__ == "__main__":
    # Under its own name, so that its classes are the ones that others import.
    from course.grading.read import reader

    reader.main(int(sys.argv[1]))

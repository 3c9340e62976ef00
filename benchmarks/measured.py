"""What a command costs: its seconds, and the processor seconds and memory of all its processes together. Linux only."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course.grading.sandbox import kernel

BETWEEN_LOOKS = 0.3  # seconds from one look at the memory to the next


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, seconds of processors (user and system), and bytes of memory at their highest (0: not weighed)."""

    wall: float
    cpu: float
    memory: int


def run(
    command: list[str],
    *,
    env: dict[str, str],
    log: Path,
    cwd: Path | None = None,
    look: Callable[[], None] = lambda: None,
    weigh: bool = True,
) -> Cost:
    """Run a command to its end and say what it and every process under it cost.

    Processor time is what the system adds up for processes that were waited for. So that processes whose parents
    ended first are in it, they become children of this one, which waits for them. Nobody waits for what is killed
    together with the first process of its namespace: what a fork bomb's processes used by then is missing. Memory is
    the sum of the proportional shares (PSS: a page of three processes counts a third in each), looked at a few times a
    second.

    Args:
        log: where everything it prints goes.
        cwd: where it is started; here by default.
        look: called a few times a second, to move a progress bar.
        weigh: whether to measure memory; that takes a part of a core, which is missing where all of them are busy.

    Raises:
        ValueError: this is not Linux, or the command failed; with the last it printed.
    """
    if sys.platform != "linux":
        raise ValueError("the costs of commands are measured on Linux only")
    _adopt_orphans(True)
    try:
        with open(log, "wb") as output:
            before, begin = _cpu_of_children(), time.perf_counter()
            process = subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            memory = 0
            try:
                while process.poll() is None:
                    memory = max(memory, _memory_under(os.getpid())) if weigh else 0
                    look()
                    try:
                        process.wait(BETWEEN_LOOKS)
                    except subprocess.TimeoutExpired:
                        pass
            finally:
                process.kill()
                process.wait()
            wall = time.perf_counter() - begin
            _wait_for_orphans()
    finally:
        _adopt_orphans(False)
    if process.returncode:
        last = " ".join(log.read_text(errors="replace").split()[-60:])
        raise ValueError(f"{' '.join(command)} failed with {process.returncode}: {last}")
    return Cost(wall, _cpu_of_children() - before, memory)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _adopt_orphans(adopt: bool) -> None:
    kernel.prctl(kernel.SET_CHILD_SUBREAPER, int(adopt))


def _wait_for_orphans() -> None:
    """Wait for those that have ended; what a command leaves running is not waited for."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _memory_under(ancestor: int) -> int:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has just ended
            continue
        children.setdefault(parent, []).append(int(folder.name))
    total, waiting = 0, list(children.get(ancestor, ()))
    while waiting:
        process = waiting.pop()
        total += _memory_of(process)
        waiting += children.get(process, ())
    return total


def _memory_of(process: int) -> int:
    folder = Path(f"/proc/{process}")
    try:
        for line in (folder / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except PermissionError:  # it runs as another user: at most what is not files, pages shared by forks counted in each
        resident, files = (int(n) for n in (folder / "statm").read_text().split()[1:3])
        return (resident - files) * resource.getpagesize()
    except OSError:
        pass
    return 0

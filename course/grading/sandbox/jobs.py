"""In the job's own process: the last walls, then what it is there for. From here on nothing is trusted."""

import gc
import os
import resource
import socket
import tempfile
from pathlib import Path

from course.grading.sandbox import house

MOST_PROCESSES = 64  # threads count too
MOST_OPEN_FILES = 512
LARGEST_WRITTEN_FILE = 256 * 2**20  # bytes


def run(request: dict, kind: str, output: int, own: list[int]) -> None:
    """Close the last doors and do the job. Never returns.

    Args:
        request: see `client`.
        own: what its kind of job needs, then the ``request["groups"]`` control groups to enter.
    """
    code = 71
    try:
        groups = [own.pop() for _ in range(request["groups"])]
        for group in groups:
            os.write(group, b"0")  # whoever writes is moved
            os.close(group)
        # Should memory run out on the whole machine, this process is the one to end.
        Path("/proc/self/oom_score_adj").write_text("500")
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        _wall_in(request, kind)
        gc.enable()
        code = _JOBS[request["job"]](request, own)
    except SystemExit as ends:
        code = ends.code if isinstance(ends.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _wall_in(request: dict, kind: str) -> None:
    from course.grading.sandbox import capabilities, landlock, seccomp

    if kind == house.NAMESPACES:
        house.enter_room(request.get("exchange", ""))
        scratch = house.SCRATCH
    else:
        scratch = request["scratch"]
        os.chdir(scratch)
    os.environ.update({"HOME": scratch, "TMPDIR": scratch, "MPLCONFIGDIR": scratch})
    tempfile.tempdir = None  # the server had found its own
    _limit(request["memory"])
    if kind == house.LANDLOCK:
        landlock.restrict([Path(path) for path in house.what_to_show()], [Path(scratch)])
    capabilities.drop_capabilities()
    seccomp.install(network=kind == house.NAMESPACES)


def _limit(memory: int) -> None:
    # RLIMIT_DATA counts private writable memory only: RLIMIT_AS would count gigabytes of mapped libraries too.
    for which, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, LARGEST_WRITTEN_FILE),
        (resource.RLIMIT_NOFILE, MOST_OPEN_FILES),
        (resource.RLIMIT_NPROC, _tasks_of_this_user() + MOST_PROCESSES),
        (resource.RLIMIT_DATA, data_bytes() + memory),
    ):
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def data_bytes() -> int:
    """Private memory that this process has, in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
    except OSError:
        return 0


def _tasks_of_this_user() -> int:
    """In a room there is nobody else; behind Landlock alone, others count towards the same limit."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == os.getuid():
                count += len(os.listdir(folder / "task"))
        except OSError:  # it has just ended
            continue
    return count


def _cells(request: dict, own: list[int]) -> int:
    from course.grading.run import worker

    worker.serve(socket.socket(fileno=own[0]))
    return 0


def _notebook_kernel(request: dict, own: list[int]) -> int:
    from course.grading.sandbox import notebook_kernel

    _channel, files = own
    notebook_kernel.run(request["connection"], files)
    return 0


def _nothing(request: dict, own: list[int]) -> int:
    """To see whether this machine allows all of the above."""
    return 0


_JOBS = {"cells": _cells, "notebook kernel": _notebook_kernel, "nothing": _nothing}

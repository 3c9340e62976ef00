"""Bounds on the memory and the processes of one job, by the kernel's control groups.

Limits on single processes (`setrlimit`) leave a job that starts thirty of them thirty times its share; a group bounds
them together, with the files that they keep in memory (tmpfs, /dev/shm). The trusted grader makes a group inside its
own and opens the door; the job goes in through that. A group is never left by way of the open door.

Control groups come in two versions, often mounted side by side: in the second, one tree with all controllers, under
the rule that a group with processes in it has no groups with limits below it (so a grader that is not in the root
makes its groups beside its own); in the first, one tree for each controller, without that rule.
"""

import contextlib
import itertools
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_NAME = re.compile(r"course-grading-([0-9]+)-[0-9]+")
_SECONDS_TO_END = 10.0  # for processes that were killed to be gone; a fork bomb takes a few

_CONTROLLERS = ("memory", "pids")
_numbers = itertools.count()


@dataclass(frozen=True)
class _Place:
    """A folder in which groups can be made, and what they bound there."""

    folder: Path
    version: int
    controllers: tuple[str, ...]


class Group:
    """The bounds of one job. Ask for what happened before `close`.

    Attributes:
        entries: open file descriptors: a process that writes ``b"0"`` to each of them is in the group, with all that
            it will start. They may be handed to a process that could not open them itself.
        bounded: which of ``"memory"`` and ``"pids"`` it bounds.
    """

    def __init__(self, folders: dict[str, tuple[Path, int]]):
        """Args: for each controller its folder, limits set, and the version of its control groups."""
        self._of = folders
        self.bounded = frozenset(folders)
        self._folders = sorted({folder for folder, _ in folders.values()})
        self.entries = [os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in self._folders]

    def memory_peak(self) -> int | None:
        """The most bytes that it held at once; None where the kernel does not say (before 5.19 in version 2)."""
        if "memory" not in self._of:
            return None
        folder, version = self._of["memory"]
        try:
            return int((folder / ("memory.peak" if version == 2 else "memory.max_usage_in_bytes")).read_text())
        except FileNotFoundError:
            return None

    def out_of_memory(self) -> bool:
        """Whether a process of it was killed because the memory was used up."""
        return self._counted("memory", {1: "memory.oom_control", 2: "memory.events"}, "oom_kill") > 0

    def processes_refused(self) -> bool:
        """Whether a process or thread could not be started because there were too many."""
        return self._counted("pids", {1: "pids.events", 2: "pids.events"}, "max") > 0

    def close(self, seconds: float = _SECONDS_TO_END) -> bool:
        """Kill what is left in it and remove it. False if something would not die within `seconds`."""
        for entry in self.entries:
            os.close(entry)
        self.entries = []
        return _end(self._folders, seconds)

    def _counted(self, controller: str, files: dict[int, str], key: str) -> int:
        if controller not in self._of:
            return 0
        folder, version = self._of[controller]
        lines = (line.split() for line in (folder / files[version]).read_text().splitlines())
        return next((int(words[1]) for words in lines if words[0] == key), 0)


def make(memory: int, processes: int, *, root: Path = _ROOT, own: str | None = None) -> Group | None:
    """A fresh, empty group inside (or beside) the one that this process is in.

    Args:
        memory: bytes for all processes of the group together, swapped out or not, with what they write to tmpfs.
        processes: how many there may be at once, threads counted.
        root: where control groups are mounted.
        own: what stands in /proc/self/cgroup.

    Returns:
        None where no group can be made: no control groups, or none that this user may change. Where only one of memory
        and processes can be bounded so, `Group.bounded` says which.

    Raises:
        OSError: no file descriptors are left.
    """
    name = f"course-grading-{os.getpid()}-{next(_numbers)}"
    folders: dict[str, tuple[Path, int]] = {}
    for place in _places(root, own):
        wanted = tuple(controller for controller in place.controllers if controller not in folders)
        if wanted and _make_folder(place.folder / name, place, wanted, memory, processes):
            folders |= dict.fromkeys(wanted, (place.folder / name, place.version))
    try:
        return Group(folders) if folders else None
    except OSError:
        _end([folder for folder, _ in folders.values()], _SECONDS_TO_END)
        raise


def remove_left_overs(*, root: Path = _ROOT, own: str | None = None) -> int:
    """End and remove the groups of graders that were killed: the process in the name is no more. Returns how many."""
    removed = 0
    for place in _places(root, own):
        for folder in place.folder.glob("course-grading-*"):
            name = _NAME.fullmatch(folder.name)
            if name and not _runs(int(name[1])) and os.access(folder / "cgroup.procs", os.W_OK):
                removed += _end([folder], _SECONDS_TO_END)
    return removed


def _places(root: Path, own: str | None) -> list[_Place]:
    """Where groups may be made, the better place first: our own group in version 1, and in 2 that or the one above."""
    try:
        text = _OWN.read_text() if own is None else own
    except OSError:
        return []
    paths = {}  # of a controller in version 1, of "" in version 2
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    places = []
    for controller in _CONTROLLERS:
        if controller in paths and (folder := _inside(root / controller, paths[controller])):
            places.append(_Place(folder, 1, (controller,)))
    top = root if (root / "cgroup.controllers").is_file() else root / "unified"
    ours = _inside(top, paths.get("", ".."))
    if ours:
        for folder in (ours, ours.parent) if ours != top else (ours,):
            with contextlib.suppress(OSError):
                offered = (folder / "cgroup.controllers").read_text().split()
                places.append(_Place(folder, 2, tuple(name for name in _CONTROLLERS if name in offered)))
    return places


def _inside(top: Path, path: str) -> Path | None:
    """The folder of a group, which /proc names from the top; None if it lies outside what is mounted here."""
    folder = top / path.lstrip("/")
    return folder if ".." not in folder.parts and folder.is_dir() else None


def _make_folder(folder: Path, place: _Place, wanted: tuple[str, ...], memory: int, processes: int) -> bool:
    """Make a group that bounds the `wanted`. Leaves nothing behind where that is not allowed."""
    try:
        if place.version == 2:
            _enable(place.folder, wanted)
        folder.mkdir()
    except OSError:
        return False
    try:
        for name, value, needed in _settings(place.version, memory, processes):
            if name.split(".")[0] in wanted and (needed or (folder / name).exists()):
                _write(folder / name, value)
        return True
    except OSError:
        folder.rmdir()
        return False


def _settings(version: int, memory: int, processes: int) -> list[tuple[str, str, bool]]:
    """Files of a group, what to write to them in this order, and whether it is of no use without."""
    if version == 1:
        return [
            ("memory.limit_in_bytes", str(memory), True),
            ("memory.memsw.limit_in_bytes", str(memory), False),  # with swap; not there if the kernel counts none
            ("pids.max", str(processes), True),
        ]
    return [
        ("memory.max", str(memory), True),
        ("memory.swap.max", "0", False),
        ("pids.max", str(processes), True),
    ]


def _enable(folder: Path, controllers: tuple[str, ...]) -> None:
    """Have the groups below a group of version 2 bound something.

    Raises:
        OSError: we may not; or the group holds processes, and is not the root, and so cannot.
    """
    for needed in (folder, folder / "cgroup.procs"):  # the latter decides who may move a process into one of those
        if not os.access(needed, os.W_OK):
            raise PermissionError(f"{needed} cannot be written")
    control = folder / "cgroup.subtree_control"
    missing = set(controllers).difference(control.read_text().split())
    if missing:
        _write(control, " ".join(f"+{name}" for name in sorted(missing)))


def _write(control: Path, value: str) -> None:
    """To a file of the kernel's, in one piece; never makes one."""
    file = os.open(control, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(file, value.encode())
    finally:
        os.close(file)


def _end(folders: list[Path], seconds: float) -> bool:
    """Kill all processes of these groups, with no chance to start others, and remove the groups."""
    deadline = time.monotonic() + seconds
    left = [folder for folder in folders if folder.is_dir()]
    for folder in left:
        with contextlib.suppress(OSError):
            _write(folder / "pids.max", "0")
    while left:
        for folder in left:
            _kill(folder)
            with contextlib.suppress(OSError):
                folder.rmdir()
        left = [folder for folder in left if folder.is_dir()]
        if left and time.monotonic() > deadline:
            return False
        if left:
            time.sleep(0.005)
    return True


def _kill(folder: Path) -> None:
    with contextlib.suppress(OSError):
        _write(folder / "cgroup.kill", "1")  # version 2, from Linux 5.14
        return
    with contextlib.suppress(OSError):
        for process in map(int, (folder / "cgroup.procs").read_text().split()):
            if process:  # 0: out of our sight, in another process namespace
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

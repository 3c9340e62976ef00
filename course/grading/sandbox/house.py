"""What student code can see of the machine: a root folder of its own with the libraries in it and nothing else.

The fork server moves into the *house* before it imports anything: an empty tree in memory, into which the system's
libraries, Python and the helper package are shown read-only; no `solutions/`, no home, no gradebook, no network. Each
job gets a *room* in it: namespaces of its own (users, mounts, processes, network, IPC, host name), an empty scratch
folder, and a `/proc` with nobody else in it. Needs no privilege where the kernel allows user namespaces.
"""

import os
import socket
import sys
from pathlib import Path

from course.grading.sandbox import kernel

NAMESPACES, LANDLOCK = "namespaces", "landlock"
KINDS = (NAMESPACES, LANDLOCK)  # of walls, the better first

SERVER_HOME = "/sandbox/server"  # where matplotlib keeps its list of fonts; covered in rooms
JOB_HOME = "/sandbox/job"
SCRATCH = f"{JOB_HOME}/work"  # where a job's code runs
EXCHANGE, OWN_EXCHANGE = "/sandbox/exchange", f"{JOB_HOME}/exchange"  # of notebook kernels, see `provisioner`
MOST_FILES = 20_000  # in a job's scratch folder
MOST_WRITTEN = 512 * 2**20  # bytes, of all its files together
UNPRIVILEGED = 61_234  # the user that a root grader becomes; it owns nothing
INSIDE = 1_000  # what that user is called in a room
ROOM = kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS | kernel.NEWCGROUP

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/fonts", "/etc/localtime")
_DEVICES = ("null", "zero", "full", "random", "urandom")
# They do the exercises: without them on the disk, no trick can import them.
HIDDEN = ("timm", "transformers", "course/models", "course/authoring")
_WHERE_BUILT = "/tmp"  # any folder that every system has; what is mounted over it is seen by this process only


def enter_house() -> None:
    """Leave the machine's tree, network and process list behind, for good. Returns in a new process, of no privilege.

    The process that called stays outside, waits for the new one and ends with its exit code.

    Raises:
        OSError: the kernel does not allow it.
    """
    is_root = os.getuid() == 0
    namespaces = kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS
    if is_root:
        kernel.unshare(namespaces)
    else:
        own_user_namespace(namespaces, os.getuid(), os.getgid())
    inner = os.fork()
    if inner:
        _wait_outside(inner)
    _build_house(what_to_show())
    if is_root:
        _become_nobody()


def enter_room(exchange: str = "") -> None:
    """In the first process of a fresh process namespace: an empty scratch folder, and a `/proc` without others.

    Args:
        exchange: the name of the job's own folder in `EXCHANGE`; the others' are covered up.
    """
    kernel.mount(None, "/", None, kernel.RECURSIVE | kernel.PRIVATE)
    options = f"size={MOST_WRITTEN},nr_inodes={MOST_FILES},mode=755"
    kernel.mount("tmpfs", JOB_HOME, "tmpfs", kernel.NOSUID | kernel.NODEV, options)
    for folder, shown in (("shm", "/dev/shm"), ("tmp", "/tmp")):
        os.mkdir(f"{JOB_HOME}/{folder}")
        if not os.listdir(shown):  # Python itself may live below /tmp
            kernel.bind(f"{JOB_HOME}/{folder}", shown, read_only=False)
    os.mkdir(SCRATCH)
    if exchange:
        os.mkdir(OWN_EXCHANGE)
        kernel.bind(f"{EXCHANGE}/{exchange}", OWN_EXCHANGE, read_only=False)
    # Folders that everybody may write to are covered, so that no job can leave a message for the next.
    for folder in (SERVER_HOME, EXCHANGE):
        kernel.mount("tmpfs", folder, "tmpfs", kernel.NOSUID | kernel.NODEV | kernel.RDONLY, "size=4k,mode=555")
    kernel.mount("proc", "/proc", "proc", kernel.NOSUID | kernel.NODEV | kernel.NOEXEC)
    socket.sethostname("sandbox")  # a new namespace begins with the machine's own name
    os.chdir(SCRATCH)


def become_nobody_if_possible() -> None:
    """Without a house: give up being root, unless Python lies where only root may look."""
    shown = [Path(path) for path in what_to_show()]
    if os.getuid() == 0 and all(folder.stat().st_mode & 1 for path in shown for folder in (path, *path.parents)):
        _become_nobody()


def _become_nobody() -> None:
    os.setgroups([])
    os.setresgid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
    os.setresuid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
    kernel.prctl(kernel.SET_DUMPABLE, 1)  # else its /proc belongs to root, and no room can be made


def own_user_namespace(more: int, user: int, group: int, inside: int | None = None) -> None:
    """Enter a user namespace with one user, and the namespaces of `more` with it."""
    kernel.unshare(kernel.NEWUSER | more)
    # Closed to group changes first: without that an ordinary user may not write the group's line.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user if inside is None else inside} {user} 1"),
        ("gid_map", f"{group if inside is None else inside} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def what_to_show() -> list[str]:
    """The files and folders that Python and the helper package need."""
    package = Path(__file__).resolve().parents[2]
    shown = [*_SYSTEM, sys.base_prefix, sys.prefix, *_libraries(), str(package)]
    shown = [folder for folder in dict.fromkeys(shown) if os.path.lexists(folder)]
    # One that lies inside another is there already.
    return [a for a in shown if not any(a != b and not os.path.islink(b) and Path(a).is_relative_to(b) for b in shown)]


def _build_house(shown: list[str]) -> None:
    kernel.mount(None, "/", None, kernel.RECURSIVE | kernel.PRIVATE)
    # Opened first: the house may be built over the place where some of it comes from.
    devices = [f"/dev/{name}" for name in _DEVICES]
    links = {path: os.readlink(path) for path in shown if os.path.islink(path)}
    exchange = os.environ.get("COURSE_EXCHANGE")
    exchanged = os.open(exchange, os.O_PATH) if exchange else None
    sources = {path: os.open(path, os.O_PATH) for path in [*shown, *devices] if path not in links}
    folders = {path for path in sources if os.path.isdir(path)}
    fonts = _font_list()
    kernel.mount("tmpfs", _WHERE_BUILT, "tmpfs", kernel.NOSUID | kernel.NODEV, "size=16m,mode=755")
    for path, source in sources.items():
        place = Path(_WHERE_BUILT + path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(exist_ok=True) if path in folders else place.touch()
        kernel.bind(f"/proc/self/fd/{source}", str(place), read_only=path not in devices)
        os.close(source)
    for path, target in links.items():
        Path(_WHERE_BUILT + path).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, _WHERE_BUILT + path)
    _hide()
    for folder in ("/dev/shm", "/proc", "/tmp", "/etc", SERVER_HOME, JOB_HOME, EXCHANGE):
        os.makedirs(_WHERE_BUILT + folder, exist_ok=True)
    if exchanged is not None:
        kernel.bind(f"/proc/self/fd/{exchanged}", _WHERE_BUILT + EXCHANGE, read_only=False)
        os.close(exchanged)
    kernel.mount("tmpfs", _WHERE_BUILT + SERVER_HOME, "tmpfs", kernel.NOSUID | kernel.NODEV, "size=8m,mode=777")
    Path(f"{_WHERE_BUILT}/etc/passwd").write_text(f"student:x:{INSIDE}:{INSIDE}::{SCRATCH}:/bin/sh\n")
    for name, content in fonts.items():
        Path(f"{_WHERE_BUILT}{SERVER_HOME}/{name}").write_bytes(content)
    kernel.mount("proc", f"{_WHERE_BUILT}/proc", "proc", kernel.NOSUID | kernel.NODEV | kernel.NOEXEC)
    kernel.move_root_to(_WHERE_BUILT)
    kernel.mount(None, "/", None, kernel.REMOUNT | kernel.BIND | kernel.RDONLY | kernel.NOSUID | kernel.NODEV)


def _hide() -> None:
    repository = Path(__file__).resolve().parents[3]
    if os.path.exists(f"{_WHERE_BUILT}{repository}/solutions"):
        raise OSError(f"{repository} lies inside a folder of Python's libraries, so student code would see the answers")
    for place in {str(repository), *_libraries()}:
        for name in HIDDEN:
            folder = f"{_WHERE_BUILT}{place}/{name}"
            if os.path.isdir(folder):
                kernel.mount("tmpfs", folder, "tmpfs", kernel.NOSUID | kernel.NODEV | kernel.RDONLY, "size=4k,mode=555")


def _libraries() -> list[str]:
    return [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]


def _font_list() -> dict[str, bytes]:
    """matplotlib's list of fonts, if this user has one: making it anew takes seconds."""
    cache = Path(os.environ.get("COURSE_FONT_LISTS", "/nonexistent"))
    return {path.name: path.read_bytes() for path in cache.glob("fontlist-*.json")}


def _wait_outside(inner: int) -> None:
    _, status = os.waitpid(inner, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)

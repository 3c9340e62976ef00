"""The few calls of the Linux kernel that Python has no name for, by ctypes: namespaces, mounts, prctl."""

import ctypes
import os

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18

SET_DEATH_SIGNAL, SET_DUMPABLE, SET_CHILD_SUBREAPER = 1, 4, 36

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


class NotSupported(RuntimeError):
    """The kernel or the processor lacks what a wall is made of. The message says what."""


def unshare(flags: int) -> None:
    """Put this process (with `NEWPID`: its next child) into namespaces of its own. Raises OSError."""
    checked(libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """mount(2). Raises OSError."""
    result = libc.mount(_text(source), _text(target), _text(kind), ctypes.c_ulong(flags), _text(options))
    checked(result, f"mount {target}")


def bind(source: str, target: str, read_only: bool = True) -> None:
    """Show a folder or file in a second place, with what is mounted below it."""
    mount(source, target, None, BIND | RECURSIVE)
    if not read_only:
        return None
    # Flags that the source has are locked in a user namespace: asking for fewer is refused.
    for more in (NOSUID | NODEV, NOSUID | NODEV | NOEXEC, NOSUID, NODEV, 0):
        try:
            return mount(None, target, None, BIND | REMOUNT | RDONLY | more)
        except PermissionError:
            continue
    raise PermissionError(f"{target} cannot be made read-only")


def move_root_to(folder: str) -> None:
    """Make `folder`, a mount point, the root of this mount namespace and let go of the old one."""
    os.chdir(folder)
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"pivot_root is not known for {os.uname().machine}")
    checked(libc.syscall(number, b".", b"."), "pivot_root")
    checked(libc.umount2(b".", _DETACH), "umount")
    os.chdir("/")


def prctl(option: int, *values: int) -> int:
    """prctl(2). Raises OSError."""
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return checked(libc.prctl(ctypes.c_int(option), *padded), f"prctl {option}")


def checked(result: int, what: str) -> int:
    """What a call of `libc` returned. Raises OSError if that says that it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _text(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)

"""Give up what a process might otherwise gain: capabilities, and privileges by executing a program."""

import ctypes
import errno
import functools
import os
import struct

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522


class NotSupported(RuntimeError):
    """The kernel or the processor lacks what a wall is made of. The message says what."""


def no_new_privileges() -> None:
    """No program that this process or its children execute gains privileges, setuid or not. For ever."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Take all capabilities from this thread, and from what it forks or executes, for ever.

    To be called by a process of one thread: others would keep theirs. Sets no_new_privs.

    Raises:
        OSError: the kernel refuses, and nothing may be run.
    """
    no_new_privileges()
    for capability in range(64):
        try:
            prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            # EINVAL: that was the last. EPERM: no CAP_SETPCAP; then, with no_new_privs, the bounding set is of no use.
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            break
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    checked(libc().capset(header, bytes(24)), "capset")


def prctl(option: int, *arguments: int) -> int:
    """The system call of that name. Raises `OSError`."""
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    return checked(libc().prctl(ctypes.c_int(option), *padded), f"prctl {option}")


@functools.cache
def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """What a call of `libc` returned. Raises `OSError` if that says that it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result

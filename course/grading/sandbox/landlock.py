"""Which files a process may reach, where namespaces are not allowed: the kernel's Landlock.

It governs opening, making, renaming and removing files, TCP from its fourth version (Linux 6.7), and signals and
abstract unix sockets from its sixth (6.12). It does not govern what is open already, the mode, owner and times of
files, UDP, nor looking whether a file is there: `seccomp.install(network=False)` denies what of that can be denied.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from course.grading.sandbox.capabilities import no_new_privileges
from course.grading.sandbox.kernel import NotSupported, checked, libc

# The same on every processor.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_TCP = 0b11  # bind and connect
_SCOPES = 0b11  # abstract unix sockets and signals

_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV  # the rights that a file can have
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = (
    _READ
    | _WRITE_FILE
    | _TRUNCATE
    | _REFER
    | _REMOVE_DIR
    | _REMOVE_FILE
    | _MAKE_DIR
    | _MAKE_REG
    | _MAKE_SYM
    | _MAKE_FIFO
    | _MAKE_SOCK
)

# What Python and torch open by themselves. Not /dev/shm: it is shared with the grader and with other jobs, and the
# names in it can be guessed. Not /proc but of the process itself: the others' folders are in it.
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_FACTS = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")


def supported() -> int:
    """The version of Landlock that runs here; 0 where there is none or it is switched off."""
    try:
        result = libc.syscall(
            ctypes.c_long(_CREATE_RULESET), ctypes.c_void_p(), ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)
        )
    except (AttributeError, OSError, TypeError):  # not Linux
        return 0
    return max(0, result)


def restrict(read: Iterable[Path], write: Iterable[Path]) -> None:
    """Leave this thread, and what it will start, these files and folders and what lies in them. For ever.

    To be called by a process of one thread: others would stay as they are. Besides, /dev/null and its like, /proc/self
    (of this process: not of its children) and what says what processor this is stay open. Sets no_new_privs.

    Args:
        read: may be read and executed.
        write: may be read, executed and changed; in a folder, things may be made, renamed and removed.

    Raises:
        NotSupported: there is no Landlock here.
        FileNotFoundError: one of the paths is not there.
        OSError: the kernel refuses, and nothing may be run.
    """
    version = supported()
    if not version:
        raise NotSupported("this kernel has no Landlock, or it is switched off")
    handled = (1 << 13) - 1
    for right, since in ((_REFER, 2), (_TRUNCATE, 3), (_IOCTL_DEV, 5)):
        if version >= since:
            handled |= right
    attributes = struct.pack("=Q", handled)
    if version >= 4:
        attributes += struct.pack("=Q", _TCP)
    if version >= 6:
        attributes += struct.pack("=Q", _SCOPES)
    rules = checked(
        libc.syscall(ctypes.c_long(_CREATE_RULESET), attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)),
        "landlock_create_ruleset",
    )
    try:
        for path in read:
            _allow(rules, path, _READ & handled)
        for path in write:
            _allow(rules, path, _WRITE & handled)
        for name in _FACTS:
            if os.path.exists(name):
                _allow(rules, Path(name), (_READ_FILE | _READ_DIR) & handled)
        for name in _DEVICES:
            if os.path.exists(name):
                _allow(rules, Path(name), (_READ_FILE | _WRITE_FILE | _TRUNCATE) & handled)
        no_new_privileges()
        checked(
            libc.syscall(ctypes.c_long(_RESTRICT_SELF), ctypes.c_int(rules), ctypes.c_uint32(0)),
            "landlock_restrict_self",
        )
    finally:
        os.close(rules)


def _allow(rules: int, path: Path, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_A_FILE
        rule = struct.pack("=Qi", rights, place)
        checked(
            libc.syscall(
                ctypes.c_long(_ADD_RULE), ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0)
            ),
            f"landlock_add_rule {path}",
        )
    finally:
        os.close(place)

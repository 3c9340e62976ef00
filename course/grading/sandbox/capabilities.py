"""Give up what a process might otherwise gain: capabilities, and privileges by executing a program."""

import errno
import struct

from course.grading.sandbox.kernel import checked, libc, prctl

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522


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
    checked(libc.capset(header, bytes(24)), "capset")

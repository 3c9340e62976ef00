"""System calls that student code has no use for, denied by a filter that the process can never take off again.

The filter is a deny list: what attacks kernels and other processes is refused, all that Python, subprocesses, threads
and torch need is left. Around namespaces (`network=True`) that is all. Without them (`network=False`) a process of the
grader's own user shares the machine with everything else, so the filter also has to stop what a namespace or Landlock
would: sockets, signals to others, and changing the mode, owner or times of files.
"""

import ctypes
import errno
import os
import platform
import struct

from course.grading.sandbox.capabilities import no_new_privileges
from course.grading.sandbox.kernel import NotSupported, checked, libc

_ATTACKS = {  # name: (number on x86_64, number on aarch64); None where there is no such call
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_getfd": (438, 438),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # mounts, and files by handles that go past them
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "fanotify_init": (300, 262),
    # namespaces: a new user namespace gives capabilities in it, and with them a larger kernel to attack
    "unshare": (272, 97),
    "setns": (308, 268),
    # large or fragile parts of the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "lookup_dcookie": (212, 18),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "nfsservctl": (180, 42),
    # the machine itself
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "syslog": (103, 116),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
}

_NEIGHBOURS = {  # what reaches processes and files of the same user where no namespace stands between
    "socket": (41, 198),
    "bind": (49, 200),
    "connect": (42, 203),
    "mq_open": (240, 180),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "msgget": (68, 186),
    "pidfd_send_signal": (424, 424),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    # Landlock does not govern these (truncate: before its third version)
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    # takes the disk faster than anybody could look at it
    "fallocate": (285, 47),
}

_BY_ARGUMENT = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "socketpair": (53, 199),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
}

_NEWEST = 450  # call that was looked at (Linux 6.2); later ones, the same on both processors, do not exist

_MACHINES = ("x86_64", "aarch64")
_AUDIT_NUMBER = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}
_X32 = 0x40000000  # calls of another kind of x86 program, which go around a filter by number

_CLONE_NEW = 0x7E020000  # any new namespace
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # type into the terminal
_FIOSETOWN, _SIOCSPGRP = 0x8901, 0x8902  # who gets a signal when something can be read: a way to kill
_F_SETOWN, _F_SETOWN_EX = 8, 15
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_STREAM, _SOCK_TYPE = 1, 0xF
_ACCESS_MODE, _READ_WRITE, _WRITE_ONLY, _TRUNCATE = 0o3, 0o2, 0o1, 0o1000

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, value


def _return(action: int) -> Instruction:
    return 0x06, 0, 0, action


def _load(offset: int) -> Instruction:
    return 0x20, 0, 0, offset


def _load_argument(index: int) -> Instruction:
    return _load(16 + 8 * index)  # the low half, which is all that the kernel takes of the arguments looked at here


def _and(mask: int) -> Instruction:
    return 0x54, 0, 0, mask


def _skip_unless_equal(value: int, skip: int) -> Instruction:
    return 0x15, 0, skip, value & 0xFFFFFFFF


def _skip_if_equal(value: int, skip: int) -> Instruction:
    return 0x15, skip, 0, value


def _skip_unless_above(value: int, skip: int) -> Instruction:
    return 0x25, 0, skip, value


def _skip_unless_any_bit(mask: int, skip: int) -> Instruction:
    return 0x45, 0, skip, mask


_ALLOW = _return(0x7FFF0000)
_DENY = _return(0x00050000 | errno.EPERM)
_DOES_NOT_EXIST = _return(0x00050000 | errno.ENOSYS)
_KILL_PROCESS = _return(0x80000000)


def install(*, network: bool) -> None:
    """Put the filter on all threads of this process and on all that it will start. Sets no_new_privs.

    Args:
        network: True where the process lives in network, process and IPC namespaces of its own; then sockets of the
            internet, of unix and of netlink are left to it. False denies all sockets but pairs of connected stream
            sockets, and signals to all but this process (and its process group, if it leads one): even to its own
            children, whose numbers are not known yet.

    Raises:
        NotSupported: another processor than x86_64 and aarch64, or a kernel without seccomp filters.
        OSError: the kernel refuses, and nothing may be run.
    """
    machine = platform.machine()
    leads_group = os.getpgrp() == os.getpid()
    instructions = program(machine, network=network, own=os.getpid(), leads_group=leads_group)
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]

    no_new_privileges()
    set_mode_filter, all_threads = 1, 1
    try:
        left_out = checked(
            libc.syscall(
                ctypes.c_long(_SECCOMP_CALL[machine]),
                ctypes.c_long(set_mode_filter),
                ctypes.c_long(all_threads),
                ctypes.byref(Program(len(instructions), packed)),
            ),
            "seccomp",
        )
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EINVAL):
            raise NotSupported("this kernel has no filters for system calls (seccomp)") from None
        raise
    if left_out:
        raise OSError(errno.EBUSY, f"seccomp: thread {left_out} has a filter of its own, which goes before this one")


def program(machine: str, *, network: bool, own: int, leads_group: bool) -> list[Instruction]:
    """The filter, as instructions of classic BPF.

    Args:
        own: the process to which signals may go.
        leads_group: whether its process group is of its own making, so that that may get signals too.

    Raises:
        NotSupported: the calls of this machine have numbers that are not known here.
    """
    if machine not in _MACHINES:
        raise NotSupported(
            f"the list of system calls to deny is written for {' and '.join(_MACHINES)}, and this is {machine}"
        )
    rules = {
        **dict.fromkeys(_ATTACKS, [_DENY]),
        "clone": [_load_argument(0), _skip_unless_any_bit(_CLONE_NEW, 1), _DENY, _ALLOW],
        "clone3": [_DOES_NOT_EXIST],  # its flags are out of a filter's sight; everybody goes on with clone
        "ioctl": _unless_argument(1, (_TIOCSTI, _TIOCLINUX)),
        # Among the others is AF_VSOCK, which reaches the host of a virtual machine from any network namespace.
        "socket": _only_if_argument(0, (_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK)),
    }
    if not network:
        signals_may_go_to = (own, 0, -own) if leads_group else (own,)
        rules |= {
            **dict.fromkeys(_NEIGHBOURS, [_DENY]),
            "socketpair": _STREAM_PAIR,
            "ioctl": _unless_argument(1, (_TIOCSTI, _TIOCLINUX, _FIOSETOWN, _SIOCSPGRP)),
            "fcntl": _unless_argument(1, (_F_SETOWN, _F_SETOWN_EX)),
            "open": _truncate_only_for_writing(1),
            "openat": _truncate_only_for_writing(2),
            "openat2": [_DOES_NOT_EXIST],
            "kill": _only_if_argument(0, signals_may_go_to),
            **dict.fromkeys(
                ("tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open"),
                _only_if_argument(0, (own,)),
            ),
            **dict.fromkeys(("prlimit64", "sched_setaffinity"), _only_if_argument(0, (0, own))),
        }

    number, architecture = 0, 4
    instructions = [
        _load(architecture),
        _skip_if_equal(_AUDIT_NUMBER[machine], 1),
        _KILL_PROCESS,  # 32-bit calls on x86_64: their numbers mean something else
        _load(number),
    ]
    if machine == "x86_64":
        instructions += [_skip_unless_above(_X32 - 1, 1), _DENY]
    instructions += [_skip_unless_above(_NEWEST, 1), _DOES_NOT_EXIST]
    numbers = _ATTACKS | _NEIGHBOURS | _BY_ARGUMENT
    for name, rule in rules.items():
        this = numbers[name][_MACHINES.index(machine)]
        if this is not None:
            instructions += [_skip_unless_equal(this, len(rule)), *rule]
    return [*instructions, _ALLOW]


def _only_if_argument(index: int, values: tuple[int, ...]) -> list[Instruction]:
    allowed = [step for value in values for step in (_skip_unless_equal(value, 1), _ALLOW)]
    return [_load_argument(index), *allowed, _DENY]


def _unless_argument(index: int, values: tuple[int, ...]) -> list[Instruction]:
    denied = [step for value in values for step in (_skip_unless_equal(value, 1), _DENY)]
    return [_load_argument(index), *denied, _ALLOW]


# A pair of datagram sockets would do to send to any other such socket of the machine.
_STREAM_PAIR = [
    _load_argument(0),
    _skip_unless_equal(_AF_UNIX, 4),
    _load_argument(1),
    _and(_SOCK_TYPE),
    _skip_unless_equal(_SOCK_STREAM, 1),
    _ALLOW,
    _DENY,
]


def _truncate_only_for_writing(flags: int) -> list[Instruction]:
    """Before Landlock's third version, to open a file for reading was enough to cut it to nothing."""
    return [
        _load_argument(flags),
        _skip_unless_any_bit(_TRUNCATE, 4),
        _and(_ACCESS_MODE),
        _skip_unless_equal(_WRITE_ONLY, 1),
        _ALLOW,
        _skip_unless_equal(_READ_WRITE, 1),
        _ALLOW,
        _DENY,
    ]

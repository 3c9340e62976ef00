"""What holds student code: control groups, the filter for system calls, capabilities and Landlock, each by itself."""

import errno
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import course
from course.grading.sandbox import cgroups, landlock, seccomp
from course.grading.sandbox.kernel import NotSupported

REPOSITORY = Path(course.__file__).resolve().parent.parent

linux = pytest.mark.skipif(sys.platform != "linux", reason="these walls are made by Linux")
filters = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason=f"the filter does not know {platform.machine()}"
)
needs_landlock = pytest.mark.skipif(not landlock.supported(), reason="this kernel has no Landlock")

PRELUDE = '''\
import ctypes, errno, json, os, signal, socket, subprocess, sys, tempfile, threading, time, warnings
from pathlib import Path
from course.grading.sandbox import capabilities, landlock, seccomp

libc = ctypes.CDLL(None, use_errno=True)

def calls(name, *arguments):
    """What comes of a call of the C library: the name of the error, or "done"."""
    ctypes.set_errno(0)
    result = getattr(libc, name)(*arguments)
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]

def tries(action, *arguments, **options):
    """What comes of a Python function: the name of the error, or "done"."""
    try:
        action(*arguments, **options)
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]

said = {}
'''


def run_script(script: str, *arguments, cwd: Path | None = None) -> dict:
    """Run `script` in a Python of its own, after the prelude; what it left in `said`, and ``"stderr"``."""
    text = f"{PRELUDE}\n{script}\nprint(json.dumps(said))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", text, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1]) | {"stderr": done.stderr}


def environment() -> dict[str, str]:
    keep = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return keep | threads | {"PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def victim():
    """A process of the same user that student code would like to end."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    alive = process.poll() is None
    process.kill()
    process.wait()
    assert alive


# -- control groups of this machine


@pytest.fixture
def group():
    """A group of 64 MB and 40 processes."""
    made = cgroups.make(64 * 2**20, 40)
    if made is None:
        pytest.skip("this user cannot make control groups here")
    if made.bounded != {"memory", "pids"}:
        made.close()
        pytest.skip(f"control groups bound no more than {sorted(made.bounded)} here")
    folders = made._folders
    yield made
    assert made.close(), "the group was not empty"
    assert not any(folder.exists() for folder in folders)


def start_inside(group: cgroups.Group, script: str, *arguments) -> subprocess.Popen:
    """Run `script` in the group, entered without privileges through descriptors that came over a socket."""
    enter = """
gate = socket.socket(fileno=int(sys.argv[1]))
_, entries, _, _ = socket.recv_fds(gate, 1, 8)
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for entry in entries:
    os.write(entry, b"0")
    os.close(entry)
gate.close()
"""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PRELUDE + enter + script, str(theirs.fileno()), *map(str, arguments)],
            env=environment(),
            pass_fds=(theirs.fileno(),),
            stdout=subprocess.PIPE,
            text=True,
        )
        socket.send_fds(ours, [b"x"], group.entries)
        ours.shutdown(socket.SHUT_WR)
        theirs.close()
        ours.settimeout(60)
        ours.recv(1)  # it closes its end once it is inside
    return process


@linux
def test_a_process_without_privileges_enters_a_group_through_what_it_was_handed(group):
    process = start_inside(group, 'print(open("/proc/self/cgroup").read())')
    told = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert told.count(f"/course-grading-{os.getpid()}-") == len(group.entries)
    assert not group.out_of_memory() and not group.processes_refused()


@linux
def test_a_memory_bomb_is_killed_by_the_system_and_reported(group):
    # Two processes, so that the sum counts: neither goes over by itself.
    process = start_inside(group, "os.fork()\nx = []\nwhile len(x) < 48: x.append(b'x' * 2**20)\ntime.sleep(30)")
    assert until(group.out_of_memory)
    assert 32 * 2**20 < group.memory_peak() <= 64 * 2**20
    assert group.close()
    process.wait(timeout=20)
    process.stdout.close()


@linux
def test_files_kept_in_memory_count(group, tmp_path):
    shared = Path("/dev/shm")
    kinds = dict(line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines())
    if kinds.get(str(shared)) != "tmpfs":
        pytest.skip("/dev/shm is not a tmpfs")
    file = shared / f"course-test-{os.getpid()}"
    file.touch()
    file.chmod(0o666)
    try:
        script = "with open(sys.argv[2], 'wb') as f:\n  for _ in range(90): f.write(b'x' * 2**20); f.flush()"
        process = start_inside(group, script, file)
        assert process.wait(timeout=30) == -signal.SIGKILL
        process.stdout.close()
        assert group.out_of_memory() and file.stat().st_size < 64 * 2**20
    finally:
        file.unlink()


@linux
def test_a_fork_bomb_is_contained_reported_and_removed(group):
    script = """
os.setsid()
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
"""
    process = start_inside(group, script)
    assert until(group.processes_refused)
    inside = [int(line) for line in (group._folders[-1] / "cgroup.procs").read_text().split()]
    assert 5 < len(inside) <= 40
    begin = time.monotonic()
    assert group.close()
    assert time.monotonic() - begin < 5
    process.wait(timeout=20)
    process.stdout.close()
    assert until(lambda: not any(Path(f"/proc/{number}").exists() for number in inside))


@linux
def test_groups_of_a_killed_grader_are_removed_and_of_a_running_one_left(group):
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [folder.with_name(f"course-grading-{gone.pid}-0") for folder in group._folders]
    for folder in left:
        folder.mkdir()
    inside = subprocess.Popen(["sleep", "60"])
    (left[0] / "cgroup.procs").write_text(str(inside.pid))
    assert cgroups.remove_left_overs() >= len(left)
    assert inside.wait(timeout=10) == -signal.SIGKILL
    assert not any(folder.exists() for folder in left)
    assert all(folder.exists() for folder in group._folders)


def until(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(true)


# -- control groups of version 2, played with ordinary files


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Makes a group of an imitated second version: folders and files, and the three things the kernel does."""
    write = cgroups._write
    files = {
        "memory": {"memory.max": "max", "memory.swap.max": "max", "memory.peak": "0", "memory.events": "oom_kill 0"},
        "pids": {"pids.max": "max", "pids.events": "max 0"},
    }
    every = {"cgroup.procs": "", "cgroup.kill": "", "cgroup.subtree_control": ""}

    def fill(folder: Path, controllers) -> None:
        for name, text in {**every, **{k: v for c in controllers for k, v in files[c].items()}}.items():
            (folder / name).write_text(text)
        (folder / "cgroup.controllers").write_text(" ".join(controllers))

    def add(path: str, offered: str, enabled: str = "", processes: str = "") -> Path:
        folder = tmp_path / path
        folder.mkdir(exist_ok=True)
        fill(folder, offered.split())
        (folder / "cgroup.subtree_control").write_text(enabled)
        (folder / "cgroup.procs").write_text(processes)
        return folder

    make_folder, remove_folder = Path.mkdir, Path.rmdir

    def mkdir(folder: Path, *arguments, **options) -> None:
        make_folder(folder, *arguments, **options)
        if folder.name.startswith("course-grading-"):
            fill(folder, (folder.parent / "cgroup.subtree_control").read_text().split())

    def rmdir(folder: Path) -> None:
        if (folder / "cgroup.procs").read_text():
            raise OSError(errno.EBUSY, "has processes")
        for file in folder.iterdir():
            file.unlink()
        remove_folder(folder)

    def control(file: Path, value: str) -> None:
        if file.name == "cgroup.subtree_control":
            if (file.parent / "cgroup.procs").read_text() and file.parent != tmp_path:
                raise OSError(errno.EBUSY, "no internal processes")
            value = " ".join(sorted({*file.read_text().split(), *value.replace("+", "").split()}))
        if file.name == "cgroup.kill":
            (file.parent / "cgroup.procs").write_text("")
        write(file, value)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "rmdir", rmdir)
    monkeypatch.setattr(cgroups, "_write", control)
    return add


def test_version_2_groups_are_made_beside_a_group_that_holds_processes(tree, tmp_path):
    tree(".", "memory pids", "memory pids")
    session = tree("session", "memory pids")
    ours = tree("session/ours", "memory pids", processes="77\n")
    group = cgroups.make(2**30, 50, root=tmp_path, own="0::/session/ours\n")
    (folder,) = group._folders
    assert folder.parent == session and not list(ours.glob("course-grading-*"))
    assert (session / "cgroup.subtree_control").read_text() == "memory pids"
    assert (ours / "cgroup.subtree_control").read_text() == ""
    limits = {name: (folder / name).read_text() for name in ("memory.max", "memory.swap.max", "pids.max")}
    assert limits == {"memory.max": str(2**30), "memory.swap.max": "0", "pids.max": "50"}
    assert len(group.entries) == 1 and group.bounded == {"memory", "pids"}
    assert (group.memory_peak(), group.out_of_memory(), group.processes_refused()) == (0, False, False)

    os.write(group.entries[0], b"0")
    assert (folder / "cgroup.procs").read_text() == "0"
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 31\noom 3\noom_kill 2\n")
    (folder / "memory.peak").write_text("4096\n")
    (folder / "pids.events").write_text("max 3\n")
    assert (group.memory_peak(), group.out_of_memory(), group.processes_refused()) == (4096, True, True)
    (folder / "memory.peak").unlink()
    assert group.memory_peak() is None
    assert group.close() and not folder.exists()


def test_version_2_groups_are_made_inside_the_root(tree, tmp_path):
    tree(".", "memory pids", processes="1\n77\n")
    group = cgroups.make(2**30, 50, root=tmp_path, own="0::/\n")
    assert group._folders[0].parent == tmp_path
    assert group.close()


def test_version_2_where_nothing_can_be_enabled_there_is_no_group(tree, tmp_path):
    tree(".", "memory pids", "memory pids")
    tree("ours", "", processes="77\n")
    above = tree("above", "memory pids", processes="5\n")
    tree("above/ours", "memory pids", processes="77\n")
    before = sorted(tmp_path.rglob("*"))
    assert cgroups.make(2**30, 50, root=tmp_path, own="0::/above/ours\n") is None
    assert (above / "cgroup.subtree_control").read_text() == ""
    assert cgroups.make(2**30, 50, root=tmp_path, own="0::/../elsewhere\n") is None
    assert cgroups.make(2**30, 50, root=tmp_path / "nothing", own="0::/\n") is None
    assert cgroups.make(2**30, 50, root=tmp_path, own="") is None
    assert sorted(tmp_path.rglob("*")) == before


def test_version_2_where_a_limit_is_refused_nothing_is_left_behind(tree, tmp_path, monkeypatch):
    tree(".", "memory pids", "memory pids")
    tree("ours", "memory pids", processes="77\n")
    write = cgroups._write

    def refuse(file: Path, value: str) -> None:
        if file.name == "pids.max":
            raise PermissionError(errno.EACCES, "no")
        write(file, value)

    monkeypatch.setattr(cgroups, "_write", refuse)
    assert cgroups.make(2**30, 50, root=tmp_path, own="0::/ours\n") is None
    assert not list(tmp_path.rglob("course-grading-*"))


def test_version_2_that_offers_processes_only_says_so(tree, tmp_path):
    tree(".", "pids", "pids")
    tree("ours", "pids", processes="77\n")
    group = cgroups.make(2**30, 50, root=tmp_path, own="0::/ours\n")
    assert group.bounded == {"pids"}
    assert (group.memory_peak(), group.out_of_memory()) == (None, False)
    assert group.close()


def test_hybrid_mounts_take_each_controller_from_where_it_is(tree, tmp_path):
    unified = tree("unified", "pids", processes="1\n")
    (unified / "cgroup.subtree_control").write_text("pids")
    memory = tree("memory", "")
    (memory / "cgroup.subtree_control").write_text("memory")  # so that the imitation fills the folder
    own = "4:memory:/\n1:name=systemd:/\n0::/\n"
    place = {p.controllers: (p.folder, p.version) for p in cgroups._places(tmp_path, own)}
    assert place == {("memory",): (memory, 1), ("pids",): (unified, 2)}


def test_version_2_left_overs_are_killed_and_removed(tree, tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    tree(".", "memory pids", "memory pids")
    tree("ours", "memory pids", processes="77\n")
    dead = tree(f"course-grading-{gone.pid}-3", "memory pids", processes="4194304\n")
    others = [tree(f"course-grading-{os.getpid()}-3", ""), tree("course-grading-home", "")]
    assert cgroups.remove_left_overs(root=tmp_path, own="0::/ours\n") == 1
    assert not dead.exists() and all(folder.exists() for folder in others)


# -- the filter for system calls: what it says, for both processors

ALLOWED, REFUSED, KILLED = 0x7FFF0000, 0x50000 | errno.EPERM, 0x80000000
UNKNOWN = 0x50000 | errno.ENOSYS
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def verdict(program, machine: str, number: int, *arguments: int, audit: int = 0) -> int:
    """What the kernel would do with this call: classic BPF, as much of it as the filter uses."""
    data = {0: number, 4: audit or AUDIT[machine]}
    data |= {16 + 8 * i: value & 0xFFFFFFFF for i, value in enumerate((*arguments, 0, 0, 0, 0))}
    place = accumulator = 0
    while True:
        code, jump_true, jump_false, value = program[place]
        place += 1
        if code == 0x20:
            accumulator = data[value]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return value
        else:
            yes = {0x15: accumulator == value, 0x25: accumulator > value, 0x45: bool(accumulator & value)}[code]
            place += jump_true if yes else jump_false


@pytest.fixture(params=["x86_64", "aarch64"])
def judge(request):
    """A function (number of the call on x86_64, on aarch64, arguments) -> what the filter says."""

    def make(**options):
        program = seccomp.program(request.param, **{"network": True, "own": 500, "leads_group": True, **options})
        column = seccomp._MACHINES.index(request.param)
        return lambda numbers, *arguments: verdict(program, request.param, numbers[column], *arguments)

    make.machine = request.param
    return make


CLONE, OPENAT, IOCTL, KILL, SOCKETPAIR, FCNTL = (56, 220), (257, 56), (16, 29), (62, 129), (53, 199), (72, 25)
PRLIMIT, TGKILL, READ, SOCKET, FCHMOD = (302, 261), (234, 131), (0, 63), (41, 198), (91, 52)


def test_filter_around_namespaces(judge):
    says = judge(network=True)
    for numbers in ((101, 117), (165, 40), (272, 97), (425, 425), (438, 438), (428, 428), (250, 219)):
        assert says(numbers) == REFUSED
    for new_namespace in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert says(CLONE, new_namespace | signal.SIGCHLD) == REFUSED
    assert says(CLONE, 0x3D0F00) == ALLOWED  # a thread
    assert says(CLONE, signal.SIGCHLD) == ALLOWED
    assert says((435, 435)) == UNKNOWN
    assert says((452, 452)) == UNKNOWN and says((5000, 5000)) == UNKNOWN
    assert says(IOCTL, 0, 0x5412) == REFUSED and says(IOCTL, 0, 0x541C) == REFUSED
    assert says(IOCTL, 0, 0x5401) == ALLOWED
    af_vsock, af_alg, af_packet = 40, 38, 17  # the first reaches the host of a virtual machine
    assert [says(SOCKET, family) for family in (af_vsock, af_alg, af_packet)] == [REFUSED] * 3
    assert [says(SOCKET, family) for family in (1, 2, 10, 16)] == [ALLOWED] * 4
    for numbers in (READ, OPENAT, KILL, SOCKET, TGKILL, FCNTL, FCHMOD, PRLIMIT, SOCKETPAIR):
        assert says(numbers, 1, 8) == ALLOWED


def test_filter_without_namespaces(judge):
    says = judge(network=False)
    assert says(SOCKET, socket.AF_UNIX) == says(SOCKET, socket.AF_INET) == REFUSED
    assert says(SOCKETPAIR, socket.AF_UNIX, socket.SOCK_STREAM | 0o2000000) == ALLOWED
    assert says(SOCKETPAIR, socket.AF_UNIX, socket.SOCK_DGRAM) == REFUSED  # sendto reaches others
    assert says(SOCKETPAIR, 16, socket.SOCK_STREAM) == REFUSED
    assert [says(KILL, who) for who in (500, 0, -500)] == [ALLOWED] * 3
    assert [says(KILL, who) for who in (-1, 1, 499, -499, 501)] == [REFUSED] * 5
    assert says(TGKILL, 500, 503) == ALLOWED and says(TGKILL, 499, 499) == REFUSED
    assert says((424, 424)) == REFUSED and says((434, 434), 500) == ALLOWED and says((434, 434), 7) == REFUSED
    assert says(FCNTL, 3, 8) == says(FCNTL, 3, 15) == says(IOCTL, 3, 0x8901) == says(IOCTL, 3, 0x8902) == REFUSED
    assert says(IOCTL, 3, 0x5412) == REFUSED and says(FCNTL, 3, 2) == ALLOWED
    assert says(PRLIMIT, 0) == says(PRLIMIT, 500) == ALLOWED and says(PRLIMIT, 499) == REFUSED
    assert says(FCHMOD, 3) == REFUSED and says((437, 437)) == UNKNOWN
    cut = 0o1000
    assert [says(OPENAT, 0, 0, how | cut) for how in (0, 1, 2, 3)] == [REFUSED, ALLOWED, ALLOWED, REFUSED]
    assert [says(OPENAT, 0, 0, how) for how in (0, 1, 2)] == [ALLOWED] * 3
    assert says(READ, 0) == ALLOWED

    says = judge(network=False, leads_group=False)
    assert [says(KILL, who) for who in (500, 0, -500)] == [ALLOWED, REFUSED, REFUSED]


def test_filter_kills_what_speaks_another_language():
    program = seccomp.program("x86_64", network=True, own=500, leads_group=True)
    assert verdict(program, "x86_64", 0, audit=0x40000003) == KILLED  # i386
    assert verdict(program, "x86_64", 0x40000000) == verdict(program, "x86_64", 0x40000000 + 101) == REFUSED
    assert len(program) < 4096
    with pytest.raises(NotSupported, match="riscv64"):
        seccomp.program("riscv64", network=True, own=500, leads_group=True)


def test_numbers_of_calls_are_those_of_the_kernel_headers():
    generic = Path("/usr/include/asm-generic/unistd.h")
    x86 = next(Path("/usr/include").glob("**/asm/unistd_64.h"), None)
    if not generic.exists() or x86 is None:
        pytest.skip("the kernel's header files are not installed for both processors")
    numbers = [
        {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", x86.read_text())},
        {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", generic.read_text())},
    ]
    mine = seccomp._ATTACKS | seccomp._NEIGHBOURS | seccomp._BY_ARGUMENT
    for column, theirs in enumerate(numbers):
        for name, pair in mine.items():
            assert name not in theirs or pair[column] == theirs[name], f"{name} on {seccomp._MACHINES[column]}"
        missing = {name for name, pair in mine.items() if pair[column] is not None} - set(theirs)
        assert not missing, f"not in the headers of {seccomp._MACHINES[column]}: {missing}"


# -- the filter at work

ATTACKS = """
def attacks():
    return {
        "ptrace": calls("ptrace", -1, 0, 0, 0),
        "process_vm_readv": calls("process_vm_readv", os.getpid(), 0, 0, 0, 0, 0),
        "mount": calls("mount", None, None, None, 0, None),
        "umount": calls("umount2", None, 0),
        "chroot": calls("chroot", b"/"),
        "unshare": calls("unshare", 0),
        "setns": calls("setns", -1, 0),
        "personality": calls("personality", ctypes.c_ulong(0xFFFFFFFF)),
        "handle": calls("open_by_handle_at", -1, None, 0),
        "terminal": calls("ioctl", -1, ctypes.c_ulong(0x5412), b"x"),
    }
"""


@linux
@filters
def test_the_filter_refuses_attacks_and_lets_python_work(tmp_path):
    said = run_script(
        ATTACKS
        + """
from multiprocessing import get_context
said["before"] = attacks()
capabilities.drop_capabilities()
seccomp.install(network=True)
said["after"] = attacks()
said["clone"] = calls("syscall", ctypes.c_long({"x86_64": 56, "aarch64": 220}[os.uname().machine]),
                      ctypes.c_long(0x10000000 | 17), 0, 0, 0, 0)
said["host"] = tries(socket.socket, socket.AF_VSOCK)
said["child"] = subprocess.run([sys.executable, "-c", "import os; os.chroot('/')"], capture_output=True).returncode
status = dict(line.split(":\\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\\t" in line)
kinds = ("CapInh", "CapPrm", "CapEff", "CapAmb") + (("CapBnd",) if os.getuid() == 0 else ())
said["capabilities"] = sorted({status[name].strip() for name in kinds})
said["no_new_privs"] = status["NoNewPrivs"].strip()

said["true"] = subprocess.run(["true"]).returncode
seen = []
thread = threading.Thread(target=seen.append, args=(1,)); thread.start(); thread.join()
said["threads"] = seen
with get_context("fork").Pool(2) as pool:
    said["pool"] = pool.map(abs, [-1, -2, -3])
with tempfile.NamedTemporaryFile(dir=".") as file:
    file.write(b"x"); os.chmod(file.name, 0o600)
child = subprocess.Popen(["sleep", "60"]); child.kill(); said["killed"] = child.wait()
socket.socket().close()
""",
        cwd=tmp_path,
    )
    if os.getuid() == 0:  # of others the kernel refuses some of it anyway
        assert "EPERM" not in said["before"].values()
    assert set(said["after"].values()) == {"EPERM"} and said["clone"] == said["host"] == "EPERM"
    assert said["child"] == 1
    assert said["capabilities"] == ["0" * 16] and said["no_new_privs"] == "1"
    assert (said["true"], said["threads"], said["pool"], said["killed"]) == (0, [1], [1, 2, 3], -signal.SIGKILL)
    assert said["stderr"] == ""


@linux
@filters
def test_the_filter_without_namespaces_stops_sockets_signals_and_changed_modes(tmp_path, victim):
    precious = tmp_path / "gradebook"
    precious.write_text("12 points")
    said = run_script(
        """
import fcntl, resource
victim, precious = int(sys.argv[1]), sys.argv[2]
os.setsid()
heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
seccomp.install(network=False)
said["internet"] = tries(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
said["unix"] = tries(socket.socket, socket.AF_UNIX)
said["netlink"] = tries(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW)
said["datagrams"] = tries(socket.socketpair, socket.AF_UNIX, socket.SOCK_DGRAM)
a, b = socket.socketpair()
said["kill"] = tries(os.kill, victim, signal.SIGKILL)
said["everybody"] = tries(os.kill, -1, 0)
said["its group"] = tries(os.killpg, os.getppid(), 0)
said["its thread"] = calls("tgkill", victim, victim, 0)
said["pidfd"] = tries(os.pidfd_open, victim)
said["owner"] = tries(fcntl.fcntl, a, fcntl.F_SETOWN, victim)
said["its limits"] = tries(resource.prlimit, victim, resource.RLIMIT_CPU, (1, 1))
said["its priority"] = tries(os.setpriority, os.PRIO_PROCESS, victim, 19)
said["mode"] = tries(os.chmod, precious, 0)
with open(precious) as file:
    said["mode of a file that can be read"] = tries(os.fchmod, file.fileno(), 0)
said["times"] = tries(os.utime, precious)
said["attribute"] = tries(os.setxattr, precious, "user.x", b"")
said["cut"] = tries(os.open, precious, os.O_RDONLY | os.O_TRUNC)

a.send(b"hello"); said["pair"] = b.recv(9).decode()
os.kill(os.getpid(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR1)
said["heard"] = len(heard)
said["true"] = subprocess.run(["true"]).returncode
seen = []
thread = threading.Thread(target=seen.append, args=(1,)); thread.start(); thread.join()
said["threads"] = seen
with tempfile.TemporaryDirectory(dir=".") as folder:
    Path(folder, "x").write_text("x"); Path(folder, "x").write_text("y"); Path(folder, "x").rename(Path(folder, "z"))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
said["no_new_privs"] = "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()
""",
        victim.pid,
        precious,
        cwd=tmp_path,
    )
    work = {"pair": "hello", "heard": 2, "true": 0, "threads": [1], "no_new_privs": True, "stderr": ""}
    assert {name: said.pop(name) for name in work} == work
    assert set(said.values()) == {"EPERM"}, said
    assert precious.read_text() == "12 points" and precious.stat().st_mode & 0o777 != 0


# -- Landlock

OPEN = """
def system():
    names = (sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")
    return [Path(name) for name in names if os.path.exists(name)] + [Path(os.environ["PYTHONPATH"])]
"""


@linux
@needs_landlock
def test_landlock_leaves_only_what_was_named(tmp_path, victim):
    private, mine, read_only = tmp_path / "private", tmp_path / "mine", tmp_path / "read"
    for folder in (private, mine, read_only):
        folder.mkdir()
        (folder / "file").write_text("text")
    one_file = tmp_path / "log"
    one_file.write_text("")
    (mine / "link").symlink_to(private / "file")
    name = f"\0course-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(name)
        abstract.listen()
        said = run_script(
            OPEN
            + """
from _multiprocessing import SemLock
private, mine, read_only, log = map(Path, sys.argv[1:5])
port, victim = int(sys.argv[5]), int(sys.argv[6])
landlock.restrict([*system(), read_only], [mine, log])
said["refused"] = {
    "read": tries((private / "file").read_text),
    "through a link": tries((mine / "link").read_text),
    "through /proc": tries(Path("/proc/self/root" + str(private / "file")).read_text),
    "list": tries(os.listdir, private),
    "write": tries((private / "new").write_text, "x"),
    "write where it may read": tries((read_only / "file").write_text, "x"),
    "remove where it may read": tries((read_only / "file").unlink),
    "remove": tries((private / "file").unlink),
    "bring in": tries((private / "file").rename, mine / "stolen"),
    "link in": tries(os.link, private / "file", mine / "stolen"),
    "passwords": tries(Path("/etc/passwd").read_text),
    "environment of others": tries(Path(f"/proc/{os.getppid()}/environ").read_bytes),
    "processes": tries(os.listdir, "/proc"),
    "shared memory": tries(os.listdir, "/dev/shm"),
    "semaphore": tries(SemLock, 1, 1, 1, "/course-test", True),
    "devices": tries(os.listdir, "/dev"),
    "parent": tries(Path(f"/proc/{os.getppid()}/status").read_text),
}
if landlock.supported() >= 3:
    said["refused"]["cut"] = tries(os.truncate, private / "file", 0)
if landlock.supported() >= 4:
    said["refused"]["TCP"] = tries(socket.create_connection, ("127.0.0.1", port))
    said["refused"]["serve"] = tries(socket.create_server, ("127.0.0.1", 0))
if landlock.supported() >= 6:
    said["signal"] = tries(os.kill, victim, signal.SIGKILL)
    said["abstract socket"] = tries(socket.socket(socket.AF_UNIX).connect, "\\0" + sys.argv[7])

said["read"] = (read_only / "file").read_text()
for name in ("null", "zero", "full", "random", "urandom"):
    open(f"/dev/{name}", "rb").read(1)
    open(f"/dev/{name}", "r+b", buffering=0).close()
open(os.devnull, "w").write("x")
[Path(p).read_text() for p in ("/proc/cpuinfo", "/proc/meminfo", "/proc/self/status", "/proc/self/maps")]
said["folder"] = [tries((mine / "a").mkdir), tries((mine / "a" / "b").write_text, "x"),
                  tries((mine / "a" / "b").unlink), tries((mine / "a").rmdir), tries((mine / "c").symlink_to, "d")]
if landlock.supported() >= 2:
    (mine / "to").mkdir(); (mine / "file").rename(mine / "to" / "file")
log.write_text("x"); log.open("a").write("y"); said["log"] = log.read_text()
with tempfile.NamedTemporaryFile(dir=mine) as file:
    file.write(b"x")
said["true"] = subprocess.run(["true"]).returncode
said["child"] = subprocess.run(["cat", str(private / "file")], capture_output=True).returncode
child = subprocess.Popen(["sleep", "60"]); child.kill(); said["killed"] = child.wait()
seen = []
thread = threading.Thread(target=seen.append, args=(1,)); thread.start(); thread.join()
said["threads"] = seen
""",
            private,
            mine,
            read_only,
            one_file,
            server.getsockname()[1],
            victim.pid,
            name[1:],
        )
    # Moving between folders is refused as if they were on two disks.
    assert {said["refused"].pop("bring in"), said["refused"].pop("link in")} <= {"EACCES", "EXDEV"}
    assert set(said["refused"].values()) == {"EACCES"}, said
    assert said.get("signal", "EPERM") == said.get("abstract socket", "EPERM") == "EPERM"
    assert said["folder"] == ["done"] * 5
    assert (said["read"], said["log"], said["true"], said["child"]) == ("text", "xy", 0, 1)
    assert (said["killed"], said["threads"], said["stderr"]) == (-signal.SIGKILL, [1], "")
    assert (private / "file").read_text() == "text"


@linux
@needs_landlock
def test_landlock_says_what_is_missing(tmp_path):
    said = run_script(f"said['missing'] = tries(landlock.restrict, [], [Path({str(tmp_path / 'none')!r})])")
    assert said["missing"] == "ENOENT"


@linux
@filters
def test_torch_works_behind_each_wall(tmp_path):
    """One process imports it, and what it forks goes behind the walls: as in the sandbox."""
    (tmp_path / "secret").write_text("x")
    mine = tmp_path / "mine"
    mine.mkdir()
    said = run_script(
        OPEN
        + """
import torch, traceback

class Numbers(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, i): return torch.full((3,), float(i))

def work():
    x = torch.ones(50, 50, requires_grad=True)
    (x @ x).relu().sum().backward()
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(32, 1))
    model(torch.ones(2, 1, 6, 6)).sum().backward()
    torch.save(model.state_dict(), "model.pt")
    return float(x.grad.sum())

def loads(workers):
    return float(sum(batch.sum() for batch in torch.utils.data.DataLoader(Numbers(), 2, num_workers=workers)))

def behind(wall, *tasks):
    reader, writer = os.pipe()
    if not os.fork():
        try:
            os.chdir(sys.argv[1])
            wall()
            answer = [task() for task in tasks]
        except BaseException:
            answer = traceback.format_exc()
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    answer = json.loads(os.fdopen(reader).read())
    os.wait()
    return answer

def namespaces():
    capabilities.drop_capabilities()
    seccomp.install(network=True)

def fallback():
    os.setsid()
    landlock.restrict(system(), [Path(sys.argv[1])])
    capabilities.drop_capabilities()
    seccomp.install(network=False)

said["namespaces"] = behind(namespaces, work, lambda: loads(2))
if landlock.supported():
    said["fallback"] = behind(fallback, work, lambda: loads(0), lambda: tries(open, "../secret"))
""",
        mine,
    )
    assert said["namespaces"] == [250000.0, 84.0]
    if landlock.supported():
        assert said["fallback"] == [250000.0, 84.0, "EACCES"]
    assert said["stderr"] == ""


# -- every call that the filter names: a name that falls out of its tables falls out of no test

ATTACK_NAMES = [
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "kcmp",
    "process_madvise",
    "process_mrelease",
    "pidfd_getfd",
    "move_pages",
    "migrate_pages",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "name_to_handle_at",
    "open_by_handle_at",
    "quotactl",
    "quotactl_fd",
    "fanotify_init",
    "unshare",
    "setns",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "keyctl",
    "add_key",
    "request_key",
    "lookup_dcookie",
    "personality",
    "modify_ldt",
    "uselib",
    "nfsservctl",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "syslog",
    "acct",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "sethostname",
    "setdomainname",
    "vhangup",
    "iopl",
    "ioperm",
]
NEIGHBOUR_NAMES = [
    "socket",
    "bind",
    "connect",
    "mq_open",
    "shmget",
    "shmat",
    "shmctl",
    "semget",
    "msgget",
    "pidfd_send_signal",
    "setpriority",
    "ioprio_set",
    "sched_setparam",
    "sched_setscheduler",
    "sched_setattr",
    "truncate",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "lchown",
    "fchown",
    "fchownat",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "fallocate",
]
X86_ONLY = {"modify_ldt", "uselib", "iopl", "ioperm", "chmod", "chown", "lchown", "utime", "utimes", "futimesat"}


def test_filter_names_what_it_should(judge):
    assert sorted(seccomp._ATTACKS) == sorted(ATTACK_NAMES) and sorted(seccomp._NEIGHBOURS) == sorted(NEIGHBOUR_NAMES)
    around, without = judge(network=True), judge(network=False)
    column = seccomp._MACHINES.index(judge.machine)
    tables = seccomp._ATTACKS | seccomp._NEIGHBOURS | seccomp._BY_ARGUMENT
    there = [pair[column] for pair in tables.values() if pair[column] is not None]
    assert len(set(there)) == len(there), "two names for one number"
    for name in (*ATTACK_NAMES, *NEIGHBOUR_NAMES):
        if tables[name][column] is None:
            assert judge.machine == "aarch64" and name in X86_ONLY, name
            continue
        assert without(tables[name], 1, 1) == REFUSED, name
        assert around(tables[name], 1, 1) == (REFUSED if name in ATTACK_NAMES else ALLOWED), name


TKILL, QUEUE, QUEUE_TO_THREAD, AFFINITY, OPEN_OF_OLD = (200, 130), (129, 138), (297, 240), (203, 122), (2, None)


def test_filter_without_namespaces_looks_at_whom_a_call_is_about(judge):
    around, without = judge(network=True), judge(network=False)
    for numbers in (TKILL, QUEUE, QUEUE_TO_THREAD):
        assert without(numbers, 500, 500) == ALLOWED
        assert [without(numbers, who, 500) for who in (0, 1, 499, -1, -500)] == [REFUSED] * 5
        assert around(numbers, 499, 500) == ALLOWED
    assert [without(AFFINITY, who) for who in (0, 500, 499)] == [ALLOWED, ALLOWED, REFUSED]
    assert around(AFFINITY, 499) == ALLOWED
    if judge.machine == "x86_64":
        cut = 0o1000
        assert [without(OPEN_OF_OLD, 0, how | cut) for how in (0, 1, 2, 3)] == [REFUSED, ALLOWED, ALLOWED, REFUSED]
        assert [without(OPEN_OF_OLD, 0, how) for how in (0, 1, 2)] == [ALLOWED] * 3


@linux
@filters
def test_the_kernel_refuses_every_call_that_the_filter_names(tmp_path):
    """Each by its number, with arguments that do nothing, should it be let through."""
    column = seccomp._MACHINES.index(platform.machine())
    numbers = {name: pair[column] for name, pair in (seccomp._ATTACKS | seccomp._NEIGHBOURS).items() if pair[column]}
    said = run_script(
        f"""
numbers = {numbers!r}
def is_refused(number):
    ctypes.set_errno(0)
    libc.syscall(*map(ctypes.c_long, (number, -1, 0, 0, 0, 0, 0)))
    return ctypes.get_errno() == errno.EPERM
def refused():
    return [name for name, number in numbers.items() if is_refused(number)]
capabilities.drop_capabilities()
said["before"] = refused()
seccomp.install(network=False)
said["after"] = refused()
""",
        cwd=tmp_path,
    )
    assert said["after"] == list(numbers) and said["stderr"] == ""
    assert len(said["before"]) < len(numbers)

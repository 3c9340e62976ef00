"""What a job sees, what it can reach, what it leaves behind, on every kind of walls and as every kind of user."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import course
from course.grading.limits import Limits
from course.grading.read.merge import RunCell
from course.grading.run.child import ChildLost, start_child
from course.grading.sandbox import CannotStart, Sandbox, ServerLost, client, house, landlock

ROOT = Path(course.__file__).resolve().parents[1]


BUBBLEWRAP = "bubblewrap"


@pytest.fixture(scope="module", params=[*house.KINDS, BUBBLEWRAP])
def sandbox(request):
    if request.param == BUBBLEWRAP and not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed")
    if request.param == house.LANDLOCK and landlock.supported() < 6:
        pytest.skip("this kernel's Landlock does not keep signals in")
    with pytest.MonkeyPatch.context() as patch:
        kind = house.NAMESPACES if request.param == BUBBLEWRAP else request.param
        around = [
            walls for walls in client._walls(None) if walls[0] == kind and bool(walls[1]) == (request.param != kind)
        ]
        patch.setattr(client, "_walls", lambda exchange: around)
        with Sandbox(Limits(timeout=20, memory=2**30)) as sandbox:
            yield sandbox


def look(sandbox: Sandbox, source: str, seconds: float = 20):
    """Run a cell in a job of its own; what it gives to `seen` comes back."""
    source = textwrap.dedent(source) + "\nimport json\nraise RuntimeError(json.dumps(seen))"
    with start_child(sandbox) as child:
        error, _, _ = child.execute(RunCell("look", source), seconds)
    assert error.startswith("RuntimeError: "), error
    return json.loads(error.removeprefix("RuntimeError: "))


def tries(*attempts: str) -> str:
    """Source that notes for each expression what it raises, or ``"done"``."""
    lines = ["import ctypes, glob, os, pathlib, signal, socket, subprocess, sys", "seen = []"]
    for attempt in attempts:
        lines += [
            "try:",
            f"    {attempt}",
            "    seen.append('done')",
            "except Exception as error:",
            "    seen.append(type(error).__name__)",
        ]
    return "\n".join(lines)


# -- what there is


def test_the_answers_and_everybody_elses_files_are_not_there(sandbox, tmp_path):
    (tmp_path / "classmate.ipynb").write_text("{}")
    tmp_path.chmod(0o755)
    found = look(
        sandbox,
        tries(
            f"os.listdir({str(ROOT / 'solutions')!r})",
            f"open({str(ROOT / 'README.md')!r})",
            f"open({str(tmp_path / 'classmate.ipynb')!r})",
            "open('/etc/shadow')",
            "os.listdir(os.path.expanduser('~root'))",
            "open('/proc/1/environ').read() and os.getpid() != 1 and open('/proc/1/mem')",
        ),
    )
    assert set(found[:5]) <= {"FileNotFoundError", "PermissionError", "NotADirectoryError"}, found


def test_the_folder_is_empty_and_its_own(sandbox):
    source = "import os\nseen = [os.getcwd(), os.listdir(), os.environ['HOME'], len(os.environ)]\nopen('left', 'w')"
    (folder, files, home, count), again = look(sandbox, source), look(sandbox, source)
    assert files == again[1] == [] and folder == home and count <= 20
    assert not Path(folder, "left").exists()


def test_nothing_else_can_be_written(sandbox):
    package = Path(course.__file__).parent
    found = look(
        sandbox,
        tries(
            "open('/usr/x', 'w')",
            f"open({str(package / 'x')!r}, 'w')",
            f"os.remove({str(package / '__init__.py')!r})",
            "open('/x', 'w')",
            f"open({sys.prefix + '/x'!r}, 'w')",
            "open('/proc/sys/kernel/hostname', 'w').write('x')",
            f"os.chmod({str(package)!r}, 0o777)",
            "os.mkdir('/dev/x')",
            f"open('{house.SERVER_HOME}/x', 'w')",
        ),
    )
    assert "done" not in found, found


def test_the_network_is_out_of_reach(sandbox):
    import socket

    with socket.socket() as listening, socket.socket(socket.AF_UNIX) as abstract:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        abstract.bind(f"\0course-test-{os.getpid()}")
        abstract.listen()
        port = listening.getsockname()[1]
        found = look(
            sandbox,
            tries(
                f"socket.create_connection(('127.0.0.1', {port}), 2)",
                f"socket.create_connection(('::1', {port}), 2)",
                f"socket.socket(socket.AF_UNIX).connect('\\0course-test-{os.getpid()}')",
                "socket.getaddrinfo('localhost.example.org', 80)",
                f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
            ),
        )
    assert "done" not in found, found


def test_no_other_process_can_be_touched(sandbox):
    with subprocess.Popen(["sleep", "60"]) as other:
        found = look(
            sandbox,
            tries(
                f"os.kill({other.pid}, 9)",
                f"os.kill({os.getpid()}, 9)",
                f"os.killpg({os.getpgid(0)}, 9)",
                f"open('/proc/{os.getpid()}/environ').read()",
                f"os.listdir('/proc/{other.pid}/fd')",
                f"open('/proc/{os.getppid()}/mem', 'rb').read(1)",
            ),
        )
        assert other.poll() is None
        other.kill()
    assert "done" not in found, found


def test_common_work_goes_on_as_ever(sandbox):
    source = """
        import os, tempfile, threading, torch, warnings
        warnings.simplefilter("error")
        from torch import nn
        with tempfile.NamedTemporaryFile() as file: file.write(b"x")
        done = []
        thread = threading.Thread(target=lambda: done.append(1)); thread.start(); thread.join()
        model = nn.Linear(4, 2)
        loss = model(torch.randn(3, 4)).sum(); loss.backward(); torch.optim.Adam(model.parameters()).step()
        import matplotlib.pyplot as plt
        plt.plot([1, 2]); plt.savefig("figure.png")
        from course.data import load
        seen = [os.path.getsize("figure.png") > 1000, done, len(load("digits", split="test").images) > 100]
    """
    assert look(sandbox, source) == [True, [1], True]


def test_subprocesses_and_workers_run(sandbox):
    source = """
        import subprocess
        seen = subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout
    """
    assert look(sandbox, source) == "hello\n"
    if "Landlock" in sandbox.isolation:
        return  # workers hand tensors over on sockets, and all sockets are denied there
    source = """
        import torch
        from torch.utils.data import DataLoader
        seen = [batch.tolist() for batch in DataLoader(torch.arange(4), batch_size=2, num_workers=1)]
    """
    assert look(sandbox, source) == [[0, 1], [2, 3]]


# -- what it may use up


def test_memory_has_an_end_in_one_process_and_in_many(sandbox):
    source = "import torch\nkeep = []\nwhile True: keep.append(torch.ones(2**24))"
    with start_child(sandbox) as child:
        error, _, _ = child.execute(RunCell("bomb", source), 20)
        assert "can't allocate memory" in error or "MemoryError" in error
    many = (
        "import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n        held = b'x' * 7 * 10**8\n"
        "        time.sleep(5)\n        os._exit(0)\ntime.sleep(2)"
    )
    free = _available()
    with start_child(sandbox) as child:
        try:
            child.execute(RunCell("bombs", many), 20)
        except ChildLost as lost:
            assert lost.status in ("limit", "crashed")
        if child._job._group:
            assert _available() > free - 2 * 2**30


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def test_processes_files_and_bytes_have_an_end(sandbox):
    source = """
        import os
        seen = []
        children = 0
        try:
            while True:
                if os.fork() == 0:
                    import time; time.sleep(30); os._exit(0)
                children += 1
        except OSError:
            seen.append(children)
    """
    (children,) = look(sandbox, source)
    assert 10 < children <= 64
    source = """
        import os
        seen = []
        try:
            with open("large", "wb") as file:
                while True: file.write(b"x" * 2**24)
        except OSError:
            seen.append(os.path.getsize("large") >> 20)
    """
    (size,) = look(sandbox, source)
    assert size <= 256


def test_too_many_files_are_refused(sandbox):
    if not sandbox.isolation.count("namespaces of its own"):
        pytest.skip("behind Landlock the scratch folder is an ordinary one")
    source = "seen = 0\ntry:\n    while True:\n        open(f'f{seen}', 'w').close(); seen += 1\nexcept OSError: pass"
    assert 100 < look(sandbox, source) <= house.MOST_FILES


# -- what is left


def test_nothing_that_was_started_goes_on(sandbox):
    marker = f"{400 + os.getpid() / 1e7:.7f}"
    source = (
        "import subprocess, sys, os\n"
        f"subprocess.Popen(['sleep', '{marker}'])\n"
        f"subprocess.Popen(['sleep', '{marker}'], start_new_session=True)\n"
        f"if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: os.execvp('sleep', ['sleep', '{marker}'])\n"
        "    os._exit(0)\nseen = 1"
    )
    assert look(sandbox, source) == 1
    assert not _running(marker)


def _running(marker: str) -> bool:
    def command(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError:
            return b""

    for _ in range(50):
        if not any(marker.encode() in command(path) for path in Path("/proc").glob("[0-9]*/cmdline")):
            return False
        time.sleep(0.1)
    return True


def test_a_loop_that_ignores_every_signal_ends_on_time(sandbox):
    source = (
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except Exception: pass\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    )
    begin = time.monotonic()
    with pytest.raises(ChildLost, match="did not come to an end"), start_child(sandbox) as child:
        child.execute(RunCell("loop", source), 1)
    assert time.monotonic() - begin < 8


def test_one_job_leaves_the_next_no_word(sandbox):
    write = (
        "import os\nseen = 0\nfor f in ('/dev/shm', '/tmp', os.getcwd(), '/sandbox/server', '/var/tmp'):\n"
        "    try:\n        open(f + '/word', 'w').write('x'); seen += 1\n    except OSError: pass"
    )
    assert look(sandbox, write) >= 1
    read = (
        "import os\nseen = [f for f in ('/dev/shm', '/tmp', os.getcwd(), '/sandbox/server', '/var/tmp') "
        "if os.path.exists(f + '/word')]"
    )
    assert look(sandbox, read) == []


# -- the server


def test_the_server_has_no_secret_to_inherit(sandbox):
    source = """
        import os, sys
        bare = {"PATH", "PYTHONPATH", "HOME", "TMPDIR", "LANG"}
        start = {line.split("=")[0] for line in open("/proc/self/environ").read().split("\\0") if line}
        secret = [name for name in sys.modules if name.startswith(("course.authoring", "course.grading.judge",
                  "course.grading.grade", "course.grading.run.oracle", "course.models", "timm", "transformers"))]
        seen = ["PYTEST_CURRENT_TEST" in start, secret, os.getuid() == 0]
    """
    inherited, secret, is_root = look(sandbox, source)
    assert not inherited and not secret
    if "namespaces of its own" in sandbox.isolation:
        assert not is_root


def test_a_server_that_was_killed_is_replaced():
    with Sandbox(Limits()) as sandbox:
        with start_child(sandbox) as child:
            outside = sandbox._server._process.pid
            subprocess.run(["pkill", "-KILL", "-P", str(outside)], check=True)
            with pytest.raises(ServerLost):
                child.execute(RunCell("a", "import time\ntime.sleep(20)"), 30)
        assert look(sandbox, "seen = 5") == 5


def test_the_server_ends_with_the_grader(tmp_path):
    source = (
        "import sys, time\nfrom course.grading.limits import Limits\nfrom course.grading.sandbox import Sandbox\n"
        "sandbox = Sandbox(Limits())\njob = sandbox.start()\nprint(sandbox._server._process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, cwd=ROOT) as grader:
        server = int(grader.stdout.readline())
        assert Path(f"/proc/{server}").exists()
        grader.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not Path(f"/proc/{server}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the fork server goes on without its grader")


def test_where_there_are_no_walls_grading_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(client, "_walls", lambda exchange: [("nothing of the kind", [])])
    with pytest.raises(CannotStart, match="user namespaces.*--sandbox none"):
        Sandbox(Limits()).start()


def test_without_walls_only_by_name():
    assert "none was asked for" in Sandbox(Limits(enforced=False)).isolation


def test_an_ordinary_user_grades_as_well(tmp_path):
    if os.getuid() != 0:
        pytest.skip("all of these tests run as an ordinary user already")
    inner = textwrap.dedent("""
        from course.grading.run.child import start_child
        from course.grading.limits import Limits
        from course.grading.read.merge import RunCell
        from course.grading.sandbox import Sandbox
        with Sandbox(Limits()) as sandbox, start_child(sandbox) as child:
            print(child.execute(RunCell("a", "import os\\nraise RuntimeError(os.getuid())"), 20))
            print(sandbox.isolation)
    """)
    source = f"""
        import os, sys
        sys.path.insert(0, {str(ROOT)!r})
        from course.grading.sandbox import house, kernel
        kernel.unshare(kernel.NEWNS)
        kernel.mount(None, "/", None, kernel.RECURSIVE | kernel.PRIVATE)
        home = os.path.expanduser("~root")
        homes = [path for path in house.what_to_show() if path.startswith(home + "/")]
        held = [(path, os.open(path, os.O_PATH)) for path in homes]
        if homes:  # Python lies where only root may look: show it to everyone, in this process only
            kernel.mount("tmpfs", home, "tmpfs", 0, "mode=755")
            for path, descriptor in held:
                os.makedirs(path)
                kernel.bind(f"/proc/self/fd/{{descriptor}}", path)
        os.setgroups([]); os.setresgid(54321, 54321, 54321); os.setresuid(54321, 54321, 54321)
        os.environ["HOME"] = {str(tmp_path)!r}
        os.execv(sys.executable, [sys.executable, "-c", {inner!r}])
    """
    tmp_path.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, cwd=ROOT, timeout=200
    )
    assert "RuntimeError: 1000" in done.stdout and "namespaces of its own" in done.stdout, done.stdout + done.stderr


def test_what_does_the_exercises_is_not_there(sandbox):
    package = Path(course.__file__).resolve().parent
    assert look(sandbox, f"import os\nseen = '__init__.py' in os.listdir({str(package / 'checks')!r})") is True
    if "namespaces of its own" not in sandbox.isolation:
        pytest.skip("behind Landlock libraries are there as a whole; who imports these is refused by the guards")
    folders = [package / "models", package / "authoring"]
    folders += [Path(importlib.util.find_spec(name).origin).parent for name in ("timm", "transformers")]
    assert all(any(folder.iterdir()) for folder in folders)
    paths = [str(folder) for folder in folders]
    assert look(sandbox, f"import os\nseen = [p for p in {paths!r} if os.path.exists(p) and os.listdir(p)]") == []


def test_what_is_shown_is_mounted_read_only(sandbox):
    """Whoever the files belong to: of an ordinary user's own, the owner alone would not stop a job."""
    places = ["/", "/usr", sys.prefix, str(Path(course.__file__).parent)]
    writable = look(sandbox, f"import os\nseen = [p for p in {places!r} if not os.statvfs(p).f_flag & os.ST_RDONLY]")
    if "namespaces of its own" not in sandbox.isolation:
        pytest.skip("behind Landlock nothing is mounted; it says itself what may be written")
    assert writable == []

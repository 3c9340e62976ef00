"""A build or a release that is told to end: one line, every file old or new, nothing left beside them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import course
from course import cli
from course.authoring import builder, leaks

LINE = "stopped; nothing is half-written, run it again"
HOMEWORK = (
    "solutions/hw7_tiny/hw7_tiny.ipynb",
    "assignments/hw7_tiny/hw7_tiny.ipynb",
    "assignments/hw7_tiny/checks.safetensors",
)


def left_over(root):
    patterns = (".writing-*", "*partial-*", "course-build-*")
    return [path.name for pattern in patterns for path in root.parent.rglob(pattern)]


def is_alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("moment", "number"),
    [("loading PyTorch", signal.SIGTERM), ("in the lecture", signal.SIGINT), ("in the solution", signal.SIGTERM)],
)
def test_a_build_that_is_told_to_end(built, edit, moment, number):
    waits = "import os, time\nopen('{}', 'w').write(str(os.getpid()))\ntime.sleep(100)"
    file = built.parent / "kernel"
    if moment == "in the lecture":
        edit(built / "notebooks/source/01_tiny.py", "len(numbers)", waits.format(file))
    if moment == "in the solution":  # with other check data, which must not be left beside the old notebooks
        edit(built / "solutions/hw7_tiny/exercises.py", "draw.normal(5)", "draw.normal(6)")
        edit(built / "solutions/hw7_tiny/hw7_tiny.py", "# Play with it here.", waits.format(file))
    before = {
        path: path.read_bytes() for path in built.rglob("*.*") if path.is_file() and "__pycache__" not in path.parts
    }
    package = str(Path(course.__file__).parents[1])  # and not the course/ of the small course
    environment = {**os.environ, "TMPDIR": str(built.parent), "PYTHONPATH": package, "PYTHONSAFEPATH": "1"}
    build = subprocess.Popen(
        [sys.executable, "-m", "course", "build"],
        cwd=built,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert build.stderr.readline() == "course build: loading PyTorch\n"
        while moment != "loading PyTorch" and not (file.exists() and file.read_text()):
            assert build.poll() is None, build.communicate()
            time.sleep(0.05)
        build.send_signal(number)
        out, errors = build.communicate(timeout=60)
    finally:
        build.kill()
        build.wait()
    assert build.returncode == 128 + number
    assert errors.splitlines()[-1] == f"course build: {LINE}" and out == ""
    assert all(line.startswith("course build: ") for line in errors.splitlines())
    assert left_over(built) == [] and {path: path.read_bytes() for path in before} == before
    if file.exists():
        assert not is_alive(int(file.read_text())), "the notebook's kernel runs on"


def test_a_release_that_is_told_to_end(built, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(built)
    monkeypatch.setattr(leaks, "find_in_other_file", lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["release", str(tmp_path / "out")]) == 143
    assert capsys.readouterr().err.splitlines()[-1] == f"course release: {LINE}"
    assert not (tmp_path / "out").exists() and left_over(built) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_does_not_disturb_what_is_taken_back(built, tmp_path, monkeypatch, capsys):
    from course.authoring import student_tree

    def twice(*_):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.chdir(built)
    monkeypatch.setattr(student_tree, "_require_clean", twice)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a program that a script starts with & ignores it
    try:
        assert cli.main(["release", str(tmp_path / "out")]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert LINE in capsys.readouterr().err and left_over(built) == []


def test_a_signal_that_a_library_swallows_takes_effect_at_the_next_step(built, monkeypatch, capsys):
    def swallows(target, memory):
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            pass
        return []

    monkeypatch.chdir(built)
    examined = []
    monkeypatch.setattr(builder, "checked", lambda *given: (examined.append(given[0].name), swallows(*given))[1])
    assert cli.main(["build", "--check"]) == 143
    assert examined == ["01_tiny"] and LINE in capsys.readouterr().err


def test_a_homework_whose_solution_fails_keeps_its_three_files_as_they_were(built, edit):
    edit(built / "solutions/hw7_tiny/exercises.py", "draw.normal(5)", "draw.normal(6)")
    edit(built / "solutions/hw7_tiny/hw7_tiny.py", "# Play with it here.", "# Play with it here, and fail.\n1 / 0")
    before = {name: (built / name).read_bytes() for name in HOMEWORK}
    said = []
    [problem] = builder.build(root=built, say=said.append)
    assert "stopped with ZeroDivisionError" in problem and said == []
    assert {name: (built / name).read_bytes() for name in HOMEWORK} == before and left_over(built) == []


def test_a_solution_runs_against_its_new_check_data(built, edit):
    # The old data would call the new answer wrong, and the solution would stop.
    edit(built / "solutions/hw7_tiny/hw7_tiny.py", "torch.add(x, x)", "torch.add(x, x) + 1")
    said = []
    assert builder.build(root=built, say=said.append) == [] and len(said) == 2
    assert builder.build(root=built, check=True) == [] and left_over(built) == []


def test_outside_the_main_thread_nothing_is_handled_and_nothing_fails(built, monkeypatch, capsys):
    monkeypatch.chdir(built)
    codes = []
    thread = threading.Thread(target=lambda: codes.append(cli.main(["build", "--check"])))
    thread.start()
    thread.join()
    assert codes == [0]

"""The command `course grade` in its three processes: what the fork server cannot know, and what comes of signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from course.grading import apart, grade_command

TOPIC = "hw9_small"
SEED = 8_731_640_917_452_203
MARK = "GRADERS_WORD=a-word-of-the-grader"
ANSWER = "### BEGIN SOLUTION\n    centre = x.mean()"  # of the course, which no student wrote

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the command grades in its own process")


@contextmanager
def command(root: Path, submissions: Path, out: Path) -> Iterator[subprocess.Popen]:
    name, _, word = MARK.partition("=")
    arguments = ["grade", submissions, "-a", TOPIC, "-o", out, "--seed", SEED, "--workers", 1, "--timeout", 900]
    with subprocess.Popen(
        [sys.executable, "-m", "course", *map(str, arguments)],
        cwd=root,
        env={**os.environ, name: word},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        yield run
        run.kill()


def wait_for(what, seconds: float = 170.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    pytest.fail("it did not come to that")


def below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def as_python_keeps(number: int) -> bytes:
    """A whole number in CPython's memory: 30 bits to each four bytes."""
    return b"".join(
        (number >> shift & (2**30 - 1)).to_bytes(4, "little") for shift in range(0, number.bit_length(), 30)
    )


def memory(pid: int) -> bytes:
    """All that a process could have written to: where its own values and those that it inherited are."""
    parts = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as content:
        for line in maps:
            first, last = (int(place, 16) for place in line.split()[0].split("-"))
            if line.split()[1].startswith("rw") and "/" not in line:
                content.seek(first)
                parts.append(content.read(last - first))
    return b"".join(parts)


@pytest.fixture(scope="module")
def submissions(new_work, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("class")
    waits = "import time\n\n\ndef double(x):\n    time.sleep(800)\n    return 2 * x"
    new_work().solve().write(double=waits).save(folder / "anna.ipynb")
    return folder


def test_no_process_of_student_code_was_forked_from_one_that_knew_a_secret(small_course, submissions, tmp_path):
    if not os.access("/proc/self/mem", os.R_OK) or os.getuid() != 0:
        pytest.skip("only root may look into the memory of the others")
    with command(small_course, submissions, tmp_path / "out") as run:
        started = psutil.Process(run.pid)
        # The grader, its reader, the oracle; the fork server outside and inside of its namespaces, a supervisor, the job.
        wait_for(lambda: (tmp_path / "out" / "run.json").exists() and len(below(started)) >= 7)
        time.sleep(1.0)
        (grader,) = started.children()
        forks = [child for child in grader.children() if child.cmdline() == grader.cmdline()]
        secrets = {"word": MARK.partition("=")[2].encode(), "answer": ANSWER.encode(), "seed": as_python_keeps(SEED)}
        secrets |= {"its digits": str(SEED).encode(), "the folder": str(tmp_path / "out").encode()}
        known = memory(grader.pid)
        assert {name for name, text in secrets.items() if text in known} >= {"word", "answer", "seed", "the folder"}
        inside = [process for fork in forks for process in (fork, *fork.children(recursive=True))]
        assert len(forks) == 2 and len(inside) >= 5
        for process in inside:
            known = memory(process.pid)
            assert len(known) > 50 * 2**20
            assert not [name for name, text in secrets.items() if text in known]
            told = Path(f"/proc/{process.pid}/environ").read_bytes() + Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert not [name for name, text in secrets.items() if text in told]


def test_it_grades_as_in_one_process(small_course, new_work, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "class"
    new_work().solve().save(folder / "anna.ipynb")
    new_work().solve().write(double="def double(x):\n    return x + 2").save(folder / "bert.ipynb")
    with command(small_course, folder, tmp_path / "apart") as run:
        said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert said.startswith(f"course grade: preparing {TOPIC}: loading PyTorch\n") and said.count("loading PyTorch") == 1
    monkeypatch.chdir(small_course)
    assert grade_command(folder, TOPIC, tmp_path / "here", seed=SEED, workers=1) == 0
    for name in ("grades.csv", "report.html", "feedback/anna.html", "feedback/bert.html"):
        assert (tmp_path / "apart" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    last = capsys.readouterr().out
    assert re.sub(r"in \d+ s|/apart", "", said).endswith(re.sub(r"in \d+ s|/here", "", last)[-300:])


def test_what_is_wrong_is_said_before_anything_is_started(small_course, submissions, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(small_course)
    monkeypatch.setattr(apart, "PROGRAM", ("-c", "raise SystemExit('started')"))
    options = {"workers": 1, "scheduler": None, "seed": None, "timeout": 5.0, "memory": 2**30, "sandbox": "auto"}
    options |= {"config": None, "gradebook": None, "roster": None, "again": False}
    assert apart.grade_apart(submissions, "hw99", tmp_path / "out", **options) == 2
    said = capsys.readouterr().err
    assert "there is no homework 'hw99'" in said and "loading" not in said


def test_ctrl_c_ends_all_of_it(small_course, submissions, tmp_path):
    with command(small_course, submissions, tmp_path / "out") as run:
        started = psutil.Process(run.pid)
        wait_for(lambda: (tmp_path / "out" / "run.json").exists() and len(below(started)) >= 7)
        all_of_it = below(started)
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=60)
        _, alive = psutil.wait_procs(all_of_it, timeout=20)
    assert run.returncode == 130 and said.rstrip().endswith("stopped"), said
    assert not alive


def test_a_grader_that_is_killed_is_said_to_be(small_course, submissions, tmp_path):
    with command(small_course, submissions, tmp_path / "out") as run:
        started = psutil.Process(run.pid)
        wait_for(lambda: (tmp_path / "out" / "run.json").exists())
        started.children()[0].kill()
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 2 and "was ended from outside (SIGKILL)" in said.splitlines()[-1], said


def test_the_origin_loads_what_the_notebook_of_the_students_imports(tmp_path):
    cells = [
        {"cell_type": "code", "source": ["import os, json.decoder\n", "from course.data import load\n"]},
        {"cell_type": "code", "source": "def f():\n    from timm.models import create_model\n    from . import x\n"},
        {"cell_type": "markdown", "source": "import nothing"},
    ]
    folder = tmp_path / "hw9_small"
    folder.mkdir()
    (folder / "hw9_small.ipynb").write_text(json.dumps({"cells": cells}))
    found = apart._modules_of(folder)
    assert found == ["course.data", "json.decoder", "os", "timm.models"]
    assert apart._there([*found, "course.models", "not_there.at_all"]) == ["course.data", "json.decoder", "os"]
    assert apart._modules_of(tmp_path) == []

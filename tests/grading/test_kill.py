"""A grader that is killed at any moment loses nothing: the same command again gives the same grades, byte for byte."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from course.grading.record.result import StudentResult

TOPIC = "hw9_small"
MOMENTS = 20
QUICK = 3
SECONDS_TO_DIE = 30.0  # for what the grader had started: on a busy machine, imports that are under way take long


@dataclass
class Course:
    """A repository, a class, and what an undisturbed grading of it gave, `out` and in a temporary folder of its own."""

    root: Path
    submissions: Path
    out: Path
    temporary: Path
    seconds: float

    def start(self, out: Path, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "course.cli",
                "grade",
                str(self.submissions),
                "-a",
                TOPIC,
                "-o",
                str(out),
                "--seed",
                "5",
                "--workers",
                "2",
                "--timeout",
                "60",
            ],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | environment,
        )


@pytest.fixture(scope="module")
def course(small_course, new_work, tmp_path_factory) -> Course:
    folder = tmp_path_factory.mktemp("class")
    for name in ("anna", "bert", "carl"):
        new_work().solve().write(why=f"{name} says so.").save(folder / name / TOPIC / f"{TOPIC}.ipynb")
    new_work().save(folder / "dora.ipynb")
    new_work().solve().write(double="def double(x):\n    return x + 2").save(folder / "emma.ipynb")
    new_work().solve().write(double="import os\n\n\ndef double(x):\n    os._exit(3)").save(folder / "finn.ipynb")
    new_work().solve().write(double="import time\ntime.sleep(0.5)\n\n\ndef double(x):\n    return x * 2").save(
        folder / "gina.ipynb"
    )
    (folder / "hugo.ipynb").write_bytes(b'{"cells": [')
    course = Course(small_course, folder, tmp_path_factory.mktemp("undisturbed"), tmp_path_factory.mktemp("t"), 0.0)
    begin = time.monotonic()
    run = course.start(course.out, TMPDIR=str(course.temporary))
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said
    course.seconds = time.monotonic() - begin
    return course


def wait_for_the_moment(i: int, run: subprocess.Popen, out: Path, seconds: float) -> None:
    """Every third time any moment of the run, else a little after so-and-so many students are graded."""
    draw = random.Random(i)
    if i % 3 == 2:
        end = time.monotonic() + draw.uniform(0, seconds)
        while run.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        return
    graded = draw.randint(0, 8)
    while run.poll() is None and not (
        (out / "run.json").exists() and len(list((out / "results").glob("*.json"))) >= graded
    ):
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.3))


def kill(run: subprocess.Popen, whole_group: bool) -> list[psutil.Process]:
    """Kill the grader and return what it had started."""
    try:
        run.send_signal(signal.SIGSTOP)  # so that nothing is started between looking and killing
        started = psutil.Process(run.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        started = []
    if whole_group:
        try:
            os.killpg(run.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    run.kill()
    run.wait()
    run.stdout.close()
    return started


def test_a_run_leaves_nothing_in_the_temporary_folder(course):
    assert list(course.temporary.iterdir()) == []


@pytest.mark.parametrize("i", [pytest.param(i, marks=[] if i < QUICK else [pytest.mark.long]) for i in range(MOMENTS)])
def test_killed_and_started_again(course, tmp_path, i):
    out = tmp_path / "grades"
    run = course.start(out)
    wait_for_the_moment(i, run, out, course.seconds)
    whole_group = i % 2 == 1
    started = kill(run, whole_group)
    begin = time.monotonic()
    _, alive = psutil.wait_procs(started, timeout=SECONDS_TO_DIE)
    alive = [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not alive, f"still there {SECONDS_TO_DIE} s after the grader was killed: {alive}"
    gone_after = time.monotonic() - begin
    recorded = (out / "results").glob("*.json") if out.exists() else ()
    graded = {path.stem for path in recorded if not path.name.startswith(".")}  # one may have been half written

    again = course.start(out)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    taken = re.search(r"(\d+) of them were graded by an earlier run", said)
    print(
        f"moment {i}: {'group' if whole_group else 'grader'} killed with {len(graded)} of 8 recorded, "
        f"{len(started)} processes gone after {gone_after:.2f} s, {taken[1] if taken else 0} taken over"
    )
    # hugo's notebook cannot be read: there is nothing to take over.
    assert (int(taken[1]) if taken else 0) == len(graded - {"hugo"}), said
    assert (out / "grades.csv").read_bytes() == (course.out / "grades.csv").read_bytes()
    assert (out / "report.html").read_bytes() == (course.out / "report.html").read_bytes()
    for folder in ("feedback", "results"):
        assert sorted(os.listdir(out / folder)) == sorted(os.listdir(course.out / folder))
    for name in os.listdir(out / "feedback"):
        assert (out / "feedback" / name).read_bytes() == (course.out / "feedback" / name).read_bytes()
    for name in os.listdir(out / "results"):
        one, other = ((place / "results" / name).read_bytes() for place in (out, course.out))
        assert StudentResult.from_json(one) == StudentResult.from_json(other)
    to_mark = [{path.relative_to(place): path for path in place.glob("autograded/**/*")} for place in (out, course.out)]
    assert to_mark[0].keys() == to_mark[1].keys() and len(list(out.glob("autograded/*/*/*.ipynb"))) == 7
    for name, path in to_mark[0].items():
        assert path.is_dir() or path.read_bytes() == to_mark[1][name].read_bytes()
    assert sorted(os.listdir(out)) == sorted(os.listdir(course.out))

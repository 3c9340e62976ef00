"""``course grade --scheduler``: a Dask cluster on this machine, whose workers are killed while they are at work."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="`pip install distributed` to test grading on a cluster")

from course.grading import cluster, grade_command
from course.grading.cluster import Cluster
from course.grading.collect.find import collect
from course.grading.limits import Limits
from course.grading.place import place_for
from course.grading.problems import CannotGrade
from course.grading.student import put_together, read_student

TOPIC = "hw9_small"
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "OMP_NUM_THREADS": "1",
}


class Dask:
    """A scheduler and workers, each a process. A worker that is killed stays so."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.workers: list[subprocess.Popen] = []
        file = folder / "scheduler.json"
        self.scheduler = self._start("dask_scheduler", "--port", "0", "--scheduler-file", str(file))
        deadline = time.monotonic() + 60
        while not (file.exists() and "tcp://" in file.read_text()):
            assert time.monotonic() < deadline and self.scheduler.poll() is None, self.said()
            time.sleep(0.1)
        self.address = "tcp://" + file.read_text().split('"address": "tcp://')[1].split('"')[0]

    def need_workers(self, count: int) -> None:
        """Start as many as are missing."""
        from distributed import Client

        alive = sum(worker.poll() is None for worker in self.workers)
        self.workers += [
            self._start("dask_worker", self.address, "--no-nanny", "--nthreads", "1", "--memory-limit", "0")
            for _ in range(alive, count)
        ]
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()

    def said(self) -> str:
        return (self.folder / "log.txt").read_text(errors="replace")[-4000:]

    def _start(self, what: str, *arguments: str) -> subprocess.Popen:
        with open(self.folder / "log.txt", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{what}", *arguments, "--host", "127.0.0.1", "--no-dashboard"],
                cwd=self.folder,
                env=ENVIRONMENT,
                stdout=log,
                stderr=log,
            )


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    made = Dask(tmp_path_factory.mktemp("dask"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def submissions(tmp_path, new_work):
    """Right and wrong ones, an unreadable, a missing and a deadly one, and some that take a second."""
    folder = tmp_path / "class"
    new_work().solve().save(folder / "anna.ipynb")
    new_work().solve().write(double="def double(x):\n    return x + 2").save(folder / "bert.ipynb")
    (folder / "carl").mkdir()
    (folder / "dora.ipynb").write_bytes(b'{"cells": [')
    for name in ("emil", "fay", "gus", "hana"):
        slow = new_work().solve()
        slow.add(f"import time\ntime.sleep(1)\nprint('{name}')", before="double")
        slow.save(folder / f"{name}.ipynb")
    new_work().solve().write(double="import os\nos._exit(1)").save(folder / "ivan.ipynb")
    return folder


@contextmanager
def end(worker: subprocess.Popen, how: int, once_there_is: Path):
    """End a worker as soon as the first result is there, which is while others are at work."""
    done = threading.Event()

    def wait_and_end() -> None:
        while not done.wait(0.02):
            if any(once_there_is.glob("*.json")):
                time.sleep(0.3)
                worker.send_signal(how)
                return

    thread = threading.Thread(target=wait_and_end)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_worker_that_ends_changes_no_grade(dask, small_course, submissions, tmp_path, monkeypatch, how):
    monkeypatch.chdir(small_course)
    given = {"seed": 5, "timeout": 20, "workers": 2}
    here, there = tmp_path / "here", tmp_path / "there"
    assert grade_command(submissions, TOPIC, here, **given) == 0
    dask.need_workers(2)
    worker = next(worker for worker in dask.workers if worker.poll() is None)
    with end(worker, how, once_there_is=there / "results"):
        assert grade_command(submissions, TOPIC, there, scheduler=dask.address, **given) == 0, dask.said()
    worker.wait(timeout=30)
    assert (there / "grades.csv").read_bytes() == (here / "grades.csv").read_bytes()
    assert (there / "grades.csv").read_text().count("\n") == 10
    page = (there / "feedback" / "anna.html").read_text()
    assert page == (here / "feedback" / "anna.html").read_text() and "Isolation: each submission ran" in page


@pytest.mark.long
def test_what_kills_every_worker_ends_as_a_row_and_the_class_in_order(
    dask, small_course, submissions, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(small_course)
    dask.need_workers(2)
    monkeypatch.setattr(cluster, "SECONDS_WITHOUT_WORKERS", 2)
    place = Cluster(dask.address, Limits(timeout=20))
    try:
        work = read_student(collect(submissions / "anna.ipynb", TOPIC)[0], "anna", _exam(small_course))
        place.give(_exam(small_course))
        judged = place.submit(work).result(timeout=60)
        assert put_together(work, judged).points == 6.5
        deadly = place.submit(_Deadly()).result(timeout=60)
        result = put_together(work, deadly)
        assert result.status == "crashed" and "the workers that ran it died, 2 of them" in result.message
        assert not any(worker.poll() is None for worker in dask.workers)
        with pytest.raises(CannotGrade, match="no workers at .* for 2 seconds; what was graded so far is kept"):
            place.submit(work).result(timeout=60)
    finally:
        place.close()
    assert grade_command(submissions, TOPIC, tmp_path / "none", scheduler=dask.address) == 2
    assert "has no workers" in capsys.readouterr().err


class _Deadly:
    """Ends the worker that runs it, as no submission should be able to."""

    asked = ()

    @property
    def merged(self):
        os._exit(9)


def _exam(root: Path):
    from course.grading.exam import prepare_exam

    return prepare_exam(root, root / "solutions" / TOPIC, seed=5)


def test_a_worker_with_another_version_of_the_course_is_refused(dask, monkeypatch):
    dask.need_workers(1)
    monkeypatch.setattr(cluster, "code_fingerprint", lambda: str(os.getpid()))
    with pytest.raises(CannotGrade, match=r"another version of the course is on tcp://127.0.0.1:\d+"):
        Cluster(dask.address, Limits())


def test_who_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "SECONDS_TO_ANSWER", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense://", "127.0.0.1"):
        with pytest.raises(CannotGrade, match=f"no Dask scheduler answers at {address}.*dask worker"):
            place_for(address, 1, Limits())


def test_without_the_package_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "course.grading.cluster")
    with pytest.raises(CannotGrade, match="pip install distributed"):
        place_for("tcp://127.0.0.1:1", 1, Limits())

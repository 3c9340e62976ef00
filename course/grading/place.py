"""Where submissions are run and judged: on this machine, or with the same methods on a `course.grading.cluster`."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from course.grading.exam import Exam
from course.grading.limits import Limits
from course.grading.problems import CannotGrade
from course.grading.run.child import Stopped, start_child
from course.grading.sandbox import CannotStart, Sandbox
from course.grading.student import ToRun, run_and_judge


class Place(Protocol):
    """Runs submissions.

    Attributes:
        limits: what a submission may use.
        isolation: what contains student code, in a sentence; known once the exam was given.
        at_a_time: how many submissions to hand out before waiting for one.
    """

    limits: Limits
    isolation: str
    at_a_time: int

    def give(self, exam: Exam) -> None:
        """Take the exam of all submissions. Raises `CannotGrade` if student code cannot be run here."""

    def submit(self, work: ToRun) -> Future:
        """Run and judge one submission: a future of its `Judged`."""

    def close(self) -> None:
        """End what still runs, within seconds."""


def place_for(scheduler: str | None, workers: int, limits: Limits) -> Place:
    """The Dask cluster at the address `scheduler`, or this machine.

    Raises:
        CannotGrade: the cluster cannot be used; the text says why.
    """
    if scheduler is None:
        return ThisMachine(workers, limits)
    try:
        from course.grading.cluster import Cluster
    except ModuleNotFoundError as error:
        raise CannotGrade(
            f"--scheduler needs the package `distributed` here and on every worker ({error}): pip install distributed"
        ) from None
    return Cluster(scheduler, limits)


class ThisMachine:
    """The place that needs nothing else: `workers` threads of this process, one sandbox."""

    def __init__(self, workers: int, limits: Limits):
        self.limits = limits
        self.at_a_time = 2 * workers
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="grading")
        self._sandbox = Sandbox(limits)
        self._trial = self._pool.submit(_try_child, self._sandbox)  # meanwhile the exam is prepared
        self._exam: Exam | None = None

    @property
    def isolation(self) -> str:
        return self._sandbox.isolation

    def give(self, exam: Exam) -> None:
        problem = self._trial.result()
        if problem:
            raise CannotGrade(f"{problem}; if memory ran out, give more with --memory")
        self._exam = exam

    def submit(self, work: ToRun) -> Future:
        return self._pool.submit(run_and_judge, work, self._exam, self._sandbox)

    def close(self) -> None:
        self.limits.stop.set()  # on Ctrl-C, whatever still runs ends within a second
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._sandbox.close()


def _try_child(sandbox: Sandbox) -> str:
    """Start a child once, for nothing, so that a machine that cannot is noticed before a student is blamed."""
    try:
        with start_child(sandbox):
            return ""
    except CannotStart as problem:
        return str(problem)
    except Stopped:
        return "stopped"

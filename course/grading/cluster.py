"""Submissions run and judged on a Dask cluster; they are read and recorded here, as on one machine.

Every worker of the cluster gets the exam once, and with it opens one sandbox that it keeps until the class is graded.
Then a submission goes to whichever worker is free. Where a worker dies, the scheduler gives what it had to others; a
submission on which one worker after another dies (more than ``distributed.scheduler.allowed-failures`` of them) gets a
row that says so, and the class goes on.

The workers are trusted: they hold the hidden inputs and the answers, as the grader's own process does. They and the
scheduler need this very version of the course and its libraries; of the homework, the submissions and the results they
need no file.
"""

import asyncio
import threading
import time
import uuid
from concurrent.futures import CancelledError, Future

from distributed import Client, KilledWorker, Reschedule, WorkerPlugin, get_worker

from course.grading.exam import Exam
from course.grading.limits import Limits
from course.grading.problems import CannotGrade
from course.grading.resume import code_fingerprint
from course.grading.run.child import Stopped, start_child
from course.grading.sandbox import CannotStart, Sandbox
from course.grading.student import Judged, ToRun, run_and_judge

SECONDS_TO_ANSWER = 10  # for the scheduler
SECONDS_WITHOUT_WORKERS = 60  # that may pass while they are started again
SECONDS_TO_TRY = 240  # for a worker to open its sandbox: imports, on a machine that is busy with something else


class Cluster:
    """Where submissions are run, as `course.grading.place.ThisMachine` is.

    Args:
        address: of the scheduler, ``"tcp://HOST:PORT"``.

    Raises:
        CannotGrade: it does not answer, has no workers, or one with another version of the course.
    """

    def __init__(self, address: str, limits: Limits):
        self.address = address
        self.limits = limits
        self.isolation = ""
        self._plugin = f"course-{uuid.uuid4().hex}"
        self._waiting: set[Future] = set()
        self._closing = threading.Event()
        try:
            self._client = Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
        except (OSError, ValueError) as error:
            raise CannotGrade(
                f"no Dask scheduler answers at {address} within {SECONDS_TO_ANSWER} seconds "
                f"({(str(error) or type(error).__name__).splitlines()[0]}). Start one with `dask scheduler`, and workers with "
                f"`dask worker {address}`."
            ) from None
        try:
            self._require_same_version()
        except BaseException:
            self.close()
            raise
        self._executor = self._client.get_executor(pure=False)
        self._watch = threading.Thread(target=self._watch_workers, daemon=True)
        self._watch.start()

    @property
    def at_a_time(self) -> int:
        """Submissions to hand out before waiting for one: twice as many as can run, workers that came late included."""
        return 2 * max(1, sum(self._client.nthreads().values()))

    def give(self, exam: Exam) -> None:
        """Send the exam to every worker and have each start a child, for nothing.

        Raises:
            CannotGrade: one of them cannot.
        """
        limits = (self.limits.timeout, self.limits.memory, self.limits.enforced)
        self._client.register_plugin(_Desk(limits, exam), name=self._plugin)
        answers = self._on_every_worker(_try_desk, self._plugin, seconds=SECONDS_TO_TRY)
        for worker, (problem, _) in answers.items():
            if problem:
                raise CannotGrade(f"worker {worker}: {problem}; if memory ran out, give more with --memory")
        self.isolation = " ".join(dict.fromkeys(isolation for _, isolation in answers.values()))

    def submit(self, work: ToRun) -> Future:
        """The `Judged` of one submission.

        The future raises `CannotGrade` if the scheduler or all workers are gone.
        """
        outside: Future = Future()
        self._waiting.add(outside)

        def hand_on(inside: Future) -> None:
            try:
                self._finish(outside, judged=inside.result())
            except KilledWorker as problem:
                number, last = problem.allowed_failures + 1, problem.last_worker.address
                died = f"the workers that ran it died, {number} of them, the last {last}"
                self._finish(outside, judged=Judged(fault=died))
            except CancelledError:
                self._finish(outside, problem=CannotGrade(f"the Dask scheduler at {self.address} is gone; {_GO_ON}"))
            except Exception as problem:
                self._finish(outside, problem=problem)

        self._executor.submit(_run, self._plugin, work).add_done_callback(hand_on)
        return outside

    def close(self) -> None:
        """End what still runs, and have the workers forget the exam."""
        self._closing.set()
        try:
            if self._client.status == "running":
                self._client.unregister_worker_plugin(self._plugin)
        except (OSError, ValueError, TimeoutError):  # it is gone, or never had the exam
            pass
        self._client.close()

    def _finish(self, future: Future, judged: Judged | None = None, problem: Exception | None = None) -> None:
        try:
            self._waiting.remove(future)
        except KeyError:  # it was given up
            return
        if problem:
            future.set_exception(problem)
        else:
            future.set_result(judged)

    def _require_same_version(self) -> None:
        answers = self._on_every_worker(code_fingerprint, seconds=SECONDS_TO_TRY)
        if not answers:
            raise CannotGrade(f"the Dask scheduler at {self.address} has no workers: `dask worker {self.address}`.")
        others = sorted(worker for worker, fingerprint in answers.items() if fingerprint != code_fingerprint())
        if others:
            raise CannotGrade(
                f"another version of the course is on {', '.join(others)}: install the one that is here, and start "
                "the workers again."
            )

    def _on_every_worker(self, function, *arguments, seconds: float) -> dict:
        """What `function` returned, by the worker's address. Raises CannotGrade."""
        futures = {
            worker: self._client.submit(
                function, *arguments, workers=[worker], allow_other_workers=False, pure=False, retries=0
            )
            for worker in self._client.nthreads()
        }
        answers = {}
        for worker, future in futures.items():
            try:
                answers[worker] = future.result(timeout=seconds)
            except Exception as problem:  # whatever is wrong with that machine
                raise CannotGrade(
                    f"worker {worker} cannot be used ({type(problem).__name__}: {problem}). It needs this very version "
                    "of the course and its libraries."
                ) from None
        return answers

    def _watch_workers(self) -> None:
        """Give everything up once there have been no workers for too long."""
        seen = time.monotonic()
        while not self._closing.wait(1.0):
            try:
                if self._client.nthreads():
                    seen = time.monotonic()
            except Exception:  # the scheduler is gone, of which the futures tell too, or is being waited for
                pass
            if time.monotonic() - seen > SECONDS_WITHOUT_WORKERS:
                gone = f"there have been no workers at {self.address} for {SECONDS_WITHOUT_WORKERS} seconds; {_GO_ON}"
                for future in list(self._waiting):
                    self._finish(future, problem=CannotGrade(gone))


_GO_ON = "what was graded so far is kept, and the same command goes on from there"


# -- on the workers


class _Desk(WorkerPlugin):
    """The exam on one worker, and the sandbox that all its submissions run in."""

    def __init__(self, limits: tuple[float, int, bool], exam: Exam):
        self.given = limits
        self.exam = exam

    def setup(self, worker) -> None:
        timeout, memory, enforced = self.given
        self.sandbox = Sandbox(Limits(timeout=timeout, memory=memory, enforced=enforced))

    async def teardown(self, worker) -> None:
        self.sandbox.limits.stop.set()
        await asyncio.to_thread(self.sandbox.close)


def _try_desk(name: str) -> tuple[str, str]:
    """(why no child can be started, or ``""``; what contains student code)."""
    sandbox = get_worker().plugins[name].sandbox
    try:
        with start_child(sandbox):
            return "", sandbox.isolation
    except CannotStart as problem:
        return str(problem), ""


def _run(name: str, work: ToRun) -> Judged:
    worker = get_worker()
    desk = worker.plugins.get(name)
    if desk is None:  # it came late, and what it was sent could not be read
        return Judged(fault=f"worker {worker.address} has not got the exam; it needs this very version of the course")
    try:
        judged = run_and_judge(work, desk.exam, desk.sandbox)
    except Stopped:
        raise Reschedule from None
    if desk.sandbox.limits.stop.is_set():  # what comes of a worker that is being closed is not believed
        raise Reschedule
    return judged

"""``course bench large_class [N]``: what a class of N costs; does the thousandth submission cost what the tenth did?

Classes of 10, 100, ... and N are graded by ``course grade``, and the smallest and one of at most 300 with one worker and
with two, twice in turns: the whole, and what a submission more costs, which leaves out the start. The classes are those
of `benchmarks.submissions`: every group of students, the hostile ones included, makes the same part of each.
"""

import csv
import os
import statistics
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from benchmarks.grading import whole_number
from benchmarks.measured import Cost, run
from benchmarks.submissions import MIX, write_class
from course.progress_bar import progress_bar
from tests.sample_class import ROOT, TOPIC, Notebook

USUAL, LEAST = 50, 20  # submissions
SEED = 0  # of the class and of the hidden inputs
MEMORY = 2**30  # bytes a submission; less than the memory bomb asks for
WORKERS = (1, 2)  # that the same class is graded with
MOST_FOR_WORKERS = 300  # submissions


def bench(words: list[str] | None = None, *, workers: int | None = None, timeout: float = 10.0) -> dict:
    """Grade the classes, print what they cost, and return all figures.

    Args:
        words: one number, the submissions of the largest class.
        workers: submissions graded at a time; None takes one a core.
        timeout: seconds for a cell or an exercise: what an endless loop costs.

    Returns:
        {"submissions", "mix", "kinds", "workers", "cores", "timeout", "memory_limit", "classes": [...],
        "one_more": [...], "speedup": {...}}.

    Raises:
        ValueError: `words` is no such number, grading failed, or a row is not what it should be.
    """
    submissions = whole_number(words, USUAL, LEAST)
    cores = len(os.sched_getaffinity(0))
    workers = workers or cores
    sizes = [*(size for size in (10, 100, 1000, 10_000) if 2 * size <= submissions), submissions]
    again = [sizes[0], min(submissions, MOST_FOR_WORKERS)]
    total = sum(sizes) + 2 * len(WORKERS) * sum(again)
    with (
        tempfile.TemporaryDirectory(prefix="course-bench-") as name,
        progress_bar(total, None, desc="grading", unit=" submissions") as progress,
    ):
        grader = _Grader(Path(name), timeout, progress)
        costs = [grader.grade(size, workers) for size in sizes]
        rounds = [
            {number: [grader.grade(size, number, weigh=False) for size in again] for number in order}
            for order in (WORKERS, WORKERS[::-1])
        ]
        kinds = grader.kinds(submissions)
    figures = {
        "submissions": submissions,
        "mix": {group.name: group.share for group in MIX},
        "kinds": dict(sorted(kinds.items())),
        "workers": workers,
        "cores": cores,
        "timeout": timeout,
        "memory_limit": MEMORY,
        "classes": [{"submissions": size, **asdict(cost)} for size, cost in zip(sizes, costs)],
        "one_more": _one_more(sizes, costs),
        "speedup": _speedup(again, rounds),
    }
    _print(figures)
    return figures


class _Grader:
    """Writes classes and grades them, each run into a folder of its own."""

    def __init__(self, folder: Path, timeout: float, progress):
        self.folder = folder
        self.timeout = timeout
        self.progress = progress
        self.runs = 0
        self.written: dict[int, dict[str, str]] = {}

    def kinds(self, size: int) -> Counter:
        return Counter(self.written[size].values())

    def grade(self, size: int, workers: int, weigh: bool = True) -> Cost:
        submissions = self.folder / f"class_{size}"
        if size not in self.written:
            self.written[size] = write_class(submissions, size, SEED)
        self.runs += 1
        out = self.folder / f"grades_{self.runs}"
        command = [
            sys.executable,
            "-m",
            "course",
            "grade",
            str(submissions),
            "-a",
            TOPIC,
            "-o",
            str(out),
            "--seed",
            str(SEED),
            "--workers",
            str(workers),
            "--timeout",
            str(self.timeout),
            "--memory",
            str(MEMORY),
        ]
        seen = 0

        def look() -> None:
            nonlocal seen
            now = sum(1 for _ in (out / "results").glob("*.json"))
            if now > seen:
                self.progress.update(now - seen)
                seen = now

        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COURSE_OFFLINE": "1"}
        cost = run(command, env=environment, log=self.folder / "log.txt", look=look, weigh=weigh)
        look()
        self._require_rows(out, self.written[size])
        return cost

    def _require_rows(self, out: Path, kinds: dict[str, str]) -> None:
        """Every student has a row, and who wrote only right answers has full marks but for what a person grades."""
        with open(out / "grades.csv", newline="", encoding="utf-8") as file:
            rows = {row["student"]: row for row in csv.DictReader(file)}
        if set(rows) != set(kinds):
            raise ValueError(f"of {len(kinds)} students, {len(set(kinds) - set(rows))} have no row")
        full = sum(exercise.points for exercise in Notebook().homework.exercises.values())
        for student, kind in kinds.items():
            row = rows[student]
            if ": right" in kind and float(row["points"]) != full:
                raise ValueError(
                    f"{student} wrote right answers and got {row['points']} of {full:g} ({row['status']}: "
                    f"{row['message']}); where time ran out, give more with --timeout"
                )


def _one_more(sizes: list[int], costs: list[Cost]) -> list[dict]:
    """What a submission cost between one class and the next larger."""
    return [
        {
            "from": sizes[k],
            "to": sizes[k + 1],
            "cpu": (costs[k + 1].cpu - costs[k].cpu) / (sizes[k + 1] - sizes[k]),
            "wall": (costs[k + 1].wall - costs[k].wall) / (sizes[k + 1] - sizes[k]),
        }
        for k in range(len(sizes) - 1)
    ]


def _speedup(sizes: list[int], rounds: list[dict[int, list[Cost]]]) -> dict:
    """How much sooner two workers are done than one: `rounds` has by workers what the classes of `sizes` cost."""
    one, two = WORKERS

    def more(costs: list[Cost]) -> float:
        return _one_more(sizes, costs)[0]["wall"]

    return {
        "submissions": sizes,
        "rounds": [
            {str(number): [{"wall": cost.wall, "cpu": cost.cpu} for cost in costs] for number, costs in by.items()}
            for by in rounds
        ],
        "whole": _spread([by[one][-1].wall / by[two][-1].wall for by in rounds]),
        "one_more": _spread([more(by[one]) / more(by[two]) for by in rounds]),
    }


def _spread(ratios: list[float]) -> dict[str, float]:
    return {"ratio": statistics.mean(ratios), "low": min(ratios), "high": max(ratios)}


def _print(figures: dict) -> None:
    told = ", ".join(f"{share:.0%} {name}" for name, share in figures["mix"].items())
    print(
        f"{figures['submissions']} submissions of {TOPIC}: {told}; {figures['workers']} workers on {figures['cores']} "
        f"cores, {figures['timeout']:g} s for a cell or an exercise, {MEMORY / 2**20:.0f} MB for a submission"
    )
    print("; ".join(f"{number} {kind}" for kind, number in figures["kinds"].items()))
    print(f"{'submissions':>11}{'minutes':>10}{'CPU s each':>12}{'peak MB':>10}")
    for row in figures["classes"]:
        print(
            f"{row['submissions']:11}{row['wall'] / 60:10.2f}{row['cpu'] / row['submissions']:12.2f}"
            f"{row['memory'] / 2**20:10.0f}"
        )
    for row in figures["one_more"]:
        print(f"one more submission, from {row['from']} to {row['to']}: {row['cpu']:.2f} CPU s, {row['wall']:.2f} s")
    speedup = figures["speedup"]
    small, large = speedup["submissions"]
    for key, what in (("whole", f"{large} submissions"), ("one_more", f"one more submission, from {small} to {large}")):
        told = speedup[key]
        print(
            f"{what}, with two workers instead of one: {told['ratio']:.2f}× as fast "
            f"({told['low']:.2f}–{told['high']:.2f})"
        )
    last = figures["classes"][-1]
    print(
        f"{last['submissions']} submissions: {last['wall'] / 60:.1f} minutes, {last['cpu'] / last['submissions']:.2f} "
        f"CPU seconds a submission, {last['memory'] / 2**20:.0f} MB at most"
    )

"""``course bench grading [N]``: the same class graded by nbgrader and by ``course grade``, in one run.

The class hands in right answers of homework 1 in several ways, with a wrong one among every five, none of them hostile:
nbgrader has to survive it. It is cut into parts, which the two grade in turns, so that whatever else the machine does
falls on both. A part of one submission tells the cost of starting from the cost of one more submission; since ours is
small beside its start, `course grade` also gets a class of `LARGE` for that. nbgrader is unmodified, in a course folder
of its own that its ``generate_assignment`` makes from ``solutions/``. Both must give every exercise of every student the
same points, or there is no figure.
"""

import csv
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.measured import Cost, run
from course.progress_bar import progress_bar
from tests.sample_class import ROOT, TOPIC, Notebook

LEAST, USUAL, PART = 4, 8, 6  # submissions: the smallest class, the usual one, and about how many make a part
LARGE = 60  # submissions that `course grade` is given in one go
BUDGET = "tiny"  # for the demonstrations that nbgrader runs along: the kindest to it
WRONG = ("attention_cost", "three_projections")

WAYS: tuple[Callable[[Notebook], Notebook], ...] = (
    lambda notebook: notebook.solve(),
    lambda notebook: notebook.solve().solve_as(*WRONG),
    lambda notebook: notebook.solve_with_alternatives(0),
    lambda notebook: notebook.solve_with_alternatives(-1),
    lambda notebook: notebook.solve(),
)


def bench(words: list[str] | None = None, *, timeout: float = 60.0) -> dict:
    """Grade a class with both, print what each submission cost, and return all figures.

    Args:
        words: one number, the submissions of the class.
        timeout: seconds for a cell, for both.

    Returns:
        {"submissions", "parts", "nbgrader": {...}, "course": {...}, "ratio": {...}}.

    Raises:
        ValueError: `words` is no such number, one of the two failed, or they disagree about points.
    """
    submissions = whole_number(words, USUAL, LEAST)
    sizes = _parts(submissions)
    with tempfile.TemporaryDirectory(prefix="course-bench-") as folder:
        course = _Course(Path(folder), timeout)
        classes = [course.write_part(number, size) for number, size in enumerate([1, *sizes])]
        costs: dict[str, list[Cost]] = {"nbgrader": [], "course": []}
        with progress_bar(2 * (submissions + 1) + LARGE, None, desc="grading", unit=" submissions") as progress:
            for number, part in enumerate(classes):
                for grader in ("nbgrader", "course") if number % 2 else ("course", "nbgrader"):
                    costs[grader].append(course.grade(grader, part, progress))
            points = course.same_points()
            large = course.grade("course", course.write_part(len(classes), LARGE), progress)
    figures = {
        "submissions": submissions,
        "parts": sizes,
        "cores": len(os.sched_getaffinity(0)),
        "large": {"submissions": LARGE, **asdict(large)},
        "nbgrader": figures_of(costs["nbgrader"], submissions),
        "course": figures_of(costs["course"], submissions, (LARGE, large)),
        "points": points,
    }
    figures["ratio"] = _ratios(figures["nbgrader"], figures["course"])
    _print(figures, course.executed)
    return figures


def whole_number(words: list[str] | None, usual: int, least: int) -> int:
    """The one number in `words`, or `usual` where there is none. Raises ValueError."""
    if not words:
        return usual
    if len(words) > 1 or not words[0].isdecimal() or int(words[0]) < least:
        raise ValueError(f"expected one whole number of submissions, {least} at least, not {' '.join(words)!r}")
    return int(words[0])


class _Course:
    """nbgrader's course folder; its ``submitted`` folders are what ``course grade`` is given too."""

    def __init__(self, folder: Path, timeout: float):
        self.folder = folder
        self.timeout = timeout
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": str(ROOT),  # nbgrader's kernels start in the student's folder
            "COURSE_BUDGET": BUDGET,
            "COURSE_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        source = folder / "source" / TOPIC
        source.mkdir(parents=True)
        shutil.copy(ROOT / "solutions" / TOPIC / f"{TOPIC}.ipynb", source)
        shutil.copy(ROOT / "assignments" / TOPIC / "checks.safetensors", source)
        print(f"nbgrader generate_assignment {TOPIC}", flush=True)
        self._run([*self._nbgrader("generate_assignment"), "--create"])

    @property
    def executed(self) -> str:
        """What each of the two executes of a submission, in a sentence."""
        cells = json.loads((ROOT / "assignments" / TOPIC / f"{TOPIC}.ipynb").read_bytes())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        exercises = len(Notebook().homework.exercises)
        return (
            f"nbgrader runs all {len(code)} code cells, demonstrations included, at COURSE_BUDGET={BUDGET}; course "
            f"grade runs the student's cells and calls {exercises} exercises on hidden inputs, which no budget changes"
        )

    def write_part(self, number: int, size: int) -> Path:
        part = self.folder / f"submitted_{number}"
        for k in range(size):
            notebook = WAYS[(number + k) % len(WAYS)](Notebook())
            path = part / f"part{number}_student{k}" / TOPIC / f"{TOPIC}.ipynb"
            path.parent.mkdir(parents=True)
            path.write_bytes(notebook.to_bytes())
        return part

    def grade(self, grader: str, part: Path, progress) -> Cost:
        out = self.folder / f"grades_{part.name}"
        if grader == "nbgrader":
            done = self.folder / "autograded"
            command = [
                *self._nbgrader("autograde"),
                f"--CourseDirectory.submitted_directory={part.name}",
                f"--ExecutePreprocessor.timeout={self.timeout:.0f}",
            ]
        else:
            done = out / "results"
            command = [
                sys.executable,
                "-m",
                "course",
                "grade",
                str(part),
                "-a",
                TOPIC,
                "-o",
                str(out),
                "--timeout",
                str(self.timeout),
            ]
        before, seen = _count(done), 0

        def look() -> None:
            nonlocal seen
            now = min(_count(done) - before, _count(part))
            if now > seen:
                progress.update(now - seen)
                seen = now

        cost = self._run(command, look)
        look()
        return cost

    def same_points(self) -> dict[str, float]:
        """Points by student. Raises ValueError where nbgrader's gradebook and our tables differ."""
        from nbgrader.api import Gradebook

        theirs: dict[str, dict[str, float]] = {}
        with Gradebook(f"sqlite:///{self.folder / 'gradebook.db'}") as gradebook:
            for submission in gradebook.assignment_submissions(TOPIC):
                [notebook] = submission.notebooks
                grades = {grade.name.removeprefix("check_"): grade.auto_score for grade in notebook.grades}
                theirs[submission.student.id] = {name: score for name, score in grades.items() if score is not None}
        ours: dict[str, dict[str, float]] = {}
        for table in sorted(self.folder.glob("grades_*/grades.csv")):
            with open(table, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    names = Notebook().homework.exercises
                    ours[row["student"]] = {name: float(row[name] or "nan") for name in names}
        for student in sorted({*ours, *theirs}):
            if ours.get(student) != theirs.get(student):
                raise ValueError(
                    f"they disagree about {student}: nbgrader gives {theirs.get(student)}, "
                    f"course grade gives {ours.get(student)}"
                )
        return {student: sum(scores.values()) for student, scores in sorted(ours.items())}

    def _nbgrader(self, what: str) -> list[str]:
        return [sys.executable, "-m", "nbgrader", what, TOPIC, f"--course-dir={self.folder}"]

    def _run(self, command: list[str], look: Callable[[], None] = lambda: None) -> Cost:
        # Not here: the repository's own nbgrader_config.py is not to be read.
        return run(command, env=self.environment, log=self.folder / "log.txt", cwd=self.folder, look=look)


def _count(folder: Path) -> int:
    return sum(not name.startswith(".") for name in os.listdir(folder)) if folder.is_dir() else 0


def _parts(submissions: int) -> list[int]:
    """Halves, or for a larger class parts of about `PART`, as even as can be."""
    parts = max(2, submissions // PART)
    return [submissions // parts + (number < submissions % parts) for number in range(parts)]


def figures_of(costs: list[Cost], submissions: int, large: tuple[int, Cost] | None = None) -> dict:
    """What starting costs and what one more submission costs, from a part of one and the parts of the class.

    Where one more costs little beside starting, a `large` class (its size, what it cost) tells it apart from noise.
    """
    single, *parts = costs
    figures: dict = {"runs": [asdict(cost) for cost in costs], "memory": max(cost.memory for cost in costs)}
    for what in ("wall", "cpu"):
        alone = getattr(single, what)
        if large:
            more = (getattr(large[1], what) - alone) / (large[0] - 1)
        else:
            more = (sum(getattr(cost, what) for cost in parts) - len(parts) * alone) / (submissions - len(parts))
        figures[what] = {"start": alone - more, "one_more": more, "each": (alone - more) / submissions + more}
    return figures


def _ratios(theirs: dict, ours: dict) -> dict:
    """nbgrader's figures over ours; ``parts`` are those of the parts as they ran, each with its start."""
    ratios: dict = {}
    for what in ("wall", "cpu"):
        ratios[what] = {key: theirs[what][key] / ours[what][key] for key in theirs[what]}
    ratios["memory"] = theirs["memory"] / ours["memory"]
    pairs = list(zip(theirs["runs"], ours["runs"]))[1:]
    ratios["parts"] = {what: [their[what] / our[what] for their, our in pairs] for what in ("wall", "cpu")}
    return ratios


def _print(figures: dict, executed: str) -> None:
    submissions, ratio = figures["submissions"], figures["ratio"]
    print(f"{submissions} submissions of {TOPIC}, {len(figures['parts'])} parts in turns, {figures['cores']} cores")
    print(executed)
    print(f"the same points from both, {min(figures['points'].values()):g} to {max(figures['points'].values()):g}")
    print(f"{'':44}{'nbgrader':>12}{'course grade':>14}{'ratio':>9}")
    rows = [
        ("submissions a minute, start shared by all", lambda f: 60 / f["wall"]["each"], ratio["wall"]["each"]),
        ("seconds to start", lambda f: f["wall"]["start"], ratio["wall"]["start"]),
        ("seconds, one more submission", lambda f: f["wall"]["one_more"], ratio["wall"]["one_more"]),
        ("CPU seconds to start", lambda f: f["cpu"]["start"], ratio["cpu"]["start"]),
        ("CPU seconds, one more submission", lambda f: f["cpu"]["one_more"], ratio["cpu"]["one_more"]),
        ("CPU seconds a submission, start shared", lambda f: f["cpu"]["each"], ratio["cpu"]["each"]),
        ("peak memory of all processes, MB", lambda f: f["memory"] / 2**20, ratio["memory"]),
    ]
    for name, value, times in rows:
        print(f"{name:44}{value(figures['nbgrader']):12.2f}{value(figures['course']):14.2f}{times:8.2f}×")
    for what, name in (("cpu", "CPU"), ("wall", "clock")):
        told = ", ".join(f"{one:.2f}×" for one in sorted(ratio["parts"][what]))
        print(f"{name} of each part with its own start, nbgrader / course grade: {told}")
    theirs, ours = (figures[grader]["cpu"] for grader in ("nbgrader", "course"))
    class_of = {
        size: (theirs["start"] / size + theirs["one_more"]) / (ours["start"] / size + ours["one_more"])
        for size in (submissions, 100, 1000)
    }
    told = ", ".join(f"{times:.1f}× in a class of {size}" for size, times in class_of.items())
    print(f"CPU seconds a submission with the start shared, nbgrader / course grade: {told}")
    print(f"CPU seconds for one more submission, nbgrader / course grade: {ratio['cpu']['one_more']:.1f}×")

"""``course progress``: what a reader's own homeworks have right, begun and open, and what to do next.

Read from the saved notebooks alone: from the cards that checks left there, which say for which text of which cells they
hold, and from nbgrader's checksums, which say what is as it was handed out. No cell is run, nothing is sent or kept.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.cell_id import text_id
from course.syllabus import LECTURES, WITHOUT_LECTURE, Homework, Lecture

RIGHT, WRONG, CHANGED, BEGUN, OPEN = "right", "not right yet", "changed since its check", "begun", "open"
ANSWERED, UNANSWERED, MISSING = "answered", "to answer", "missing"
_LONGEST_HEADER = 2**26  # bytes of check data that describe it
_NOT_OURS = ("solutions", "build", "grades")  # folders in which no reader's homework lies


@dataclass(frozen=True)
class Part:
    """An exercise, or a question in words, which a person reads: `state` is then ANSWERED or UNANSWERED.

    `points` are those of a card that still holds, and `of` the most there are.
    """

    name: str
    state: str
    points: float
    of: float

    @property
    def is_written(self) -> bool:
        return self.state in (ANSWERED, UNANSWERED)

    @property
    def is_done(self) -> bool:
        return self.state in (RIGHT, ANSWERED)


@dataclass(frozen=True)
class Progress:
    """Of one homework. Without `path` there is no notebook; with a `problem` it cannot be read."""

    homework: Homework
    lecture: Lecture | None
    path: Path | None = None
    problem: str = ""
    parts: tuple[Part, ...] = ()

    @property
    def exercises(self) -> list[Part]:
        return [part for part in self.parts if not part.is_written]

    @property
    def right(self) -> int:
        return sum(part.state == RIGHT for part in self.exercises)

    @property
    def points(self) -> tuple[float, float]:
        """(earned, of how many), of what a check can tell."""
        return sum(part.points for part in self.exercises), sum(part.of for part in self.exercises)

    @property
    def is_done(self) -> bool:
        return bool(self.parts) and all(part.is_done for part in self.parts)

    @property
    def is_begun(self) -> bool:
        return any(part.state not in (OPEN, UNANSWERED, MISSING) for part in self.parts)

    def in_words(self) -> str:
        if self.path is None:
            return "no notebook here"
        if self.problem:
            return self.problem
        if self.is_done:
            return "done"
        if not self.is_begun:
            return "not begun"
        states = [part.state for part in self.parts if part.state != RIGHT]
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def progress_command(folder: Path | None = None) -> int:
    """Print a line for each homework and what to do next. Returns 0, or 2 if there is no homework."""
    if folder is not None and not folder.is_dir():
        print(f"course progress: {folder} is no folder: give the one in which your homeworks lie.", file=sys.stderr)
        return 2
    found = read_progress(folder)
    if not any(each.path for each in found):
        where = folder or Path.cwd()
        print(
            f"course progress: no homework (hwN_topic.ipynb) was found in {where}: name their folder.", file=sys.stderr
        )
        return 2
    print(table(found))
    print(f"\nNext: {next_step(found)}")
    return 0


def read_progress(folder: Path | None = None) -> list[Progress]:
    """Of every homework of the course, in its order.

    Args:
        folder: the course, or any folder in which homeworks lie, at whatever depth. Default: the course that this
            folder belongs to.
    """
    folder = course_folder() if folder is None else folder
    works = [(lecture.homework, lecture) for lecture in LECTURES if lecture.homework]
    return [_progress(work, lecture, folder) for work, lecture in [*works, *((work, None) for work in WITHOUT_LECTURE)]]


def course_folder() -> Path:
    """The nearest folder at or above this one that has ``assignments`` in it; else this one."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "assignments").is_dir()), here)


def table(found: list[Progress]) -> str:
    """A line for each homework, for a terminal."""
    rows = [("homework", "right", "points", "")]
    for each in found:
        right = f"{each.right} of {len(each.exercises)}" if each.parts else ""
        points = "{:g} of {:g}".format(*each.points) if each.parts else ""
        rows.append((each.homework.heading, right, points, each.in_words()))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]).rstrip() for row in rows]
    earned, whole = (sum(each.points[i] for each in found) for i in (0, 1))
    return "\n".join(
        [*lines, f"{earned:g} of {whole:g} points on the checks in your notebooks, as you last saved them."]
    )


def next_step(found: list[Progress]) -> str:
    """One sentence: in the first homework that is begun, else in the first that is not, the first part to do."""
    waiting = [each for each in found if each.path and not each.is_done]
    if not waiting:
        return "everything here is right. Hand it in, if you have not yet."
    each = next((each for each in waiting if each.is_begun), waiting[0])
    if each.problem:
        return f"{each.homework.heading}: {each.problem}"
    part = next(part for part in each.parts if not part.is_done)
    worth = f" ({part.of:g} point{'' if part.of == 1 else 's'})"
    what = {
        OPEN: f"write {part.name}{worth}.",
        BEGUN: f"{part.name} is begun: run its check{worth}.",
        CHANGED: f"{part.name} was changed since its check: run it, and the check, again{worth}.",
        WRONG: f"{part.name} is not right yet: its card says why{worth}.",
        UNANSWERED: f"answer {part.name} in words{worth}.",
        MISSING: f"the cell of {part.name} is missing: take it from the notebook as it was handed out{worth}.",
    }[part.state]
    before = f"read lecture {each.lecture.heading}, then " if each.lecture and not each.is_begun else ""
    return f"{before}{each.homework.heading}: {what}"


def _progress(work: Homework, lecture: Lecture | None, folder: Path) -> Progress:
    path = _find(work.name, folder)
    if path is None:
        return Progress(work, lecture)
    try:
        parts = _read(json.loads(path.read_bytes()), path.parent)
    except OSError as error:
        return Progress(work, lecture, path, f"{path.name} cannot be read: {error.strerror}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Progress(work, lecture, path, f"{path.name} is no notebook any more: take back an earlier copy")
    problem = "" if parts else f"{path.name} has lost the labels of its exercises: take it as it was handed out"
    return Progress(work, lecture, path, problem, tuple(parts))


def _find(name: str, folder: Path) -> Path | None:
    usual = folder / "assignments" / name / f"{name}.ipynb"
    if usual.is_file():
        return usual
    if (folder / "assignments").is_dir():
        return None
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [inner for inner in folders if not inner.startswith(".") and inner not in _NOT_OURS]
        found += [Path(place) / file for file in files if file == f"{name}.ipynb"]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)  # of several copies, the one worked on


def _read(notebook: dict[str, Any], folder: Path) -> list[Part]:
    """The parts of one homework in the order of its cells; those whose cells are gone come last."""
    cells = [{**cell, "source": "".join(cell["source"])} for cell in notebook["cells"]]
    there = {text_id(cell["source"]) for cell in cells if cell["cell_type"] == "code"}
    there |= {text_id(file.read_text(encoding="utf-8", errors="replace")) for file in folder.glob("*.py")}
    labels = [(cell, cell["metadata"].get("nbgrader") or {}) for cell in cells]
    own = {label["grade_id"]: cell for cell, label in labels if label.get("solution")}
    points = _points_beside(folder)
    points |= {
        label["grade_id"].removeprefix("check_"): float(label["points"])
        for _, label in labels
        if label.get("grade") and not label.get("solution")
    }
    cards = dict(_cards(cells))
    parts = []
    for cell, label in labels:
        if label.get("grade") and label.get("solution"):
            state = UNANSWERED if _is_untouched(cell, label) else ANSWERED
            parts.append(Part(label["grade_id"], state, 0.0, float(label["points"])))
        elif label.get("solution") and label["grade_id"] in points:
            name = label["grade_id"]
            state, earned = _state(cell, label, cards.get(name), there)
            parts.append(Part(name, state, earned, points[name]))
    return parts + [Part(name, MISSING, 0.0, of) for name, of in points.items() if parts and name not in own]


def _state(cell: dict, label: dict, card: dict | None, there: set[str]) -> tuple[str, float]:
    """(state, points earned) of an exercise."""
    if card is None or card["status"] == "not started":
        return (OPEN if _is_untouched(cell, label) else BEGUN), 0.0
    # Where a card cannot tell its cells, it counts unless the cell of the exercise was run after it.
    later = (cell.get("execution_count") or 0) > card["run"]
    if not set(card["written"]) <= there or (not card["written"] and later):
        return CHANGED, 0.0
    return (RIGHT if card["status"] == "right" else WRONG), float(card["points"])


def _cards(cells: list[dict]) -> Iterator[tuple[str, dict]]:
    """(exercise, what a card says): of several, that of the exercise's own check cell comes last, else the last run."""

    def order(cell: dict) -> tuple[bool, int]:
        return bool((cell["metadata"].get("nbgrader") or {}).get("grade")), cell.get("execution_count") or 0

    for cell in sorted(cells, key=order):
        for output in cell.get("outputs", ()):
            card = output.get("metadata", {}).get("text/html", {}).get("course", {})
            if "exercise" in card:
                name = card["exercise"].partition(".")[2]
                yield name, {**card, "run": cell.get("execution_count") or 0}


def _is_untouched(cell: dict, label: dict) -> bool:
    """Whether the cell is as it was handed out, by the sum that nbgrader wrote into it then."""
    grade = bool(label.get("grade"))
    # The two words are nbgrader's: it is a solution cell, and so not locked.
    text = f"{cell['source']}{cell['cell_type']}{grade}TrueFalse{label['grade_id']}"
    text += str(float(label["points"])) if grade else ""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() == label.get("checksum")


def _points_beside(folder: Path) -> dict[str, float]:
    """Points by exercise, from the check data beside the notebook, of which only the head is read; empty without it."""
    try:
        with open(folder / "checks.safetensors", "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, _LONGEST_HEADER)))
        points = json.loads(header["__metadata__"]["json"])["points"]
        return {name: float(of) for name, of in points.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}

"""``course bench hostile_text``: every step that reads student text, on ten kinds of text at the size limits.

Each step runs in a fork of its own, on what the steps before it made. Measured are the processor seconds and the memory
that it adds to the grader's own process. What it has done in the process with limits (`course.grading.read.reader`), the
start of that included, is told apart: there the system sets the bound.
"""

import ctypes
import gc
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from course.authoring.repository import find_root
from course.bench import CannotRunHere
from course.checks import load_homework
from course.checks.calls import LONGEST_NOTE, Observation
from course.checks.compare import Expected
from course.grading.collect.choose import choose
from course.grading.collect.find import Entry, Found
from course.grading.collect.scripts import cells_from_script
from course.grading.judge.exercise import judge_exercise
from course.grading.known_safe import known_of
from course.grading.problems import Unreadable
from course.grading.read import cells as limits
from course.grading.read import python_source, reader
from course.grading.read.bare import bare
from course.grading.read.cells import cells_from_bytes
from course.grading.read.depends import names_reached
from course.grading.read.merge import ShownCell, Template, merge
from course.grading.read.python_source import defined_names
from course.grading.read.rules import rule_broken
from course.grading.record.exports import grades_csv
from course.grading.record.result import StudentResult
from course.grading.report import pages as report
from course.grading.report.pages import class_page, feedback_page, similar_pages
from course.grading.report.similarity import own_work, similar_submissions
from course.grading.report.to_mark import notebook_to_mark
from course.progress_bar import progress_bar

TOPIC = "hw5_poolformer"  # several sets of forbidden names
LIMITS = ("LARGEST_FILE", "MOST_CELLS", "LONGEST_SOURCE", "LONGEST_CODE", "LONGEST_PROSE", "LONGEST_TEXT")
MOST_SECONDS, MOST_MB = 1.0, 200  # that a step may add to the grader's own process


def repeated(part: str, length: int) -> str:
    return part * (length // len(part))


def numbered(part: str, length: int) -> str:
    """`part` with a number in place of each ``{}``, again and again."""
    made, k, size = [], 0, 0
    while size < length - len(part) - 20:
        made.append(part.format(k, k + 1))
        size += len(made[-1])
        k += 1
    return "".join(made)


# By kind, a text of a given length. None of them is known to harm Python, pygments or mistune.
KINDS: dict[str, Callable[[int], str]] = {
    "names": lambda n: numbered("n{1} = n{0}\n", n),
    "chains": lambda n: repeated("F" + ".a" * 90 + "\n", n),
    "nested": lambda n: repeated("x = " + "[" * 40 + "]" * 40 + "\n", n),
    "long lines": lambda n: "x = [" + repeated("y, ", n - 6) + "]",
    "functions": lambda n: numbered("def f{0}(): f{1}()\n", n),
    "strings": lambda n: repeated("f'{a}' 'b'\n", n),
    "blank": lambda n: repeated("#\n \n", n),
    "unicode": lambda n: numbered("é界{} = '😀ﬁ\u202e'\n", n),
    "decorators": lambda n: repeated("@F.a\n", n - 14) + "def f(): pass",
    "literals": lambda n: f"x = '{'1' * (n // 2 - 12)}'\ny = 0x{'f' * (n // 2 - 12)}",
}


@dataclass(frozen=True)
class Homework:
    """What the steps need to know of the homework."""

    template: Template
    points: dict[str, float]
    rules: dict[str, tuple[str, ...]]

    @classmethod
    def load(cls) -> "Homework":
        root = find_root(Path(__file__))
        exercises = load_homework(root / "solutions" / TOPIC).exercises
        released = cells_from_bytes((root / "assignments" / TOPIC / f"{TOPIC}.ipynb").read_bytes())
        targets = {name: exercise.targets for name, exercise in exercises.items()}
        return cls(
            Template.from_cells(released, targets),
            {name: exercise.points for name, exercise in exercises.items()},
            {name: exercise.forbidden for name, exercise in exercises.items()},
        )


def notebook(text: Callable[[int], str], homework: Homework, part: float = 1.0) -> dict:
    """A notebook that holds as much of a kind of text as the limits allow, or a `part` of that, in every place.

    The code stands in a cell as long as one may be, in one of half the rest, and in many small ones, which are in
    turns cells of an exercise and cells that the student added. The other cells are a written answer.
    """
    first, *_, last = homework.points
    made = [_cell("code", "import torch.nn.functional as F\nfrom torch import nn")]
    made.append(_cell("code", text(int(part * limits.LONGEST_SOURCE)), last))
    rest = int(part * limits.LONGEST_CODE) - sum(len(cell["source"]) for cell in made)
    made.append(_cell("code", text(rest // 2)))
    small = int(part * limits.MOST_CELLS) // 2
    source = text(rest // 2 // small) or "x = 1"
    made += [_cell("code", source, label) for label in (first, None) for _ in range(small // 2)]
    others = int(part * limits.MOST_CELLS) - len(made) - 1  # `file_of` adds one
    of_text = min(limits.LONGEST_PROSE, int(part * limits.LONGEST_TEXT) // others)
    made += [_cell("markdown", text(of_text) or "x", "why") for _ in range(others)]
    return {"cells": made, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}


def _cell(kind: str, source: str, label: str | None = None) -> dict:
    nbgrader = {"grade_id": label, "points": 3, "solution": True, "locked": False}
    return {"cell_type": kind, "metadata": {"nbgrader": nbgrader} if label else {}, "source": source}


def file_of(content: dict, text: Callable[[int], str], size: int) -> bytes:
    """The notebook with so many stored outputs that its file has `size` bytes."""
    output = json.dumps({"output_type": "stream", "text": text(2_000).splitlines(keepends=True)}).encode()
    data = json.dumps(content).encode()
    head, tail = b'{"cells": [{"cell_type": "code", "source": "", "outputs": [', b"]}, " + data[len(b'{"cells": [') :]
    count = (size - len(head) - len(tail) - len(output)) // (len(output) + 1)
    return head + b",".join([output] * count) + tail


def full_page(text: Callable[[int], str], kind: str, part: float) -> list[ShownCell]:
    """Cells that are as long as can be formatted, and as many as a page has room for."""
    cell = ShownCell(kind, text(int(part * report.LONGEST_CELL)))
    return [cell] * (report.LONGEST_PLAIN // report.LONGEST_CELL)


def steps(text: Callable[[int], str], homework: Homework, part: float = 1.0) -> dict[str, Callable[[], Any]]:
    """By name, each step, on `notebook` and on the work of the steps before it."""
    data = json.dumps(notebook(text, homework, part)).encode()
    cells = cells_from_bytes(data)
    merged = merge(homework.template, cells)
    work = [own_work(name, name, merged.shown) for name in ("a", "b")]
    similar = similar_submissions(work, [])
    # Five notes are about the 64 KB that the notes of an exercise may have.
    seen = Observation(notes={f"{k}.error": text(LONGEST_NOTE)[:LONGEST_NOTE] for k in range(5)})
    name = next(iter(homework.points))
    expected = Expected(Observation(), [], {}, 1e-4, len(seen.notes))
    sources = [cell.source for cell in merged.cells]
    known = known_of(expected).about(max(sources, key=len, default=""), sources, 0)
    said = Observation(notes={**seen.notes, "0.error": "TypeError: f() missing 1 required positional argument: 'x'"})
    judged = tuple(judge_exercise(each, most, expected, seen) for each, most in homework.points.items())
    row = StudentResult("a", "a", ("graded",), judged, tuple(text(400)[:400] for _ in range(20)))
    code, words = (full_page(text, kind, part) for kind in ("code", "markdown"))
    found = Found("a", (Entry((f"{TOPIC}.ipynb",), lambda: data),))
    return {
        "read": lambda: cells_from_bytes(data),
        "choose": lambda: choose(found, TOPIC, homework.template),
        "names": lambda: [defined_names(cell.source) for cell in cells if cell.kind == "code"],
        "bare": lambda: [bare(cell.source) for cell in cells if cell.kind == "code"],
        "merge": lambda: merge(homework.template, cells),
        "rules": lambda: rule_broken(merged, homework.rules),
        "depends": lambda: names_reached(merged),
        "judge": lambda: judge_exercise(name, 1.0, expected, Observation.from_bytes(said.to_bytes()), known=known),
        "record": lambda: (row.to_json(), grades_csv(TOPIC, homework.points, {}, [row])),
        "to mark": lambda: notebook_to_mark(homework.template, row, merged.shown),
        "page": lambda: feedback_page(TOPIC, homework.template, row, merged.shown, 10.0, ""),
        "page of code": lambda: feedback_page(TOPIC, homework.template, row, code, 10.0, ""),
        "page of text": lambda: feedback_page(TOPIC, homework.template, row, words, 10.0, ""),
        "class page": lambda: class_page(TOPIC, homework.template, homework.points, [row] * 2, "", similar),
        "similarity": lambda: similar_submissions([own_work(name, name, merged.shown) for name in ("a", "b")], []),
        "similar page": lambda: similar_pages(TOPIC, similar, ""),
        "script": lambda: (python_source.forget(), cells_from_script(text(int(part * limits.LONGEST_CODE)))),
    }


def _read(data: bytes) -> str:
    try:
        cells_from_bytes(data)
        return ""
    except Unreadable as problem:
        return problem.status


COLD = ("read", "choose", "script", "names")  # steps that nothing has been parsed before


def bench(words: list[str]) -> dict:
    """Measure every step on every kind of text and print two tables.

    Args:
        words: kinds; all by default.

    Returns:
        {"limits", "rows": [{"step", "kind", "cpu", "mb", "reader_cpu", "reader_mb", "refused"}], "worst"}
    """
    if sys.platform != "linux":
        raise CannotRunHere("the memory of a step is measured on Linux only")
    for word in words:
        if word not in KINDS:
            raise ValueError(f"there is no kind of text {word!r}; there is {', '.join(KINDS)}")
    homework = Homework.load()
    rows = []
    kinds = words or list(KINDS)
    with progress_bar(len(kinds), None, desc="hostile_text", unit=" kinds") as progress:
        for kind in kinds:
            text = KINDS[kind]
            todo = steps(text, homework)
            for step, action in todo.items():
                rows.append({"step": step, "kind": kind, **measured_alone(action, cold=step in COLD)})
            data = file_of(notebook(text, homework), text, limits.LARGEST_FILE)
            rows.append({"step": "largest file", "kind": kind, **measured_alone(partial(_read, data), True)})
            del data, todo
            progress.update()
    print("A star: the reader refused it, and the row of the student says so.\n")
    for title, cpu, mb in (("in the grader's own process", "cpu", "mb"), ("in the reader", "reader_cpu", "reader_mb")):
        _print_table(f"CPU s / MB {title}", rows, kinds, cpu, mb)
    worst = {what: max(rows, key=lambda row: row[what]) for what in ("cpu", "mb")}
    print(
        f"worst in the grader's own process: {worst['cpu']['cpu']:.2f} CPU s ({worst['cpu']['step']}, "
        f"{worst['cpu']['kind']}), {worst['mb']['mb']:.0f} MB ({worst['mb']['step']}, {worst['mb']['kind']}); "
        f"at most {MOST_SECONDS:g} and {MOST_MB} are allowed"
    )
    told = {name: getattr(limits, name) for name in LIMITS}
    return {"limits": told, "rows": rows, "worst": {what: row[what] for what, row in worst.items()}}


def measured_alone(action: Callable[[], Any], cold: bool) -> dict[str, float]:
    """What `action` costs in a fork: its processor seconds and MB, and those of the reader that it starts.

    Raises:
        RuntimeError: it failed.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(theirs, json.dumps(_measured(action, cold)).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"a step failed with {status}")
    return json.loads(told)


def _measured(action: Callable[[], Any], cold: bool) -> dict[str, float]:
    if cold:
        python_source.forget()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else what the processes before it gave back would hide what this one takes
    Path("/proc/self/clear_refs").write_text("5")  # from now on the system looks for the peak anew
    before, begin = _megabytes("self", "VmRSS"), time.process_time()
    refused = action() == "limit"
    cpu = time.process_time() - begin
    mb = max(0.0, _megabytes("self", "VmHWM") - before)
    # Of a process that has ended, the system would count the memory of the one that it was started by.
    started = reader._reader
    runs = started is not None and started.of == os.getpid() and started.process.poll() is None
    reader_mb = _megabytes(started.process.pid, "VmHWM") if runs else 0.0
    reader.end()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    reader_cpu = children.ru_utime + children.ru_stime
    return {"cpu": cpu, "mb": mb, "reader_cpu": reader_cpu, "reader_mb": reader_mb, "refused": refused}


def _megabytes(process: int | str, what: str) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 2**10


def _print_table(title: str, rows: list[dict], kinds: list[str], cpu: str, mb: str) -> None:
    print(f"{title:42}" + "".join(f"{kind:>13}" for kind in kinds))
    for step in dict.fromkeys(row["step"] for row in rows):
        of_step = {row["kind"]: row for row in rows if row["step"] == step}
        print(f"{step:42}" + "".join(_shown(of_step[k], cpu, mb).rjust(13) for k in kinds))
    print()


def _shown(row: dict, cpu: str, mb: str) -> str:
    return f"{row[cpu]:.2f} / {row[mb]:.0f}{'*' if row['refused'] else ''}"

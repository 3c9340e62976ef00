"""Whatever students write, reading it here takes time by its length; what others wrote reads it under limits."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from benchmarks.hostile_text import KINDS, Homework, steps
from course.grading.collect.find import Entry, Found
from course.grading.own_notebook import CannotCheck, exercise_of
from course.grading.problems import Unreadable
from course.grading.read import cells as limits
from course.grading.read import merge, python_source, reader
from course.grading.read.cells import Cell, cells_from_bytes
from course.grading.read.depends import names_reached
from course.grading.read.merge import Merged, RunCell, ShownCell, TemplateExercise
from course.grading.read.rules import rule_broken
from course.grading.record.result import StudentResult
from course.grading.report import pages as report
from course.grading.student import MOST_MESSAGES, Judged, put_together, read_student
from course.outline import outline
from tests.grading.cpu_time import cpu_seconds

PART = 0.01  # of the size limits, and then twice that
MOST_GROWTH = 2.6


@pytest.fixture(scope="module")
def homework() -> Homework:
    loaded = Homework.load()
    for action in steps(KINDS["names"], loaded, PART).values():
        action()  # what is loaded and compiled the first time
    return loaded


def work(action) -> int:
    """Lines run and functions called, those of C too: not seconds, which a busy machine stretches."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += 1
        return trace

    def profile(frame, event, argument):
        nonlocal count
        count += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_twice_as_much_text_is_at_most_a_little_more_than_twice_the_work(kind, homework):
    def counted(part: float) -> dict[str, int]:
        text = KINDS[kind]
        made = steps(text, homework, part)
        return {step: work(action) for step, action in made.items()}

    once, twice = counted(PART), counted(2 * PART)
    assert max(twice.values()) > 1_000
    too_steep = {step: (once[step], n) for step, n in twice.items() if n > MOST_GROWTH * once[step] + 500}
    assert not too_steep


@pytest.mark.parametrize("kind", KINDS)
def test_a_twentieth_of_what_may_be_there_is_read_at_once_by_each_step(kind, homework):
    """What counting does not see: the inside of a set, a regular expression. `course bench` goes to the limit."""
    text = KINDS[kind]

    def anew(action):
        python_source.forget()
        action()

    made = steps(text, homework, 0.05)
    seconds = {step: cpu_seconds(lambda: anew(action), runs=2) for step, action in made.items()}
    assert max(seconds.values()) < 1, seconds


def test_the_limits_are_ten_times_the_longest_solution(homework):
    for path in Path(__file__).parents[2].glob("solutions/hw*/hw*.ipynb"):
        data = path.read_bytes()
        found = cells_from_bytes(data)
        code = [len(cell.source) for cell in found if cell.kind == "code"]
        text = [len(cell.source) for cell in found if cell.kind != "code"]
        assert 10 * len(data) <= limits.LARGEST_FILE and 10 * len(found) <= limits.MOST_CELLS
        assert 10 * sum(code) <= limits.LONGEST_CODE and 10 * sum(text) <= limits.LONGEST_TEXT
        assert 10 * max(code) <= limits.LONGEST_SOURCE and 10 * max(text) <= limits.LONGEST_PROSE
        assert 10 * sum(code + text) <= report.LONGEST_PLAIN


# -- names


@pytest.mark.parametrize("kind", KINDS)
def test_an_outline_takes_time_and_room_by_the_length_of_the_text(kind):
    texts = [KINDS[kind](length) for length in (2_000, 4_000)]
    once, twice = (work(lambda: outline(text)) for text in texts)
    assert twice < MOST_GROWTH * once
    assert len(json.dumps(asdict(outline(texts[1])))) < 20 * len(texts[1])


@pytest.mark.parametrize(
    "source",
    [
        lambda n: "F" + ".a" * n,
        lambda n: f"from {'m' * n} import " + ", ".join(f"a{k}" for k in range(n)),
        lambda n: f"def {'f' * n}():\n" + "    x.a\n" * n,
        lambda n: " = ".join(f"a{k}" for k in range(n)) + " = [" + ", ".join(f"b{k}" for k in range(n)) + "]",
    ],
    ids=["a chain", "a long module", "a long function", "many targets"],
)
def test_nothing_in_an_outline_is_there_once_for_each_of_many(source):
    outlines = [outline(source(n)) for n in (400, 800)]
    once, twice = (len(json.dumps(asdict(told))) for told in outlines)
    assert twice < MOST_GROWTH * once


def test_who_builds_on_whom_is_found_at_once_among_thousands_of_names():
    chain = "".join(f"n{k + 1} = n{k}\n" for k in range(4_000))
    wide = " = ".join(f"m{k}" for k in range(9_000)) + " = (" + ", ".join(f"k{k}" for k in range(9_000)) + ")"
    cells = [RunCell("", chain), RunCell("", wide), RunCell("e", "def e(): return n4000, m7", "e", ("e",))]
    assert cpu_seconds(lambda: names_reached(Merged(cells))) < 1
    reached = names_reached(Merged(cells))["e"]
    assert {"n0", "n2000", "k0", "k8999"} <= reached and "e" not in reached


def test_a_forbidden_name_behind_thousands_of_helpers_is_found_at_once():
    helpers = "".join(f"def h{k}(): return h{k + 1}()\n" for k in range(4_000))
    last = "def h4000(): return nn.Transformer" + ".a" * 900
    used = "def e(): return h0"
    cells = [RunCell("", "from torch import nn"), RunCell("", helpers), RunCell("", last), RunCell("e", used, "e")]
    assert cpu_seconds(lambda: rule_broken(Merged(cells), {"e": ("torch.nn.Transformer",)})) < 1
    broken = rule_broken(Merged(cells), {"e": ("torch.nn.Transformer",)})
    assert "inside h4000" in broken["e"] and "nn.Transformer.a.a" in broken["e"]


def test_an_import_with_a_long_name_is_not_copied_for_each_use():
    cells = [RunCell("", f"import torch.nn.Transformer.{'a' * 90_000} as F"), RunCell("e", "F.b;" * 20_000, "e")]
    assert cpu_seconds(lambda: rule_broken(Merged(cells), {"e": ("torch.nn.Transformer",)})) < 1
    broken = rule_broken(Merged(cells), {"e": ("torch.nn.Transformer",)})
    assert "uses F.b" in broken["e"]


def test_blank_lines_before_what_is_looked_for_are_read_once():
    blank = "\n" * limits.LONGEST_SOURCE
    begin = time.process_time()
    assert not merge._is_untouched(Cell("code", blank), TemplateExercise("e", ("e",)))
    with pytest.raises(CannotCheck):
        exercise_of([Cell("code", blank)], Path("/x/y.ipynb"))
    assert time.process_time() - begin < 1
    stub = 'def e(x):\n    raise NotImplementedError("hw1.e")'
    assert merge._is_untouched(Cell("code", stub), TemplateExercise("e", ("e",)))


# -- pages


def page_of(shown: list[ShownCell], homework: Homework) -> bytes:
    return report.feedback_page("hw", homework.template, StudentResult("a", "a", ("graded",)), shown, 1.0, "")


@pytest.mark.parametrize("kind", ["code", "markdown"])
@pytest.mark.parametrize("letter", ['"', "<", "é", "\n"])
def test_a_page_has_an_end(kind, letter, homework):
    page = page_of([ShownCell(kind, letter * 100_000)] * 500, homework)
    assert len(page) < 8 * 10**6
    assert b"further cells are not shown" in page and b"shown without colours and formatting" in page


def test_a_page_that_cannot_be_formatted_in_time_is_shown_plain_and_says_so(homework, monkeypatch):
    shown = [ShownCell("code", "x = '<b>'"), ShownCell("markdown", "a *word*")]
    assert b"<em>word</em>" in page_of(shown, homework) and b"shown without" not in page_of(shown, homework)
    monkeypatch.setattr(reader, "LONGEST_ANSWER", 10)
    page = page_of(shown, homework)
    assert b"<pre>x = &#39;&lt;b&gt;&#39;</pre>" in page and b"<pre>a *word*</pre>" in page
    assert b"shown without colours and formatting" in page


def test_a_student_gets_a_limited_number_of_messages(exam, new_work):
    found = Found("a", (Entry(("hw9_small.ipynb",), new_work().solve().to_bytes),))
    work = read_student(found, "a", exam)
    result = put_together(work, Judged(messages=tuple(f"Cell {k} stops." for k in range(5_000))))
    assert len(result.messages) == MOST_MESSAGES + 1
    assert result.messages[-1] == f"{5_000 - MOST_MESSAGES} further messages are left out."


# -- the process with limits


def test_what_is_too_much_for_the_reader_is_a_status(homework, monkeypatch):
    data = b'{"cells": [{"cell_type": "code", "source": "x = 1"}]}'
    assert len(cells_from_bytes(data)) == 1
    python_source.forget()
    monkeypatch.setattr(reader, "LONGEST_ANSWER", 10)
    for action in (lambda: cells_from_bytes(data), lambda: python_source.defined_names("y = 1")):
        with pytest.raises(Unreadable, match="in reasonable time") as caught:
            action()
        assert caught.value.status == "limit"
    monkeypatch.undo()
    assert python_source.defined_names("y = 1") == {"y"}


def test_the_next_text_is_read_when_the_reader_has_died():
    assert reader.ask("outline", b"x = 1")["statements"] == [[1, 1]]
    os.kill(reader._reader.process.pid, signal.SIGKILL)
    reader._reader.process.wait()
    assert reader.ask("outline", b"def f(): pass")["statements"] == [[1, 1]]


def test_a_fault_of_ours_in_the_reader_is_no_fault_of_the_text():
    with pytest.raises(RuntimeError, match="html: JSONDecodeError"):
        reader.ask("html", b"no JSON")


SERVER = """
import sys, types
from course.grading.read import reader
sys.modules["made"] = made = types.ModuleType("made")
made.spin = lambda data: [None for _ in iter(int, 1)]
made.fill = lambda data: len(bytearray(2**29))
made.say = lambda data: len(data)
reader.SECONDS, reader.MEMORY = 0.3, 2**28
reader.TASKS = {name: ("made", name) for name in ("spin", "fill", "say")}
reader.main(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("task", "code"), [("spin", -signal.SIGPROF), ("fill", 0)])
def test_who_takes_too_much_time_or_memory_is_ended(task, code):
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen([sys.executable, "-c", SERVER, str(theirs.fileno())], pass_fds=(theirs.fileno(),))
    with Connection(ours.detach()) as channel:
        channel.send_bytes(b"say")
        channel.send_bytes(b"12345")
        assert channel.recv_bytes() == b'["", 5]'
        channel.send_bytes(task.encode())
        channel.send_bytes(b"")
        with pytest.raises(EOFError):
            channel.recv_bytes()
    assert process.wait(timeout=60) == code

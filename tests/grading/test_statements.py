"""What a student could run in the notebook is run: each statement by itself, and none at the cost of an exercise."""

import json
import time

import pytest
import torch

from course.checks import Call
from course.checks.calls import calls_to_bytes
from course.grading import check_notebook
from course.grading.collect.choose import choose
from course.grading.collect.find import Entry, Found, collect
from course.grading.limits import Limits
from course.grading.own_notebook import read_own
from course.grading.read.merge import Merged, RunCell
from course.grading.report.pages import feedback_page
from course.grading.run import child as grader_end
from course.grading.run import submission
from course.grading.run.child import Question, start_child
from course.grading.run.submission import Lost, run_submission
from course.grading.sandbox import Sandbox
from course.grading.student import ToRun, put_together, read_student, run_and_judge

SETUP = RunCell("the setup cell", "import torch, os, sys, time")


@pytest.fixture(scope="module")
def child():
    with start_child(Sandbox(Limits())) as child:
        yield child


def ran(child, source: str, **more):
    return child.run(RunCell("a cell", source), 30, **more)


def failed(child, source: str, **more) -> list[tuple[int, str]]:
    """[(line, error)] of the statements that raised."""
    return [(each.line, each.error) for each in ran(child, source, **more).failed]


# -- in the child


@pytest.mark.parametrize(
    ("source", "fails"),
    [
        ("low = lambda i: i\nassert low(1) == 1", []),
        ("from functools import partial\nf = partial(max, 1)\nassert f(2) == 2", []),
        ("from torch import nn, device\nact = nn.GELU()\nhere = device('cpu')\nbig = float('inf')\neps = 10**-5", []),
        ("try:\n    import nothing_like_it\nexcept ImportError:\n    def h(): return 1\nassert h() == 1", []),
        ("with open('made.txt', 'w') as f:\n    f.write('x')\nassert open('made.txt').read() == 'x'", []),
        ("import nothing_like_it\nx1 = 1\nassert x1 == 1", [1]),
        ("from google.colab import drive\ndrive.mount('/content/drive')\ndef g1(): return 1\nassert g1() == 1", [1, 2]),
        ("def a1(): return 1\nprint(given_by_the_course.shape)\ndef b1(): return a1()\nassert b1() == 1", [2]),
        ("x2 = 1; 1/0; y2 = 2\nassert y2 == 2", [1]),
        ("x3 = (1 +\n      1/0)\ny3 = 2\nassert y3 == 2", [2]),
        ("raise SystemExit\nexit()\nquit()\nsys.exit(3)\nx4 = 1\nassert x4 == 1", [1, 2, 3, 4]),
        ("assert False\nraise KeyboardInterrupt\nx5 = 1\nassert x5 == 1", [1, 2]),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nx6 = 1\nassert x6 == 1", [2]),
        ("name = input('Name? ')\nx7 = open('no such file')\nx8 = 1\nassert x8 == 1", [1, 2]),
        ("return 1\nyield 2\nnonlocal q\nbreak\nx9 = 1\nassert x9 == 1", [1, 2, 3, 4]),
        ("x10 = 1\ndel x10\nx10\nglobal g10\ng10 = 3\nassert g10 == 3", [3]),
        ("import asyncio\nawait asyncio.sleep(0)\nx11 = await asyncio.sleep(0, 5)\nassert x11 == 5", []),
        ("async def c12(): return 3\nassert await c12() == 3\nassert [await c12() for _ in range(2)] == [3, 3]", []),
        (
            "await 5\nasync def c13():\n    for k in range(2):\n        yield k\nz13 = [k async for k in c13()]\nlen(z13)",
            [1],
        ),
        ("x14 = 1\nfrom __future__ import annotations\ndef f14(x: not_there): return x\nassert f14(1) == 1", []),
        ("from math import *\nassert sqrt(4) == 2\nif (w15 := 3) > 2:\n    pass\nassert w15 == 3", []),
        ("if __name__ == '__main__':\n    main16 = 1\nassert main16 == 1", []),
        (
            "import functools\n@functools.cache\ndef f17(x): return x\n@undecided\ndef g17(x): return x\nassert f17(1)",
            [4],
        ),
        ("class A18:\n    x = 1\n    y = 1/0\nclass B18:\n    z = 2\nassert B18.z == 2", [3]),
        ("for k19 in range(3):\n    1 / (1 - k19)\nassert k19 == 1", [2]),
        ("def f20():\n    return 1/0\nf20()\nx20 = 1\nassert x20 == 1", [2]),
        ("import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])\nplt.show()", []),
        ("import matplotlib.pyplot as plt\nassert plt.get_fignums() == []", []),
        ("get_ipython().run_line_magic('matplotlib', 'inline')\nassert get_ipython().system('ls') is None", []),
        ("assert display(1, object(), display_id=True) is None\nx21 = 1", []),
        ("from IPython.display import HTML, clear_output, display\nclear_output()\ndisplay(HTML('<b>x</b>'))", []),
        ("from course import check, setup\ncheck('hw1.nothing', 3)\nassert check('hw1.nothing') is None\nsetup(0)", []),
        ("import torch.nn.functional as F\nmodel = torch.nn.Linear(2, 2)\nmodel(torch.ones(1, 3)).shape\nm22 = 1", [3]),
        ("def f23(:\nx23 = 1", [1]),
    ],
)
def test_each_statement_is_run_by_itself(child, source, fails):
    ran(child, "import sys, torch")
    assert [line for line, _ in failed(child, source)] == fails


def test_what_is_to_be_passed_over_is_passed_over(child):
    assert failed(child, "a = 1\n1/0\nassert a == 1", skip=[1]) == []
    told = ran(
        child, "import os\nd = dict(a=1)\nDEPTH = 3\ndef f(): pass\nprint(1)\nclass C: pass", only_definitions=True
    )
    assert told.not_run == (1, 4) and told.failed == ()
    assert failed(child, "(DEPTH, f, C)\nd") == [(2, "NameError: name 'd' is not defined")]


def test_of_many_statements_that_fail_the_first_are_told_and_the_rest_counted(child):
    told = ran(child, "1/0\n" * 5_000)
    assert len(told.failed) == grader_end.MOST_FAILED and told.more == 5_000 - grader_end.MOST_FAILED


def test_a_hundred_thousand_statements_take_time_by_their_number(child):
    def seconds(count: int) -> float:
        begin = time.monotonic()
        assert ran(child, "x = 1\n" * count).failed == ()
        return time.monotonic() - begin

    seconds(1_000)
    assert seconds(100_000) < 60
    assert failed(child, "x = " + "-" * 50_000 + "1\ny = 1")[0][1].split(":")[0] in (
        "RecursionError",
        "MemoryError",
        "SyntaxError",
    )


# -- a submission


def submitted(*cells: RunCell) -> tuple[Merged, dict[str, Question]]:
    names = [cell.exercise for cell in cells if cell.exercise]
    questions = {name: Question(calls_to_bytes([Call(name, {"x": torch.arange(3.0)})]), 2**16) for name in names}
    return Merged([SETUP, *cells]), questions


def added(source: str, place: int = 3) -> RunCell:
    return RunCell(f"the cell that you added at place {place}", source, added=True)


def exercise(name: str, source: str) -> RunCell:
    return RunCell(f"the cell of {name}", source, name, (name,))


def answers(outcome) -> dict:
    seen = outcome.exercises
    return {n: o.tensors["0.out"].tolist() if "0.out" in getattr(o, "tensors", ()) else o for n, o in seen.items()}


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("while True: pass", "did not come to an end within 1.5 seconds"),
        ("os._exit(0)", "ended the process it ran in (exit code 0)"),
        ("__import__('ctypes').string_at(0)", "crashed Python (SIGSEGV)"),
    ],
)
def test_of_a_cell_only_the_statement_that_hangs_or_crashes_is_left_out(what, why):
    merged, questions = submitted(
        added(f"before = lambda x: x\nn = 1\n{what}\nafter = lambda x: before(x) * 2"),
        exercise("f", f"f = lambda x: after(x)\n{what}\ng = 1"),
        exercise("h", f"{what}\ndef h(x): return x"),
        exercise("i", f"a = 1\ni = {what if 'True' not in what else '[0 for _ in iter(int, 1)]'}"),
    )
    outcome = run_submission(merged, questions, Sandbox(Limits(timeout=1.5)))
    seen = answers(outcome)
    assert seen["f"] == [0, 2, 4] and seen["h"] == [0, 1, 2]
    assert isinstance(seen["i"], Lost) and seen["i"].sentence == f"Your cell {why}."
    (mishap,) = outcome.mishaps
    assert mishap.sentence == (f"The cell that you added at place 3 {why} in line 3; what stands there was left out.")
    assert f"The cell of f {why} in line 2; what stands there was left out." in outcome.messages


def test_cells_that_crash_again_and_again_are_left_out_whole():
    merged, questions = submitted(added("os._exit(0)\n" * 40 + "late = 1"), exercise("f", "def f(x): return x"))
    outcome = run_submission(merged, questions, Sandbox(Limits(timeout=20)))
    assert answers(outcome) == {"f": [0, 1, 2]}
    assert len(outcome.mishaps) == submission.MOST_SKIPPED + 1
    assert outcome.mishaps[-1].sentence.endswith("It was left out.")


def test_long_experiments_never_cost_the_exercises_their_time(monkeypatch):
    monkeypatch.setattr(submission, "ADDED_PART", 0.02)
    slow = [added(f"time.sleep(0.5)\nhelper{k} = lambda x: x\nclass Kept{k}: pass", k) for k in range(3, 13)]
    last = exercise("f", "def f(x):\n    return Kept12 and x")
    merged, questions = submitted(*slow, last, exercise("g", "def g(x):\n    time.sleep(0.5)\n    return helper3(x)"))
    outcome = run_submission(merged, questions, Sandbox(Limits(timeout=20)))
    assert answers(outcome) == {"f": [0, 1, 2], "g": [0, 1, 2]} and outcome.seconds_left > 50
    assert outcome.messages == [] and outcome.statuses == set()
    told = outcome.mishaps[-1]
    assert told.sentence.startswith("The cell that you added at place 12 was run in part: the 2 seconds for all cells")
    assert told.names == {"helper12"} and told.status == "timeout"


def test_a_cell_of_an_exercise_goes_on_after_what_fails_in_it():
    merged, questions = submitted(
        exercise("f", "import nothing_of_this_name\ndef f(x): return x\nprint(given.shape)\nk = 1"),
        exercise("g", "first = 1\nsecond = nothing_here\ndef g(x): return x * second\nassert first == 1"),
        exercise("h", "print(nothing_here)\nh = nothing_there(1)"),
    )
    outcome = run_submission(merged, questions, Sandbox(Limits(timeout=20)))
    assert answers(outcome)["f"] == [0, 1, 2]
    assert outcome.exercises["g"].notes["0.error"].startswith("NameError: name 'second' is not defined")
    told = "Your cell stops in line 2 with NameError: name 'nothing_there' is not defined."
    assert outcome.exercises["h"] == Lost(None, told), "the line that should have defined it"
    assert [(m.exercise, m.sentence.partition(" with ")[0]) for m in outcome.mishaps] == [
        ("f", "The cell of f fails in line 1"),
        ("f", "The cell of f fails in line 3"),
        ("g", "The cell of g fails in line 2"),
        ("h", "The cell of h fails in line 1"),  # what its sentence says already is not said twice
    ]
    assert outcome.messages == [] and outcome.mishaps[0].sentence.endswith("; the rest of it was run.")


# -- the row and the page


def graded(exam, work, files: dict[str, str] | None = None):
    """(row, page) of a notebook and the files beside it."""
    entries = [Entry(("hw9_small", "hw9_small.ipynb"), work.to_bytes)]
    entries += [Entry(("hw9_small", *name.split("/")), text.encode) for name, text in (files or {}).items()]
    read = read_student(Found("anna", tuple(entries)), "anna", exam)
    assert isinstance(read, ToRun), read
    with Sandbox(Limits(timeout=20)) as sandbox:
        result = put_together(read, run_and_judge(read, exam, sandbox))
    page = feedback_page("hw9_small", exam.template, result, read.merged.shown, 6.5, "").decode()
    return result, page


def test_what_failed_is_in_the_row_only_where_it_cost_something(exam, work):
    work.solve()
    work.add("import seaborn_is_not_here\nshow = lambda x: seaborn_is_not_here", before="double")
    work.add("two = undefined_name\nfactor = lambda: two", before="double")
    work.write(double="def double(x):\n    return factor() * x")
    work.write(Scale=work["Scale"]["source"] + "\nprint(Scale(3)(1).nothing)")
    result, page = graded(exam, work)
    first, second, third = (
        "The cell that you added at place 4 fails in line 1 with ModuleNotFoundError: No module named "
        "'seaborn_is_not_here'; the rest of it was run.",
        "The cell that you added at place 5 fails in line 1 with NameError: name 'undefined_name' is not defined; the rest "
        "of it was run.",
        "The cell of Scale fails in line ",
    )
    assert [e.outcome for e in result.exercises] == ["wrong", "right", "right"]
    assert result.messages == (second,) and second in result.message and result.status == "graded"
    assert result.remarks[0] == first and result.remarks[1].startswith(third) and len(result.remarks) == 2
    assert "seaborn" not in result.message and first.replace("'", "&#39;") in page and "It cost no points" in page


def test_helpers_of_every_kind_earn_what_the_check_in_the_notebook_shows(exam, work):
    work.solve()
    work.add(
        "from functools import partial\nact = nn.Identity()\nscaled = partial(torch.mul, other=2)\nBase = nn.Module\n"
        "eps = 10**-5\ntry:\n    import nothing_of_this_name\nexcept ImportError:\n    def plain(x):\n        return act(x)",
        before="double",
    )
    work.write(double="def double(x):\n    return plain(scaled(x)) + eps - eps")
    work.write(Scale=work["Scale"]["source"].replace("nn.Module", "Base"))
    result, _ = graded(exam, work)
    assert [e.outcome for e in result.exercises] == ["right"] * 3 and result.messages == result.remarks == ()


def test_a_syntax_error_costs_its_cell_and_is_told(exam, work):
    work.solve().add("def broken(:\n    pass", before="double")
    result, _ = graded(exam, work)
    assert result.points == 6.5
    assert result.remarks == ("The cell that you added at place 4 fails in line 1 with SyntaxError: invalid syntax.",)


# -- own modules

HELPERS = "import torch\nfrom parts.more import two\n\ndef times_two(x):\n    return two() * x\n"


def test_modules_beside_the_notebook_are_taken_along(exam, work):
    work.solve().write(double="from helpers import times_two\ndef double(x):\n    return times_two(x)")
    files = {"helpers.py": HELPERS, "not_used.py": "raise SystemExit", "parts/__init__.py": ""}
    files |= {"parts/more.py": "from .numbers import TWO\ndef two(): return TWO", "parts/numbers.py": "TWO = 2"}
    result, page = graded(exam, work, files)
    assert result.points == 6.5 and result.messages == result.remarks == ()
    assert "<h2>helpers.py</h2>" in page and "<h2>parts/more.py</h2>" in page and "not_used" not in page


@pytest.mark.parametrize(
    "names",
    [
        ("anna/hw9_small/hw9_small.ipynb", "anna/hw9_small/helpers.py"),
        ("lovelaceada_123_456_hw9_small.ipynb", "lovelaceada_123_457_helpers-2.py"),
        (
            "Ada Lovelace_123_assignsubmission_file_/hw9_small.ipynb",
            "Ada Lovelace_123_assignsubmission_file_/helpers.py",
        ),
    ],
    ids=["folders", "Canvas", "Moodle"],
)
def test_modules_are_found_in_the_folders_of_every_platform(exam, work, tmp_path, names):
    work.solve().write(double="from helpers import double").save(tmp_path / names[0])
    (tmp_path / names[1]).write_text("double = 3")
    (found,) = collect(tmp_path, "hw9_small")
    submission = choose(found, "hw9_small", exam.template)
    assert [(module.name, module.source) for module in submission.modules] == [("helpers", "double = 3")]


def test_a_module_that_a_cell_writes_is_taken_along(exam, work):
    work.solve().write(double="from helpers import times_two\ndef double(x):\n    return times_two(x)")
    work.add("%%writefile helpers.py\ndef times_two(x):\n    return 3 * x", before="double")
    work.add("%%file -a other.py\nx = 1", before="double")
    work.add("%%writefile helpers.py\ndef times_two(x):\n    return 2 * x", before="double")
    result, page = graded(exam, work)
    assert result.points == 6.5 and "<h2>helpers.py</h2>" in page
    result, _ = graded(exam, work, {"helpers.py": "def times_two(x):\n    return 4 * x"})
    assert result.points == 6.5, "the cell writes over the file"


def test_an_error_in_a_module_names_its_file_and_line(exam, work):
    work.solve().write(
        double="from helpers import times_two as double", mean_and_spread="import broken\nmean_and_spread = 3"
    )
    result, _ = graded(
        exam, work, {"helpers.py": "def times_two(x):\n    return nothing_here * x", "broken.py": "x = 1\ny = 1 / 0"}
    )
    double, spread, _ = result.exercises
    assert (
        "NameError: name 'nothing_here' is not defined (line 2 of helpers.py: return nothing_here * x)"
        in double.sentence
    )
    assert "fails in line 1 with ZeroDivisionError: division by zero (line 2 of broken.py)" in result.message


def test_a_module_that_takes_the_name_of_what_is_installed_is_not_used(exam, work):
    work.solve().write(double="import torch, math, numpy\ndef double(x):\n    return torch.add(x, x)")
    result, page = graded(exam, work, dict.fromkeys(("torch.py", "math.py", "numpy/__init__.py"), "raise SystemExit"))
    assert result.points == 6.5 and "math.py" not in page


def test_a_module_that_is_too_large_is_told(exam, work):
    work.solve().write(double="from helpers import f\ndef double(x):\n    return x + x")
    result, _ = graded(exam, work, {"helpers.py": "x = 1\n" * 60_000})
    assert "helpers.py, which the notebook imports, is larger than 300,000 bytes." in result.message
    assert result.points == 6.5


def test_modules_are_part_of_what_was_handed_in(exam, new_work):
    def read(text: str):
        work = new_work().solve().write(double="from helpers import double")
        entries = (Entry(("hw9_small.ipynb",), work.to_bytes), Entry(("helpers.py",), text.encode))
        return read_student(Found("anna", entries), "anna", exam)

    first, same, other = (read(text) for text in ("double = 1", "double = 1", "double = 2"))
    assert first.handed_in.digest == same.handed_in.digest != other.handed_in.digest


def test_course_check_takes_modules_along_and_tells_what_failed(small_course, work, tmp_path, capsys):
    folder = tmp_path / "hw9_small"
    work.solve().write(double="from helpers import times_two as double")
    work.add("print(nothing_here)", before="double")
    path = work.save(folder / "hw9_small.ipynb")
    (folder / "helpers.py").write_text("def times_two(x):\n    return 2 * x\n")
    data = small_course / "assignments" / "hw9_small"
    for file in data.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    verdicts, _ = check_notebook.check_notebook(read_own(path))
    assert {name: verdict.status for name, verdict in verdicts.items()} == dict.fromkeys(verdicts, "right")
    told = capsys.readouterr().err
    assert (
        "The cell that you added at place 4 fails in line 1 with NameError: name 'nothing_here' is not defined." in told
    )
    assert json.loads(path.read_text())["nbformat"] == 4

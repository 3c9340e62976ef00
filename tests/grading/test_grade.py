"""``course grade`` and ``course check`` from end to end on a small homework."""

import csv
import json
import os
import re
import sqlite3

import pytest

from course.cell_id import cell_id
from course.checks import public
from course.checks.calls import calls_from_bytes
from course.grading import check_command, grade_command, place, student
from course.grading import grade as grading
from course.grading.collect.find import Found, collect
from course.grading.limits import Limits
from course.grading.record.result import StudentResult
from course.grading.sandbox import CannotStart, Sandbox
from course.grading.settings import find_homework

TOPIC = "hw9_small"
HIDDEN = "The model answer"


@pytest.fixture
def here(small_course, monkeypatch):
    monkeypatch.chdir(small_course)
    return small_course


@pytest.fixture(scope="module")
def submissions(tmp_path_factory, new_work):
    folder = tmp_path_factory.mktemp("submissions")
    new_work().solve().write(why="Because.").save(folder / "anna" / TOPIC / f"{TOPIC}.ipynb")
    wrong = (
        new_work()
        .solve()
        .write(
            double="def double(x):\n    return x + 2",
            mean_and_spread="def mean_and_spread(x):\n    raise ValueError(x.tolist())",
        )
    )
    wrong["check_Scale"]["metadata"]["nbgrader"]["points"] = 99
    wrong.save(folder / "<b>bert.ipynb")
    (folder / "carl").mkdir()
    (folder / "dora.ipynb").write_bytes(b'{"cells": [')
    return folder


@pytest.fixture(scope="module")
def graded(small_course, submissions, tmp_path_factory):
    """The class graded once; (its folder, the exit status)."""
    before = os.getcwd()
    os.chdir(small_course)
    try:
        out = tmp_path_factory.mktemp("out") / "new" / "grades"
        return out, grade_command(submissions, "hw9", out, workers=2, seed=5, timeout=20)
    finally:
        os.chdir(before)


def test_every_submission_has_its_row(graded):
    out, status = graded
    assert status == 0
    text = (out / "grades.csv").read_text()
    rows = {row["student"]: row for row in csv.DictReader(text.splitlines())}
    assert text.startswith("student,assignment,points,max_points,status,message,double,mean_and_spread,Scale,why\n")
    assert list(rows) == ["<b>bert", "anna", "carl", "dora"]
    assert [rows["anna"][key] for key in ("points", "max_points", "status", "message", "why")] == [
        "6.5",
        "6.5",
        "graded",
        "",
        "",
    ]
    bert = rows["<b>bert"]
    assert (bert["points"], bert["status"]) == ("3", "graded,tampered")
    assert (bert["double"], bert["mean_and_spread"], bert["Scale"]) == ("0", "0", "3")
    assert (
        "You added two instead of doubling." in bert["message"]
        and "ValueError: its message is not shown" in bert["message"]
    )
    assert (rows["carl"]["status"], rows["carl"]["points"], rows["carl"]["double"]) == ("missing", "0", "")
    assert rows["dora"]["status"] == "unreadable" and "cut off" in rows["dora"]["message"]


def test_all_files_are_there_and_readable(graded):
    out, _ = graded
    assert sorted(os.listdir(out)) == [
        ".lock",
        "autograded",
        "canvas.csv",
        "feedback",
        "gradebook.db",
        "grades.csv",
        "groups.json",
        "moodle.csv",
        "report.html",
        "results",
        "run.json",
    ]
    pages = sorted(os.listdir(out / "feedback"))
    assert len(pages) == 4 and {"anna.html", "carl.html", "dora.html"} < set(pages)
    assert [name.removesuffix(".html") for name in pages] == sorted(
        name.removesuffix(".json") for name in os.listdir(out / "results")
    )
    for name in os.listdir(out / "results"):
        assert isinstance(StudentResult.from_json((out / "results" / name).read_bytes()), StudentResult)
    with sqlite3.connect(out / "gradebook.db") as connection:
        assert connection.execute("SELECT count(*) FROM student").fetchone() == (4,)
        assert connection.execute("SELECT count(*) FROM submitted_assignment").fetchone() == (2,)


def test_pages_hold_no_answer_and_no_hidden_input(graded, small_course):
    out, _ = graded
    exam = grading.prepare_exam(small_course, small_course / "solutions" / TOPIC, seed=5)
    values = [
        f"{abs(value):.4f}"[:6]
        for question in exam.questions.values()
        for call in calls_from_bytes(question.calls)
        for value in call.arguments["x"].flatten().tolist()
    ]
    for page in [*(out / "feedback").iterdir(), *(out / "results").iterdir(), out / "report.html", out / "grades.csv"]:
        text = page.read_text()
        assert HIDDEN not in text and "SOLUTION" not in text
        assert not [value for value in values if value in text], page
        if page.suffix == ".html":
            assert "Isolation: each submission ran" in text and "<b>bert" not in text


def test_the_same_seed_gives_the_same_bytes_and_manual_marks_stay(graded, submissions, here, tmp_path):
    out, _ = graded
    before, page = list(csv.DictReader((out / "grades.csv").open())), (out / "report.html").read_bytes()
    with sqlite3.connect(out / "gradebook.db") as connection:
        connection.execute(
            "UPDATE grade SET manual_score = 1.25 WHERE cell_id = (SELECT id FROM base_cell WHERE name = 'why' "
            "AND type = 'GradeCell')"
        )
    assert grade_command(submissions, TOPIC, out, workers=1, seed=5, timeout=30) == 0
    assert (out / "report.html").read_bytes() == page
    bert, anna, *others = csv.DictReader((out / "grades.csv").open())
    assert (anna["points"], anna["max_points"], anna["why"], bert["points"]) == ("7.75", "8.5", "1.25", "4.25")
    told = "why: nothing was written: an automatic 0, unless a person decides otherwise."
    bert |= {"why": "0", "points": "3", "message": f"{bert['message']} {told}".strip()}
    anna |= {"why": "", "points": "6.5"}
    assert [bert | {"max_points": "6.5"}, anna | {"max_points": "6.5"}, *others] == before
    with sqlite3.connect(out / "gradebook.db") as connection:
        kept = connection.execute("SELECT count(*) FROM grade WHERE manual_score = 1.25").fetchone()
    assert kept == (2,)


# -- what the command cannot do is one sentence and exit status 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"assignment": "hw7_nothing"}, "no homework 'hw7_nothing' in solutions/; there is hw9_small"),
        ({"submissions": "nowhere"}, "nowhere does not exist"),
        ({"workers": 0}, "--workers"),
        ({"timeout": 0.0}, "--timeout"),
        ({"timeout": float("nan")}, "--timeout"),
        ({"memory": 1000}, "--memory"),
        ({"sandbox": "bubble"}, "--sandbox"),
        ({"out": "file"}, "is a file"),
        ({"out": "file/below"}, "is a file"),
        ({"out": "submissions/grades"}, "inside"),
        ({"out": "/proc/grades"}, "cannot be written|No such file"),
    ],
)
def test_what_cannot_be_done_is_said(here, tmp_path, work, capsys, options, words):
    work.save(tmp_path / "submissions" / "anna.ipynb")
    (tmp_path / "file").write_text("")
    given = {"submissions": "submissions", "assignment": TOPIC, "out": "out", **options}
    submissions, assignment, out = (given.pop(key) for key in ("submissions", "assignment", "out"))
    assert grade_command(tmp_path / submissions, assignment, tmp_path / out, **given) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("course grade: ") and len(said.splitlines()) == 1 and re.search(words, said), said
    assert sorted(os.listdir(tmp_path / "submissions")) == ["anna.ipynb"]


def test_outside_the_repository_the_repository_of_the_package_is_used(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root, folder = find_homework("hw0")
    assert folder == root / "solutions" / "hw0_first_check"


def test_a_class_that_cannot_be_graded_at_all(here, tmp_path, capsys, work, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert grade_command(tmp_path / "empty", TOPIC, tmp_path / "out") == 2
    assert "holds no submission" in capsys.readouterr().err and not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    work.save(tmp_path / "class" / "anna.ipynb")
    (tmp_path / "out" / "gradebook.db").write_bytes(b"something else" * 100)
    assert grade_command(tmp_path / "class", TOPIC, tmp_path / "out") == 2
    assert "gradebook.db is damaged" in capsys.readouterr().err
    (tmp_path / "out" / "gradebook.db").unlink()

    def cannot(*_):
        raise CannotStart("the process for student code did not start: no memory")

    monkeypatch.setattr(place, "start_child", cannot)
    assert grade_command(tmp_path / "class", TOPIC, tmp_path / "out") == 2
    assert "did not start: no memory; if memory ran out, give more with --memory" in capsys.readouterr().err


def test_a_fault_of_the_grader_is_a_row_too(exam, monkeypatch, capsys, work, tmp_path):
    def broken(*_):
        raise ZeroDivisionError("a fault")

    path = work.save(tmp_path / f"{TOPIC}.ipynb")
    (found,) = collect(path, TOPIC)
    to_run = student.read_student(found, "page", exam)
    monkeypatch.setattr(student, "run_submission", broken)
    result = student.put_together(to_run, student.run_and_judge(to_run, exam, None))
    assert result.status == "crashed" and "no fault of the student" in result.message
    monkeypatch.setattr(student, "merge", broken)
    result = student.read_student(found, "page", exam)
    assert result.status == "crashed" and "no fault of the student" in result.message
    assert isinstance(found, Found) and "ZeroDivisionError" in capsys.readouterr().err


# -- course check


@pytest.fixture
def notebook(small_course, tmp_path):
    """Where a student keeps the notebook: beside its check data, with no solution anywhere near."""
    folder = tmp_path / TOPIC
    folder.mkdir()
    data = small_course / "assignments" / TOPIC / public.FILE_NAME
    (folder / public.FILE_NAME).write_bytes(data.read_bytes())
    return folder / f"{TOPIC}.ipynb"


def test_checking_a_right_notebook(notebook, work, capsys):
    work.solve()["setup"]["source"] += "\nimport math"
    work.add("def helper(x):\n    return math.sqrt(x)\nprint(helper(4))", before="double")
    assert check_command(work.save(notebook)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["✓", "double", "2", "of", "2"]
    assert lines[-1] == "6.5 of 6.5 points on the public checks."


def test_checking_a_notebook_that_is_half_right(notebook, work, capsys):
    work.solve().remove("Scale").write(double="def double(x):\n    return 3 * x")
    del work["mean_and_spread"]["metadata"]["nbgrader"]
    work.content["cells"] = [c for c in work.content["cells"] if "def mean_and_spread" not in str(c["source"])]
    work.add("def mean_and_spread(x):\n    raise NotImplementedError('hw9.mean_and_spread')")
    assert check_command(work.save(notebook)) == 1
    captured = capsys.readouterr()
    double, spread, scale, total = captured.out.splitlines()
    assert double.startswith("✗ double") and "Line 2, `3 * x`: " in double and "Start looking here" in double
    assert spread.startswith("○ mean_and_spread") and "not written yet" in spread
    assert scale.startswith("○ Scale") and "missing from the notebook" in scale
    assert total.startswith("0 of 6.5") and "\033" not in captured.out


@pytest.mark.parametrize("changed", [False, True])
def test_what_the_course_itself_shows_is_not_called_the_students(notebook, work, capsys, changed):
    shown = "def shown(x):\n    return x\n\nclass Shown(nothing_of_this_name): pass"
    cell = work.solve().add(shown, before="double")
    cell["id"] = cell_id("code", shown)
    if changed:
        cell["source"] += "  # by the student"
    assert check_command(work.save(notebook)) == 0
    assert ("that you added" in capsys.readouterr().err) == changed


def test_checking_what_is_no_notebook(notebook, work, tmp_path, tmp_path_factory, capsys):
    notebook.write_bytes(b"{")
    assert check_command(notebook) == 2
    assert check_command(tmp_path / "nothing.ipynb") == 2
    assert check_command(tmp_path) == 2
    alone = work.save(tmp_path_factory.mktemp("alone") / "notes.ipynb")  # the data is looked for above it, too
    assert check_command(alone) == 2
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "notes.ipynb").write_text(json.dumps({"cells": []}))
    assert check_command(tmp_path / "odd" / "notes.ipynb") == 2
    notebook.write_bytes(work.to_bytes())
    (notebook.parent / public.FILE_NAME).write_bytes(b"damaged")
    assert check_command(notebook) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 6 and all(line.startswith("course check: ") for line in said)
    for line, words in zip(
        said, ("cut off", "cannot be read", "cannot be read", "was not found", "no check cell", "is damaged")
    ):
        assert words in line, line


def test_right_numbers_by_forbidden_means_do_not_count(notebook, work, capsys):
    cheat = "import torchvision.models\n\n\ndef double(x):\n    return 2 * x"
    assert check_command(work.solve().write(double=cheat).save(notebook)) == 1
    double, spread, *_ = capsys.readouterr().out.splitlines()
    assert double.startswith("✗ double") and "Line 1 of your cell uses torchvision.models" in double
    assert spread.startswith("✓ mean_and_spread")


def test_right_numbers_by_forbidden_means_earn_nothing(exam, work, tmp_path):
    cheat = "import torchvision.models\n\n\ndef double(x):\n    return 2 * x"
    path = work.solve().write(double=cheat).save(tmp_path / "emma.ipynb")
    [found] = collect(path.parent, TOPIC)
    to_run = student.read_student(found, "emma.html", exam)
    result = student.put_together(to_run, student.run_and_judge(to_run, exam, Sandbox(Limits(20, 2**32))))
    by_name = {exercise.name: exercise for exercise in result.exercises}
    assert by_name["double"].points == 0 and by_name["mean_and_spread"].points > 0
    assert "Line 1 of your cell uses torchvision.models" in by_name["double"].sentence

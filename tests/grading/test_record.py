"""Writing down: the table, the files, the gradebook."""

import csv
import io
import os
import sqlite3

import pytest

from course.grading.judge.exercise import ExerciseResult
from course.grading.problems import BadGradebook
from course.grading.record.exports import grades_csv
from course.grading.record.gradebook import write_gradebook
from course.grading.record.result import StudentResult, page_names

POINTS = {"double": 2, "mean_and_spread": 1.5, "Scale": 3}


def result(student="anna", earned=(2, 1.5, 3), statuses=("graded",), **more) -> StudentResult:
    exercises = tuple(
        ExerciseResult(name, got, most, "right" if got else "wrong", "" if got else f"{name} is wrong.")
        for got, (name, most) in zip(earned, POINTS.items())
    )
    return StudentResult(student, student, statuses, exercises, **more)


def rows(results) -> list[dict]:
    return list(csv.DictReader(io.StringIO(grades_csv("hw9_small", POINTS, ["why"], results).decode())))


def test_grades_csv():
    missing = StudentResult("bert", "bert", ("missing",), messages=("There is no notebook.",))
    text = grades_csv("hw9_small", POINTS, ["why"], [result(), missing]).decode()
    assert text == (
        "student,assignment,points,max_points,status,message,double,mean_and_spread,Scale,why\n"
        "anna,hw9_small,6.5,6.5,graded,,2,1.5,3,\n"
        "bert,hw9_small,0,6.5,missing,There is no notebook.,,,,\n"
    )


def test_statuses_keep_their_order_and_messages_say_everything():
    (row,) = rows([result(earned=(2, 0, 3), statuses=("tampered", "timeout", "graded"), messages=("Odd.",))])
    assert row["status"] == "graded,timeout,tampered"
    assert row["message"] == "Odd. mean_and_spread: mean_and_spread is wrong."


def test_a_spreadsheet_runs_no_formula():
    for name in ("=1+1", "+cmd", "@sum", "-2"):
        (row,) = rows([result(name)])
        assert row["student"] == "'" + name
    (row,) = rows([result(messages=("=HYPERLINK(1)",))])
    assert row["message"].startswith("'=")


def test_pages_have_safe_and_different_names():
    students = ["anna", "Anna", "a/b", "a_b", "..", ".hidden", "x" * 300, "zoë", "<script>", "con sole", "a\\b"]
    names = page_names(students)
    assert names["zoë"] == "zoë" and names["a_b"] == "a_b"
    assert {names["anna"], names["Anna"]} & {"anna", "Anna"} and len({n.casefold() for n in names.values()}) == 11
    for name in names.values():
        assert len(name.encode()) <= 120 and not set(name) & set("/\\<> \0") and not name.startswith(".")
    assert page_names(reversed(students)) == names


def test_a_result_survives_its_file():
    before = result(earned=(0, 1.5, 3), messages=("Odd “quotes” and ünïcode.",))
    assert StudentResult.from_json(before.to_json()) == before
    for damaged in (b"{}", b"[]", b"null", b"{", before.to_json()[:-30]):
        with pytest.raises(ValueError):
            StudentResult.from_json(damaged)


def test_the_gradebook_is_nbgraders_and_keeps_manual_marks(tmp_path, exam):
    from nbgrader.api import Gradebook

    path = tmp_path / "gradebook.db"
    missing = StudentResult("bert", "bert", ("missing",))
    write_gradebook(path, "hw9_small", exam.template, [result("anna", (2, 0, 3)), missing])
    with Gradebook(f"sqlite:///{path}") as gradebook:
        assert [student.id for student in gradebook.students] == ["anna", "bert"]
        assert gradebook.find_assignment("hw9_small").max_score == 8.5  # with the written question
        anna = gradebook.find_submission("hw9_small", "anna")
        assert (anna.score, anna.needs_manual_grade) == (5, True)
        assert gradebook.find_grade("check_Scale", "hw9_small", "hw9_small", "anna").auto_score == 3
        assert len(gradebook.assignment_submissions("hw9_small")) == 1  # bert has none
        gradebook.find_grade("why", "hw9_small", "hw9_small", "anna").manual_score = 1.5
        gradebook.db.commit()
    write_gradebook(path, "hw9_small", exam.template, [result("anna", (2, 1.5, 3)), result("bert", (0, 0, 0))])
    with Gradebook(f"sqlite:///{path}") as gradebook:
        anna = gradebook.find_submission("hw9_small", "anna")
        assert (anna.score, anna.needs_manual_grade) == (8, False)
        assert gradebook.find_submission("hw9_small", "bert").score == 0
    assert os.listdir(tmp_path) == ["gradebook.db"]


@pytest.mark.parametrize("damage", ["text", "another database"])
def test_a_gradebook_that_is_none_is_left_as_it_is(tmp_path, exam, damage):
    path = tmp_path / "gradebook.db"
    if damage == "text":
        path.write_bytes(b"my grades\n" * 1000)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE student (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(BadGradebook, match="move it away"):
        write_gradebook(path, "hw9_small", exam.template, [result()])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["gradebook.db"]

"""The gradebook: nbgrader reads what is written, marks of a person stay and come back, a failure changes nothing."""

import csv
import io
import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from course.grading.collect.handed_in import HandedIn
from course.grading.judge.exercise import ExerciseResult
from course.grading.problems import BadGradebook
from course.grading.record import gradebook as book
from course.grading.record.deadlines import Deadline
from course.grading.record.exports import grades_csv
from course.grading.record.gradebook import shown_place, write_gradebook
from course.grading.record.result import Mark, StudentResult

TOPIC = "hw9_small"
POINTS = {"double": 2, "mean_and_spread": 1.5, "Scale": 3}
DUE = datetime(2026, 11, 30, 12, tzinfo=UTC)
DEADLINE = Deadline(DUE, penalty_per_day=0.1, extensions={"bert": DUE + timedelta(days=2)})


def result(student="anna", earned=(2, 0, 3), over=timedelta(hours=-1), digest="first") -> StudentResult:
    exercises = tuple(ExerciseResult(n, got, most, "right", "") for got, (n, most) in zip(earned, POINTS.items()))
    told = HandedIn(DUE + over, "timestamp.txt", digest=digest)
    return DEADLINE.applied(
        StudentResult(student, student, ("graded",), exercises, handed_in=told, written={"why": 2.0})
    )


def table(results, marks) -> dict[str, dict]:
    rows = [replace(result, marks=marks.get(result.student, {})) for result in results]
    text = grades_csv(TOPIC, POINTS, ["why"], rows).decode()
    return {row["student"]: row for row in csv.DictReader(io.StringIO(text))}


@pytest.fixture(params=["file", "address"])
def place(request, tmp_path):
    path = tmp_path / "gradebook.db"
    return path if request.param == "file" else f"sqlite:///{path}"


@pytest.fixture
def opened(tmp_path):
    """nbgrader's own way into the gradebook."""
    from nbgrader.api import Gradebook

    made = []

    def open_it():
        made.append(Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}"))
        return made[-1]

    yield open_it
    for gradebook in made:
        gradebook.close()


def mark(gradebook, student: str, cell: str, manual: float | None = None, extra: float | None = None) -> None:
    """As formgrader saves what a person typed."""
    grade = gradebook.find_grade(cell, TOPIC, TOPIC, student)
    grade.manual_score, grade.extra_credit, grade.needs_manual_grade = manual, extra, False
    gradebook.db.commit()


def flag(gradebook, student: str, cell: str) -> bool:
    gradebook.db.expire_all()
    return gradebook.find_grade(cell, TOPIC, TOPIC, student).needs_manual_grade


def test_formgraders_queries_see_everything(place, exam, opened):
    write_gradebook(place, TOPIC, exam.template, [result(), result("bert", over=timedelta(days=3))], DEADLINE)
    gradebook = opened()
    anna, bert = sorted(gradebook.submission_dicts(TOPIC), key=lambda row: row["student"])
    assert (anna["score"], anna["max_score"], anna["code_score"], anna["max_written_score"]) == (5, 8.5, 5, 2)
    assert anna["needs_manual_grade"] and anna["timestamp"] == (DUE - timedelta(hours=1)).replace(tzinfo=None)
    (row, _) = sorted(gradebook.notebook_submission_dicts(TOPIC, TOPIC), key=lambda row: row["student"])
    assert (row["score"], row["max_score"], row["needs_manual_grade"], row["failed_tests"]) == (5, 8.5, True, True)
    assert {row["id"]: (row["score"], row["max_score"]) for row in gradebook.student_dicts()} == {
        "anna": (5, 8.5),
        "bert": (5, 8.5),
    }
    submission = gradebook.find_submission(TOPIC, "bert")
    assert submission.duedate == (DUE + timedelta(days=2)).replace(tzinfo=None)
    assert submission.total_seconds_late == 86400 and submission.late_submission_penalty == pytest.approx(0.5)
    assert len(submission.notebooks[0].comments) == 4
    with sqlite3.connect(str(place).removeprefix("sqlite:///")) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_nbgrader_export_gives_the_same_totals(tmp_path, exam, opened):
    path = tmp_path / "gradebook.db"
    results = [result(), result("bert", (2, 1.5, 3), timedelta(days=3)), result("carl", (2, 1.5, 3), timedelta(days=1))]
    write_gradebook(path, TOPIC, exam.template, results, DEADLINE)
    for student, given in (("anna", 2), ("bert", 1.5), ("carl", 0)):
        mark(opened(), student, "why", given)
    mark(opened(), "anna", "check_double", 1, extra=0.25)
    mark(opened(), "carl", "check_Scale", extra=0.5)
    marks = write_gradebook(path, TOPIC, exam.template, results, DEADLINE)
    environment = {**os.environ, "HOME": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nbgrader", "export", "--db", f"sqlite:///{path}", "--to", "exported.csv"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    exported = {row["student_id"]: row for row in csv.DictReader((tmp_path / "exported.csv").open())}
    ours = table(results, marks)
    assert set(exported) == set(ours)
    for student, row in exported.items():
        assert float(row["score"]) == pytest.approx(float(ours[student]["points"])), student
        assert float(row["max_score"]) == float(ours[student]["max_points"]) == 8.5
    assert [row["points"] for row in ours.values()] == ["6.25", "7.2", "6.3"]
    assert exported["carl"]["late_submission_penalty"] == "0.7000000000000001" and exported["anna"]["duedate"]


def test_marks_come_back_and_are_never_overwritten(place, exam, opened):
    assert write_gradebook(place, TOPIC, exam.template, [result()], DEADLINE) == {"anna": {}}
    before = table([result()], {})["anna"]
    assert (before["points"], before["max_points"], before["why"]) == ("5", "6.5", "")
    mark(opened(), "anna", "check_double", 0.5)
    marks = write_gradebook(place, TOPIC, exam.template, [], DEADLINE)
    assert marks == {"anna": {"double": Mark(0.5)}}
    row = table([result()], marks)["anna"]  # not all that a person marks is marked: the automatic points only
    assert (row["points"], row["max_points"], row["double"], row["why"]) == ("3.5", "6.5", "0.5", "")
    assert "Points given by a person: double 0.5." in row["message"]
    mark(opened(), "anna", "why", 1.5, extra=0.25)
    for earned in ((2, 1.5, 3), (0, 0, 0)):
        marks = write_gradebook(place, TOPIC, exam.template, [result(earned=earned)], DEADLINE)
        assert marks == {"anna": {"double": Mark(0.5), "why": Mark(1.5, 0.25)}}
    row = table([result()], marks)["anna"]
    assert (row["points"], row["max_points"], row["why"]) == ("5.25", "8.5", "1.75")
    assert opened().find_grade("check_double", TOPIC, TOPIC, "anna").auto_score == 0


def test_a_mark_is_flagged_when_the_student_hands_in_again(place, exam, opened):
    def write(digest):
        return write_gradebook(place, TOPIC, exam.template, [result(digest=digest)], DEADLINE)

    write("first")
    mark(opened(), "anna", "why", 1.5)
    mark(opened(), "anna", "check_double", 1)
    write("first")
    gradebook = opened()
    assert not flag(gradebook, "anna", "why") and not flag(gradebook, "anna", "check_double")
    marks = write("second")
    assert flag(gradebook, "anna", "why") and flag(gradebook, "anna", "check_double")
    assert not flag(gradebook, "anna", "check_Scale")
    assert "since a person marked double, why" in table([result()], marks)["anna"]["message"]
    write("second")
    assert flag(gradebook, "anna", "why")  # nobody has looked yet
    mark(gradebook, "anna", "why", 1.5)
    gradebook.db.rollback()
    marks = write("second")
    assert not flag(gradebook, "anna", "why") and not marks["anna"]["why"].stale
    assert flag(gradebook, "anna", "check_double")


def test_a_penalty_that_is_taken_back_is_gone_from_the_gradebook(place, exam, opened):
    late = result("carl", over=timedelta(days=1))
    write_gradebook(place, TOPIC, exam.template, [late], DEADLINE)
    assert opened().find_submission(TOPIC, "carl").late_submission_penalty == pytest.approx(0.5)
    write_gradebook(place, TOPIC, exam.template, [Deadline().applied(late)])
    assert opened().find_submission(TOPIC, "carl").late_submission_penalty == 0


def test_a_failure_in_the_middle_leaves_all_as_it_was(place, tmp_path, exam, opened, monkeypatch):
    write_gradebook(place, TOPIC, exam.template, [result()], DEADLINE)
    write_student, count = book._write_student, []

    def fails(*arguments):
        count.append(1)
        if len(count) == 3:
            raise ZeroDivisionError
        write_student(*arguments)

    monkeypatch.setattr(book, "_write_student", fails)
    others = [result(earned=(0, 0, 0)), result("bert"), result("carl")]
    with pytest.raises(ZeroDivisionError):
        write_gradebook(place, TOPIC, exam.template, others, DEADLINE)
    gradebook = opened()
    assert [student.id for student in gradebook.students] == ["anna"]
    assert gradebook.find_submission(TOPIC, "anna").score == 5
    assert os.listdir(tmp_path) == ["gradebook.db"]


def test_a_gradebook_of_another_program_that_holds_it_locked(place, tmp_path, exam, monkeypatch):
    monkeypatch.setattr(book, "LONGEST_WAIT", 0.3)
    write_gradebook(place, TOPIC, exam.template, [result()], DEADLINE)
    other = sqlite3.connect(tmp_path / "gradebook.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BadGradebook, match=r"being written by another program, and 0\.3 s .* close formgrader"):
        write_gradebook(place, TOPIC, exam.template, [result()], DEADLINE)
    monkeypatch.setattr(book, "LONGEST_WAIT", 30.0)
    release = threading.Timer(0.3, other.execute, ["ROLLBACK"])
    release.start()
    begin = time.monotonic()
    write_gradebook(place, TOPIC, exam.template, [result()], DEADLINE)  # waits for the other
    assert time.monotonic() - begin > 0.2
    release.join()
    other.close()


def test_formgrader_that_stays_open_sees_what_is_written_later(tmp_path, exam, opened):
    path = tmp_path / "gradebook.db"
    write_gradebook(path, TOPIC, exam.template, [result()], DEADLINE)
    formgrader = opened()
    assert formgrader.find_submission(TOPIC, "anna").score == 5
    formgrader.db.rollback()
    write_gradebook(path, TOPIC, exam.template, [result(earned=(2, 1.5, 3))], DEADLINE)
    mark(formgrader, "anna", "why", 1)
    assert formgrader.find_submission(TOPIC, "anna").score == 7.5
    assert write_gradebook(path, TOPIC, exam.template, [], DEADLINE)["anna"]["why"].score == 1


@pytest.mark.parametrize("kind", ["other tables", "old version", "text", "folder"])
def test_what_is_no_gradebook_of_this_nbgrader(tmp_path, exam, kind):
    path = tmp_path / "gradebook.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_bytes(b"my grades\n" * 1000)
    else:
        write_gradebook(path, TOPIC, exam.template, [result()])
        with sqlite3.connect(path) as connection:
            connection.execute(
                "UPDATE alembic_version SET version_num = 'old'" if kind == "old version" else "DROP TABLE grade"
            )
    words = {
        "other tables": "holds other tables.*move it away",
        "old version": "version old, not .*db upgrade",
        "text": "not a database.*move it away",
        "folder": "cannot be used",
    }
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(BadGradebook, match=words[kind]):
        write_gradebook(path, TOPIC, exam.template, [result()])
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("gradebook.db", "takes the address of a database"),
        ("nosuch://me:geheim@host/grades", "takes the address of a database"),
        ("postgresql+psycopg://me:geheim@host:port/grades", "takes the address of a database"),
        ("sqlite:////nowhere/at/all/gradebook.db", "cannot be used .*unable to open"),
        ("postgresql+psycopg://me:geheim@127.0.0.1:1/grades?password=geheim", "needs the package psycopg.*pip"),
    ],
)
def test_addresses_that_cannot_be_used_show_no_password(exam, monkeypatch, address, words):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(BadGradebook, match=words) as caught:
        write_gradebook(address, TOPIC, exam.template, [])
    assert "geheim" not in str(caught.value) and caught.value.__suppress_context__


def test_a_server_that_does_not_answer(exam):
    pytest.importorskip("psycopg")
    with pytest.raises(BadGradebook, match="cannot be used") as caught:
        write_gradebook("postgresql+psycopg://me:geheim@127.0.0.1:1/grades", TOPIC, exam.template, [])
    assert "geheim" not in str(caught.value) and "me:***@127.0.0.1" in str(caught.value)


def test_a_place_is_shown_without_its_password():
    assert shown_place("postgresql://me:geheim@host/grades?password=geheim") == "postgresql://me:***@host/grades"
    assert shown_place("me:geheim@host") == "the address of the gradebook"

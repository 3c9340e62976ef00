"""Due dates: what the configuration may say, when something was handed in, and what coming late costs."""

import csv
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from course.grading import grade_command
from course.grading.collect.handed_in import HandedIn, Untellable, time_from_text
from course.grading.judge.exercise import ExerciseResult
from course.grading.problems import BadConfiguration
from course.grading.record.deadlines import Deadline, read_deadline
from course.grading.record.result import StudentResult

TOPIC = "hw9_small"
SHIPPED = Path(__file__).parents[2] / "solutions" / "grading.toml"
DUE = datetime(2026, 11, 30, 12, tzinfo=UTC)


def read(tmp_path, text: str | bytes, topic: str = TOPIC) -> Deadline:
    path = tmp_path / "grading.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_deadline(path, topic, [TOPIC, "hw1_other"])


def result(handed_in: datetime | HandedIn | None, student: str = "anna") -> StudentResult:
    told = handed_in if isinstance(handed_in, HandedIn) else HandedIn(handed_in, "timestamp.txt")
    exercises = (ExerciseResult("double", 2, 2, "right", ""), ExerciseResult("Scale", 3, 3, "right", ""))
    return StudentResult(student, student, ("graded", "tampered"), exercises, handed_in=told)


# -- the configuration


def test_all_settings_are_read(tmp_path):
    deadline = read(
        tmp_path,
        f"[{TOPIC}]\ndue = 2026-11-30T13:00:00+01:00\ngrace_minutes = 15\nlate_penalty_per_day = 0.1\n"
        f"latest_days = 2.5\n[{TOPIC}.extensions]\n'bert b' = 2026-12-07T00:00:00Z\n"
        "[hw1_other]\ndue = 2026-01-01T00:00:00Z",
    )
    assert (deadline.due, deadline.grace, deadline.penalty_per_day) == (DUE, timedelta(minutes=15), 0.1)
    assert deadline.latest == timedelta(days=2.5) and deadline.note == ""
    assert deadline.extensions == {"bert b": datetime(2026, 12, 7, tzinfo=UTC)}


def test_the_shipped_file_sets_nothing_and_its_examples_fit():
    assert read_deadline(SHIPPED, "hw1_self_attention", []) == Deadline(where=f"{SHIPPED}, [hw1_self_attention]")
    lines = (line.removeprefix("# ") for line in SHIPPED.read_text().splitlines())
    settings = "\n".join(line for line in lines if re.match(r'\[|[a-z_]+ = |"[\w ]+" = ', line))
    example = SHIPPED.parent / "grading.toml"
    deadline = read_deadline(_Text(example, settings), "hw1_self_attention", ["hw1_self_attention"])
    assert deadline.due and deadline.grace and deadline.penalty_per_day and deadline.latest
    assert list(deadline.extensions) == ["anna", "Ada Lovelace"]


class _Text:
    def __init__(self, path: Path, text: str):
        self.path, self.text = path, text

    def read_bytes(self) -> bytes:
        return self.text.encode()

    def __str__(self) -> str:
        return str(self.path)


def test_a_time_without_a_zone_is_this_machines_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        deadline = read(tmp_path, f"[{TOPIC}]\ndue = 2026-11-30T21:00:00")
        assert deadline.due == DUE and "without a zone" in deadline.note and "JST" in deadline.note
    finally:
        monkeypatch.undo()
        time.tzset()


D = "due = 2026-11-30T12:00:00Z\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[hw7]\n", r"no homework 'hw7'; a section is one of hw1_other, hw9_small"),
        ("due = 1\n", "no homework 'due'"),
        ("hw9_small = 3\n", r"hw9_small: it is a section, written \[hw9_small\]"),
        ("[hw9_small]\nwhen = 3", r"\[hw9_small\], when: there is no such setting; there is due, grace_minutes"),
        ("[hw1_other]\nDue = 3", r"\[hw1_other\], Due: there is no such"),
        ("[hw9_small]\ndue = '2026-11-30'", r"due: '2026-11-30' does not fit; it takes a date with a time"),
        ("[hw9_small]\ndue = 2026-11-30", "due: 2026-11-30 does not fit; it takes a date with a time"),
        ("[hw9_small]\ndue = 9999-12-31T23:59:59-12:00", "the year 9999 cannot be"),
        (f"[hw9_small]\n{D}grace_minutes = '15'", "grace_minutes: '15' does not fit; it takes minutes, 0 or more"),
        (f"[hw9_small]\n{D}grace_minutes = true", "grace_minutes: True does not fit"),
        (f"[hw9_small]\n{D}grace_minutes = -1", "grace_minutes: -1 does not fit"),
        (f"[hw9_small]\n{D}late_penalty_per_day = 10", "late_penalty_per_day: 10 does not fit; it takes a share"),
        (f"[hw9_small]\n{D}late_penalty_per_day = nan", "late_penalty_per_day: nan does not fit"),
        (f"[hw9_small]\n{D}latest_days = inf", "latest_days: inf does not fit"),
        ("[hw9_small]\ngrace_minutes = 3", "grace_minutes says nothing without due"),
        (f"[hw9_small]\n{D}extensions = 3", r"extensions: it is a section, written \[hw9_small.extensions\]"),
        (f"[hw9_small]\n{D}[hw9_small.extensions]\nanna = 3", r"\[hw9_small.extensions\], anna: 3 does not fit"),
        (f"[hw9_small]\n{D}[hw9_small.extensions]\nanna = 2026-01-01T00:00:00Z", "is before due"),
        ("[hw9_small", "is no TOML: Expected"),
        (b"\xff\xfe", "is no TOML"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, text, words):
    with pytest.raises(BadConfiguration, match=words) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "grading.toml")) and "\n" not in str(caught.value)


def test_an_extension_for_nobody(tmp_path):
    deadline = read(tmp_path, f"[{TOPIC}]\n{D}[{TOPIC}.extensions]\nana = 2026-12-07T00:00:00Z")
    with pytest.raises(BadConfiguration, match=r"extensions: there is no student 'ana'; did you mean 'anna'"):
        deadline.require_students(["anna", "bert"])
    with pytest.raises(BadConfiguration, match="it takes the names of grades.csv"):
        deadline.require_students(["zoe"])
    deadline.require_students(["ana"])


# -- what it costs


DEADLINE = Deadline(DUE, timedelta(minutes=15), 0.1, timedelta(days=7), {"bert": DUE + timedelta(days=2)})


@pytest.mark.parametrize(
    ("over", "late", "points", "words"),
    [
        (timedelta(hours=-1), False, 5, None),
        (timedelta(minutes=15), False, 5, None),
        (timedelta(minutes=16), True, 4.5, "16 min after the due date 2026-11-30 12:00 UTC: 10 % of the points"),
        (timedelta(days=1), True, 4.5, "1 day after"),
        (timedelta(days=1, hours=1), True, 4, "1 day 1 h after the due date .* 20 %"),
        (timedelta(days=7), True, 1.5, "70 %"),
        (timedelta(days=7, minutes=1), True, 0, "more than 7 days late earns 0"),
    ],
)
def test_what_late_costs(over, late, points, words):
    row = DEADLINE.applied(result(DUE + over))
    assert ("late" in row.statuses, row.points) == (late, pytest.approx(points))
    assert row.status == ("graded,late,tampered" if late else "graded,tampered")
    assert (row.lateness == "") if words is None else re.search(words, row.message)
    assert DEADLINE.applied(row) == row
    assert row.columns == {"double": 2, "Scale": 3}  # before the penalty


def test_an_extension_replaces_the_due_date():
    assert DEADLINE.applied(result(DUE + timedelta(days=2), "bert")).points == 5
    row = DEADLINE.applied(result(DUE + timedelta(days=3), "bert"))
    assert row.points == 4.5 and "after the extended due date 2026-12-02" in row.lateness


def test_an_extension_counts_however_its_student_is_spelled(tmp_path):
    deadline = read(tmp_path, f'[{TOPIC}]\n{D}[{TOPIC}.extensions]\n"zoe\u0308" = 2026-12-07T00:00:00Z')
    deadline.require_students(["zo\u00eb"])
    assert deadline.applied(result(DUE + timedelta(days=2), "zo\u00eb")).lateness == ""


def test_a_penalty_that_is_taken_back_is_gone():
    row = DEADLINE.applied(result(DUE + timedelta(days=3)))
    assert Deadline().applied(row) == result(DUE + timedelta(days=3))


def test_what_is_not_known_costs_nothing():
    assert "not known; it counts as in time" in DEADLINE.applied(result(HandedIn())).lateness
    marked = Deadline().applied(result(HandedIn(late=True, system="Canvas")))
    assert marked.points == 5 and "late" in marked.statuses and "Canvas has it marked as late" in marked.message
    assert DEADLINE.applied(result(HandedIn(system="Canvas"))).lateness == ""  # Canvas says what is late
    missing = StudentResult("carl", "carl", ("missing",))
    assert DEADLINE.applied(missing) == missing


def test_a_late_row_survives_its_file():
    row = DEADLINE.applied(result(DUE + timedelta(days=3)))
    assert StudentResult.from_json(row.to_json()) == row


# -- nbgrader's timestamp.txt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21 16:37:49.123456 UTC", datetime(2026, 11, 21, 16, 37, 49, 123456, UTC)),
        ("2026-11-21 16:37:49 UTC\n", datetime(2026, 11, 21, 16, 37, 49, 0, UTC)),
        ("2026-11-21T16:37", datetime(2026, 11, 21, 16, 37, 0, 0, UTC)),
        ("2026-11-21 16:37:49 +0100", datetime(2026, 11, 21, 15, 37, 49, 0, UTC)),
        ("2026-11-21 16:37:49.5 Europe/Berlin", datetime(2026, 11, 21, 15, 37, 49, 500000, UTC)),
        ("2026-11-21T16:37:49Z", datetime(2026, 11, 21, 16, 37, 49, 0, UTC)),
    ],
)
def test_times_that_nbgrader_writes(text, expected):
    assert time_from_text(text.encode()) == expected


def test_nbgrader_reads_the_same():
    from nbgrader.utils import parse_utc

    for text in ("2026-11-21 16:37:49.123456 UTC", "2026-07-21 16:37:49 Europe/Berlin", "2026-11-21 16:37:49"):
        assert parse_utc(text) == time_from_text(text.encode()).replace(tzinfo=None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"yesterday",
        b"2026-11-21",
        b"9999-12-31 23:59:59.999999 -2359",
        b"0001-01-01 00:00:00 +2359",
        b"2026-13-45 99:99:99 UTC",
        b"2026-11-21 16:37:49 Mars/Olympus",
        b"2026-11-21 16:37:49 a/../../etc/passwd",
        b"2026-11-21 16:37:49 +9999",
        b"\xff\xfe2\x000\x00",
        b"2026-11-21 16:37:49 UTC" * 10**6,
        "２０２６-11-21 16:37:49 UTC".encode(),
        b"2026-11-21 16:37:49 posix",
    ],
)
def test_what_is_no_time(data):
    with pytest.raises(Untellable) as caught:
        time_from_text(data)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


# -- all of it in one class


def test_a_class_with_a_due_date_a_roster_and_a_database(small_course, new_work, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(small_course)
    place = tmp_path / "class"
    for student in ("anna", "bert", "dora"):
        new_work().solve().save(place / student / TOPIC / f"{TOPIC}.ipynb")
    (place / "anna" / TOPIC / "timestamp.txt").write_text("2026-11-30 13:00:00.000000 UTC")
    (place / "bert" / TOPIC / "timestamp.txt").write_text("2026-11-30 13:00:00.000000 UTC")
    (place / "dora" / TOPIC / "timestamp.txt").write_bytes(b"\0" * 10**7)
    os.utime(place / "dora" / TOPIC / f"{TOPIC}.ipynb", (0, DUE.timestamp() + 86400 * 30))
    config = tmp_path / "mine.toml"
    config.write_text(
        f"[{TOPIC}]\n{D}late_penalty_per_day = 0.1\nlatest_days = 7\n[{TOPIC}.extensions]\nbert = 2026-12-01T00:00:00Z"
    )
    (tmp_path / "roster.csv").write_text("name,login,email\nCarl C,carl,c@x.org\nAnna A,anna,a@x.org\n")
    out, book = tmp_path / "out", tmp_path / "elsewhere.db"
    given = {"config": config, "gradebook": f"sqlite:///{book}", "roster": tmp_path / "roster.csv"}
    assert grade_command(place, TOPIC, out, workers=1, seed=5, timeout=60, **given) == 0
    anna, bert, carl, dora = csv.DictReader((out / "grades.csv").open())
    assert (anna["points"], anna["max_points"], anna["status"], anna["Scale"]) == ("5.85", "6.5", "graded,late", "3")
    assert "Handed in 2026-11-30 13:00 UTC (timestamp.txt), 1 h after the due date" in anna["message"]
    assert (bert["points"], bert["status"]) == ("6.5", "graded")
    assert (carl["student"], carl["status"]) == ("carl", "missing")
    assert (dora["points"], dora["status"]) == ("6.5", "graded") and "it holds 10000000 bytes" in dora["message"]
    assert "the file's own date 2026-12-30 was not used" in dora["message"]
    rows = list(csv.reader((out / "canvas.csv").open()))
    assert [row[0] for row in rows[2:]] == ["Carl C", "Anna A", "bert", "dora"] and rows[3][-1] == "5.85"
    said = capsys.readouterr().out
    assert "1 without a date of submission, so nothing was taken off" in said and "nothing: dora\n" in said
    assert "2 not in the roster: bert, dora" in said and str(book) in said and not (out / "gradebook.db").exists()
    assert "Handed in 2026-11-30 13:00" in (out / "feedback" / "anna.html").read_text()

    config.write_text(f"[{TOPIC}]\n{D}[{TOPIC}.extensions]\nana = 2026-12-07T00:00:00Z")
    assert grade_command(place, TOPIC, out, workers=1, seed=5, **given) == 2
    assert "there is no student 'ana'" in capsys.readouterr().err
    assert grade_command(place, TOPIC, out, workers=1, seed=5, **{**given, "roster": config}) == 2
    assert "no column of its first line tells who a student is" in capsys.readouterr().err
    assert grade_command(place, TOPIC, out, workers=1, config=tmp_path / "nowhere.toml") == 2
    assert re.search(r"nowhere\.toml cannot be read: No such file", capsys.readouterr().err)

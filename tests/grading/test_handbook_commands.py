"""The commands of the handbook's page on a class, read off it and run: on a small class, and (long) on the sample class."""

import csv
import re
import shlex
import time
from pathlib import Path

import pytest

from course.cli import main
from course.grading import grade
from tests.grading.test_formgrader import Place, mark, serving
from tests.handbook import ROOT, TOPIC, commands, files, text_of
from tests.sample_class import expected, write_sample_class

SMALL = "hw9_small"


def rows(path: Path, key: str) -> dict[str, dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return {row[key]: row for row in csv.DictReader(file)}


class Walk:
    """The lines of the page, one after the other.

    Args:
        folder: in place of ``build``. topic: of the homework.
    """

    def __init__(self, folder: Path, topic: str):
        self.folder, self.topic = folder, topic
        self.lines = [self._here(line) for line in commands(text_of("class"))]
        self.grades = folder / "rehearsal" / "grades"
        self.runs = 0

    def _here(self, text: str) -> str:
        return re.sub(r"\bbuild/", f"{self.folder}/", text.replace(TOPIC, self.topic))

    def write_files(self) -> None:
        for name, text in files(text_of("class")).items():
            path = Path(self._here(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._here(text), encoding="utf-8")

    def graded(self, line: str) -> dict[str, dict[str, str]]:
        assert main(shlex.split(line)[1:]) == 0, line
        return rows(self.grades / "grades.csv", "student")


def kind(line: str) -> str:
    """What a line of the page is there for."""
    words = shlex.split(line)
    options = [word for word in ("--config", "--again", "--roster") if word in words]
    return " ".join([words[0], words[1], *options])


STEPS = [
    "make demo",
    "course release",
    "course grade",
    "course formgrader",
    "course grade",
    "course grade --config",
    "course grade --again",
    "course grade --roster",
]


def test_the_page_leads_from_release_to_export():
    assert list(map(kind, commands(text_of("class")))) == STEPS
    assert f"a class of {len(expected())} students" in text_of("class")


def test_the_commands_on_a_small_class(monkeypatch, tmp_path, small_course, exam, new_work, capsys):
    """Student code is not run: what it would give is right."""
    monkeypatch.chdir(small_course)
    monkeypatch.setattr(grade, "place_for", Place)
    monkeypatch.setattr(grade, "prepare_exam", lambda *_: exam)
    walk = Walk(tmp_path / "build", SMALL)
    submissions = tmp_path / "build" / "demo" / "submissions"
    for student in ("anna", "bela"):
        new_work().solve().write(why=f"Why?\nBecause {student} thinks so.").save(submissions / f"{student}.ipynb")
    walk.write_files()
    _, _, first, formgrader, marked, with_dates, again, with_roster = walk.lines

    before = walk.graded(first)["bela"]
    assert (before["points"], before["max_points"], before["status"]) == ("6.5", "6.5", "graded")
    assert {"grades.csv", "report.html", "feedback", "canvas.csv", "moodle.csv", "gradebook.db", "autograded"} <= {
        path.name for path in walk.grades.iterdir()
    }
    assert shlex.split(formgrader)[2] == str(walk.grades)
    mark(walk.grades, "bela", 1.5)
    found = walk.graded(marked)
    assert (found["bela"]["points"], found["bela"]["max_points"], found["bela"]["why"]) == ("8", "8.5", "1.5")
    assert found["anna"]["max_points"] == "6.5"
    assert "2 of them were graded by an earlier run and have not changed" in capsys.readouterr().out
    assert walk.graded(with_dates)["bela"]["points"] == "8"
    assert "earlier run" not in capsys.readouterr().out.partition("seed")[2]
    assert walk.graded(again)["bela"]["why"] == "1.5"
    assert "graded by an earlier run" not in capsys.readouterr().out
    assert walk.graded(with_roster)["bela"]["points"] == "8"
    canvas = rows(walk.grades / "canvas.csv", "Student")
    assert canvas["bela"]["ID"] == "101" and canvas["bela"][SMALL] == "6.5"
    assert "not in the roster: anna" in capsys.readouterr().out


def test_dates_of_a_student_who_is_nobody_are_refused(monkeypatch, tmp_path, small_course, new_work, capsys):
    """The page says so."""
    monkeypatch.chdir(small_course)
    walk = Walk(tmp_path / "build", SMALL)
    walk.write_files()
    new_work().save(tmp_path / "build" / "demo" / "submissions" / "anna.ipynb")
    (line,) = [line for line in walk.lines if "--config" in line]
    assert main(shlex.split(line)[1:]) == 2
    assert "bela" in capsys.readouterr().err


@pytest.mark.long
def test_the_commands_on_the_sample_class(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(ROOT)
    walk = Walk(tmp_path / "build", TOPIC)
    write_sample_class(tmp_path / "build" / "demo" / "submissions")  # what `make demo` begins with
    walk.write_files()
    _, release, first, formgrader, marked, with_dates, again, with_roster = walk.lines
    assert main(shlex.split(release)[1:]) == 0
    released = tmp_path / "build" / "rehearsal" / "student"
    assert (released / "assignments" / TOPIC / f"{TOPIC}.ipynb").is_file() and not (released / "solutions").exists()

    points = {student: points for student, (points, _) in expected().items()}
    found = walk.graded(first)
    assert {student: float(row["points"]) for student, row in found.items()} == points
    with serving(Path(shlex.split(formgrader)[2]), ROOT, TOPIC) as (address, _, process):
        assert address.startswith("http://127.0.0.1:")
        process.terminate()
        process.wait(timeout=30)
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{walk.grades / 'gradebook.db'}") as gradebook:
        one = gradebook.find_grade("order_and_cost", TOPIC, TOPIC, "bela")
        one.manual_score, one.needs_manual_grade = 4.0, False
        gradebook.db.commit()
    begin = time.monotonic()
    found = walk.graded(marked)
    assert float(found["bela"]["points"]) == points["bela"] + 4 and time.monotonic() - begin < 120
    assert float(walk.graded(with_dates)["bela"]["points"]) == points["bela"] + 4
    assert float(walk.graded(again)["bela"]["points"]) == points["bela"] + 4
    walk.graded(with_roster)
    assert rows(walk.grades / "canvas.csv", "Student")["bela"]["ID"] == "101"

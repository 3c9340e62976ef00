"""Whatever is wrong with what a command is given is said before PyTorch is loaded."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.grading.conftest import TOPIC

# The command in a process of its own, in which PyTorch cannot be loaded.
ALONE = """\
import sys
sys.modules["torch"] = None
from course.cli import main
try:
    status = main(sys.argv[1:])
except ImportError as error:
    status = f"loaded too early: {error}"
print(status)
"""
MOST_SECONDS = 2.0  # of a processor, which a machine that is busy with something else does not stretch


def said(arguments: list, folder: Path, most: float = MOST_SECONDS) -> tuple[str, str]:
    """(exit status, what it said)."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=300
    )
    after = os.times()
    assert (after.children_user + after.children_system) - (before.children_user + before.children_system) < most
    return done.stdout.strip(), done.stderr.strip()


@pytest.fixture
def room(small_course, tmp_path, work) -> Path:
    work.save(tmp_path / "class" / "anna" / TOPIC / f"{TOPIC}.ipynb")
    (tmp_path / "date.toml").write_text(f"[{TOPIC}]\ndue = 2026-11-31\n")
    (tmp_path / "extension.toml").write_text(
        f"[{TOPIC}]\ndue = 2026-11-30T12:00:00Z\n[{TOPIC}.extensions]\nana = 2026-12-01T12:00:00Z\n"
    )
    (tmp_path / "roster.csv").write_text("a,b\n1,2\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\0\0")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 no zip")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "gradebook.db").write_bytes(b"no database" * 100)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE something (else_ INTEGER)")
    other.close()
    return tmp_path


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["-a", "hw99"], "there is no homework 'hw99'"),
        (["--config", "date.toml"], "date.toml"),
        (["--config", "extension.toml"], "there is no student 'ana'; did you mean 'anna'"),
        (["--config", "nowhere.toml"], "nowhere.toml cannot be read"),
        (["--roster", "roster.csv"], "no column of its first line"),
        (["--roster", "binary.csv"], "not UTF-8"),
        (["--roster", "empty"], "empty cannot be read"),
        (["--gradebook", "nonsense"], "--gradebook takes the address of a database"),
        (["--gradebook", "sqlite:///nowhere/x.db"], "there is no folder"),
        (["--gradebook", "sqlite:///other.db"], "it holds other tables"),
        (["--gradebook", "nosuchbackend://x"], "nosuchbackend://x|--gradebook takes"),
        (["--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers at tcp://127.0.0.1:1"),
        (["--scheduler", "nonsense://"], "--scheduler takes the address"),
        (["-o", "file"], "file is a file"),
        (["-o", "file/below"], "is a file, or part of it is"),
        (["-o", "class/out"], "is inside class"),
        (["-o", "damaged"], "damaged/gradebook.db is damaged"),
        (["SUBMISSIONS", "nowhere"], "nowhere does not exist"),
        (["SUBMISSIONS", "empty"], "empty holds no submission"),
        (["SUBMISSIONS", "file"], "neither a folder nor a zip"),
        (["SUBMISSIONS", "broken.zip"], "damaged"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--timeout", "nan"], "--timeout must be"),
        (["--memory", "1"], "--memory must be at least"),
    ],
)
def test_course_grade_says_it_at_once(room, small_course, more, words):
    places = {word: room / word for word in more if (room / word.split("/")[0]).exists() or word.startswith("nowhere")}
    more = [places.get(word, word.replace(":///", f":///{room}/")) for word in more]
    submissions = more.pop() if more[0] == "SUBMISSIONS" else room / "class"
    more = [] if more == ["SUBMISSIONS"] else more
    given = ["grade", submissions, "-a", TOPIC, "-o", room / "out", *more]
    status, problem = said(given, small_course)
    assert status == "2" and problem.startswith("course grade: ") and len(problem.splitlines()) == 1
    assert any(part.replace("class", f"{room}/class") in problem or part in problem for part in words.split("|")), (
        problem
    )
    assert not (room / "out").exists()


def test_that_the_folder_holds_another_homework_is_said_at_once(room, small_course):
    (room / "out").mkdir()
    (room / "out" / "run.json").write_text('{"assignment": "hw8_other"}')
    status, problem = said(["grade", room / "class", "-a", TOPIC, "-o", room / "out"], small_course)
    assert status.startswith("loaded too early") and f"{room / 'out'} held hw8_other: its grades.csv" in problem


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing.ipynb", "cannot be read"),
        ("cut.ipynb", "cut off"),
        ("odd/notes.ipynb", "has no check cell"),
        ("odd", "odd/notes.ipynb has no check cell"),
        ("empty", "it is a folder. Give the notebook that is to be checked: there is none in it."),
        (".", "Give the notebook that is to be checked: one of 08_swin.ipynb, cut.ipynb."),
        ("08_swin.ipynb", "is a lecture, and nothing in it is graded. Give a homework: assignments/"),
    ],
)
def test_course_check_says_it_at_once(tmp_path, name, words):
    (tmp_path / "odd").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd" / "notes.ipynb").write_text('{"cells": []}')
    lecture = {"cells": [], "metadata": {"course": {"built_from": "notebooks/source/08_swin.py"}}}
    (tmp_path / "08_swin.ipynb").write_text(json.dumps(lecture))
    (tmp_path / "cut.ipynb").write_text('{"cells": [')
    status, problem = said(["check", tmp_path / name], tmp_path)
    assert status == "2" and problem.startswith("course check: ") and words in problem


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["out", "hw99"], "there is no homework 'hw99'"),
        (["full"], "is not empty and no earlier release"),
        (["full/file"], "is a file"),
        (["full/file/below"], "cannot be written"),
        (["solutions"], "lies within what is released from"),
    ],
)
def test_course_release_says_it_at_once(small_course, tmp_path, given, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    place = small_course / given[0] if given[0] == "solutions" else tmp_path / given[0]
    status, problem = said(["release", place, *given[1:]], small_course)
    assert status == "1" and words in problem and not (tmp_path / "out").exists()

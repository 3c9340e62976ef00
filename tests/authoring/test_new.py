"""``course new``: what it writes and says, and that it writes nothing where it refuses or fails."""

import shutil
from pathlib import Path

import pytest

from course.authoring import find_root
from course.authoring.files import all_homeworks
from course.authoring.new import FRAME, FRAMED, LONGEST_NAME, SYLLABUS, new_command
from course.cli import main

ROOT = find_root()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The parts of a repository that the command needs; the current folder."""
    for folder in ("notebooks/source", "solutions/hw1_first", "assignments/hw2_second"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copytree(ROOT / FRAME, tmp_path / FRAME, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / SYLLABUS).parent.mkdir()
    text = (ROOT / SYLLABUS).read_text(encoding="utf-8")
    before, mark, after = text.partition("\nWITHOUT_LECTURE: list[Homework] = [")
    assert mark, "the line that the command looks for"
    (tmp_path / SYLLABUS).write_text(f"{before}{mark}]{after.partition(']')[2]}", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


def all_below(root: Path) -> dict[str, bytes | None]:
    paths = root.rglob("*")
    return {path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}


def listed(place: Path) -> list:
    namespace: dict = {"__name__": "syllabus"}
    exec(compile((place / SYLLABUS).read_text(encoding="utf-8"), "syllabus.py", "exec"), namespace)
    return [(work.name, work.title, work.minutes, work.heading) for work in namespace["WITHOUT_LECTURE"]]


def test_the_homework_on_the_authors_page_is_written_to_the_byte(place):
    assert new_command(FRAMED) == 0
    for name in (f"{FRAMED}.py", "exercises.py"):
        assert (place / "solutions" / FRAMED / name).read_bytes() == (ROOT / FRAME / name).read_bytes()


def test_any_other_has_its_own_name_number_and_title_everywhere(place):
    before = all_below(place)
    assert new_command("hw77_many_heads") == 0 and new_command("hw123_x") == 0
    written = all_below(place)
    assert sorted(written.keys() - before.keys()) == [
        "solutions/hw123_x",
        "solutions/hw123_x/exercises.py",
        "solutions/hw123_x/hw123_x.py",
        "solutions/hw77_many_heads",
        "solutions/hw77_many_heads/exercises.py",
        "solutions/hw77_many_heads/hw77_many_heads.py",
    ]
    source = written["solutions/hw77_many_heads/hw77_many_heads.py"].decode()
    exercises = written["solutions/hw77_many_heads/exercises.py"].decode()
    assert source.startswith("# %% [markdown]\n# # Homework 77 · Many heads\n")
    assert 'check("hw77.random_tokens", random_tokens)' in source and 'Homework("hw77_many_heads")' in exercises
    assert exercises.startswith('"""Homework 77: ')
    assert "10" not in source.replace("range(10)", "") and "hw10" not in exercises and "Homework 10" not in exercises
    assert listed(place) == [
        ("hw123_x", "X", 60, "hw123 · X"),
        ("hw77_many_heads", "Many heads", 60, "hw77 · Many heads"),
    ]


def test_homeworks_come_in_the_order_of_their_numbers(place):
    for name in ("hw20_twenty", "hw11_eleven", "hw100_hundred"):
        assert new_command(name) == 0
    assert [work.name for work in all_homeworks(place)] == ["hw11_eleven", "hw20_twenty", "hw100_hundred"]


def test_it_says_what_it_wrote_what_comes_next_and_what_is_left(place, capsys):
    assert new_command("hw77_heads") == 0
    said = capsys.readouterr().out.split("\n")
    assert said[:3] == [
        "solutions/hw77_heads/hw77_heads.py: what the notebooks are built from",
        "solutions/hw77_heads/exercises.py: inputs, points, mistakes, other right answers",
        "course/syllabus.py: one line more",
    ]
    assert said[6:9] == [
        "course build solutions/hw77_heads",
        "pytest tests/test_mistakes.py -k hw77_heads",
        "course release build/student hw77",
    ]
    left = [line for line in said if line.startswith("- ")]
    assert [line[2:].split(":")[0] for line in left] == [
        "solutions/hw77_heads/hw77_heads.py",
        "solutions/hw77_heads/exercises.py",
        "course/syllabus.py",
        "solutions/grading.toml",
    ]
    assert said[-2] == "docs/authoring.md explains every line of it." and (ROOT / "docs/authoring.md").is_file()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        *((name, "is no name of a homework") for name in ("hw7", "HW7_x", "hw7-x", "hw07_x", "hw7_X", "hw7_", "x", "")),
        ("../hw7_x", "course new hw3_topic"),
        ("hw7_" + (LONGEST_NAME - 3) * "x", "at most 40 characters"),
        ("hw1_first", "solutions has hw1_first already: edit it there, or take another name"),
        ("hw2_second", "assignments has hw2_second already"),
        ("hw1_other", "hw1 is hw1_first already (solutions), and commands know a homework by its number"),
        ("hw2_other", "take another one, the next that is free is hw3"),
    ],
)
def test_a_name_that_does_not_fit_or_is_taken_is_refused_in_one_sentence(place, capsys, name, says):
    # The list of this course has homeworks of its own: here it lists none.
    text = (place / SYLLABUS).read_text(encoding="utf-8").replace('Homework("hw', 'Homework("of-hw')
    (place / SYLLABUS).write_text(text, encoding="utf-8")
    before = all_below(place)
    assert main(["new", name]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and says in said.err and said.err.startswith("course new: ")
    assert all_below(place) == before


def test_a_homework_that_is_only_in_the_list_is_taken_too(place, capsys):
    assert new_command("hw3_swin") == 1
    assert "course/syllabus.py has hw3_swin already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda place: (place / FRAME / "exercises.py").unlink(), "docs/new_homework/exercises.py cannot be read"),
        (lambda place: (place / SYLLABUS).unlink(), "course/syllabus.py cannot be read"),
        (
            lambda place: (place / SYLLABUS).write_text("LECTURES = ()\n"),
            "has no line 'WITHOUT_LECTURE: list[Homework]",
        ),
        (lambda place: (place / SYLLABUS).with_name(".writing-syllabus.py").mkdir(), "nothing was written: "),
    ],
)
def test_all_is_written_or_nothing(place, capsys, spoil, says):
    spoil(place)
    before = all_below(place)
    assert new_command("hw77_heads") == 1
    said = capsys.readouterr()
    assert said.out == "" and says in said.err and said.err.count("\n") == 1
    assert all_below(place) == before


def test_outside_the_repository_it_says_where_to_go(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert new_command("hw77_heads") == 1
    assert "is not inside the course's repository" in capsys.readouterr().err

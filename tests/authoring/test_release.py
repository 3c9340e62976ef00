"""``course release``: what is in a student's tree, what never is, and what a second release leaves alone."""

import shutil
from pathlib import Path

import pytest

from course.authoring import AuthoringError, build, release, release_command
from course.authoring.student_tree import MARKER

NOTEBOOK = "assignments/hw7_tiny/hw7_tiny.ipynb"


def give(root, out, homeworks=None):
    """(files written, what was said)"""
    said = []
    return release(out, homeworks, root=root, say=said.append), said


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "for students"


def test_a_students_tree_holds_what_a_student_needs_and_nothing_else(built, out):
    written, said = give(built, out)
    assert (
        files_below(out)
        == sorted([MARKER, *map(str, written)])
        == sorted(
            [
                MARKER,
                "LICENSE",
                "Makefile",
                "README.md",
                "environment.yml",
                "pyproject.toml",
                "requirements.lock",
                "course/__init__.py",
                "notebooks/01_tiny.ipynb",
                NOTEBOOK,
                "assignments/hw7_tiny/checks.safetensors",
            ]
        )
    )
    for name in (
        NOTEBOOK,
        "assignments/hw7_tiny/checks.safetensors",
        "notebooks/01_tiny.ipynb",
        "pyproject.toml",
    ):
        assert (out / name).read_bytes() == (built / name).read_bytes()
    assert not list(out.rglob("answers.json"))
    everything = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    for secret in (
        b"torch.add",
        b"squared_not_doubled",
        b"torch.mul",
        b"draw.normal",
        b"SOLUTION",
        b"nothing but the whole",
    ):
        assert secret not in everything
    text = (out / "README.md").read_text()
    assert "`assignments/hw7_tiny/hw7_tiny.ipynb`: Homework 7 · Two functions" in text
    assert "course check assignments/hw7_tiny/hw7_tiny.ipynb" in text and "make lab" in text
    assert said == [f"{out}: 10 files for students; hw7_tiny"]
    assert [path.name for path in out.parent.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize("name", ["hw7", "hw7_tiny"])
def test_a_homework_goes_by_either_name(built, out, name):
    give(built, out, [name, "hw7"])
    assert (out / NOTEBOOK).is_file()


def test_an_unknown_homework_is_an_error_with_the_list(built, out):
    with pytest.raises(AuthoringError, match="there is no homework 'hw8'; there is hw7_tiny"):
        give(built, out, ["hw7", "hw8"])
    assert not out.exists()


def test_lectures_alone(built, out):
    give(built, out, [])
    assert not (out / "assignments").exists() and "(none yet)" in (out / "README.md").read_text()


def test_only_an_empty_folder_or_a_release_is_written_to(built, out):
    out.mkdir()
    give(built, out)
    other = out.parent / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(AuthoringError, match="is not empty and no earlier release: empty it, or give another folder"):
        give(built, other)
    assert files_below(other) == ["thesis.txt"]
    with pytest.raises(AuthoringError, match="is a file"):
        give(built, other / "thesis.txt")
    for inside in (built, built / "course" / "x", built / "notebooks"):
        with pytest.raises(AuthoringError, match="lies within what is released from"):
            give(built, inside)


def test_a_second_release_renews_what_nobody_touched(built, out, edit):
    give(built, out)
    (out / "my notes.txt").write_text("mine")
    (out / "course/__init__.py").write_text("broken = ")
    (built / "course/more.py").write_text('"""More."""\n')
    renew(built, edit, "# Homework 7 · Two", "# Homework 7 · These two")
    _, said = give(built, out)
    assert len(said) == 1
    assert (out / NOTEBOOK).read_bytes() == (built / NOTEBOOK).read_bytes()
    assert (out / "course/__init__.py").read_bytes() == (built / "course/__init__.py").read_bytes()
    assert (out / "course/more.py").is_file() and (out / "my notes.txt").read_text() == "mine"
    (built / "course/more.py").unlink()
    give(built, out)
    assert not (out / "course/more.py").exists() and (out / "my notes.txt").is_file()


def renew(built, edit, old, new):
    """The author changes the homework: a sentence only, so that nothing has to run."""
    edit(built / "solutions/hw7_tiny/hw7_tiny.py", old, new)
    assert build([], root=built, say=lambda line: None) == []


def test_a_students_work_is_never_overwritten(built, out, edit):
    give(built, out)
    work = (out / NOTEBOOK).read_text().replace("raise NotImplementedError", "return 2 * x  #")
    (out / NOTEBOOK).write_text(work)
    _, said = give(built, out)
    assert len(said) == 1 and (out / NOTEBOOK).read_text() == work, "the same version again: nothing to offer"

    renew(built, edit, "# Homework 7 · Two", "# Homework 7 · These two")
    _, said = give(built, out)
    beside = out / "assignments/hw7_tiny/hw7_tiny.new.ipynb"
    assert (
        said[0] == f"{NOTEBOOK}: changed since it was released, so kept; the new version is {beside.relative_to(out)}"
    )
    assert (out / NOTEBOOK).read_text() == work
    assert beside.read_bytes() == (built / NOTEBOOK).read_bytes()

    # They go on in the new one; it is theirs from then on.
    beside.write_text(beside.read_text() + " ")
    renew(built, edit, "# Homework 7 · These two", "# Homework 7 · The two")
    give(built, out)
    assert beside.read_text().endswith(" ") and (out / NOTEBOOK).read_text() == work
    third = out / "assignments/hw7_tiny/hw7_tiny.new2.ipynb"
    assert third.read_bytes() == (built / NOTEBOOK).read_bytes()
    renew(built, edit, "# Homework 7 · The two", "# Homework 7 · Both")
    give(built, out)
    assert third.read_bytes() == (built / NOTEBOOK).read_bytes(), "an untouched new version is itself renewed"
    assert len(list(beside.parent.glob("*.ipynb"))) == 3


def test_homework_released_before_stays_when_another_is_released(built, out):
    give(built, out)
    before = (out / NOTEBOOK).read_bytes()
    give(built, out, [])
    assert (out / NOTEBOOK).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("course/extra.py", "    ### BEGIN SOLUTION\n", "course/extra.py: holds the marker"),
        ("notebooks/images/note.md", "### END SOLUTION\n", "notebooks/images/note.md: holds the marker"),
        ("course/exercises.py", "@double.mistake('x')\n", "course/exercises.py: holds an author's cells or exercises"),
        (
            "course/wrong.py",
            "def f(x):\n    pieces = torch.tensor_split(x, 2, dim=0)\n    first, second = pieces\n"
            "    return first, second\n",
            "course/wrong.py: holds cut_along_the_rows in exercises.py",
        ),
    ],
)
def test_nothing_is_released_that_holds_an_answer(built, out, name, text, expected):
    (built / name).parent.mkdir(exist_ok=True)
    (built / name).write_text(text)
    with pytest.raises(AuthoringError, match="students would receive answers") as error:
        give(built, out)
    assert expected in error.value.lines[1]
    assert not out.exists() and files_below(out.parent) == files_below(built.parent)


def test_nothing_is_released_that_is_not_what_its_source_builds(built, out, edit):
    edit(built / "solutions/hw7_tiny/hw7_tiny.py", "Play with it", "Play around with it")
    edit(built / "notebooks/source/01_tiny.py", "Count to three", "Count on")
    with pytest.raises(AuthoringError) as error:
        give(built, out)
    text = str(error.value)
    assert "notebooks/01_tiny.ipynb: cell 3" in text and f"{NOTEBOOK}: cell 8" in text and not out.exists()


def test_a_missing_piece_is_named(built, out):
    (built / "LICENSE").unlink()
    with pytest.raises(AuthoringError, match="LICENSE: missing"):
        give(built, out)


def test_a_failure_half_way_leaves_no_half_tree(built, out, monkeypatch):
    real = shutil.copy2

    def full_disk(source, target, **options):
        if Path(source).suffix == ".safetensors":
            raise OSError(28, "No space left on device", str(target))
        return real(source, target, **options)

    monkeypatch.setattr(shutil, "copy2", full_disk)
    with pytest.raises(AuthoringError, match="cannot be written: No space left on device"):
        give(built, out)
    assert not out.exists() and [path.name for path in out.parent.iterdir()] == ["course"]


def test_an_update_that_was_cut_short_is_not_taken_for_a_students_change(built, out, edit, monkeypatch):
    import os

    give(built, out)
    renew(built, edit, "# Homework 7 · Two", "# Homework 7 · These two")
    real = os.replace

    def stop_after_the_notebook(source, target):
        real(source, target)
        if Path(target) == (out / NOTEBOOK).resolve():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop_after_the_notebook)
        with pytest.raises(KeyboardInterrupt):
            give(built, out)
    renew(built, edit, "# Homework 7 · These two", "# Homework 7 · Those two")
    _, said = give(built, out)
    assert len(said) == 1 and (out / NOTEBOOK).read_bytes() == (built / NOTEBOOK).read_bytes()


def test_the_command_says_what_it_did_and_returns_a_code(built, out, monkeypatch, capsys):
    monkeypatch.chdir(built)
    assert release_command(out, ["hw7"]) == 0
    assert "10 files for students; hw7_tiny" in capsys.readouterr().out
    assert release_command(out, ["hw9"]) == 1
    assert "there is no homework 'hw9'" in capsys.readouterr().err
    monkeypatch.chdir(out)
    assert release_command(out.parent / "again", []) == 1
    assert "is a student's tree" in capsys.readouterr().err

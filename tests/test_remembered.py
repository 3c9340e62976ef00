"""What commands remember: under the same key only, and never in the way."""

import os

import pytest

from course import remembered
from course.remembered import Memory, digest_of_files, files_below


def test_what_was_kept_comes_back_under_its_key_and_name_only(tmp_path):
    memory = Memory(tmp_path)
    assert memory.recall("models", "key") is None
    memory.keep("models", "key", "a table\nof two lines\n")
    assert memory.recall("models", "key") == Memory(tmp_path).recall("models", "key") == "a table\nof two lines\n"
    assert memory.recall("models", "other") is None and memory.recall("other", "key") is None
    memory.keep("models", "other", "")
    assert memory.recall("models", "other") == "" and memory.recall("models", "key") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-1],
        lambda b: b"",
        lambda b: b[:4],
        lambda b: b.replace(b"a table", b"b table"),
        lambda b: b"\xff" + b,
        lambda b: b + b"x",
    ],
)
def test_a_damaged_memory_is_none(tmp_path, damage):
    memory = Memory(tmp_path)
    memory.keep("models", "key", "a table")
    [path] = [path for path in tmp_path.rglob("models") if path.is_file()]
    path.write_bytes(damage(path.read_bytes()))
    assert memory.recall("models", "key") is None
    memory.keep("models", "key", "a table")
    assert memory.recall("models", "key") == "a table"


def test_a_memory_that_cannot_be_written_is_none(tmp_path):
    (tmp_path / "build").write_text("a file where its folder should be")
    memory = Memory(tmp_path)
    memory.keep("models", "key", "a table")
    assert memory.recall("models", "key") is None


def test_git_ignores_the_memory():
    from course.authoring import find_root

    assert "build/" in (find_root() / ".gitignore").read_text().splitlines()


def test_files_count_by_name_and_content_and_not_by_date(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    digest = lambda: digest_of_files(tmp_path, files_below(tmp_path))
    before = digest()
    os.utime(tmp_path / "a", (1, 1))
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"compiled again")
    assert digest() == before
    seen = {before}
    for change in (
        lambda: (tmp_path / "a").write_bytes(b"3"),
        lambda: (tmp_path / "a").rename(tmp_path / "c"),
        lambda: (tmp_path / "c").unlink(),
        lambda: (tmp_path / "d").write_bytes(b""),
    ):
        change()
        seen.add(digest())
    assert len(seen) == 5
    assert digest_of_files(tmp_path, [tmp_path / "x"]) != digest_of_files(tmp_path, [])


def test_the_code_of_the_package_and_every_version_are_in_the_key(tmp_path, monkeypatch):
    (tmp_path / "course").mkdir()
    code = tmp_path / "course" / "checks.py"
    code.write_text("x = 1\n")
    monkeypatch.setattr(remembered, "PACKAGE", tmp_path / "course")
    key = remembered.code_and_versions.__wrapped__
    before = key()
    os.utime(code, (1, 1))
    assert key() == before
    code.write_text("x = 2\n")
    changed = key()
    monkeypatch.setattr(remembered.platform, "python_version", lambda: "3.99")
    assert len({before, changed, key()}) == 3
    monkeypatch.undo()
    assert "('torch', '" in remembered._versions()

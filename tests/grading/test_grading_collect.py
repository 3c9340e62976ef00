"""Finding the submissions of a class, in whatever form they come."""

import io
import os
import stat
import sys
import zipfile

import pytest

from course.grading import cells, collect as collecting
from course.grading.cells import Unreadable
from course.grading.collect import Missing, NothingToGrade, choose, collect

TOPIC = "hw9_small"
TARGETS = {"double": ("double",), "mean_and_spread": ("mean_and_spread",), "Scale": ("Scale",)}


def names(place) -> list[str]:
    return [found.student for found in collect(place, TOPIC)]


def chosen(place, student):
    return choose(next(found for found in collect(place, TOPIC) if found.student == student), TOPIC, TARGETS)


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def test_folders_files_and_zips_of_one_class(tmp_path, work):
    work.save(tmp_path / "anna" / TOPIC / f"{TOPIC}.ipynb")
    work.save(tmp_path / "bert.ipynb")
    work.save(tmp_path / f"carl_{TOPIC}.ipynb")
    work.save(tmp_path / "dora" / "final version.ipynb")
    (tmp_path / "emil.zip").write_bytes(zipped({f"{TOPIC}/{TOPIC}.ipynb": work.to_bytes()}))
    (tmp_path / "fay").mkdir()
    (tmp_path / "fay" / "upload.zip").write_bytes(zipped({"work.ipynb": work.to_bytes()}))
    (tmp_path / "gus").mkdir()
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "anna" / ".ipynb_checkpoints").mkdir()
    work.save(tmp_path / "anna" / ".ipynb_checkpoints" / f"{TOPIC}-checkpoint.ipynb")
    assert names(tmp_path) == ["anna", "bert", "carl", "dora", "emil", "fay", "gus"]
    for student in ("anna", "bert", "carl", "emil"):
        submission = chosen(tmp_path, student)
        assert len(submission.cells) == len(work.content["cells"]) and submission.messages == []
    assert "called final version.ipynb instead of" in chosen(tmp_path, "dora").messages[0]
    assert "called work.ipynb" in chosen(tmp_path, "fay").messages[0]
    with pytest.raises(Missing, match="no notebook"):
        chosen(tmp_path, "gus")


def test_a_zip_of_the_class_with_and_without_a_folder_around_it(tmp_path, work):
    nested = {f"anna/{TOPIC}/{TOPIC}.ipynb": work.to_bytes(), "bert/": b"", "carl.ipynb": work.to_bytes()}
    plain, wrapped, one = tmp_path / "a.zip", tmp_path / "b.zip", tmp_path / "c.zip"
    plain.write_bytes(zipped(nested))
    wrapped.write_bytes(zipped({f"submissions/{name}": data for name, data in nested.items()} | {"__MACOSX/x": b""}))
    one.write_bytes(zipped({f"anna/{TOPIC}/{TOPIC}.ipynb": work.to_bytes()}))
    assert names(plain) == names(wrapped) == ["anna", "bert", "carl"]
    assert names(one) == ["anna"]
    assert chosen(wrapped, "anna").messages == []


def test_other_homework_beside_it_is_left_alone(tmp_path, work):
    work.save(tmp_path / "anna" / TOPIC / f"{TOPIC}.ipynb")
    (tmp_path / "anna" / "hw0_first_check").mkdir()
    (tmp_path / "anna" / "hw0_first_check" / "hw0_first_check.ipynb").write_bytes(b"{}")
    (tmp_path / "bert" / "hw0_first_check").mkdir(parents=True)
    work.save(tmp_path / "bert" / "hw0_first_check" / "hw0_first_check.ipynb")
    assert chosen(tmp_path, "anna").messages == []
    with pytest.raises(Missing, match=f"no notebook of {TOPIC}"):
        chosen(tmp_path, "bert")


def test_of_several_notebooks_the_one_with_the_most_exercises_is_graded(tmp_path, work, new_work):
    work.save(tmp_path / "anna" / "b.ipynb")
    new_work().remove("Scale").save(tmp_path / "anna" / "a.ipynb")
    (tmp_path / "anna" / "broken.ipynb").write_bytes(b"{")
    submission = chosen(tmp_path, "anna")
    assert "3 notebooks; b.ipynb was graded" in submission.messages[0]
    assert len(submission.cells) == len(work.content["cells"])


def test_what_is_no_notebook_of_this_homework(tmp_path):
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "report.pdf").write_bytes(b"%PDF")
    (tmp_path / "bert.docx").write_bytes(b"PK")
    (tmp_path / "carl").mkdir()
    (tmp_path / "carl" / "holiday.ipynb").write_bytes(b'{"cells": []}')
    (tmp_path / "dora.ipynb").write_bytes(b'{"cells": [')
    (tmp_path / "emil.zip").write_bytes(b"PK\x03\x04 and nothing")
    with pytest.raises(Missing, match=r"only report\.pdf"):
        chosen(tmp_path, "anna")
    with pytest.raises(Missing, match=r"only bert\.docx"):
        chosen(tmp_path, "bert")
    with pytest.raises(Missing, match="no cell of hw9_small"):
        chosen(tmp_path, "carl")
    with pytest.raises(Unreadable, match=r"dora\.ipynb.*cut off"):
        chosen(tmp_path, "dora")
    with pytest.raises(Unreadable, match="zip is damaged"):
        chosen(tmp_path, "emil")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
def test_links_and_pipes_are_not_followed(tmp_path, work):
    work.save(tmp_path / "anna" / f"{TOPIC}.ipynb")
    (tmp_path / "bert").mkdir()
    os.symlink(tmp_path / "anna" / f"{TOPIC}.ipynb", tmp_path / "bert" / f"{TOPIC}.ipynb")
    os.symlink(tmp_path / "anna", tmp_path / "carl")
    os.mkfifo(tmp_path / "dora.ipynb")  # opening it would wait for ever
    assert names(tmp_path) == ["anna", "bert", "carl", "dora"]
    for student in ("bert", "carl"):
        with pytest.raises(Unreadable, match="symbolic link"):
            chosen(tmp_path, student)
    with pytest.raises(Unreadable, match="no ordinary file"):
        chosen(tmp_path, "dora")


def test_names_in_a_zip_that_would_land_elsewhere(tmp_path, work):
    path = tmp_path / "class.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../evil.ipynb", "/etc/evil.ipynb", "C:\\evil.ipynb", "a/../../evil.ipynb"):
            archive.writestr(zipfile.ZipInfo(name), b"{}")
        archive.writestr(f"anna\\{TOPIC}\\{TOPIC}.ipynb", work.to_bytes())  # Windows' own zip writes such names
        link = zipfile.ZipInfo("bert/hw9_small.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert names(path) == ["anna", "bert"]
    assert chosen(path, "anna").messages == []
    with pytest.raises(Unreadable, match="symbolic link"):
        chosen(path, "bert")


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "LARGEST_FILE", 10**6)
    monkeypatch.setattr(cells, "LARGEST_FILE", 10**6)
    (tmp_path / "anna.zip").write_bytes(zipped({f"{TOPIC}.ipynb": bytes(10**7)}))
    (tmp_path / "bert.zip").write_bytes(zipped({f"{i}.ipynb": b"" for i in range(3_000)}))
    for student, words in (("anna", "larger than"), ("bert", "3000 files")):
        with pytest.raises(Unreadable, match=words) as caught:
            chosen(tmp_path, student)
        assert caught.value.status == "limit"


def test_strange_names_are_shown_and_kept_apart(tmp_path, work):
    for name in ("zoë", "a b", "<b>bold</b>".replace("/", "_"), "line\nbreak", "line\tbreak"):
        work.save(tmp_path / name / f"{TOPIC}.ipynb")
    if sys.platform == "linux":
        os.makedirs(os.fsencode(tmp_path) + b"/\xff\xfe")
    found = names(tmp_path)
    assert {"zoë", "a b", "<b>bold<_b>", "line_break", "line_break (2)"} < set(found)
    assert len(set(found)) == len(found) == (6 if sys.platform == "linux" else 5)
    for name in found:
        assert name.isprintable() and name.encode()


def test_a_class_that_is_not_there(tmp_path):
    (tmp_path / "text.txt").write_text("no zip")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    for name, words in (("nowhere", "does not exist"), ("text.txt", "neither"), ("empty", "no submission"),
                        ("broken.zip", "damaged")):  # fmt: skip
        with pytest.raises(NothingToGrade, match=words):
            collect(tmp_path / name, TOPIC)

"""Finding the submissions of a class, in whatever form they come."""

import io
import os
import stat
import struct
import sys
import zipfile
from datetime import UTC, datetime

import pytest

from course.grading import cells, collect as collecting
from course.grading.cells import Unreadable
from course.grading.collect import Missing, NothingToGrade, Upload, choose, collect

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


# -- downloads of learning management systems


def test_a_download_of_canvas(tmp_path, work):
    path = tmp_path / "submissions.zip"
    path.write_bytes(
        zipped(
            {
                f"lovelaceada_101_900_{TOPIC}.ipynb": work.to_bytes(),
                f"hoppergrace_LATE_102_901_{TOPIC}-1.ipynb": work.to_bytes(),
                "hoppergrace_LATE_102_902_notes.pdf": b"%PDF",
                "hoppergrace_LATE_102_903_timestamp.txt": b"2001-01-01 00:00:00 UTC",
                "smith_jane_103_904_work.zip": zipped({f"{TOPIC}.ipynb": work.to_bytes()}),
                f"müllerzoë_104_905_{TOPIC}.ipynb": b"{",
                f"doejohn_105_906_{TOPIC}.ipynb": work.to_bytes(),
                f"doejohn_106_907_{TOPIC}.ipynb": work.to_bytes(),
            }
        )
    )
    found = {student.student: student for student in collect(path, TOPIC)}
    assert list(found) == ["doejohn_105", "doejohn_106", "hoppergrace", "lovelaceada", "müllerzoë", "smith_jane"]
    assert found["hoppergrace"].upload == Upload("Canvas", "102", late=True)
    assert found["lovelaceada"].upload == Upload("Canvas", "101") and found["doejohn_106"].upload.id == "106"
    assert chosen(path, "lovelaceada").messages == [] and chosen(path, "smith_jane").messages == []
    grace = chosen(path, "hoppergrace")
    assert "called hw9_small-1.ipynb" in grace.messages[0] and len(grace.messages) == 1
    # Neither the date of the download nor a file that the student wrote tells when it was handed in.
    assert (grace.handed_in.time, grace.handed_in.late, grace.handed_in.system) == (None, True, "Canvas")
    assert chosen(path, "smith_jane").handed_in.time is None
    with pytest.raises(Unreadable):
        chosen(path, "müllerzoë")


@pytest.mark.parametrize("ending", ["", "_"])
def test_a_download_of_moodle(tmp_path, work, ending):
    path = tmp_path / "course-hw9-17.zip"
    path.write_bytes(
        zipped(
            {
                f"Ada Lovelace_201_assignsubmission_file{ending}/{TOPIC}.ipynb": work.to_bytes(),
                f"Ada Lovelace_201_assignsubmission_file{ending}/timestamp.txt": b"2001-01-01 00:00:00 UTC",
                f"Ada Lovelace_201_assignsubmission_onlinetext{ending}/onlinetext.html": b"<p>Hello</p>",
                f"Zoë_Müller_202_assignsubmission_file{ending}/my/{TOPIC}.ipynb": work.to_bytes(),
                f"Emmy Noether_203_assignsubmission_file_{TOPIC}.ipynb": work.to_bytes(),
            }
        )
    )
    found = {student.student: student for student in collect(path, TOPIC)}
    assert list(found) == ["Ada Lovelace", "Emmy Noether", "Zoë_Müller"]
    assert [student.upload for student in found.values()] == [Upload("Moodle", n) for n in ("201", "203", "202")]
    for student in found:
        submission = chosen(path, student)
        assert submission.messages == [] and submission.handed_in.time is None
    only = tmp_path / "one.zip"
    only.write_bytes(zipped({f"Ada Lovelace_201_assignsubmission_file{ending}/{TOPIC}.ipynb": work.to_bytes()}))
    assert names(only) == ["Ada Lovelace"]


def test_names_that_only_look_like_those_of_canvas(tmp_path, work):
    for name in ("anna", "bert", "carl_2_3_of_us"):
        work.save(tmp_path / f"{name}.ipynb")
    assert names(tmp_path) == ["anna", "bert", "carl_2_3_of_us"]
    assert all(student.upload is None for student in collect(tmp_path, TOPIC))


# -- when it was handed in

WHEN = datetime(2026, 11, 21, 16, 37, 48, tzinfo=UTC)


def test_nbgraders_timestamp_comes_first(tmp_path, work):
    for student, place in (("anna", TOPIC), ("bert", ".")):
        path = work.save(tmp_path / student / TOPIC / f"{TOPIC}.ipynb")
        os.utime(path, (0, 0))
        (tmp_path / student / place / "timestamp.txt").write_text("2026-11-21 16:37:48.000000 UTC")
        told = chosen(tmp_path, student).handed_in
        assert (told.time, told.told_by) == (WHEN, "timestamp.txt")


@pytest.mark.parametrize("data", [b"", b"\0" * 50, b"9999-01-01 00:00:00 UTC", b"x" * 10**7, b"soon"])
def test_a_timestamp_that_tells_nothing(tmp_path, work, data):
    path = work.save(tmp_path / "anna" / TOPIC / f"{TOPIC}.ipynb")
    os.utime(path, (0, WHEN.timestamp()))
    (path.parent / "timestamp.txt").write_bytes(data)
    submission = chosen(tmp_path, "anna")
    assert submission.messages[0].startswith("timestamp.txt does not tell when it was handed in")
    assert (submission.handed_in.time, submission.handed_in.told_by) == (WHEN, "the date of the file")


def test_a_timestamp_that_is_a_link_or_a_folder(tmp_path, work):
    path = work.save(tmp_path / "anna" / TOPIC / f"{TOPIC}.ipynb")
    os.symlink("/etc/hostname", path.parent / "timestamp.txt")
    (message,) = chosen(tmp_path, "anna").messages
    assert "timestamp.txt does not tell" in message and "symbolic link" in message
    path = work.save(tmp_path / "bert" / TOPIC / f"{TOPIC}.ipynb")
    (path.parent / "timestamp.txt").mkdir()
    assert chosen(tmp_path, "bert").messages == []


@pytest.mark.parametrize("seconds", [0, -(10**9), 10**11, 253402300800])
def test_a_file_of_a_year_that_cannot_be(tmp_path, work, seconds):
    path = work.save(tmp_path / "anna.ipynb")
    try:
        os.utime(path, (0, seconds))
    except OverflowError:
        pytest.skip("this file system holds no such date")
    assert chosen(tmp_path, "anna").handed_in.time is None


def test_dates_of_a_zip(tmp_path, work):
    def member(date: tuple, extra: bytes = b"") -> zipfile.ZipInfo:
        made = zipfile.ZipInfo(f"anna/{TOPIC}/{TOPIC}.ipynb", date)
        made.extra = extra
        return made

    local = WHEN.astimezone()
    in_utc = struct.pack("<HHBI", 0x5455, 5, 1, int(WHEN.timestamp()))
    other = struct.pack("<HH", 0x7875, 3) + b"abc"
    for date, extra, expected in (
        (local.timetuple()[:6], b"", WHEN),
        ((1999, 1, 1, 0, 0, 0), other + in_utc, WHEN),
        ((1980, 1, 1, 0, 0, 0), b"", None),
        ((2026, 15, 31, 31, 63, 62), b"", None),
        ((1980, 1, 1, 0, 0, 0), struct.pack("<HHB", 0x5455, 1, 1) + other, None),
    ):
        with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
            archive.writestr(member(date, extra), work.to_bytes())
        told = chosen(tmp_path / "class.zip", "anna").handed_in
        assert (told.time, told.told_by) == (expected, "the date in the zip")


def test_what_was_handed_in_again_has_another_digest(tmp_path, work, new_work):
    work.save(tmp_path / "anna.ipynb")
    new_work().solve().save(tmp_path / "bert.ipynb")
    rerun = new_work()
    rerun.add("", before=None)["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "hello"}]
    rerun.content["cells"].pop()
    rerun.content["metadata"]["run"] = "again"
    rerun.save(tmp_path / "carl.ipynb")
    digests = [chosen(tmp_path, student).handed_in.digest for student in ("anna", "bert", "carl")]
    assert digests[0] == digests[2] != digests[1]

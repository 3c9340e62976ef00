"""Finding the submissions of a class, in whatever form they come."""

import io
import os
import re
import stat
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course.grading.collect import find as collecting
from course.grading.collect import forms, platforms
from course.grading.collect.choose import choose
from course.grading.collect.find import collect
from course.grading.collect.handed_in import HandedIn
from course.grading.collect.platforms import Upload
from course.grading.collect.roster import Listed, Roster, match
from course.grading.collect.whose import Found
from course.grading.problems import Missing, NothingToGrade, Unreadable
from course.grading.read import cells
from course.grading.read.merge import Template
from course.grading.student import read_student
from tests.grading.cpu_time import cpu_seconds

TOPIC = "hw9_small"
TARGETS = {"double": ("double",), "mean_and_spread": ("mean_and_spread",), "Scale": ("Scale",)}


TEMPLATE: list[Template] = []


@pytest.fixture(scope="module", autouse=True)
def template(released):
    TEMPLATE[:] = [Template.from_cells(cells.cells_from_notebook(released), TARGETS)]


def names(place) -> list[str]:
    return [found.student for found in collect(place, TOPIC)]


def chosen(place, student):
    return choose(next(found for found in collect(place, TOPIC) if found.student == student), TOPIC, *TEMPLATE)


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
    work.solve().save(tmp_path / "anna" / "b.ipynb")
    new_work().solve().remove("Scale").save(tmp_path / "anna" / "a.ipynb")
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


def test_many_zips_of_one_student_are_not_held_together(tmp_path, work, monkeypatch):
    monkeypatch.setattr(collecting, "LARGEST_FILE", 10**6)
    for i in range(5):
        (tmp_path / "anna").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "anna" / f"{i}.zip", "w") as stored:
            stored.writestr("data.bin", bytes(400_000))
    with pytest.raises(Unreadable, match=r"2\.zip: The zips are larger than 0 MB together") as caught:
        chosen(tmp_path, "anna")
    assert caught.value.status == "limit"
    work.solve().save(tmp_path / "anna" / "mine.ipynb")
    assert len(chosen(tmp_path, "anna").cells) == len(cells.cells_from_bytes(work.to_bytes()))


@pytest.mark.parametrize("right_one", [1, 2])
def test_not_every_notebook_that_takes_too_long_is_tried(tmp_path, work, monkeypatch, right_one):
    tried = []

    def slow(data):
        tried.append(data)
        if data.startswith(b"slow"):
            raise Unreadable("The notebook takes too long to read.", "limit")
        return cells.cells_from_bytes(data)

    monkeypatch.setattr(forms, "cells_from_bytes", slow)
    (tmp_path / "anna").mkdir()
    for i in range(10):
        (tmp_path / "anna" / f"{i}.ipynb").write_bytes(b"slow")
    work.solve().save(tmp_path / "anna" / f"{right_one}.ipynb")
    if right_one == 1:
        assert len(chosen(tmp_path, "anna").cells) > 0
    else:
        with pytest.raises(Unreadable, match=r"0\.ipynb: The notebook takes too long"):
            chosen(tmp_path, "anna")
    assert len(tried) == {1: 3, 2: 2}[right_one]


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
    for name, words in (
        ("nowhere", "does not exist"),
        ("text.txt", "neither"),
        ("empty", "no submission"),
        ("broken.zip", "damaged"),
    ):
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
    assert grace.messages == []  # Canvas calls it so where it was uploaded before
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
    assert (submission.handed_in.time, submission.handed_in.file_date) == (None, WHEN)


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
    assert chosen(tmp_path, "anna").handed_in == HandedIn(digest=chosen(tmp_path, "anna").handed_in.digest)


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
        assert (told.time, told.file_date) == (None, expected)


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


# -- whose work it is


def by_name(place) -> dict:
    return {found.student: found for found in collect(place, TOPIC)}


def of_class(tmp_path, files: dict[str, bytes]):
    path = tmp_path / "class.zip"
    path.write_bytes(zipped(files))
    return path


def doubts(place) -> dict[str, str]:
    """The sentence of each row that is ambiguous."""
    return {name: found.doubt for name, found in by_name(place).items() if found.doubt}


def test_a_file_named_like_an_entry_of_moodle_is_its_owners(tmp_path, work, new_work):
    other = new_work().solve().to_bytes()
    imitation = f"Bob Builder_124_assignsubmission_file_{TOPIC}.ipynb"
    place = of_class(
        tmp_path,
        {
            f"Ada Lovelace_123_assignsubmission_file_{TOPIC}.ipynb": work.to_bytes(),
            f"Bob Builder_124_assignsubmission_file_{TOPIC}.ipynb": work.to_bytes(),
            f"Eve Evil_666_assignsubmission_file_{imitation}": other,
            f"Eve Evil_666_assignsubmission_file_x_{imitation}": other,
        },
    )
    found = by_name(place)
    assert {name: student.upload.id for name, student in found.items()} == {
        "Ada Lovelace": "123",
        "Bob Builder": "124",
        "Eve Evil": "666",
    }
    assert [entry.parts for entry in found["Bob Builder"].entries] == [(f"{TOPIC}.ipynb",)]
    assert [entry.parts for entry in found["Eve Evil"].entries] == [(imitation,), (f"x_{imitation}",)]
    assert chosen(place, "Bob Builder").messages == [] and doubts(place) == {}


def test_a_download_is_of_one_platform(tmp_path, work):
    """A Canvas zip with a file named as Moodle names entries, and the other way round."""
    canvas = of_class(
        tmp_path,
        {
            f"adalovelace_101_900_{TOPIC}.ipynb": work.to_bytes(),
            f"evilelse_666_901_Bob_124_assignsubmission_file_{TOPIC}.ipynb": b"{}",
        },
    )
    assert {name: found.upload for name, found in by_name(canvas).items()} == {
        "adalovelace": Upload("Canvas", "101"),
        "evilelse": Upload("Canvas", "666"),
    }
    moodle = of_class(
        tmp_path,
        {
            f"Ada Lovelace_123_assignsubmission_file_{TOPIC}.ipynb": work.to_bytes(),
            "Eve_666_assignsubmission_file_bob_124_900_x.ipynb": b"{}",
        },
    )
    assert {name: found.upload for name, found in by_name(moodle).items()} == {
        "Ada Lovelace": Upload("Moodle", "123"),
        "Eve": Upload("Moodle", "666"),
    }


@pytest.mark.parametrize(
    "imitation", ["x_attempt_2026-11-20-10-00-00_y.ipynb", f"x+{TOPIC}+2026-11-20 16_37_48 UTC", f"b - {TOPIC}.ipynb"]
)
def test_what_many_files_of_one_student_imitate_does_not_name_the_class(tmp_path, work, imitation):
    eves = {f"evee_666_{900 + i}_{i}{imitation}": work.to_bytes() for i in range(5)}
    place = of_class(tmp_path, {f"adaa_101_800_{TOPIC}.ipynb": work.to_bytes(), **eves})
    assert {name: found.upload.system for name, found in by_name(place).items()} == {"adaa": "Canvas", "evee": "Canvas"}


def test_the_only_student_of_a_moodle_zip_hands_in_for_nobody_else(tmp_path, work):
    place = of_class(
        tmp_path,
        {
            "Eve_666_assignsubmission_file/Bob_124_assignsubmission_file_x.ipynb": work.to_bytes(),
            "Eve_666_assignsubmission_file/Ada_123_assignsubmission_file_x.ipynb": work.to_bytes(),
        },
    )
    assert names(place) == ["Eve"]


def test_two_entries_that_claim_one_id_are_a_status(tmp_path, work, exam):
    place = of_class(
        tmp_path,
        {
            f"Ada_123_assignsubmission_file/{TOPIC}.ipynb": work.to_bytes(),
            f"Bob_124_assignsubmission_file/{TOPIC}.ipynb": work.to_bytes(),
            f"Robert_124_assignsubmission_file/{TOPIC}.ipynb": work.to_bytes(),
            "Bob_124_assignsubmission_onlinetext/onlinetext.html": b"<p>Hello</p>",
            f"Zoe_125_assignsubmission_file/{TOPIC}.ipynb": work.to_bytes(),
            f"Zoe_125_assignsubmission_file_/{TOPIC}.ipynb": work.to_bytes(),
        },
    )
    assert list(doubts(place)) == ["Bob", "Zoe"] and names(place) == ["Ada", "Bob", "Zoe"]
    with pytest.raises(Unreadable, match=r"Bob_124_.*Robert_124_\S+ claims to be of participant 124") as caught:
        chosen(place, "Bob")
    assert caught.value.status == "ambiguous" and "rename" in str(caught.value)
    assert by_name(place)["Bob"].upload == Upload("Moodle", "124")
    row = read_student(by_name(place)["Bob"], "Bob", exam)
    assert (row.status, row.points, row.message) == ("ambiguous", 0, str(caught.value))
    assert chosen(place, "Ada").messages == []
    late = of_class(tmp_path, {"bob_124_900_a.ipynb": work.to_bytes(), "bob_LATE_124_901_a.ipynb": work.to_bytes()})
    assert list(doubts(late)) == ["bob"]


def test_two_of_a_students_name_at_the_top_of_a_class(tmp_path, work, new_work):
    work.save(tmp_path / "anna.ipynb")
    new_work().solve().save(tmp_path / f"anna_{TOPIC}.ipynb")
    work.save(tmp_path / "bert.ipynb")
    (tmp_path / "bert.pdf").write_bytes(b"%PDF")
    work.save(tmp_path / "zoë" / f"{TOPIC}.ipynb")
    work.save(tmp_path / "zoe\u0308" / f"{TOPIC}.ipynb")
    assert names(tmp_path) == ["anna", "bert", "zoë"]
    told = doubts(tmp_path)
    assert list(told) == ["zoë"] and "in two spellings of the same letters" in told["zoë"]
    assert f"2 notebooks; anna_{TOPIC}.ipynb was graded" in chosen(tmp_path, "anna").messages[0]
    assert chosen(tmp_path, "bert").messages == []


def test_one_spelling_of_each_name(tmp_path, work):
    work.save(tmp_path / "zoe\u0308" / f"{TOPIC}.ipynb")
    work.save(tmp_path / f"chloe\u0308_{TOPIC}.ipynb")
    assert names(tmp_path) == ["chlo\u00eb", "zo\u00eb"]
    assert chosen(tmp_path, "zo\u00eb").messages == chosen(tmp_path, "chlo\u00eb").messages == []


def test_a_display_name_that_looks_like_another_with_its_id(tmp_path, work):
    place = of_class(
        tmp_path,
        {
            "Bob_126_assignsubmission_file/a.ipynb": work.to_bytes(),
            "Bob_127_assignsubmission_file/a.ipynb": work.to_bytes(),
            "Bob_126_130_assignsubmission_file/a.ipynb": work.to_bytes(),
        },
    )
    assert {name: found.upload.id for name, found in by_name(place).items()} == {
        "Bob_126": "126",
        "Bob_127": "127",
        "Bob_126_130": "130",
    }


def test_a_display_name_of_canvas_that_ends_in_anothers_id(tmp_path, work):
    """``bob_126`` of id 130 beside ``bob`` of id 126: bob's row is what it would be without."""
    own = {f"bob_126_900_{TOPIC}.ipynb": work.to_bytes(), "bob_126_902_1_data.csv": b"1", "ada_101_903_a.ipynb": b"{}"}
    place = of_class(tmp_path, own | {f"bob_126_130_901_{TOPIC}.ipynb": b"{}"})
    told = doubts(place)
    assert names(place) == ["ada", "bob", f"bob_126_130_901_{TOPIC}.ipynb"] and len(told) == 1
    assert "may be of user 126 of Canvas" in told[f"bob_126_130_901_{TOPIC}.ipynb"]
    assert [entry.parts for entry in by_name(place)["bob"].entries] == [(f"{TOPIC}.ipynb",), ("1_data.csv",)]
    assert chosen(place, "bob").messages == []
    # Where nothing is certain, nobody is graded on a guess, unless there is but one.
    digits = of_class(tmp_path, {"bob_126_900_1_a.ipynb": work.to_bytes(), "bob_126_130_901_a.ipynb": b"{}"})
    assert list(doubts(digits)) == names(digits) == ["bob"]
    one = of_class(tmp_path, {"bob_126_900_1_a.ipynb": work.to_bytes(), "bob_126_901_2_data.csv": b"1"})
    assert doubts(one) == {} and chosen(one, "bob").messages == []


def test_an_anonymous_download_of_canvas(tmp_path, work):
    place = of_class(
        tmp_path,
        {
            f"anon_Ab1cD_900_{TOPIC}.ipynb": work.to_bytes(),
            f"LATE_anon_x8Yz1_901_{TOPIC}.ipynb": work.to_bytes(),
            "LATE_anon_x8Yz1_902_1_2_3.pdf": b"%PDF",
            "anon_12345_903_work.ipynb": work.to_bytes(),
            "anon_Zz9zz_text.html": b"<p>Hello</p>",
        },
    )
    found = by_name(place)
    assert list(found) == ["anon_12345", "anon_Ab1cD", "anon_Zz9zz", "anon_x8Yz1"] and doubts(place) == {}
    assert {student.upload for student in found.values()} == {Upload("Canvas", ""), Upload("Canvas", "", late=True)}
    assert found["anon_x8Yz1"].upload.late and chosen(place, "anon_x8Yz1").handed_in.late
    assert chosen(place, "anon_Ab1cD").messages == []
    with pytest.raises(Missing, match=r"only text\.html"):
        chosen(place, "anon_Zz9zz")


def test_names_as_canvas_writes_them(tmp_path, work):
    """Marks that are no letters to Python, no name at all, and a text typed in."""
    place = of_class(
        tmp_path,
        {
            f"शर्माप्रिया_101_900_{TOPIC}.ipynb": work.to_bytes(),
            f"_102_901_{TOPIC}.ipynb": work.to_bytes(),
            "lovelaceada_LATE_103_text.html": b"<p>Hello</p>",
        },
    )
    assert {name: found.upload for name, found in by_name(place).items()} == {
        "शर्माप्रिया": Upload("Canvas", "101"),
        "102": Upload("Canvas", "102"),
        "lovelaceada": Upload("Canvas", "103", late=True),
    }


def test_the_list_in_an_export_of_gradescope_is_no_student(tmp_path, work):
    files = {
        "submission_metadata.yml": b"",
        f"submission_7/{TOPIC}.ipynb": work.to_bytes(),
        f"submission_8/{TOPIC}.ipynb": work.to_bytes(),
        "submission_8/submission_metadata.yml": b"",
    }
    for top in ("", "assignment_1_export/"):
        assert names(of_class(tmp_path, {top + name: data for name, data in files.items()})) == [
            "submission_7",
            "submission_8",
        ]


def test_names_of_any_length_are_read_at_once():
    for name in ("_1" * 30_000, "_" * 60_000, "1" * 60_000, "a_" + "1" * 60_000, "_1_assignsubmission" * 3_000):
        assert cpu_seconds(lambda: platforms.naming_of([name, name + "_1_2_x"])) < 1
        for naming in platforms._NAMINGS:
            assert cpu_seconds(lambda: naming.read(name)) < 1


def test_a_student_with_very_many_files_in_the_zip_of_the_class_hides_no_other(tmp_path, work, monkeypatch):
    monkeypatch.setattr(collecting, "MOST_FILES_OF_ONE", 50)
    monkeypatch.setattr(collecting, "MOST_FILES", 100)
    many = {f"eve/data/{i}.txt": b"" for i in range(300)}
    place = of_class(tmp_path, {**many, "eve/eve.ipynb": b"{}", f"zoe/{TOPIC}.ipynb": work.to_bytes()})
    assert names(place) == ["eve", "zoe"] and chosen(place, "zoe").messages == []
    assert len(by_name(place)["eve"].entries) == 50
    with pytest.raises(NothingToGrade, match="it holds 150 files; 100 are read at most"):
        collect(of_class(tmp_path, {f"{who}/{i}.txt": b"" for who in "abc" for i in range(50)}), TOPIC)


# -- dates that students write


def test_the_dates_in_a_students_zip_are_not_believed(tmp_path, work):
    packed = zipped({f"{TOPIC}.ipynb": work.to_bytes()})  # its member bears a date of its own
    for path in (tmp_path / "anna.zip", tmp_path / "bert" / "upload.zip"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(packed)
        os.utime(path, (0, WHEN.timestamp()))
    for student in ("anna", "bert"):
        told = chosen(tmp_path, student).handed_in
        assert (told.time, told.file_date) == (None, WHEN)


def test_a_timestamp_in_a_folder_the_student_made_is_not_believed(tmp_path, work):
    for student in ("anna", "bert", "carl"):
        path = work.save(tmp_path / student / "work.ipynb")
        os.utime(path, (0, WHEN.timestamp()))
    for path in ("anna/timestamp.txt", f"bert/{TOPIC}/timestamp.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("2001-01-01 00:00:00 UTC")
    path = work.save(tmp_path / "bert" / TOPIC / "work.ipynb")
    os.utime(path, (0, WHEN.timestamp()))
    for student in ("anna", "bert", "carl"):
        submission = chosen(tmp_path, student)
        assert (submission.handed_in.time, submission.handed_in.file_date) == (None, WHEN)
        assert any("not nbgrader that wrote it" in message for message in submission.messages) == (student == "bert")


def test_nbgraders_timestamps_hold_beside_a_folder_that_was_put_there_by_hand(tmp_path, work):
    for student in ("anna", "bert"):
        work.save(tmp_path / student / TOPIC / f"{TOPIC}.ipynb")
        (tmp_path / student / TOPIC / "timestamp.txt").write_text("2026-11-21 16:37:48 UTC")
    (tmp_path / "carl" / "hw0_first_check").mkdir(parents=True)
    (tmp_path / "carl" / "hw0_first_check" / "timestamp.txt").write_text("2026-01-01 00:00:00 UTC")
    work.save(tmp_path / "dora" / f"{TOPIC}.ipynb")
    assert chosen(tmp_path, "anna").handed_in.time == chosen(tmp_path, "bert").handed_in.time == WHEN
    assert chosen(tmp_path, "dora").handed_in.time is None


# -- no content or file name of one student's upload changes another's row


@dataclass(frozen=True)
class Platform:
    """How a platform lays out a class: who else is in it, and where it puts what eve handed in.

    Args:
        others: the files of everyone else, and of the platform itself; NOTEBOOK stands for a notebook.
        place: the path of one of eve's files, from its own path and its number.
        own: what the platform writes into eve's upload, over anything that she put there.
        listed: the roster, (id, name, login); "carl" hands in nothing.
    """

    others: dict[str, bytes]
    place: Callable[[tuple[str, ...], int], str]
    own: dict[str, bytes]
    listed: tuple[tuple[str, str, str], ...]


NOTEBOOK = b"a notebook"
STAMP = b"2026-11-21 16:37:48.000000 UTC"
PEOPLE = (("123", "anna", "anna"), ("124", "bob", "bob"), ("125", "zoë", "zoe"), ("126", "carl", "carl"))
TWO_BOBS = (("123", "anna a", "a"), ("124", "bob b", "b1"), ("125", "bob b", "b2"), ("126", "carl c", "c"))


def in_canvas(name: str) -> str:
    return re.sub(r'[\x00/\\:*?"<>|]+', "_", name)


def in_moodle(name: str) -> str:
    name = re.sub(r"[\x00-\x1f&<>\"`|':\\/]", "", name)
    return "x" if name in ("", ".", "..") else name


PLATFORMS = {
    "Canvas": Platform(
        {
            f"annaa_123_900_{TOPIC}.ipynb": NOTEBOOK,
            "annaa_123_901_1_2_data.csv": b"1",
            "bobb_LATE_124_902_1_x.ipynb": NOTEBOOK,
            "bobb_125_903_x.zip": b"zip",
        },
        lambda parts, i: f"evee_666_{910 + i}_{in_canvas(parts[-1])}",
        {},
        TWO_BOBS,
    ),
    "Canvas, anonymous": Platform(
        {
            f"anon_Ab1cD_900_{TOPIC}.ipynb": NOTEBOOK,
            "LATE_anon_12345_901_x.ipynb": NOTEBOOK,
            "anon_Z9999_text.html": b"",
        },
        lambda parts, i: f"anon_Ev1lE_{910 + i}_{in_canvas(parts[-1])}",
        {},
        (),
    ),
    "Moodle": Platform(
        {
            f"Anna A_123_assignsubmission_file_{TOPIC}.ipynb": NOTEBOOK,
            "Bob B_124_assignsubmission_file_x.ipynb": NOTEBOOK,
            "Bob B_125_assignsubmission_file_x.ipynb": NOTEBOOK,
            "Bob B_125_assignsubmission_onlinetext_onlinetext.html": b"<p>",
        },
        lambda parts, i: f"Eve E_666_assignsubmission_file_{in_moodle(parts[-1])}",
        {},
        TWO_BOBS,
    ),
    "Moodle, folders": Platform(
        {
            f"Anna A_123_assignsubmission_file/{TOPIC}.ipynb": NOTEBOOK,
            "Bob B_124_assignsubmission_file/x.ipynb": NOTEBOOK,
            "Bob B_125_assignsubmission_file/x.zip": b"zip",
            "Bob B_125_assignsubmission_onlinetext/onlinetext.html": b"",
        },
        lambda parts, i: "/".join(("Eve E_666_assignsubmission_file", *map(in_moodle, parts))),
        {},
        TWO_BOBS,
    ),
    "nbgrader": Platform(
        {
            f"{who}/{TOPIC}/{name}": data
            for who in ("anna", "bob", "zoë")
            for name, data in ((f"{TOPIC}.ipynb", NOTEBOOK), ("timestamp.txt", STAMP))
        },
        lambda parts, i: "/".join(("eve", TOPIC, *parts)),
        {f"eve/{TOPIC}/timestamp.txt": STAMP},
        PEOPLE,
    ),
    "folders": Platform(
        {"anna/work.ipynb": NOTEBOOK, f"bob/{TOPIC}/{TOPIC}.ipynb": NOTEBOOK, "zoë/upload.zip": b"zip"},
        lambda parts, i: "/".join(("eve", *parts)),
        {},
        PEOPLE,
    ),
    "files": Platform(
        {"anna.ipynb": NOTEBOOK, f"bob_{TOPIC}.ipynb": NOTEBOOK, "zoë.zip": b"zip"},
        lambda parts, i: "/".join(("eve.zip", *parts)),
        {},
        PEOPLE,
    ),
    "Blackboard": Platform(
        {
            f"HW 1_annaa_attempt_2026-11-20-10-00-00_{TOPIC}.ipynb": NOTEBOOK,
            "HW 1_annaa_attempt_2026-11-20-10-00-00.txt": b"Name: Anna A (annaa)",
            "HW 1_bobb_attempt_2026-11-20-10-00-00_x.ipynb": NOTEBOOK,
            "HW 1_bobb_attempt_2026-11-21-10-00-00_x.zip": b"zip",
        },
        lambda parts, i: f"HW 1_evee_attempt_2026-11-20-10-00-00_{in_canvas(parts[-1])}",
        {},
        (("123", "Anna A", "annaa"), ("124", "Bob B", "bobb")),
    ),
    "nbgrader's inbound": Platform(
        {
            f"{who}+{topic}+2026-11-{day} 16:37:48.000000 UTC+Ab_-12345678/{topic}.ipynb": NOTEBOOK
            for who, topic, day in (("anna", TOPIC, 20), ("anna", TOPIC, 21), ("bob", TOPIC, 20), ("zoe", "hw0_a", 20))
        },
        lambda parts, i: "/".join((f"eve+{TOPIC}+2026-11-20 16:37:48.000000 UTC+Ab_-12345679", *parts)),
        {},
        PEOPLE,
    ),
    "Google Classroom": Platform(
        {f"anna - {TOPIC}.ipynb": NOTEBOOK, f"bob - {TOPIC}.ipynb": NOTEBOOK, "zoë - x.zip": b"zip"},
        lambda parts, i: f"eve - {i}{in_canvas(parts[-1])}",
        {},
        PEOPLE,
    ),
    "Gradescope, with its list": Platform(
        {
            "submission_metadata.yml": b"submission_123:\n  :submitters:\n  - :name: anna\nsubmission_124:\n"
            b"  :submitters:\n  - :name: bob\nsubmission_666:\n  :submitters:\n  - :name: eve\n",
            f"submission_123/{TOPIC}.ipynb": NOTEBOOK,
            "submission_124/x.ipynb": NOTEBOOK,
        },
        lambda parts, i: "/".join(("submission_666", *parts)),
        {},
        PEOPLE,
    ),
    "Gradescope": Platform(
        {"submission_metadata.yml": b"", f"submission_123/{TOPIC}.ipynb": NOTEBOOK, "submission_124/x.ipynb": NOTEBOOK},
        lambda parts, i: "/".join(("submission_666", *parts)),
        {},
        (),
    ),
}

IMITATIONS = (
    TOPIC,
    f"{TOPIC}.ipynb",
    "timestamp.txt",
    "submission_metadata.yml",
    "onlinetext.html",
    "anna",
    "anna.ipynb",
    "zoe\u0308.ipynb",
    "zoë.ipynb",
    f"bob_{TOPIC}.ipynb",
    "bobb_124_900_x.ipynb",
    "annaa_123_900_x.ipynb",
    "carlc_126_900_x.ipynb",
    "124_900_x.ipynb",
    "LATE_124_900_x.ipynb",
    "126_text.html",
    "1_2_3_4.ipynb",
    "anon_Ab1cD_900_x.ipynb",
    "LATE_anon_Z9999_900_x.ipynb",
    "Bob B_124_assignsubmission_file_x.ipynb",
    "Carl C_126_assignsubmission_file_x.ipynb",
    "_126_assignsubmission_file",
    "_124_assignsubmission_file_",
    "Bob B_125_assignsubmission_onlinetext_x.ipynb",
    "submission_123",
    "HW 1_annaa_attempt_2026-11-20-10-00-00_x.ipynb",
    "x_attempt_2026-11-20-10-00-00_y.ipynb",
    f"bob+{TOPIC}+2026-11-29 16:37:48 UTC",
    f"bob - {TOPIC}.ipynb",
    "hw0_first_check",
    "__MACOSX",
    "a\\..\\..\\anna",
    "..\\anna\\x.ipynb",
    "C:\\anna.ipynb",
    "anna.zip",
    "x.zip",
    "x.ipynb",
)

FILE_NAMES = st.one_of(
    st.sampled_from(IMITATIONS),
    st.lists(st.sampled_from([*IMITATIONS, "_", " ", "7_", ".", ".ipynb", "ë", "LATE_"]), max_size=3).map("".join),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), max_size=8),
).filter(lambda name: name not in ("", ".", "..") and len(name.encode()) < 150)
UPLOADS = st.lists(
    st.tuples(
        st.lists(FILE_NAMES, min_size=1, max_size=3).map(tuple),
        st.sampled_from([NOTEBOOK, b"another notebook", b"zip", b"2001-01-01 00:00:00 UTC", b"{", b"PK\x03\x04"]),
        st.sampled_from([(2001, 1, 1, 0, 0, 0), (2090, 1, 1, 0, 0, 0), (1980, 1, 1, 0, 0, 0)]),
    ),
    min_size=1,
    max_size=5,
)


def packed(files: dict[str, tuple[bytes, tuple]]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, (data, date) in files.items():
            archive.writestr(zipfile.ZipInfo(name, date), data)
    return made.getvalue()


def write_class(place: Path, platform: Platform, upload: list, contents: dict[bytes, bytes], wrapper: str) -> None:
    """The class as a zip, or as a folder where `place` has no ending; without eve where `upload` is empty."""
    usual = (2026, 11, 20, 12, 0, 0)
    theirs = {
        platform.place(parts, i): (contents.get(data, data), date) for i, (parts, data, date) in enumerate(upload)
    }
    if upload:
        theirs |= {name: (data, usual) for name, data in platform.own.items()}
    if any(name.startswith("eve.zip/") for name in theirs):
        theirs = {"eve.zip": (packed({name.partition("/")[2]: file for name, file in theirs.items()}), usual)}
    files = theirs | {name: (contents.get(data, data), usual) for name, data in platform.others.items()}
    if place.suffix:
        place.write_bytes(packed({wrapper + name: file for name, file in files.items()}))
        return
    for name, (data, date) in files.items():
        path = place / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:  # of eve's, a file where she has a folder
            continue
        seconds = datetime(*date, tzinfo=UTC).timestamp()
        os.utime(path, (seconds, seconds))


def rows(place: Path, platform: Platform) -> dict[str, tuple]:
    """By student what becomes of each, and of their place in the roster."""
    found = collect(place, TOPIC)
    columns = ("ID", "Student", "SIS Login ID")
    listed = [Listed({"id": id, "name": name, "login": login}, {}) for id, name, login in platform.listed]
    is_moodle = any("assignsubmission" in name for name in platform.others)
    matched = match(Roster(("Identifier",) if is_moodle else columns, tuple(listed)), found)
    return {student.student: (row_of(student), matched.places.get(student.student)) for student in matched.found}


def row_of(student: Found) -> tuple:
    files = []
    for entry in student.entries:
        try:
            files.append((entry.parts, entry.read and entry.read(), entry.time))
        except Unreadable as problem:
            files.append((entry.parts, str(problem)))
    try:
        submission = choose(student, TOPIC, *TEMPLATE)
        chosen = (submission.cells, submission.messages, submission.handed_in)
    except (Missing, Unreadable) as problem:
        chosen = (type(problem), str(problem), getattr(problem, "status", ""))
    return student.upload, student.doubt, tuple(files), chosen


def check_uploads(folder: Path, new_work, count: int, derandomize: bool) -> None:
    work = new_work().to_bytes()
    inner = packed({f"{name}": (work, (2001, 1, 1, 0, 0, 0)) for name in (f"{TOPIC}.ipynb", "anna/x.ipynb")})
    contents = {NOTEBOOK: work, b"another notebook": new_work().solve().to_bytes(), b"zip": inner}
    number = iter(range(10**9))
    alone = {}
    for name, platform in PLATFORMS.items():
        for kind, wrapper in (("class.zip", ""), ("class.zip", "a class/"), ("class", "")):
            place = folder / f"{next(number)}" / kind
            place.parent.mkdir()
            write_class(place, platform, [], contents, wrapper)
            alone[name, kind, wrapper] = rows(place, platform)

    @settings(
        max_examples=count,
        derandomize=derandomize,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(sorted(alone)), UPLOADS)
    def try_it(case, upload):
        name, kind, wrapper = case
        place = folder / f"{next(number)}" / kind
        place.parent.mkdir()
        write_class(place, PLATFORMS[name], upload, contents, wrapper)
        together = rows(place, PLATFORMS[name])
        assert {student: row for student, row in together.items() if student in alone[case]} == alone[case]
        # What is more is eve's, and is nobody of the roster.
        more = [row for student, row in together.items() if student not in alone[case]]
        assert all(place is None for _, place in more)

    try_it()


def test_no_upload_changes_anothers_row(tmp_path, new_work):
    check_uploads(tmp_path, new_work, 100, derandomize=True)


@pytest.mark.long
def test_no_upload_changes_anothers_row_at_length(tmp_path, new_work):
    check_uploads(tmp_path, new_work, 10_000, derandomize=False)

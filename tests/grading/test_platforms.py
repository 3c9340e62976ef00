"""The downloads of each platform, as it lays them out: whose is what, and when it was handed in."""

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from course.grading.collect.choose import Submission, choose
from course.grading.collect.find import collect
from course.grading.collect.handed_in import HandedIn
from course.grading.collect.platforms import Upload, read_gradescope_list
from course.grading.collect.roster import match, read_roster
from course.grading.collect.whose import Found
from course.grading.problems import Missing, Unreadable
from course.grading.read.cells import cells_from_notebook
from course.grading.read.merge import Template
from course.grading.record.deadlines import Deadline
from course.grading.record.result import StudentResult
from tests.grading.conftest import SOLVED, TOPIC

TARGETS = {"double": ("double",), "mean_and_spread": ("mean_and_spread",), "Scale": ("Scale",)}


@pytest.fixture(scope="module")
def template(released) -> Template:
    return Template.from_cells(cells_from_notebook(released), TARGETS)


@pytest.fixture
def chosen(template):
    def chosen(found: dict[str, Found], student: str) -> Submission:
        return choose(found[student], TOPIC, template)

    return chosen


def write(place: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return place


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def of(place: Path) -> dict[str, Found]:
    return {found.student: found for found in collect(place, TOPIC)}


def both_ways(tmp_path: Path, top: str, files: dict[str, bytes]) -> list[dict[str, Found]]:
    """The class from a folder, and from a zip with that folder in it."""
    folder = write(tmp_path / "folder" / top, files)
    packed = tmp_path / f"{top}.zip"
    packed.write_bytes(zipped({f"{top}/{name}": data for name, data in files.items()}))
    return [of(folder), of(packed)]


def local(*when: int) -> datetime:
    return datetime(*when).astimezone(UTC)


def test_blackboard(tmp_path, new_work, chosen):
    released, early, solved = (
        new_work().to_bytes(),
        new_work().write(double=SOLVED["double"]).to_bytes(),
        new_work().solve().to_bytes(),
    )
    start = "Homework 9 - Small"
    for found in both_ways(
        tmp_path,
        "gradebook_2026-DL-01_Homework20920-20Small_2026-12-01-09-00-00",
        {
            f"{start}_alovelace_attempt_2026-11-20-10-00-00_{TOPIC}.ipynb": solved,
            f"{start}_alovelace_attempt_2026-11-20-10-00-00.txt": b"Name: Ada Lovelace (alovelace)\n",
            f"{start}_alovelace_attempt_2026-11-21-16-37-49_{TOPIC}.ipynb": early,
            f"{start}_alovelace_attempt_2026-11-22-16-37-49_{TOPIC}.ipynb": released,
            f"{start}_g_hopper_attempt_2026-11-21-16-37-50_my_attempt_2026.ipynb": solved,
            f"{start}_e_hopper_attempt_2026-11-21-16-37-51_x_attempt_2026-11-21-16-37-50_y.ipynb": solved,
            f"{start}_enoether_attempt_2026-11-21-16-37-52.txt": b"Name: Emmy Noether (enoether)\n",
        },
    ):
        hoppers = sorted(name for name in found if "hopper" in name)
        assert sorted(found) == sorted(["alovelace", "enoether", *hoppers]) and len(hoppers) == 2
        ada = chosen(found, "alovelace")
        told = ada.handed_in
        assert (told.time, told.system) == (local(2026, 11, 21, 16, 37, 49), "Blackboard")
        assert len(ada.messages) == 1 and "the last one with work in it, of 2026-11-2" in ada.messages[0]
        assert not any(cell.source == SOLVED["Scale"] for cell in ada.cells)
        times = {chosen(found, name).handed_in.time for name in hoppers}
        assert times == {local(2026, 11, 21, 16, 37, second) for second in (50, 51)}
        with pytest.raises(Missing):
            chosen(found, "enoether")


LIST = """\
---
submission_101:
  :submitters:
  - :name: Ada Lovelace
    :sid: '123'
    :email: ada@x.org
  :created_at: 2026-11-21 16:37:48.123456789 Z
  :score: 0.0
  :status: processed
  :results:
    tests:
    - name: |
        submission_103:
          :submitters:
          - :name: Nobody
      output: ":created_at: 2001-01-01 00:00:00 Z"
      more: one\u2028submission_103:\u2028  :submitters:\u2028  - :name: Nobody
  :history: []
submission_102:
  :submitters:
  - :name: 'Grace O''Hopper'
    :sid:
    :email: grace@x.org
  - :name: "Zo\\xEB M\\u00fcller"
    :sid: '125'
    :email: zoe@x.org
  :created_at: 2026-11-21 08:37:49 -08:00
"""


def test_gradescope(tmp_path, new_work, chosen):
    solved = new_work().solve().to_bytes()
    for found in both_ways(
        tmp_path,
        "assignment_7_export",
        {
            "submission_metadata.yml": LIST.encode(),
            f"submission_101/{TOPIC}.ipynb": solved,
            "submission_102/pair.ipynb": solved,
            "submission_103/late.ipynb": solved,
        },
    ):
        assert list(found) == ["Ada Lovelace", "Grace O'Hopper", "Zoë Müller", "submission_103"]
        assert found["Ada Lovelace"].upload == Upload("Gradescope", "ada@x.org")
        told = chosen(found, "Ada Lovelace").handed_in
        assert told.time == datetime(2026, 11, 21, 16, 37, 48, 123456, UTC) and told.told_by == "by Gradescope"
        for student in ("Grace O'Hopper", "Zoë Müller"):
            submission = chosen(found, student)
            assert submission.handed_in.time == datetime(2026, 11, 21, 16, 37, 49, tzinfo=UTC)
            assert submission.messages == []


def test_gradescope_names_two_students_alike(tmp_path, new_work):
    text = "".join(
        f"submission_{i}:\n  :submitters:\n  - :name: Ada\n    :email: {mail}\n" for i, mail in ((1, "a@x"), (2, "b@x"))
    )
    files = {f"submission_{i}/x.ipynb": new_work().to_bytes() for i in (1, 2)}
    assert list(of(write(tmp_path, {"submission_metadata.yml": text.encode(), **files}))) == ["Ada_a@x", "Ada_b@x"]


@pytest.mark.parametrize(
    "text", ["", "\0\xff", "submission_1:\n  :submitters:\n  - :name:\n", "submission_1:\n", "a: [b\n" * 10, "- - -"]
)
def test_a_list_of_gradescope_that_tells_nothing(text):
    assert read_gradescope_list(text.encode("latin-1")) == {}


def test_nbgraders_exchange_before_it_is_collected(tmp_path, new_work, chosen):
    solved, begun, released = (
        new_work().solve().to_bytes(),
        new_work().write(double=SOLVED["double"]).to_bytes(),
        new_work().to_bytes(),
    )
    day = "2026-11-2{} 16:37:48.123456 {}".format
    for found in both_ways(
        tmp_path,
        "inbound",
        {
            f"ada+{TOPIC}+{day(0, 'UTC')}+Ab_-12345678/{TOPIC}.ipynb": solved,
            f"ada+{TOPIC}+{day(1, 'UTC')}+Ab_-12345679/{TOPIC}.ipynb": begun,
            f"ada+{TOPIC}+{day(1, 'UTC')}+Ab_-12345679/timestamp.txt": b"2001-01-01 00:00:00 UTC",
            f"ada+{TOPIC}+{day(2, 'UTC')}+Ab_-12345670/{TOPIC}.ipynb": released,
            f"ada+hw0_first_check+{day(3, 'UTC')}+Ab_-12345671/hw0_first_check.ipynb": solved,
            f"grace+h+{TOPIC}+{day(1, 'CET')}/{TOPIC}.ipynb": solved,
            f"emmy+hw0_first_check+{day(1, 'UTC')}+Ab_-12345671/hw0_first_check.ipynb": solved,
        },
    ):
        assert list(found) == ["ada", "emmy", "grace+h"]
        ada = chosen(found, "ada")
        assert ada.handed_in.time == datetime(2026, 11, 21, 16, 37, 48, 123456, UTC)
        assert "the last one with work in it, of 2026-11-21 16:37 UTC by nbgrader" in ada.messages[0]
        assert chosen(found, "grace+h").handed_in.time == datetime(2026, 11, 21, 15, 37, 48, 123456, UTC)
        with pytest.raises(Missing, match=f"no notebook of {TOPIC}"):
            chosen(found, "emmy")


def test_google_classroom(tmp_path, new_work, chosen):
    solved = new_work().solve().to_bytes()
    for found in both_ways(
        tmp_path,
        "Homework 9",
        {
            f"Ada Lovelace - {TOPIC}.ipynb": solved,
            "Grace Hopper - My homework - final.ipynb": solved,
            f"Zoe M - {TOPIC}.ipynb": solved,
            "Zoe M - x.ipynb": solved,
        },
    ):
        assert list(found) == ["Ada Lovelace", "Grace Hopper", "Zoe M"]
        for student in ("Ada Lovelace", "Grace Hopper"):
            submission = chosen(found, student)
            assert submission.messages == [] and submission.handed_in.time is None
        with pytest.raises(Unreadable, match="claims to be of Zoe M of Google Classroom") as caught:
            chosen(found, "Zoe M")
        assert caught.value.status == "ambiguous"


def test_dashes_in_the_names_of_students_are_not_googles(tmp_path, new_work):
    solved = new_work().solve().to_bytes()
    names = ("Lovelace - Ada", "Hopper - Grace", "Hopper - Dave")
    assert list(of(write(tmp_path / "files", {f"{name}.ipynb": solved for name in names}))) == sorted(names)
    folders = {f"{name}/{TOPIC}/{TOPIC}.ipynb": solved for name in names}
    assert list(of(write(tmp_path / "folders", folders))) == sorted(names)
    assert list(of(write(tmp_path / "one", {f"Ada L - {TOPIC}.ipynb": solved}))) == ["Ada L"]


def test_github_classroom(tmp_path, new_work, chosen):
    solved, released = new_work().solve().to_bytes(), new_work().to_bytes()
    files = {
        f"hw9-small-ada/{TOPIC}/{TOPIC}.ipynb": released,
        f"hw9-small-ada/{TOPIC}/finished.ipynb": solved,
        "hw9-small-ada/.git/HEAD": b"ref: refs/heads/main",
        "hw9-small-ada/README.md": b"# Homework",
        f"hw9-small-grace-hopper/{TOPIC}/{TOPIC}.ipynb": solved,
    }
    for found in both_ways(tmp_path, "hw9-small-submissions", files):
        assert list(found) == ["ada", "grace-hopper"]
        assert "finished.ipynb was graded" in chosen(found, "ada").messages[0]
        assert chosen(found, "grace-hopper").messages == [] and chosen(found, "ada").handed_in.time is None
    (tmp_path / "roster.csv").write_text("username,name\nada,Ada L\ngrace-hopper,Grace H\n")
    matched = match(read_roster(tmp_path / "roster.csv"), list(found.values()))
    assert matched.unmatched == ()
    one = {name: data for name, data in files.items() if "ada" in name}
    assert [list(found) for found in both_ways(tmp_path / "one", "hw9-small-submissions", one)] == [["ada"], ["ada"]]


def test_an_anonymous_download_of_canvas_with_codes_of_any_length(tmp_path, new_work, chosen):
    solved = new_work().solve().to_bytes()
    for found in both_ways(
        tmp_path,
        "submissions",
        {
            f"anon_Ab1cD_900_{TOPIC}.ipynb": solved,
            f"LATE_anon_x8Yz1w_901_{TOPIC}-2.ipynb": solved,
            f"anon_123456_902_{TOPIC}.ipynb": solved,
        },
    ):
        assert list(found) == ["anon_123456", "anon_Ab1cD", "anon_x8Yz1w"]
        assert chosen(found, "anon_x8Yz1w").handed_in.late and chosen(found, "anon_x8Yz1w").messages == []


def test_names_of_files_are_no_remark_in_a_download(tmp_path, new_work, chosen):
    solved = new_work().solve().to_bytes()
    found = of(write(tmp_path, {f"s{i}_{100 + i}_{900 + i}_my homework {i}.ipynb": solved for i in range(5)}))
    assert [chosen(found, student).messages for student in found] == [[]] * 5


# -- what a date is worth


def test_the_date_of_a_copy_costs_nobody_a_point(tmp_path, new_work, chosen):
    """A class copied after it was due: 13 of 15 lost half of their points by the dates of the copies."""
    found = of(write(tmp_path, {f"anna/{TOPIC}/{TOPIC}.ipynb": new_work().solve().to_bytes()}))
    handed_in = chosen(found, "anna").handed_in
    deadline = Deadline(datetime(2001, 1, 1, tzinfo=UTC), penalty_per_day=0.5)
    row = deadline.applied(StudentResult("anna", "anna", ("graded",), handed_in=handed_in))
    assert row.status == "graded" and row.penalty == 0
    assert f"the file's own date {handed_in.file_date:%Y-%m-%d} was not used" in row.lateness
    assert deadline.undated([row]) == ["anna"] and Deadline().undated([row]) == []
    assert StudentResult.from_json(row.to_json()) == row
    on_canvas = StudentResult("bert", "bert", ("graded",), handed_in=HandedIn(system="Canvas"))
    assert deadline.undated([on_canvas]) == []  # it marks what is late

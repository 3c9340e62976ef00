"""The files for Canvas and Moodle, and the list of students that both export."""

import csv
import io
from dataclasses import replace

import pytest

from course.grading.collect.platforms import Upload
from course.grading.collect.roster import Roster, match, read_roster
from course.grading.collect.whose import Found
from course.grading.judge.exercise import ExerciseResult
from course.grading.problems import BadRoster
from course.grading.record.exports import canvas_csv, harmless, moodle_csv
from course.grading.record.result import Mark, StudentResult

TOPIC = "hw9_small"

CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,Old homework (7),HW9_small (4711),Final Score
    Points Possible,,,,,10,6.5,(read only)
"Lovelace, Ada",101,S1,ada@x.org,Group 1,3,,40
"Student, Test",999,,f00,Group 1,,,
"Hopper, Grace",102,S2,ghopper,Group 2,4,,50
"Noether, Emmy",103,S3,enoether,Group 2,4,,50
"""

MOODLE = """\
Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed,Last modified (submission),\
Last modified (grade),Feedback comments
Participant 201,Grace Hopper,grace@x.org,Submitted for grading,,10,Yes,"Friday, 20 November 2026, 4:00 PM",-,
Participant 202,Ada Lovelace,ada@x.org,No submission,-,10,Yes,-,-,
"""


@pytest.fixture
def roster(tmp_path):
    def read(text: str, encoding: str = "utf-8-sig") -> Roster:
        path = tmp_path / "roster.csv"
        path.write_text(text, encoding=encoding)
        return read_roster(path)

    return read


def result(student: str, earned: float = 2, **more) -> StudentResult:
    exercises = (ExerciseResult("double", earned, 2, "right" if earned else "wrong", "Not <b>double</b>."),)
    return StudentResult(student, student, ("graded",), exercises, **more)


def missing(student: str) -> StudentResult:
    return StudentResult(student, student, ("missing",), messages=("There is no notebook.",))


def rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode())))


def found(*names: str) -> list[Found]:
    return [Found(name, ()) for name in names]


def test_without_a_roster():
    students = match(Roster(), found("anna", "bert"))
    results = [result("anna"), missing("bert")]
    assert canvas_csv(TOPIC, 2, results, students, Roster()).decode() == (
        "Student,ID,SIS User ID,SIS Login ID,Section,hw9_small\n    Points Possible,,,,,2\nanna,,,,,2\nbert,,,,,\n"
    )
    header, anna, bert = rows(moodle_csv(TOPIC, 2, results, students, Roster()))
    assert header == [
        "Identifier",
        "Full name",
        "Email address",
        "Status",
        "Grade",
        "Maximum grade",
        "Grade can be changed",
        "Last modified (submission)",
        "Last modified (grade)",
        "Feedback comments",
    ]
    assert anna == ["", "anna", "", "", "2", "2", "Yes", "", "", ""]
    assert bert[4] == "" and bert[-1] == "There is no notebook."


def test_what_canvas_exported_goes_back_in_its_order(roster):
    listed = roster(CANVAS)
    uploads = [Found("hoppergrace", (), Upload("Canvas", "102")), *found("ada@x.org", "eve")]
    students = match(listed, uploads)
    assert students.unmatched == ("eve",)
    # Emmy handed in nothing; she is called as most of the others are.
    assert [student.student for student in students.found] == ["Noether, Emmy", "ada@x.org", "eve", "hoppergrace"]
    results = [missing("Noether, Emmy"), result("ada@x.org"), result("eve"), result("hoppergrace", 0)]
    assert rows(canvas_csv(TOPIC, 2, results, students, listed)) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "HW9_small (4711)"],
        ["    Points Possible", "", "", "", "", "2"],
        ["Lovelace, Ada", "101", "S1", "ada@x.org", "Group 1", "2"],
        ["Hopper, Grace", "102", "S2", "ghopper", "Group 2", "0"],
        ["Noether, Emmy", "103", "S3", "enoether", "Group 2", ""],
        ["eve", "", "", "", "", "2"],
    ]


def test_what_moodle_exported_goes_back_with_its_columns(roster):
    listed = roster(MOODLE)
    students = match(listed, [Found("Grace Hopper", (), Upload("Moodle", "201"))])
    assert [student.student for student in students.found] == ["Ada Lovelace", "Grace Hopper"]
    header, grace, ada = rows(
        moodle_csv(TOPIC, 2, [missing("Ada Lovelace"), result("Grace Hopper", 0)], students, listed)
    )
    assert header == MOODLE.partition("\n")[0].split(",")
    assert grace[:2] + grace[4:6] + grace[7:] == [
        "Participant 201",
        "Grace Hopper",
        "0",
        "10",
        "Friday, 20 November 2026, 4:00 PM",
        "-",
        "double: Not &lt;b&gt;double&lt;/b&gt;.",
    ]
    assert ada[0] == "Participant 202" and ada[4] == "" and ada[8] == "-"


def test_ids_of_a_download_are_enough_for_the_import():
    uploads = [Found("lovelaceada", (), Upload("Canvas", "101")), Found("Emmy", (), Upload("Moodle", "203"))]
    students = match(Roster(), uploads)
    results = [result("lovelaceada"), result("Emmy")]
    canvas, moodle = (write(TOPIC, 2, results, students, Roster()) for write in (canvas_csv, moodle_csv))
    assert [row[1] for row in rows(canvas)[2:]] == ["101", ""]
    assert [row[0] for row in rows(moodle)[1:]] == ["", "Participant 203"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("alovelace", 0),
        ("AL@x.org", 0),
        ("al", 0),
        ("S1", 0),
        ("Ada Lovelace", 0),
        ("Lovelace, Ada", 0),
        ("lovelaceada", 0),
        ("ada_lovelace", 0),
        ("zoë-müller", 1),
        ("Zoe\u0308 Müller", 1),
        ("smith", None),
        ("11", 0),
        ("nobody", None),
    ],
)
def test_a_student_is_found_by_whatever_names_one(roster, name, place):
    listed = roster(
        "id;Full name;Email address;Username;ID number\n11;Ada Lovelace;al@x.org;alovelace;S1\n12;Zoë Müller;;;\n"
        "13;John Smith;smith@x.org;;\n14;Jane Smith;smith@y.org;;\n"
    )
    students = match(listed, found(name))
    assert students.places.get(name) == place and len(students.found) == (4 if place is not None else 5)
    assert (students.unmatched == ()) == (place is not None)


def test_nobody_is_taken_twice_and_no_two_are_called_alike(roster):
    listed = roster("name,login\nAda,ada\nAda,ada2\nBert,\n")
    students = match(listed, found("ada", "Ada"))
    assert sorted(students.places.values()) == [0, 1, 2] and len(students.found) == 4
    assert len({student.student for student in students.found}) == 4
    assert students.unmatched == ("Ada",) and students.places["ada"] == 0


def test_an_id_of_another_system_is_nobodys(roster):
    students = match(roster(CANVAS), [Found("eve", (), Upload("Moodle", "102"))])
    assert students.unmatched == ("eve",)


def test_columns_of_other_kinds(roster):
    listed = roster("First name,Last name,Email address\nAda,Lovelace,ada@x.org\n", "utf-8")
    assert [(student.name, student.known["email"]) for student in listed.listed] == [("Ada Lovelace", "ada@x.org")]
    assert listed.system == "Moodle"
    assert match(listed, found("adalovelace")).unmatched == ()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no column"),
        (b"points,grade\n1,2\n", "no column .* it takes columns called id, name, email or login"),
        (b"name\n\xff\xfe\n", "not UTF-8"),
        (b'name\n"' + b"x" * 200_000 + b'"\n', "no CSV"),
    ],
)
def test_what_is_no_roster(tmp_path, data, words):
    path = tmp_path / "roster.csv"
    path.write_bytes(data)
    with pytest.raises(BadRoster, match=words) as caught:
        read_roster(path)
    assert str(caught.value).startswith(str(path))
    with pytest.raises(BadRoster, match="cannot be read: No such file"):
        read_roster(tmp_path / "nowhere.csv")


def test_written_questions_go_out_when_all_are_marked():
    students = match(Roster(), found("anna", "bert", "carl"))
    anna = result("anna", written={"why": 3.0}, marks={"why": Mark(2.5)}, penalty=0.1)
    bert = result("bert", written={"why": 3.0})
    for results, expected in (
        ([anna, bert], ["2", "1.8", "2"]),
        ([anna, replace(bert, marks={"why": Mark(0)}), missing("carl")], ["5", "4.05", "2", ""]),
    ):
        canvas, moodle = (write(TOPIC, 2, results, students, Roster()) for write in (canvas_csv, moodle_csv))
        assert [row[-1] for row in rows(canvas)[1:]] == expected
        assert [row[4] for row in rows(moodle)[1:]] == expected[1:] and rows(moodle)[1][5] == expected[0]


def test_a_spreadsheet_runs_no_formula(roster):
    names = ("=1+1", "+cmd", "@sum", "-2+3")
    listed = roster("Identifier,Full name,Email address\n" + "".join(f"{name},{name},{name}\n" for name in names))
    for given in (Roster(), listed):
        students = match(given, found(*names))
        results = [result(name, messages=("=HYPERLINK(1)",), marks={"double": Mark(-1)}) for name in names]
        for data in (canvas_csv("=hw", 2, results, students, given), moodle_csv(TOPIC, 2, results, students, given)):
            for row in rows(data):
                assert not [value for value in row if value.startswith(("=", "+", "@", "-2"))], row
        assert [row[-1] for row in rows(canvas_csv(TOPIC, 2, results, students, given))[2:]] == ["-1"] * 4


def test_a_download_with_ids_is_matched_by_ids_alone(roster):
    """Eve is called as ada is, and is not in the roster; ada handed in nothing."""
    eve = Found("lovelaceada", (), Upload("Canvas", "666"))
    students = match(roster(CANVAS), [eve, Found("hoppergrace", (), Upload("Canvas", "102"))])
    assert students.unmatched == ("lovelaceada",) and students.places["hoppergrace"] == 1
    names_only = roster("Full name,Email address\nLovelaceada,\n")
    assert match(names_only, [Found("lovelaceada", (), Upload("Moodle", "666"))]).unmatched == ()


def test_a_student_without_an_id_in_an_anonymous_download():
    students = match(Roster(), [Found("anon_Ab1cD", (), Upload("Canvas", ""))])
    assert rows(canvas_csv(TOPIC, 2, [result("anon_Ab1cD")], students, Roster()))[-1] == [
        "anon_Ab1cD",
        "",
        "",
        "",
        "",
        "2",
    ]


def test_of_whom_it_is_not_known_whose_work_it_is_gets_no_grade():
    students = match(Roster(), found("anna"))
    doubted = StudentResult("anna", "anna", ("ambiguous",), messages=("Each of a and b claims to be of anna.",))
    assert doubted.status == "ambiguous" and doubted.points == 0
    assert rows(canvas_csv(TOPIC, 2, [doubted], students, Roster()))[-1][-1] == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("＝1+1", "'＝1+1"),
        ("＠sum", "'＠sum"),
        ("﹣1", "'﹣1"),
        ("a;=1+1", "a;'=1+1"),
        ("a;  ＋1", "a;'  ＋1"),
        ("a\t=1", "a\t'=1"),
        ("a\n-1", "a\n'-1"),
        ("a|@b", "a|'@b"),
        ("  =1", "'  =1"),
        ("\tx", "'\tx"),
        (";=1;=2", ";'=1;'=2"),
        ("a-b; c = d, -1", "a-b; c = d, -1"),
        ("shape (2, -1)", "shape (2, -1)"),
        ("", ""),
    ],
)
def test_no_cell_begins_a_formula_wherever_a_program_sees_a_cell(text, expected):
    """The comma needs no care: with it as the separator, the quotes around a text are understood."""
    assert harmless(text) == expected
    for separator in ";\t|":
        line = io.StringIO()
        csv.writer(line).writerow(["anna", harmless(text), "0"])
        for row in csv.reader(io.StringIO(line.getvalue(), newline=""), delimiter=separator):
            assert not [cell for cell in row if cell.strip()[:1] in tuple("=+-@＝＋－＠﹣")], row

"""Fair to every submission that real tools produce: the class of `tests.grading.real_class` gets its table.

Then the small classes of the platforms, which cannot be mixed in one, and what users of other graders reported in
public: each test is named for the report and says in its own words what happened there.
"""

import csv
import html
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from course.grading import grade as grading
from course.grading import grade_command
from tests.grading import real_class
from tests.grading.real_class import (
    CASES,
    FULL,
    NOTEBOOK,
    NOTHING,
    TOPIC,
    WRONG_DOUBLE,
    Case,
    Work,
    as_bytes,
    exported,
    percent,
    write_class,
    write_course,
    zipped,
)

SEED = 17
SECONDS = 8  # for a cell or an exercise; one student sleeps that long
EXERCISES = ("double", "mean_and_spread", "Scale")
DUE = "2026-11-30T12:00:00Z"


@dataclass(frozen=True)
class Graded:
    """A class after `course grade`."""

    out: Path
    rows: dict[str, dict[str, str]]
    printed: str = ""

    def page(self, student: str) -> str:
        """The text of a student's page, without the student's name, which says what happened."""
        (path,) = [p for p in (self.out / "feedback").glob("*.html") if _is_page_of(p, student)]
        return html.unescape(re.sub(r"<[^>]+>", " ", path.read_text(encoding="utf-8"))).replace(student, "STUDENT")


def _is_page_of(path: Path, student: str) -> bool:
    safe = re.sub(r"[^\w.@+=-]", "_", student)
    return path.stem == safe or (safe != student and path.stem.startswith(f"{safe}-"))


class Course:
    """The repository of one homework, its notebook as students receive it, and the command in it."""

    def __init__(self, root: Path):
        self.root = root
        self.released = write_course(root)

    def work(self) -> Work:
        return Work(self.released)

    def solved(self) -> Work:
        return self.work().solve()

    def grade(self, submissions: Path, out: Path, **options) -> Graded:
        before = os.getcwd()
        os.chdir(self.root)
        try:
            assert (
                grade_command(submissions, TOPIC, out, **{"workers": 2, "seed": SEED, "timeout": SECONDS, **options})
                == 0
            )
        finally:
            os.chdir(before)
        with open(out / "grades.csv", newline="", encoding="utf-8") as file:
            rows = {row["student"]: row for row in csv.DictReader(file)}
        return Graded(out, rows)


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Iterator[Course]:
    """The exam is prepared once for all classes: it follows from the seed."""
    made, prepare = {}, grading.prepare_exam

    def prepare_once(root, folder, seed, *rest):
        if seed not in made:
            made[seed] = prepare(root, folder, seed, *rest)
        return made[seed]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "prepare_exam", prepare_once)
        yield Course(tmp_path_factory.mktemp("repository"))


SHORT = {name: case for name, case in CASES.items() if not case.long}
LONG = {name: case for name, case in CASES.items() if case.long}


@pytest.fixture(scope="module")
def graded(course, tmp_path_factory) -> Graded:
    return _graded(course, tmp_path_factory, SHORT)


@pytest.fixture(scope="module")
def graded_long(course, tmp_path_factory) -> Graded:
    return _graded(course, tmp_path_factory, LONG)


def _graded(course: Course, tmp_path_factory, cases: dict[str, Case]) -> Graded:
    folder = tmp_path_factory.mktemp("submissions")
    write_class(folder, course.released, cases.values())
    return course.grade(folder, tmp_path_factory.mktemp("graded") / "grades")


def earned(row: dict[str, str]) -> tuple[float, ...]:
    """Points by exercise; 0 where nothing could be graded."""
    return tuple(float(row[name] or 0) for name in EXERCISES)


# -- the class


def test_every_student_has_one_row(graded):
    """And nobody comes out of nowhere: no file of a student makes another one."""
    assert len(SHORT) >= 40 and {case.kind for case in SHORT.values()} == {1, 2, 3, 4, 5, 6, 7, 8, 11}
    assert set(SHORT) - set(graded.rows) == set() == set(graded.rows) - set(SHORT)


def _id(case: Case) -> str:
    return f"{case.kind}-{case.name}"


@pytest.mark.parametrize("case", [case for case in SHORT.values() if case.kind != 11], ids=_id)
def test_a_fair_instructor_would_give(graded, case):
    assert_fair(graded, case)


@pytest.mark.long
@pytest.mark.parametrize("case", LONG.values(), ids=_id)
def test_a_fair_instructor_would_give_the_variants(graded_long, case):
    assert_fair(graded_long, case)


def assert_fair(graded: Graded, case: Case) -> None:
    assert case.name in graded.rows, f"no row of that name; there is {[n for n in graded.rows if case.name in n]}"
    row = graded.rows[case.name]
    message = row["message"].replace(case.name, "STUDENT")  # the name says what happened
    got = f"{earned(row)} {row['status']}: {message}"
    if case.earned is not None:
        assert earned(row) == case.earned, got
        assert float(row["points"]) == sum(case.earned) + float(row["why"] or 0), got
    assert re.fullmatch(case.status, row["status"]), got
    for words in case.says:
        assert re.search(words, message), f"no {words!r} in {got}"
    assert not (case.silent and re.search(case.silent, message)), got
    if case.why is not None:
        assert row["why"] == case.why, got
    if case.page:
        assert re.search(case.page, " ".join(graded.page(case.name).split())), f"{case.page!r} is on no page: {got}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("copy1_beside_the_released", "Copy1"),
        ("less_work_in_the_copy", "Copy1"),
        ("two_different_answers", "Copy1"),
        ("an_answer_that_needs_seaborn", "ModuleNotFoundError"),
        ("git_conflict_in_the_file", "(?i)conflict"),
    ],
)
def test_what_the_row_says_stands_on_the_page(graded, name, words):
    """What was set aside, a tie, a line that failed: its author reads the page, not the table."""
    assert re.search(words, graded.page(name))


def test_an_answer_below_its_cell_is_not_lost(graded):
    """moorepants/resonance#109, a teacher's notes on nbgrader: students leave the cell of the answer and write below it,
    where it is easily missed. It waits for a person, or the row of an automatic 0 says that there is more to read.
    """
    row = graded.rows["answer_below_the_cell"]
    assert row["why"] == "" or re.search(r"(?i)\bwhy\b|answer|below|added", row["message"]), row


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("colab_drive_above_helpers", "ModuleNotFoundError"),
        ("report_nbgrader_729", "ModuleNotFoundError"),
        ("debug_print_in_an_own_cell", "NameError"),
        ("an_own_test_that_fails", "AssertionError"),
    ],
)
def test_a_failing_line_that_cost_nothing_is_told_to_its_author(graded, name, error):
    assert earned(graded.rows[name]) == FULL
    assert re.search(rf"(?s)line \d+.{{0,300}}{error}|{error}.{{0,300}}line \d+", graded.page(name))


# -- platforms


def put(folder: Path, files: dict[str, Work | bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_bytes(content))
    return folder


def config(folder: Path, *lines: str) -> Path:
    path = folder / "due.toml"
    path.write_text("\n".join([f"[{TOPIC}]", f"due = {DUE}", *lines]) + "\n")
    return path


def assert_all(graded: Graded, points: dict[str, tuple]) -> None:
    assert sorted(graded.rows) == sorted(points)
    assert {name: earned(row) for name, row in graded.rows.items()} == points, {
        name: row["message"] for name, row in graded.rows.items()
    }


def test_canvas(course, tmp_path):
    """ "Download Submissions": names first, LATE between, the file as it was called; a second try ends in ``-1``."""
    files = {
        f"lovelaceada_1234_567801_{NOTEBOOK}": course.solved(),
        f"hopperbob_LATE_1235_567802_{TOPIC}-1.ipynb": course.solved(),
        f"kochchen_1236_567803_{TOPIC}.ipynb": course.work(),
        f"kochchen_1236_567804_{TOPIC}-1.ipynb": course.solved(),
        "dupontdora_1237_text.html": "<p>I could not upload it.</p>",
        f"eulerfay_1238_567806_{TOPIC}.ipynb.txt": course.solved(),
    }
    graded = course.grade(
        put(tmp_path / "s", files), tmp_path / "g", config=config(tmp_path, "late_penalty_per_day = 0.5")
    )
    assert_all(
        graded,
        {"lovelaceada": FULL, "hopperbob": FULL, "kochchen": FULL, "dupontdora": NOTHING, "eulerfay": FULL},
    )
    assert "late" in graded.rows["hopperbob"]["status"] and "late" not in graded.rows["lovelaceada"]["status"]
    assert [float(graded.rows[name]["points"]) for name in ("lovelaceada", "hopperbob", "kochchen")] == [6.5] * 3
    assert re.search(r"-1\.ipynb", graded.rows["kochchen"]["message"])
    # A name that the platform made is no remark worth a person's time.
    assert graded.rows["lovelaceada"]["message"] == ""


def test_canvas_with_anonymous_grading(course, tmp_path):
    files = {
        f"anon_aB3dE_567801_{NOTEBOOK}": course.solved(),
        f"LATE_anon_Zz9yX_567802_{NOTEBOOK}": course.solved(),
        f"anon_00000_567803_{TOPIC}-2.ipynb": course.solved(),
    }
    graded = course.grade(put(tmp_path / "s", files), tmp_path / "g")
    assert_all(graded, {"anon_aB3dE": FULL, "anon_Zz9yX": FULL, "anon_00000": FULL})
    assert "late" in graded.rows["anon_Zz9yX"]["status"]


@pytest.mark.long
def test_moodle(course, tmp_path):
    """With and without folders; accents, an apostrophe, a text typed in beside the file."""
    files = {
        f"Ada Lovelace_101_assignsubmission_file/{NOTEBOOK}": course.solved(),
        f"Zoë O'Brien_102_assignsubmission_file/{TOPIC} (1).ipynb": course.solved(),
        f"Zoë O'Brien_102_assignsubmission_file/{NOTEBOOK}": course.work(),
        "Zoë O'Brien_102_assignsubmission_onlinetext/onlinetext.html": "<p>Please take the second one.</p>",
        "Chen Wu_103_assignsubmission_file/work.zip": zipped({f"work/{NOTEBOOK}": course.solved()}),
    }
    class_zip = tmp_path / "CS 101-Homework 9-4711.zip"
    class_zip.write_bytes(zipped(files))
    graded = course.grade(class_zip, tmp_path / "g")
    assert_all(graded, {"Ada Lovelace": FULL, "Zoë O'Brien": FULL, "Chen Wu": FULL})


def test_gradescope(course, tmp_path):
    """ "Export Submissions": a folder a submission, and a list that is no student."""
    listed = (
        "---\nsubmission_90001:\n  :submitters:\n  - :name: Ada Lovelace\n    :sid: '17'\n    :email: ada@example.org\n"
        "  :created_at: 2026-11-30 11:00:00.000000000 Z\n  :score: 0.0\n  :status: processed\n"
        "submission_90002:\n  :submitters:\n  - :name: Bob Hopper\n    :sid: '18'\n    :email: bob@example.org\n"
        "  :created_at: 2026-12-02 11:00:00.000000000 Z\n  :score: 0.0\n  :status: processed\n"
    )
    files = {
        "submission_metadata.yml": listed,
        f"submission_90001/{NOTEBOOK}": course.solved(),
        f"submission_90002/{NOTEBOOK}": course.work(),
        f"submission_90002/{TOPIC}-Copy1.ipynb": course.solved(),
    }
    graded = course.grade(put(tmp_path / "s", files), tmp_path / "g")
    assert len(graded.rows) == 2 and not any("metadata" in name for name in graded.rows)
    assert {earned(row) for row in graded.rows.values()} == {FULL}


def test_blackboard(course, tmp_path):
    """ "Assignment File Download": the title, the login, the attempt's time, then the file; a receipt for each attempt."""
    start = "Homework 9"
    files = {}
    for login, time, name, work in (
        ("al17", "2026-11-28-10-11-12", NOTEBOOK, course.solved().write(double=WRONG_DOUBLE)),
        ("al17", "2026-11-29-23-00-01", NOTEBOOK, course.solved()),
        ("bh18", "2026-11-28-09-00-00", NOTEBOOK, course.solved()),
        ("bh18", "2026-11-29-09-00-00", f"{TOPIC}-1.ipynb", course.work()),
        ("cw19", "2026-11-29-12-00-00", "my_final_work.ipynb", course.solved()),
    ):
        files[f"{start}_{login}_attempt_{time}_{name}"] = work
        files[f"{start}_{login}_attempt_{time}.txt"] = (
            f"Name: Student ({login})\nAssignment: {start}\nDate Submitted: {time}\nCurrent Grade: Needs Grading\n\n"
            f"Submission Field:\nThere is no student submission text data for this assignment.\n\nComments:\n"
            f"There are no student comments for this assignment.\n\nFiles:\n\tOriginal filename: {name}\n"
        )
    graded = course.grade(put(tmp_path / "s", files), tmp_path / "g")
    assert_all(graded, {"al17": FULL, "bh18": FULL, "cw19": FULL})
    assert re.search("attempt|2026-11-28|version|notebooks", graded.rows["al17"]["message"])


def test_google_classroom(course, tmp_path):
    """The assignment's folder in Drive, zipped by Drive: copies that Classroom made and named, all in one folder."""
    files = {
        f"Homework 9/Ada Lovelace - {NOTEBOOK}": real_class.from_colab(course.solved()),
        f"Homework 9/Chloé Dupont - {NOTEBOOK}": real_class.from_colab(course.solved(), labels=False),
        f"Homework 9/Bob O'Hara - {NOTEBOOK}": course.work(),
        f"Homework 9/Copy of Bob O'Hara - {NOTEBOOK}": real_class.from_colab(course.solved()),
    }
    class_zip = tmp_path / "Homework 9-20261130T101112Z-001.zip"
    class_zip.write_bytes(zipped(files))
    graded = course.grade(class_zip, tmp_path / "g")
    assert_all(graded, {"Ada Lovelace": FULL, "Chloé Dupont": FULL, "Bob O'Hara": FULL})


def test_github_classroom(course, tmp_path):
    """``gh classroom clone student-repos``: a repository a student, called assignment-login, with git's own files."""
    files = {}
    for login in ("ada-l", "bob", "chen"):
        repository = f"homework-9-{login}"
        files[f"{repository}/{NOTEBOOK}"] = course.work() if login == "bob" else course.solved()
        files[f"{repository}/README.md"] = (
            "[![Review](https://example.org/badge.svg)](https://example.org)\n# Homework 9\n"
        )
        files[f"{repository}/.github/workflows/classroom.yml"] = "name: GitHub Classroom Workflow\n"
        files[f"{repository}/.gitignore"] = "__pycache__\n"
        files[f"{repository}/.git/HEAD"] = "ref: refs/heads/main\n"
        files[f"{repository}/.git/index"] = b"DIRC\x00\x00\x00\x02"
        files[f"{repository}/.git/objects/ab/cdef"] = b"x\x01"
    files[f"homework-9-bob/{TOPIC}-Copy1.ipynb"] = course.solved()
    graded = course.grade(put(tmp_path / "homework-9-submissions", files), tmp_path / "g")
    assert len(graded.rows) == 3
    for login in ("ada-l", "bob", "chen"):  # the whole name of the repository will do
        (row,) = [row for name, row in graded.rows.items() if name.endswith(login)]
        assert earned(row) == FULL, row


@pytest.mark.long
def test_nbgrader_submitted(course, tmp_path):
    """What ``nbgrader collect`` makes: its own timestamp is one that can be trusted."""
    files: dict[str, Work | bytes | str] = {}
    for login, time in (("ada", "2026-11-30 11:00:00.000000 UTC"), ("bob", "2026-12-01 13:00:00.000000 UTC")):
        files[f"{login}/{TOPIC}/{NOTEBOOK}"] = course.solved()
        files[f"{login}/{TOPIC}/timestamp.txt"] = time
    graded = course.grade(
        put(tmp_path / "s", files), tmp_path / "g", config=config(tmp_path, "late_penalty_per_day = 0.1")
    )
    assert [graded.rows[name]["points"] for name in ("ada", "bob")] == ["6.5", "5.2"]  # begun: two days
    assert [graded.rows[name]["status"] for name in ("ada", "bob")] == ["graded", "graded,late"]


def test_nbgrader_exchange_inbound(course, tmp_path):
    """The exchange itself: login+homework+time+random, a folder for each time that somebody handed in."""
    files: dict[str, Work | bytes | str] = {}
    for number, (login, time, work) in enumerate(
        (
            ("ada", "2026-11-29 10:00:00.000001 UTC", course.solved().write(double=WRONG_DOUBLE)),
            ("ada", "2026-11-30 11:00:00.000002 UTC", course.solved()),
            ("bob", "2026-11-29 11:00:00.000003 UTC", course.solved()),
            ("bob", "2026-11-30 11:30:00.000004 UTC", course.work()),
        )
    ):
        folder = f"{login}+{TOPIC}+{time}+Zk-3_q8x{number:04d}"
        files[f"{folder}/{NOTEBOOK}"] = work
        files[f"{folder}/timestamp.txt"] = time
    graded = course.grade(put(tmp_path / "inbound", files), tmp_path / "g", config=config(tmp_path))
    assert_all(graded, {"ada": FULL, "bob": FULL})
    assert {row["status"] for row in graded.rows.values()} == {"graded"}
    assert all(re.search("2026-11-|version|notebooks|times", row["message"]) for row in graded.rows.values())


def test_due_without_a_date_that_can_be_trusted(course, tmp_path, capsys):
    """A folder that somebody copied: every file has the date of the copy, long after it was due."""
    folder = put(tmp_path / "s", {f"{name}/{NOTEBOOK}": course.solved() for name in ("ada", "bob", "chen")})
    for path in folder.rglob("*.ipynb"):
        os.utime(path, (1799000000, 1799000000))  # in January 2027
    limits = config(tmp_path, "late_penalty_per_day = 0.5", "latest_days = 7")
    graded = course.grade(folder, tmp_path / "g", config=limits)
    assert {row["points"] for row in graded.rows.values()} == {"6.5"}
    assert {row["status"] for row in graded.rows.values()} == {"graded"}
    assert all(re.search(r"(?i)not known|no .*date|when it was handed in", r["message"]) for r in graded.rows.values())
    assert re.search(r"\b3\b.*(?i:not known|no date|without a date|in time|trust)", capsys.readouterr().out)


# -- what users of other graders reported


def test_nbgrader_108_a_student_copies_an_exercise(graded):
    """jupyter/nbgrader#108: a copied cell has the same id twice, and only the last of them was to count. Here the first
    holds an early try, the last the answer: the answer is graded, and the row says that there were two.
    """
    assert_fair(graded, CASES["report_nbgrader_108"])


def test_nbgrader_1083_a_copied_block_stops_autograding(graded):
    """jupyter/nbgrader#1083: copying or splitting cells repeats their ids, autograding fails with a message about
    something else, and the instructor mends notebooks by hand. Nobody has to mend anything here.
    """
    assert_fair(graded, CASES["report_nbgrader_1083"])


def test_nbgrader_424_a_written_answer_loses_its_metadata(graded):
    """jupyter/nbgrader#424: some written answers came back with empty metadata, and nobody could say how; the marks
    had no place to go. The answer stands on the student's page, and the exercises have their points.
    """
    assert_fair(graded, CASES["report_nbgrader_424"])


def test_nbgrader_427_a_loop_that_eats_memory(graded):
    """jupyter/nbgrader#427: an endless loop that also ate memory killed the kernel so that no cell reported an error,
    and every test passed. Here the exercise earns nothing and the others keep their points.
    """
    assert_fair(graded, CASES["report_nbgrader_427"])


def test_nbgrader_928_a_plus_in_a_name(graded):
    """jupyter/nbgrader#928: + separates login and homework in the exchange, so a name with + was cut there and could
    not be graded any more.
    """
    assert_fair(graded, CASES["report+nbgrader_928"])


def test_nbgrader_1738_brackets_in_names(graded):
    """jupyter/nbgrader#1738: names went into regular expressions as they were, so submissions of "123 (abc)" counted
    as none. Brackets are in the student's name here and in the file's.
    """
    assert_fair(graded, CASES["report_nbgrader_1738 (b) [c]"])


def test_nbgrader_1302_one_student_renamed_the_notebook(graded):
    """jupyter/nbgrader#1302: one student's notebook was called "WMS q3.ipynb" and was skipped as unknown, with an error
    about something the instructor had not forgotten.
    """
    assert_fair(graded, CASES["report_nbgrader_1302"])


def test_nbgrader_1682_deleted_cells_need_manual_grading_for_ever(graded):
    """jupyter/nbgrader#1682: of 800 students someone always deletes a graded cell; formgrader then waits for a mark
    that nobody can give. The written question is an automatic 0 here, and the deleted check costs nothing.
    """
    assert_fair(graded, CASES["report_nbgrader_1682"])


def test_nbgrader_1682_one_deleted_answer_holds_up_nobody(course, tmp_path):
    """The other half of it: when the last mark that a person can give is given, the written points go out for all."""
    files: dict[str, Work | bytes | str] = {
        f"ada/{NOTEBOOK}": course.solved(),
        f"bob/{NOTEBOOK}": course.solved().remove("why"),
        f"chen/{NOTEBOOK}": course.solved().write(why="Why?\n*Write your answer here.*"),
    }
    folder, out = put(tmp_path / "s", files), tmp_path / "g"
    course.grade(folder, out)
    give(out, "ada", "why", 1.5)
    graded = course.grade(folder, out)
    assert {name: (row["points"], row["max_points"]) for name, row in graded.rows.items()} == {
        "ada": ("8", "8.5"),
        "bob": ("6.5", "8.5"),
        "chen": ("6.5", "8.5"),
    }
    with open(out / "canvas.csv", newline="", encoding="utf-8") as file:
        exported_rows = list(csv.reader(file))
    assert [row[-1] for row in exported_rows[1:]] == ["8.5", "8", "6.5", "6.5"]


def test_nbgrader_1941_code_turned_into_markdown(graded):
    """jupyter/nbgrader#1941: 15 of 300 notebooks broke autograding in one homework, most because students had turned a
    code cell into Markdown or had added cells, and work was copied by hand into fresh notebooks. The cell is read as
    what it was, and the row says so.
    """
    assert_fair(graded, CASES["report_nbgrader_1941"])


def test_nbgrader_729_a_package_that_the_grader_lacks(graded):
    """jupyter/nbgrader#729: pyspark, xlrd, pandas were there for the students and not where autograde ran: "no module
    named". An import that fails takes nothing else along, and its author is told of it.
    """
    assert_fair(graded, CASES["report_nbgrader_729"])


def test_nbgrader_1273_homework_done_in_colab(graded):
    """jupyter/nbgrader#1273: may students work in Colab and export from there? "Not possible." The file comes without
    labels and ids, with imports that only Colab has; its author is told of them.
    """
    assert_fair(graded, CASES["report_nbgrader_1273"])


def test_nbgrader_1876_a_module_beside_the_notebook(graded):
    """jupyter/nbgrader#1876: the notebook imports P0, which lies beside it; every cell runs by hand, and autograding
    ends with "No module named 'P0'".
    """
    assert_fair(graded, CASES["report_nbgrader_1876"])


def test_cs224u_64_an_exported_script_calls_get_ipython(graded):
    """cgpotts/cs224u#64: the grader turned notebooks into scripts; what had been a magic became ``get_ipython()``, which
    nobody had imported, and the homework stopped there.
    """
    assert_fair(graded, CASES["report_cs224u_64"])


def test_ssid_137_a_zip_of_zips(graded):
    """WING-NUS/SSID#137: the platform's download is a zip that holds a zip for each student, and only folders inside
    were read.
    """
    assert_fair(graded, CASES["report_ssid_137"])


@pytest.mark.long
def test_ssid_114_a_zip_made_on_a_mac(course, tmp_path):
    """WING-NUS/SSID#114: the class zipped on a Mac, as one folder with ``__MACOSX`` beside it: 0 submissions."""
    files = {
        f"submissions/ada/{NOTEBOOK}": course.solved(),
        f"submissions/bob/{NOTEBOOK}": course.solved(),
        "submissions/.DS_Store": b"\x00\x00\x00\x01Bud1",
        "__MACOSX/._submissions": b"\x00\x05\x16\x07",
        f"__MACOSX/submissions/ada/._{NOTEBOOK}": b"\x00\x05\x16\x07",
    }
    class_zip = tmp_path / "Archive.zip"
    class_zip.write_bytes(zipped(files))
    assert_all(course.grade(class_zip, tmp_path / "g"), {"ada": FULL, "bob": FULL})


def test_nbgrader_723_a_penalty_goes_when_the_date_changes(course, tmp_path):
    """jupyter/nbgrader#723: graded as late, then the due date was moved, graded again: the penalty stayed."""
    files = {
        f"ada/{TOPIC}/{NOTEBOOK}": course.solved(),
        f"ada/{TOPIC}/timestamp.txt": "2026-12-01 11:00:00.000000 UTC",
    }
    folder, out = put(tmp_path / "s", files), tmp_path / "g"
    late = course.grade(folder, out, config=config(tmp_path, "late_penalty_per_day = 1"))
    assert (late.rows["ada"]["points"], late.rows["ada"]["status"]) == ("0", "graded,late")
    extended = config(tmp_path, "late_penalty_per_day = 1", f"[{TOPIC}.extensions]", "ada = 2026-12-02T00:00:00Z")
    moved = course.grade(folder, out, config=extended)
    assert (moved.rows["ada"]["points"], moved.rows["ada"]["status"]) == ("6.5", "graded")
    assert not re.search("(?i)late|taken off", moved.rows["ada"]["message"])


def test_runestone_1013_grading_again_keeps_a_person_s_marks(course, tmp_path):
    """RunestoneInteractive/RunestoneServer#1013: half graded by machine, half by hand; pressing the button of the first
    once more replaced the marks of the second by None.
    """
    folder, out = put(tmp_path / "s", {f"ada/{NOTEBOOK}": course.solved()}), tmp_path / "g"
    course.grade(folder, out)
    give(out, "ada", "why", 2)
    give(out, "ada", "check_double", 1)
    row = course.grade(folder, out, again=True).rows["ada"]
    assert [row[name] for name in (*EXERCISES, "why", "points")] == ["1", "1.5", "3", "2", "7.5"]


def give(out: Path, student: str, cell: str, points: float) -> None:
    """As formgrader saves what a person typed."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{out / 'gradebook.db'}") as gradebook:
        grade = gradebook.find_grade(cell, TOPIC, TOPIC, student)
        grade.manual_score, grade.needs_manual_grade = points, False
        gradebook.db.commit()


# -- the script itself


@pytest.mark.long
def test_scripts_are_what_the_tools_write(course):
    """Two packages that take seconds to import, so the class is written without them."""
    import jupytext
    import nbconvert
    import nbformat

    work = course.work().using("twice(x)", "%matplotlib inline\ntwice = lambda x: 2 * x")
    work.write(mean_and_spread="%%time\n" + work.source("mean_and_spread"))
    work.to_bytes()
    notebook = nbformat.from_dict(
        {**work.content, "cells": [{**c, "source": "".join(c["source"])} for c in work.content["cells"]]}
    )
    theirs, _ = nbconvert.PythonExporter().from_notebook_node(notebook)
    line = "get_ipython().run_line_magic('matplotlib', 'inline')"
    assert _code(theirs) == _code(exported(work).replace("%matplotlib inline", line))
    assert _code(jupytext.writes(notebook, fmt="py:percent")) == _code(percent(work))


def _code(text: str) -> list[str]:
    """Without empty lines, and without the version of the tool."""
    return [line for line in text.split("\n") if line.strip() and "jupytext_version" not in line]

"""The tables of grades: ``grades.csv``, and what Canvas and Moodle import.

The columns of ``canvas.csv`` are those of "How do I import grades in the Gradebook?" in the Canvas Instructor Guide:
Student, ID, SIS User ID, SIS Login ID, Section, then the assignment as ``NAME (ID)``, with a row Points Possible. The
columns of ``moodle.csv`` are those of the offline grading worksheet, "Assignment settings: Feedback types" in
MoodleDocs: Moodle finds a student by ``Participant NUMBER`` under Identifier. Its grade import ("Grade import" there)
reads the same file by name or e-mail address.

In these two, a student of whom nothing could be graded has no grade, which leaves what stands there as it is. As long as
somebody's written answers wait for a mark, the automatic points alone go out, for everyone: one maximum holds for
all. An answer that is not there waits for nobody.
"""

import csv
import html
import io
import re
from collections.abc import Iterable

from course.grading.collect.roster import Listed, Matched, Roster, id_there
from course.grading.record.result import StudentResult, is_begun, number

_CANVAS_COLUMNS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
_MOODLE_COLUMNS = (
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
)
_SIGN = r"\s*[=+\-@＝＋－＠﹦﹢﹣﹫]"
_FORMULA = re.compile(rf"\A(?=[\t\r]|{_SIGN})|(?<=[;|\t\r\n])(?={_SIGN})")
_NUMBER = re.compile(r"-?[\d.]*")  # a lone dash, too: Moodle's sign for "nothing yet"


def grades_csv(
    assignment: str, exercises: dict[str, float], written: Iterable[str], results: Iterable[StudentResult]
) -> bytes:
    """``grades.csv``: a row a student, a column an exercise.

    The column of an exercise holds what it earned, or what a person put in place of that in formgrader; the column of
    a written question stays empty until a person has marked it, or holds an automatic 0 where nothing was written.
    `points` and `max_points` count the automatic exercises; from the first mark of a person on, they count the
    written questions as well, in the rows where none of them waits for a mark. `points` is after the penalty for
    coming late, the columns of exercises and questions are before it. Where nothing could be graded, points are 0 and
    the exercises' columns are empty.

    Args:
        exercises: highest points by exercise, in the order of the notebook.
        written: the names of the questions that a person marks.
    """
    written, results = list(written), list(results)
    begun = is_begun(results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "assignment", "points", "max_points", "status", "message", *exercises, *written])
    for result in results:
        earned = {name: number(points) for name, points in result.columns.items()}
        with_written = begun and result.is_marked
        counted = sum(exercises.values()) + (sum(result.written.values()) if with_written else 0)
        writer.writerow(
            [
                harmless(result.student),
                assignment,
                number(result.points_with(with_written)),
                number(counted),
                result.status,
                harmless(result.message),
                *(earned.get(name, "") for name in exercises),
                *(earned.get(name, "") for name in written),
            ]
        )
    return text.getvalue().encode()


def canvas_csv(
    assignment: str, max_points: float, results: list[StudentResult], matched: Matched, roster: Roster
) -> bytes:
    """The file for "Import" in the gradebook of Canvas.

    Args:
        max_points: of the automatic exercises.
    """
    is_canvas = roster.system == "Canvas"
    title = next((name for name in roster.columns if is_canvas and _is_about(name, assignment)), assignment)
    written = _all_marked(results)
    header = [*_CANVAS_COLUMNS, title]
    rows = [["    Points Possible", "", "", "", "", number(max_points + (_written_points(results) if written else 0))]]
    uploads = {student.student: student.upload for student in matched.found}
    for result, listed in _in_order(results, matched, roster):
        if listed and is_canvas:
            row = [listed.row.get(column, "") for column in _CANVAS_COLUMNS]
        else:
            number_there = id_there(uploads.get(result.student), "Canvas")
            login = listed.known.get("login", "") if listed else ""
            row = [listed.name if listed else result.student, number_there, "", login, ""]
        rows.append([*row, _grade(result, written)])
    return _csv(header, rows)


def moodle_csv(
    assignment: str, max_points: float, results: list[StudentResult], matched: Matched, roster: Roster
) -> bytes:
    """The file for "Upload grading worksheet" of an assignment in Moodle; a worksheet as roster keeps its columns."""
    is_worksheet = "Identifier" in roster.columns
    columns = list(roster.columns if is_worksheet else _MOODLE_COLUMNS)
    columns += [name for name in ("Grade", "Feedback comments") if name not in columns]
    written = _all_marked(results)
    possible = number(max_points + (_written_points(results) if written else 0))
    uploads = {student.student: student.upload for student in matched.found}
    rows = []
    for result, listed in _in_order(results, matched, roster):
        there = id_there(uploads.get(result.student), "Moodle")
        row = {
            "Identifier": f"Participant {there}" if there else "",
            "Full name": listed.name if listed else result.student,
            "Email address": listed.known.get("email", "") if listed else "",
            "Maximum grade": possible,
            "Grade can be changed": "Yes",
        }
        if listed and is_worksheet:
            row = dict(listed.row)
        # Moodle takes comments as HTML.
        row |= {"Grade": _grade(result, written), "Feedback comments": html.escape(result.message)}
        rows.append([row.get(column, "") for column in columns])
    return _csv(columns, rows)


def _in_order(
    results: list[StudentResult], matched: Matched, roster: Roster
) -> Iterable[tuple[StudentResult, Listed | None]]:
    """The rows of the roster first, in its order, then who is not in it."""
    last = len(roster.listed)
    for result in sorted(results, key=lambda result: matched.places.get(result.student, last)):
        place = matched.places.get(result.student)
        yield result, None if place is None else roster.listed[place]


def _is_about(column: str, assignment: str) -> bool:
    """Is a column of the roster, ``NAME (ID)``, that of the homework?"""
    match = re.fullmatch(r"(.+) \(\d+\)", column)
    return bool(match) and match[1].strip().casefold() in (assignment, assignment.partition("_")[0])


def _all_marked(results: list[StudentResult]) -> bool:
    handed_in = [result for result in results if result.exercises]
    return is_begun(handed_in) and all(result.is_marked for result in handed_in)


def _written_points(results: list[StudentResult]) -> float:
    return max(sum(result.written.values()) for result in results)


def _grade(result: StudentResult, written: bool) -> str:
    return number(result.points_with(written)) if result.columns else ""


def _csv(header: list[str], rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([value if _NUMBER.fullmatch(value) else harmless(value) for value in row])
    return text.getvalue().encode()


def harmless(text: str) -> str:
    """A spreadsheet would run what begins with one of these signs as a formula.

    A cell begins at the text's start, and where a program that takes another sign than the comma for the separator
    sees one; full-width signs count as well.
    """
    return _FORMULA.sub("'", text)

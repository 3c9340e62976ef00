"""Grades as Canvas and Moodle import them, and the list of students that both export.

The columns of ``canvas.csv`` are those of "How do I import grades in the Gradebook?" in the Canvas Instructor Guide:
Student, ID, SIS User ID, SIS Login ID, Section, then the assignment as ``NAME (ID)``, with a row Points Possible. The
columns of ``moodle.csv`` are those of the offline grading worksheet, "Assignment settings: Feedback types" in
MoodleDocs: Moodle finds a student by ``Participant NUMBER`` under Identifier. Its grade import ("Grade import" there)
reads the same file by name or e-mail address.

In both, a student of whom nothing could be graded has no grade, which leaves what stands there as it is. As long as
somebody's written answers wait for a mark, the automatic points alone go out, for everyone: one maximum holds for
all. An answer that is not there waits for nobody.
"""

import csv
import html
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from course.grading.collect.platforms import Upload
from course.grading.collect.whose import Found, shown
from course.grading.problems import BadRoster
from course.grading.record.result import StudentResult, harmless, is_begun, number

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
_FIELDS = {  # what the columns of a roster mean, by their names in small letters
    "id": ("id", "identifier", "user id", "student id"),
    "name": ("student", "full name", "name", "student name", "display name"),
    "email": ("email", "email address", "e-mail", "mail"),
    "login": ("login", "sis login id", "login id", "username", "user name"),
    "number": ("sis user id", "id number", "sis id"),
    "first": ("first name", "firstname"),
    "last": ("last name", "surname", "lastname"),
}
_NUMBER = re.compile(r"-?[\d.]*")  # a lone dash, too: Moodle's sign for "nothing yet"


@dataclass(frozen=True)
class Listed:
    """One student of the roster: what its columns mean, and the row as it was."""

    known: dict[str, str]
    row: dict[str, str]

    @property
    def name(self) -> str:
        return self.known.get("name") or f"{self.known.get('first', '')} {self.known.get('last', '')}".strip()


@dataclass(frozen=True)
class Roster:
    """The students of a course, as a learning management system exports them.

    Args:
        columns: the first line of the file.
        listed: the students, in its order.
    """

    columns: tuple[str, ...] = ()
    listed: tuple[Listed, ...] = ()

    @property
    def system(self) -> str:
        """``"Canvas"`` or ``"Moodle"``, as far as the columns tell."""
        if {"Student", "ID"} <= set(self.columns):
            return "Canvas"
        return "Moodle" if "Identifier" in self.columns or "Email address" in self.columns else ""


@dataclass(frozen=True)
class Matched:
    """Who of the class is who in the roster.

    Args:
        found: all students, those of the roster who handed in nothing among them, by name.
        places: the place in the roster, by student.
        unmatched: the students who handed in and are not in the roster.
    """

    found: list[Found]
    places: dict[str, int] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()


def read_roster(path: Path) -> Roster:
    """Read a CSV with a column of names, e-mail addresses, logins or ids, whatever else it has.

    Raises:
        BadRoster: it is none.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadRoster(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise BadRoster(f"{path} is not UTF-8 text (byte {error.start}): export it as CSV in UTF-8.") from None
    first = text.partition("\n")[0]
    comma = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=comma))
    except csv.Error as error:
        raise BadRoster(f"{path} is no CSV ({error}).") from None
    columns = tuple(name.strip() for name in lines[0]) if lines else ()
    meanings = {column: what for column in columns for what, names in _FIELDS.items() if column.casefold() in names}
    if not set(meanings.values()) & {"id", "name", "email", "login", "last"}:
        fits = "columns called id, name, email or login, or a CSV that Canvas or Moodle exports"
        raise BadRoster(f"{path}: no column of its first line tells who a student is; it takes {fits}.")
    listed = []
    for line in lines[1:]:
        row = dict(zip(columns, [*line, *[""] * len(columns)]))
        known: dict[str, str] = {}
        for column, what in meanings.items():
            known.setdefault(what, row[column].strip())
        # Not every line of Canvas's file is a student: one holds the points of each column, one is a test student.
        if any(known.values()) and known.get("name") not in ("Points Possible", "Student, Test"):
            listed.append(Listed(known, row))
    return Roster(columns, tuple(listed))


def match(roster: Roster, found: list[Found]) -> Matched:
    """Find every student of the class in the roster, by id, login, e-mail address or name.

    Who comes from a download with ids is found by that alone where the roster has such ids: names are not unique, and
    some platforms let students choose them.
    """
    by_key: dict[tuple[str, str], set[int]] = {}
    for place, listed in enumerate(roster.listed):
        for kind, key in _keys(listed):
            by_key.setdefault((kind, key), set()).add(place)
    places: dict[str, int] = {}
    kinds: Counter[str] = Counter()
    has_ids = any(kind == "upload" and key for kind, key in by_key)
    for kind in ("upload", "login", "email", "mailbox", "number", "id", "name"):
        for student in found:
            key = _plain(student.student, kind)
            id_there = _id_there(student.upload, roster.system)
            if kind == "upload":
                key = id_there
            elif id_there and has_ids:
                continue
            candidates = by_key.get((kind, key), set())
            if key and student.student not in places and len(candidates) == 1 and not candidates & set(places.values()):
                places[student.student] = min(candidates)
                kinds[kind] += 1
    unmatched = tuple(student.student for student in found if student.student not in places)
    taken, there = {student.student for student in found}, set(places.values())
    usual = kinds.most_common(1)[0][0] if kinds else "login"
    everyone = list(found)
    for place, listed in enumerate(roster.listed):
        if place not in there:
            name = _folder_name(listed, usual, taken)
            taken.add(name)
            places[name] = place
            everyone.append(Found(name, ()))
    return Matched(sorted(everyone, key=lambda student: student.student), places, unmatched)


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
            number_there = _id_there(uploads.get(result.student), "Canvas")
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
        there = _id_there(uploads.get(result.student), "Moodle")
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


# -- who is who


def _keys(listed: Listed) -> Iterable[tuple[str, str]]:
    """(kind, key) under which a student of the roster may have handed in."""
    known = listed.known
    digits = re.fullmatch(r"(?:\D*\s)?(\d+)", known.get("id", ""))  # "Participant 123" in Moodle
    yield "upload", digits[1] if digits else ""
    for kind in ("login", "email", "number", "id"):
        yield kind, _plain(known.get(kind, ""), kind)
    yield "mailbox", _plain(known.get("email", "").partition("@")[0], "mailbox")
    yield "mailbox", _plain(known.get("login", "").partition("@")[0], "mailbox")
    for name in {listed.name, *_turned(listed.name)}:
        yield "name", _plain(name, "name")


def _turned(name: str) -> list[str]:
    """``Lovelace, Ada`` as ``Ada Lovelace``."""
    last, comma, first = name.partition(",")
    return [f"{first} {last}"] if comma else [" ".join(reversed(name.split(" ", 1)))]


def _plain(text: str, kind: str) -> str:
    """What two spellings have in common; of a name, only its letters and digits, as Canvas names its files."""
    text = unicodedata.normalize("NFKC", text).casefold().strip()
    return re.sub(r"[\W_]", "", text) if kind == "name" else text


def _folder_name(listed: Listed, usual: str, taken: set[str]) -> str:
    """A student who handed in nothing is called as the others are: by login, say, where their folders are."""
    known = listed.known
    by_kind = {
        "login": known.get("login"),
        "email": known.get("email"),
        "name": listed.name,
        "upload": listed.name,
        "mailbox": known.get("email", "").partition("@")[0] or known.get("login", "").partition("@")[0],
        "number": known.get("number"),
        "id": known.get("id"),
    }
    names = [name for name in (by_kind[usual], *by_kind.values()) if name]
    printable = [shown(name, longest=110) for name in names]
    distinct = next((name for name in printable if name not in taken), None)
    k = 2
    while distinct is None:
        distinct = f"{printable[0]} ({k})" if f"{printable[0]} ({k})" not in taken else None
        k += 1
    return distinct


def _in_order(
    results: list[StudentResult], matched: Matched, roster: Roster
) -> Iterable[tuple[StudentResult, Listed | None]]:
    """The rows of the roster first, in its order, then who is not in it."""
    last = len(roster.listed)
    for result in sorted(results, key=lambda result: matched.places.get(result.student, last)):
        place = matched.places.get(result.student)
        yield result, None if place is None else roster.listed[place]


def _id_there(upload: Upload | None, system: str) -> str:
    return upload.id if upload and upload.system == system else ""


def _is_about(column: str, assignment: str) -> bool:
    """Is a column of the roster, ``NAME (ID)``, that of the homework?"""
    match = re.fullmatch(r"(.+) \(\d+\)", column)
    return bool(match) and match[1].strip().casefold() in (assignment, assignment.partition("_")[0])


# -- what is written


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

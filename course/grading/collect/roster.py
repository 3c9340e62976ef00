"""The students of a course, as a learning management system exports them, and who of the class is who among them."""

import csv
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

_FIELDS = {  # what the columns of a roster mean, by their names in small letters
    "id": ("id", "identifier", "user id", "student id"),
    "name": ("student", "full name", "name", "student name", "display name"),
    "email": ("email", "email address", "e-mail", "mail"),
    "login": ("login", "sis login id", "login id", "username", "user name"),
    "number": ("sis user id", "id number", "sis id"),
    "first": ("first name", "firstname"),
    "last": ("last name", "surname", "lastname"),
}


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
            there_id = id_there(student.upload, roster.system)
            if kind == "upload":
                key = there_id
            elif there_id and has_ids:
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


def id_there(upload: Upload | None, system: str) -> str:
    """The student's id in `system`, where the files come from there; else ``""``."""
    return upload.id if upload and upload.system == system else ""


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

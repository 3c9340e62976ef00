"""Find each student's notebook in a folder or a zip, whatever else lies there; nothing is unpacked to disk.

A class is a set of files with paths, in a folder or in a zip alike::

    anna/hw1_self_attention/hw1_self_attention.ipynb     nbgrader's layout; other homework beside it is left alone
    anna/anything.ipynb                                  a folder a student
    anna.ipynb                                           a file a student
    anna.zip, anna/upload.zip                            a zip in place of the folder, or inside it
    lovelaceada_LATE_123_456_work.ipynb                  Canvas, "Download Submissions": user 123, file 456
    Ada Lovelace_123_assignsubmission_file_/work.ipynb   Moodle, "Download all submissions": participant 123

and Blackboard's, Gradescope's, Google Classroom's, GitHub Classroom's downloads and nbgrader's exchange, see
`course.grading.collect.platforms`. Whose a file is follows from its name at the top of the class, see
`course.grading.collect.whose`.

When something was handed in is told by what the platform or nbgrader put there: ``timestamp.txt`` where nbgrader puts
it, in a class that is nbgrader's; the dates of Blackboard, Gradescope and nbgrader's exchange. The date of a file, in a
zip or out of it, is that of the last copy: it tells nothing.

Which of several notebooks is graded says `course.grading.collect.choose`.

Whatever is odd ends as a status and a sentence on its student's row, never as an exception for the class.
"""

import io
import os
import re
import stat
import struct
import zipfile
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from course.grading.collect import forms
from course.grading.collect.handed_in import HandedIn, sensible_time
from course.grading.collect.platforms import naming_of
from course.grading.collect.whose import (
    A_HOMEWORK,
    TIMESTAMP,
    Entry,
    Found,
    students_of,
)
from course.grading.problems import NothingToGrade, Unreadable
from course.grading.read.cells import LARGEST_FILE
from course.grading.statuses import Status

MOST_FILES = 200_000  # of a class that is one zip
MOST_FILES_OF_ONE = 2_000  # of one student
DEEPEST = 6  # folders below a student's own that are looked into
MOST_LIMITS = 2  # zips of one student that are too large; after that no other is opened
MOST_ZIPS_DEEP = 3  # a zip in a zip in a zip

_NOISE = re.compile(r"^(\..*|__MACOSX|Thumbs\.db|desktop\.ini|__pycache__)$", re.IGNORECASE)


def collect(path: Path, topic: str) -> list[Found]:
    """Every student of the class, sorted by name.

    Raises:
        NothingToGrade: `path` is missing, is neither folder nor zip nor notebook, or holds nothing.
    """
    try:
        entries = _entries_of(path)
    except OSError as error:
        raise NothingToGrade(f"{path} cannot be read: {error.strerror or error}.") from None
    except Unreadable as error:
        raise NothingToGrade(f"{path} cannot be read: {error}") from None
    around = path.resolve().name if path.is_dir() else path.stem
    if not path.is_dir():
        entries, around = _without_wrapper(entries, topic, around)
        entries = _bounded(entries, path)
    students = students_of(entries, topic, around)
    if not students:
        raise NothingToGrade(f"{path} holds no submission: expected STUDENT/{topic}/{topic}.ipynb or STUDENT.ipynb.")
    return students


# -- files of a folder or a zip, as entries


def _entries_of(path: Path) -> list[Entry]:
    if not path.exists():
        raise NothingToGrade(f"{path} does not exist: give the folder or the zip with the submissions.")
    if path.is_dir():
        entries = _list_folder(path)
    elif forms.ending(path.name) in (*forms.NOTEBOOKS, forms.SCRIPT):
        date = HandedIn(file_date=_date_of_file(path))
        entries = [Entry((path.name,), lambda: _read_file(path), time=date)]
    elif path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        entries = _list_zip(lambda: zipfile.ZipFile(path))
    else:
        raise NothingToGrade(f"{path} is neither a folder nor a zip nor a notebook.")
    return sorted(entries, key=lambda entry: entry.parts)


def _list_folder(top: Path) -> list[Entry]:
    entries: list[Entry] = []

    of_student: Counter[str] = Counter()
    waiting: deque[tuple[str, tuple[str, ...]]] = deque([(str(top), ())])
    while waiting:  # breadth first: of a student with too many files, those that lie deep are left out
        folder, parts = waiting.popleft()
        try:
            listed = sorted(os.scandir(folder), key=lambda item: item.name)
        except OSError as error:
            if not parts:
                raise
            entries.append(_closed(parts, f"The folder cannot be opened: {error.strerror}."))
            continue
        for item in listed:
            here = (*parts, item.name)
            of_student[here[0]] += 1
            if _NOISE.match(item.name) or of_student[here[0]] > MOST_FILES_OF_ONE:
                continue
            if item.is_symlink():
                # It could point at a classmate's work, or at anything that the grader may read.
                entries.append(_closed(here, "It is a symbolic link; a copy of the file is needed."))
            elif item.is_dir(follow_symlinks=False):
                entries.append(Entry(here))
                if len(here) <= DEEPEST:
                    waiting.append((item.path, here))
            else:
                date = HandedIn(file_date=_date_of_file(item))
                entries.append(Entry(here, lambda path=Path(item.path): _read_file(path), time=date))
    return entries


def _read_file(path: Path) -> bytes:
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Unreadable("It is no ordinary file.")
            return _read_bounded(file)
    except OSError as error:
        raise Unreadable(f"The file cannot be read: {error.strerror or error}.") from None


def _list_zip(open_zip: Callable[[], zipfile.ZipFile], most: int | None = None) -> list[Entry]:
    try:
        with open_zip() as archive:
            members = archive.infolist()
    except Exception as error:  # zipfile has a dozen for bytes that it does not expect
        raise Unreadable(f"The zip is damaged: {error}.") from None
    if most is not None and len(members) > most:
        raise Unreadable(f"The zip holds {len(members)} files; {most} are read at most.", Status.LIMIT)
    entries = []
    for member in members:
        name = member.filename.replace("\\", "/")
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if not parts or ".." in parts or name.startswith("/") or re.match(r"^[A-Za-z]:", name):
            continue  # such a name is made to land elsewhere; no program writes it by accident
        if any(_NOISE.match(part) for part in parts) or len(parts) > DEEPEST + 1:
            continue
        if member.is_dir():
            entries.append(Entry(parts))
        elif stat.S_ISLNK(member.external_attr >> 16):
            entries.append(_closed(parts, "It is a symbolic link; a copy of the file is needed."))
        else:
            date = HandedIn(file_date=_date_of_member(member))
            entries.append(Entry(parts, lambda member=member: _read_member(open_zip, member), time=date))
    return entries


def _read_member(open_zip: Callable[[], zipfile.ZipFile], member: zipfile.ZipInfo) -> bytes:
    if member.flag_bits & 1:
        raise Unreadable("It is locked with a password inside the zip.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Of the other methods, Python unpacks all at once, however much that is.
        raise Unreadable("It is packed in an unusual way inside the zip; an ordinary zip is needed.")
    try:
        with open_zip() as archive, archive.open(member) as file:
            return _read_bounded(file)
    except Unreadable:
        raise
    except Exception as error:  # zipfile has a dozen for bytes that it does not expect
        raise Unreadable(f"The zip is damaged: {error}.") from None


def _read_bounded(file) -> bytes:
    # A zip bomb unpacks to a million times its size: no more than this is ever unpacked.
    data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise Unreadable(f"The file is larger than {LARGEST_FILE // 2**20} MB.", Status.LIMIT)
    return data


def _closed(parts: tuple[str, ...], sentence: str, status: Status = Status.UNREADABLE) -> Entry:
    def read() -> bytes:
        raise Unreadable(sentence, status)

    return Entry(parts, read, closed=True)


# -- when


def _date_of_file(file: os.DirEntry | Path) -> datetime | None:
    try:
        return sensible_time(datetime.fromtimestamp(file.stat(follow_symlinks=False).st_mtime, UTC))
    except (OSError, OverflowError, ValueError):
        return None


def _date_of_member(member: zipfile.ZipInfo) -> datetime | None:
    """Of a zip's member: in UTC where the zip says so (most do), else taken in this machine's zone."""
    extra = member.extra
    while len(extra) >= 9:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == 0x5455 and size >= 5 and extra[4] & 1:  # Info-ZIP's "extended timestamp"
            return sensible_time(datetime.fromtimestamp(struct.unpack_from("<I", extra, 5)[0], UTC))
        extra = extra[4 + size :]
    try:
        # 1980 is what a program writes that has no date at hand.
        return sensible_time(datetime(*member.date_time).astimezone(UTC))
    except (ValueError, OverflowError, OSError):
        return None


# -- which files belong to whom


def _without_wrapper(entries: list[Entry], topic: str, around: str) -> tuple[list[Entry], str]:
    """Step into the one folder that a zip often has around the class, unless that folder is a student's own.

    Returns (the entries, what the folder that holds them is called).
    """
    tops = {entry.parts[0] for entry in entries}
    if len(tops) != 1 or any(len(entry.parts) == 1 and entry.read for entry in entries):
        return entries, around
    (top,) = tops
    naming = None if top.endswith("-submissions") else naming_of(tops, around)
    if naming and naming.system in ("Moodle", "nbgrader", "GitHub Classroom"):  # the only student who handed in
        return entries, around
    inside = [replace(entry, parts=entry.parts[1:]) for entry in entries if len(entry.parts) > 1]
    names = {entry.parts[0] for entry in inside}
    if topic in names or f"{topic}.ipynb" in names:
        return entries, around
    folders_of_work = {e.parts[0] for e in inside if len(e.parts) > 1 and e.suffix in forms.WORK}
    files_of_work = {e.parts[0] for e in inside if len(e.parts) == 1 and e.read and e.suffix in forms.WORK}
    one_student = all(A_HOMEWORK.match(name) for name in folders_of_work) and len(files_of_work) < 2
    return (entries, around) if one_student else (inside, top)


def _bounded(entries: list[Entry], path: Path) -> list[Entry]:
    """Of a student with too many files in the zip of the class, those that lie deep are left out, as in a folder."""
    of_student: Counter[str] = Counter()
    kept = []
    for entry in sorted(entries, key=lambda entry: (len(entry.parts), entry.parts)):
        of_student[entry.parts[0]] += 1
        if of_student[entry.parts[0]] <= MOST_FILES_OF_ONE:
            kept.append(entry)
    if len(kept) > MOST_FILES:
        raise NothingToGrade(f"{path} cannot be read: it holds {len(kept)} files; {MOST_FILES} are read at most.")
    return sorted(kept, key=lambda entry: entry.parts)


def candidates(found: Found, topic: str) -> tuple[list[Entry], list[Entry]]:
    """(notebooks and scripts that may be the one, other files); the most likely first."""
    entries = [entry for entry in unzipped(found.entries) if _may_be_of(entry, topic)]
    files = [entry for entry in entries if entry.read is not None and entry.parts[-1] != TIMESTAMP]
    likely = [entry for entry in files if entry.closed or entry.suffix in (*forms.NOTEBOOKS, forms.SCRIPT)]
    likely.sort(
        key=lambda entry: (
            entry.closed,
            entry.suffix == forms.SCRIPT,
            not entry.parts[-1].startswith(topic),
            topic not in entry.parts,
            len(entry.parts),
            entry.parts,
        )
    )
    return likely, [entry for entry in files if entry not in likely or entry.suffix == forms.SCRIPT]


def _may_be_of(entry: Entry, topic: str) -> bool:
    """Not in the folder of another homework, unless it is called as this one."""
    *folders, name = entry.parts
    others = any(A_HOMEWORK.match(part) for part in folders)
    return topic in folders or not others or name.startswith(topic)


def unzipped(entries: tuple[Entry, ...]) -> list[Entry]:
    """The zips among a student's files opened, and those in them; together they may be as large as one file."""
    opened: list[Entry] = []
    waiting = deque((entry, 0) for entry in entries)
    room, limits, members = LARGEST_FILE, 0, 0
    while waiting:
        entry, depth = waiting.popleft()
        if entry.read is not None and entry.suffix in forms.PACKED and not entry.closed:
            opened.append(_closed(entry.parts, forms.NOT_OPENED.format(entry.suffix)))
        elif entry.read is None or entry.suffix != forms.ZIP or entry.closed:
            opened.append(entry)
        else:
            try:
                if limits >= MOST_LIMITS or depth == MOST_ZIPS_DEEP:
                    raise Unreadable("It is one zip too many, or too deep in others, to be opened.", Status.LIMIT)
                data = entry.read()
                if len(data) > room:
                    raise Unreadable(f"The zips are larger than {LARGEST_FILE // 2**20} MB together.", Status.LIMIT)
                inner = _list_zip(lambda data=data: zipfile.ZipFile(io.BytesIO(data)), MOST_FILES_OF_ONE - members)
                room, members = room - len(data), members + len(inner)
                # The dates in it are the student's to choose.
                waiting += [(replace(i, parts=(*entry.parts, *i.parts), time=entry.time), depth + 1) for i in inner]
            except Unreadable as problem:
                limits += problem.status == Status.LIMIT
                opened.append(_closed(entry.parts, str(problem), problem.status))
    return opened

"""Find each student's notebook in a folder or a zip, whatever else lies there; nothing is unpacked to disk.

A class is a set of files with paths, in a folder or in a zip alike::

    anna/hw1_self_attention/hw1_self_attention.ipynb     nbgrader's layout; other homework beside it is left alone
    anna/anything.ipynb                                  a folder a student
    anna.ipynb                                           a file a student
    anna.zip, anna/upload.zip                            a zip in place of the folder, or inside it
    lovelaceada_LATE_123_456_work.ipynb                  Canvas, "Download Submissions": user 123, file 456
    Ada Lovelace_123_assignsubmission_file_/work.ipynb   Moodle, "Download all submissions": participant 123

Whose a file is follows from its name at the top of the class, see `course.grading.collect.whose`.

When something was handed in is told by what the platform or the instructor put there: ``timestamp.txt`` where nbgrader
puts it, in a class that is nbgrader's, else the date that the zip of the class holds, else the date of the file. In a
zip that a student made, the date of the zip counts, not those in it. The downloads of Canvas and Moodle hold the date
of the download, so it is not believed.

Whatever is odd ends as a status and a sentence on its student's row, never as an exception for the class.
"""

import hashlib
import io
import json
import os
import re
import stat
import struct
import zipfile
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from course.grading.collect.handed_in import HandedIn, Untellable, sensible_time, time_from_text
from course.grading.collect.modules import modules_beside
from course.grading.collect.platforms import naming_of
from course.grading.collect.whose import (
    A_HOMEWORK,
    TIMESTAMP,
    Entry,
    Found,
    shown,
    stamps_of,
    student_of_file,
    students_of,
)
from course.grading.problems import Missing, NothingToGrade, Unreadable
from course.grading.read.cells import LARGEST_FILE, Cell, cells_from_bytes, normal_text
from course.grading.read.modules import OwnModule
from course.grading.statuses import Status

MOST_FILES = 200_000  # of a class that is one zip
MOST_FILES_OF_ONE = 2_000  # of one student
DEEPEST = 6  # folders below a student's own that are looked into
MOST_CANDIDATES = 20  # notebooks of one student that are read to find the right one
MOST_LIMITS = 2  # of those, that take too much to read; after that no other is tried

_NOISE = re.compile(r"^(\..*|__MACOSX|Thumbs\.db|desktop\.ini|__pycache__)$", re.IGNORECASE)


@dataclass(frozen=True)
class Submission:
    """The notebook that is graded, and what was odd about finding it."""

    cells: list[Cell]
    messages: list[str] = field(default_factory=list)
    handed_in: HandedIn = HandedIn()
    modules: tuple[OwnModule, ...] = ()


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
    if not path.is_dir():
        entries = _bounded(_without_wrapper(entries, topic), path)
    students = students_of(entries, topic)
    if not students:
        raise NothingToGrade(f"{path} holds no submission: expected STUDENT/{topic}/{topic}.ipynb or STUDENT.ipynb.")
    return students


def choose(found: Found, topic: str, exercises: dict[str, tuple[str, ...]]) -> Submission:
    """Read the notebook of `topic` among a student's files.

    Args:
        exercises: the names that the student defines, by exercise: how a notebook is recognised.

    Raises:
        Missing: there is none.
        Unreadable: there is one, but it cannot be read, or whose it is cannot be told.
    """
    if found.doubt:
        raise Unreadable(found.doubt, Status.AMBIGUOUS)
    candidates, others = _candidates(found, topic)
    if not candidates:
        raise Missing(_what_instead(others, topic))
    readable: list[tuple[int, Entry, list[Cell]]] = []
    damaged: list[tuple[Entry, Unreadable]] = []
    for entry in candidates:
        try:
            cells = cells_from_bytes(entry.read())
        except Unreadable as problem:
            damaged.append((entry, problem))
            if sum(other.status == Status.LIMIT for _, other in damaged) == MOST_LIMITS:
                break
            continue
        count = _exercises_in(cells, exercises)
        readable.append((count, entry, cells))
        if count == len(exercises) and entry.parts[-1] == f"{topic}.ipynb":
            break
    if not readable:
        entry, problem = damaged[0]
        raise Unreadable(f"{shown(entry.parts[-1])}: {problem}", problem.status)
    count, entry, cells = max(readable, key=lambda item: (item[0], item[1].parts[-1] == f"{topic}.ipynb"))
    name, called = shown(entry.parts[-1]), shown(entry.parts[-1], longest=300)
    expected = (f"{topic}.ipynb", f"{found.student}.ipynb")
    if count == 0 and called not in expected:
        raise Missing(f"{name} holds no cell of {topic}, and there is no other notebook.")
    messages = []
    if len(candidates) > 1:
        messages.append(f"There are {len(candidates)} notebooks; {name} was graded, it holds the most of {topic}.")
    elif called not in expected and student_of_file(called, topic) != found.student:
        messages.append(f"The file is called {name} instead of {topic}.ipynb; it was graded all the same.")
    modules, unread = modules_beside(
        entry, _unzipped(found.entries), cells, found.upload.system if found.upload else ""
    )
    handed_in, odd = _handed_in(found, entry, topic)
    handed_in = replace(handed_in, digest=_digest(cells, modules))
    return Submission(cells, messages + odd + unread, handed_in, modules)


# -- files of a folder or a zip, as entries


def _entries_of(path: Path) -> list[Entry]:
    if not path.exists():
        raise NothingToGrade(f"{path} does not exist: give the folder or the zip with the submissions.")
    if path.is_dir():
        entries = _list_folder(path)
    elif path.suffix.lower() == ".ipynb":
        date = HandedIn(_date_of_file(path), "the date of the file")
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
                date = HandedIn(_date_of_file(item), "the date of the file")
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
            date = HandedIn(_date_of_member(member), "the date in the zip")
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


def _handed_in(found: Found, notebook: Entry, topic: str) -> tuple[HandedIn, list[str]]:
    """When `notebook` was handed in, and what was odd about the dates."""
    if found.upload is not None:
        return HandedIn(late=found.upload.late, system=found.upload.system), []
    odd = []
    stamps = stamps_of(found.entries, topic)
    if stamps and not found.stamped:
        odd.append(f"{TIMESTAMP} was not believed: most of the class have none, so it is not nbgrader that wrote it.")
        stamps = []
    for entry in stamps:
        try:
            return HandedIn(time_from_text(entry.read()), TIMESTAMP), odd
        except (Untellable, Unreadable) as problem:
            odd.append(f"{TIMESTAMP} does not tell when it was handed in: {problem}")
    return notebook.time, odd


def _digest(cells: list[Cell], modules: tuple[OwnModule, ...]) -> str:
    written = [[cell.kind, cell.grade_id, normal_text(cell.source)] for cell in cells]
    written = json.dumps(written + [[module.file, module.source] for module in modules])
    return hashlib.sha256(written.encode()).hexdigest()


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


def _without_wrapper(entries: list[Entry], topic: str) -> list[Entry]:
    """Step into the one folder that a zip often has around the class, unless that folder is a student's own."""
    tops = {entry.parts[0] for entry in entries}
    if len(tops) != 1 or any(len(entry.parts) == 1 and entry.read for entry in entries):
        return entries
    naming = naming_of(tops)
    if naming and naming.system == "Moodle":  # the folder of the only student who handed in
        return entries
    inside = [replace(entry, parts=entry.parts[1:]) for entry in entries if len(entry.parts) > 1]
    names = {entry.parts[0] for entry in inside}
    if topic in names or f"{topic}.ipynb" in names:
        return entries
    folders_of_work = {e.parts[0] for e in inside if len(e.parts) > 1 and e.suffix in (".ipynb", ".zip")}
    files_of_work = {e.parts[0] for e in inside if len(e.parts) == 1 and e.read and e.suffix in (".ipynb", ".zip")}
    one_student = all(A_HOMEWORK.match(name) for name in folders_of_work) and len(files_of_work) < 2
    return entries if one_student else inside


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


def _candidates(found: Found, topic: str) -> tuple[list[Entry], list[Entry]]:
    """(notebooks that may be the one, other files); the most likely first."""
    entries = list(_unzipped(found.entries))
    inside = [entry for entry in entries if topic in entry.parts[:-1]]
    if not inside:
        inside = [e for e in entries if not any(A_HOMEWORK.match(part) for part in e.parts[:-1])]
    files = [entry for entry in inside if entry.read is not None and entry.parts[-1] != TIMESTAMP]
    notebooks = [entry for entry in files if entry.suffix == ".ipynb" or entry.closed]
    notebooks.sort(key=lambda entry: (entry.closed, entry.parts[-1] != f"{topic}.ipynb", len(entry.parts), entry.parts))
    return notebooks[:MOST_CANDIDATES], [entry for entry in files if entry not in notebooks]


def _unzipped(entries: tuple[Entry, ...]):
    """The zips among a student's files opened; together they may be as large as one file."""
    room = LARGEST_FILE
    for entry in entries:
        if entry.read is None or entry.suffix != ".zip":
            yield entry
            continue
        try:
            data = entry.read()
            if len(data) > room:
                raise Unreadable(f"The zips are larger than {LARGEST_FILE // 2**20} MB together.", Status.LIMIT)
            room -= len(data)
            for inner in _list_zip(lambda data=data: zipfile.ZipFile(io.BytesIO(data)), MOST_FILES_OF_ONE):
                yield replace(inner, time=entry.time)  # the dates in it are the student's to choose
        except Unreadable as problem:
            yield _closed(entry.parts, str(problem), problem.status)


def _what_instead(others: list[Entry], topic: str) -> str:
    if not others:
        return f"There is no notebook of {topic}."
    names = ", ".join(shown(entry.parts[-1], 40) for entry in others[:3])
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return f"There is no notebook (.ipynb), only {names}{more}."


def _exercises_in(cells: list[Cell], exercises: dict[str, tuple[str, ...]]) -> int:
    from course.grading.read.python_source import defined_names  # loads torch

    ids = {cell.grade_id for cell in cells}
    defined: set[str] = set()
    for cell in cells:
        if cell.kind == "code" and not cell.grade_id:
            defined |= defined_names(cell.source)
    return sum(name in ids or bool(defined & set(targets)) for name, targets in exercises.items())

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

Of several notebooks of one student the work wins: of versions with such a date, or with Canvas's numbers, the last
that is not as it was handed out; else the one with the most work. Where nobody can know, the row is ``ambiguous``.

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
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from course.grading.collect import forms
from course.grading.collect.handed_in import HandedIn, Untellable, sensible_time, time_from_text
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
from course.grading.collect.work import Work, work_in
from course.grading.problems import Missing, NothingToGrade, Unreadable
from course.grading.read.cells import LARGEST_FILE, Cell, normal_text
from course.grading.read.merge import Template
from course.grading.statuses import Status

MOST_FILES = 200_000  # of a class that is one zip
MOST_FILES_OF_ONE = 2_000  # of one student
DEEPEST = 6  # folders below a student's own that are looked into
MOST_CANDIDATES = 20  # notebooks of one student that are read to find the right one
MOST_LIMITS = 2  # of those, and of zips, that take too much to read; after that no other is tried
MOST_ZIPS_DEEP = 3  # a zip in a zip in a zip
MOST_NAMED = 5  # notebooks in one sentence

_NOISE = re.compile(r"^(\..*|__MACOSX|Thumbs\.db|desktop\.ini|__pycache__)$", re.IGNORECASE)


@dataclass(frozen=True)
class Submission:
    """The notebook that is graded, and what was odd about finding it."""

    cells: list[Cell]
    messages: list[str] = field(default_factory=list)
    handed_in: HandedIn = HandedIn()


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


@dataclass(frozen=True)
class _Version:
    """One notebook of a student, read."""

    entry: Entry
    cells: list[Cell]
    odd: list[str]
    work: Work

    @property
    def is_script(self) -> bool:
        return self.entry.suffix == forms.SCRIPT


@dataclass(frozen=True)
class _Damaged:
    """One that cannot be read."""

    entry: Entry
    problem: Unreadable


def choose(found: Found, topic: str, template: Template) -> Submission:
    """Read the notebook of `topic` among a student's files: of several, see the text above.

    Raises:
        Missing: there is none.
        Unreadable: there is one, but it cannot be read; or whose it is, or which one is meant, cannot be told.
    """
    if found.doubt:
        raise Unreadable(found.doubt, Status.AMBIGUOUS)
    candidates, others = _candidates(found, topic)
    versions, damaged = _read(candidates[:MOST_CANDIDATES], template)
    unread = max(0, len(candidates) - MOST_CANDIDATES)
    left_out = f"{unread} further notebooks were not read; {MOST_CANDIDATES} are read at most."
    if not versions and not damaged:
        raise Missing(_what_instead(others, topic))
    names = _names([*(version.entry for version in versions), *(each.entry for each in damaged)])
    if not any(version.work.known for version in versions) and damaged:
        first = damaged[0]
        raise Unreadable(f"{names[first.entry]}: {first.problem}", first.problem.status)
    if not any(version.work.done for version in versions):  # what is not read may hold the work
        if damaged:
            raise _untouched_beside(versions, damaged, names)
        if unread:
            raise Unreadable(f"No work was found, but {left_out} Leave the right one.", Status.LIMIT)
    chosen, why = _chosen(versions, found, topic, names)
    name, called = names[chosen.entry], shown(chosen.entry.parts[-1], longest=300)
    expected = called in (f"{topic}{chosen.entry.suffix}", f"{found.student}{chosen.entry.suffix}")
    if not chosen.work.known and not expected:
        if len(versions) > 1:
            raise Missing(f"There are {len(versions)} notebooks and no cell of {topic} in any of them.")
        raise Missing(f"{name} holds no cell of {topic}, and there is no other notebook.")
    messages = []
    aside = [other for other in (*versions, *damaged) if other is not chosen]
    if aside:
        count = sum(entry.suffix not in (forms.ZIP, *forms.PACKED) for entry in names)
        there = f"There are {count} notebooks; {name} was graded, {why}" if count > 1 else f"{name} was graded"
        messages.append(f"{there}. Set aside: {_listed(_against(other, chosen, names) for other in aside)}.")
    elif not expected and found.upload is None and student_of_file(called, topic) != found.student:
        messages.append(f"The file is called {name} instead of {topic}.ipynb; it was graded all the same.")
    if chosen.is_script:
        messages.append(f"{name} is a script: its parts were found by the names they define. Hand in the notebook.")
    handed_in, odd = _handed_in(found, chosen.entry, topic)
    messages += [*([left_out] if unread else []), *chosen.odd, *odd]
    return Submission(chosen.cells, messages, replace(handed_in, digest=_digest(chosen.cells)))


# -- which of several


def _read(candidates: list[Entry], template: Template) -> tuple[list[_Version], list[_Damaged]]:
    versions, damaged = [], []
    for entry in candidates:
        try:
            cells, odd = forms.cells_of(entry.parts[-1], entry.read())
            version = _Version(entry, cells, odd, work_in(cells, template))
        except Unreadable as problem:
            damaged.append(_Damaged(entry, problem))
            if sum(other.problem.status == Status.LIMIT for other in damaged) == MOST_LIMITS:
                break
            continue
        if version.work.known or not version.is_script:  # a script of something else is no notebook
            versions.append(version)
    return versions, damaged


def _chosen(versions: list[_Version], found: Found, topic: str, names: dict[Entry, str]) -> tuple[_Version, str]:
    """(the version that is graded, why). Raises `Unreadable` where nobody can know."""
    worked = [version for version in versions if version.work.done]
    if not worked:
        likely = max(versions, key=lambda v: (v.work.known, v.entry.parts[-1] == f"{topic}.ipynb", not v.is_script))
        return likely, "none of them has work in it"
    newest = _newest(worked, found)
    most = max(len(version.work.done) for version in newest)
    best = [version for version in newest if len(version.work.done) == most]
    best = [version for version in best if not version.is_script] or best  # a notebook is what was asked for
    winner = max(best, key=lambda version: (len(version.work.more), version.entry.parts[-1] == f"{topic}.ipynb"))
    if any(v.work.done != winner.work.done or not v.work.more <= winner.work.more for v in best):
        raise Unreadable(_which(best, names), Status.AMBIGUOUS)
    if len(worked) == 1:
        return winner, "no other has work in it"
    if len(best) == len(worked):
        return winner, "the work in them is the same"
    if len(newest) == 1:
        when = winner.entry.time.time
        told = f", of {when:%Y-%m-%d %H:%M} UTC {winner.entry.time.told_by}" if when else ""
        return winner, f"the last one with work in it{told}"
    return winner, "it has the most work in it"


def _newest(worked: list[_Version], found: Found) -> list[_Version]:
    """Without the versions that came before another, as far as the platform says so."""
    dated = [version for version in worked if version.entry.time.time]
    if dated:
        last = max(version.entry.time.time for version in dated)
        return [version for version in dated if version.entry.time.time == last]
    if found.upload is None or found.upload.system != "Canvas":
        return worked
    # Canvas calls what is uploaded again under the same name hw1-1.ipynb, then hw1-2.ipynb.
    last_of: dict[tuple[str, ...], tuple[int, _Version]] = {}
    for version in worked:
        *folders, file = version.entry.parts
        match = re.fullmatch(r"(.+?)(?:-([0-9]{1,3}))?", file[: len(file) - len(version.entry.suffix)], re.DOTALL)
        base, number = (match[1], int(match[2] or 0)) if match and not folders else (file, 0)
        key = (*folders, base, version.entry.suffix)
        last_of[key] = max(last_of.get(key, (-1, version)), (number, version), key=lambda pair: pair[0])
    return [version for _, version in last_of.values()]


def _which(best: list[_Version], names: dict[Entry, str]) -> str:
    told = [f"{names[v.entry]} ({_listed(v.work.done)})" for v in sorted(best, key=lambda v: names[v.entry])]
    return (
        f"{len(best)} notebooks hold as much work and not the same, and nothing tells which is meant: {_listed(told)}. "
        "Nothing was graded: leave the right one and grade again."
    )


def _untouched_beside(versions: list[_Version], damaged: list[_Damaged], names: dict[Entry, str]) -> Unreadable:
    first = damaged[0]
    beside = _listed(names[version.entry] for version in versions if version.work.known)
    return Unreadable(
        f"{names[first.entry]}: {first.problem} The work may be in there: {beside} is as it was handed out.",
        first.problem.status,
    )


def _against(other: _Version | _Damaged, chosen: _Version, names: dict[Entry, str]) -> str:
    """A notebook that was not graded, and whether anything is lost with it."""
    if isinstance(other, _Damaged):
        said = f"cannot be read: {str(other.problem).rstrip('.')}"
    elif not other.work.known:
        said = "another notebook"
    elif not other.work.done:
        said = "as it was handed out"
    elif other.work.done == chosen.work.done:
        said = "the same work"
    else:
        only = [name for name in other.work.done if name not in chosen.work.done]
        said = f"with work on {_listed(only)} that is not graded" if only else f"work on {_listed(other.work.done)}"
    return f"{names[other.entry]} ({said})"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def _names(entries: list[Entry]) -> dict[Entry, str]:
    """What each is called in a sentence: its own name, with its folders where two have the same."""
    count = Counter(entry.parts[-1] for entry in entries)
    return {e: shown(e.parts[-1] if count[e.parts[-1]] == 1 else "/".join(e.parts)) for e in entries}


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


def _handed_in(found: Found, notebook: Entry, topic: str) -> tuple[HandedIn, list[str]]:
    """When `notebook` was handed in, and what was odd about the dates."""
    if found.upload is not None:
        return replace(notebook.time, late=found.upload.late, system=found.upload.system), []
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


def _digest(cells: list[Cell]) -> str:
    written = json.dumps([[cell.kind, cell.grade_id, normal_text(cell.source)] for cell in cells])
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


def _candidates(found: Found, topic: str) -> tuple[list[Entry], list[Entry]]:
    """(notebooks and scripts that may be the one, other files); the most likely first."""
    entries = [entry for entry in _unzipped(found.entries) if _may_be_of(entry, topic)]
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


def _unzipped(entries: tuple[Entry, ...]) -> list[Entry]:
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


def _what_instead(others: list[Entry], topic: str) -> str:
    if not others:
        return f"There is no notebook of {topic}."
    names = ", ".join(shown(entry.parts[-1], 40) for entry in others[:3])
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    prints = any(entry.suffix in forms.PRINTS for entry in others)
    remedy = f" A print of a notebook cannot be graded. {forms.DOWNLOAD}" if prints else ""
    return f"There is no notebook (.ipynb), only {names}{more}.{remedy}"

"""Whose work each file of a class is, as far as the names at its top tell.

Those names are the platform's or the instructor's; nothing below them, which students name, says whose it is. Where two
entries claim to be one student's, nobody is graded on a guess: the row says what they are. An entry that may be
another student's never touches the row of a student of whom there is a certain one.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from course.grading.collect.forms import WORK, ending
from course.grading.collect.handed_in import HandedIn
from course.grading.collect.platforms import (
    COPY_OF,
    GRADESCOPE_LIST,
    Naming,
    OnGradescope,
    Upload,
    naming_of,
    read_gradescope_list,
)
from course.grading.problems import Unreadable

TIMESTAMP = "timestamp.txt"  # written by `nbgrader submit`
A_HOMEWORK = re.compile(r"^hw\d+_\w+$")

_MOST_NAMES = 3  # of entries in one sentence


@dataclass(frozen=True)
class Entry:
    """One file or folder of the class.

    Args:
        parts: its path, names from the outermost folder inwards.
        read: gives the file's bytes, raising `Unreadable`; None for a folder.
        closed: it cannot be looked into, though a notebook may be inside; `read` says why.
        time: when it was handed in, where its platform tells, and the date that the file bears.
    """

    parts: tuple[str, ...]
    read: Callable[[], bytes] | None = None
    closed: bool = False
    time: HandedIn = HandedIn()

    @property
    def suffix(self) -> str:
        return ending(self.parts[-1])


@dataclass(frozen=True)
class Found:
    """One student and the files that came from them, paths counted from the student's own folder.

    Args:
        upload: None where they come from no learning management system.
        stamped: the class is as nbgrader collects it, so `TIMESTAMP` at its place is nbgrader's own.
        doubt: why it cannot be told whose work this is; there are no entries then.
    """

    student: str
    entries: tuple[Entry, ...]
    upload: Upload | None = None
    stamped: bool = False
    doubt: str = ""


@dataclass(frozen=True)
class _Claim:
    """An entry at the top of the class, and whose it is by its name.

    Args:
        top: its name.
        key: equal for those of one student.
        who: the student, in words.
        part, holder: two claims with one `part` and different `holder` are not both of one download.
        is_work: a notebook may be in it.
    """

    top: str
    key: tuple[str, str]
    name: str
    who: str
    part: str
    holder: str
    is_work: bool
    entries: tuple[Entry, ...]
    upload: Upload | None = None
    doubtful: bool = False


def students_of(entries: list[Entry], topic: str, around: str = "") -> list[Found]:
    """Every student of the class, sorted by name; `entries` are sorted by path, `around` is the folder they are in."""
    tops: dict[str, list[Entry]] = {}
    for entry in entries:
        tops.setdefault(entry.parts[0], []).append(entry)
    listed = _gradescope_list(tops)
    naming = naming_of(tops, around)
    students: dict[tuple[str, str], list[_Claim]] = {}
    for top, below in tops.items():
        known = listed.get(top)
        claims = _claims_on_gradescope(top, below, known) if known else [_claim(top, below, naming, topic)]
        for claim in claims:
            students.setdefault(claim.key, []).append(claim)
    first = {key: min(claims, key=lambda claim: claim.doubtful) for key, claims in students.items()}
    names = _distinct_names(first)
    found: list[Found] = []
    aside: list[_Claim] = []
    for key, claims in students.items():
        own, others, contested = _settled(claims)
        aside += others
        if contested:
            found.append(Found(names[key], (), own[0].upload, doubt=_contested(own)))
            continue
        upload = own[0].upload and replace(own[0].upload, late=any(c.upload.late for c in own))
        found.append(Found(names[key], tuple(entry for claim in own for entry in claim.entries), upload))
    taken = {student.student for student in found}
    for claim in aside:
        name = _free(shown(claim.top, longest=120), taken)
        taken.add(name)
        found.append(Found(name, (), doubt=_set_aside(claim)))
    if _stamped(found):
        found = [replace(student, stamped=student.upload is None) for student in found]
    return sorted(found, key=lambda student: student.student)


def student_of_file(name: str, topic: str) -> str:
    """``anna.ipynb`` and ``anna_hw1_self_attention.ipynb`` are both anna's."""
    stem = name[: len(name) - len(ending(name))]
    for join in (" - ", "_", "-", " "):
        if stem.endswith(join + topic) and stem != join + topic:
            return stem[: -len(join + topic)]
    return stem


def stamps_of(entries: tuple[Entry, ...], topic: str | None) -> list[Entry]:
    """Each `TIMESTAMP` of a student where nbgrader may have put it: ``hw1_topic/timestamp.txt``, or beside that folder.

    What a student hands in with nbgrader lies inside of that folder, where nbgrader writes over a file of that name.

    Args:
        topic: the homework; None takes any.
    """
    folders = {entry.parts[0] for entry in entries if len(entry.parts) > 1}
    folders = sorted(name for name in folders if (name == topic if topic else A_HOMEWORK.match(name)))
    places = [*((folder, TIMESTAMP) for folder in folders), *([(TIMESTAMP,)] if folders else [])]
    there = {entry.parts: entry for entry in entries if entry.read}
    return [there[place] for place in places if place in there]


def shown(name: str, longest: int = 80) -> str:
    """A file's name as a sentence can show it: one line, valid text, one spelling of each letter, not too long."""
    name = unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))
    name = "".join(letter if letter.isprintable() else "_" for letter in name)
    return name if len(name) <= longest else name[: longest - 1] + "…"


# -- claims


def _claim(top: str, below: list[Entry], naming: Naming | None, topic: str) -> _Claim:
    inside = [replace(entry, parts=entry.parts[1:]) for entry in below if len(entry.parts) > 1]
    files = [entry for entry in below if len(entry.parts) == 1 and entry.read]
    is_folder = len(files) < len(below)
    is_work = any(entry.read and (entry.closed or entry.suffix in WORK) for entry in below)
    named = naming.read(top) if naming else None
    if named is None:
        as_spelled = top if is_folder else student_of_file(top, topic)
        name = unicodedata.normalize("NFC", as_spelled)
        part = "work" if is_work else f"other {top}"
        return _Claim(top, ("", name), name, shown(name), part, as_spelled, is_work, (*files, *inside))
    name = unicodedata.normalize("NFC", named.student)
    who = naming.describe(named)
    # The downloads hold the date of the download, and dates that students' programs wrote.
    files = [replace(entry, parts=(top if naming.alone else named.file or top,)) for entry in files]
    own = tuple(
        replace(entry, parts=(*named.within, *entry.parts), time=named.handed_in) for entry in (*files, *inside)
    )
    holder = f"{'late' if named.upload.late else ''}/{top.removeprefix(COPY_OF) if naming.alone or (is_folder and named.plugin) else ''}"
    key = (named.upload.system, named.id)
    return _Claim(top, key, name, who, named.plugin, holder, is_work, own, named.upload, named.doubtful)


def _gradescope_list(tops: dict[str, list[Entry]]) -> dict[str, OnGradescope]:
    """What Gradescope's list at the top of the class says, by folder; it is taken out of `tops`."""
    told: dict[str, OnGradescope] = {}
    for entry in tops.get(GRADESCOPE_LIST, ()):
        if entry.parts == (GRADESCOPE_LIST,) and entry.read:
            del tops[GRADESCOPE_LIST]
            try:
                told = read_gradescope_list(entry.read())
            except Unreadable:  # then students are called as their folders are
                pass
            break
    return told


def _claims_on_gradescope(top: str, below: list[Entry], known: OnGradescope) -> list[_Claim]:
    """One for each student who handed it in together with others."""
    inside = [replace(entry, parts=entry.parts[1:]) for entry in below if len(entry.parts) > 1]
    entries = tuple(replace(entry, time=known.handed_in) for entry in inside)
    claims = []
    for spelled, tells_apart in known.students:
        name = unicodedata.normalize("NFC", spelled)
        who, upload = f"{shown(name)} of Gradescope", Upload("Gradescope", tells_apart)
        claims.append(_Claim(top, ("Gradescope", tells_apart), name, who, "work", top, True, entries, upload))
    return claims


def _settled(claims: list[_Claim]) -> tuple[list[_Claim], list[_Claim], bool]:
    """(what is the student's, what may be another's, whether even the former is in doubt)."""
    sure = [claim for claim in claims if not claim.doubtful]
    if not sure:
        return claims, [], _differ(claims) or sum(claim.is_work for claim in claims) > 1
    if _differ(sure):
        return claims, [], True
    has_work = any(claim.is_work for claim in sure)
    aside = [c for c in claims if c.doubtful and (_differ([sure[0], c]) or (c.is_work and has_work))]
    own = [claim for claim in claims if claim not in aside]
    return own, aside, sum(claim.doubtful and claim.is_work for claim in own) > 1


def _differ(claims: list[_Claim]) -> bool:
    holders = {(claim.part, claim.holder) for claim in claims}
    return len({claim.name for claim in claims}) > 1 or len(holders) > len({claim.part for claim in claims})


def _contested(claims: list[_Claim]) -> str:
    names = [shown(claim.top) for claim in claims]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    spelling = " in two spellings of the same letters" if len({*names}) < len(names) else ""
    return (
        f"Each of {', '.join(names[:_MOST_NAMES])}{more} claims to be of {claims[0].who}{spelling}. Whose work it is "
        "cannot be told, so nothing was graded: leave the right one, or rename what is another's, and grade again."
    )


def _set_aside(claim: _Claim) -> str:
    return (
        f"{shown(claim.top)} may be of {claim.who}, of whom there is another file, or of a student whose name ends in "
        "a number. Whose work it is cannot be told, so it was not graded: rename it to STUDENT.ipynb and grade again, "
        "or delete it."
    )


def _stamped(found: list[Found]) -> bool:
    """Most students have nbgrader's stamp: then the class is nbgrader's, and nobody's stamp is made by hand."""
    handed_in = [student for student in found if any(entry.read for entry in student.entries)]
    return 2 * sum(bool(stamps_of(student.entries, None)) for student in handed_in) > len(handed_in)


# -- names


def _distinct_names(students: dict[tuple[str, str], _Claim]) -> dict[tuple[str, str], str]:
    """A name for each student, no two alike; the platform's id follows where names alone are not enough."""
    names = {key: shown(claim.name, longest=120).strip() or key[1] or "unnamed" for key, claim in students.items()}
    numbered: set[tuple[str, str]] = set()
    while True:
        count = Counter(names.values())
        clashing = [key for key in names if count[names[key]] > 1 and students[key].upload and key not in numbered]
        if not clashing:
            break
        names |= {key: f"{names[key]}_{key[1]}" for key in clashing}
        numbered |= set(clashing)
    taken: set[str] = set()
    for key in sorted(names):  # names that differ only in what cannot be shown
        names[key] = _free(names[key], taken)
        taken.add(names[key])
    return names


def _free(name: str, taken: set[str]) -> str:
    distinct, k = name, 1
    while distinct in taken:
        k += 1
        distinct = f"{name} ({k})"
    return distinct

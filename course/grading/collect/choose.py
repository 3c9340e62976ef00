"""Which notebook of a student is graded, and what is said of the others.

Of several notebooks of one student the work wins: of versions with such a date, or with Canvas's numbers, the last
that is not as it was handed out; else the one with the most work. Where nobody can know, the row is ``ambiguous``.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from course.grading.collect import forms
from course.grading.collect.find import candidates, unzipped
from course.grading.collect.handed_in import HandedIn, Untellable, time_from_text
from course.grading.collect.modules import modules_beside
from course.grading.collect.whose import TIMESTAMP, Entry, Found, shown, stamps_of, student_of_file
from course.grading.collect.work import Work, work_in
from course.grading.problems import Missing, Unreadable
from course.grading.read.cells import Cell, normal_text
from course.grading.read.merge import Template
from course.grading.read.modules import OwnModule
from course.grading.statuses import Status

MOST_CANDIDATES = 20  # notebooks of one student that are read to find the right one
MOST_LIMITS = 2  # of those, that take too much to read; after that no other is tried
MOST_NAMED = 5  # notebooks in one sentence


@dataclass(frozen=True)
class Submission:
    """The notebook that is graded, and what was odd about finding it."""

    cells: list[Cell]
    messages: list[str] = field(default_factory=list)
    handed_in: HandedIn = HandedIn()
    modules: tuple[OwnModule, ...] = ()


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
    """Read the notebook of `topic` among a student's files: of several, see above.

    Raises:
        Missing: there is none.
        Unreadable: there is one, but it cannot be read; or whose it is, or which one is meant, cannot be told.
    """
    if found.doubt:
        raise Unreadable(found.doubt, Status.AMBIGUOUS)
    likely, others = candidates(found, topic)
    versions, damaged = _read(likely[:MOST_CANDIDATES], template)
    unread = max(0, len(likely) - MOST_CANDIDATES)
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
    system = found.upload.system if found.upload else ""
    modules, unimported = modules_beside(chosen.entry, lambda: unzipped(found.entries), chosen.cells, system)
    messages += [*([left_out] if unread else []), *chosen.odd, *odd, *unimported]
    handed_in = replace(handed_in, digest=_digest(chosen.cells, modules))
    return Submission(chosen.cells, messages, handed_in, modules)


# -- which of several


def _read(likely: list[Entry], template: Template) -> tuple[list[_Version], list[_Damaged]]:
    versions, damaged = [], []
    for entry in likely:
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


def _what_instead(others: list[Entry], topic: str) -> str:
    if not others:
        return f"There is no notebook of {topic}."
    names = ", ".join(shown(entry.parts[-1], 40) for entry in others[:3])
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    prints = any(entry.suffix in forms.PRINTS for entry in others)
    remedy = f" A print of a notebook cannot be graded. {forms.DOWNLOAD}" if prints else ""
    return f"There is no notebook (.ipynb), only {names}{more}.{remedy}"


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


def _digest(cells: list[Cell], modules: tuple[OwnModule, ...]) -> str:
    written = [[cell.kind, cell.grade_id, normal_text(cell.source)] for cell in cells]
    written = json.dumps(written + [[module.file, module.source] for module in modules])
    return hashlib.sha256(written.encode()).hexdigest()

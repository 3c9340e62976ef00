"""When homework is due, who has longer, and what coming late costs, as ``solutions/grading.toml`` says it."""

import difflib
import math
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from course.grading.collect.handed_in import EARLIEST, LATEST, HandedIn
from course.grading.problems import BadConfiguration
from course.grading.record.result import StudentResult
from course.grading.statuses import Status

FILE_NAME = "grading.toml"  # in solutions/
EXTENSIONS = "extensions"

_DAY = timedelta(days=1)
_NUMBERS = {  # the settings that are numbers: (lowest, highest, what fits)
    "grace_minutes": (0, 60 * 24 * 365, "minutes, 0 or more"),
    "late_penalty_per_day": (0, 1, "a share from 0 to 1, for instance 0.1"),
    "latest_days": (0, 3650, "days, 0 or more"),
}
_KEYS = ("due", *_NUMBERS, EXTENSIONS)


@dataclass(frozen=True)
class Deadline:
    """When one homework is due. Without `due` nothing is late, unless a learning management system says so.

    Args:
        due: with a zone.
        grace: what may pass after it at no cost.
        penalty_per_day: share of the points earned, for each day begun after `due`.
        latest: what is handed in later than this after `due` earns 0.
        extensions: another `due`, by student.
        where: the file and section, for sentences.
        note: that a time was taken in this machine's zone, if it was.
    """

    due: datetime | None = None
    grace: timedelta = timedelta(0)
    penalty_per_day: float = 0.0
    latest: timedelta | None = None
    extensions: dict[str, datetime] = field(default_factory=dict)
    where: str = ""
    note: str = ""

    def require_students(self, known: Iterable[str]) -> None:
        """Raises BadConfiguration: an extension is for a student who is not among `known`."""
        known = list(known)
        for student in self.extensions:
            if student not in known:
                near = difflib.get_close_matches(student, known, 1)
                meant = f"did you mean {near[0]!r}?" if near else "it takes the names of grades.csv."
                raise BadConfiguration(f"{self.where}, {EXTENSIONS}: there is no student {student!r}; {meant}")

    def applied(self, result: StudentResult) -> StudentResult:
        """The result with what coming late costs; a second time changes nothing."""
        late, share, sentence = self._judged(result.student, result.handed_in)
        statuses = {*result.statuses} - {Status.LATE} | ({Status.LATE} if late else set())
        return replace(result, statuses=tuple(statuses), penalty=share, lateness=sentence)

    def undated(self, results: Iterable[StudentResult]) -> list[str]:
        """The students of whom it cannot be told whether they were in time."""
        return [r.student for r in results if r.handed_in and not r.handed_in.late and self._undated(r.handed_in)]

    def _undated(self, handed_in: HandedIn) -> str:
        """What to say where a date of submission is needed and not known, else ``""``."""
        if self.due is None or handed_in.time is not None or handed_in.system == "Canvas":  # which marks what is late
            return ""
        if handed_in.file_date is None:
            return "When it was handed in is not known; it counts as in time."
        own = f"{handed_in.file_date.astimezone(self.due.tzinfo):%Y-%m-%d}"
        return (
            f"No date of submission is known: the file's own date {own} was not used, it may be that of a copy; it "
            "counts as in time."
        )

    def _judged(self, student: str, handed_in: HandedIn | None) -> tuple[bool, float, str]:
        """(is it late, share of the points that is taken off, what to say)."""
        if handed_in is None:
            return False, 0.0, ""
        if handed_in.time is None:
            if handed_in.late:
                how_late = "its download does not hold how late that was, so nothing is taken off."
                return True, 0.0, f"{handed_in.system} has it marked as late; {how_late}"
            return False, 0.0, self._undated(handed_in)
        due = self.extensions.get(student, self.due)
        if due is None or handed_in.time <= due + self.grace:
            return False, 0.0, ""
        over = handed_in.time - due
        which = "extended due date" if student in self.extensions else "due date"
        when = f"{handed_in.time.astimezone(due.tzinfo):%Y-%m-%d %H:%M %Z}"
        late = f"Handed in {when} ({handed_in.told_by}), {_in_words(over)} after the {which} {due:%Y-%m-%d %H:%M %Z}"
        if self.latest is not None and over > self.latest:
            return True, 1.0, f"{late}: more than {_in_words(self.latest)} late earns 0."
        share = min(1.0, self.penalty_per_day * math.ceil(over / _DAY))
        cost = f"{100 * share:.3g} % of the points earned are taken off" if share else "nothing is taken off"
        return True, share, f"{late}: {cost}."


def read_deadline(path: Path, topic: str, homework: Iterable[str]) -> Deadline:
    """The section of `topic` in a configuration file; without one, no deadline.

    Args:
        homework: the names that a section may have.

    Raises:
        BadConfiguration: anything in the file is not as it should be.
    """
    homework = sorted(homework)
    try:
        sections = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise BadConfiguration(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise BadConfiguration(f"{path} is no TOML: {error}.") from None
    for name, section in sections.items():
        if name not in homework:
            raise BadConfiguration(f"{path}: there is no homework {name!r}; a section is one of {', '.join(homework)}.")
        _require_fit(path, name, section)
    return _deadline(sections.get(topic, {}), f"{path}, [{topic}]")


def _require_fit(path: Path, name: str, section) -> None:
    if not isinstance(section, dict):
        raise BadConfiguration(f"{path}, {name}: it is a section, written [{name}].")
    for key, value in section.items():
        where = f"{path}, [{name}], {key}"
        if key == "due":
            _require_time(where, value)
        elif key == EXTENSIONS:
            if not isinstance(value, dict):
                raise BadConfiguration(f"{where}: it is a section, written [{name}.{EXTENSIONS}].")
            for student, until in value.items():
                _require_time(f"{path}, [{name}.{EXTENSIONS}], {student}", until)
        elif key in _NUMBERS:
            low, high, fits = _NUMBERS[key]
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise BadConfiguration(f"{where}: {_short(value)} does not fit; it takes {fits}.")
        else:
            raise BadConfiguration(f"{where}: there is no such setting; there is {', '.join(_KEYS)}.")
    if "due" not in section and section:
        raise BadConfiguration(f"{path}, [{name}]: {next(iter(section))} says nothing without due; set due, too.")
    for student, until in section.get(EXTENSIONS, {}).items():
        if _with_zone(until) < _with_zone(section["due"]):
            where = f"{path}, [{name}.{EXTENSIONS}], {student}"
            raise BadConfiguration(f"{where}: {until} is before due; it takes a later time.")


def _require_time(where: str, value) -> None:
    if not isinstance(value, datetime):
        fits = "a date with a time and a zone, without quotes: 2026-11-30T23:59:00+01:00"
        raise BadConfiguration(f"{where}: {_short(value)} does not fit; it takes {fits}.")
    if not EARLIEST.year < value.year < LATEST.year:  # so that no zone takes it out of what can be computed with
        raise BadConfiguration(f"{where}: the year {value.year} cannot be.")


def _deadline(section: dict, where: str) -> Deadline:
    extensions = section.get(EXTENSIONS, {})
    times = {"due": section.get("due"), **extensions}
    local = [key for key, time in times.items() if time is not None and time.tzinfo is None]
    due = _with_zone(section["due"]) if "due" in section else None
    zone = f"{_with_zone(times[local[0]]):%Z}" if local else ""
    latest = section.get("latest_days")
    return Deadline(
        due=due,
        grace=timedelta(minutes=section.get("grace_minutes", 0)),
        penalty_per_day=float(section.get("late_penalty_per_day", 0.0)),
        latest=None if latest is None else timedelta(days=latest),
        # an "ë" can be spelled as one sign or two; names of students are spelled as NFC has it
        extensions={unicodedata.normalize("NFC", student): _with_zone(until) for student, until in extensions.items()},
        where=where,
        note=f"{', '.join(local)} in {where} without a zone: taken in this machine's, {zone}" if local else "",
    )


def _with_zone(time: datetime) -> datetime:
    return time if time.tzinfo else time.astimezone()


def _in_words(length: timedelta) -> str:
    """``1 day 3 h``: the two largest units that are not 0."""
    minutes = math.ceil(length / timedelta(minutes=1))
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "day" if days == 1 else "days"), (hours, "h"), (minutes, "min")]
    return " ".join([f"{count} {unit}" for count, unit in parts if count][:2]) or "0 min"


def _short(value) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"

"""When homework was handed in, from dates that may hold anything."""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)  # no course is outside of these

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)\s*([A-Za-z][\w/+-]*|[+-]\d\d:?\d\d)?")


class Untellable(Exception):
    """A text is no time; the text of this says why."""


@dataclass(frozen=True)
class HandedIn:
    """What is known about the handing in of a notebook.

    Args:
        time: in UTC, as the platform or nbgrader has it; None where neither says.
        told_by: what tells it, in words.
        late: the learning management system has it marked as late.
        system: its name, where the submission was downloaded from one.
        digest: of the notebook's cells: another one means that the student handed in again.
        file_date: the date of the file or of its copy in a zip, in UTC: it tells nothing, and a sentence says so.
    """

    time: datetime | None = None
    told_by: str = ""
    late: bool = False
    system: str = ""
    digest: str = ""
    file_date: datetime | None = None


def time_from_text(data: bytes) -> datetime:
    """What nbgrader writes into ``timestamp.txt``, as ``2026-11-21 16:37:49.123456 UTC``, in UTC.

    A zone may be a name or an offset; without one it is UTC, as nbgrader takes it.

    Raises:
        Untellable: it is anything else.
    """
    if len(data) > 200:
        raise Untellable(f"it holds {len(data)} bytes, and a time is shorter.")
    text = data.decode("utf-8-sig", "replace").strip()
    match = _TIME.fullmatch(text)
    if match is None:
        raise Untellable("it holds no time like 2026-11-21 16:37:49 UTC.")
    day, hour, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day} {hour}{zone if zone and zone[0] in '+-' else ''}")
        if zone in time.tzname:  # "CEST" names no zone, but here it is this machine's
            moment = moment.astimezone()
        elif moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC if zone in (None, "Z", "z") else ZoneInfo(zone))
        sensible = sensible_time(moment)
    except (ValueError, KeyError, OSError, OverflowError) as error:  # the first three are ZoneInfo's
        raise Untellable(f"{text!r} is no time ({error}).") from None
    if sensible is None:
        raise Untellable(f"the year {moment.year} cannot be.")
    return sensible


def sensible_time(moment: datetime) -> datetime | None:
    """In UTC, or None where it cannot be when homework was handed in: a broken clock, a date that nobody set."""
    try:
        return moment.astimezone(UTC) if EARLIEST <= moment < LATEST else None
    except OverflowError:
        return None

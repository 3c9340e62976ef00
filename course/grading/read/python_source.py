"""What can be told of a cell's Python without running it.

Every function takes any text and raises nothing but `Unreadable`, where to parse the text takes too much.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict

from course.grading.problems import Unreadable
from course.grading.read import reader
from course.grading.statuses import Status
from course.outline import Outline, outline

MOST_REMEMBERED = 2 * 10**6  # characters of texts whose outlines are kept

_DEFINES = re.compile(r"^(?:async\s+)?(?:def|class)\s+(\w+)|^(\w+)\s*=[^=]", re.MULTILINE)
_COMMAND = re.compile(r"^(\s*)(?:[%!?]|\w+\s*=\s*[%!]|[\w.]+\?{1,2}\s*$)")
_SURE_COMMAND = re.compile(r"^(\s*)(?:%{1,2}\w|[!?]|\w+\s*=\s*(?:%\w|!)|[\w.]+\?{1,2}\s*$)")
_TIMED = re.compile(r"^(\s*)%time[^\S\n]+(\S.*)$")
_RUNS_ITS_BODY = ("time", "timeit", "capture", "prun")  # cell magics after which plain Python follows


class _Outlines:
    """What was said of the last texts: each is asked about several times."""

    def __init__(self):
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Outline | None] = OrderedDict()
        self._characters = 0

    def of(self, source: str) -> Outline | None:
        with self._lock:
            if source in self._known:
                self._known.move_to_end(source)
                return self._known[source]
        found = _ask(source)
        with self._lock:
            if source not in self._known:
                self._characters += len(source)
            self._known[source] = found
            while self._characters > MOST_REMEMBERED:
                self._characters -= len(self._known.popitem(last=False)[0])
        return found


_OUTLINES = _Outlines()


def outlined(source: str) -> Outline | None:
    """`course.outline.outline` of a student's text, in a process with limits.

    Raises:
        Unreadable: there is too much in it.
    """
    return _OUTLINES.of(source)


def forget() -> None:
    """Know nothing of any text."""
    global _OUTLINES
    _OUTLINES = _Outlines()


def _ask(source: str) -> Outline | None:
    try:
        answer = reader.ask("outline", source.encode("utf-8", "surrogatepass"))
    except reader.TooMuch:
        raise Unreadable("A cell is so tangled that Python cannot read it in reasonable time.", Status.LIMIT) from None
    return answer and Outline.from_json(answer)


def described(data: bytes) -> dict | None:
    """What `outlined` asks for: an `Outline` as JSON can hold it."""
    answer = outline(data.decode("utf-8", "surrogatepass"))
    return answer and asdict(answer)


def plain_python(source: str) -> str:
    """The cell without IPython's commands (``%timeit f(x)``, ``!ls``, ``f?``); line numbers stay as they are.

    They are taken out only where the text is no Python as it stands: ``% b`` may continue a line above. What
    ``%time`` measures is run.
    """
    lines = source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        words = lines[first][2:].split()
        if not words or words[0] not in _RUNS_ITS_BODY:
            return ""  # a cell of another language
        lines[first] = ""
        source = "\n".join(lines)
    if outlined(source) is not None:
        return source
    if any(_COMMAND.match(line) for line in lines):
        for pattern, timed in ((_SURE_COMMAND, True), (_SURE_COMMAND, False), (_COMMAND, False)):
            without = "\n".join(_without_commands(lines, pattern, timed))
            if outlined(without) is not None:
                return without
    return source


def _without_commands(lines: list[str], pattern: re.Pattern, timed: bool) -> Iterator[str]:
    goes_on = False
    for line in lines:
        command = None if goes_on else pattern.match(line)
        measured = _TIMED.match(line) if timed and command else None
        if measured:
            yield measured[1] + measured[2]
        elif command:
            yield command[1] + "pass"
        else:
            yield "" if goes_on else line
        goes_on = (goes_on or (command is not None and not measured)) and line.endswith("\\")


def defined_names(source: str) -> frozenset[str]:
    """Names that the cell gives a meaning to outside its functions, imports aside; of broken code, a guess."""
    found = outlined(plain_python(source))
    if found is None:
        return frozenset(name for match in _DEFINES.finditer(source) for name in match.groups() if name)
    return frozenset(name for unit in found.units if not unit.is_import for name in unit.names)

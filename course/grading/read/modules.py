"""A student's own modules: ``.py`` files beside the notebook, or written by it, that it imports, or that these import.

They are the student's text as the cells are: read in the process with limits, held against the rules, run in the
sandbox. They never take the place of what is installed.
"""

import importlib.machinery
import re
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from course.grading.problems import Unreadable
from course.grading.read.cells import LONGEST_CODE, LONGEST_SOURCE, Cell
from course.grading.read.python_source import outlined, plain_python
from course.grading.statuses import Status

MOST_MODULES = 50
DEEPEST = 4  # packages in packages

_WRITES = re.compile(r"\s*%%(?:writefile|file)[^\S\n]+(?:\./)?([\w/]{1,100}\.py)[^\S\n]*(?:\n|\Z)")


@dataclass(frozen=True)
class OwnModule:
    """One file of a student's, as the notebook imports it.

    Args:
        name: in full, ``"helpers"``, ``"parts.heads"``.
        file: its path beside the notebook, ``"parts/heads.py"``.
        source: its text.
        is_package: whether modules may lie in it.
    """

    name: str
    file: str
    source: str
    is_package: bool = False


def own_modules(cells: Iterable[Cell], read: Callable[[str], bytes | None]) -> tuple[OwnModule, ...]:
    """What the code cells of a notebook import from beside it, directly or through one another.

    Args:
        read: gives the bytes of a file by its path beside the notebook (``"helpers.py"``), None if there is none;
            may raise Unreadable.

    Raises:
        Unreadable: one of them cannot be read, or there is too much in them.
    """
    found: dict[str, OwnModule] = {}
    tried: set[str] = set()
    waiting: deque[str] = deque()
    room = LONGEST_CODE
    written: dict[str, bytes] = {}
    for cell in cells:
        writes = _WRITES.match(cell.source) if cell.kind == "code" else None
        if writes:
            written[writes[1]] = cell.source[writes.end() :].encode("utf-8", "replace")
        elif cell.kind == "code" and "import" in cell.source:
            waiting += _imported(plain_python(cell.source))
    while waiting:
        name = waiting.popleft()
        if name in tried or _is_installed(name.partition(".")[0]):
            continue
        tried.add(name)
        module = _module(name, lambda file: written[file] if file in written else read(file))
        if module is None:
            continue
        room -= len(module.source)
        if len(found) == MOST_MODULES or room < 0:
            raise Unreadable("Too much is imported from files beside the notebook.", Status.LIMIT)
        found[name] = module
        package = name if module.is_package else name.rpartition(".")[0]
        for other in _imported(module.source):
            waiting += [other, f"{package}.{other}"] if package else [other]  # it may be relative
    return tuple(found.values())


def _imported(source: str) -> list[str]:
    """Names of modules that a text may import: of ``a.b.c`` also ``a`` and ``a.b``."""
    told = outlined(source)
    full = [full for unit in told.units for _, full, _ in unit.found if full] if told else []
    names: dict[str, None] = {}
    for name in full:
        parts = name.split(".")[: DEEPEST + 1]
        names.update(dict.fromkeys(".".join(parts[:k]) for k in range(1, len(parts) + 1)))
    return list(names)


def _module(name: str, read: Callable[[str], bytes | None]) -> OwnModule | None:
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts) or len(parts) > DEEPEST:
        return None
    path = "/".join(parts)
    for file, is_package in ((f"{path}/__init__.py", True), (f"{path}.py", False)):
        data = read(file)
        if data is not None:
            return OwnModule(name, file, _text(file, data), is_package)
    return None


def _text(file: str, data: bytes) -> str:
    if len(data) > LONGEST_SOURCE:
        raise Unreadable(f"{file}, which the notebook imports, is larger than {LONGEST_SOURCE:,} bytes.", Status.LIMIT)
    return data.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")


@cache
def _is_installed(root: str) -> bool:
    if root in sys.stdlib_module_names or root == "course":
        return True
    places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    try:
        return importlib.machinery.PathFinder.find_spec(root, places) is not None
    except (ImportError, ValueError):
        return False

"""The forms in which a notebook is handed in: how each is read, or what is said in its place.

Browsers save a notebook as ``hw1.ipynb.json`` or ``hw1.ipynb.txt``; editors on Windows write UTF-16 or Windows-1252. A
script (``.py``) is the same code without ids, see `course.grading.collect.scripts`. A print (``.html``, ``.pdf``) is not.
"""

import json
import re
from pathlib import PurePosixPath

from course.grading.collect.scripts import cells_from_script
from course.grading.problems import Unreadable
from course.grading.read.cells import Cell, cells_from_bytes

NOTEBOOKS = (".ipynb", ".ipynb.json", ".ipynb.txt")
SCRIPT = ".py"
ZIP = ".zip"
PACKED = (".rar", ".7z", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz")
PRINTS = (".html", ".htm", ".mhtml", ".pdf", ".docx", ".doc", ".odt", ".rtf")
WORK = (*NOTEBOOKS, SCRIPT, ZIP, *PACKED)

DOWNLOAD = "In Jupyter, File → Download or Save Notebook As gives the notebook itself (.ipynb): hand that in."
NOT_OPENED = "It is packed as {}, which is not opened here: hand in the .ipynb itself, or a .zip."

_LONG_ENDING = re.compile(r".\.(?:ipynb\.(?:json|txt)|tar\.(?:gz|bz2|xz))$", re.IGNORECASE)


def ending(name: str) -> str:
    """``".ipynb"`` of ``hw1.ipynb``, ``".ipynb.json"`` of ``hw1.ipynb.json``; in small letters, ``""`` without one."""
    long = _LONG_ENDING.search(name)
    return long[0][1:].lower() if long else PurePosixPath(name).suffix.lower()


def cells_of(name: str, data: bytes) -> tuple[list[Cell], list[str]]:
    """The cells of a file that is a notebook or script by its name, and what was odd about reading them.

    Raises:
        Unreadable: it is neither, or larger than is sensible.
    """
    if ending(name) == SCRIPT:
        text, odd = _text(data)
        return cells_from_script(text), odd
    if re.match(rb"\s*<(?:!doctype html|html)\b", data[:200], re.IGNORECASE):
        raise Unreadable(f"The file is a web page that shows a notebook, not the notebook. {DOWNLOAD}")
    data = _in_utf8(data)
    try:
        return cells_from_bytes(data), []
    except Unreadable as problem:
        text, odd = _text(data)
        if not odd:
            raise
        try:
            return cells_from_bytes(text.encode()), odd
        except Unreadable:
            raise problem from None


def _in_utf8(data: bytes) -> bytes:
    """UTF-16 and UTF-32 as UTF-8: JSON begins with a sign of ASCII, so that there is no doubt which it is."""
    encoding = json.detect_encoding(data[:4])
    if encoding.startswith("utf-8"):
        return data
    try:
        return data.decode(encoding).encode()
    except UnicodeError:
        return data


def _text(data: bytes) -> tuple[str, list[str]]:
    """Text of a file, and that it is not in UTF-8, where it is not."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = _in_utf8(data)
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        odd = (
            "The file is not in UTF-8, as notebooks are: it was read as Windows-1252 (Latin-1), so that letters with "
            "accents may be others. To be sure, open it in Jupyter, save it there and hand in again."
        )
        return data.decode("cp1252", "replace"), [odd]

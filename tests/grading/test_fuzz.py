"""Whatever a class hands in, `course grade` ends well: a row for every student, and right work earns everything.

Two layers. The quick one takes a case at a time through everything that reads, merges, judges and shows, with no
process for student code. The other has many cases in one class graded by the command itself. In the ordinary form the
cases are the same each time; in the long one they are new each time, so a case that fails is written down in full.
"""

import base64
import csv
import io
import json
import os
import re
import stat
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from benchmarks.hostile_text import KINDS
from course.grading import grade_command
from course.grading.collect import find as collecting
from course.grading.collect.find import collect
from course.grading.judge.exercise import judge_exercise
from course.grading.problems import NothingToGrade
from course.grading.read import cells as reading
from course.grading.record.exports import grades_csv
from course.grading.record.result import StudentResult, page_names
from course.grading.report import pages as report
from course.grading.statuses import Status
from course.grading.student import Judged, put_together, read_student

TOPIC = "hw9_small"
MAX_POINTS = 6.5
RIGHT_STUDENT = "the right one"

ORDINARY = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
FREE = settings(ORDINARY, derandomize=False)


# -- cases: what one student hands in, and what was done to it


@dataclass
class Case:
    """One student's files. `top` is the name in the class's folder; a path of no parts is that name itself, as a file.

    `{}` in `top` is where the number of the case goes, by which its row is known.
    """

    top: str = "s{}"
    files: dict[tuple[str, ...], bytes | Callable[[str], None]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def place(self, folder: Path, number: int) -> None:
        top = self.top.replace("{}", f"{number:04d}")
        for parts, content in self.files.items():
            path = os.path.join(os.fspath(folder), top, *parts)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if callable(content):
                content(path)
            else:
                with open(path, "wb") as file:
                    file.write(content)

    def __repr__(self) -> str:
        files = {
            "/".join(parts): content
            if callable(content) or len(content) < 200
            else f"{len(content)} bytes: base64 {base64.b85encode(content)[:3000]}"
            for parts, content in self.files.items()
        }
        return f"Case(top={self.top!r}, told={self.told}, files={files})"


@dataclass(frozen=True)
class Raw:
    """Text that goes into the JSON as it is, because `json` would not write it."""

    text: str


def as_json(value) -> bytes:
    """JSON with `Raw` in it, and with half characters spelled as they are."""
    raw: list[str] = []

    def spell(thing) -> str:
        raw.append(thing.text)
        return f"@raw {len(raw) - 1}@"

    text = json.dumps(value, default=spell)
    text = re.sub(r'"@raw (\d+)@"', lambda match: raw[int(match[1])], text)
    return text.encode("utf-8", "surrogatepass")


ODD_VALUES = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    "",
    "x",
    "code",
    "markdown",
    "double",
    "check_double",
    "Scale",
    "why",
    "setup",
    [],
    {},
    [[]],
    {"": None},
    ["setup"],
    {"nbgrader": []},
    {"nbgrader": {"grade_id": ["double"]}},
    {"tags": {"setup": 1}},
    {"nbgrader": {"grade_id": "double", "points": "many", "locked": "no", "grade": None, "solution": []}},
    "\ud800",
    "a\x00b",
    "\u2028\u2029\x85\x0c",
    "\u202eevil",
    "<script>alert(1)</script>",
    "=1+1",
    "{{ 7 * 7 }}",
    "%s %(x)s {0}",
    "x" * 10_000,
    "\n" * 20_000,
    ["a\n", 3, None, ["b"], "c"],
    ["x = 1\n"] * 500,
    list(range(3_000)),
    Raw("1e999999"),
    Raw("-1e999999"),
    Raw("NaN"),
    Raw("9" * 4_000),
    Raw("9" * 10_000),
    Raw("0." + "3" * 9_000),
    Raw("[" * 200 + "]" * 200),
    Raw("[" * 100_000 + "]" * 100_000),
    Raw('{"a":' * 300 + "1" + "}" * 300),
    Raw('{"source": "a", "source": 3, "cell_type": "code", "cell_type": {}}'),
    Raw("[1,]"),
    Raw("Infinity"),
    Raw("tru"),
]

ODD_SOURCES = [
    "",
    " ",
    "\n",
    "\n" * 30_000,
    "  \n" * 10_000 + "x",
    "(" * 5_000,
    "[" * 90 + "]" * 90,
    "x" + ".a" * 20_000,
    "-" * 50_000 + "1",
    "1 + " * 30_000 + "1",
    "lambda: " * 2_000 + "0",
    "not " * 20_000 + "x",
    "f'{" * 200,
    "'''",
    "\\",
    "\\\n" * 5_000,
    "\t",
    "\x0c",
    "".join("    " * i + "if 1:\n" for i in range(120)),
    "def double(x):\n\treturn 2 * x\n        pass",
    "%%bash\nls",
    "%%html\n<b>",
    "!ls\nx = !ls\n%time 3\nx?\n?x\nx.y??",
    "%%time\ndef double(x):\n    return 2 * x",
    "\ufeffx = 1",
    "x = '\ud800'",
    "é = 1\nﬁ = 2",
    "x = 1\x00",
    "double = 3",
    "del double",
    "class double: pass",
    "def double(): pass",
    "async def double(x): return 2 * x",
    "double = lambda *a: a[0] * 2",
    "double, Scale = 1, 2",
    "(double) = lambda x: 2 * x",
    "double: int",
    "*double, b = 1, 2",
    "from os import *",
    "from . import x",
    "import nothing_like_this",
    "from __future__ import annotations",
    "return 1",
    "yield",
    "await x",
    "nonlocal x",
    "raise SystemExit",
    "raise KeyboardInterrupt",
    "import sys; sys.exit(3)",
    "1 / 0",
    "assert False, 'no'",
    "raise NotImplementedError('hw9.double')",
    "print('x' * 10**6)",
    "__name__ = 3",
    "__builtins__ = None",
    "globals().clear()",
    "def double(x):\n    return [x]",
    "def double(x):\n    return {1: x}",
    "def double(x):\n    return x.sum()",
    "0x" + "f" * 9_000,
    "9" * 5_000,
    "x = 1e999999",
    "match double:\n    case _: pass",
    "@double\ndef double(x): ...",
    "with open('/x') as f: ...",
    "def double(x):\n    '''doc\n\n\n" + "\\N{" * 2_000,
    '"""' * 1_001,
    "# -*- coding: latin-1 -*-\nx = 1",
    "if True:\n  double = abs",
    "x" * 50_000,
    "x = [" + "1," * 20_000 + "]",
    "a\rb\r\nc",
    "\u2028double = 1",
    "```\n" * 500,
    "[" * 3_000,
    "![a](" * 2_000,
    "<" * 5_000,
    "* a\n" * 2_000,
    "> " * 3_000,
    "|a|b|\n|-|-|\n" * 800,
    "$$" * 1_000,
    "&" * 5_000,
    "[a]: javascript:alert(1)\n\n[a]",
    "<img src=x onerror=y>",
]

ODD_NAMES = [
    "zoë",
    "名前",
    "🦊",
    "e\u0301",
    "a b",
    "  ",
    "line\nbreak",
    "\t",
    "\r",
    "\x01",
    "\x7f",
    "\u202e",
    "\ufeff",
    "=1+1",
    "+1",
    "-rf",
    "@x",
    "'x",
    '"x"',
    "<b>bold",
    "&amp;",
    "&lt;script&gt;",
    "%s",
    "%00",
    "{0}",
    "{{7*7}}",
    "$HOME",
    "`id`",
    "$(id)",
    ";",
    "|",
    "*",
    "?",
    "~",
    "#",
    "\\",
    "..x",
    "x..",
    "...",
    ",",
    ',,"',
    "CON",
    "nul",
    ":",
    "x" * 150,
    "é" * 70,
    "\udcff\udcfe",
    "_1_2_x",
    "_LATE_3_4_",
    "_5_assignsubmission_file_",
    "_hw9_small",
    "-hw9_small",
    " hw9_small",
    ".zip",
    ".ipynb",
    ".tar.gz",
    "(1)",
    " copy",
    "hw1_self_attention",
    "[x]",
    "s9999x",
    "O'Neil",
    "null",
    "None",
    "0",
]


def odd_source(r: Random) -> str:
    if r.random() < 0.15:  # as much as there may be, or a little more, or less
        return KINDS[r.choice(list(KINDS))](r.choice([300, 3_000, 30_000, reading.LONGEST_SOURCE + r.randint(-2, 20)]))
    return r.choice(ODD_SOURCES) if r.random() < 0.8 else "\n".join(r.choice(ODD_SOURCES) for _ in range(3))


def change_cells(content: dict, r: Random) -> str:
    """One thing done to a notebook's cells; what it was."""
    cells = content.get("cells")
    if not isinstance(cells, list) or not cells or not all(isinstance(c, dict) for c in cells):
        content["cells"] = r.choice(ODD_VALUES)
        return "cells replaced"
    i, j = r.randrange(len(cells)), r.randrange(len(cells))
    cell = cells[i]
    kind = r.choice(
        [
            "drop",
            "double",
            "shuffle",
            "type",
            "metadata",
            "nbgrader",
            "id",
            "source",
            "source",
            "source",
            "lines",
            "add",
            "key",
            "value",
            "no cell",
            "version",
            "nbformat 3",
        ]
    )
    nbgrader = cell.get("metadata", {}).get("nbgrader") if isinstance(cell.get("metadata"), dict) else None
    if kind == "drop":
        del cells[i : i + r.randint(1, 3)]
    elif kind == "double":
        cells.insert(j, json.loads(json.dumps(cell, default=str)))
    elif kind == "shuffle":
        r.shuffle(cells)
    elif kind == "type":
        cell["cell_type"] = r.choice([*ODD_VALUES, "raw", "code", "markdown"])
    elif kind == "metadata":
        cell["metadata"] = r.choice(ODD_VALUES)
    elif kind == "nbgrader" and isinstance(nbgrader, dict):
        nbgrader[r.choice([*nbgrader, "other"])] = r.choice(ODD_VALUES)
    elif kind == "id":
        cell["metadata"] = cells[j].get("metadata")
        cell["id"] = cells[j].get("id")
    elif kind == "source":
        cell["source"] = odd_source(r)
    elif kind == "lines":
        cell["source"] = r.choice(
            [odd_source(r).splitlines(keepends=True), [cell.get("source")], [[odd_source(r)]], Raw("1")]
        )
    elif kind == "add":
        cells.insert(j, {"cell_type": r.choice(["code", "markdown", "raw"]), "source": odd_source(r)})
    elif kind == "key":
        cell.pop(r.choice(list(cell)), None)
    elif kind == "value":
        cell[r.choice([*cell, "input", "outputs"])] = r.choice(ODD_VALUES)
    elif kind == "no cell":
        cells[i] = r.choice(ODD_VALUES)
    elif kind == "version":
        content[r.choice(["nbformat", "nbformat_minor", "metadata", "cells", "worksheets"])] = r.choice(ODD_VALUES)
    elif kind == "nbformat 3":
        old = [{**{k: v for k, v in c.items() if k != "source"}, "input": c.get("source", "")} for c in cells]
        content.pop("cells")
        content.update(nbformat=3, worksheets=[{"cells": old[: j + 1]}, r.choice(ODD_VALUES), {"cells": old[j + 1 :]}])
    return f"{kind} {i} {j}"


def change_bytes(data: bytes, r: Random) -> tuple[bytes, str]:
    made = bytearray(data)
    at = r.randrange(len(made) + 1)
    kind = r.choice(
        [
            "flip",
            "cut",
            "end",
            "start",
            "insert",
            "bom",
            "utf-16",
            "latin",
            "nul",
            "twice",
            "empty",
            "crlf",
            "deep",
            "junk",
        ]
    )
    if kind == "flip":
        for _ in range(r.randint(1, 20)):
            if made:
                made[r.randrange(len(made))] ^= 1 << r.randrange(8)
    elif kind == "cut":
        del made[at : at + r.randint(1, 500)]
    elif kind == "end":
        del made[at:]
    elif kind == "start":
        del made[:at]
    elif kind == "insert":
        made[at:at] = r.choice(
            [
                b"\xff\xfe",
                b"\xed\xa0\x80",
                b"\x80",
                b"\xc0\xaf",
                b"}",
                b"]",
                b'"',
                b"\\",
                b"\\u12",
                b"1e999999",
                b"\x1b[2J",
            ]
        )
    elif kind == "bom":
        made[:0] = b"\xef\xbb\xbf" * r.randint(1, 2)
    elif kind == "utf-16":
        made = bytearray(data.decode("utf-8", "replace").encode(r.choice(["utf-16", "utf-32", "utf-16-be"])))
    elif kind == "latin":
        made += b"\xe9"
    elif kind == "nul":
        made[at:at] = bytes(r.randint(1, 3_000))
    elif kind == "twice":
        made += data
    elif kind == "empty":
        made = bytearray(
            r.choice([b"", b" \n", b"\xef\xbb\xbf", b"{}", b"[]", b"null", b"0", b'"x"', b"{" * 5_000, b"[" * 10**6])
        )
    elif kind == "crlf":
        made = bytearray(data.replace(b"\\n", b"\\r\\n").replace(b", ", b",\r\n"))
    elif kind == "deep":
        made[at:at] = b"[" * 10**5
    else:
        made = bytearray(r.randbytes(r.randint(1, 3_000)))
    return bytes(made), f"{kind} {at}"


def some_notebook(released: dict, solved: dict, r: Random) -> tuple[bytes, list[str]]:
    content = json.loads(json.dumps(solved if r.random() < 0.7 else released))
    told = [change_cells(content, r) for _ in range(r.randint(0, 4))]
    if r.random() < 0.1:
        told.append("top")
        content = r.choice([[content], {"notebook": content}, r.choice(ODD_VALUES)])
    data = as_json(content)
    if r.random() < 0.35 or not told:
        data, how = change_bytes(data, r)
        told.append(how)
    return data, told


def some_zip(data: bytes, r: Random, depth: int = 0) -> tuple[bytes, list[str]]:
    made, told = io.BytesIO(), []
    with zipfile.ZipFile(made, "w") as archive:
        for _ in range(r.randint(0, 4)):
            name = r.choice(
                [
                    f"{TOPIC}.ipynb",
                    f"{TOPIC}/{TOPIC}.ipynb",
                    "../up.ipynb",
                    "/abs.ipynb",
                    "C:\\x.ipynb",
                    "a/../../b.ipynb",
                    "a//b.ipynb",
                    "./x.ipynb",
                    "dir/",
                    "dir",
                    "a\\b.ipynb",
                    "x.zip",
                    "n\x00ul.ipynb",
                    "",
                    ".",
                    "..",
                    "é.ipynb",
                    "a" * 3_000 + ".ipynb",
                    "/".join("abcdefghij") + "/deep.ipynb",
                    "__MACOSX/x.ipynb",
                    f"{r.choice(ODD_NAMES)}.ipynb",
                ]
            )
            name = name.encode("utf-8", "replace").decode()
            info = zipfile.ZipInfo(
                name, r.choice([(1980, 1, 1, 0, 0, 0), (2026, 3, 1, 9, 0, 0), (2107, 12, 31, 23, 59, 58)])
            )
            info.filename = name  # as it stands, NUL and all
            info.compress_type = r.choice(
                [zipfile.ZIP_STORED] + [zipfile.ZIP_DEFLATED] * 3 + [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
            )
            kind = r.choice(
                [stat.S_IFREG] * 6
                + [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFBLK, stat.S_IFDIR, stat.S_IFSOCK]
            )
            info.external_attr = (kind | 0o644) << 16
            info.extra = r.choice(
                [b""] * 4 + [b"UT\x05\x00\x01\xff\xff\xff\xff", b"UT\x05\x00\x01\x00\x00", b"\x01\x00\xff\xff", b"x"]
            )
            content = data if r.random() < 0.7 else r.choice([b"", b"{}", b"/etc/passwd", bytes(3 * 10**6)])
            if depth < 2 and r.random() < 0.15:
                content, inner = some_zip(data, r, depth + 1)
                told += inner
            told.append(f"{name[:40]!r} method {info.compress_type} kind {kind >> 12}")
            archive.writestr(info, content)
        if r.random() < 0.1:
            archive.comment = b"PK\x05\x06" + bytes(18)
    written = bytearray(made.getvalue())
    odd = r.choice(["", "", "", "flags", "directory", "bytes", "overlap", "size"])
    heads = [match.start() for match in re.finditer(rb"PK\x01\x02", written)]
    if odd == "flags" and heads:  # encrypted, strongly encrypted, with a descriptor, names in UTF-8
        struct.pack_into("<H", written, r.choice(heads) + 8, r.choice([1, 0x41, 8, 0x800, 0x2000]))
    elif odd == "directory" and heads:
        written[r.choice(heads) + r.randrange(4, 46)] = r.randrange(256)
    elif odd == "overlap" and heads:
        struct.pack_into("<I", written, r.choice(heads) + 42, r.choice([0, 1, 30, 2**31, 2**32 - 1]))
    elif odd == "size" and heads:
        struct.pack_into(
            "<II", written, r.choice(heads) + 20, r.choice([0, 7, 2**31, 2**32 - 1]), r.choice([0, 2**32 - 1])
        )
    elif odd == "bytes":
        changed, how = change_bytes(bytes(written), r)
        written, odd = bytearray(changed), f"bytes {how}"
    return bytes(written), [*told, f"zip {odd}"]


def some_case(released: dict, solved: dict, r: Random) -> Case:
    data, told = some_notebook(released, solved, r)
    if r.random() < 0.25:  # odd names are best tried with good content too
        data, told = as_json(solved), ["untouched"]
    top = "s{}"
    if r.random() < 0.5:
        # A leading dot hides a file. The number has to be among the 120 characters of a name that are shown.
        # What looks like a download of Canvas before the number would be taken for the student's name.
        before = r.choice([name for name in ODD_NAMES if "_" not in name]).lstrip(".").replace("s9999", "")[:60]
        before = before if r.random() < 0.5 else ""
        top = os.fsdecode(os.fsencode(before + "s{}" + r.choice(ODD_NAMES))[:230])
    odd = r.choice(ODD_NAMES).replace("{}", "")
    odd = odd if odd.strip(".") else "odd"
    layout = r.choice(
        [
            "file",
            "file",
            "topic",
            "topic",
            "folder",
            "odd file",
            "zip",
            "zip in folder",
            "several",
            "deep",
            "noise",
            "empty",
            "link",
            "pipe",
            "no ending",
            "folder for a file",
            "many",
        ]
    )
    told.append(layout)
    if layout == "file":
        return Case(top + ".ipynb", {(): data}, told)
    if layout in ("zip", "zip in folder"):
        packed, how = some_zip(data, r)
        return (
            Case(top + ".zip", {(): packed}, told + how)
            if layout == "zip"
            else Case(top, {("up.zip",): packed}, told + how)
        )
    if layout == "no ending":  # what follows a dot would be one
        return Case(top.replace(".", ""), {(): data}, told)
    files: dict = {
        "topic": {(TOPIC, f"{TOPIC}.ipynb"): data},
        "folder": {(f"{TOPIC}.ipynb",): data},
        "odd file": {(f"{odd}.ipynb",): data},
        "several": {
            (f"{TOPIC}.ipynb",): data,
            ("b.ipynb",): as_json(solved),
            (TOPIC, "c.ipynb"): b"{",
            ("timestamp.txt",): r.randbytes(30),
        },
        "deep": {("a",) * r.randint(5, 30) + (f"{TOPIC}.ipynb",): data},
        "noise": {
            (".hidden", "x.ipynb"): data,
            ("__MACOSX", f"{TOPIC}.ipynb"): data,
            ("Thumbs.db",): b"",
            (odd, "x.pdf"): b"%PDF",
        },
        "empty": {(): os.mkdir},
        "link": {
            (TOPIC, f"{TOPIC}.ipynb"): lambda path: os.symlink("/etc/passwd", path),
            ("loop",): lambda path: os.symlink(".", path),
        },
        "pipe": {(f"{TOPIC}.ipynb",): os.mkfifo},
        "folder for a file": {(f"{TOPIC}.ipynb",): os.mkdir, (f"{TOPIC}.zip", "x.ipynb"): data},
        "many": {(f"{i}.ipynb",): data if i % 7 else b"{}" for i in range(30)},
    }[layout]
    return Case(top, files, told)


@pytest.fixture(scope="module")
def solved(new_work) -> dict:
    return new_work().solve().write(why="Why?\nBecause.").content


@pytest.fixture
def small_files(monkeypatch):
    """Bounds low enough that a bomb is one in milliseconds."""
    monkeypatch.setattr(collecting, "LARGEST_FILE", 2 * 10**6)
    monkeypatch.setattr(reading, "LARGEST_FILE", 2 * 10**6)


def for_each(how: settings, count: int, action: Callable[[Random], object], **more) -> None:
    """Call `action` with `count` sources of random numbers.

    They come from seeds: of `st.randoms`, which could be made simpler where a case fails, two in three cases are alike.
    """

    @settings(how, max_examples=count, **more)
    @given(st.integers(0, 2**64))
    def try_it(seed):
        action(Random(seed))

    try_it()


# -- the quick layer


def graded_without_running(place: Path, exam) -> list[StudentResult]:
    """Everything but executing: an exercise whose cell was found is taken to be answered rightly."""
    found = collect(place, TOPIC)
    pages = page_names(student.student for student in found)
    assert len({page.casefold() for page in pages.values()}) == len(found) == len({s.student for s in found})
    results = []
    for student in found:
        work, shown = read_student(student, pages[student.student], exam), []
        if not isinstance(work, StudentResult):
            there = {cell.exercise for cell in work.merged.cells}
            seen = {name: exam.expected[name].answer if name in there else None for name in exam.questions}
            judged = [judge_exercise(n, exam.points[n], exam.expected[n], seen[n], work.broken.get(n)) for n in seen]
            work, shown = put_together(work, Judged(tuple(judged))), work.merged.shown
        page = report.feedback_page(TOPIC, exam.template, work, shown, MAX_POINTS, "in no process")
        check_page(page)
        results.append(StudentResult.from_json(work.to_json()))
        assert results[-1] == work
    return results


def check_page(page: bytes) -> None:
    text = page.decode("utf-8")
    assert "\x00" not in text and "<script" not in text and " onerror=y>" not in text and 'href="javascript' not in text


def check_rows(text: bytes, numbers: set[int], case_of=lambda number: "") -> list[dict]:
    """The rows of ``grades.csv``: valid, one for each student, within bounds. The right student is among them."""
    rows = list(csv.DictReader(io.StringIO(text.decode("utf-8"), newline=""), strict=True))
    seen: list[int] = []
    for row in rows:
        number = re.search(r"s(\d{4})", row["student"])
        about = f"{row}\n{case_of(int(number[1])) if number else ''}"
        assert None not in row and None not in row.values(), about
        assert row["student"] and row["student"].isprintable() and row["student"][0] not in "=+-@", about
        assert row["message"].isprintable() and row["message"][:1] not in tuple("=+-@"), about
        assert row["status"] and set(row["status"].split(",")) <= set(Status), about
        assert 0 <= float(row["points"]) <= float(row["max_points"]) == MAX_POINTS, about
        assert "no fault of the student" not in row["message"], about
        if row["student"] == RIGHT_STUDENT:
            assert (float(row["points"]), row["status"], row["message"]) == (MAX_POINTS, "graded", ""), about
        else:
            seen.append(int(number[1]))
    assert sorted(seen) == sorted(numbers)
    assert len(rows) == len(numbers) + 1
    return rows


def try_one_case(case: Case, solved: dict, exam) -> None:
    note(repr(case))
    with tempfile.TemporaryDirectory() as name:
        case.place(Path(name), 1)
        Case(RIGHT_STUDENT + ".ipynb", {(): as_json(solved)}).place(Path(name), 0)
        results = graded_without_running(Path(name), exam)
    check_rows(grades_csv(TOPIC, exam.points, exam.template.written, results), {1})


def test_any_submission_has_its_row(small_files, exam, released, solved):
    for_each(ORDINARY, 300, lambda r: try_one_case(some_case(released, solved, r), solved, exam))


@pytest.mark.long
def test_any_submission_has_its_row_at_length(small_files, exam, released, solved):
    for_each(FREE, 5_000, lambda r: try_one_case(some_case(released, solved, r), solved, exam))


def try_class_zip(r: Random, released: dict, solved: dict, exam) -> None:
    """A whole class as one file, damaged or not: its students, or one sentence."""
    data, _ = some_notebook(released, solved, r)
    packed, told = some_zip(data, r)
    note(f"{told} {base64.b85encode(packed)[:3000]}")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / r.choice(["class.zip", "class", "class.ipynb"])
        place.write_bytes(packed)
        try:
            results = graded_without_running(place, exam)
        except NothingToGrade as problem:
            assert str(problem).endswith((".", ":")) and len(str(problem)) < 1_000
        else:
            assert results and all(0 <= result.points <= MAX_POINTS for result in results)
            assert not any("no fault of the student" in result.message for result in results)


def test_any_class_in_one_zip(small_files, exam, released, solved):
    for_each(ORDINARY, 150, lambda r: try_class_zip(r, released, solved, exam))


@pytest.mark.long
def test_any_class_in_one_zip_at_length(small_files, exam, released, solved):
    for_each(FREE, 3_000, lambda r: try_class_zip(r, released, solved, exam))


# -- the whole command


def harvest(how: settings, count: int, released: dict, solved: dict) -> list[Case]:
    made: list[Case] = []
    for_each(how, count, lambda r: made.append(some_case(released, solved, r)), phases=[Phase.generate])
    return made[:count]


def grade_cases(cases: list[Case], solved: dict, small_course: Path, folder: Path, monkeypatch, capfd) -> list[dict]:
    (folder / "class").mkdir(parents=True)
    for number, case in enumerate(cases):
        case.place(folder / "class", number)
    Case(RIGHT_STUDENT + ".ipynb", {(): as_json(solved)}).place(folder / "class", 0)
    monkeypatch.chdir(small_course)
    out = folder / "out"
    assert grade_command(folder / "class", "hw9", out, seed=5, timeout=20) == 0, capfd.readouterr().err
    said = capfd.readouterr()
    assert "Traceback" not in said.err, said.err
    rows = check_rows((out / "grades.csv").read_bytes(), set(range(len(cases))), lambda number: repr(cases[number]))
    pages = list((out / "feedback").glob("*.html"))
    assert len(pages) == len(list((out / "results").glob("*.json"))) == len(rows)
    for page in [*pages, out / "report.html"]:
        check_page(page.read_bytes())
    for result in (out / "results").glob("*.json"):
        StudentResult.from_json(result.read_bytes())
    return rows


def test_a_class_of_mutants(small_course, released, solved, small_files, tmp_path, monkeypatch, capfd):
    cases = harvest(ORDINARY, 110, released, solved)
    assert len(cases) == 110
    rows = grade_cases(cases, solved, small_course, tmp_path, monkeypatch, capfd)
    # What is tried is not all of one kind.
    assert {"graded", "missing", "unreadable", "tampered"} <= {s for row in rows for s in row["status"].split(",")}
    assert 10 < sum(float(row["points"]) == MAX_POINTS for row in rows) < 100


@pytest.mark.long
def test_classes_of_mutants_at_length(small_course, released, solved, small_files, tmp_path, monkeypatch, capfd):
    cases = harvest(FREE, 1_000, released, solved)
    for k in range(0, len(cases), 250):
        grade_cases(cases[k : k + 250], solved, small_course, tmp_path / str(k), monkeypatch, capfd)


# -- what is known to have broken something, here or elsewhere


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return bytearray(made.getvalue())


def hostile_zips(data: bytes) -> dict[str, tuple[bytes, str, str]]:
    """By name: the zip, the status that it leads to, words of the message."""
    good, name = zipped((f"{TOPIC}.ipynb", data)), f"{TOPIC}.ipynb"
    head = good.rindex(b"PK\x01\x02")

    def changed(place: int, form: str, *values: int) -> bytes:
        made = bytearray(good)
        struct.pack_into(form, made, place, *values)
        return bytes(made)

    bomb = bytes(20 * 10**6)
    twice = bytearray(zipped((name, data), ("other.ipynb", b"{}")))
    struct.pack_into("<I", twice, twice.rindex(b"PK\x01\x02") + 42, 0)  # both on the bytes of the first
    return {
        "in order": (bytes(good), "graded", ""),
        "a zip in a zip": (zipped(("up.zip", bytes(good))), "graded", ""),
        "zips in zips without end": (
            zipped(("a.zip", zipped(("a.zip", zipped(("a.zip", good)))))),
            "limit",
            "too deep",
        ),
        "a bomb": (zipped((name, bomb)), "limit", "larger than"),
        "a bomb of bzip2": (zipped((name, bomb), method=zipfile.ZIP_BZIP2), "unreadable", "packed in an unusual way"),
        "a bomb of LZMA": (zipped((name, bomb), method=zipfile.ZIP_LZMA), "unreadable", "packed in an unusual way"),
        "too many files": (zipped(*((f"{i}.ipynb", b"") for i in range(2_500))), "limit", "2500 files"),
        "locked": (changed(head + 8, "<H", 1), "unreadable", "password"),
        "a wrong checksum": (changed(head + 16, "<I", 1), "unreadable", "damaged"),
        "cut off": (bytes(good[:-30]), "unreadable", "damaged"),
        "its first half": (bytes(good[: len(good) // 2]), "unreadable", "damaged"),
        "an unknown method": (changed(head + 10, "<H", 77), "unreadable", "packed in an unusual way"),
        "sizes that lie": (changed(head + 20, "<II", 2**32 - 2, 2**32 - 2), "graded|unreadable", ""),
        "a place far behind its end": (changed(head + 42, "<I", 2**32 - 2), "unreadable", "damaged"),
        "nothing": (b"", "unreadable", "damaged"),
        "an empty zip": (zipped(), "missing", "no notebook"),
        "members on the same bytes": (bytes(twice), "graded|unreadable", ""),
        "the same name twice": (zipped((name, b"{}"), (name, data)), "graded", "2 notebooks"),
        "names that lead out": (zipped(("../../" + name, data), ("/" + name, data)), "missing", "no notebook"),
    }


def test_hostile_zips(small_files, exam, solved, tmp_path):
    zips = hostile_zips(as_json(solved))
    for number, (packed, _, _) in enumerate(zips.values()):
        Case("s{}.zip", {(): bytes(packed)}).place(tmp_path, number)
    Case(RIGHT_STUDENT + ".ipynb", {(): as_json(solved)}).place(tmp_path, 0)
    begin = time.process_time()
    results = {result.student: result for result in graded_without_running(tmp_path, exam)}
    assert time.process_time() - begin < 10
    for number, (name, (_, status, words)) in enumerate(zips.items()):
        result = results[f"s{number:04d}"]
        assert result.status in status.split("|") and words in result.message, (name, result.status, result.message)
        assert result.points == (MAX_POINTS if result.status == "graded" else 0), name


def test_a_student_with_very_many_files_hides_no_other(monkeypatch, exam, solved, tmp_path):
    """Bounded a student, and what lies near the top counts first: anna's own notebook is found as well."""
    monkeypatch.setattr(collecting, "MOST_FILES_OF_ONE", 50)
    monkeypatch.setattr(collecting, "MOST_FILES", 60)
    files = {("data", str(i // 20), f"{i}.txt"): b"" for i in range(200)}
    Case("s{}", {**files, (TOPIC, f"{TOPIC}.ipynb"): as_json(solved)}).place(tmp_path, 1)
    Case(RIGHT_STUDENT + ".ipynb", {(): as_json(solved)}).place(tmp_path, 0)
    results = graded_without_running(tmp_path, exam)
    assert [(result.student, result.points) for result in results] == [
        ("s0001", MAX_POINTS),
        (RIGHT_STUDENT, MAX_POINTS),
    ]


def long_notebooks() -> dict[str, list[str]]:
    """Cells that take long to read, or to show, by what makes them slow."""
    return {
        "functions": [f"def double(x):\n    return x * {i}\n" + "x = (1, 2, 3)\n" * 20 for i in range(1_500)],
        "empty lines": ["x = 1" + "  \n" * 6_600 + "y = 2"] * 24,
        "open braces": ["'" + "\\N{" * 6_600] * 24,
        "no Python": ["def double(:\n" * 1_400] * 24,
    }


def more_long_notebooks() -> dict[str, list[str]]:
    return {
        "imports": ["import torch as a\n" * 1_000] * 26,
        "magic": ["%time x\n" * 2_000 + "("] * 30,
        "attributes": ["x" + ".a" * 300 + "\n"] * 800,
    }


@pytest.mark.parametrize(
    "name", [*long_notebooks(), *(pytest.param(name, marks=pytest.mark.long) for name in more_long_notebooks())]
)
def test_no_notebook_takes_minutes(name, exam, solved, tmp_path):
    """One student's notebook is read by the grader itself, which is busy with nothing else meanwhile."""
    content = json.loads(json.dumps(solved))
    sources = (long_notebooks() | more_long_notebooks())[name]
    content["cells"] += [{"cell_type": "code", "metadata": {}, "source": source} for source in sources]
    Case("s{}.ipynb", {(): as_json(content)}).place(tmp_path, 1)
    begin = time.process_time()
    (result,) = graded_without_running(tmp_path, exam)
    took = time.process_time() - begin
    assert (result.status, result.points) == ("graded", MAX_POINTS)
    assert took < 20, took


def test_too_much_code_is_a_limit_and_a_picture_in_the_text_is_not(exam, solved, tmp_path):
    picture = json.loads(json.dumps(solved))
    picture["cells"].append(
        {"cell_type": "markdown", "metadata": {}, "source": "![](data:image/png;base64," + "A" * 10**6}
    )
    code = json.loads(json.dumps(solved))
    code["cells"] += [{"cell_type": "code", "metadata": {}, "source": "x = 1\n" * 40_000}] * 10
    Case("s{}.ipynb", {(): as_json(picture)}).place(tmp_path, 1)
    Case("s{}.ipynb", {(): as_json(code)}).place(tmp_path, 2)
    first, second = graded_without_running(tmp_path, exam)
    assert (first.status, first.points) == ("graded", MAX_POINTS)
    assert (second.status, second.points) == ("limit", 0) and "characters of code" in second.message

"""The cells that train on photographs: every line of each runs, on a small set that goes through the real loader."""

import re
import sys
from pathlib import Path
from symtable import SymbolTable, symtable
from types import CodeType

import pytest
import torch

from course.authoring.source import read_source
from course.data import PANS, cifar, load, panned, photographs
from course.data.photographs import HOW
from tests.small_cifar import served

ROOT = Path(__file__).resolve().parents[1]
SECTION = re.compile(r"^## (\d+ · )?Photographs|\*\*Photographs\.\*\*", re.MULTILINE)
HAVE = ["hw1", "hw2", "hw3", "hw4", "hw5", "hw6", "hw8", "hw9", "05", "08", "10", "11", "14"]
SOURCES = [next(path for path in ROOT.glob(f"*/*/{name}_*.py") if path.stem != "exercises") for name in HAVE]


def wanted(table: SymbolTable) -> set[str]:
    """The names that a cell takes from those before it (and from Python)."""
    top = table.get_type() == "module"
    symbols = [symbol for symbol in table.get_symbols() if symbol.is_referenced() and (top or symbol.is_global())]
    return {symbol.get_name() for symbol in symbols}.union(*map(wanted, table.get_children()))


def cells(path: Path) -> list[tuple[bool, str]]:
    """(does it stand under "Photographs", text): the cells that do, and those before that they rest on, in order."""
    under, code = False, []
    for cell in read_source(path, ROOT).cells:
        if cell.kind == "markdown":
            under = bool(SECTION.search(cell.text)) or (under and not re.search("^## ", cell.text, re.MULTILINE))
        else:
            code.append((under, cell.text, cell.role))
    last = max(i for i, (under, _, _) in enumerate(code) if under)
    found, needed = [], set()
    for under, text, role in reversed(code[: last + 1]):
        table = symtable(text, path.name, "exec")
        makes = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        if under or role == "setup" or makes & needed:
            found.insert(0, (under, text))
            needed = (needed - makes) | wanted(table)
    return found


def lines(code: CodeType) -> set[int]:
    """Every line of it that something can be done in."""
    own = {line for _, _, line in code.co_lines() if line}
    return own.union(*(lines(part) for part in code.co_consts if isinstance(part, CodeType)))


class Cells:
    """The cells of one source, which can be run more than once; `unrun` are lines of theirs that never were."""

    def __init__(self, path: Path) -> None:
        self.code = [
            (under, compile(text, f"<{path.name}, cell {i}>", "exec")) for i, (under, text) in enumerate(cells(path))
        ]
        self.unrun = {(code.co_filename, line) for under, code in self.code if under for line in lines(code)}
        self.traced = {code.co_filename for under, code in self.code if under}
        self.names = {"__name__": "cells", "display": lambda *shown: None}
        for under, code in self.code:
            if not under:
                exec(code, self.names)

    def run(self) -> None:
        sys.settrace(self.trace)
        try:
            for under, code in self.code:
                if under:
                    exec(code, self.names)
        finally:
            sys.settrace(None)

    def trace(self, frame, event, _):
        if frame.f_code.co_filename not in self.traced:
            return None
        self.unrun.discard((frame.f_code.co_filename, frame.f_lineno))
        return self.trace


def test_no_cell_about_photographs_is_left_out():
    sources = [*ROOT.glob("solutions/*/*.py"), *ROOT.glob("notebooks/source/*.py")]
    uses = re.compile(r"^from course\.data import .*\bphotographs\b", re.MULTILINE)
    assert {path for path in sources if uses.search(path.read_text(encoding="utf-8"))} == set(SOURCES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_cell_says_what_to_do_without_photographs_and_trains_on_some(path, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSE_BUDGET", "tiny")
    these = Cells(path)
    capsys.readouterr()
    with served(monkeypatch, tmp_path / "data", images=128) as server:
        monkeypatch.setenv("COURSE_OFFLINE", "1")
        these.run()
        assert capsys.readouterr().out == HOW + "\n" and server.requests == 0
        monkeypatch.delenv("COURSE_OFFLINE")
        these.run()
        assert server.requests == 1
    said = capsys.readouterr().out
    assert re.search(r"\b\d+ ?%", said) and HOW not in said
    assert these.unrun == set()


@pytest.mark.long
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_on_real_photographs(path, monkeypatch, capsys):
    if cifar.state("cifar10")[0] != "here":
        pytest.skip("CIFAR-10 is not on this machine: `course data cifar10` fetches it")
    monkeypatch.setenv("COURSE_BUDGET", "cpu")
    these = Cells(path)
    capsys.readouterr()
    these.run()
    shares = [int(share) for share in re.findall(r"\b(\d+) ?%", capsys.readouterr().out)]
    assert max(shares) > 20, "one in ten, or of four pans one in four, is had by guessing"


# -- what they use


def test_where_they_cannot_be_had_it_is_said_in_one_sentence(monkeypatch, tmp_path, capsys):
    with served(monkeypatch, tmp_path, images=20) as server:
        server.plan = ["missing"]
        assert photographs(10, 10) is None and capsys.readouterr().out == HOW + "\n"
        server.plan = ["whole"]
        train, test = photographs(10, 5)
        assert (len(train), len(test), train.split, test.split) == (10, 5, "train", "test")
        assert torch.equal(train.images, load("cifar10", size=10).images)
        (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
        assert photographs(10, 5) is None
    said = capsys.readouterr().out
    assert "test_batch is missing" in said and "course data cifar10" in said


def test_a_pan_shows_the_photograph_through_a_window_that_moves():
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    photo = torch.stack([rows, columns, 0 * rows])  # (C, H, W): red says the row, green the column
    clips = panned(photo.expand(4, -1, -1, -1), torch.arange(4))  # (B, T, C, H, W)
    assert clips.shape == (4, 5, 3, 24, 24) and clips.dtype == photo.dtype
    corner = clips[:, :, :2, 0, 0].tolist()  # (row, column) of each frame's upper left pixel
    across, down = [[4, c] for c in (0, 2, 4, 6, 8)], [[r, 4] for r in (0, 2, 4, 6, 8)]
    assert dict(zip(PANS, corner)) == {"right": across, "left": across[::-1], "down": down, "up": down[::-1]}
    assert torch.equal(clips[0, 2, :, 3, 5], photo[:, 7, 9])

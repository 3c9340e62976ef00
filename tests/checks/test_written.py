"""A check knows in which cells its answer was written, those included that it builds on."""

import functools
import linecache

import pytest

from course.cell_id import text_id
from course.checks.written import written_in

HELPER = "def helper(x):\n    return x + 1"
ANSWER = "def answer(x):\n    inner = lambda y: helper(y)\n    return inner(x)"
MODULE = "class Base:\n    def forward(self, x):\n        return helper(x)\n\nclass Module(Base):\n    @staticmethod\n    def own(x):\n        return x"
OTHER = "def unused(x):\n    return x"


@pytest.fixture
def cells():
    """Run as a kernel runs cells: their texts are in Python's cache of lines, and in no file."""
    namespace = {}
    for number, text in enumerate([HELPER, ANSWER, MODULE, OTHER]):
        name = f"/nowhere/cell_{number}.py"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        exec(compile(text, name, "exec"), namespace)
    yield namespace
    for number in range(4):
        del linecache.cache[f"/nowhere/cell_{number}.py"]


def test_a_function_is_written_in_its_cell_and_in_that_of_what_it_uses(cells):
    assert written_in([cells["answer"]]) == sorted([text_id(ANSWER), text_id(HELPER)])
    assert written_in([functools.partial(cells["helper"], 1)]) == [text_id(HELPER)]


def test_a_class_is_written_where_its_methods_and_its_bases_are(cells):
    assert written_in([cells["Module"]]) == sorted([text_id(MODULE), text_id(HELPER)])


def test_what_was_written_elsewhere_does_not_count(cells):
    cells["helper"] = functools.lru_cache(len)
    assert written_in([cells["answer"]]) == [text_id(ANSWER)]
    assert written_in([print, 3, None, pytest.fixture]) == []


def test_a_file_beside_the_notebook_counts(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(HELPER + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    from mine import helper

    assert written_in([helper]) == [text_id(HELPER)]


def test_spaces_at_the_ends_of_lines_are_no_change():
    assert text_id("a = 1  \n\tb\n\n") == text_id("a = 1\n\tb") != text_id("a = 2\n\tb")

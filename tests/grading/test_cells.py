"""Reading notebooks that hold anything, and telling what their code defines without running it."""

import json

import pytest

from course.grading.problems import Unreadable
from course.grading.read import cells, python_source
from course.grading.read.cells import cells_from_bytes


def notebook(*sources, **more) -> bytes:
    made = [{"cell_type": "code", "metadata": {}, "source": source} for source in sources]
    return json.dumps({"cells": made, "nbformat": 4, **more}).encode()


def test_sources_and_labels_are_read_and_outputs_dropped():
    data = json.dumps(
        {
            "cells": [
                {
                    "cell_type": "code",
                    "source": ["x = 1\r\n", "y = 2"],
                    "outputs": [{"text": "x" * 10**6}],
                    "metadata": {"nbgrader": {"grade_id": "a", "points": 3}, "tags": ["setup", 5]},
                },
                {"cell_type": "markdown", "source": "text"},
                {"cell_type": "spaceship", "source": 7, "metadata": "none"},
                "no cell",
            ]
        }
    ).encode()
    first, second, third = cells_from_bytes(data)
    assert (first.kind, first.source, first.grade_id, first.tags) == ("code", "x = 1\ny = 2", "a", ("setup",))
    assert first.nbgrader["points"] == 3 and first.is_setup
    assert (second.kind, second.source) == ("markdown", "text")
    assert (third.kind, third.source, third.grade_id) == ("raw", "", "")


def test_format_3_and_a_byte_order_mark_are_read():
    old = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": "x = 1", "metadata": {}}]}]}
    assert [cell.source for cell in cells_from_bytes(b"\xef\xbb\xbf" + json.dumps(old).encode())] == ["x = 1"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (notebook("x = 1")[:-20], "cut off"),
        (b'{"cells": [}', "damaged in line 1"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8"),
        ('{"cells": []}'.encode("utf-16"), "not UTF-8"),
        (b"[" * 200_000, "damaged"),
        (b'{"cells": ' + b"9" * 10_000 + b"}", "damaged|no cells"),
        (b"[]", "no notebook"),
        (b"null", "no notebook"),
        (b'{"cells": {"a": 1}}', "no notebook"),
        (b'{"cells"\x00: []}', "damaged"),
    ],
)
def test_what_is_no_notebook_is_said(data, words):
    with pytest.raises(Unreadable, match=words) as caught:
        cells_from_bytes(data)
    assert caught.value.status == "unreadable"


def test_sizes_are_bounded(monkeypatch):
    monkeypatch.setattr(cells, "LARGEST_FILE", 100)
    with pytest.raises(Unreadable, match="larger than") as caught:
        cells_from_bytes(notebook("x" * 200))
    assert caught.value.status == "limit"
    monkeypatch.undo()
    for data in (notebook(*["1"] * 6_000), notebook("#" * 400_000)):
        with pytest.raises(Unreadable) as caught:
            cells_from_bytes(data)
        assert caught.value.status == "limit"


def test_half_characters_become_whole_ones():
    (cell,) = cells_from_bytes(b'{"cells": [{"cell_type": "code", "source": "x = \'\\ud800\'"}]}')
    assert cell.source == "x = '?'"


# -- python_source


@pytest.mark.parametrize(
    ("source", "runs"),
    [
        ("%matplotlib inline\nx = 1", "pass\nx = 1"),
        ("x = 1\n!pip install this\ny = 2", "x = 1\npass\ny = 2"),
        ("files = !ls\nx = 1", "pass\nx = 1"),
        ("torch.relu?\nx = 1", "pass\nx = 1"),
        ("if x:\n    %timeit f(x)\ny = 1", "if x:\n    pass\ny = 1"),
        ("%%time\nx = 1", "\nx = 1"),
        ("\n%%timeit -n 3\nx = 1", "\n\nx = 1"),
        ("%%bash\nrm -r /", ""),
        ("%%writefile a.py\nx = 1", ""),
        ("%time x = f(1)\ny = x", "x = f(1)\ny = x"),
        ("def f(x):\n    %time y = g(x)\n    return y", "def f(x):\n    y = g(x)\n    return y"),
        ("def f(x):\n    !ls\n    return x", "def f(x):\n    pass\n    return x"),
        ("!pip install a \\\n    b\nx = 1", "pass\n\nx = 1"),
        ("x = (7\n% 4)\n!ls", "x = (7\n% 4)\npass"),
        ("a = 1; %time b\nc = 2", "a = 1; %time b\nc = 2"),  # IPython cannot read this either
        ("x = (7\n% 4)", "x = (7\n% 4)"),  # no command: the rest of a division
        ("def broken(:\n%time\n", "def broken(:\n%time\n"),  # the student's own error keeps its line
    ],
)
def test_commands_of_the_notebook_are_taken_out(source, runs):
    assert python_source.plain_python(source) == runs


def test_defined_names():
    source = "import os\ndef f(): pass\nclass C: pass\na, (b, c) = 1, (2, 3)\nd: int = 4\nif 1:\n    e = 5"
    assert python_source.defined_names(source) == {"f", "C", "a", "b", "c", "d", "e"}
    assert python_source.defined_names("def attention(q, k)\n    return 1") == {"attention"}  # a colon is missing
    assert python_source.defined_names("%time\ndef f(): pass") == {"f"}


@pytest.mark.parametrize(
    "source",
    [
        "(" * 100_000,
        "x=" + "-" * 100_000 + "1",
        "x=a" + ".b" * 50_000,
        "x=" + "+".join("a" * 50_000),
        "x=1\0",
        "x='\ud800'",
        "x=" + "lambda:" * 30_000 + "1",
        "if a:\n pass\n" + "elif a:\n pass\n" * 10_000,
        "%" * 100_000,
        "x = " + "9" * 10_000,
    ],
    ids=range(10),
)
def test_monstrous_source_raises_nothing(source):
    python_source.plain_python(source)
    python_source.defined_names(source)

"""``course/models/PEERS.md``: its tests are there, and it speaks of the versions that are installed."""

import re
from importlib.metadata import version
from pathlib import Path

import course.models

TABLE = Path(course.models.__file__).with_name("PEERS.md").read_text(encoding="utf-8")
ROOT = Path(__file__).parents[2]


def test_the_tests_that_it_names_are_there():
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", TABLE))
    assert len(named) >= 5 and all((ROOT / path).exists() for path in named)


def test_its_versions_are_those_that_are_installed():
    """With others, what it says is to be run anew."""
    said = set(re.findall(r"\b(torch|torchvision|timm|transformers) (\d+\.\d+\.\d+)", TABLE))
    assert {name for name, _ in said} == {"torch", "torchvision", "timm", "transformers"}
    assert said == {(name, version(name).partition("+")[0]) for name, _ in said}


def test_every_row_has_what_is_done_instead():
    rows = [line.strip("|").split("|") for line in TABLE.splitlines() if line.startswith("| ") and "---" not in line]
    assert all(len(row) == 4 and row[2].strip() for row in rows)

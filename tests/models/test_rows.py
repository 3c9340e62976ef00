"""Every row of the table that the course promises is proved by a test."""

import csv
from importlib import import_module
from pathlib import Path

from tests.models.test_sizes import TABLE

PROMISED = ("backbone", "module", "video", "dense", "multimodal")


def proved() -> set[int]:
    """The rows that some test in this folder says it proves."""
    modules = [import_module(f"tests.models.{path.stem}") for path in sorted(Path(__file__).parent.glob("test_*.py"))]
    tests = [value for module in modules for name, value in vars(module).items() if name.startswith("test_")]
    return {row for test in tests for row in getattr(test, "proves", ())}


def test_every_promised_row_is_proved():
    rows = [
        r for r in csv.DictReader(TABLE.open()) if r["kind"] in PROMISED and r["priority"] in ("core", "high", "medium")
    ]
    missing = [f"{r['row']}: {r['name']}" for r in rows if int(r["row"]) not in proved()]
    assert not missing, "rows of course/models/references.csv that no test proves: " + "; ".join(missing)

"""Parameters exactly, and multiply-adds within 1 %, as measured on the public implementations, at full size."""

import csv
from pathlib import Path

import pytest
import torch

import course.models
from course.models import create_model
from course.models.count import count_macs, count_parameters

TABLE = Path(course.models.__file__).with_name("references.csv")
ROWS = [row for row in csv.DictReader(TABLE.open()) if row["model"] and (row["params"] or row["macs"])]
UNITS = {"M": 1e6, "G": 1e9}


def number(text: str) -> float:
    return float(text[:-1]) * UNITS[text[-1]]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['row']}-{row['model']}" for row in ROWS])
def test_size(row):
    overrides = dict(part.split("=") for part in row["overrides"].split()) if row["overrides"] else {}
    with torch.device("meta"):
        model = create_model(row["model"], **{k: int(v) for k, v in overrides.items()})
    if row["params"]:
        assert f"{count_parameters(model) / 1e6:.3f}M" == row["params"]
    if row["macs"]:
        macs = count_macs(model, 1, *map(int, row["input"].split("x")))
        assert macs == pytest.approx(number(row["macs"]), rel=0.01)

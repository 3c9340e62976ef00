"""Parameters exactly, and multiply-adds within 1 %, as measured on the public implementations, at full size."""

import csv
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision

import course.models
from course.models import create_model
from course.models.count import count_macs, count_parameters
from tests.models.parity import proves

TABLE = Path(course.models.__file__).with_name("references.csv")
ROWS = [row for row in csv.DictReader(TABLE.open()) if row["model"] and (row["params"] or row["macs"])]
UNITS = {"M": 1e6, "G": 1e9}


def number(text: str) -> float:
    return float(text[:-1]) * UNITS[text[-1]]


KEPT = {  # rows that torchvision has, and that the course does not build again
    139: (torchvision.models.video.r3d_18, (3, 16, 112, 112)),
    182: (torchvision.models.alexnet, (3, 224, 224)),
    189: (partial(torchvision.models.googlenet, init_weights=False, aux_logits=False), (3, 224, 224)),
    191: (torchvision.models.densenet121, (3, 224, 224)),
    193: (torchvision.models.mobilenet_v2, (3, 224, 224)),
}


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


@proves(139, 182, 189, 191, 193)
@pytest.mark.parametrize("number_of_row", KEPT)
def test_a_kept_librarys_network_has_the_size_of_the_table(number_of_row):
    make, size = KEPT[number_of_row]
    row = next(row for row in csv.DictReader(TABLE.open()) if int(row["row"]) == number_of_row)
    with torch.device("meta"):
        model = make().eval()
    assert f"{count_parameters(model) / 1e6:.3f}M" == row["params"]
    assert count_macs(model, 1, *size) == pytest.approx(number(row["macs"]), rel=0.01)

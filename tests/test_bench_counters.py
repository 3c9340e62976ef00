"""``course bench counters``: the counts by hand, and what is said of the public counters."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import counters
from course.cli import main

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", [*counters.PARTS, *counters.NETWORKS])
def test_our_counter_agrees_with_the_hand(name):
    part = (counters.PARTS | counters.NETWORKS)[name]
    with torch.device("meta"):
        model = part.make()
    assert counters.ours(model.eval(), part.shape) == part.by_hand


@pytest.mark.parametrize(
    "ask, part, times",
    [
        (counters.torch_plain, "linear layer on tokens", 1),
        (counters.torch_plain, "fused attention", 0),
        (counters.torch_plain, "nn.MultiheadAttention", 0),
        (counters.torch_gradients, "nn.MultiheadAttention", pytest.approx(0.395, abs=0.001)),  # its four linear layers
    ],
)
def test_what_pytorch_does_not_see(ask, part, times):
    part = counters.PARTS[part]
    assert counters.times(part, ask) == times


def test_a_counter_that_fails_or_is_not_installed_costs_its_cell_alone(monkeypatch, tmp_path, capsys):
    def broken(model: nn.Module, shape: tuple[int, ...]) -> float:
        raise AttributeError("what a counter may say")

    monkeypatch.setattr(counters, "COUNTERS", {"broken": ("torch", broken), "missing": ("no_such_counter", broken)})
    monkeypatch.setattr(counters, "PARTS", {"linear": counters.PARTS["linear layer on tokens"]})
    monkeypatch.setattr(counters, "NETWORKS", {})
    assert main(["bench", "counters", "--json", str(tmp_path / "out.json")]) == 0
    assert "no_such_counter is left out: it is not installed" in capsys.readouterr().out
    figures = json.loads((tmp_path / "out.json").read_text())["counters"]
    assert figures["parts"]["linear"]["times"] == {"broken": None}
    assert list(figures["versions"]) == ["torch"]


def test_the_lecture_has_the_stored_table():
    figures = json.loads((ROOT / "benchmarks/results/counters.json").read_text())["counters"]
    text = (ROOT / "notebooks/source/13_scaling.py").read_text(encoding="utf-8")
    assert "\n".join(f"# {line}" for line in counters.table(figures)) in text

"""What `benchmarks/device.sh` does on a GPU, here on a CPU: every check, what is kept, and the time it may take."""

import json
import os
import subprocess
import sys

import pytest
import torch

from benchmarks import cifar, device
from course.data import load
from course.models import create_model
from course.models.count import count_parameters
from course.training.speed import Speed

SCRIPT = device.ROOT / "benchmarks" / "device.sh"


@pytest.fixture(scope="module")
def images():
    return load("two_questions", size=128, device="cpu")  # ten classes of 32×32 pixels, as CIFAR-10 has them


@pytest.fixture
def compiles_at_once(monkeypatch):
    """As PyTorch traces it, without the compiler of C++ behind it, which takes a minute."""
    compile = lambda self, model: torch.compile(model, backend="eager") if self.compiled else model
    monkeypatch.setattr(Speed, "prepare", compile)


@pytest.mark.parametrize("check", [check for check in device.CHECKS if check is not device.two_processes])
def test_every_check_passes_here(check, images, compiles_at_once):
    found = device.checked(check, images)
    assert found["passed"] and found["name"] == check.__name__ and found["said"], found


@pytest.mark.long
def test_two_processes_start(images):
    assert device.two_processes(images) == "two train on a CPU"


def test_a_fault_fails_its_check(images, compiles_at_once, monkeypatch):
    monkeypatch.setattr(Speed, "prepare", lambda self, model: torch.nn.Dropout(0.9) if self.compiled else model)
    assert not device.checked(device.compiled_is_eager, images)["passed"]
    monkeypatch.setattr(device, "fit", lambda *args, **options: type("H", (), {"interrupted": False}))
    assert "Ctrl-C did not end it" in device.checked(device.resume, images)["said"]
    attention = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        device.F,
        "scaled_dot_product_attention",
        lambda q, *kv: attention(q, *kv) * (1 if q.dtype.itemsize == 4 else 1.5),
    )
    assert "not close" in device.checked(device.attention_kernels, images)["said"]


def test_all_parts_run_short_and_what_is_known_is_kept(images, monkeypatch, tmp_path, capsys):
    def breaks(_):
        raise RuntimeError("no such kernel")

    def passes(_):
        kept = json.loads((tmp_path / "device.json").read_text())  # what came before
        return f"{len(kept['checks'])} before this one"

    monkeypatch.setattr(device, "CHECKS", [breaks, passes])
    monkeypatch.setattr(device, "PAIRS", {"poolformer_s12": device.PAIRS["poolformer_s12"]})
    monkeypatch.setattr(cifar, "ROWS", [row for row in cifar.ROWS if row.name == "mixer-88"])
    figures = device.run(images, images, tmp_path / "device.json", short=True)
    assert json.loads((tmp_path / "device.json").read_text()) == figures
    assert [(c["passed"], c["said"]) for c in figures["checks"]] == [
        (False, "RuntimeError: no such kernel"),
        (True, "1 before this one"),
    ]
    (throughput,), (row,) = figures["throughput"], figures["rows"]
    assert throughput["said"] == "ours and timm run" and throughput["images_per_second"] is None
    assert row["said"] == "runs" and row["accuracy"] is None and row["images_per_second"] is None
    assert "FAILED  breaks: RuntimeError: no such kernel" in capsys.readouterr().out


@pytest.mark.parametrize("ours, theirs", device.PAIRS.items())
def test_both_of_a_pair_are_the_same_network(ours, theirs):
    import timm

    with torch.device("meta"):
        assert count_parameters(create_model(ours)) == count_parameters(timm.create_model(theirs))


def test_the_fastest_row_of_each_kind():
    names = [row.name for row in device.fastest_of_each_kind()]
    assert names == ["mixer-88", "poolformer-90", "cct-93", "vit-90", "swin-91", "convmixer", "resnet"]


def test_a_row_that_does_not_fit_is_timed_and_not_trained(images, monkeypatch):
    row = next(row for row in cifar.ROWS if row.name == "mixer-88")
    steps = []
    monkeypatch.setattr(cifar, "timed_fit", lambda model, train, recipe, speed: (steps.append(recipe), (3.0, None))[1])
    monkeypatch.setattr(device, "evaluate", lambda model, test: 0.875)
    assert device.board(row, images, images, 1e15, 10.0, short=False)["said"] == "no time is left for it" and not steps
    found = device.board(row, images, images, 1e15, 20.0, short=False)
    # 70 epochs of one step each take 7 s where 30 steps take 3
    assert found["predicted_seconds"] == pytest.approx(7) and len(steps) == 1 and found["accuracy"] is None
    assert found["images_per_second"] == pytest.approx(30 * 128 / 3) and "do not fit" in found["said"]
    found = device.board(row, images, images, 1e15, 40.0, short=False)
    assert (found["accuracy"], found["seconds"], len(steps)) == (0.875, 3.0, 3) and steps[-1] == row.recipe


def test_throughput_is_of_both_in_turns(monkeypatch):
    class Small(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.last = torch.nn.Linear(3, 2)

        def forward(self, images):
            return self.last(images.mean(dim=(2, 3)))

    import timm

    monkeypatch.setattr(device, "create_model", Small)
    monkeypatch.setattr(device, "count_macs", lambda *args: 10**6)
    monkeypatch.setattr(timm, "create_model", Small)
    clock = iter(range(1000))
    monkeypatch.setattr(device, "_now", lambda where: float(next(clock)))  # so each ten steps take a second
    real = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *size, **options: real(2, 3, 4, 4))
    found = device.throughput("a", "b", torch.device("cpu"), 1e12, short=False)
    assert found["ratio"] == {"median": 1.0, "least": 1.0, "most": 1.0}
    assert found["images_per_second"] == {"ours": pytest.approx(1280), "timm": pytest.approx(1280)}
    assert found["share_of_matrix_rate"] == pytest.approx(1280 * 6e6 / 1e12)


# -- the script


def run_script(*words, **environment) -> tuple[int, str]:
    ended = subprocess.run(
        [str(SCRIPT), *map(str, words)], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_the_script_says_how_it_is_called_and_what_is_missing(tmp_path):
    assert run_script() == (2, subprocess.run(["sed", "-n", "2,7p", SCRIPT], capture_output=True, text=True).stdout)
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # without its packages
    bare.chmod(0o755)
    code, said = run_script(tmp_path / "images", tmp_path / "out", PYTHON=str(bare), PYTHONPATH="")
    assert code == 1 and "has no torch, numpy, einops, safetensors" in said and "PYTHONPATH" in said


def test_the_script_reads_its_file_first(tmp_path):
    (tmp_path / "images").write_text("nothing")
    code, said = run_script(tmp_path / "images", tmp_path / "out", PYTHON=sys.executable, COURSE_BUDGET="tiny")
    assert code == 2 and "pack_cifar" in said and not list((tmp_path / "out").iterdir())

"""Runs on photographs: what is stored of them, here of a few steps, and that what is stored agrees with itself."""

import json
from dataclasses import asdict

import pytest
import torch

from benchmarks import photographs
from course.cli import main
from course.data import load
from course.models import create_model
from course.models.count import count_parameters
from course.training import evaluate, recipes
from course.training.pretrained import FOLDER, LARGEST, load_pretrained, read_origin, runs_of, weights_of
from tests.small_cifar import CLASSES, served

MIXER = next(row for row in photographs.ROWS if row.name == "mixer")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A small CIFAR-10, a recipe of a few steps, and a folder in place of course/checkpoints."""
    monkeypatch.setenv("COURSE_BUDGET", "cpu")
    monkeypatch.setitem(recipes.NAMED, "photographs", recipes.photographs.but(steps=6, batch_size=32))
    monkeypatch.setattr(photographs, "FOLDER", tmp_path / "kept")
    with served(monkeypatch, tmp_path / "data", images=64):
        yield tmp_path / "kept"


@pytest.mark.parametrize("row", photographs.ROWS, ids=lambda row: row.name)
def test_every_row_is_a_network_that_can_be_stored(row):
    with torch.device("meta"):
        model = create_model(row.model, num_classes=10, **row.overrides)
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, 10)
    assert 2 * count_parameters(model) < LARGEST - 30_000
    assert len({row.name for row in photographs.ROWS}) == len(photographs.ROWS)


def test_a_run_is_stored_with_how_it_came_about_and_not_made_twice(small, capsys):
    assert main(["bench", "photographs", "mixer", "--save"]) == 0
    assert sorted(path.name for path in small.iterdir()) == ["photographs_mixer.json", "photographs_mixer.safetensors"]
    run = runs_of("photographs_mixer", small)["0"]
    assert (
        run["command"] == "course train mixer_cifar embed_dim=96 depth=6 --data cifar10 --recipe photographs --seed 0"
    )
    assert run["steps"] == list(range(1, 7)) and len(run["loss"]) == 6 and run["loss"][0] > 0.5
    assert run["val_steps"][-1] == 6 and run["val_accuracy"][-1] == run["accuracy"]
    table, test = torch.tensor(run["answers"]), load("cifar10", "test", device="cpu")
    assert run["classes"] == list(CLASSES)
    assert torch.equal(table.sum(dim=1), test.labels.bincount(minlength=len(CLASSES)))
    assert table.trace() / len(test) == pytest.approx(run["accuracy"])
    model = create_model("mixer_cifar", num_classes=len(CLASSES), embed_dim=96, depth=6)
    origin = load_pretrained(small / "photographs_mixer.safetensors", model)
    assert evaluate(model, load("cifar10", "test", device="cpu")) == pytest.approx(run["accuracy"], abs=1.5 / 64)
    assert origin.recipe["seed"] == 0 and origin.recipe["steps"] == 6
    agrees("photographs_mixer", small)

    before = (small / "photographs_mixer.json").read_bytes()
    capsys.readouterr()
    assert main(["bench", "photographs", "mixer", "--save"]) == 0
    assert "seed 0: is stored" in capsys.readouterr().out and (small / "photographs_mixer.json").read_bytes() == before
    assert main(["bench", "photographs", "mixer"]) == 0
    assert "within 3%" in capsys.readouterr().out and (small / "photographs_mixer.json").read_bytes() == before
    assert main(["bench", "photographs", "mixer", "--save", "--seeds", "2"]) == 0
    runs = runs_of("photographs_mixer", small)
    agrees("photographs_mixer", small)
    assert list(runs) == ["0", "1"] and runs["0"] == run and runs["1"]["loss"] != run["loss"]
    assert runs["1"]["command"].endswith("--seed 1")


def test_a_run_that_comes_out_otherwise_is_said(small, capsys):
    run = {"accuracy": 0.5, "seconds": 60.0, "processor_seconds": 50.0}
    assert "within 3%" in photographs._line(run, {"accuracy": 0.525}, tiny=False)
    assert "NOT within 3%" in photographs._line(run, {"accuracy": 0.535}, tiny=False)


def test_a_short_run_stores_nothing_and_reports_no_result(small, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_BUDGET", "tiny")
    assert main(["bench", "photographs", "mixer"]) == 0
    said = capsys.readouterr().out
    assert "mixer, seed 0: runs" in said and said.endswith("1 runs of 3 steps: they run, nothing is learned\n")
    assert not small.exists()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["vitt"], "did you mean 'vit'"),
        (["vit", "--save"], "not worth storing"),
        (["vit", "--seeds", "0"], "1 at least"),
        (["vit"], "could not be trained on cifar10"),
    ],
)
def test_what_it_cannot_do_is_a_sentence(arguments, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BUDGET", "tiny")
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))  # no CIFAR there
    assert main(["bench", "photographs", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_curve_is_thinned_to_means():
    steps, loss = photographs.thinned([float(k) for k in range(1000)])
    assert steps == list(range(10, 1001, 10)) and loss[0] == 4.5 and loss[-1] == 994.5
    assert photographs.thinned([3.0, 1.0]) == ([1, 2], [3.0, 1.0])


def agrees(name: str, folder) -> None:
    """The headers of the weights say what is stored of their seeds, and that is of a row of today by the recipe of today."""
    runs = runs_of(name, folder)
    row = next(row for row in photographs.ROWS if row.stored == name)
    for seed, run in runs.items():
        origin = asdict(read_origin(weights_of(name, int(seed), folder)))
        assert {key: run[key] for key in origin} == origin
        assert run["command"] == row.command("cifar10" if run["data"] == "cifar10" else "FOLDER", int(seed))
        assert run["recipe"] == json.loads(json.dumps(asdict(recipes.get("photographs").but(seed=int(seed)))))
        right = sum(of_class[k] for k, of_class in enumerate(run["answers"]))
        assert right / sum(map(sum, run["answers"])) == pytest.approx(run["accuracy"], abs=1e-3)
        assert run["model"] == row.model and run["seconds"] > 0 and 0 < run["accuracy"] <= 1 and run["commit"]


def test_what_is_stored_agrees_with_itself_and_with_what_is_said_of_it():
    kept = {path.stem: runs_of(path.stem) for path in FOLDER.glob("photographs_*.json")}
    weights = {weights_of(name, int(seed)) for name, runs in kept.items() for seed in runs}
    assert weights == set(FOLDER.glob("photographs_*.safetensors"))
    said = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert bool(kept) != ("No run on photographs is stored yet" in said)
    for name in kept:
        agrees(name, FOLDER)

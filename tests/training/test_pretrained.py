"""Train or load: what is stored of a real run, here a tiny one on the digits, and what is refused."""

import json
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from course.data import load
from course.models import create_model
from course.training import CheckpointError, Recipe, evaluate, fit, pretrained
from course.training.pretrained import (
    FOLDER,
    LARGEST,
    Origin,
    Price,
    load_pretrained,
    read_origin,
    runs_of,
    save_pretrained,
    stored_model,
    train_or_load,
    weights_of,
)

OVERRIDES = dict(img_size=8, in_chans=1, patch_size=2, embed_dim=32, depth=2)
RECIPE = Recipe(steps=60, batch_size=64, lr=3e-3)
NEVER = Recipe(steps=1, lr=1e-9)


def fresh(seed: int = 1, name: str = "mixer_cifar", **overrides) -> nn.Module:
    torch.manual_seed(seed)
    return create_model(name, num_classes=10, **OVERRIDES | overrides)


@pytest.fixture(scope="module")
def digits():
    return load("digits", device="cpu"), load("digits", "test", device="cpu")


@pytest.fixture(scope="module")
def trained(digits):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = fresh(seed=0)
    history = fit(model, digits[0], RECIPE, device="cpu")
    accuracy = evaluate(model, digits[1])
    torch.set_num_threads(threads)
    assert accuracy > 0.7
    origin = Origin(
        model="mixer_cifar",
        overrides={"num_classes": "10"} | {k: repr(v) for k, v in OVERRIDES.items()},
        data="digits",
        recipe=json.loads(json.dumps(asdict(RECIPE))),
        accuracy=accuracy,
        seconds=history.seconds,
        device="CPU",
        date="2026-11-21",
    )
    return model, origin


@pytest.fixture
def stored(trained, tmp_path):
    save_pretrained(tmp_path / "digits.safetensors", *trained)
    return tmp_path / "digits.safetensors"


# -- there and back


def test_what_comes_back_is_the_model_within_half_precision(trained, stored, digits):
    model, origin = trained
    loaded = fresh()
    assert load_pretrained(stored, loaded) == origin == read_origin(stored)
    images = model.normalise_images(digits[1].images)
    expected, logits = (network(images) for network in (model, loaded))
    assert logits.dtype == torch.float32 and not loaded.training
    assert not torch.equal(logits, expected) and (logits - expected).abs().max() < 5e-3 * expected.abs().max()
    assert evaluate(loaded, digits[1]) == pytest.approx(origin.accuracy, abs=0.006)  # two images of 397
    assert loaded.normalise_images == model.normalise_images
    for name, tensor in load_file(stored).items():
        assert tensor.dtype == torch.float16 and torch.equal(tensor, model.state_dict()[name].half())


def test_the_origin_tells_how_to_make_the_model(stored):
    origin = read_origin(stored)
    assert origin.call.startswith("create_model('mixer_cifar', num_classes=10, img_size=8, ")
    load_pretrained(stored, eval(origin.call, {"create_model": create_model}))
    assert Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in origin.recipe.items()}) == RECIPE


def test_a_stored_model_is_made_by_its_name(trained, stored, digits):
    model = stored_model("digits", folder=stored.parent)
    assert evaluate(model, digits[1]) == pytest.approx(trained[1].accuracy, abs=0.006) and not model.training
    with pytest.raises(ValueError, match="no stored weights 'digit': did you mean 'digits'"):
        stored_model("digit", folder=stored.parent)


def test_batch_norm_counts_and_tied_weights_are_stored(tmp_path, trained):
    class Tied(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 64))
            self[3].weight = self[1].weight
            self.normalise_images = trained[0].normalise_images

    model, other = Tied(), Tied()
    model.train()(torch.randn(8, 1, 8, 8))
    save_pretrained(tmp_path / "tied.safetensors", model, trained[1])
    load_pretrained(tmp_path / "tied.safetensors", other)  # no name of its own, so only the tensors must fit
    assert other[2].num_batches_tracked == 1 and other[3].weight is other[1].weight
    assert torch.equal(other[2].running_mean, model[2].running_mean.half().float())


# -- what is refused


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            lambda: fresh(name="vit_cifar", num_heads=2),
            "that one is mixer_cifar and this one vit_cifar; .*and .* more",
        ),
        (lambda: fresh(embed_dim=48), "stem.proj.weight is 32×1×2×2 there and 48×1×2×2 here"),
        (lambda: fresh(depth=3), r"stages.0.blocks.2.* is not there and .* here"),
        (lambda: fresh(depth=1), r"stages.0.blocks.1.* there and not here"),
        (lambda: nn.Linear(2, 2), r"weight is not there and 2×2 here"),
    ],
)
def test_a_checkpoint_of_another_model(stored, other, words):
    model = other()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"of another model: .*{words}") as caught:
        load_pretrained(stored, model)
    assert "It fits create_model('mixer_cifar'" in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training and not hasattr(model, "normalise_images")


def test_a_damaged_file(stored):
    whole = stored.read_bytes()
    one_bit = bytearray(whole)
    one_bit[-500] ^= 1
    for damaged in (b"", b"no checkpoint", whole[: len(whole) // 2], whole[:-1], bytes(one_bit)):
        stored.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="digits.safetensors is damaged; delete it"):
            load_pretrained(stored, fresh())


def rewritten(path, change) -> None:
    """The same file with another header or other tensors, and the right checksum."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["course"])
    tensors = load_file(path)
    change(header, tensors)
    header["sha256"] = pretrained._sha256(tensors)
    save_file(tensors, path, metadata={"course": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda header, tensors: tensors["head.fc.bias"].fill_(float("nan")), "is damaged"),
        (lambda header, tensors: header["origin"].pop("device"), "is damaged"),
        (lambda header, tensors: header.update(format=2), "another version"),
        (lambda header, tensors: header.pop("normalise"), "is damaged"),
        (lambda header, tensors: header.update(normalise={"mean": [0.0]}), "is damaged"),
    ],
)
def test_a_file_that_says_too_little_or_nonsense(stored, change, words):
    rewritten(stored, change)
    with pytest.raises(CheckpointError, match=words):
        load_pretrained(stored, fresh())


def test_too_large_to_store_and_too_large_to_open(trained, stored):
    whole = stored.read_bytes()
    large = nn.Linear(1000, 1001)
    large.normalise_images = trained[0].normalise_images
    with pytest.raises(ValueError, match="would have 2,00.,... bytes, .* at most 2,000,000"):
        save_pretrained(stored, large, trained[1])
    assert stored.read_bytes() == whole and [file.name for file in stored.parent.iterdir()] == [stored.name]
    stored.write_bytes(whole + b"\0" * LARGEST)
    with pytest.raises(CheckpointError, match="has 2,0..,... bytes, .* at most 2,000,000, so it was not opened"):
        load_pretrained(stored, fresh())


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_half_precision_cannot_hold_are_not_stored(trained, tmp_path, value):
    model = fresh()
    model.normalise_images = trained[0].normalise_images
    with torch.no_grad():
        model.head.fc.bias[3] = value
    with pytest.raises(ValueError, match="head.fc.bias has values that are no numbers"):
        save_pretrained(tmp_path / "x.safetensors", model, trained[1])
    assert not list(tmp_path.iterdir())


# -- the cell


def test_the_price_is_said_as_far_as_it_is_known():
    assert str(Price()) == "Training here costs, small, on a CPU: not measured; in full, on a GPU: not measured."
    assert str(Price(cpu_minutes=1.5, gpu_seconds=62.4, accuracy=0.912)) == (
        "Training here costs, small, on a CPU: 1.5 min; in full, on a GPU: 62 s, which reaches 91.2 %."
    )


@pytest.mark.parametrize("budget", ["tiny", "cpu"])
def test_what_is_stored_is_loaded_and_no_data_are_needed(stored, trained, digits, monkeypatch, capsys, budget):
    monkeypatch.setenv("COURSE_BUDGET", budget)

    def never():
        raise AssertionError("data were loaded, and there is nothing to train")

    model = fresh()
    outcome = train_or_load(model, never, NEVER, name="digits", val=digits[1], folder=stored.parent)
    assert outcome.history is None and outcome.origin == trained[1]
    assert outcome.accuracy == evaluate(model, digits[1]) == pytest.approx(trained[1].accuracy, abs=0.006)
    price, loaded = capsys.readouterr().out.splitlines()
    percent = f"{100 * trained[1].accuracy:.1f} %"
    assert price.endswith(f"reaches {percent}.") and "CPU: not measured" in price
    assert loaded.startswith(f"Loaded instead: digits, {percent} of the test images, after ")
    assert "on digits (CPU, 2026-11-21)" in loaded
    assert repr(outcome) == f"loaded, {100 * outcome.accuracy:.1f} % right here"


@pytest.mark.parametrize(("budget", "steps"), [("tiny", 3), ("cpu", 7)])
def test_without_it_a_small_one_is_trained_and_that_is_said(tmp_path, digits, monkeypatch, capsys, budget, steps):
    monkeypatch.setenv("COURSE_BUDGET", budget)
    model = fresh()
    outcome = train_or_load(
        model,
        lambda: digits[0],
        NEVER,
        name="digits",
        small=RECIPE.but(steps=7),
        val=digits[1],
        price=Price(cpu_minutes=0.5),
        folder=tmp_path,
    )
    assert len(outcome.history.loss) == steps and outcome.origin is None
    assert outcome.accuracy == outcome.history.final_accuracy and repr(outcome) == repr(outcome.history)
    price, note = capsys.readouterr().out.splitlines()
    assert "CPU: 0.5 min" in price and note == "No real run of digits is stored yet, so a small one is trained here."
    assert not list(tmp_path.iterdir()), "a small run is no real one: it is not stored"


def test_with_a_gpu_it_is_trained_in_full(stored, digits, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_BUDGET", "gpu")
    recipe = RECIPE.but(steps=5)
    outcome = train_or_load(fresh(), digits[0], recipe, name="digits", small=NEVER, folder=stored.parent)
    assert outcome.history.recipe == recipe and outcome.accuracy is None
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_damaged_one_is_an_error_and_not_passed_over(stored, digits, monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "cpu")
    stored.write_bytes(stored.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="damaged"):
        train_or_load(fresh(), digits[0], NEVER, name="digits", folder=stored.parent)


# -- those of the course


def test_every_stored_run_is_small_real_and_fits_its_model():
    names = [path.name for path in FOLDER.iterdir()]
    assert all(name == "README.md" or name.endswith((".safetensors", ".json")) for name in names)
    for path in FOLDER.glob("*.safetensors"):
        assert path.stat().st_size <= LARGEST
        origin = read_origin(path)
        assert 0.2 < origin.accuracy < 1 and origin.seconds > 1 and origin.device != "CPU"
        assert path.stem in builders()
        load_pretrained(path, builders()[path.stem]())


def builders() -> dict:
    """What the benchmarks that store weights make, by the name of the file."""
    from benchmarks import cifar, photographs, shapes

    on_photographs = {
        weights_of(row.stored, int(seed)).stem: partial(create_model, row.model, num_classes=10, **row.overrides)
        for row in photographs.ROWS
        for seed in runs_of(row.stored)
    }
    others = {row.name: row.build for row in cifar.ROWS} | {shapes.MODEL: lambda: create_model(shapes.MODEL)}
    return others | on_photographs


def test_an_origin_is_all_or_nothing(trained):
    assert replace(trained[1], accuracy=0.5).accuracy == 0.5
    with pytest.raises(TypeError):
        Origin(model="mixer_cifar")

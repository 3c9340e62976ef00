"""Speed: the same numbers every way, the fastest way chosen, and remembered."""

import dataclasses
import json
import os

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import training_speed
from course.models import create_model
from course.training import speed as speed_module
from course.training.speed import Speed, fastest, measure

EVERY = [
    Speed("float32", "fused"),
    Speed("float32", "explicit"),
    Speed("bfloat16", "fused"),
    Speed("bfloat16", "explicit"),
]


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A machine that has measured nothing yet, in a budget in which it would."""
    monkeypatch.setenv("COURSE_BUDGET", "cpu")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(speed_module, "_known", {})


def restarted(monkeypatch):
    """Another process: what was in memory is gone."""
    monkeypatch.setattr(speed_module, "_known", {})


def a_vit():
    torch.manual_seed(0)
    small = dict(img_size=16, patch_size=4, embed_dim=48, depth=2, num_heads=3)
    return create_model("vit_s16", num_classes=10, **small).eval()


class Timed(nn.Module):
    """Attention that takes the time the test says: moves the clock by the way it finds itself computed."""

    def __init__(self, machine):
        super().__init__()
        self.machine = machine
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, images):
        way = Speed(
            "bfloat16" if torch.is_autocast_enabled("cpu") else "float32",
            "fused" if torch.backends.cuda.flash_sdp_enabled() else "explicit",
        )
        self.machine.take(way, len(images))
        assert self.training
        x = images.flatten(1)[:, None, :4] @ self.weight  # (B, 1, 4)
        return F.scaled_dot_product_attention(x, x, x)[:, 0]


class Machine:
    """A clock, and what an image takes in each way, in seconds; None: it cannot be computed so."""

    def __init__(self, monkeypatch, *times, units=True):
        self.time, self.tried, self.steps, self.hiccup = 0.0, set(), 0, lambda step: 1.0
        self.times = dict(zip(EVERY, times))
        monkeypatch.setattr(speed_module, "_now", lambda: self.time)
        monkeypatch.setattr(speed_module, "has_bfloat16_units", lambda: units)

    def take(self, way, images):
        self.tried.add(way)
        self.steps += 1
        if self.times[way] is None:
            raise RuntimeError("expected mat1 and mat2 to have the same dtype")
        self.time += self.times[way] * images * self.hiccup(self.steps)


IMAGES = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))


# -- what a speed is


def test_a_speed_is_a_value_in_words():
    assert Speed.plain() == Speed("float32", "fused", False)
    assert Speed.plain().describe() == "float32, fused attention"
    assert Speed("bfloat16", "explicit", True).describe() == "bfloat16, explicit attention, compiled"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Speed.plain().precision = "bfloat16"
    with pytest.raises(ValueError, match="did you mean 'bfloat16'"):
        Speed("bfloat")
    with pytest.raises(ValueError, match="There are: fused, explicit"):
        Speed(attention="einsum")


class Products(TorchDispatchMode):
    """The operations below autograd, and the types that batched matrix products are computed in."""

    def __init__(self):
        super().__init__()
        self.names, self.types = [], set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        if "bmm" in str(function):
            self.types.add(args[0].dtype)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("speed", EVERY, ids=Speed.describe)
def test_applied_is_what_is_computed(speed):
    q = torch.randn(2, 3, 5, 8)
    with speed.applied("cpu"), Products() as seen:
        out = F.scaled_dot_product_attention(q, q, q)
    kind = getattr(torch, speed.precision)
    assert out.dtype == kind
    assert any("flash" in name for name in seen.names) == (speed.attention == "fused")
    assert seen.types == (set() if speed.attention == "fused" else {kind})  # PyTorch alone would say float32


def test_everything_is_as_before_afterwards():
    def state():
        return (
            torch.is_autocast_enabled("cpu"),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed(),
        )

    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(False)
    before = state()
    with Speed("bfloat16", "explicit").applied("cpu"):
        assert all(was != now for was, now in zip(before, state()))
    assert state() == before
    with pytest.raises(KeyError), Speed("bfloat16", "explicit").applied("cpu"):
        raise KeyError
    assert state() == before


def gradient(model, images, labels, speed):
    """(loss, the gradient of all weights as one vector), all float32."""
    with speed.applied("cpu"):
        loss = F.cross_entropy(model(images).float(), labels)
    assert loss.dtype == torch.float32
    grads = torch.autograd.grad(loss, list(model.parameters()))
    assert {grad.dtype for grad in grads} == {torch.float32}
    return loss.detach(), torch.cat([grad.flatten() for grad in grads])


@pytest.mark.parametrize(
    ("speed", "tolerance"),
    [
        (Speed("float32", "explicit"), 1e-5),
        (Speed("bfloat16", "fused"), 0.03),  # bfloat16 keeps 8 bits: one rounding is up to 0.4 %
        (Speed("bfloat16", "explicit"), 0.03),
    ],
    ids=str,
)
def test_the_gradient_is_the_same_up_to_rounding(speed, tolerance):
    model, images = a_vit(), torch.randn(16, 3, 16, 16)
    labels = torch.arange(16) % 10
    loss, exact = gradient(model, images, labels, Speed.plain())
    other_loss, other = gradient(model, images, labels, speed)
    assert (other_loss - loss).abs() < tolerance
    assert 0 < (other - exact).norm() < tolerance * exact.norm()


def test_the_plain_speed_changes_nothing():
    model, images = a_vit(), torch.randn(4, 3, 16, 16)
    with Speed.plain().applied("cpu"):
        applied = model(images)
    assert torch.equal(applied, model(images))
    assert Speed.plain().prepare(model) is model


def test_a_compiled_model_has_the_same_weights(monkeypatch):
    asked = {}
    model = a_vit()
    monkeypatch.setattr(torch, "compile", lambda given, **how: asked.update(how) or nn.Sequential(given))
    prepared = Speed(compiled=True).prepare(model)
    assert prepared is not model and next(prepared.parameters()) is next(model.parameters())
    assert asked == {"dynamic": False, "mode": None}  # autotuning is for CUDA


# -- what is chosen


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ((10, 10.7, 6.9, 4.5), Speed("bfloat16", "explicit")),  # as with AMX
        ((10, 11, 4, 5), Speed("bfloat16", "fused")),
        ((10, 8, 12, 12), Speed("float32", "explicit")),
        ((10, 11, 15, 20), Speed.plain()),
        ((10, 9.5, 9.3, 9.2), Speed.plain()),  # a tie
        ((10, 11, 300, 300), Speed.plain()),  # units that PyTorch does not use
    ],
    ids=str,
)
def test_the_fastest_is_chosen(monkeypatch, times, chosen):
    machine = Machine(monkeypatch, *(time / 1e3 for time in times))
    assert measure(Timed(machine), IMAGES) == chosen
    assert machine.tried == set(EVERY) - ({Speed("bfloat16", "explicit")} if times[2] == 300 else set())
    assert machine.time < 4  # seconds


def test_without_units_bfloat16_is_not_even_tried(monkeypatch):
    machine = Machine(monkeypatch, 0.010, 0.011, 0.001, 0.001, units=False)
    assert measure(Timed(machine), IMAGES) == Speed.plain()
    assert machine.tried == {Speed(), Speed(attention="explicit")}
    assert machine.time < 0.7


def test_all_images_are_taken_where_there_is_time(monkeypatch):
    sizes = set()
    machine = Machine(monkeypatch, *4 * [1e-5])
    machine.take = lambda way, images: (sizes.add(images), Machine.take(machine, way, images))
    measure(Timed(machine), IMAGES)
    assert sizes == {2, 64}


def test_a_large_model_is_not_kept_waiting_for(monkeypatch):
    machine = Machine(monkeypatch, *4 * [5.0])
    assert measure(Timed(machine), IMAGES) == Speed.plain()
    assert machine.steps == 1 and machine.tried == {Speed.plain()}


def test_a_busy_machine_does_not_decide(monkeypatch):
    """Something else runs now and then, once when float32 is timed: no reason to leave it."""
    machine = Machine(monkeypatch, 0.010, 0.010, 0.010, 0.010)
    machine.hiccup = lambda step: 5.0 if step % 7 == 0 else 1.0
    assert measure(Timed(machine), IMAGES) == Speed.plain()
    machine = Machine(monkeypatch, 0.010, 0.011, 0.007, 0.0045)
    machine.hiccup = lambda step: 2.5 if step % 11 == 0 else 1.0
    assert measure(Timed(machine), IMAGES) == Speed("bfloat16", "explicit")


def test_what_is_set_up_for_a_new_size_does_not_count(monkeypatch):
    machine, sizes = Machine(monkeypatch, 1e-4, 1e-4, 7e-5, 4e-5), set()

    def take(way, images):
        machine.time += 0 if (way, images) in sizes or way == Speed.plain() else 0.1
        sizes.add((way, images))
        Machine.take(machine, way, images)

    machine.take = take
    assert measure(Timed(machine).eval(), IMAGES) == Speed("bfloat16", "explicit")


def test_a_way_that_a_model_cannot_be_computed_in(monkeypatch):
    machine = Machine(monkeypatch, 0.010, 0.011, 0.005, None)
    assert measure(Timed(machine), IMAGES) == Speed("bfloat16", "fused")
    machine = Machine(monkeypatch, None, 0.011, 0.005, 0.002)
    assert measure(Timed(machine), IMAGES) is None  # and training says why
    machine = Machine(monkeypatch, 0.010, 0.011, 0.007, 0.0045)
    assert fastest(Timed(machine).requires_grad_(False), IMAGES, "cpu") == Speed.plain()


@pytest.mark.parametrize(
    ("mixer", "has_attention"),
    [
        (nn.Sequential(nn.Flatten(1), nn.Linear(192, 4)), False),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), True),  # nn.MultiheadAttention inside
    ],
    ids=["linear", "transformer"],
)
def test_kernels_are_compared_only_where_there_is_attention(monkeypatch, mixer, has_attention):
    attentions, applied = set(), Speed.applied
    monkeypatch.setattr(Speed, "applied", lambda way, on: attentions.add(way.attention) or applied(way, on))
    monkeypatch.setattr(speed_module, "has_bfloat16_units", lambda: False)
    images = IMAGES if not has_attention else IMAGES.flatten(1, 2)  # (B, 24, 8)
    measure(mixer, images)
    assert attentions == ({"fused", "explicit"} if has_attention else {"fused"})


def test_the_model_is_left_as_it_was(monkeypatch):
    """The real clock, with everything tried: weights, gradients, running statistics, modes, random state."""
    monkeypatch.setattr(speed_module, "has_bfloat16_units", lambda: True)
    norms = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), *norms, nn.Dropout(), nn.Flatten(), nn.Linear(144, 2))
    model[1].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    assert measure(model, IMAGES) in EVERY
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model] == [True, False, True, True, True, True]
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[5].weight.grad is None
    assert torch.equal(torch.get_rng_state(), random)


# -- what is remembered


def test_measured_once(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, 0.010, 0.011, 0.007, 0.0045)
    model = Timed(machine)
    for _ in range(2):
        assert fastest(model, IMAGES, "cpu") == Speed("bfloat16", "explicit")
        steps = machine.steps
        restarted(monkeypatch)
    assert fastest(model, IMAGES, "cpu") == Speed("bfloat16", "explicit")
    assert machine.steps == steps
    [key] = json.loads((tmp_path / "data" / "speed.json").read_text())
    assert f"{torch.get_num_threads()} threads, torch {torch.__version__}: Timed" in key and "64×3×8×8" in key

    machine.times = dict.fromkeys(EVERY, 0.010)
    assert fastest(model, IMAGES[:32], "cpu") == Speed.plain()  # of other images nothing is known
    monkeypatch.setattr(torch, "get_num_threads", lambda: 97)
    assert fastest(model, IMAGES, "cpu") == Speed.plain()  # nor of other threads
    assert len(json.loads((tmp_path / "data" / "speed.json").read_text())) == 3


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"\xff\x00",
        b"[1]",
        b"null",
        b'{"%s": 5}',
        b'{"%s": null}',
        b'{"%s": ["bfloat16"]}',
        b'{"%s": ["float64", "fused"]}',
    ],
    ids=repr,
)
def test_a_damaged_file_is_measured_anew(monkeypatch, tmp_path, damaged):
    model = Timed(Machine(monkeypatch, 0.010, 0.011, 0.007, 0.0045))
    path = tmp_path / "data" / "speed.json"
    path.parent.mkdir()
    path.write_bytes(damaged.replace(b"%s", speed_module._key(model, IMAGES).encode()))
    assert fastest(model, IMAGES, "cpu") == Speed("bfloat16", "explicit")
    assert list(json.loads(path.read_text()).values()) == [["bfloat16", "explicit"]]


def test_where_nothing_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "data").write_text("a file, and no folder")
    machine = Machine(monkeypatch, 0.010, 0.011, 0.007, 0.0045)
    assert fastest(Timed(machine), IMAGES, "cpu") == Speed("bfloat16", "explicit")
    steps = machine.steps
    assert fastest(Timed(machine), IMAGES, "cpu") == Speed("bfloat16", "explicit")
    assert machine.steps == steps  # in this process it is known all the same
    assert os.listdir(tmp_path) == ["data"]


def test_the_file_does_not_grow_for_ever(monkeypatch, tmp_path):
    monkeypatch.setattr(speed_module, "REMEMBERED", 3)
    model = Timed(Machine(monkeypatch, 0.010, 0.011, 0.007, 0.0045))
    for count in range(2, 8):
        fastest(model, IMAGES[:count], "cpu")
    kept = list(json.loads((tmp_path / "data" / "speed.json").read_text()))
    assert [key[-7] for key in kept] == ["5", "6", "7"]


def test_what_could_not_be_measured_is_not_remembered(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, *4 * [None])
    model = Timed(machine)
    assert fastest(model, IMAGES, "cpu") == Speed.plain()
    machine.times = dict(zip(EVERY, (0.010, 0.011, 0.007, 0.0045)))  # the student finds the mistake
    assert fastest(model, IMAGES, "cpu") == Speed("bfloat16", "explicit")


def test_the_tiny_budget_measures_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BUDGET", "tiny")
    machine = Machine(monkeypatch, 0.010, 0.011, 0.007, 0.0045)
    assert fastest(Timed(machine), IMAGES, "cpu") == fastest(Timed(machine), IMAGES, "cuda") == Speed.plain()
    assert machine.steps == 0 and not (tmp_path / "data").exists()


# -- CUDA, by what it says it can


@pytest.mark.parametrize(
    ("bfloat16", "can_compile", "steps", "chosen"),
    [
        (True, True, None, Speed("bfloat16")),
        (True, True, 100, Speed("bfloat16")),
        (True, True, 10_000, Speed("bfloat16", compiled=True)),
        (True, False, 10_000, Speed("bfloat16")),
        (False, True, 10_000, Speed(compiled=True)),
    ],
    ids=str,
)
def test_on_cuda(monkeypatch, bfloat16, can_compile, steps, chosen):
    machine = Machine(monkeypatch, *4 * [0.001])  # 64 ms a step
    monkeypatch.setattr(speed_module, "_cuda_has_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(speed_module, "_cuda_can_compile", lambda: can_compile)
    assert fastest(Timed(machine), IMAGES, "cuda", steps=steps) == chosen
    assert bool(machine.steps) == (can_compile and steps is not None)


def test_a_device_of_another_kind_is_given_the_plain_speed(monkeypatch):
    machine = Machine(monkeypatch, 0.010, 0.011, 0.007, 0.0045)
    assert fastest(Timed(machine), IMAGES, "mps") == Speed.plain() and machine.steps == 0


# -- course bench training_speed


def test_the_benchmark_ends_with_the_ratio(monkeypatch, capsys):
    monkeypatch.setattr(training_speed, "BATCH", 4)
    monkeypatch.setattr(training_speed, "VIT", training_speed.VIT | {"embed_dim": 24, "depth": 1})
    monkeypatch.setattr(training_speed, "measure", lambda model, images: Speed("float32", "explicit"))
    figures = training_speed.bench(rounds=4, rounds_of_all=1)
    assert figures["chosen"] == "float32, explicit attention"
    assert set(figures["all"]) == {way.describe() for way in EVERY}
    assert 0 < figures["low"] <= figures["ratio"] <= figures["high"]
    assert 0.1 < figures["ratio"] * figures["plain"] / figures["ours"] < 10
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{figures['ratio']:.2f}× the images a second of a plain float32 loop")
    with pytest.raises(ValueError, match="takes no words, such as 'vit'"):
        training_speed.bench(["vit"])

"""What fit promises: it learns, it repeats itself, it can be stopped anywhere, and it says what is wrong."""

import copy
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from course.data import load
from course.data.normalise import Normalise
from course.training import CheckpointError, History, Recipe, TrainingError, evaluate, fit
from course.training.batches import Batch, Batches, mixed_seed
from course.training.parallel import Processes
from course.training.speed import Speed
from course.training.step import Step, distillation_modes
from tests.training.after_steps import after_each_step

QUICK = Recipe(steps=40, batch_size=32, lr=3e-3)


@pytest.fixture(scope="module")
def train():
    return load("digits", device="cpu")


@pytest.fixture(scope="module")
def held_out():
    return load("digits", "test", device="cpu")


def small_model(outputs: int = 10, width: int = 32, seed: int = 0) -> nn.Module:
    """Has what could spoil repetition: BatchNorm's running statistics and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(width, outputs),
    )


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


# It learns
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [{"optimizer": "adamw"}, {"optimizer": "sgd", "lr": 0.05, "schedule": "cosine"}])
def test_it_learns_digits(train, held_out, optimizer):
    model = small_model()
    history = fit(model, train, QUICK.but(steps=200, **optimizer), val=held_out, val_points=4)
    assert history.final_accuracy > 0.93
    assert history.final_accuracy == evaluate(model, held_out)
    assert history.val_steps == [50, 100, 150, 200] and len(history.val_accuracy) == 4
    assert history.steps == list(range(1, 201)) and len(history.loss) == 200
    assert history.loss[-1] < 0.5 < history.loss[0] and not history.interrupted
    assert not model.training and "200 of 200 steps" in repr(history) and "%" in repr(history)


def test_video_and_pairs_of_tensors():
    clips = load("digit_video", size=64, device="cpu")
    model = nn.Sequential(nn.Flatten(), nn.Linear(5 * 16 * 16, 4))
    history = fit(model, clips, QUICK.but(steps=5), val=(clips.images, clips.labels))
    assert len(history.loss) == 5 and history.final_accuracy is not None
    floats = (clips.images.float() / 255, clips.labels.int())
    assert len(fit(model, floats, QUICK.but(steps=2)).loss) == 2


def test_one_step_is_what_plain_pytorch_does(train):
    """Same batch, same loss, same update, written out by hand."""
    recipe = Recipe(
        steps=1,
        batch_size=32,
        lr=1e-2,
        warmup=0.0,
        schedule="constant",
        label_smoothing=0.1,
        weight_decay=0.2,
        grad_clip=0.5,
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    by_hand = copy.deepcopy(model)
    history = fit(model, train, recipe)

    normalise = Normalise.of(train.images)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(mixed_seed(0, 0, 1)))[:32]
    loss = F.cross_entropy(by_hand(normalise(train.images[order])), train.labels[order], label_smoothing=0.1)
    loss.backward()
    nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)
    linear = by_hand[1]
    groups = [{"params": [linear.weight]}, {"params": [linear.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.98), weight_decay=0.2)
    optimizer.step()
    assert history.loss == [loss.item()] and history.normalise == normalise == model.normalise_images
    assert same_weights(model, by_hand)


def test_an_epoch_shows_every_image_once_in_a_new_order(train):
    few = train.subset(100)
    numbered = (torch.arange(100).float().view(100, 1, 1, 1).expand(100, 1, 2, 2).contiguous(), few.labels)
    batches = Batches(*numbered, lambda images: images, Recipe(epochs=2, batch_size=32), Processes())
    assert batches.per_epoch == 3
    shown = [batches(step).images[:, 0, 0, 0] for step in range(6)]
    epochs = [torch.cat(shown[:3]), torch.cat(shown[3:])]
    for epoch in epochs:
        assert len(epoch.unique()) == 96
    assert not torch.equal(*epochs)
    second = batches(1)
    again, labels = second.images, second.labels
    assert torch.equal(again[:, 0, 0, 0], epochs[0][32:64]), "a batch does not depend on what came before"
    assert torch.equal(labels, few.labels[again[:, 0, 0, 0].long()])


def test_augmentation_named_in_the_recipe_is_used_and_repeats(train):
    recipe = Recipe(steps=1, batch_size=50, augment=("random_crop", "random_flip"))
    plain = Batches(*train, Normalise.of(train.images), recipe.but(augment=()), Processes())(0).images
    first, again = (Batches(*train, Normalise.of(train.images), recipe, Processes())(0).images for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, plain)


def test_fewer_images_than_a_batch(train):
    assert len(fit(small_model(), train.subset(10), QUICK.but(steps=3, batch_size=64)).loss) == 3


# It repeats itself
# ---------------------------------------------------------------------------------------------------


def test_the_same_twice_and_the_callers_randomness_untouched(train):
    models = [small_model(), small_model()]
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = fit(models[0], train, QUICK)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    assert fit(models[1], train, QUICK).loss == first.loss and same_weights(*models)
    other = fit(small_model(), train, QUICK.but(seed=1))
    assert other.loss != first.loss


def test_validation_does_not_change_training(train, held_out):
    models = [small_model(), small_model()]
    fit(models[0], train, QUICK)
    fit(models[1], train, QUICK, val=held_out, val_points=7)
    assert same_weights(*models)


# It can be stopped anywhere
# ------------------------------------------------------------------------------------------


def stop_at(stop: int, how=None):
    def act(step: int) -> None:
        if step == stop:
            if how:
                how()
            else:
                raise KeyboardInterrupt

    return after_each_step(act)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("how", [None, lambda: signal.raise_signal(signal.SIGINT)], ids=["raised", "signal"])
def test_resumed_is_bit_for_bit_the_undisturbed_run(train, held_out, tmp_path, how, optimizer, capsys):
    recipe = QUICK.but(augment=("random_crop",), optimizer=optimizer, epochs=2)  # 2 × 43 steps
    undisturbed = small_model()
    expected = fit(undisturbed, train, recipe, val=held_out)

    path = tmp_path / "runs" / "digits.safetensors"
    for seed, stop in ((0, 10), (1, 43), (2, 60)):  # from the second on, the checkpoint's weights count
        with stop_at(stop, how):
            stopped = fit(small_model(seed=seed), train, recipe, val=held_out, checkpoint=path)
        assert stopped.interrupted and len(stopped.loss) == stop
        said = capsys.readouterr().out
        assert f"step {stop} of 86" in said
        assert ("Going on after step" in said) == (stop > 10)
    model = small_model(seed=99)
    history = fit(model, train, recipe, val=held_out, checkpoint=path)
    assert not history.interrupted
    assert capsys.readouterr().out == f"Going on after step 60 of 86, from {path}.\n"
    assert same_weights(model, undisturbed)
    for name in ("steps", "loss", "val_steps", "val_accuracy", "normalise"):
        assert getattr(history, name) == getattr(expected, name), name

    loaded = small_model(seed=98)
    seen = []
    with after_each_step(seen.append):
        history = fit(loaded, train, recipe, val=held_out, checkpoint=path)
    assert seen == [], "a finished training is only loaded"
    assert f"{path} holds all 86 steps" in capsys.readouterr().out
    assert history.loss == expected.loss and same_weights(loaded, undisturbed)
    assert [file.name for file in path.parent.iterdir()] == ["digits.safetensors"]


def test_saving_on_the_way_changes_nothing_and_survives_a_kill(train, tmp_path):
    undisturbed, killed, model = small_model(), small_model(), small_model(seed=5)
    fit(undisturbed, train, QUICK)
    path = tmp_path / "run.safetensors"

    class Killed(BaseException):
        """Nothing in fit catches this, as nothing catches a kill."""

    def kill(step):
        if step == 23:
            raise Killed

    with pytest.raises(Killed), after_each_step(kill, save_every=0):
        fit(killed, train, QUICK, checkpoint=path)
    seen = []
    with after_each_step(seen.append):
        fit(model, train, QUICK, checkpoint=path)
    assert seen[0] == 23, "22 steps were saved"
    assert same_weights(model, undisturbed)


def test_without_a_checkpoint_ctrl_c_keeps_the_model(train, capsys):
    model, before = small_model(), signal.getsignal(signal.SIGINT)  # not the usual one where nohup started the tests
    with stop_at(4):
        history = fit(model, train, QUICK)
    assert history.interrupted and len(history.loss) == 4 and not model.training
    assert "step 4 of 40" in (said := capsys.readouterr().out) and "checkpoint=" in said
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_amid_a_step_keeps_the_last_whole_save(train, tmp_path, capsys):
    path, model = tmp_path / "run.safetensors", small_model()
    with stop_at(9):
        fit(model, train, QUICK, checkpoint=path)
    whole = path.read_bytes()
    calls = []

    def amid(*_):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    model[1].register_forward_hook(amid)
    history = fit(model, train, QUICK, checkpoint=path)
    assert history.interrupted and path.read_bytes() == whole
    assert "last whole save" in capsys.readouterr().out


def test_outside_the_main_thread_it_works_without_signals(train):
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(small_model(), train, QUICK.but(steps=3))))
    thread.start()
    thread.join()
    assert len(results[0].loss) == 3


def test_tied_weights_are_saved(train, tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
            self.down.weight = self.up.weight

        def forward(self, images):
            return self.head(self.down(self.up(images.flatten(1)).relu()))

    model, path = Tied(), tmp_path / "tied.safetensors"
    fit(model, train, QUICK, checkpoint=path)
    other = Tied()
    fit(other, train, QUICK, checkpoint=path)
    assert same_weights(model, other) and other.down.weight is other.up.weight


# A checkpoint that cannot be used
# ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"recipe": QUICK.but(lr=0.5)}, "recipe lr was 0.003, is now 0.5"),
        ({"recipe": QUICK.but(steps=50, seed=2)}, "recipe steps was 40, is now 50; recipe seed was 0, is now 2"),
        ({"model": lambda: small_model(outputs=12)}, r"model 5.weight was \(10, 32\) float32, is now \(12, 32\)"),
        ({"model": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}, "is now not there"),
        ({"count": 200}, "data images was"),
    ],
)
def test_a_checkpoint_of_another_training(train, tmp_path, changed, words):
    path = tmp_path / "run.safetensors"
    with stop_at(2):
        fit(small_model(), train, QUICK, checkpoint=path)
    model = changed.get("model", small_model)()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match=words) as caught:
        data = train.subset(changed.get("count", len(train)))
        fit(model, data, changed.get("recipe", QUICK), checkpoint=path)
    assert str(path) in str(caught.value) and "delete the file" in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_other_pixels_under_the_same_name(train, tmp_path):
    path = tmp_path / "run.safetensors"
    with stop_at(2):
        fit(small_model(), (train.images, train.labels), QUICK, checkpoint=path)
    with pytest.raises(CheckpointError, match="data checksum"):
        fit(small_model(), (255 - train.images, train.labels), QUICK, checkpoint=path)


def test_a_damaged_checkpoint_is_named(train, tmp_path):
    path = tmp_path / "run.safetensors"
    with stop_at(2):
        fit(small_model(), train, QUICK, checkpoint=path)
    whole = path.read_bytes()
    one_bit = bytearray(whole)
    one_bit[-500] ^= 1
    for damaged in (b"", b"no checkpoint", whole[: len(whole) // 2], whole[:-1], bytes(one_bit)):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="run.safetensors is damaged; delete the file"):
            fit(small_model(), train, QUICK, checkpoint=path)
    with pytest.raises(CheckpointError, match="is a folder"):
        fit(small_model(), train, QUICK, checkpoint=tmp_path)
    save_file({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="is damaged"):
        fit(small_model(), train, QUICK, checkpoint=path)


def test_a_checkpoint_is_written_by_us_alone(train, tmp_path, monkeypatch):
    """safetensors' own writing leaves hidden files where it is killed, and makes files that only their owner may read."""
    path, listed = tmp_path / "run.safetensors", []
    monkeypatch.setattr(
        "os.fsync", lambda file: listed.append(sorted(os.listdir(tmp_path)))
    )  # when it lies there whole
    before = os.umask(0o027)
    try:
        with stop_at(2):
            fit(small_model(), train, QUICK, checkpoint=path)
    finally:
        os.umask(before)
    assert listed == [[".writing-run.safetensors"]]
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_checkpoint_is_plain_tensors(train, tmp_path):
    path, model = tmp_path / "run.safetensors", small_model()
    fit(model, train, QUICK, checkpoint=path)
    stored = load_file(path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(stored[f"model.{name}"], tensor)
    assert any(name.startswith("optimizer.") and name.endswith("exp_avg_sq") for name in stored)


# It says what is wrong
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 100])
def test_a_loss_that_is_no_number_stops_it_and_is_never_saved(train, tmp_path, seconds):
    path = tmp_path / "run.safetensors"
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def poison(step):
        if step == 6:
            model[1].weight.data.fill_(float("nan"))

    message = r"nan at step 7, .* learning rate is 0.003.*lr=0.0003"
    with pytest.raises(TrainingError, match=message) as caught, after_each_step(poison, save_every=seconds):
        fit(model, train, QUICK, checkpoint=path)
    assert "warmup" in str(caught.value)
    if path.exists():
        stored = load_file(path)
        assert seconds == 0 and not any(stored[name].isnan().any() for name in stored if "exp_avg" in name)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda images, labels: (images.long(), labels), "data: images are uint8 or float.*int64"),
        (lambda images, labels: (images[:, 0], labels), r"data: images are .* \(1400, 8, 8\)"),
        (lambda images, labels: (images, labels[:-1]), "data: labels are whole numbers"),
        (lambda images, labels: (images, labels.float()), "data: labels are whole numbers"),
        (lambda images, labels: (images, F.one_hot(labels)), "data: labels are whole numbers"),
        (lambda images, labels: (images, labels - 1), "counted from 0; there is a -1"),
        (lambda images, labels: (images, labels + 5), "go up to 14, but the model tells only 10 classes apart"),
        (lambda images, labels: (images[:0], labels[:0]), "no image"),
        (lambda images, labels: (images.numpy(), labels.numpy()), "tensors"),
        (lambda images, labels: images, "ImageSet"),
    ],
)
def test_data_that_cannot_be_trained_on(train, data, words):
    with pytest.raises(ValueError, match=words):
        fit(small_model(), data(*train), QUICK)
    if isinstance(data(*train), tuple):
        with pytest.raises(ValueError, match=words.removeprefix("data")):
            fit(small_model(), train, QUICK, val=data(*train))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Flatten(2), "no parameter"),
        (nn.Conv2d(1, 10, 3), r"\(32, 10, 6, 6\)"),
        (nn.LSTM(8, 8), "tuple|returned"),
    ],
)
def test_models_that_are_no_classifiers(train, model, words):
    if isinstance(model, nn.LSTM):
        lstm = model

        class Wrapped(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = lstm

            def forward(self, images):
                return self.lstm(images[:, 0])

        model = Wrapped()
    with pytest.raises(ValueError, match=words):
        fit(model, train, QUICK)


def test_evaluate(train, held_out):
    class Fixed(nn.Module):
        """Always says 3."""

        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(F.one_hot(torch.tensor(3), 10).float())

        def forward(self, images):
            assert not self.training and not torch.is_grad_enabled()
            return self.logits.expand(len(images), -1)

    model = Fixed().train()
    expected = (held_out.labels == 3).float().mean().item()
    normalise = Normalise.of(train.images)
    for batch_size in (1, 7, 1000):
        assert evaluate(model, held_out.subset(50), normalise, batch_size=batch_size) == pytest.approx(
            (held_out.labels[:50] == 3).float().mean().item()
        )
    assert evaluate(model, held_out, normalise) == pytest.approx(expected)
    assert model.training, "it is left as it was"
    with pytest.raises(ValueError, match="normalise="):
        evaluate(model, held_out)
    with pytest.raises(ValueError, match="10 classes"):
        evaluate(model, (held_out.images, held_out.labels + 1), normalise)


# What it shows
# -------------------------------------------------------------------------------------------------------


def test_history_draws_its_curves(tmp_path):
    steps = list(range(1, 31))
    history = History(QUICK, 40, Normalise((0.0,), (1.0,)), steps, [1 / step for step in steps])
    assert len(history.figure().axes) == 1 and history.final_accuracy is None
    history.val_steps, history.val_accuracy = [10, 30], [0.5, 0.75]
    loss, accuracy = history.figure().axes
    assert list(loss.lines[0].get_ydata()) == history.loss
    assert list(accuracy.lines[0].get_ydata()) == [50.0, 75.0]
    texts = [text.get_text() for axes in (loss, accuracy) for text in axes.texts]
    assert texts == ["75.0 %"], "no time and no path in the figure"
    history.figure().savefig(tmp_path / "curve.png")


def test_a_terminal_shows_a_bar_that_goes_away(train, capsys, monkeypatch):
    import course.progress_bar as progress_bar

    monkeypatch.delenv("COURSE_BUDGET", raising=False)
    shown = progress_bar.tqdm
    monkeypatch.setattr(progress_bar, "tqdm", lambda **options: shown(**options | {"delay": 0, "mininterval": 0}))
    fit(small_model(), train, QUICK)
    lines = capsys.readouterr().err.split("\r")
    assert any("training" in line and "40/40" in line and "loss" in line for line in lines)
    assert lines[-1].strip() == "", "nothing of it is left"
    for quiet in ({"progress": False}, {}):
        if not quiet:
            monkeypatch.setenv("COURSE_BUDGET", "tiny")
        fit(small_model(), train, QUICK, **quiet)
        assert capsys.readouterr().err == ""


def test_training_needs_no_models_of_the_course():
    """Students' code is graded where they do not exist."""
    program = """
import sys
sys.modules["course.models"] = None
import torch
from torch import nn
from course.training import fit, recipes
model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 2))
recipe = recipes.cpu_minute.but(steps=1, optimizer="muon", dropout=0.1)
fit(model, (torch.zeros(4, 3, 2, 2), torch.tensor([0, 1, 0, 1])), recipe)
"""
    environment = {**os.environ, "COURSE_BUDGET": "tiny"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)


# One step after another
# -------------------------------------------------------------------------------------------------------


def one_by_one(model: nn.Module, recipe: Recipe, steps: int, classes: int) -> Step:
    made = Step(model, recipe, steps, classes, teacher=None)
    made.prepare(Speed.plain(), Processes(), torch.device("cpu"))
    return made


@pytest.mark.parametrize("decay", [None, 0.9])
def test_several_steps_are_what_plain_pytorch_does(decay):
    """A rate that changes with each step and differs between layers, gradients of one step only, a running mean."""
    recipe = Recipe(
        steps=5,
        lr=0.3,
        optimizer="sgd",
        betas=(0.5, 0.9),
        warmup=0.4,
        schedule="linear",
        weight_decay=0.0,
        grad_clip=None,
        ema=decay,
    )
    generator = torch.Generator().manual_seed(0)
    batches = [
        Batch(torch.randn(6, 4, generator=generator), torch.randint(0, 3, (6,), generator=generator)) for _ in range(5)
    ]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    by_hand = copy.deepcopy(model)
    step = one_by_one(model, recipe, 5, classes=3)
    for group in step.optimizer.param_groups:
        group["lr_scale"] = 0.25
    plain = torch.optim.SGD(by_hand.parameters(), lr=1.0, momentum=0.5, nesterov=True)
    mean = by_hand[0].weight.detach().clone()
    rates = [0.15, 0.3, 0.3, 0.3 * 2 / 3, 0.3 / 3]  # two steps up, then down to 0 where a sixth step would be
    for number, batch in enumerate(batches):
        loss = step(batch, number, seed=number)
        plain.param_groups[0]["lr"] = 0.25 * rates[number]
        plain.zero_grad()
        expected = F.cross_entropy(by_hand(batch.images), batch.labels)
        expected.backward()
        plain.step()
        torch.testing.assert_close(loss, expected.detach())
        torch.testing.assert_close(model.state_dict(), by_hand.state_dict())
        d = min(0.9, (1 + number) / (10 + number))
        mean = d * mean + (1 - d) * by_hand[0].weight.detach()
        if decay:
            torch.testing.assert_close(step.ema.mean["0.weight"], mean)


def test_logits_for_another_number_of_images_are_refused():
    class Mixed(nn.Module):
        """Flattens two images into one row, as a wrong reshape does."""

        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 10)

        def forward(self, images):
            return self.fc(images.reshape(-1, 8))

    step = one_by_one(Mixed(), Recipe(steps=1), 1, classes=10)
    with pytest.raises(ValueError, match=r"must return logits .* here \(6, classes\), not \(3, 10\)"):
        step(Batch(torch.randn(6, 4), torch.zeros(6, dtype=torch.int64)), 0, seed=0)


@pytest.mark.parametrize("training", [True, False])
def test_a_teacher_is_left_in_the_mode_it_was_in(training):
    student, teacher = nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), nn.Dropout()).train(training)
    with distillation_modes(student, teacher):
        assert not teacher.training and not teacher[1].training
    assert teacher.training == teacher[1].training == training


# Large images
# ---------------------------------------------------------------------------------------------------


def test_a_batch_of_large_images_is_made_in_pieces_and_is_the_same():
    images = torch.randint(256, (7, 3, 300, 300), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(
        steps=1,
        batch_size=7,
        augment=("random_resized_crop", "random_flip"),
        color_jitter=0.4,
        random_erasing=0.5,
        img_size=64,
    )
    normalise = Normalise.of(images)
    in_pieces, at_once = (Batches(images, torch.arange(7), normalise, recipe, Processes()) for _ in range(2))
    assert in_pieces.at_once == 1 < 7
    at_once.at_once = 7
    assert in_pieces(0).images.shape == (7, 3, 64, 64)
    several = Batches(images[..., :150, :150], torch.arange(7), normalise, recipe, Processes())
    whole = Batches(images[..., :150, :150], torch.arange(7), normalise, recipe, Processes())
    assert several.at_once == 3
    whole.at_once = 7
    assert torch.allclose(several(0).images, whole(0).images, atol=1e-5)
    assert torch.allclose(in_pieces(0).images, at_once(0).images, atol=1e-5)
    assert torch.equal(in_pieces(0).labels, at_once(0).labels)
    torch.set_num_threads(2)  # the fixture puts it back
    in_threads = Batches(images, torch.arange(7), normalise, recipe, Processes())
    assert in_threads.threads and not in_pieces.threads and torch.get_num_threads() == 2
    assert torch.equal(in_threads(0).images, in_pieces(0).images)


def test_the_centre_is_evaluated_in_the_size_of_the_crops():
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    images[:, :, 2:30, 2:30] = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)  # 28 of 32 are 0.875
    seen = []

    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            seen.append(x)
            return self.scale * torch.eye(4)[x.mean((1, 2, 3)).round().long()]

    model = Looks()
    accuracy = evaluate(model, (images, torch.arange(4)), Normalise((0.0,) * 3, (1.0,) * 3), crop=0.875, side=28)
    assert accuracy == 1.0 and seen[0].shape == (4, 3, 28, 28)


def test_of_a_large_set_some_images_are_measured_evenly_spaced(monkeypatch):
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 1, 4, 4)
    monkeypatch.setattr("course.data.normalise.MEASURED", 160)
    assert Normalise.of(images) == Normalise.of(images[::4].clone())
    with pytest.raises(ValueError, match="img_size is the size of what random_resized_crop"):
        QUICK.but(img_size=16)

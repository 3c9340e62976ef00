"""The GPU board: its rows, its data file, and what it says where there is no GPU."""

import json
import tarfile
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import cifar, pack_cifar
from course import bench as bench_module
from course.cli import main
from course.data.normalise import Normalise
from course.models import create_model
from course.models.count import count_parameters
from course.training import pretrained
from course.training.speed import Speed

CLASSES = ["cat", "dog", "ship"]
TARGETS = {  # as the course has set them, for one H200
    "vit": {(0.90, 45), (0.93, 120)},
    "cct": {(0.93, 30), (0.945, 75), (0.965, 240)},
    "swin": {(0.91, 60), (0.94, 150)},
    "mixer": {(0.88, 25), (0.91, 60)},
    "poolformer": {(0.90, 25), (0.93, 60)},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """SPLIT/CLASS/*.jpg, 40 and 10 images a class, and the pixels they decode to, in the order of names."""
    folder = tmp_path_factory.mktemp("jpeg")
    random = np.random.default_rng(0)
    pixels = {"train": [], "test": []}
    for split, count in (("train", 40), ("test", 10)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for k in range(count):
                path = folder / split / name / f"{k:04}.jpg"
                Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path, quality=80)
                pixels[split].append(np.asarray(Image.open(path)))
    return folder, pixels


@pytest.fixture(scope="module")
def packed(images, tmp_path_factory):
    file = tmp_path_factory.mktemp("packed") / "images.safetensors"
    assert pack_cifar.pack(images[0], file) == {"train": 120, "test": 30}
    return file


@pytest.fixture
def a_gpu_or_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("COURSE_BUDGET", raising=False)


# -- the file


def test_packed_images_come_back_to_the_last_pixel(images, packed):
    folder, pixels = images
    for split, count in (("train", 40), ("test", 10)):
        read = pack_cifar.read(packed, split)
        expected = torch.from_numpy(np.stack(pixels[split])).permute(0, 3, 1, 2)
        assert torch.equal(read.images, expected) and read.classes == CLASSES and read.split == split
        assert read.labels.tolist() == [label for label in range(3) for _ in range(count)]
        assert "JPEG" in read.name
    jpegs = [path.stat().st_size for path in folder.rglob("*.jpg")]
    assert packed.stat().st_size < sum(jpegs) - 500 * len(jpegs), "what all of them share is there once"


@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_tar_packs_as_its_folder_does(images, packed, tmp_path, prefix):
    with tarfile.open(tmp_path / "images.tar.xz", "w:xz") as tar:
        for path in sorted(images[0].rglob("*.jpg"), reverse=True):
            tar.add(path, prefix + str(path.relative_to(images[0])))
    pack_cifar.pack(tmp_path / "images.tar.xz", tmp_path / "again.safetensors")
    for split in pack_cifar.SPLITS:
        first, again = (pack_cifar.read(file, split) for file in (packed, tmp_path / "again.safetensors"))
        assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)


def test_what_cannot_be_packed_or_read_is_a_sentence(images, packed, tmp_path):
    (tmp_path / "text").write_text("no tar")
    with pytest.raises(ValueError, match="neither a folder nor a tar"):
        pack_cifar.pack(tmp_path / "text", tmp_path / "out")
    (tmp_path / "half" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "half" / "train" / "cat" / "1.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(ValueError, match="has 1 classes in train/CLASS.* and 0 in test"):
        pack_cifar.pack(tmp_path / "half", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "cut").write_bytes(packed.read_bytes()[:-10])
    for file in (tmp_path / "cut", tmp_path / "text", tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="is not a file that .*pack_cifar"):
            pack_cifar.read(file, "train")


# -- the rows


def test_every_target_is_a_row_and_names_it():
    found: dict[str, set] = {}
    for row in cifar.ROWS:
        if row.accuracy is not None:
            found.setdefault(row.kind, set()).add((row.accuracy, row.seconds))
            assert row.name == f"{row.kind}-{100 * row.accuracy:g}"
    assert found == TARGETS
    assert {"convmixer", "resnet"} <= {row.kind for row in cifar.ROWS}
    assert len({row.name for row in cifar.ROWS}) == len(cifar.ROWS)


@pytest.mark.parametrize("row", cifar.ROWS, ids=lambda row: row.name)
def test_every_row_is_a_network_for_cifar(row):
    with torch.device("meta"):
        model = row.build()
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, 10)
    assert row.recipe.epochs and row.recipe.batch_size == 1024
    if row.name.endswith("-small"):  # two bytes a number, and some for the header
        assert 2 * count_parameters(model) < pretrained.LARGEST - 30_000
    json.dumps([cifar._written(row.overrides), asdict(row.recipe)])


def test_words_choose_rows_and_kinds():
    names = [row.name for row in cifar.chosen(["cct-93", "mixer"])]
    assert names == ["cct-93", "mixer-88", "mixer-91", "mixer-small"]
    assert cifar.chosen([]) == list(cifar.ROWS)


def test_flops_of_a_training_step_by_hand():
    row = cifar.Row(name="one", model="mixer_cifar", overrides=dict(embed_dim=32, depth=1), recipe=cifar.LIGHT)
    tokens, dim = 64, 32
    patches = tokens * 4 * 4 * 3 * dim
    token_mixing = 2 * tokens * dim * (dim // 2)
    channel_mixing = 2 * tokens * dim * 4 * dim
    assert cifar.flops_of(row) == 3 * 2 * (patches + token_mixing + channel_mixing + dim * 10)


def test_attention_is_counted_with_its_two_products():
    row = next(row for row in cifar.ROWS if row.name == "vit-90")
    dim, depth, tokens = 256, 7, 64
    linear = tokens * (48 * dim + depth * (4 + 2 * 2) * dim**2) + 10 * dim
    assert cifar.flops_of(row) == 6 * (linear + depth * 2 * tokens**2 * dim)


def test_a_summary_counts_what_was_measured():
    row = next(row for row in cifar.ROWS if row.name == "vit-90")
    runs = [
        {"seed": k, "accuracy": a, "seconds": s, "images": 1_000_000}
        for k, (a, s) in enumerate([(0.89, 40.0), (0.92, 46.0)])
    ]
    summary = cifar._summary(row, runs, rate=1e15, short=False)
    assert summary["met"] and summary["accuracy"] == pytest.approx(0.905) and summary["seconds"] == pytest.approx(43)
    assert summary["spread"] == pytest.approx(0.0212, abs=1e-4)
    assert summary["images_per_second"] == pytest.approx((25_000 + 1e6 / 46) / 2)
    assert summary["share_of_matrix_rate"] == pytest.approx(summary["images_per_second"] * cifar.flops_of(row) / 1e15)
    line = cifar._line(summary)
    assert "90.50 ± 2.12 %" in line and "90 % in 45 s: met" in line and "43.0 s" in line
    for run in ({"accuracy": 0.85}, {"seconds": 60.0}):
        late_or_wrong = cifar._summary(row, [runs[0], runs[1] | run], rate=1e15, short=False)
        assert late_or_wrong["met"] is False and "45 s: not met" in cifar._line(late_or_wrong)
    only = cifar._summary(row, runs[:1], rate=1e15, short=False)
    assert only["spread"] is None and "±" not in cifar._line(only)


def test_the_matrix_rate_is_of_this_machine():
    assert 1e8 < cifar.matrix_rate(torch.device("cpu"), seconds=0.05) < 1e14


# -- the clock


def test_compiling_stays_outside_the_clock_and_leaves_no_trace(packed, monkeypatch):
    compiled, seen = [], []

    def count(graph, inputs):
        compiled.append(1)
        return graph.forward

    now = cifar._now
    monkeypatch.setattr(
        Speed, "prepare", lambda self, model: torch.compile(model, backend=count) if self.compiled else model
    )
    monkeypatch.setattr(cifar, "_now", lambda device: (seen.append(len(compiled)), now(device))[1])
    monkeypatch.setattr(cifar, "WARM_UP_STEPS", 4)
    train = pack_cifar.read(packed, "train")
    recipe = cifar.STRONG.but(steps=5, batch_size=16)
    models = []
    for speed in (Speed(compiled=True), Speed.plain()):
        torch.manual_seed(0)
        models.append(create_model("convmixer_cifar", 10, dims=(16,), depths=(2,)))  # it has batch norm
        seconds, history = cifar.timed_fit(models[-1], train, recipe, speed)
        assert seconds > 0 and len(history.loss) == 5
    assert compiled and seen[:2] == [len(compiled)] * 2
    for name, tensor in models[1].state_dict().items():
        torch.testing.assert_close(models[0].state_dict()[name], tensor)


# -- what is kept


def test_small_weights_are_kept_with_what_was_measured_and_large_ones_are_not(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cifar, "FOLDER", tmp_path)
    figures = {"data": "cifar10", "device": "a GPU", "date": "2026-11-21"}
    run = {"seed": 0, "accuracy": 0.9, "seconds": 61.0, "images": 5_000_000}
    for row in cifar.chosen(["cct-small", "cct-93"]):
        model = row.build()
        model.normalise_images = Normalise((1.0, 2.0, 3.0), (1.0, 1.0, 1.0))
        cifar._save(row, model, run, figures)
    assert [file.name for file in tmp_path.iterdir()] == ["cct-small.safetensors"]
    assert capsys.readouterr().out.startswith("cct-93: cct-93.safetensors would have ")
    loaded = cifar.chosen(["cct-small"])[0].build()
    origin = pretrained.load_pretrained(tmp_path / "cct-small.safetensors", loaded)
    assert (origin.accuracy, origin.seconds, origin.device, origin.data) == (0.9, 61.0, "a GPU", "cifar10")
    assert origin.recipe["epochs"] == 100 and "embed_dim=128" in origin.call


# -- the command


def test_without_a_gpu_it_says_so_and_the_others_go_on(a_gpu_or_none, monkeypatch, capsys, tmp_path):
    assert main(["bench", "cifar", "vit"]) == 2
    said = capsys.readouterr().err
    assert "no CUDA device" in said and "COURSE_BUDGET=tiny" in said

    ran = []

    def loaded(name):
        return cifar.bench if name == "cifar" else lambda words: ran.append(name) or {}

    monkeypatch.setattr(bench_module, "_loaded", loaded)
    assert main(["bench", "--json", str(tmp_path / "out.json")]) == 0
    assert "cifar is left out: " in capsys.readouterr().out and "models" in ran
    assert "cifar" not in json.loads((tmp_path / "out.json").read_text())


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["vitt"], "did you mean 'vit'"),
        (["vit-91"], "there is no row 'vit-91'"),
        (["vit", "--save"], "not worth storing"),
        (["vit", "--seeds", "0"], "1 at least"),
        (["vit"], "--data FILE"),
    ],
)
def test_what_it_cannot_do_is_a_sentence(arguments, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BUDGET", "tiny")
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))  # no CIFAR there
    assert main(["bench", "cifar", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_short_run_runs_and_reports_no_result(packed, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COURSE_BUDGET", "tiny")
    out = tmp_path / "out.json"
    rows = ["poolformer-small"]
    assert main(["bench", "cifar", *rows, "--data", str(packed), "--json", str(out)]) == 0
    _, *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == rows and all("%" not in line for line in lines)
    assert "3 steps each" in last and last.endswith("they run, nothing is learned")
    figures = json.loads(out.read_text())["cifar"]
    assert figures["short"] and figures["targets"] == 0
    for row in figures["rows"]:
        assert row["accuracy"] is None and row["seconds"] is None and row["runs"] == []


def test_the_board_holds_what_was_measured_or_says_that_nothing_was():
    board = (bench_module.FOLDER / "README.md").read_text(encoding="utf-8").partition("## The GPU board")[2]
    kept = bench_module.FOLDER / "results" / "cifar.json"
    assert kept.exists() != ("Nothing on this board has been measured yet" in board)
    if kept.exists():
        figures = json.loads(kept.read_text(encoding="utf-8"))["cifar"]
        assert not figures["short"] and figures["device"] != "CPU" and figures["data"] and figures["date"]
        assert all(row["accuracy"] > 0.1 and row["seconds"] > 0 and row["runs"] for row in figures["rows"])

"""``course bench loading [N]``: images a second from a folder of N JPEGs to normalised batches, and with which memory.

Ours is `load` and the batches that `fit` trains on; theirs torchvision's ``ImageFolder`` and a ``DataLoader`` whose two
workers stay alive. Both cut out random rectangles and bring them to 224 pixels, flip, and take off mean and standard
deviation, in batches of 64; a linear layer that reads the means of squares of 16 pixels is what each batch is for. They
take turns, epoch by epoch, and from the second on ours has the pixels decoded: what decoding costs stands beside it. At
the end a small ViT is trained on the same batches, where the network is most of the work.

Besides images a second of the clock, which other programs blur, stands what a thousand images take of processors, the
workers' share included.

The images are made here: smooth colours with grain, 200 to 300 pixels a side, JPEG of quality 90, about 20 KB each.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.bench import CannotRunHere
from course.data import load
from course.data.normalise import Normalise
from course.models import create_model
from course.progress_bar import progress_bar
from course.training.batches import Batches
from course.training.parallel import Processes
from course.training.recipe import Recipe

CLASSES, SIDE, KEPT, BATCH, WORKERS = 10, 224, 256, 64, 2
LEAST, USUAL = 2 * BATCH, 2000  # images
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIT = dict(img_size=SIDE, embed_dim=96, depth=4, num_heads=3, num_classes=CLASSES)
SUPPOSED = 100_000  # images, whose memory is computed


@dataclass(frozen=True)
class Epoch:
    """What an epoch took: seconds of the clock and of processors, and how many images were in it."""

    seconds: float
    cpu: float
    images: int

    @property
    def speed(self) -> float:
        return self.images / self.seconds


def bench(words: list[str] | None = None, *, rounds: int = 3) -> dict:
    """Make the images, load them in turns, print images a second, and return all figures.

    Args:
        words: how many images; default: 2,000.
        rounds: epochs of each side that count.

    Raises:
        ValueError: no number, or one below two batches.
        CannotRunHere: this is not Linux, whose /proc tells time and memory.
    """
    count = _number(words or [])
    if sys.platform != "linux":
        raise CannotRunHere("time and memory of worker processes are measured on Linux only")
    before = os.environ.get("COURSE_DATA")
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.environ["COURSE_DATA"] = str(Path(folder) / "kept")
            make_images(Path(folder) / "photos", count)
            figures = _measured(Path(folder) / "photos", rounds)
        finally:
            os.environ.pop("COURSE_DATA")
            if before is not None:
                os.environ["COURSE_DATA"] = before
    _print(figures)
    return figures


def _number(words: list[str]) -> int:
    if not words:
        return USUAL
    if len(words) > 1 or not words[0].isdigit() or int(words[0]) < LEAST:
        raise ValueError(f"loading takes one whole number, how many images, {LEAST} at least, not {' '.join(words)!r}")
    return int(words[0])


def make_images(root: Path, count: int) -> None:
    """``root/train/CLASS/NNNNN.jpg``, the same from one call to the next, and one image a class in ``root/test``."""
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count + CLASSES):
        height, width = random.integers(200, 301, 2)
        colours = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((width, height), 3)
        grain = random.normal(0, 8, (height, width, 3))
        pixels = (np.asarray(colours) + grain).clip(0, 255).astype(np.uint8)
        split = root / ("train" if number < count else "test") / f"class_{number % CLASSES}"
        split.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(split / f"{number:05}.jpg", quality=90)


def _measured(photos: Path, rounds: int) -> dict:
    load_before = os.getloadavg()[0]
    at_rest = _memory(os.getpid())["Pss_Anon"]
    start, cpu = time.perf_counter(), _cpu()
    data = load(photos, img_size=KEPT, device="cpu")
    decoding = Epoch(time.perf_counter() - start, _cpu() - cpu, len(data))
    ours = Ours(data)
    first = _epoch(ours(), _linear())  # it is not counted: pages of the file come into memory
    memory = _memory(os.getpid())
    theirs = Theirs(photos / "train")
    _epoch(theirs(), _linear())  # its workers start
    workers = [_memory(worker.pid)["Pss"] for worker in multiprocessing.active_children()]
    turns, vit = [], []
    with progress_bar(rounds + 1, None, desc="loading", unit=" rounds") as bar:
        for turn in range(rounds):
            turns.append(_in_turn(ours, theirs, _linear, turn))
            bar.update()
        vit.append(_in_turn(ours, theirs, _vit, 0))
        bar.update()
    size = data.images[0].nbytes
    return {
        "images": len(data),
        "threads": torch.get_num_threads(),
        "load": [load_before, os.getloadavg()[0]],
        "decoding": {"speed": decoding.speed, "cpu": decoding.cpu / len(data)},
        "first": {"speed": 1 / (1 / first.speed + 1 / decoding.speed)},
        "epochs": _figures(turns),
        "vit": _figures(vit),
        "memory": {
            "ours_own": memory["Pss_Anon"] - at_rest,
            "ours_mapped": data.images.nbytes,
            "an_image": size,
            "theirs_workers": sum(workers),
        },
    }


def _in_turn(ours: "Ours", theirs: "Theirs", network, turn: int) -> tuple[Epoch, Epoch]:
    """An epoch of each; which is first changes."""
    if turn % 2:
        other = _epoch(theirs(), network())
        return _epoch(ours(), network()), other
    return _epoch(ours(), network()), _epoch(theirs(), network())


def _figures(turns: list[tuple[Epoch, Epoch]]) -> dict:
    ratios = [own.speed / other.speed for own, other in turns]
    return {
        "ours": statistics.median(own.speed for own, _ in turns),
        "theirs": statistics.median(other.speed for _, other in turns),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "ours_cpu": statistics.median(own.cpu / own.images for own, _ in turns),
        "theirs_cpu": statistics.median(other.cpu / other.images for _, other in turns),
    }


# -- The two sides: each call is an epoch of batches


class Ours:
    """The batches of `fit`."""

    def __init__(self, data) -> None:
        recipe = Recipe(epochs=1, batch_size=BATCH, augment=("random_resized_crop", "random_flip"), img_size=SIDE)
        normalise = Normalise(tuple(255 * m for m in MEAN), tuple(255 * s for s in STD))
        self.batches = Batches(data.images, data.labels, normalise, recipe, Processes())
        self.step = 0

    def __call__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.batches.per_epoch):
            batch = self.batches(self.step)
            self.step += 1
            yield batch.images, batch.labels


class Theirs:
    """torchvision's, as its tutorials write it."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.data import DataLoader
        from torchvision import datasets, transforms

        change = transforms.Compose(
            [
                transforms.RandomResizedCrop(SIDE),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )
        images = datasets.ImageFolder(folder, change)
        self.loader = DataLoader(
            images, BATCH, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
        )

    def __call__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self.loader


def _linear() -> nn.Module:
    pool = nn.AvgPool2d(16)
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(3 * (SIDE // 16) ** 2, CLASSES))


def _vit() -> nn.Module:
    return create_model("vit_s16", **VIT)


def _epoch(batches: Iterator[tuple[Tensor, Tensor]], network: nn.Module) -> Epoch:
    """Train the network on an epoch of batches."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    start, cpu, seen = time.perf_counter(), _cpu(), 0
    for images, labels in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        seen += len(images)
    return Epoch(time.perf_counter() - start, _cpu() - cpu, seen)


# -- What it costs


def _cpu() -> float:
    """Processor seconds of this process and of its workers, which are alive."""
    ticks = 0
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, man 5 proc
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> dict[str, int]:
    """Bytes of a process: a page of several processes counts as a share (Pss), its own as a whole (Pss_Anon)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: 1024 * int(value.split()[0]) for name, value in (line.split(":") for line in lines)}


def _print(figures: dict) -> None:
    epochs, vit, memory, decoding = (figures[name] for name in ("epochs", "vit", "memory", "decoding"))
    low, high = min(epochs["ratios"]), max(epochs["ratios"])
    print(
        f"{figures['images']} images, {figures['threads']} threads and {WORKERS} workers, load "
        f"{figures['load'][0]:.1f} to {figures['load'][1]:.1f}"
    )
    print(
        f"decoding, once: {decoding['speed']:.0f} images a second, {1000 * decoding['cpu']:.2f} CPU s a thousand; with "
        f"the first epoch {figures['first']['speed']:.0f}"
    )
    print(
        f"processor seconds a thousand images: ours {1000 * epochs['ours_cpu']:.2f}, ImageFolder and DataLoader "
        f"{1000 * epochs['theirs_cpu']:.2f}, {epochs['theirs_cpu'] / epochs['ours_cpu']:.1f} times as many"
    )
    print(
        f"memory: ours {memory['ours_own'] / 1e6:.0f} MB of its own and {memory['ours_mapped'] / 1e6:.0f} MB of the mapped "
        f"file, which the system may take back; the workers {memory['theirs_workers'] / 1e6:.0f} MB. The file of "
        f"{SUPPOSED:,} images would be {SUPPOSED * memory['an_image'] / 2**30:.1f} GiB ({KEPT} pixels), "
        f"{SUPPOSED * 3 * SIDE**2 / 2**30:.1f} GiB ({SIDE} pixels)"
    )
    print(
        f"a small ViT trained on them: {vit['ratio']:.2f}× ({vit['ours']:.0f} and {vit['theirs']:.0f} images a second), "
        f"{vit['theirs_cpu'] / vit['ours_cpu']:.2f} times the processor seconds"
    )
    print(
        f"{epochs['ratio']:.2f}× the images a second of ImageFolder and DataLoader from the second epoch on "
        f"({low:.2f}–{high:.2f}; {epochs['ours']:.0f} and {epochs['theirs']:.0f})"
    )

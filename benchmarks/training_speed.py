"""``course bench training_speed``: what choosing precision and attention kernel by measurement gains on this CPU.

A ViT of width 192, 6 blocks and 3 heads on 32×32 images, patches of 4, batches of 64, full steps with AdamW: computed
as `course.training.speed` has just chosen, against a plain float32 loop with fused attention that uses nothing of it.
The two take turns. Then every speed has its turns, so that one sees what there was to choose from; in small batches,
because bfloat16 is very slow on a processor without units for it.
"""

import os
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course.models import create_model
from course.progress_bar import progress_bar
from course.training.speed import ATTENTIONS, PRECISIONS, Speed, has_bfloat16_units, measure

BATCH, SMALL_BATCH = 64, 8
VIT = dict(img_size=32, patch_size=4, embed_dim=192, depth=6, num_heads=3, num_classes=10)


def bench(words: list[str] | None = None, *, rounds: int = 15, rounds_of_all: int = 5) -> dict:
    """Train in turns, print images a second, and return all figures.

    Args:
        words: none are known.
        rounds: of the chosen speed and the plain loop.
        rounds_of_all: of every speed, in small batches.

    Returns:
        {"processor", "bfloat16_units", "threads", "load", "chosen", "measuring", "rounds", "all": {...}, "ours",
        "plain", "ratio", "low", "high"}: images a second, their ratio and the middle half of it.

    Raises:
        ValueError: there are words.
    """
    if words:
        raise ValueError(f"training_speed takes no words, such as {words[0]!r}")
    load = os.getloadavg()[0]
    torch.manual_seed(0)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    start = time.perf_counter()
    chosen = measure(create_model("vit_s16", **VIT), images) or Speed.plain()
    measuring = time.perf_counter() - start
    every = [Speed(precision, attention) for precision in PRECISIONS for attention in ATTENTIONS]
    with progress_bar(2 * rounds + len(every) * rounds_of_all, None, desc="training", unit=" steps") as progress:
        ours, plain = _in_turns([_trained(chosen, images, labels), _trained(None, images, labels)], rounds, progress)
        small = images[:SMALL_BATCH], labels[:SMALL_BATCH]
        of_all = _in_turns([_trained(speed, *small) for speed in every], rounds_of_all, progress)
    ratios = sorted(theirs / own for own, theirs in zip(ours, plain))
    able = torch.cpu.get_capabilities()
    figures = {
        "processor": able.get("cpu_name", able["architecture"]),
        "bfloat16_units": has_bfloat16_units(),
        "threads": torch.get_num_threads(),
        "load": load,
        "chosen": chosen.describe(),
        "measuring": measuring,
        "rounds": rounds,
        "all": {speed.describe(): SMALL_BATCH / statistics.median(times) for speed, times in zip(every, of_all)},
        "ours": BATCH / statistics.median(ours),
        "plain": BATCH / statistics.median(plain),
        "ratio": statistics.median(ratios),
        "low": ratios[len(ratios) // 4],
        "high": ratios[-1 - len(ratios) // 4],
    }
    _print(figures)
    return figures


def _trained(speed: Speed | None, images: Tensor, labels: Tensor) -> Callable[[], float]:
    """A model and its optimizer: each call is one step of training and returns its seconds. None: a plain loop."""
    torch.manual_seed(0)
    model = create_model("vit_s16", **VIT).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        if speed is None:
            loss = F.cross_entropy(model(images), labels)
        else:
            with speed.applied("cpu"):
                loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        return time.perf_counter() - start

    return step


def _in_turns(steps: list[Callable[[], float]], rounds: int, progress) -> list[list[float]]:
    """Seconds of each step in each round, steps × rounds; every other round in reverse, after one to warm up."""
    seconds: list[list[float]] = [[] for _ in steps]
    for step in steps:
        step()
    for round in range(rounds):
        for k in range(len(steps)) if round % 2 else reversed(range(len(steps))):
            seconds[k].append(steps[k]())
            progress.update()
    return seconds


def _print(figures: dict) -> None:
    units = "with" if figures["bfloat16_units"] else "without"
    print(
        f"{figures['processor']} {units} units for bfloat16, {figures['threads']} threads, load {figures['load']:.1f} "
        "at the start"
    )
    for words, speed in figures["all"].items():
        print(f"{words:32}{speed:8.1f} images a second, {SMALL_BATCH} a step")
    print(f"chosen in {figures['measuring']:.1f} s: {figures['chosen']}")
    print(
        f"{figures['ratio']:.2f}× the images a second of a plain float32 loop with fused attention "
        f"({figures['low']:.2f}–{figures['high']:.2f}; {figures['ours']:.1f} and {figures['plain']:.1f}, "
        f"{figures['rounds']} rounds)"
    )

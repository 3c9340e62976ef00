"""A large class that hands in homework 1, as classes are: mostly right, partly unfinished, and some that do harm.

``write_class(folder, 1000, seed=0)`` writes the same files every time. What single students do is taken from the sample
class of the tests; here stands how many do what. Fork bomb and memory bomb are bounded, so that a machine without
limits survives them too.
"""

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.sample_class import STUDENTS, TOPIC, Notebook, named_mistakes

Student = Callable[[Notebook, Path, random.Random], Path | None]


@dataclass(frozen=True)
class Group:
    """What one part of the class hands in, in turns, and how large a part it is."""

    name: str
    share: float
    kinds: dict[str, Student]


def write_class(folder: Path, count: int, seed: int) -> dict[str, str]:
    """Write `count` submissions into `folder`; gives by student the kind, as ``"group: kind"``."""
    draw = random.Random(seed)
    kinds = [(group, kind) for group, number in zip(MIX, _numbers(count)) for kind in _in_turns(group, number)]
    draw.shuffle(kinds)
    written = {}
    for k, (group, kind) in enumerate(kinds):
        student = f"student{k:04d}"
        notebook = Notebook()
        path = folder / student / TOPIC / f"{TOPIC}.ipynb"
        path = group.kinds[kind](notebook, path, draw) or path
        if path.suffix == ".ipynb" and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(notebook.to_bytes())
        written[student] = f"{group.name}: {kind}"
    return written


def _numbers(count: int) -> list[int]:
    """How many of each group: whole numbers that add up to `count`, as near to the shares as can be."""
    exact = [group.share * count for group in MIX]
    numbers = [int(number) for number in exact]
    most_cut = sorted(range(len(MIX)), key=lambda k: numbers[k] - exact[k])
    for k in most_cut[: count - sum(numbers)]:
        numbers[k] += 1
    return numbers


def _in_turns(group: Group, number: int) -> list[str]:
    kinds = list(group.kinds)
    return [kinds[k % len(kinds)] for k in range(number)]


# -- what they do


def _right(notebook: Notebook, path: Path, draw: random.Random) -> None:
    """Every exercise by the solution or one of its alternatives."""
    notebook.solve()
    for name, exercise in notebook.homework.exercises.items():
        way = draw.choice([None, *exercise.alternatives])
        if way is not None:
            notebook.solve_as(name, next(iter(way.values())).__name__)


def _mistakes(how_many: int) -> Student:
    def write(notebook: Notebook, path: Path, draw: random.Random) -> None:
        _right(notebook, path, draw)
        for name in draw.sample(list(notebook.homework.exercises), how_many):
            notebook.solve_as(name, draw.choice(_mistakes_of(name)))

    return write


@functools.cache
def _mistakes_of(name: str) -> list[str]:
    return [variant for _, variant in named_mistakes(TOPIC, Notebook().homework.exercises[name])]


def _partial(notebook: Notebook, path: Path, draw: random.Random) -> None:
    names = list(notebook.homework.exercises)
    notebook.solve(*names[: draw.randrange(1, len(names))])


def _like(student: str) -> Student:
    return lambda notebook, path, draw: STUDENTS[student](notebook, path)


def _with_cell(exercise: str, source: str) -> Student:
    """All right but one cell, which does harm when it is executed."""

    def write(notebook: Notebook, path: Path, draw: random.Random) -> None:
        _right(notebook, path, draw)
        notebook.cell(exercise)["source"] += "\n\n" + source

    return write


_FORK_BOMB = """\
import os, time
for _ in range(300):
    if os.fork() == 0:
        time.sleep(1000)
"""
_MEMORY_BOMB = """\
filled = []
for _ in range(64):
    filled.append(torch.ones(2**24))  # 64 MB
"""

MIX = (
    Group(
        "right or partly right",
        0.70,
        {
            "right": _right,
            "one mistake": _mistakes(1),
            "right again": _right,
            "two mistakes": _mistakes(2),
            "rearranged": _like("cleo"),
            "a file with no folder": _like("zulu"),
            "renamed": _like("vera"),
            "in a zip": _like("zygmunt"),
        },
    ),
    Group("untouched or partial", 0.15, {"partial": _partial, "untouched": _like("nadia")}),
    Group(
        "broken",
        0.10,
        {
            "no Python": _like("otto"),
            "cut off": _like("tess"),
            "missing": _like("uli"),
            "a cell deleted": _like("wim"),
            "a cell three times": _like("xenia"),
            "edited tests": _like("yann"),
        },
    ),
    Group(
        "hostile",
        0.05,
        {
            "endless cell": _with_cell("attention_cost", "while True:\n    pass"),
            "endless function": _like("quin"),
            "quits": _with_cell("attention_cost", "import os\nos._exit(0)"),
            "memory bomb": _with_cell("sinusoidal_positions", _MEMORY_BOMB),
            "fork bomb": _with_cell("attention_cost", _FORK_BOMB),
            "output flood": _with_cell("attention_cost", "for _ in range(100):\n    print('x' * 2**20)"),
        },
    ),
)

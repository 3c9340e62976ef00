"""One experiment over several seeds: the first is trained in the lecture's cell, the others are stored.

A claim about numbers stands on at least three seeds, and a lecture has a minute. So its cell trains one seed, and
`over_seeds` puts what ``course bench lessons LECTURE`` stored of the others beside it. The stored runs lie in
``course/stored_runs``, one file a lecture: numbers, and when, with what and by which command they were made.
"""

import functools
import inspect
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from course.atomic import write_atomically
from course.notebook import budget_name

SEEDS = (0, 1, 2)
FOLDER = Path(__file__).parent / "stored_runs"
RECORD = "COURSE_RECORD_RUNS"  # the file into which all seeds are written, set by `course bench lessons LECTURE`


def over_seeds(
    name: str, experiment: Callable[[int], dict], seeds: Sequence[int] = SEEDS, *, live: bool = True
) -> dict:
    """What an experiment gives with each of several seeds.

    With the budget ``cpu`` the first seed is trained here, the others are looked up; ``tiny`` trains the first alone;
    ``gpu``, whose trainings are others than the stored ones, trains all.

    Args:
        name: ``"LECTURE/EXPERIMENT"``, as in ``"11_metaformer/mixers"``.
        experiment: seed -> numbers, or lists of numbers (curves), in dicts as deep as you like.
        live: False for what is too long for a lecture's cell: all seeds are looked up, with every budget, and the
            experiment is run only where none is stored, with its first seed, and by ``course bench lessons``.

    Returns:
        The same dicts; in place of each number or list a tuple of them, one a seed, in the order of `seeds`. It is
        shorter where no run is stored.

    Raises:
        ValueError: the stored run has other entries than the experiment gives.
    """
    lecture, _, short = name.partition("/")
    recording = os.environ.get(RECORD)
    stored = stored_runs(lecture).get(short, {})
    if recording:
        kept = json.loads(Path(recording).read_text(encoding="utf-8"))["experiments"].get(short)
        if kept and live:
            experiment(seeds[0])  # as in the lecture, whose next cells may look at what it has trained
        runs = [kept[str(seed)] for seed in seeds] if kept else [experiment(seed) for seed in seeds]
        _add(Path(recording), short, [_plain(run) for run in runs], seeds)
        return _together(runs, name)
    if not live and all(str(seed) in stored for seed in seeds):
        return _together([stored[str(seed)] for seed in seeds], name)
    if budget_name() == "gpu":
        return _together([experiment(seed) for seed in seeds], name)
    here = experiment(seeds[0])
    others = [stored[str(seed)] for seed in seeds[1:] if str(seed) in stored]
    if budget_name() == "tiny":
        others = []
    elif not others:
        print(f"This is one seed; `course bench lessons {lecture}` runs and stores {len(seeds)}.")
    return _together([here, *others], name)


def cache(function: Callable) -> Callable:
    """`functools.cache` for what takes long: a default counts the same whether it is given or left out."""
    remembered, signature = functools.cache(function), inspect.signature(function)

    @functools.wraps(function)
    def once(*args, **options):
        call = signature.bind(*args, **options)
        call.apply_defaults()
        return remembered(*call.args, **call.kwargs)

    return once


def stored_runs(lecture: str) -> dict[str, dict[str, dict]]:
    """Experiment -> seed, as text -> what it gave; empty where none is stored."""
    path = FOLDER / f"{lecture}.json"
    return json.loads(path.read_text(encoding="utf-8"))["experiments"] if path.exists() else {}


def _plain(value):
    """Numbers as JSON holds them, with six digits: more are of one processor."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        listed = value.tolist() if hasattr(value, "tolist") else value
        return [_plain(entry) for entry in listed] if isinstance(listed, (list, tuple)) else _plain(listed)
    return float(f"{float(value):.6g}")


def _together(runs: list[dict], name: str) -> dict:
    first = runs[0]
    if not isinstance(first, dict):
        return tuple(runs)
    keys = [str(key) for key in first]
    for run in runs[1:]:
        if {str(key) for key in run} != set(keys):
            raise ValueError(
                f"{name}: the stored run has {', '.join(map(str, run))} and this one {', '.join(keys)}: "
                f"run `course bench lessons {name.partition('/')[0]}` again"
            )
    by_text = [{str(key): entry for key, entry in run.items()} for run in runs]
    return {key: _together([run[str(key)] for run in by_text], name) for key in first}


def _add(path: Path, experiment: str, runs: list[dict], seeds: Sequence[int]) -> None:
    written = json.loads(path.read_text(encoding="utf-8"))
    written["experiments"][experiment] = {str(seed): run for seed, run in zip(seeds, runs)}
    write_atomically(path, (json.dumps(written, indent=1, ensure_ascii=False) + "\n").encode())

"""The file beside a homework that its checks compare with: stored inputs, outputs, sentences; no code."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course.checks.calls import Accuracy, Call, Observation, calls_from_bytes, calls_to_bytes
from course.checks.compare import Expected
from course.checks.credit import ALL_OR_NOTHING, Credit
from course.checks.exercise import PUBLIC_SEED, Homework, expected_for, pools_for, solutions_of
from course.checks.fingerprints import Pool
from course.checks.message import pack, unpack
from course.checks.rounding import INPUT_TOLERANCE, NOISE_FACTOR, close

FILE_NAME = "checks.safetensors"
SAME_SHARE = 0.95  # of the fingerprints of two builds: what is rounding alone leaves another on another processor


@dataclass(frozen=True)
class PublicCheck:
    """Args:
    pools: by call, what right solutions compute on the way (`course.checks.place`).
    solutions: of how many, by target.
    hints: the smallest help first.
    """

    calls: list[Call]
    expected: Expected
    targets: tuple[str, ...]
    points: float
    forbidden: tuple[str, ...]
    pools: dict[int, Pool]
    solutions: dict[str, int]
    hints: tuple[str, ...] = ()


def to_bytes(homework: Homework) -> bytes:
    """The public checks of all exercises of a homework, as the bytes of its ``checks.safetensors``."""
    tensors: dict[str, Tensor] = {}
    described = {"homework": homework.topic, "exercises": {}}
    for exercise in homework.exercises.values():
        expected = expected_for(exercise, PUBLIC_SEED)
        prefix = exercise.name
        tensors[f"{prefix}/calls"] = _as_tensor(calls_to_bytes(exercise.calls(PUBLIC_SEED)))
        described["exercises"][exercise.name] = {
            "targets": list(exercise.targets),
            "points": exercise.points,
            "forbidden": list(exercise.forbidden),
            "tolerance": exercise.tolerance,
            "calls": expected.calls,
            "answer": _store(expected.answer, f"{prefix}/answer", tensors, exercise.tolerance),
            "mistakes": [
                [sentence, _store(observation, f"{prefix}/mistake{k}", tensors, exercise.tolerance)]
                for k, (sentence, observation) in enumerate(expected.mistakes)
            ],
            "goals": {i: goal.at_least for i, goal in expected.goals.items()},
            "hints": list(exercise.hints),
        }
        if exercise.credit != ALL_OR_NOTHING:
            described["exercises"][exercise.name]["credit"] = asdict(exercise.credit)
        for i, goal in expected.goals.items():
            tensors[f"{prefix}/labels/{i}"] = goal.labels
        described["exercises"][exercise.name]["solutions"] = {
            target: len(solutions_of(exercise, target)) for target in exercise.targets
        }
        for i, pool in pools_for(exercise, PUBLIC_SEED).items():
            tensors.update({f"{prefix}/pool/{i}/{name}": part for name, part in pool.to_tensors().items()})
    return pack(tensors, described)


def same_content(a: Path, data: bytes) -> bool:
    """Does the file hold what `data` does, but for rounding (`course.checks.rounding`)?"""
    try:
        stored, described = _read(a)
    except ValueError:
        return False
    fresh, fresh_described = unpack(data)
    if _without_noise(described) != _without_noise(fresh_described) or stored.keys() != fresh.keys():
        return False
    if not all(_same_pools(_pools(name, stored), _pools(name, fresh)) for name in described["exercises"]):
        return False
    for name, entry in described["exercises"].items():
        results = {}  # where a result is stored: how much of it is rounding, here or there
        for ours, theirs in zip(_observations(entry), _observations(fresh_described["exercises"][name])):
            for key, where in ours["tensors"]:
                results[where] = max(ours["noise"].get(key, 0.0), theirs["noise"].get(key, 0.0))
        calls = f"{name}/calls"
        labels = [where for where in stored if where.startswith(f"{name}/labels/")]
        if not (
            _same_calls(stored[calls], fresh[calls])
            and all(_same(stored[where], fresh[where], 0.0) for where in labels)
            and all(_same(stored[where], fresh[where], entry["tolerance"], noise) for where, noise in results.items())
        ):
            return False
    return True


def find(exercise_id: str, start: Path | None = None) -> Path:
    """The ``checks.safetensors`` that holds `exercise_id`, searched from a notebook's folder upwards.

    Raises FileNotFoundError with the remedy.
    """
    short = exercise_id.partition(".")[0]
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        beside = folder / FILE_NAME
        if folder.name.startswith(f"{short}_") and beside.is_file():
            return beside
        for parent in (folder / "assignments", folder):
            found = sorted(parent.glob(f"{short}_*/{FILE_NAME}"))
            if found:
                return found[0]
    beside = start / FILE_NAME  # a homework copied into a folder of another name
    if beside.is_file() and _read(beside)[1]["homework"].startswith(f"{short}_"):
        return beside
    raise FileNotFoundError(
        f"the check data of {exercise_id} ({FILE_NAME}) was not found beside the notebook in {start} or above it: "
        f"keep the notebook in the folder it came in, or copy {FILE_NAME} from there"
    )


def read(path: Path, exercise_name: str) -> PublicCheck:
    """Raises ValueError naming the file if it is damaged, KeyError naming what it holds if the name is unknown."""
    tensors, described = _read(path)
    exercises = described["exercises"]
    if exercise_name not in exercises:
        raise KeyError(f"{described['homework']} has no exercise {exercise_name!r}; it has {', '.join(exercises)}")
    entry = exercises[exercise_name]

    def restore(stored: dict[str, Any]) -> Observation:
        return Observation({key: tensors[where] for key, where in stored["tensors"]}, stored["notes"], stored["noise"])

    calls = calls_from_bytes(tensors[f"{exercise_name}/calls"].numpy().tobytes())
    return PublicCheck(
        calls=calls,
        expected=Expected(
            answer=restore(entry["answer"]),
            mistakes=[(sentence, restore(stored)) for sentence, stored in entry["mistakes"]],
            goals={
                int(i): Accuracy(tensors[f"{exercise_name}/labels/{i}"], at_least)
                for i, at_least in entry["goals"].items()
            },
            tolerance=entry["tolerance"],
            calls=entry["calls"],
            credit=Credit(**entry.get("credit", {})),
            made=tuple(calls),
        ),
        targets=tuple(entry["targets"]),
        points=entry["points"],
        forbidden=tuple(entry["forbidden"]),
        pools=_pools(exercise_name, tensors),
        solutions=entry["solutions"],
        hints=tuple(entry["hints"]),
    )


def exercise_points(path: Path) -> dict[str, float]:
    """Points by exercise name, in the order of the homework."""
    return {name: entry["points"] for name, entry in _read(path)[1]["exercises"].items()}


def _store(observation: Observation, prefix: str, tensors: dict[str, Tensor], tolerance: float) -> dict:
    where = {key: f"{prefix}/{key}" for key in sorted(observation.tensors)}
    tensors.update({where[key]: value for key, value in observation.tensors.items()})
    notes = {key: note.split(" (line")[0] for key, note in observation.notes.items()}  # no line of an answer's code
    # What rounding adds to less than a tenth of the tolerance decides nothing.
    noise = {
        key: float(f"{value:.1e}") for key, value in observation.noise.items() if NOISE_FACTOR * value > tolerance / 10
    }
    return {"tensors": sorted(where.items()), "notes": notes, "noise": noise}


def _pools(exercise_name: str, tensors: dict[str, Tensor]) -> dict[int, Pool]:
    parts: dict[int, dict[str, Tensor]] = {}
    for where, part in tensors.items():
        name, _, rest = where.partition("/pool/")
        if name == exercise_name and rest:
            i, _, which = rest.partition("/")
            parts.setdefault(int(i), {})[which] = part
    return {i: Pool.from_tensors(parts[i]) for i in sorted(parts)}


def _same_pools(a: dict[int, Pool], b: dict[int, Pool]) -> bool:
    return a.keys() == b.keys() and all(min(a[i].share_in(b[i]), b[i].share_in(a[i])) >= SAME_SHARE for i in a)


def _observations(entry: dict) -> list[dict]:
    return [entry["answer"], *(stored for _, stored in entry["mistakes"])]


def _without_noise(described: dict) -> dict:
    """What is described, but for measured noise, which rounding changes most of all."""
    described = json.loads(json.dumps(described))
    for entry in described["exercises"].values():
        for stored in _observations(entry):
            if "noise" in stored:
                stored["noise"] = {}
    return described


def _same_calls(a: Tensor, b: Tensor) -> bool:
    (ours, described), (theirs, described_too) = (unpack(data.numpy().tobytes()) for data in (a, b))
    return (
        described == described_too
        and ours.keys() == theirs.keys()
        and all(_same(ours[name], theirs[name], INPUT_TOLERANCE) for name in ours)
    )


def _same(a: Tensor, b: Tensor, tolerance: float, noise: float = 0.0) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and close(a, b, tolerance, noise)


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        return unpack(path.read_bytes())
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}): copy it again from the course") from None

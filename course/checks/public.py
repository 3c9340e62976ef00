"""The file beside a homework that its checks compare with: stored inputs, outputs, sentences; no code.

It holds a message (`course.checks.message`) for each exercise, pressed with LZMA. Inputs and right results are in it as
they are. Results of mistakes are only compared with, so they are rounded to a twentieth of the tolerance, or to 16 binary
digits where that is coarser; the digits that are left out are most of what cannot be pressed.
"""

import json
import lzma
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course.checks.calls import Accuracy, Call, Observation, calls_from_bytes, calls_to_bytes
from course.checks.compare import Expected
from course.checks.credit import Credit
from course.checks.exercise import PUBLIC_SEED, Exercise, Homework, expected_for, pools_for, solutions_of
from course.checks.fingerprints import Pool
from course.checks.message import pack, unpack
from course.checks.rounding import INPUT_TOLERANCE, NOISE_FACTOR, close

FILE_NAME = "checks.safetensors"
_PRESSED = {  # numbers of four bytes each
    "format": lzma.FORMAT_XZ,
    "filters": [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 2**23, "lc": 1, "lp": 2, "pb": 2}],
}
LARGEST = 2**26  # bytes of one exercise's message; a file that asks for more is damaged
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
    pressed = {
        name: _as_tensor(lzma.compress(message_of(exercise), **_PRESSED))
        for name, exercise in homework.exercises.items()
    }
    points = {name: exercise.points for name, exercise in homework.exercises.items()}
    return pack(pressed, {"homework": homework.topic, "points": points})


def message_of(exercise: Exercise) -> bytes:
    """All that is stored of one exercise."""
    expected, calls = expected_for(exercise, PUBLIC_SEED), exercise.calls(PUBLIC_SEED)
    tensors: dict[str, Tensor] = {"calls": _as_tensor(calls_to_bytes(calls))}
    described = {
        "targets": list(exercise.targets),
        "forbidden": list(exercise.forbidden),
        "tolerance": exercise.tolerance,
        "calls": expected.calls,
        "answer": _store(expected.answer, "answer", tensors, exercise.tolerance),
        "mistakes": [
            [sentence, _store(observation, f"mistake{k}", tensors, exercise.tolerance, rounded=True)]
            for k, (sentence, observation) in enumerate(expected.mistakes)
        ],
        "goals": {i: goal.at_least for i, goal in expected.goals.items()},
        "hints": list(exercise.hints),
        "credit": asdict(exercise.credit),
        "solutions": {target: len(solutions_of(exercise, target)) for target in exercise.targets},
    }
    for i, goal in expected.goals.items():
        tensors[f"labels/{i}"] = goal.labels
    for i, pool in pools_for(exercise, PUBLIC_SEED).items():
        tensors.update({f"pool/{i}/{name}": part for name, part in pool.to_tensors().items()})
    return pack(tensors, described)


def same_content(a: Path, data: bytes) -> bool:
    """Does the file hold what `data` does, but for rounding (`course.checks.rounding`)?"""
    try:
        stored, fresh = messages(a.read_bytes()), messages(data)
        return _unpacked(a.read_bytes())[1] == _unpacked(data)[1] and all(
            _same_messages(*unpack(stored[name]), *unpack(fresh[name])) for name in stored
        )
    except (ValueError, OSError):
        return False


def _same_messages(stored: dict[str, Tensor], described: dict, fresh: dict[str, Tensor], fresh_described: dict) -> bool:
    if _without_noise(described) != _without_noise(fresh_described) or stored.keys() != fresh.keys():
        return False
    if not _same_pools(_pools(stored), _pools(fresh)) or not _same_calls(stored["calls"], fresh["calls"]):
        return False
    if not all(_same(stored[where], fresh[where], 0.0) for where in stored if where.startswith("labels/")):
        return False
    results = {}  # where a result is stored: how much of it is rounding, here or there
    for ours, theirs in zip(_observations(described), _observations(fresh_described)):
        for key, where in ours["tensors"]:
            results[where] = max(ours["noise"].get(key, 0.0), theirs["noise"].get(key, 0.0))
    return all(_same(stored[where], fresh[where], described["tolerance"], noise) for where, noise in results.items())


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
    pressed, head = _read(path)
    if exercise_name not in pressed:
        raise KeyError(f"{head['homework']} has no exercise {exercise_name!r}; it has {', '.join(head['points'])}")
    try:
        tensors, entry = unpack(_unpressed(pressed[exercise_name]))
    except ValueError as error:
        raise _damaged(path, error) from None

    def restore(stored: dict[str, Any]) -> Observation:
        return Observation({key: tensors[where] for key, where in stored["tensors"]}, stored["notes"], stored["noise"])

    calls = calls_from_bytes(tensors["calls"].numpy().tobytes())
    return PublicCheck(
        calls=calls,
        expected=Expected(
            answer=restore(entry["answer"]),
            mistakes=[(sentence, restore(stored)) for sentence, stored in entry["mistakes"]],
            goals={int(i): Accuracy(tensors[f"labels/{i}"], at_least) for i, at_least in entry["goals"].items()},
            tolerance=entry["tolerance"],
            calls=entry["calls"],
            credit=Credit(**entry["credit"]),
            made=tuple(calls),
        ),
        targets=tuple(entry["targets"]),
        points=head["points"][exercise_name],
        forbidden=tuple(entry["forbidden"]),
        pools=_pools(tensors),
        solutions=entry["solutions"],
        hints=tuple(entry["hints"]),
    )


def exercise_points(path: Path) -> dict[str, float]:
    """Points by exercise name, in the order of the homework."""
    return _read(path)[1]["points"]


def messages(data: bytes) -> dict[str, bytes]:
    """By exercise, what a file with these bytes holds. Raises ValueError if it is damaged."""
    pressed, head = _unpacked(data)
    return {name: _unpressed(pressed[name]) for name in head["points"]}


def _unpacked(data: bytes) -> tuple[dict[str, Tensor], dict]:
    """(what is pressed, by exercise; the head: ``homework`` and ``points``). Raises ValueError if there is no such thing."""
    pressed, head = unpack(data)
    if not isinstance(head, dict) or head.keys() != {"homework", "points"} or pressed.keys() != head["points"].keys():
        raise ValueError("it is no check data, or of another version of the course")
    return pressed, head


def _unpressed(pressed: Tensor) -> bytes:
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        data = reader.decompress(pressed.numpy().tobytes(), LARGEST)
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from None
    if not reader.eof:
        raise ValueError("an exercise is too large, or cut off")
    return data


def _store(
    observation: Observation, prefix: str, tensors: dict[str, Tensor], tolerance: float, rounded: bool = False
) -> dict:
    where = {key: f"{prefix}/{key}" for key in sorted(observation.tensors)}
    kept = {key: _rounded(value, tolerance) if rounded else value for key, value in observation.tensors.items()}
    tensors.update({where[key]: value for key, value in kept.items()})
    notes = {key: note.split(" (line")[0] for key, note in observation.notes.items()}  # no line of an answer's code
    # What rounding adds to less than a tenth of the tolerance decides nothing.
    noise = {
        key: float(f"{value:.1e}") for key, value in observation.noise.items() if NOISE_FACTOR * value > tolerance / 10
    }
    return {"tensors": sorted(where.items()), "notes": notes, "noise": noise}


def _rounded(values: Tensor, tolerance: float) -> Tensor:
    """Floats with an error of at most a twentieth of `tolerance`, or of 2^-16 of themselves where that is less."""
    if values.dtype != torch.float32 or not tolerance:
        return values
    step = 2.0 ** math.floor(math.log2(tolerance / 10))
    _, exponent = torch.frexp(values.double())
    steps = torch.exp2((exponent - 16).double()).clamp(max=step)
    rounded = (values.double() / steps).round() * steps
    return torch.where(values.isfinite(), rounded, values.double()).float()


def _pools(tensors: dict[str, Tensor]) -> dict[int, Pool]:
    parts: dict[int, dict[str, Tensor]] = {}
    for where, part in tensors.items():
        if where.startswith("pool/"):
            _, i, which = where.split("/")
            parts.setdefault(int(i), {})[which] = part
    return {i: Pool.from_tensors(parts[i]) for i in sorted(parts)}


def _same_pools(a: dict[int, Pool], b: dict[int, Pool]) -> bool:
    return a.keys() == b.keys() and all(min(a[i].share_in(b[i]), b[i].share_in(a[i])) >= SAME_SHARE for i in a)


def _observations(entry: dict) -> list[dict]:
    return [entry["answer"], *(stored for _, stored in entry["mistakes"])]


def _without_noise(described: dict) -> dict:
    """What is described of an exercise, but for measured noise, which rounding changes most of all."""
    described = json.loads(json.dumps(described))
    for stored in _observations(described):
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
        return _unpacked(path.read_bytes())
    except (ValueError, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged ({error}): copy it again from the course")

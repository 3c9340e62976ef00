"""Going on with an earlier run: which hidden inputs it had, what it graded, and what of that still holds.

``OUT/run.json`` says what is graded and with which secret seeds. Hidden inputs serve once: when a run has come to its
end, students may have read their pages, so whoever is run after that is run on fresh ones, and so is who hands in again
before that. A run that was broken off goes on with its own. A seed that the instructor gives holds for everybody.

Each ``OUT/results/PAGE.json`` carries, beside the student's row, a fingerprint for each exercise of everything that its
points depend on. An exercise whose fingerprint is the same today is not run again.
"""

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import torch

from course.atomic import write_atomically
from course.checks.compare import Expected
from course.grading.exam import Exam
from course.grading.judge.exercise import ExerciseResult
from course.grading.limits import Limits
from course.grading.problems import CannotGrade
from course.grading.record.result import StudentResult
from course.grading.settings import RUN_FILE as FILE
from course.grading.statuses import Outcome, in_order
from course.grading.student import Judged, ToRun

# Among fingerprints: of all right answers and all that exercises.py says; no exercise has a space in its name.
ANSWERS = "the answers"


@dataclass(frozen=True)
class Run:
    """What all gradings of a class into one folder have in common, until one of them starts from scratch.

    Args:
        assignment: the homework's topic.
        seed: of the first hidden inputs; what an exercise asks is compared with what it asked before on these.
        key: secret; seals what is written down, so that no other run's and no altered results are believed.
        inputs: the seed of the hidden inputs for those who are graded now.
        told: grading with these inputs came to its end: students may have read what came of it.
        is_given: the seed is the instructor's, for everybody.
        is_new: nothing was graded in it yet.
    """

    assignment: str
    seed: int
    key: str
    inputs: int
    told: bool = False
    is_given: bool = False
    is_new: bool = False

    @property
    def id(self) -> str:
        return _digest("id", key=self.key)

    @property
    def inputs_id(self) -> str:
        """For the record of a student: on which inputs they were graded, without the seed."""
        return _digest("inputs", str(self.inputs), key=self.key)

    def with_fresh_inputs(self) -> "Run":
        return replace(self, inputs=secrets.randbits(62), told=False)

    def write(self, out: Path) -> None:
        names = ("assignment", "seed", "key", "inputs", "told")
        told = {name: getattr(self, name) for name in names}
        write_atomically(out / FILE, (json.dumps(told, indent=1) + "\n").encode(), mode=0o600)


def find_run(out: Path, assignment: str, seed: int | None, again: bool) -> tuple[Run, str]:
    """The run to go on with or a new one, and a sentence for the instructor where there is something to say.

    Args:
        seed: the one that was asked for, if any.
        again: a new one in any case.

    Raises:
        CannotGrade: the file is there but may not be read.
    """
    drawn = secrets.randbits(62) if seed is None else seed
    new = Run(assignment, drawn, secrets.token_hex(16), drawn, is_given=seed is not None, is_new=True)
    path = out / FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return new, ""
    except OSError as error:
        raise CannotGrade(f"{path} cannot be read ({error.strerror}): move it away to grade from scratch.") from None
    if again:
        return new, ""
    inputs = "with fresh hidden inputs" if seed is None else f"with the seed {seed}"
    try:
        read = json.loads(text)
        before = Run(read["assignment"], read["seed"], read["key"], read["inputs"], read["told"])
        is_whole = isinstance(before.assignment, str) and type(before.seed) is type(before.inputs) is int
        is_whole = is_whole and type(before.told) is bool
        if not is_whole or len(bytes.fromhex(before.key)) != 16:
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        return new, f"{path} is damaged: everybody is graded again, {inputs}."
    if before.assignment != assignment:  # which was said before anything slow was loaded
        return new, ""
    if seed not in (None, before.seed):
        return new, f"{out} was graded with another seed: everybody is graded again, {inputs}."
    if seed is not None:
        return replace(before, inputs=seed, is_given=True), ""
    return before, ""


class Fingerprints:
    """For each exercise of a student a text that is the same only if everything that its points depend on is.

    What a right answer's points do not depend on, the named mistakes, counts among `ANSWERS`: none has to be run for it.
    All but the values of hidden inputs: `exam` is that of ``run.seed``, whichever inputs a student is graded on.
    """

    def __init__(self, exam: Exam, run: Run, limits: Limits, isolation: str):
        self._run = run
        allowed = repr((limits.timeout, limits.memory, limits.enforced))
        self._circumstances = _digest(code_fingerprint(), torch.__version__, allowed, isolation, key=run.key)
        self._answers = _digest(exam.reference, exam.described, key=run.key)
        self._exercises = {
            name: _digest(
                name,
                repr((exam.points[name], exam.rules[name], question.largest_answer)),
                question.calls,
                *_parts(exam.expected[name]),
                key=run.key,
            )
            for name, question in exam.questions.items()
        }

    def of(self, work: ToRun) -> dict[str, str]:
        """By exercise. All cells count for each of them: one may call what another defines."""
        cells = [[cell.label, cell.source, cell.exercise, cell.keep] for cell in work.merged.cells]
        cells = _digest(json.dumps([cells, list(map(asdict, work.merged.modules))]), key=self._run.key)
        own = {
            name: _digest(self._circumstances, exercise, cells, work.broken.get(name, ""), key=self._run.key)
            for name, exercise in self._exercises.items()
        }
        return {**own, ANSWERS: self._answers}


@dataclass(frozen=True)
class Kept:
    """What a result's file holds beside the row: what was judged, the fingerprints of that, and on which inputs."""

    judged: Judged
    fingerprints: dict[str, str]
    inputs: str

    def usable(self, fingerprints: dict[str, str]) -> Judged | None:
        """Of what was judged, the exercises that still hold; None if there are none.

        An exercise that is right stands by itself. One that is wrong may be right with the course's own answers in
        place of earlier ones (`second_chance`): whether it is depends on all others, so it holds if all others do.
        So does what is odd: it is not known which exercise that came from.
        """
        if self.fingerprints == fingerprints:
            return self.judged
        if self.judged.statuses or self.judged.messages:
            return None
        right = [e for e in self.judged.exercises if e.outcome == Outcome.RIGHT and e.name in fingerprints]
        same = tuple(e for e in right if self.fingerprints.get(e.name) == fingerprints[e.name])
        return Judged(same) if same else None


def result_to_json(result: StudentResult, kept: Kept | None, run: Run) -> bytes:
    """For ``OUT/results``: the row, and with `kept` what a later run needs to believe it."""
    if kept is None:
        return result.to_json()
    sealed = {"run": run.id, **asdict(kept)}
    return result.to_json({**sealed, "seal": _seal(sealed, run)})


def read_kept(path: Path, run: Run) -> Kept | None:
    """What is kept in a result's file; None if it is not there or from another run.

    Raises:
        ValueError: it is damaged or was altered.
    """
    try:
        kept = json.loads(path.read_bytes()).get("kept")
        if kept is None or kept["run"] != run.id:
            return None
        if kept.pop("seal") != _seal(kept, run):
            raise ValueError("it was altered")
        judged = kept["judged"]
        exercises = tuple(ExerciseResult(**exercise) for exercise in judged["exercises"])
        statuses, messages, remarks = (judged[key] for key in ("statuses", "messages", "remarks"))
        judged = Judged(
            exercises, in_order(statuses), tuple(messages), remarks=tuple(remarks), did=judged.get("did", {})
        )
        return Kept(judged, kept["fingerprints"], kept["inputs"])
    except FileNotFoundError:
        return None
    except json.JSONDecodeError:
        raise ValueError("it is cut off or no JSON") from None
    except (KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def put_back(old: Judged | None, new: Judged, order: list[str]) -> Judged:
    """What was taken from an earlier run and what was judged now, in the order of the notebook."""
    if old is None or new.fault:
        return new
    by_name = {exercise.name: exercise for exercise in (*old.exercises, *new.exercises)}
    return Judged(
        tuple(by_name[name] for name in order if name in by_name),
        in_order([*old.statuses, *new.statuses]),
        tuple(dict.fromkeys((*old.messages, *new.messages))),
        remarks=tuple(dict.fromkeys((*old.remarks, *new.remarks))),
        did={**old.did, **new.did},
    )


def _seal(kept: dict, run: Run) -> str:
    return _digest(json.dumps(kept, sort_keys=True), key=run.key)


def _parts(expected: Expected) -> list[bytes | str]:
    told = (expected.tolerance, expected.calls, expected.credit)
    parts: list[bytes | str] = [repr(told), expected.answer.to_bytes()]
    for number, goal in sorted(expected.goals.items()):
        parts += [repr((number, goal.at_least, tuple(goal.labels.shape))), goal.labels.numpy().tobytes()]
    return parts


@cache
def code_fingerprint() -> str:
    """The code that runs and judges: after it was mended, what it said before does not count any more."""
    home = Path(__file__).resolve().parent.parent
    files = sorted([*home.glob("checks/**/*.py"), *home.glob("grading/**/*.py")])
    return _digest(*(part for file in files for part in (file.relative_to(home).as_posix(), file.read_bytes())), key="")


def _digest(*parts: bytes | str, key: str) -> str:
    made = hashlib.blake2b(digest_size=16, key=bytes.fromhex(key))
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "replace")
        made.update(len(data).to_bytes(8, "big") + data)  # the length, so that no two lists of parts look alike
    return made.hexdigest()

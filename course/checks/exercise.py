"""How the author of a homework describes its exercises: inputs, points, named mistakes, other right answers.

``solutions/hwN_topic/exercises.py`` makes one `Homework` and fills it. The right answers themselves stand in the
percent source beside it and nowhere else; they are run from there.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course import percent
from course.checks import from_scratch
from course.checks.calls import Accuracy, Call, Observation, calls_to_bytes
from course.checks.compare import Expected, Mistakes, Named, same_in_call
from course.checks.credit import ALL_OR_NOTHING, Credit
from course.checks.fingerprints import Pool
from course.checks.observe import observe
from course.checks.place import pool_of
from course.checks.probes import RANDOM_NUMBERS
from course.checks.rounding import noise_between, nudged
from course.checks.trace import traced

PUBLIC_SEED = 20  # of the checks in a notebook; grading draws its own, secret one
LONGEST_SOLUTION = 60.0  # seconds of a run that writes down what a right answer computes
MOST_DRAWS = 20  # for inputs that are not the public ones by chance


@dataclass(frozen=True)
class Mistake:
    """A wrong implementation that students really write, and the sentence they should read."""

    sentence: str
    objects: dict[str, Any]

    @property
    def name(self) -> str:
        return next(iter(self.objects.values())).__name__


class Draw:
    """Random inputs for `Exercise.inputs`: everything an exercise needs follows from one seed."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator)

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * float(self.uniform(1))

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """int64 tensor of whole numbers from `low` to `high`, both included."""
        return torch.randint(low, high + 1, shape, generator=self.generator)

    def sizes(self, count: int, low: int = 2, high: int = 9) -> list[int]:
        """`count` whole numbers from `low` to `high`, both included, no two the same: so no axis can be taken for another."""
        if count > high - low + 1:
            raise ValueError(f"there are no {count} different sizes from {low} to {high}")
        return (low + torch.randperm(high - low + 1, generator=self.generator)[:count]).tolist()

    def boolean(self, *shape: int, probability: float = 0.5) -> Tensor:
        return torch.rand(*shape, generator=self.generator) < probability

    def linear(self, name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
        """Weights of an nn.Linear, large enough that a mistake shows: name.weight (out, in), name.bias (out,)."""
        return {f"{name}.weight": self.normal(outputs, inputs) / inputs**0.5, f"{name}.bias": self.normal(outputs)}

    def norm(self, name: str, width: int) -> dict[str, Tensor]:
        """Weights of a normalisation, away from their defaults 1 and 0: name.weight (width,), name.bias (width,)."""
        return {f"{name}.weight": 1 + 0.3 * self.normal(width), f"{name}.bias": 0.3 * self.normal(width)}


@dataclass
class Exercise:
    """One graded exercise. Made by `Homework.exercise`; its parts are added by the decorators below."""

    homework: "Homework"
    name: str
    targets: tuple[str, ...]
    points: float
    tolerance: float
    forbidden: tuple[str, ...] = ()
    credit: Credit = ALL_OR_NOTHING
    hints: tuple[str, ...] = ()
    mistakes: list[Mistake] = field(default_factory=list)
    alternatives: list[dict[str, Any]] = field(default_factory=list)
    _inputs: Callable[[Draw], Iterable[Call]] | None = None
    _goals: Callable[[Draw], dict[int, Accuracy]] | None = None

    @property
    def id(self) -> str:
        """What a notebook calls it: ``"hw1.attention_scores"``."""
        return f"{self.homework.short}.{self.name}"

    # -- decorators for exercises.py

    def inputs(self, function: Callable[[Draw], Iterable[Call]]) -> Callable:
        """``@exercise.inputs``: yields the calls for one `Draw`; at least one, all sizes different."""
        self._inputs = function
        return function

    def goals(self, function: Callable[[Draw], dict[int, Accuracy]]) -> Callable:
        """``@exercise.goals``: {number of the call: `Accuracy`}, from a `Draw` of the same seed; such calls come last."""
        self._goals = function
        return function

    def mistake(self, sentence: str, target: str | None = None) -> Callable:
        """``@exercise.mistake("what happened")`` before a wrong function or class.

        `target` names what it replaces where the exercise has several; the others stay right.
        """
        if not isinstance(sentence, str) or not sentence.strip():
            raise TypeError(f'{self.id}: a mistake needs the sentence that students read: @{self.name}.mistake("...")')
        return self._variant(target, lambda objects: self.mistakes.append(Mistake(sentence, objects)))

    def alternative(self, function: Any = None, *, target: str | None = None) -> Any:
        """``@exercise.alternative`` before another right answer."""
        if function is None:
            return self._variant(target, self.alternatives.append)
        return self._variant(target, self.alternatives.append)(function)

    def _variant(self, target: str | None, keep: Callable[[dict], None]) -> Callable:
        if target is not None and target not in self.targets:
            raise ValueError(f"{self.id} has no {target!r}; it has {', '.join(self.targets)}")

        def register(variant: Any) -> Any:
            keep({target or self.targets[0]: variant})
            return variant

        return register

    # -- what checks and grading ask

    def calls(self, seed: int) -> list[Call]:
        """The calls of one seed. Of any but the public seed they are others than the public ones."""
        if self._inputs is None:
            raise ValueError(
                f"{self.id} has no inputs: write a function of a Draw that yields Calls, @{self.name}.inputs"
            )
        calls = list(self._inputs(Draw(self._seed(seed))))
        if not calls:
            raise ValueError(f"{self.id}: its inputs yield no call, so its check would check nothing")
        return calls

    def goals_for(self, seed: int) -> dict[int, Accuracy]:
        return self._goals(Draw(self._seed(seed))) if self._goals else {}

    @property
    def trains(self) -> bool:
        """Whether its last calls train something that has to reach a goal, and so take seconds."""
        return self._goals is not None

    def _seed(self, seed: int) -> int:
        if seed == PUBLIC_SEED:
            return self._digest(seed)
        # Where a few whole numbers are all that is drawn, a memorised answer would now and then be right.
        drawn = (self._digest(seed, again) for again in range(MOST_DRAWS))
        return next((each for each in drawn if self._drawn(each) != self._public), self._digest(seed))

    def _drawn(self, digest: int) -> bytes:
        return calls_to_bytes(list(self._inputs(Draw(digest))))

    @cached_property
    def _public(self) -> bytes:
        return self._drawn(self._digest(PUBLIC_SEED))

    def _digest(self, seed: int, again: int = 0) -> int:
        # Python's own hash of a text differs from run to run.
        digest = hashlib.sha256(f"{seed}/{self.id}{f'/{again}' if again else ''}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def observe(self, calls: list[Call], variant: dict[str, Any] | None = None) -> Observation:
        """What the reference does on `calls`, with some of its objects replaced by those of `variant`."""
        return observe({**self.homework.reference, **(variant or {})}, calls)


class Homework:
    """All exercises of one homework, in the order of its notebook.

    Args:
        topic: the folder's name, ``"hw1_self_attention"``.
        forbidden: full names that would do its exercises (``"torch.nn.functional.scaled_dot_product_attention"``);
            those of `from_scratch.ALWAYS` always are.
        credit: what parts of an exercise are worth.
        source: the percent source with the right answers; by default ``<topic>.py`` beside the file that
            makes this object.
    """

    def __init__(
        self,
        topic: str,
        *,
        forbidden: tuple[str, ...] = (),
        credit: Credit = ALL_OR_NOTHING,
        source: Path | None = None,
    ):
        self.topic = topic
        self.credit = credit
        self.forbidden = (*from_scratch.ALWAYS, *forbidden)
        self.short = topic.split("_")[0]
        self.source = source or Path(sys._getframe(1).f_code.co_filename).parent / f"{topic}.py"
        self.exercises: dict[str, Exercise] = {}

    def exercise(
        self,
        name: str,
        *,
        points: float,
        targets: tuple[str, ...] = (),
        tolerance: float = 1e-4,
        forbidden: tuple[str, ...] = (),
        credit: Credit | None = None,
        hints: tuple[str, ...] = (),
    ) -> Exercise:
        """Add an exercise. `targets` are the names the student defines, by default the exercise's own name.

        `forbidden` are full names (``"torch.nn.GroupNorm"``) that would do this one, beside those of the homework.
        `credit` takes the place of the homework's. `hints` wait, folded, under a card that is not right yet: the next smaller
        step first, never the answer.
        """
        if name in self.exercises:
            raise ValueError(f"{self.topic} has two exercises called {name!r}")
        if not isinstance(hints, tuple) or not all(isinstance(hint, str) and hint.strip() for hint in hints):
            raise TypeError(f'{self.short}.{name}: hints are texts in a tuple, hints=("...",), the comma included')
        self.exercises[name] = Exercise(
            self,
            name,
            targets or (name,),
            points,
            tolerance,
            (*self.forbidden, *forbidden),
            credit or self.credit,
            hints,
        )
        return self.exercises[name]

    @cached_property
    def reference(self) -> dict[str, Any]:
        """The names defined by the setup and solution cells of the source: the right answers, ready to call."""
        namespace: dict[str, Any] = {"__name__": f"reference_{self.short}"}
        text = self.source.read_text(encoding="utf-8")
        for cell in percent.read(text):
            wanted = "exercise" in cell.metadata or "setup" in cell.metadata.get("tags", ())
            if cell.cell_type == "code" and wanted:
                above = text[: max(text.find(cell.source), 0)].count("\n")  # so that its lines are those of the file
                exec(compile("\n" * above + cell.source, str(self.source), "exec"), namespace)
        return namespace


def expected_for(exercise: Exercise, seed: int) -> Expected:
    """Run the reference of `exercise` on the calls of `seed`, and see how much is rounding.

    The named mistakes are run when the first of them is asked for.
    """
    calls, goals = exercise.calls(seed), exercise.goals_for(seed)
    exact = len(calls)  # goals come last and train for seconds; what the answer reaches there is not compared
    while exact - 1 in goals:
        exact -= 1
    almost_the_same = nudged(calls[:exact])

    def observed(objects: dict[str, Any] | None = None) -> Observation:
        seen = exercise.observe(calls[:exact], objects)
        seen.noise = noise_between(seen, exercise.observe(almost_the_same, objects))
        return seen

    with RANDOM_NUMBERS:
        answer = observed()

    def mistaken() -> list[Named]:
        found = []
        with one_thread():
            for mistake in exercise.mistakes:
                seen = observed(mistake.objects)
                if exact < len(calls) and all(same_in_call(i, answer, seen, exercise.tolerance) for i in range(exact)):
                    # Nothing but a goal can show this one.
                    seen = replace(exercise.observe(calls, mistake.objects), noise=seen.noise)
                found.append((mistake.sentence, seen))
        return found

    return Expected(answer, Mistakes(mistaken), goals, exercise.tolerance, len(calls), exercise.credit, tuple(calls))


@contextmanager
def one_thread() -> Iterator[None]:
    """The last digits of a sum depend on how many threads share it: what is right should not depend on the machine.

    Student code runs on one thread, too.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def solutions_of(exercise: Exercise, target: str) -> list[Any]:
    """The right answer and its alternatives for one target."""
    alternatives = [objects[target] for objects in exercise.alternatives if target in objects]
    return [exercise.homework.reference[target], *alternatives]


def pools_for(exercise: Exercise, seed: int) -> dict[int, Pool]:
    """By call of `seed`, what the right answer and its alternatives compute on the way.

    Calls that reach a goal have none, nor have those of which one solution cannot be looked into.
    """
    goals = exercise.goals_for(seed)
    pools = {}
    for i, call in enumerate(exercise.calls(seed)):
        if i not in goals:
            solutions = solutions_of(exercise, call.target)
            traces = [traced(solution, call, (Exercise,), LONGEST_SOLUTION) for solution in solutions]
            if None not in traces:  # else it would be said of a right step that no solution has it
                pools[i] = pool_of(call, traces)
    return pools


def load_homework(folder: Path) -> Homework:
    """The `Homework` that ``folder/exercises.py`` makes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it makes no `Homework` called `homework`.
    """
    path = Path(folder) / "exercises.py"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: a homework's exercises are described there")
    spec = importlib.util.spec_from_file_location(f"exercises_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    # What stands in the file, and no compiled file beside it: Python knows whether that is up to date from dates only.
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    homework = getattr(module, "homework", None)
    if not isinstance(homework, Homework):
        raise ValueError(f"{path} must define `homework = Homework({path.parent.name!r})`")
    return homework

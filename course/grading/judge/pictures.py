"""Pictures for the feedback page: expected, yours, difference, on the inputs of the check that the notebook brings.

They show what a student's own `check` shows and no more. Where the mistake has a name, the stored results of that
mistake are drawn, and none of the student's code is run for it. Elsewhere it is run once more, in a fresh child that
has never seen a hidden input: an answer that kept the hidden inputs could otherwise show them here as its result.

A picture is plain data that JSON can hold: ``what`` is drawn, whether it is that ``of_mistake`` with a name, and its
``panels``, each with a ``title``, a line ``about`` shape and range, and an ``address``: a PNG inside a data URI.
"""

import base64
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course.checks import public
from course.checks.calls import Observation, calls_to_bytes
from course.checks.compare import Expected, judge
from course.checks.show import worth_comparing
from course.grading.judge.exercise import ExerciseResult, one_line
from course.grading.read.merge import Merged
from course.grading.run.child import Child, ChildLost, Question, start_child
from course.grading.run.submission import Lost
from course.grading.sandbox import CannotStart, Sandbox
from course.grading.statuses import Outcome

MOST_SECONDS = 10.0  # for the pictures of a submission that is run once more
MOST_ROWS = 48  # and columns of a matrix that is drawn
LARGEST = 60_000  # characters of a picture in the page


class PublicChecks:
    """The check data beside the released notebook, without the calls that train: these take seconds, and are judged
    by accuracy, of which there is no picture. Read when the first picture is asked for."""

    def __init__(self, folder: Path):
        """`folder` holds the homework's ``checks.safetensors``; where it does not, there are no pictures."""
        self._path = folder / public.FILE_NAME
        self._drawn: dict[tuple[str, str], dict[str, Any] | None] = {}

    def __reduce__(self):
        return _with_all, (self._path.parent, self.expected, self.questions)  # on another machine is no such file

    @cached_property
    def expected(self) -> dict[str, Expected]:
        """By exercise, what is right there."""
        return {name: expected for name, (expected, _) in self._all.items()}

    @cached_property
    def questions(self) -> dict[str, Question]:
        return {name: question for name, (_, question) in self._all.items()}

    @cached_property
    def _all(self) -> dict[str, tuple[Expected, Question]]:
        found: dict[str, tuple[Expected, Question]] = {}
        if not self._path.is_file():
            return found
        for name in public.exercise_points(self._path):
            check = public.read(self._path, name)
            exact = min(check.expected.goals, default=check.expected.calls)  # goals come last
            if exact:
                expected = replace(check.expected, goals={}, calls=exact)
                calls = calls_to_bytes(check.calls[:exact])
                largest = 2**20 + 16 * sum(tensor.nbytes for tensor in expected.answer.tensors.values()) + len(calls)
                found[name] = expected, Question(calls, largest)
        return found

    def of_mistake(self, name: str, sentence: str) -> dict[str, Any] | None:
        """The picture of a named mistake: drawn once for all who made it."""
        key = (name, sentence)
        if key not in self._drawn:
            known = self.expected[name].mistakes if name in self.expected else ()
            stored = next((seen for written, seen in known if one_line(written) == sentence), None)
            self._drawn[key] = draw(self.expected[name], stored, of_mistake=True) if stored else None
        return self._drawn[key]


def _with_all(folder: Path, expected: dict[str, Expected], questions: dict[str, Question]) -> PublicChecks:
    checks = PublicChecks(folder)
    vars(checks).update(expected=expected, questions=questions)
    return checks


def with_pictures(
    results: tuple[ExerciseResult, ...],
    observations: dict[str, Observation | Lost],
    merged: Merged,
    checks: PublicChecks,
    sandbox: Sandbox,
) -> tuple[ExerciseResult, ...]:
    """The results, those that are wrong in their values with a picture. Everything else about them stays as it is.

    Raises:
        Stopped: see `Limits`.
    """
    pictures: dict[str, dict[str, Any] | None] = {}
    ask = []
    for result in results:
        seen = observations.get(result.name)
        if result.outcome != Outcome.WRONG:
            continue
        if result.named:
            pictures[result.name] = checks.of_mistake(result.name, result.sentence)
        elif isinstance(seen, Observation) and not seen.notes and result.name in checks.questions:
            ask.append(result.name)  # of an error or a wrong type there is no picture
    for name, seen in _observe_public(ask, merged, checks, sandbox).items():
        pictures[name] = draw(checks.expected[name], seen, of_mistake=False)
    return tuple(replace(result, picture=pictures.get(result.name)) for result in results)


def draw(expected: Expected, seen: Observation, *, of_mistake: bool) -> dict[str, Any] | None:
    """The first thing that differs; None where there is nothing to see. `seen` may be of a student's making."""
    try:
        verdict = judge(expected, seen)
        if verdict.picture is None:
            return None
        what, wanted, got = verdict.picture
        panels = list(_panels(wanted, got, "with this mistake" if of_mistake else "yours"))
    except Exception:  # tensors of a kind that cannot be compared or drawn
        return None
    if sum(len(panel["address"]) for panel in panels) > LARGEST:
        return None
    return {"what": what, "of_mistake": of_mistake, "panels": panels}


def _observe_public(names: list[str], merged: Merged, checks: PublicChecks, sandbox: Sandbox) -> dict[str, Observation]:
    """What the student's code does with the public inputs, as far as a few seconds reach."""
    seen: dict[str, Observation] = {}
    if not names:
        return seen
    try:
        with start_child(sandbox) as child:
            deadline = time.monotonic() + min(MOST_SECONDS, sandbox.limits.timeout)
            left = lambda: max(0.01, deadline - time.monotonic())
            _execute(child, merged, left)
            for name in names:
                seen[name] = child.observe(checks.questions[name], left())
    except (ChildLost, CannotStart):
        pass  # points and sentence stand without a picture
    return seen


def _execute(child: Child, merged: Merged, left: Callable[[], float]) -> None:
    child.know(merged.modules, left())
    for cell in merged.cells:
        child.run(cell, left(), cell.skip)


def _panels(expected: Tensor, yours: Tensor, title: str) -> Iterator[dict[str, str]]:
    wanted, got = (matrix[:MOST_ROWS, :MOST_ROWS] for matrix in worth_comparing(expected, yours))
    values = torch.cat([matrix[matrix.isfinite()] for matrix in (wanted, got)])
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    scale = f"dark {low:.3g}, bright {high:.3g}" if low < high else f"all {low:.3g}"
    yield _panel("expected", f"shape {tuple(expected.shape)}; {scale}", wanted, "viridis", low, high)
    yield _panel(title, _about(yours, got), got, "viridis", low, high)
    if expected.shape == yours.shape:
        difference = got - wanted
        finite = difference[difference.isfinite()]
        reach = float(finite.abs().max()) if len(finite) else 0.0
        about = f"blue {-reach:.3g}, white 0, red {reach:.3g}"
        yield _panel(f"{title} − expected", about, difference, "RdBu_r", -(reach or 1.0), reach or 1.0)


def _about(tensor: Tensor, drawn: Tensor) -> str:
    shape = f"shape {tuple(tensor.shape)}" if tensor.ndim <= 8 else f"{tensor.ndim} axes"
    blank = "" if drawn.isfinite().all() else "; blank where NaN or infinite"
    return f"{shape}; same colours{blank}"


def _panel(title: str, about: str, matrix: Tensor, colours: str, low: float, high: float) -> dict[str, str]:
    from matplotlib import image  # a matplotlib figure with axes takes 200 times as long

    finite = matrix.nan_to_num(torch.nan, torch.nan, torch.nan).numpy()
    png = io.BytesIO()
    image.imsave(png, finite, cmap=colours, vmin=low, vmax=high if high > low else low + 1.0, format="png")
    address = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    return {"title": title, "about": about, "address": address}

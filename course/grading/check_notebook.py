"""``course check``: all checks of a student's own notebook in a terminal, on the public inputs beside it."""

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

from course.checks import Verdict, again, judge, public
from course.checks.calls import Observation, calls_to_bytes
from course.grading.exam import question_for
from course.grading.judge.exercise import one_line
from course.grading.limits import Limits
from course.grading.problems import Unreadable
from course.grading.read.cells import Cell, cells_from_bytes, normal_text
from course.grading.read.merge import Merged, Template, TemplateExercise, merge
from course.grading.read.rules import rule_broken
from course.grading.record.result import number
from course.grading.run.submission import Lost, run_submission
from course.grading.sandbox import CannotStart, Sandbox
from course.grading.statuses import Outcome

_CHECK = re.compile(r"^[^\S\n]*check\(\s*[\"'](hw\d+\.\w+)[\"']", re.MULTILINE)
_LOOK = {
    Outcome.RIGHT: ("✓", "32"),
    Outcome.WRONG: ("✗", "31"),
    Outcome.LOST: ("✗", "31"),
    Outcome.NOT_STARTED: ("○", "90"),
    Outcome.MISSING: ("○", "90"),
}


class CannotCheck(Exception):
    """The notebook or its check data cannot be read; the text says why and what to do."""


def check_command(notebook: Path) -> int:
    """Run a notebook's exercises as grading would and print a line for each: sign, name, points, sentence.

    Returns:
        0 if all is right, 1 if not, 2 if the notebook or its check data cannot be read.
    """
    try:
        verdicts, points = check_notebook(Path(notebook))
    except (CannotCheck, CannotStart) as problem:
        print(f"course check: {problem}", file=sys.stderr)
        return 2
    width = max(map(len, verdicts))
    for name, verdict in verdicts.items():
        part = f"{verdict.earned[:1].upper()}{verdict.earned[1:]}. " if verdict.earned else ""
        said = "" if verdict.status == Outcome.RIGHT else one_line(f"{part}{verdict.sentence} {verdict.detail}")
        sign = _coloured(*_LOOK[verdict.status])
        earned = number(verdict.points(points[name]))
        print(f"{sign} {name:<{width}}  {earned:>4} of {number(points[name]):>3}  {said}".rstrip())
    earned = sum(verdict.points(points[name]) for name, verdict in verdicts.items())
    whole = sum(points.values())
    print(f"{number(earned)} of {number(whole)} point{'' if whole == 1 else 's'} on the public checks.")
    return 0 if all(verdict.status == Outcome.RIGHT for verdict in verdicts.values()) else 1


def check_notebook(path: Path, limits: Limits | None = None) -> tuple[dict[str, Verdict], dict[str, float]]:
    """(verdict by exercise, points by exercise), in the order of the homework.

    Raises:
        CannotCheck: see there.
        CannotStart: no child process could be started.
    """
    if os.name != "posix":
        raise CannotCheck("this command needs Linux or macOS; run the check cells in the notebook instead.")
    try:
        cells = cells_from_bytes(path.read_bytes())
    except OSError as error:
        raise CannotCheck(f"{path} cannot be read: {error.strerror}.") from None
    except Unreadable as problem:
        raise CannotCheck(f"{path}: {problem}") from None
    try:
        data = public.find(_an_exercise_of(cells, path), path.resolve().parent)
        points = public.exercise_points(data)
        checks = {name: public.read(data, name) for name in points}
    except (FileNotFoundError, ValueError) as error:
        raise CannotCheck(f"{error}.") from None
    # There is no instructor's notebook here: the student's own setup cell stands in for it, and what the course shows
    # between the exercises is known by its ids.
    setup = tuple(cell.source for cell in cells if cell.kind == "code" and cell.is_setup)
    shown = [cell.source for cell in cells if cell.is_as_built]
    template = Template(
        setup=setup,
        exercises=tuple(TemplateExercise(name, check.targets) for name, check in checks.items()),
        labelled={name: Cell("code", "", name) for name in checks},
        texts=frozenset(map(normal_text, [*setup, *shown])),
    )
    if sys.stderr.isatty():
        print(f"Running the exercises of {path.name}, a few seconds …", file=sys.stderr)
    merged = merge(template, cells)
    questions = {
        name: question_for(calls_to_bytes(check.calls), check.expected, check.forbidden)
        for name, check in checks.items()
    }
    with Sandbox(limits or Limits(enforced=False)) as sandbox:  # it is the student's own code and machine
        # All of it is the student's own, the inputs too: errors are told as they are.
        outcome = run_submission(merged, questions, sandbox, quote=lambda error, cell: error)
    for message in [*merged.messages, *outcome.messages]:
        print(one_line(message), file=sys.stderr)
    broken = rule_broken(merged, {name: check.forbidden for name, check in checks.items()})
    seen = outcome.exercises
    verdicts = {name: _verdict(check, seen.get(name), broken.get(name)) for name, check in checks.items()}
    return _with_places(verdicts, merged, data), points


def _verdict(check: public.PublicCheck, seen: Observation | Lost | None, broken: str | None) -> Verdict:
    if seen is None:
        return Verdict(Outcome.MISSING, "The cell of this exercise is missing from the notebook.")
    if isinstance(seen, Lost):
        return Verdict(Outcome.LOST, seen.sentence)
    return judge(check.expected, seen, broken)


def _with_places(verdicts: dict[str, Verdict], merged: Merged, data: Path) -> dict[str, Verdict]:
    """The same, with the line to look at where no mistake was named."""
    wrong = {name: verdict.call for name, verdict in verdicts.items() if verdict.call is not None}
    if not wrong:
        return verdicts
    cells = [{"label": cell.label, "source": cell.source, "keep": list(cell.keep)} for cell in merged.cells]
    said = again.places(cells, data, wrong)
    return {
        name: replace(verdict, detail=f"{said[name]} {verdict.detail}".rstrip()) if name in said else verdict
        for name, verdict in verdicts.items()
    }


def _an_exercise_of(cells: list[Cell], path: Path) -> str:
    """``"hw1.attention_scores"``: the first that the notebook checks; ``"hw1.?"`` if only the file's name tells."""
    for cell in cells:
        match = _CHECK.search(cell.source) if cell.kind == "code" else None
        if match:
            return match[1]
    match = re.match(r"hw\d+", path.name) or re.match(r"hw\d+", path.resolve().parent.name)
    if match is None:
        raise CannotCheck(f"{path} has no check cell, so it is not known which homework it is.")
    return f"{match[0]}.?"


def _coloured(sign: str, colour: str) -> str:
    return f"\033[{colour}m{sign}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else sign

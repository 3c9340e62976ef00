"""``course check``: all checks of a student's own notebook in a terminal, on the public inputs beside it."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from course.checks import Verdict, again, judge, public
from course.checks.calls import Observation, calls_to_bytes
from course.checks.hints import hints_text, with_hints
from course.grading.collect.modules import modules_in
from course.grading.exam import question_for
from course.grading.judge.exercise import one_line
from course.grading.limits import Limits
from course.grading.own_notebook import CannotCheck, OwnNotebook
from course.grading.read.cells import Cell, normal_text
from course.grading.read.merge import Merged, Template, TemplateExercise, merge
from course.grading.read.rules import rule_broken
from course.grading.record.result import number
from course.grading.run.submission import Lost, run_submission
from course.grading.sandbox import CannotStart, Sandbox
from course.grading.statuses import Outcome

_LOOK = {
    Outcome.RIGHT: ("✓", "32"),
    Outcome.WRONG: ("✗", "31"),
    Outcome.LOST: ("✗", "31"),
    Outcome.NOT_STARTED: ("○", "90"),
    Outcome.MISSING: ("○", "90"),
}


def run_checks(own: OwnNotebook, limits: Limits | None = None) -> int:
    """Run the exercises as grading would and print a line for each: sign, name, points, sentence.

    Returns:
        0 if all is right, 1 if not.

    Raises:
        CannotCheck: see `check_notebook`.
    """
    try:
        verdicts, points = check_notebook(own, limits)
    except CannotStart as problem:
        raise CannotCheck(str(problem)) from None
    width = max(map(len, verdicts))
    for name, verdict in verdicts.items():
        part = f"{verdict.earned[:1].upper()}{verdict.earned[1:]}. " if verdict.earned else ""
        said = "" if verdict.status == Outcome.RIGHT else one_line(f"{part}{verdict.sentence} {verdict.detail}")
        sign = _coloured(*_LOOK[verdict.status])
        earned = number(verdict.points(points[name]))
        print(
            f"{sign} {name:<{width}}  {earned:>4} of {number(points[name]):>3}  {said}".rstrip()
            + hints_text(verdict.hints)
        )
    earned = sum(verdict.points(points[name]) for name, verdict in verdicts.items())
    whole = sum(points.values())
    print(f"{number(earned)} of {number(whole)} point{'' if whole == 1 else 's'} on the public checks.")
    return 0 if all(verdict.status == Outcome.RIGHT for verdict in verdicts.values()) else 1


def check_notebook(own: OwnNotebook, limits: Limits | None = None) -> tuple[dict[str, Verdict], dict[str, float]]:
    """(verdict by exercise, points by exercise), in the order of the homework.

    Raises:
        CannotCheck: its check data is not there or damaged.
        CannotStart: no child process could be started.
    """
    path, cells = own.path, own.cells
    try:
        data = public.find(own.exercise, path.resolve().parent)
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
    modules, unread = modules_in(path.resolve().parent, cells)
    merged = merge(template, cells, modules)
    questions = {
        name: question_for(calls_to_bytes(check.calls), check.expected, check.forbidden)
        for name, check in checks.items()
    }
    with Sandbox(limits or Limits(enforced=False)) as sandbox:  # it is the student's own code and machine
        # All of it is the student's own, the inputs too: errors are told as they are.
        outcome = run_submission(merged, questions, sandbox, quote=lambda error, cell: error)
    mishaps = [mishap.sentence for mishap in outcome.mishaps]
    for message in [*unread, *merged.messages, *outcome.messages, *mishaps]:
        print(one_line(message), file=sys.stderr)
    broken = rule_broken(merged, {name: check.forbidden for name, check in checks.items()})
    seen = outcome.exercises
    verdicts = {name: _verdict(check, seen.get(name), broken.get(name)) for name, check in checks.items()}
    return _with_places(verdicts, merged, data), points


def _verdict(check: public.PublicCheck, seen: Observation | Lost | None, broken: str | None) -> Verdict:
    if seen is None:
        return Verdict(Outcome.MISSING, "The cell of this exercise is missing from the notebook.")
    if isinstance(seen, Lost):
        return with_hints(Verdict(Outcome.LOST, seen.sentence), check.hints)
    return with_hints(judge(check.expected, seen, broken), check.hints)


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


def _coloured(sign: str, colour: str) -> str:
    return f"\033[{colour}m{sign}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else sign

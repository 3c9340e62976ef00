"""The line that a check points at: is it the one that was disturbed? Every homework's own right answers are tried."""

import ast
import itertools
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from course.checks import load_homework, place, trace
from course.checks.compare import same_in_call
from course.checks.exercise import PUBLIC_SEED, Exercise, Homework, solutions_of
from course.checks.fingerprints import Pool
from course.checks.place import first_wrong, pool_of

ROOT = Path(__file__).resolve().parents[2]
TOPICS = [folder.name for folder in sorted(ROOT.glob("solutions/hw*_*/")) if (folder / "exercises.py").is_file()]
RIGHT, WRONG = 0.90, 0.03  # at least, at most
SAMPLE = 4  # of the short form: every fourth statement


@cache
def homework_in(topic: str) -> Homework:
    return load_homework(ROOT / "solutions" / topic)


class Disturbing(trace.Recorder):
    """Changes the values of one place: by a tenth and a ripple, or by moving each number on by one."""

    place = -1
    kind = "scale"
    hits = 0

    def value(self, number, value):
        return super().value(number, self._disturbed(number, value))

    def returned(self, number, value):
        value = self._disturbed(number, value)
        self.disturbed, before = True, getattr(self, "disturbed", False)
        try:
            return super().returned(number, value)
        finally:
            self.disturbed = before

    disturbed = False  # already, on the way here

    def _disturbed(self, number, value):
        if number != Disturbing.place or self.disturbed:
            return value
        scale = Disturbing.kind == "scale"
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            if scale:
                ripple = torch.cos(torch.arange(value.numel(), dtype=value.dtype)).view(value.shape)
                new = 1.1 * value + 0.03 * ripple
            else:
                new = value.reshape(-1).roll(1).view(value.shape)
        elif scale and (isinstance(value, float) or (type(value) is int and value >= place.SMALL)):
            new = value * 1.1 if isinstance(value, float) else value + value // 10
        else:
            return value
        Disturbing.hits += 1
        return new


def outcomes(exercise: Exercise, every: int, monkeypatch) -> Counter:
    """How often the disturbed statement was found, a later one, an earlier one, or none."""
    found: Counter = Counter()
    goals = exercise.goals_for(PUBLIC_SEED)
    calls = [(i, call) for i, call in enumerate(exercise.calls(PUBLIC_SEED)) if i not in goals]
    first = {call.target: (i, call) for i, call in reversed(calls)}
    for i, call in first.values():
        solutions = solutions_of(exercise, call.target)
        traces = [trace.traced(each, call, (Exercise,), 60) for each in solutions]
        assert None not in traces, "every right solution can be traced"
        pool = pool_of(call, traces)
        answer = exercise.observe([replace(call, gradients=())])
        for solution, right in zip(solutions, traces):
            statements = [k for k, each in enumerate(right.places) if each.kind in ("value", "result")]
            tries = [(k, kind) for k in statements for kind in ("scale", "order")]
            for Disturbing.place, Disturbing.kind in tries[:: every]:
                Disturbing.hits = 0
                with monkeypatch.context() as patched:
                    patched.setattr(trace, "Recorder", Disturbing)
                    wrong = trace.traced(solution, call, (Exercise,), 60)
                if wrong is None or not Disturbing.hits or same_in_call(0, answer, wrong.seen, exercise.tolerance):
                    continue
                found[outcome(wrong, first_wrong(wrong, call, pool, answer, 0))] += 1
    return found


def outcome(wrong: trace.Trace, at: place.Found | None) -> str:
    if at is None:
        return "none"
    (first, _, last, _), (begin, _, end, _) = wrong.places[Disturbing.place].span, wrong.places[at.record.place].span
    if first <= end and begin <= last:
        return "right"
    disturbed = [k for k, record in enumerate(wrong.records) if record.place == Disturbing.place]
    if at.record.origins & set(disturbed):
        return "after"
    return "later" if wrong.records.index(at.record) > disturbed[0] else "wrong"

"""Compare what a student's code did with what it should have done: a verdict, which names the mistake."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import torch
from torch import Tensor

from course.checks.calls import FORBIDDEN, Accuracy, Observation
from course.checks.credit import ALL_OR_NOTHING, Credit
from course.checks.rounding import NOISE_FACTOR, close

RIGHT, WRONG, NOT_STARTED = "right", "wrong", "not started"


@dataclass(frozen=True)
class Expected:
    """Everything one exercise is judged by, as data: no code of an answer or of a mistake.

    Args:
        answer: what the right answer does on the calls.
        mistakes: (sentence, what that mistake does on the same calls), the likeliest first.
        goals: calls that are judged by accuracy instead, by number.
        tolerance: largest absolute difference, plus the same relative to the expected value; what is rounding
            noise comes on top (`course.checks.rounding`).
        calls: how many calls were made.
        credit: what an answer is worth that is right in parts.
    """

    answer: Observation
    mistakes: list[tuple[str, Observation]]
    goals: dict[int, Accuracy]
    tolerance: float
    calls: int
    credit: Credit = ALL_OR_NOTHING


@dataclass(frozen=True)
class Verdict:
    """The outcome of one exercise.

    `sentence` may be shown to anyone; `detail` and `picture` (name, expected, yours) show values of the inputs at
    hand, so they are only for inputs that the student may see. `share` of the points is earned, 0 to 1; of a part,
    `earned` says for what.
    """

    status: str
    sentence: str = ""
    detail: str = ""
    picture: tuple[str, Tensor, Tensor] | None = field(default=None, compare=False)
    named: bool = False
    share: float = 0.0
    earned: str = ""

    def points(self, of: float) -> float:
        """Of so many points; a part of them is rounded down to hundredths."""
        return of if self.share == 1 else math.floor(100 * of * self.share + 1e-6) / 100


def judge(
    expected: Expected,
    seen: Observation,
    rule_broken: str | None = None,
    sizes: Sequence[Collection[int]] | None = None,
) -> Verdict:
    """Compare what the student's code did with the right answer, then with the named mistakes, then in general.

    Args:
        rule_broken: the sentence about a forbidden name in the student's source: then nothing is earned. What was
            refused at run time stands in the notes and counts the same.
        sizes: where the inputs are hidden, by call the sizes that a sentence may name; everything else about what the
            student's code returned is then said in a few fixed words, since any number could carry an input. None: the
            student may see the inputs, and the numbers are said as they are.
    """
    verdict = _compare(expected, seen, sizes)
    refused = seen.notes.get(FORBIDDEN)
    if refused or (rule_broken and verdict.status == RIGHT):
        return Verdict(WRONG, refused or rule_broken)
    return replace(verdict, share=0.0, earned="") if rule_broken else verdict


def _compare(expected: Expected, seen: Observation, sizes: Sequence[Collection[int]] | None) -> Verdict:
    unwritten = [note for key, note in seen.notes.items() if key.endswith(".unwritten")]
    if unwritten:
        return Verdict(NOT_STARTED, f"{unwritten[0]} is not written yet.")
    right = [_call_is_right(i, expected, seen) for i in range(expected.calls)]
    if all(right):
        return Verdict(RIGHT, "All right.", share=1.0)
    first = right.index(False)
    share, earned = _parts(expected, seen)
    for sentence, mistake in expected.mistakes:
        if _is_mistake(mistake, right, expected, seen):
            picture = _picture(first, expected, seen)
            return Verdict(WRONG, sentence, picture=picture, named=True, share=share, earned=earned)
    sentence, detail = _describe(first, expected, seen, sizes[first] if sizes is not None else None)
    return Verdict(WRONG, sentence, detail, _picture(first, expected, seen), share=share, earned=earned)


def _parts(expected: Expected, seen: Observation) -> tuple[float, str]:
    """(the share of the points, what it is for) of an answer that is not all right."""
    exact = [i for i in range(expected.calls) if i not in expected.goals]
    shape = all(_same_shapes(i, expected.answer, seen) for i in exact)
    values = shape and all(
        _call_is_right(i, expected, seen) if i in expected.goals else _same_values(i, expected, seen)
        for i in range(expected.calls)
    )
    asked = any(".grad." in key for key in expected.answer.tensors)
    # Where every result is a single number, or what was trained, any answer has the right shape.
    has_shape = any(value.ndim for key, value in expected.answer.tensors.items() if ".grad." not in key)
    share = expected.credit.earned(shape and (has_shape or values), values, asked)
    if not share:
        return 0.0, ""
    if values and asked and expected.credit.gradients:
        return share, "the values are right, the gradients are not"
    return share, "the shape is right"


def _same_shapes(i: int, a: Observation, b: Observation) -> bool:
    """Are the results of call `i`, without its gradients, all there and of the same shapes and kinds?"""
    keys = [key for key in _keys(i, a) if ".grad." not in key]
    return keys == [key for key in _keys(i, b) if ".grad." not in key] and all(
        _same_kind(a.tensors[key], b.tensors[key]) for key in keys
    )


def _same_values(i: int, expected: Expected, seen: Observation) -> bool:
    """Is call `i` right but for its gradients?"""
    without = lambda observation: Observation(
        {key: value for key, value in observation.tensors.items() if ".grad." not in key},
        {key: note for key, note in observation.notes.items() if not key.endswith(".no_gradient")},
        observation.noise,
    )
    return same_in_call(i, without(expected.answer), without(seen), expected.tolerance)


def _same_kind(expected: Tensor, seen: Tensor) -> bool:
    return (
        expected.shape == seen.shape
        and (expected.dtype == torch.bool) == (seen.dtype == torch.bool)
        and expected.is_complex() == seen.is_complex()
    )


def _call_is_right(i: int, expected: Expected, seen: Observation) -> bool:
    if i in expected.goals:
        return _accuracy(i, expected, seen) >= expected.goals[i].at_least
    return same_in_call(i, expected.answer, seen, expected.tolerance)


def _is_mistake(mistake: Observation, right: list[bool], expected: Expected, seen: Observation) -> bool:
    """Every call went either right or exactly as with this mistake, and at least one went wrong.

    A mistake often shows on some inputs only, such as those with a mask. Calls that are judged by accuracy say
    nothing about which mistake it was, unless no call is left that could.
    """
    exact = [i for i in range(expected.calls) if i not in expected.goals]
    if all(right[i] for i in exact):
        exact = list(expected.goals)
    return all(right[i] or same_in_call(i, mistake, seen, expected.tolerance) for i in exact)


def same_in_call(i: int, a: Observation, b: Observation, tolerance: float) -> bool:
    """Does `b` show in call `i` what `a` shows, but for rounding, and the same kind of error?"""
    return (
        _notes(i, a) == _notes(i, b)
        and _keys(i, a) == _keys(i, b)
        and all(_close(key, a, b.tensors[key], tolerance) for key in _keys(i, a))
    )


def _keys(i: int, observation: Observation) -> list[str]:
    return sorted(key for key in observation.tensors if key.startswith(f"{i}."))


def _notes(i: int, observation: Observation) -> dict[str, str]:
    # Of an error only its class counts: texts and line numbers differ from one student to the next.
    return {
        key: note.split(":")[0] if key.endswith(".error") else note
        for key, note in observation.notes.items()
        if key.startswith(f"{i}.")
    }


def _close(key: str, expected: Observation, seen: Tensor, tolerance: float) -> bool:
    wanted = expected.tensors[key]
    return _same_kind(wanted, seen) and close(wanted, seen, tolerance, expected.noise.get(key, 0.0))


def _accuracy(i: int, expected: Expected, seen: Observation) -> float:
    labels = expected.goals[i].labels
    scores = [value for key, value in seen.tensors.items() if key.startswith(f"{i}.after.")]
    if len(scores) != 1 or scores[0].ndim != 2 or len(scores[0]) != len(labels) or not scores[0].shape[1]:
        return 0.0
    if scores[0].is_complex() or not scores[0].double().isfinite().all():
        return 0.0  # of a row of NaN, argmax would make class 0
    return float((scores[0].double().argmax(dim=1) == labels).double().mean())


def _first_wrong(i: int, expected: Expected, seen: Observation) -> str | None:
    """The first compared tensor of call `i` that is missing or differs: results before gradients."""
    keys = sorted(_keys(i, expected.answer), key=lambda key: (".grad." in key, key))
    for key in keys:
        if key not in seen.tensors or not _close(key, expected.answer, seen.tensors[key], expected.tolerance):
            return key
    return None


def _picture(i: int, expected: Expected, seen: Observation) -> tuple[str, Tensor, Tensor] | None:
    key = None if i in expected.goals else _first_wrong(i, expected, seen)
    if key is None or key not in seen.tensors:
        return None
    return _spoken(key), expected.answer.tensors[key], seen.tensors[key]


def _describe(i: int, expected: Expected, seen: Observation, sizes: Collection[int] | None) -> tuple[str, str]:
    """What can be said of a wrong call that matches no named mistake: (sentence, detail with values)."""
    notes = {key.split(".", 1)[1]: note for key, note in seen.notes.items() if key.startswith(f"{i}.")}
    if "undefined" in notes:
        return f"{notes['undefined']} is not defined: run the cell that defines it, under that name.", ""
    if "error" in notes:
        return f"Your code stopped with {notes['error']}", ""
    if "parameters" in notes:
        return f"The names or shapes of your parameters do not fit: {notes['parameters']}.", ""
    if i in expected.goals:
        share, goal = _accuracy(i, expected, seen), expected.goals[i]
        return (
            f"After training, {_share(share, sizes)} of {len(goal.labels)} held-out examples are right; "
            f"{goal.at_least:.0%} are needed.",
            "",
        )
    if "type" in notes:
        if notes["type"] == "nothing":
            return "Your code returned nothing: is there a `return` at its end?", ""
        return f"Your code returned {notes['type']}, where a torch tensor is expected.", ""
    if "changed" in notes:
        return f"Your code changes its input `{notes['changed']}` in place: work on a new tensor instead.", ""
    key = _first_wrong(i, expected, seen)
    if key is None:
        extra = sorted(set(_keys(i, seen)) - set(_keys(i, expected.answer)))
        return f"Your code returned more than was asked for ({', '.join(map(_spoken, extra))}).", ""
    if key not in seen.tensors:
        if "no_gradient" in notes:
            return (
                "The values are right, but no gradient flows back from your result to the inputs: "
                "something cuts it off (`.detach()`, `.data`, `torch.no_grad()`, NumPy or a new tensor made from "
                "numbers).",
                "",
            )
        return f"Your code did not return the {_spoken(key)}.", ""
    return _describe_tensor(key, expected, seen.tensors[key], sizes)


def _spoken(key: str) -> str:
    kind, _, name = key.split(".", 1)[1].partition(".")
    if kind == "grad":
        return f"gradient with respect to {name}"
    return f"result number {int(name) + 1}" if name.isdigit() else "result"


def _describe_tensor(key: str, asked: Expected, seen: Tensor, sizes: Collection[int] | None) -> tuple[str, str]:
    what, expected, tolerance = _spoken(key), asked.answer.tensors[key], asked.tolerance
    if expected.shape != seen.shape:
        for order in permutations(range(seen.ndim)) if seen.ndim == expected.ndim <= 5 else ():
            turned = seen.permute(order)
            if turned.shape == expected.shape and _close(key, asked.answer, turned, tolerance):
                return f"The {what} has the right numbers, but its axes are in another order: " + _shapes(
                    expected, seen, sizes
                ), ""
        return f"The {what} has the wrong shape: {_shapes(expected, seen, sizes)}", ""
    if (expected.dtype == torch.bool) != (seen.dtype == torch.bool):
        wanted = "True/False (dtype torch.bool)" if expected.dtype == torch.bool else "numbers"
        return f"The {what} should hold {wanted}; yours has dtype {seen.dtype}.", ""
    if seen.is_complex() and not expected.is_complex():
        return f"The {what} should hold real numbers; yours are complex ({seen.dtype}).", ""
    if seen.is_floating_point() and not seen.isfinite().all() and expected.isfinite().all():
        bad = int((~seen.isfinite()).sum())
        some = bad if sizes is None or bad in (1, seen.numel()) else "Some"
        return f"{some} of {seen.numel()} values of the {what} are NaN or infinite.", ""
    a, b = expected.double(), seen.double()
    wrong = ~torch.isclose(b, a, rtol=tolerance, atol=tolerance + NOISE_FACTOR * asked.answer.noise.get(key, 0.0))
    factor = float((a * b).sum() / (a * a).sum()) if float((a * a).sum()) > 0 else 0.0
    if abs(factor) > tolerance and torch.allclose(b, factor * a, rtol=10 * tolerance, atol=10 * tolerance):
        simple = factor if sizes is None else _simple(factor, sizes)
        times = "a number" if simple is None else f"{simple:.4g}"
        return f"The {what} is the right one times {times}: a factor is missing or too many.", ""
    at = tuple(torch.unravel_index((wrong * (b - a).abs().nan_to_num(torch.inf)).argmax(), a.shape))
    index = ", ".join(str(int(k)) for k in at)
    share = float(wrong.double().mean())
    return (
        f"The {what} has the right shape, but {_share(share, sizes)} of its values differ from what is expected."
        if share >= 0.005
        else f"The {what} has the right shape, but some of its values differ from what is expected.",
        f"Largest difference at [{index}]: expected {float(a[at]):.4g}, yours {float(b[at]):.4g}.",
    )


def _shapes(expected: Tensor, seen: Tensor, sizes: Collection[int] | None) -> str:
    shape = tuple(seen.shape)
    if sizes is not None and len(shape) > expected.ndim + 2:
        return f"expected {tuple(expected.shape)}, yours has too many axes."
    known = [str(size) if sizes is None or size in sizes else "…" for size in shape]
    return f"expected {tuple(expected.shape)}, yours is ({', '.join(known)}{',' if len(known) == 1 else ''})."


def _share(share: float, sizes: Collection[int] | None) -> str:
    """In percent; of hidden inputs in tens, unless it is all or nothing."""
    if sizes is None or share in (0, 1):
        return f"{share:.0%}"
    tens = round(10 * share)
    return {0: "almost none", 10: "almost all"}.get(tens, f"about {10 * tens}%")


def _simple(factor: float, sizes: Collection[int]) -> float | None:
    """What `factor` is nearly: a small whole number, a size, the root of one, or one of these as a divisor."""
    for number in sorted({*range(1, 11), *(size for size in sizes if size)}):
        for simple in (number, 1 / number, number**0.5, number**-0.5):
            if math.isclose(abs(factor), simple, rel_tol=1e-3):
                return math.copysign(simple, factor)
    return None

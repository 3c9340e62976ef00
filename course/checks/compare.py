"""Compare what a student's code did with what it should have done: a verdict, which names the mistake."""

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from course.checks.calls import FORBIDDEN, PLAIN, Accuracy, Call, Observation, Probe, Seeded
from course.checks.credit import ALL_OR_NOTHING, Credit
from course.checks.observe import HANGING
from course.checks.place import Place
from course.checks.probes import RANDOM_NUMBERS
from course.checks.rounding import NOISE_FACTOR, close

RIGHT, WRONG, NOT_STARTED = "right", "wrong", "not started"

MANY = 6  # elements, of which a common factor says something
FEW = 3  # elements, of which it may be said that they are nearly right
NEARLY = 0.01  # of the root mean square: so far off are another eps, another form of GELU, another fill value
MOST_AT_ONCE = 2  # mistakes that are said of different calls
_IN_PLACE = "modified by an inplace operation"  # torch, of what a gradient needed


Named = tuple[str, Observation]


class Mistakes(Sequence):
    """The mistakes of `Expected`, worked out when somebody first looks: a right answer needs none of them.

    Args:
        work_out: gives the list. It is called once, by one thread, with torch's random numbers for itself.
    """

    def __init__(self, work_out: Callable[[], list[Named]]):
        self._work_out: Callable[[], list[Named]] | None = work_out
        self._found: list[Named] = []

    def __getitem__(self, k):
        return self._all()[k]

    def __len__(self) -> int:
        return len(self._all())

    def __reduce__(self):
        return list, (self._all(),)  # on another machine, their code is not there

    def _all(self) -> list[Named]:
        with RANDOM_NUMBERS:
            if self._work_out is not None:
                self._found = self._work_out()
                self._work_out = None
        return self._found


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
        made: the calls themselves, for the words; without them, these say less.
    """

    answer: Observation
    mistakes: Sequence[Named]
    goals: dict[int, Accuracy]
    tolerance: float
    calls: int
    credit: Credit = ALL_OR_NOTHING
    made: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The outcome of one exercise.

    `sentence` may be shown to anyone; `detail` and `picture` (name, expected, yours) show values of the inputs at
    hand, so they are only for inputs that the student may see. `call` is the number of the first that went wrong, and
    `place` where in the student's code (`course.checks.place`), if it was looked for. `share` of the points is earned, 0 to 1; of a part,
    `earned` says for what. `hints` are what the card folds away (`course.checks.hints`), the smallest help first.
    """

    status: str
    sentence: str = ""
    detail: str = ""
    picture: tuple[str, Tensor, Tensor] | None = field(default=None, compare=False)
    named: bool = False
    share: float = 0.0
    earned: str = ""
    call: int | None = field(default=None, compare=False)
    place: Place | None = field(default=None, compare=False)
    hints: tuple[str, ...] = field(default=(), compare=False)

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
    verdict = _compare(expected, taken_apart(expected, seen), sizes)
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
    fitting = [
        (sentence, mistake) for sentence, mistake in expected.mistakes if _is_mistake(mistake, right, expected, seen)
    ]
    if fitting:
        # One that is right where this is right is nearer than one that would have gone wrong there too.
        nearest = max(fitting, key=lambda each: _right_together(each[1], right, expected))
        picture = _picture(first, expected, seen)
        return Verdict(WRONG, nearest[0], picture=picture, named=True, share=share, earned=earned)
    sentence, detail = _describe(first, expected, seen, sizes[first] if sizes is not None else None)
    if sizes is None:
        if not {f"{first}.parameters", f"{first}.type", f"{first}.undefined"} & seen.notes.keys():
            detail = " ".join(filter(None, [detail, _on_which_input(first, expected)]))
        by_call = _call_by_call(right, expected, seen)
        sentence, detail = (by_call, f"{sentence} {detail}".rstrip()) if by_call else (sentence, detail)
    picture = _picture(first, expected, seen)
    # Of several results that came as one, each is there: no step is wrong.
    call = None if f"{first}.out" in seen.tensors and f"{first}.out.1" in expected.answer.tensors else first
    return Verdict(WRONG, sentence, detail, picture, share=share, earned=earned, call=call)


def taken_apart(expected: Expected, seen: Observation) -> Observation:
    """Numbers that were asked for side by side and came in one list or tensor, each as a result of its own; and rows of a
    list that was asked for, which came side by side in a tuple or as tensors, as one.
    """
    tensors = dict(seen.tensors)
    for i in range(expected.calls):
        asked = [key for key in _keys(i, expected.answer) if key.startswith(f"{i}.out.")]
        whole = tensors.get(f"{i}.out")
        single = all(expected.answer.tensors[key].ndim == 0 for key in asked)
        if asked and single and whole is not None and whole.shape == (len(asked),):
            del tensors[f"{i}.out"]
            tensors.update({f"{i}.out.{k}": number for k, number in enumerate(whole)})
        rows = {key: value for key, value in tensors.items() if key.startswith(f"{i}.out.")}
        alike = len({(row.shape, row.dtype) for row in rows.values()}) == 1
        if (
            f"{i}.{PLAIN}" in expected.answer.notes
            and alike
            and rows.keys() == {f"{i}.out.{k}" for k in range(len(rows))}
        ):
            tensors = {key: value for key, value in tensors.items() if key not in rows}
            tensors[f"{i}.out"] = torch.stack([rows[f"{i}.out.{k}"] for k in range(len(rows))])
    return replace(seen, tensors=tensors)


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
    return not _should_be_tensor(i, expected, seen) and same_in_call(i, expected.answer, seen, expected.tolerance)


def _should_be_tensor(i: int, expected: Expected, seen: Observation) -> bool:
    """Did a list come where the right answer is a tensor with axes, so that what builds on it may need one?"""
    return f"{i}.{PLAIN}" in seen.notes and f"{i}.{PLAIN}" not in expected.answer.notes and f"{i}.out" in seen.tensors


def _is_off(i: int, expected: Expected, seen: Observation) -> bool:
    """Are there other numbers in call `i` than in the right answer? What is wrong with a list of the right ones is that."""
    return not (_should_be_tensor(i, expected, seen) and same_in_call(i, expected.answer, seen, expected.tolerance))


def _is_mistake(mistake: Observation, right: list[bool], expected: Expected, seen: Observation) -> bool:
    """Every call went either right or exactly as with this mistake, and at least one went wrong.

    A mistake often shows on some inputs only, such as those with a mask. Calls that are judged by accuracy say
    nothing about which mistake it was, unless no call is left that could. An error of the same class alone says nothing
    either: it must say the same, or another call must have gone wrong as with this mistake and without an error.
    """
    exact = [i for i in range(expected.calls) if i not in expected.goals]
    if all(right[i] for i in exact):
        exact = list(expected.goals)
    wrong = [i for i in exact if not right[i] and _is_off(i, expected, seen)]
    return all(same_in_call(i, mistake, seen, expected.tolerance) for i in wrong) and any(
        f"{i}.error" not in seen.notes or _said_by(i, mistake) == _said_by(i, seen) for i in wrong
    )


def faulty_calls(expected: Expected, seen: Observation) -> list[int]:
    """The calls in which other things happen than with the right answer, so that a mistake can be told by them.

    Not among them: calls that are judged by accuracy, lists of the right numbers, names that nothing defines.
    """
    seen = taken_apart(expected, seen)
    return [
        i
        for i in range(expected.calls)
        if i not in expected.goals
        and f"{i}.undefined" not in seen.notes
        and not _call_is_right(i, expected, seen)
        and _is_off(i, expected, seen)
    ]


def same_fault(expected: Expected, a: Observation, b: Observation) -> bool:
    """Do two wrong answers do the same on the same inputs, in every call that is compared number by number?

    The same but for rounding, and an error must say the same, as for a named mistake. `expected` gives the tolerance and
    the noise; its own inputs may be others.
    """
    a = replace(taken_apart(expected, a), noise=expected.answer.noise)
    b = taken_apart(expected, b)
    exact = [i for i in range(expected.calls) if i not in expected.goals]
    return all(same_in_call(i, a, b, expected.tolerance) and _said_by(i, a) == _said_by(i, b) for i in exact)


def _right_together(mistake: Observation, right: list[bool], expected: Expected) -> int:
    """In how many of the calls that went right this mistake is right too."""
    exact = [i for i in range(expected.calls) if right[i] and i not in expected.goals]
    return sum(same_in_call(i, expected.answer, mistake, expected.tolerance) for i in exact)


def _said_by(i: int, observation: Observation) -> str:
    """What the error of call `i` says, without numbers: these are sizes. The student's own line is no part of it."""
    note = observation.notes.get(f"{i}.error", "").split(" (line ")[0]
    return " ".join(re.sub(r"\d+", "", note).split())


# -- no mistake fits all of the calls: each by itself


def _call_by_call(right: list[bool], expected: Expected, seen: Observation) -> str:
    """What is true of single calls: the result is that of a mistake, whatever led to it. "" where it is of none."""
    wrong = [i for i, is_right in enumerate(right) if not is_right and i not in expected.goals]
    wrong = [i for i in wrong if _is_off(i, expected, seen)]
    fits: dict[str, list[int]] = {}  # by sentence, the calls that went wrong as with this mistake
    for sentence, mistake in expected.mistakes:
        there = [i for i in wrong if _keys(i, seen) and same_in_call(i, mistake, seen, expected.tolerance)]
        if there:
            fits[sentence] = sorted({*fits.get(sentence, []), *there})
    said, left = [], wrong
    while len(said) < MOST_AT_ONCE and (sentence := _likeliest(fits, left)):
        there = [i for i in fits[sentence] if i in left]
        left = [i for i in left if i not in there]
        said.append(
            f"{_spoken_calls(there, expected)}, your result is exactly what comes out with this mistake: {sentence}"
        )
    if said and left:
        said.append(f"{_spoken_calls(left, expected)}, it is not: there is something else.")
    return " ".join(said)


def _likeliest(fits: dict[str, list[int]], left: list[int]) -> str | None:
    """One that is alone in fitting a call comes first, then one that fits an early call, then one that fits many."""
    fits = {sentence: [i for i in there if i in left] for sentence, there in fits.items()}
    alone = {i for i in left if sum(i in there for there in fits.values()) == 1}
    return min(
        (sentence for sentence, there in fits.items() if there),
        key=lambda sentence: (not alone & set(fits[sentence]), fits[sentence][0], -len(fits[sentence])),
        default=None,
    )


def _spoken_calls(numbers: list[int], expected: Expected) -> str:
    """``On inputs 1 and 3 of 4``; where there are several functions, ``On input 2 of 3 to `merge_heads` ``."""
    if not expected.made:
        return f"On {_listed(numbers)} of {expected.calls}"
    parts = []
    for target in dict.fromkeys(expected.made[i].target for i in numbers):
        own = [i for i, call in enumerate(expected.made) if call.target == target]
        there = [k for k, i in enumerate(own) if i in numbers]
        parts.append(_spoken_inputs(target, there, len(own), expected))
    return f"On {' and '.join(parts)}"


def _spoken_inputs(target: str, numbers: list[int], of: int, expected: Expected) -> str:
    if len({call.target for call in expected.made}) == 1:
        return f"{_listed(numbers)} of {of}"
    return f"{_listed(numbers)} of {of} to `{target}`" if of > 1 else f"the input to `{target}`"


def _listed(numbers: list[int]) -> str:
    words = [str(i + 1) for i in numbers]
    rest = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    return f"input{'s' if len(words) > 1 else ''} {rest}"


def _on_which_input(i: int, expected: Expected) -> str:
    """``This is input 2 of 3: x (2, 3), mask = None.``; "" where there is only one."""
    if len(expected.made) < 2:
        return ""
    call = expected.made[i]
    own = [k for k, each in enumerate(expected.made) if each.target == call.target]
    given = ", ".join(f"{name} {_in_short(value)}" for name, value in call.arguments.items())
    return f"This is {_spoken_inputs(call.target, [own.index(i)], len(own), expected)}: {given}."


def _in_short(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(tuple(value.shape)) if value.ndim else f"= {value.item():.4g}"
    return "= …" if isinstance(value, (Probe, Seeded)) else f"= {value}"


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
        if key.startswith(f"{i}.") and key != f"{i}.{PLAIN}"
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
    """The first compared tensor of call `i` that is missing or differs: results, what was trained, then gradients."""
    keys = sorted(_keys(i, expected.answer), key=lambda key: (".grad." in key, ".after." in key, key))
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
    if _IN_PLACE in notes.get("error", ""):
        if "changed" in notes:
            return _changed(notes["changed"]), ""
        return (
            "Your code writes into a tensor whose values the gradient still needs: `+=`, `[...] =` and methods that end in "
            "`_` work in place. Make a new tensor instead.",
            "",
        )
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
        if notes["type"] == HANGING:
            return (
                "What you return in a list still hangs on the computation that made it, and keeps all of it in memory. "
                "Return plain numbers, or one tensor where one is asked for.",
                "",
            )
        return f"Your code returned {notes['type']}, where {_wanted(i, expected)} expected.", ""
    if "changed" in notes:
        return _changed(notes["changed"]), ""
    key = _first_wrong(i, expected, seen)
    if key is None and _should_be_tensor(i, expected, seen):
        return f"The numbers are right, but they came as {notes[PLAIN]}. Return a tensor.", ""
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
        several = sum(f"{i}.out." in each for each in _keys(i, expected.answer))
        if f"{i}.out" in seen.tensors and several:
            return (
                f"Your code did not return {several} results, but one: write them side by side, with commas between.",
                "",
            )
        if key == f"{i}.out" and any(each.startswith(f"{i}.out.") for each in seen.tensors):
            return "Your code did not return one result, but several: put them together into one tensor.", ""
        return f"Your code did not return the {_spoken(key)}.", ""
    return _describe_tensor(key, expected, seen.tensors[key], sizes)


def _wanted(i: int, expected: Expected) -> str:
    results = [value for key, value in expected.answer.tensors.items() if key.startswith(f"{i}.out")]
    if results and not any(value.ndim for value in results):
        return "a number is" if len(results) == 1 else f"{len(results)} numbers are"
    return "a list of numbers or a tensor is" if f"{i}.{PLAIN}" in expected.answer.notes else "a torch tensor is"


def _changed(name: str) -> str:
    return f"Your code changes its input `{name}` in place: work on a new tensor instead."


def _spoken(key: str) -> str:
    kind, _, name = key.split(".", 1)[1].partition(".")
    if kind == "grad":
        return f"gradient with respect to {name}"
    if kind == "start":
        return f"value of `{name}` in a new module, before anything is learned,"
    if kind == "after":
        return f"output of `{name}` after your code is through"
    return f"result number {int(name) + 1}" if name.isdigit() else "result"


def _describe_tensor(key: str, asked: Expected, seen: Tensor, sizes: Collection[int] | None) -> tuple[str, str]:
    what, expected, tolerance = _spoken(key), asked.answer.tensors[key], asked.tolerance
    if ".grad." in key and expected.shape == seen.shape and not seen.any():
        return (
            f"The values are right, but no gradient arrives at {key.split('.', 2)[2]}: something between it and your result "
            "cuts it off (`.detach()`, `.data`, `torch.no_grad()`, NumPy or a new tensor made from its numbers).",
            "",
        )
    if expected.shape != seen.shape:
        for order in permutations(range(seen.ndim)) if seen.ndim == expected.ndim <= 5 else ():
            turned = seen.permute(order)
            if turned.shape == expected.shape and _close(key, asked.answer, turned, tolerance):
                return f"The {what} has the right numbers, but its axes are in another order: " + _shapes(
                    expected, seen, sizes
                ), ""
        wrong = "wrong shape"
        if seen.numel() == expected.numel() and _close(key, asked.answer, seen.reshape(expected.shape), tolerance):
            wrong = "right numbers in the wrong shape"
        return f"The {what} has the {wrong}: {_shapes(expected, seen, sizes)}", ""
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
    factor = _factor(a, b, tolerance)
    if factor is not None:
        known = sizes if sizes is not None else _sizes(int(key.split(".")[0]), asked)
        times = _simple(factor, known)
        if times is not None:
            return f"The {what} is the right one times {times}: a factor is missing or too many.", ""
    trained = any(".after." in each for each in _keys(int(key.split(".")[0]), asked.answer))
    if not trained and _nearly(a, b):
        off = f"off by at most {float((b - a).abs().max()):.2g}" if sizes is None else "off by very little"
        return f"The {what} is nearly right, {off}. Look at eps, at the form of GELU, at a fill value.", ""
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


def _factor(expected: Tensor, seen: Tensor, tolerance: float) -> float | None:
    """What all of many values are multiplied by; None where there is no such number, or it is 1."""
    square = float((expected * expected).sum())
    if expected.numel() < MANY or not square > 0:
        return None
    factor = float((expected * seen).sum()) / square
    fits = torch.allclose(seen, factor * expected, rtol=10 * tolerance, atol=10 * tolerance)
    # Of values that are as small as the tolerance, every factor fits.
    clear = abs(factor - 1) * (square / expected.numel()) ** 0.5 > 100 * tolerance
    return factor if fits and clear else None


def _nearly(expected: Tensor, seen: Tensor) -> bool:
    if expected.numel() < FEW or bool((expected == expected.round()).all()):
        return False
    scale = float((expected * expected).mean()) ** 0.5
    return float((seen - expected).abs().max()) <= NEARLY * scale


def _sizes(i: int, expected: Expected) -> set[int]:
    """The lengths of axes, and the whole numbers, in call `i` and its results."""
    call = expected.made[i] if expected.made else None
    given = [*call.arguments.values(), *(call.init or {}).values()] if call else []
    given += [expected.answer.tensors[key] for key in _keys(i, expected.answer) if ".grad." not in key]
    shapes = [value.shape for value in given if isinstance(value, Tensor)]
    return {size for shape in shapes for size in shape} | {value for value in given if type(value) is int and value > 0}


def _simple(factor: float, sizes: Collection[int]) -> str | None:
    """What `factor` is nearly: a small whole number, a size, the root of one, or one of these as a divisor."""
    for number in sorted({*range(1, 11), *(size for size in sizes if size)}):
        ways = ((number, ""), (1 / number, f"1/{number}"), (number**0.5, f"√{number}"), (number**-0.5, f"1/√{number}"))
        for simple, written in ways:
            if math.isclose(abs(factor), simple, rel_tol=1e-3):
                sign = "-" if factor < 0 else ""
                exact = math.isclose(float(f"{simple:.4g}"), simple, rel_tol=1e-9)
                return f"{sign}{simple:.4g}" + ("" if exact else f" ({sign}{written})")
    return None

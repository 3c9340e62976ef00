"""Where in a student's code the numbers stop being those of a right solution.

Of every call, the check data hold the fingerprints of all values that the right answer and its alternatives compute (a
`Pool`). A student's values are held against them. The first that is in none of them is where to look, unless a later
one that depends on it is known again: then it was a way of one's own. What the result does not depend on does not count.
Values in which little is to be seen (a zero, a size, a mask that is all True) prove nothing, for or against.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy

from course.checks.calls import Call, Observation
from course.checks.fingerprints import Pool, Value, value_of
from course.checks.trace import Record, Trace, traced

SMALL = 64  # whole numbers below are sizes and counters, which coincide
ROUNDED = 1e-5  # so far apart are numbers that would be equal but for rounding
LONGEST_SHOWN = 60  # characters of a student's expression
MOST_ORDERS = 400  # values of one run whose order is looked at


@dataclass(frozen=True)
class Place:
    """Args:
    sentence: what is true there, with the line and the expression.
    line: the student's line as it stands. begin, end: the marked part of it.
    """

    sentence: str
    line: str
    begin: int
    end: int
    number: int = 0


def pool_of(call: Call, traces: Iterable[Trace]) -> Pool:
    """Everything that right solutions compute in one call, inputs included."""
    pool = Pool()
    for value in _inputs(call):
        pool.add(value)
    for trace in traces:
        for record in trace.records:
            pool.add(record.value)
    return pool


def find(
    target: Any, call: Call, pool: Pool, solutions: int, answer: Observation, i: int, stopped: bool
) -> Place | None:
    """Run call number `i` on the student's `target` again, and say where to look; None where nothing is to be said.

    Args:
        solutions: how many right ones `pool` is made of. answer: what the right one shows. stopped: the first run did, with an error.
    """
    trace = traced(target, call)
    if trace is None or (trace.crashed and not stopped):
        return None
    if any(key.endswith((".parameters", ".type", ".undefined")) for key in trace.seen.notes):
        return None
    if trace.written is not None:
        return _shown(trace, trace.written, "here the input is written into, not a tensor of your own.")
    found = first_wrong(trace, call, pool, answer, i)
    return None if found is None else _place(trace, found, solutions)


def _inputs(call: Call) -> Iterable[Value]:
    weights = [
        weight for given in call.arguments.values() if hasattr(given, "tensors") for weight in given.tensors.values()
    ]
    given = [*call.arguments.values(), *(call.init or {}).values(), *call.parameters.values(), *weights]
    values = [value_of(each) for each in given]
    joined = [
        value_of([call.parameters[part] for part in parts])
        for layout in call.layouts
        for parts in layout.values()
        if len(parts) > 1
    ]
    return [value for value in (*values, *joined) if value is not None]


# -- the search

OFF, ORDER, MISSING = "off", "order", "missing"


@dataclass(frozen=True)
class Found:
    """Args:
    record: the first that is in no right solution.
    what: `OFF`; `ORDER`: its numbers are, in another order; `MISSING`: it is, and should not be the end.
    clean: all that it was made from is in a right solution.
    """

    record: Record
    what: str
    clean: bool = True


def first_wrong(trace: Trace, call: Call, pool: Pool, answer: Observation, i: int) -> Found | None:
    """Where call number `i`, of which `answer` is right, first differs from all right solutions."""
    numbers_count = not any(_is_float(value) for value in call.arguments.values())
    seen = _Seen(trace, pool, numbers_count)
    off = _first_off(trace, seen)
    turned = _first_turned(trace, seen, off)
    if turned is not None:
        return Found(turned, ORDER)
    if off is not None:
        return Found(off, OFF, bool(off.origins) and all(map(seen.is_right, off.origins)))
    return _unfinished(trace, seen, answer, i)


def _is_float(value: Any) -> bool:
    return hasattr(value, "is_floating_point") and value.is_floating_point()


class _Seen:
    """What the records of a trace are to a pool."""

    def __init__(self, trace: Trace, pool: Pool, numbers_count: bool):
        self.pool = pool
        self.records = trace.records
        kinds = [trace.places[record.place].kind for record in self.records]
        given = [kind == "argument" and not record.origins for kind, record in zip(kinds, self.records)]
        self.argument = [kind == "argument" for kind in kinds]
        self.neutral = [is_neutral(record.value, numbers_count) for record in self.records]
        self.weak = [is_weak(record.value) for record in self.records]
        self.known = [
            not (is_given or neutral) and pool.knows(record.value)
            for is_given, neutral, record in zip(given, self.neutral, self.records)
        ]
        self.off = [
            not (is_given or neutral or known) for is_given, neutral, known in zip(given, self.neutral, self.known)
        ]

    def is_right(self, number: int) -> bool:
        """Does it occur in a right solution? What was handed in does."""
        return self.argument[number] or self.known[number] or self.pool.knows(self.records[number].value)

    def before(self, numbers: Iterable[int]) -> set[int]:
        """These records and all that they were made from."""
        found: set[int] = set()
        left = list(numbers)
        while left:
            number = left.pop()
            if number not in found:
                found.add(number)
                left += self.records[number].origins
        return found


def _first_off(trace: Trace, seen: _Seen) -> Record | None:
    known_again = [False] * len(seen.records)  # something that depends on it is in the pool
    for number in reversed(range(len(seen.records))):
        if seen.neutral[number] and seen.records[number].value.alone:
            continue  # the size of a wrong map may well be right
        if known_again[number] or (seen.known[number] and not seen.weak[number]):
            for origin in seen.records[number].origins:
                known_again[origin] = True
    counts = set(range(len(seen.records)))
    if trace.result and not trace.crashed:
        counts = seen.before([*trace.result, *trace.effects])
    wrong = [number for number in sorted(counts) if seen.off[number] and not known_again[number]]
    strong = next((number for number in wrong if not seen.weak[number]), None)
    weak = [number for number in wrong if seen.weak[number]]
    if strong is not None:
        leading = seen.before(seen.records[strong].origins)
        weak = [number for number in weak if number in leading]
    first = weak[0] if weak else strong
    return None if first is None else seen.records[first]


def _first_turned(trace: Trace, seen: _Seen, off: Record | None) -> Record | None:
    """On the way to `off`, or to the result: the first value that is known, in an order that is not."""
    ordered: dict[int, bool] = {}

    def in_order(number: int) -> bool:
        if number not in ordered:
            ordered[number] = seen.argument[number] or seen.pool.knows_order(seen.records[number].value)
        return ordered[number]

    telling = [
        seen.known[k] and not seen.weak[k] and record.value.numbers.size >= 4 for k, record in enumerate(seen.records)
    ]
    ends = trace.result
    if off is not None:
        number = next(k for k, record in enumerate(trace.records) if record is off)
        ends = off.origins | {effect for effect in trace.effects if effect < number}
    way = sorted(seen.before(ends))
    turned = [k for k in way if telling[k] and not seen.argument[k]][:MOST_ORDERS]
    turned = [k for k in turned if not in_order(k)]
    if not turned:
        return None
    known_again = [False] * len(seen.records)
    for k in reversed(range(len(seen.records))):
        if seen.neutral[k] and seen.records[k].value.alone:
            continue
        if known_again[k] or (telling[k] and len(ordered) < 2 * MOST_ORDERS and in_order(k)):
            for origin in seen.records[k].origins:
                known_again[origin] = True
    return next((seen.records[k] for k in turned if not known_again[k]), None)


def _unfinished(trace: Trace, seen: _Seen, answer: Observation, i: int) -> Found | None:
    """Every value is known, and what is returned is not the end."""
    if trace.crashed or not trace.result:
        return None
    results = [value for key, value in answer.tensors.items() if key.startswith(f"{i}.out")]
    ends = Pool()
    for value in filter(None, map(value_of, [*results, results])):
        ends.add(value)
    returned = [seen.records[number] for number in sorted(trace.result)]
    other = [record for record in returned if not ends.knows(record.value)]
    if not other or not all(map(seen.is_right, seen.before(trace.result))):
        return None
    return Found(other[0], MISSING)


def is_neutral(value: Value, numbers_count: bool) -> bool:
    """Does it prove nothing? A size, a counter, a constant.

    Args:
        numbers_count: no float goes into the call, so that its numbers are counted and not measured.
    """
    if value.alone:
        number = float(value.numbers[0])
        if not numpy.isfinite(number):
            return not numpy.isnan(number)
        return value.whole and (abs(number) < SMALL or not numbers_count)
    ordinary = value.ordinary
    _, low, bad = value.counts
    return not low and not bad and _is_constant(ordinary) and abs(ordinary[0] - round(ordinary[0])) <= ROUNDED


def is_weak(value: Value) -> bool:
    """May it coincide by chance? Truth values, places counted from 0, a few whole numbers, a constant."""
    if value.alone:
        return False
    ordinary = value.ordinary
    _, low, bad = value.counts
    if not low and not bad and _is_constant(ordinary):
        return True
    if not value.whole:
        return False
    different = numpy.unique(ordinary)
    counted = numpy.array_equal(ordinary, numpy.arange(ordinary.size))
    return different.size <= 3 or counted or value.numbers.size < 6


def _is_constant(ordinary: numpy.ndarray) -> bool:
    """But for rounding: rows of weights sum to 1, nearly."""
    return bool(ordinary.size) and float(numpy.ptp(ordinary)) <= ROUNDED * max(1.0, float(numpy.abs(ordinary[0])))


# -- the words


def _place(trace: Trace, found: Found, solutions: int) -> Place | None:
    place = found.record.place
    if found.what == MISSING and trace.result_place is not None:
        place = trace.result_place
    return _shown(trace, place, _words(trace, found, trace.places[place].kind, solutions))


def _shown(trace: Trace, place: int, words: str) -> Place | None:
    first, begin, last, end = trace.places[place].span
    if first > len(trace.lines):
        return None
    line = trace.lines[first - 1]
    begin = len(line.encode()[:begin].decode(errors="ignore"))  # `ast` counts bytes
    end = len(line.encode()[:end].decode(errors="ignore")) if last == first else len(line)
    shown = line[begin:end].strip()
    cut = len(shown) > LONGEST_SHOWN or last != first
    step = f"Line {first}, `{shown[:LONGEST_SHOWN]}{' …' if cut else ''}`"
    return Place(f"{step}: {words}", line, begin, end, first)


def _words(trace: Trace, found: Found, kind: str, solutions: int) -> str:
    ours = f"the {solutions} right solutions that we know"
    nowhere = f"occurs in none of {ours}" if solutions > 1 else "does not occur in the right solution"
    if found.what == MISSING:
        return (
            "every value up to here also occurs in a right solution, but this is not the end of one: a step is missing, "
            "or another value should be returned."
        )
    if found.what == ORDER:
        order = f"none of {ours} has" if solutions > 1 else "the right solution does not have"
        return f"these are the right numbers, in an order that {order}. Start looking here, or just before."
    record = found.record
    earlier = any(each.place == record.place and each.visit < record.visit for each in trace.records)
    again = f", from round {record.visit} on," if earlier else ""
    if kind == "argument":
        return f"what arrives here{again} {nowhere}. Look where this is called."
    into = "what was computed for this step also occurs in a right solution; " if found.clean else ""
    return f"{into}what comes out of it{again} {nowhere}. Start looking here, or just before."

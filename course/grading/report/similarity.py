"""Which submissions are alike beyond what the homework and the class have in common. Alike, not guilty: a person reads.

After MOSS (Schleimer, Wilkerson and Aiken, "Winnowing", 2003), with every run of `RUN` tokens as a fingerprint: names
that a student may choose count as one and the same, comments and white space do not count, and a fingerprint counts
only if few students have it and the course's own code has not. So a short answer that much of the class writes alike
shows nothing. Python's own `tokenize` finds the tokens, and what is shared is counted where something is, not for each student with each.
"""

import builtins
import io
import keyword
import tokenize
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from course.grading.read.merge import ShownCell

RUN = 12  # tokens of a fingerprint
MOST_STUDENTS = 10  # who may share a fingerprint that counts; in a small class a quarter of it, but 2 always
LEAST_SHARED = 40  # fingerprints in common before anything is said
LEAST_SHARE = 0.5  # of the whole notebook
LEAST_SHARE_OF_EXERCISE = 0.8
LEAST_OF_PART = 0.1  # of an exercise, to be shown with a pair
MOST_PAIRS = 100  # that are listed
LONGEST_CELL = 20_000  # characters of a cell that are compared
LONGEST_WORK = 60_000  # of all cells of a student
OTHER = ""  # in place of an exercise: the cells that the student added

_OURS = frozenset(keyword.kwlist) | frozenset(dir(builtins))  # names that are not the student's to choose


@dataclass(frozen=True)
class Work:
    """What a student wrote: code by exercise; under `OTHER` the code of all further cells."""

    student: str
    page: str
    code: dict[str, str]


@dataclass(frozen=True)
class Part:
    """One exercise of a pair.

    Args:
        share: of the fingerprints that count of the one who has fewer, 0 to 1.
        lines: the lines, from 0, in which what they share lies; for the one and the other.
    """

    exercise: str
    shared: int
    share: float
    lines: tuple[frozenset[int], frozenset[int]]


@dataclass(frozen=True)
class Pair:
    """Two submissions that are alike.

    Args:
        share: of the fingerprints that count of the one who has fewer, 0 to 1.
        same_names: of the code in which they are alike, the share that has the same names too.
        parts: the exercises in which they share more than a trace, the most alike first.
    """

    first: Work
    second: Work
    shared: int
    share: float
    same_names: float
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Similar:
    """The most alike pairs of a class, how many more there are that are not listed, and why there are none, if so."""

    pairs: tuple[Pair, ...] = ()
    further: int = 0
    problem: str = ""


def own_work(student: str, page: str, shown: Iterable[ShownCell]) -> Work:
    """The code that a student wrote, cut to what can be compared in reasonable time."""
    code: dict[str, str] = {}
    left = LONGEST_WORK
    for cell in shown:
        if cell.kind == "code" and left > 0:
            text = cell.source[: min(LONGEST_CELL, left)]
            text = text.encode("utf-8", "replace").decode()  # JSON may hold half a character, which has no bytes
            left -= len(text)
            code[cell.exercise] = f"{code[cell.exercise]}\n\n{text}" if cell.exercise in code else text
    return Work(student, page, code)


def code_of_the_course(root: Path, folder: Path) -> list[str]:
    """What the course itself wrote and students may have before them: it proves nothing that two of them have it.

    Args:
        root: the repository, with its lectures.
        folder: ``root/solutions/hwN_topic``: answers in several forms, and the mistakes that are made often.
    """
    files = [*sorted(folder.glob("*.py")), *sorted((root / "notebooks" / "source").glob("**/*.py"))]
    return [file.read_text(encoding="utf-8") for file in files]


def similar_submissions(works: list[Work], known: Iterable[str]) -> Similar:
    """Find the pairs of a class that are alike.

    Args:
        known: text that proves nothing: `code_of_the_course`, the cells of the released notebook. It is looked at only if
            a pair has enough in common without it.
    """
    exercises = sorted({exercise for work in works for exercise in work.code})
    has = {exercise: [_fingerprints(work.code.get(exercise, "")) for work in works] for exercise in exercises}
    most = min(MOST_STUDENTS, max(2, len(works) // 4))
    by_work = [np.unique(np.concatenate(arrays)) for arrays in zip(*has.values())]
    if not by_work:
        return Similar()
    found, students = np.unique(np.concatenate(by_work), return_counts=True)
    counts = found[students <= most]
    if max(_together(_shared(_only(counts, has), most)).values(), default=0) < LEAST_SHARED:
        return Similar()
    counts = np.setdiff1d(counts, np.concatenate([_fingerprints(text) for text in ("", *known)]))
    has = _only(counts, has)
    shared = _shared(has, most)
    together = _together(shared)
    own = {exercise: [len(each) for each in arrays] for exercise, arrays in has.items()}
    own_together = [sum(each) for each in zip(*own.values())]
    alike = _alike(together, own_together, LEAST_SHARE).union(
        *(_alike(shared[exercise], own[exercise], LEAST_SHARE_OF_EXERCISE) for exercise in exercises)
    )
    share = {(i, j): together[i, j] / min(own_together[i], own_together[j]) for i, j in alike}
    order = sorted(alike, key=lambda pair: (-share[pair], -together[pair], pair))
    pairs = []
    for i, j in order[:MOST_PAIRS]:
        counting = {exercise: (arrays[i], arrays[j]) for exercise, arrays in has.items()}
        pairs.append(_pair(works[i], works[j], together[i, j], share[i, j], counting))
    return Similar(tuple(pairs), max(0, len(order) - MOST_PAIRS))


def _only(counts: np.ndarray, has: dict[str, list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """Of what each has, what is in `counts`, which is in order."""
    if not len(counts):
        return {name: [counts for _ in arrays] for name, arrays in has.items()}
    place = lambda each: np.minimum(np.searchsorted(counts, each), len(counts) - 1)
    return {name: [each[counts[place(each)] == each] for each in arrays] for name, arrays in has.items()}


def _shared(has: dict[str, list[np.ndarray]], most: int) -> dict[str, Counter[tuple[int, int]]]:
    """By exercise, how many fingerprints two students share, where it is one at least; no more than `most` have one."""
    shared = {}
    for exercise, arrays in has.items():
        all_of_them = np.concatenate(arrays)
        who = np.repeat(np.arange(len(arrays)), [len(each) for each in arrays])
        order = np.argsort(all_of_them, kind="stable")  # so that of each fingerprint the students are in order
        all_of_them, who = all_of_them[order], who[order]
        pairs = []  # first and second in one number
        for further in range(1, most):
            same = all_of_them[further:] == all_of_them[:-further]
            pairs.append(who[:-further][same] * len(arrays) + who[further:][same])
        found, count = np.unique(np.concatenate(pairs), return_counts=True)
        shared[exercise] = Counter(
            dict(zip(map(tuple, np.stack(np.divmod(found, len(arrays)), 1).tolist()), count.tolist()))
        )
    return shared


def _together(shared: dict[str, Counter[tuple[int, int]]]) -> Counter[tuple[int, int]]:
    both: Counter[tuple[int, int]] = Counter()
    for pairs in shared.values():
        both.update(pairs)
    return both


def _fingerprints(text: str) -> np.ndarray:
    """Of a text, each once and in order."""
    return np.unique(_hashes(_runs(compared for compared, _, _ in _tokens(text))))


def _hashes(runs: list[str]) -> np.ndarray:
    """So many that two notebooks hardly ever share one by chance; the same in every process."""
    return np.array([zlib.crc32(run.encode()) for run in runs], dtype=np.int64)


def _alike(shared: Counter[tuple[int, int]], own: list[int], least_share: float) -> set[tuple[int, int]]:
    """Pairs of students who share enough; `own` says how much each has."""
    return {(i, j) for (i, j), both in shared.items() if both >= max(LEAST_SHARED, least_share * min(own[i], own[j]))}


def _pair(first: Work, second: Work, shared: int, share: float, counting: dict[str, tuple]) -> Pair:
    """Where two students are alike; `counting` gives the fingerprints that count of both, by exercise."""
    parts = []
    same = counted = 0
    for exercise, (one, other) in counting.items():
        both = np.intersect1d(one, other)
        fewer = min(len(one), len(other))
        if len(both) == 0 or len(both) < LEAST_OF_PART * fewer:
            continue
        (lines, words), (other_lines, other_words) = (_places(work.code[exercise], both) for work in (first, second))
        parts.append(Part(exercise, len(both), len(both) / fewer, (lines, other_lines)))
        same += len(words & other_words)
        counted += min(len(words), len(other_words))
    parts.sort(key=lambda part: (-part.share, -part.shared))
    return Pair(first, second, shared, share, same / max(1, counted), tuple(parts))


def _places(text: str, wanted: np.ndarray) -> tuple[frozenset[int], set[str]]:
    """The lines in which the runs with the fingerprints `wanted` lie, and these runs with the names as they stand."""
    compared, written, lines = zip(*_tokens(text))
    places = np.flatnonzero(np.isin(_hashes(_runs(compared)), wanted)).tolist()
    as_written = _runs(written)
    marked = frozenset(line for place in places for line in lines[place : place + RUN])
    return marked, {as_written[place] for place in places}


def _runs(words: Iterable[str]) -> list[str]:
    words = list(words)
    return [" ".join(words[k : k + RUN]) for k in range(len(words) - RUN + 1)]


def _tokens(text: str) -> Iterable[tuple[str, str, int]]:
    """(token as it is compared, with its name as it stands, its line from 0), to the first that Python cannot read.

    From Python 3.12 on that is a little earlier: with 3.11, whatever stands in a line has tokens.
    """
    # Without indentation, which does not count, its mistakes do not end the tokens either.
    lines = (line.lstrip(" \t\f") for line in io.StringIO(text))
    last = ""
    try:
        for kind, word, (line, _), _, _ in tokenize.generate_tokens(lines.__next__):
            dot, last = "." if last == "." else "", word
            if kind == tokenize.STRING:
                yield "'", "'", line - 1
            elif kind == tokenize.NAME and not dot and word not in _OURS:
                yield "name", word, line - 1
            elif kind != tokenize.COMMENT and word != "." and word.strip():
                yield dot + word, dot + word, line - 1
    except (tokenize.TokenError, SyntaxError):  # what does not end, first of all
        return

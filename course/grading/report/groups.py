"""Wrong answers of a class that no sentence names, grouped by what they do: the same results on the same hidden inputs.

A group is what one named mistake would recognise, with the same tolerance: one sentence, written once with ``course
name-mistake``, is read by all of it. Two answers are compared number by number, never by a digest, so none falls on
the other side of a rounding border.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from course.checks.calls import Observation
from course.checks.compare import Expected, same_fault
from course.grading.judge.unnamed import what_it_did
from course.grading.read.bare import bare
from course.grading.report.similarity import Work

FILE = "groups.json"  # in OUT: what ``course name-mistake`` reads
MOST_GROUPS = 20  # that are shown
SHORTEST_NAME = 3  # letters of a part of a student's name that is looked for in code


@dataclass(frozen=True)
class Wrong:
    """One student's wrong answers that no sentence names.

    Args:
        inputs: says on which hidden inputs; answers on different ones are never compared.
        did: by exercise, see `course.grading.judge.unnamed`.
    """

    inputs: str
    did: dict[str, str]


@dataclass(frozen=True)
class Group:
    """Students who do the same.

    Args:
        id: what ``course name-mistake`` calls it: it changes with the code that is shown.
        inputs: as in `Wrong`.
        students: how many.
        code: of one of them, without comments and docstrings; ``""`` where it cannot be read.
        did: what it does, of one of them.
    """

    id: str
    exercise: str
    inputs: str
    students: int
    code: str
    did: str


@dataclass(frozen=True)
class Groups:
    """The largest groups, how many answers stand in groups that are not listed, and why there are none, if so."""

    listed: tuple[Group, ...] = ()
    further: int = 0
    problem: str = ""


def group(wrong: Mapping[str, Wrong], works: Mapping[str, Work], expected: Mapping[str, Expected]) -> Groups:
    """The groups of a class, the largest first.

    Args:
        wrong, works: by student.
        expected: by exercise.
    """
    found: list[tuple[str, str, list[str]]] = []  # exercise, inputs, students
    for (exercise, inputs), did in _by_exercise(wrong).items():
        for members in _alike(did, expected[exercise]):
            found.append((exercise, inputs, members))
    order = list(expected)
    chosen = [(_shown(members, exercise, works), exercise, inputs, members) for exercise, inputs, members in found]
    chosen.sort(key=lambda each: (-len(each[3]), order.index(each[1]), works[each[0]].code.get(each[1], "")))
    listed: list[Group] = []
    for student, exercise, inputs, members in chosen[:MOST_GROUPS]:
        code = bare(works[student].code.get(exercise, ""))
        name = f"{exercise}-{hashlib.sha256(code.encode()).hexdigest()[:6]}"
        same = sum(other.id.partition("+")[0] == name for other in listed)
        did = wrong[student].did[exercise]
        listed.append(Group(name + "+" * same, exercise, inputs, len(members), code, did))
    return Groups(tuple(listed), sum(len(members) for *_, members in chosen[MOST_GROUPS:]))


def _by_exercise(wrong: Mapping[str, Wrong]) -> dict[tuple[str, str], dict[str, Observation]]:
    """By exercise and inputs, what each student's answer did."""
    found: dict[tuple[str, str], dict[str, Observation]] = defaultdict(dict)
    for student in sorted(wrong):
        for exercise, text in wrong[student].did.items():
            found[exercise, wrong[student].inputs][student] = what_it_did(text)
    return found


def _alike(did: Mapping[str, Observation], expected: Expected) -> list[list[str]]:
    """The students in groups. Each is compared with the first of every group: what is rounding is far below the tolerance."""
    groups: list[list[str]] = []
    for student, seen in did.items():
        fitting = (members for members in groups if same_fault(expected, did[members[0]], seen))
        members = next(fitting, None)
        if members is None:
            groups.append([student])
        else:
            members.append(student)
    return groups


def _shown(members: list[str], exercise: str, works: Mapping[str, Work]) -> str:
    """Whose code is shown: the shortest in which the student's own name does not stand, if there is one."""

    def key(student: str) -> tuple[bool, int, str]:
        code = works[student].code.get(exercise, "")
        parts = re.findall(rf"[^\W\d_]{{{SHORTEST_NAME},}}", student.casefold())
        return any(part in code.casefold() for part in parts), len(code), code

    return min(members, key=key)


def to_json(topic: str, groups: Groups, inputs: str, seed: int) -> bytes:
    """For ``OUT/groups.json``, as secret as the hidden inputs. A group on other than the present `inputs` has no seed."""
    told = [{**asdict(each), "seed": seed if each.inputs == inputs else None} for each in groups.listed]
    return (json.dumps({"assignment": topic, "groups": told}, indent=1) + "\n").encode()

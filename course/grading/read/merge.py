"""Put a student's cells into the instructor's notebook: what is executed, and what of it is whose.

Executed are the instructor's setup cells, then, in the order of the student's notebook, the cell of each exercise
and the definitions (imports, functions, classes, constants) of cells that the student added or changed. Check cells
and everything else of the student's notebook are not executed, so that nothing written there can matter.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from course.grading.read.cells import Cell, normal_text
from course.grading.read.python_source import defined_names, definitions_only, plain_python

_GRADED_KEYS = ("points", "grade", "solution", "locked", "task")
UNTOUCHED, MISSING = "nothing was written", "its cell is missing"  # of a written question


@dataclass(frozen=True)
class TemplateExercise:
    """An exercise as students receive it: the names they define, the untouched text of its cell (or None)."""

    name: str
    targets: tuple[str, ...]
    stub: str | None = None


@dataclass(frozen=True)
class Template:
    """What merging needs to know of the instructor's notebook.

    Args:
        setup: the sources of its setup cells.
        exercises: in the order of the notebook.
        written: points of the questions that a person marks, by name.
        labelled: its cells with an nbgrader id, by id.
        texts: all its cells' texts (`normal_text`): a student's cell with such a text was not touched.
    """

    setup: tuple[str, ...]
    exercises: tuple[TemplateExercise, ...]
    written: dict[str, float] = field(default_factory=dict)
    labelled: dict[str, Cell] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()

    @classmethod
    def from_cells(cls, cells: list[Cell], targets: dict[str, tuple[str, ...]]) -> "Template":
        """From the cells of a released notebook; `targets` gives the names that each exercise defines."""
        by_id = {cell.grade_id: cell for cell in cells if cell.grade_id}
        exercises = [cell for cell in cells if cell.kind == "code" and cell.grade_id in targets]
        missing = set(targets) - {cell.grade_id for cell in exercises}
        if missing:
            raise ValueError(f"the notebook has no cell for {', '.join(sorted(missing))}: build it again")
        return cls(
            setup=tuple(cell.source for cell in cells if cell.kind == "code" and cell.is_setup),
            exercises=tuple(TemplateExercise(c.grade_id, targets[c.grade_id], c.source) for c in exercises),
            written={
                cell.grade_id: float(cell.nbgrader.get("points", 0))
                for cell in cells
                if cell.kind == "markdown" and cell.grade_id and cell.nbgrader.get("grade")
            },
            labelled=by_id,
            texts=frozenset(normal_text(cell.source) for cell in cells),
        )


@dataclass(frozen=True)
class RunCell:
    """One piece of code to execute: `label` says in words where it stands, `keep` which names are judged."""

    label: str
    source: str
    exercise: str = ""
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShownCell:
    """One cell for the feedback page: the student's own, with the exercise or written question it belongs to."""

    kind: str
    source: str
    exercise: str = ""
    written: str = ""


@dataclass
class Merged:
    """What is run for one student, and what was noticed on the way.

    `unanswered` says of each written question that has no answer which it is: `UNTOUCHED` or `MISSING`.
    """

    cells: list[RunCell] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    tampered: bool = False
    shown: list[ShownCell] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)


def merge(template: Template, cells: list[Cell]) -> Merged:
    """Take from a student's cells what counts."""
    merged = Merged(cells=[RunCell("the setup cell", source) for source in template.setup])
    chosen: dict[int, TemplateExercise] = {}
    set_aside: set[int] = set()
    for exercise in template.exercises:
        place = place_of(exercise, template, cells, set_aside, merged)
        if place is not None:
            chosen[place] = exercise
    answers = answers_in(template, cells, merged)
    for i, cell in enumerate(cells):
        if i in answers:
            merged.shown.append(ShownCell("markdown", cell.source, written=answers[i]))
            continue
        if i in chosen:
            exercise = chosen[i]
            label = f"the cell of {exercise.name}"
            merged.cells.append(RunCell(label, plain_python(cell.source), exercise.name, exercise.targets))
            merged.shown.append(ShownCell("code", cell.source, exercise=exercise.name))
            continue
        if i in set_aside or normal_text(cell.source) in template.texts or not cell.source.strip():
            continue
        if cell.kind == "code" and not _is_check(cell, template):
            merged.shown.append(ShownCell("code", cell.source))
            definitions = definitions_only(cell.source)
            if definitions:
                where = "your setup cell" if cell.is_setup else f"the cell that you added at place {i + 1}"
                merged.cells.append(RunCell(where, definitions))
        elif cell.kind == "markdown":
            written = cell.grade_id if cell.grade_id in template.written else ""
            merged.shown.append(ShownCell("markdown", cell.source, written=written))
    _notice_tampering(template, cells, merged)
    return merged


def place_of(
    exercise: TemplateExercise, template: Template, cells: list[Cell], set_aside: set[int], merged: Merged
) -> int | None:
    """Which cell is graded for an exercise. The copies of it that are not go to `set_aside`."""
    code = [i for i, cell in enumerate(cells) if cell.kind == "code"]
    own = [i for i in code if cells[i].grade_id == exercise.name]
    labelled = frozenset(own)
    # A cell that has lost its label, or one that the student made, is known by what it defines.
    elsewhere = [
        i
        for i in code
        if cells[i].grade_id not in template.labelled and defined_names(cells[i].source) & set(exercise.targets)
    ]
    touched = [i for i in own if not _is_untouched(cells[i], exercise)]
    touched_elsewhere = [i for i in elsewhere if not _is_untouched(cells[i], exercise)]
    defining = [i for i in touched if defined_names(cells[i].source) & set(exercise.targets)]
    best = next((group[-1] for group in (defining, touched_elsewhere, touched, own, elsewhere) if group), None)
    set_aside.update(
        i for i in (*own, *elsewhere) if i != best and (i in labelled or _is_untouched(cells[i], exercise))
    )
    if best is None:
        merged.missing.append(exercise.name)
        merged.messages.append(f"The cell of {exercise.name} is missing from the notebook.")
    elif best not in labelled:
        how = "lost its label and" if not own else "was left as it came; the answer"
        merged.messages.append(f"The cell of {exercise.name} {how} was found by the name it defines.")
    elif len(own) > 1:
        which = "the last one with work in it was graded" if touched else "none has work in it"
        merged.messages.append(f"The cell of {exercise.name} is there {len(own)} times; {which}.")
    return best


def answers_in(template: Template, cells: list[Cell], merged: Merged) -> dict[int, str]:
    """Which cells answer which written question; a question without any goes to ``merged.unanswered``.

    A cell that has lost its label is known by its id, else by a line of the question that still stands in it.
    """
    answers: dict[int, str] = {}
    for name in template.written:
        question = lines_of(template.labelled[name].source)
        own = [i for i, cell in enumerate(cells) if cell.grade_id == name]
        free = [i for i, cell in enumerate(cells) if not cell.grade_id and cell.kind != "code" and i not in answers]
        free = [i for i in free if normal_text(cells[i].source) not in template.texts]
        own = own or [i for i in free if cells[i].id == name]
        others = [lines_of(cell.source) for other, cell in template.labelled.items() if other != name]
        own = own or [i for i in free if question.difference(*others) & lines_of(cells[i].source)]
        written = [i for i in own if lines_of(cells[i].source) - question]
        answers |= dict.fromkeys(written, name)
        if not written:
            merged.unanswered[name] = UNTOUCHED if own else MISSING
    return answers


def lines_of(source: str) -> set[str]:
    """The lines of a text that have something in them: an answer without a new one is as it came."""
    return {line.strip() for line in source.splitlines()} - {""}


def _is_untouched(cell: Cell, exercise: TemplateExercise) -> bool:
    if exercise.stub is not None:
        return normal_text(cell.source) == normal_text(exercise.stub)
    return bool(
        re.search(rf"^[^\S\n]*raise NotImplementedError\([\"']hw\d+\.{exercise.name}[\"']\)", cell.source, re.M)
    )


def _is_check(cell: Cell, template: Template) -> bool:
    labelled = template.labelled.get(cell.grade_id)
    return labelled is not None and bool(labelled.nbgrader.get("locked")) and not labelled.is_setup


def _notice_tampering(template: Template, cells: list[Cell], merged: Merged) -> None:
    copies: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.grade_id in template.labelled:
            copies.setdefault(cell.grade_id, []).append(cell)
    for grade_id, original in template.labelled.items():
        found = copies.get(grade_id, [])
        untouched = any(normal_text(cell.source) == normal_text(original.source) for cell in found)
        if _is_check(original, template) and found and not untouched:
            merged.tampered = True
            merged.messages.append(f"The check cell {grade_id} was edited; this had no effect.")
        changed = sorted({key for cell in found for key in _GRADED_KEYS if _differs(key, cell.nbgrader, original)})
        if changed:
            merged.tampered = True
            merged.messages.append(f"The grading data of {grade_id} was edited ({', '.join(changed)}); no effect.")


def _differs(key: str, nbgrader: dict[str, Any], original: Cell) -> bool:
    return key in nbgrader and nbgrader[key] != original.nbgrader.get(key, nbgrader[key])

"""Put a student's cells into the instructor's notebook: what is executed, and what of it is whose.

Executed are the instructor's setup cells, then, in the order of the student's notebook, the cell of each exercise and
the cells that the student added or changed, all of them whole: the worker runs each of their statements by itself. Check
cells are not executed, so that nothing written there can matter; of the course's own cells only those are that give a
name which the student's code reads.

A cell is known by its label, by its id, or by what it defines, whatever its kind became. What editors and merges make
of cells (copies, parts, two in one, conflict markers) is told from what the exercises ask for.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from course.grading.read.cells import Cell, conflict_in, normal_text
from course.grading.read.modules import OwnModule
from course.grading.read.python_source import defined_names, outlined, plain_python

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
    """One piece of code to execute.

    Args:
        label: says in words where it stands.
        exercise: whose cell it is, or ``""``.
        keep: which names are judged.
        added: the student's own, and of no exercise.
        skip: the numbers of statements that are passed over: they hung or crashed.
    """

    label: str
    source: str
    exercise: str = ""
    keep: tuple[str, ...] = ()
    added: bool = False
    skip: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ShownCell:
    """One cell for the feedback page: the student's own, with the exercise, written question or file it belongs to."""

    kind: str
    source: str
    exercise: str = ""
    written: str = ""
    file: str = ""


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
    modules: tuple[OwnModule, ...] = ()
    unanswered: dict[str, str] = field(default_factory=dict)

    @property
    def by_exercise(self) -> dict[str, list[RunCell]]:
        """The cells of each exercise; most have one."""
        found: dict[str, list[RunCell]] = {}
        for cell in self.cells:
            if cell.exercise:
                found.setdefault(cell.exercise, []).append(cell)
        return found


@dataclass
class Places:
    """Which exercises each of a student's cells holds, by its place, and which cells hold nothing that counts."""

    of_exercise: dict[int, list[TemplateExercise]] = field(default_factory=dict)
    set_aside: set[int] = field(default_factory=set)

    def give(self, place: int, exercise: TemplateExercise) -> None:
        self.of_exercise.setdefault(place, []).append(exercise)

    def first_of(self, name: str) -> int | None:
        """Where the cell of an exercise is, of several parts the one that answers it."""
        return next((i for i, found in self.of_exercise.items() if any(each.name == name for each in found)), None)


def merge(template: Template, cells: list[Cell], modules: Iterable[OwnModule] = ()) -> Merged:
    """Take from a student's cells, and from their own modules beside the notebook, what counts."""
    merged = Merged(cells=[RunCell("the setup cell", source) for source in template.setup], modules=tuple(modules))
    places = places_of(template, cells, merged)
    answers = answers_in(template, cells, merged)
    given = _given_cells(template, cells, places)
    for i, cell in enumerate(cells):
        if i in places.of_exercise:
            for exercise, source in _shared(cell.source, places.of_exercise[i]):
                keep = exercise.targets if source is None else _given(source, exercise) or exercise.targets
                source = plain_python(cell.source) if source is None else source
                merged.cells.append(RunCell(f"the cell of {exercise.name}", source, exercise.name, keep))
            for exercise, source in _shared(cell.source, places.of_exercise[i]):
                shown = cell.source if source is None else source.strip("\n")
                merged.shown.append(ShownCell("code", shown, exercise=exercise.name))
            continue
        if i in given:
            merged.cells.append(RunCell(f"the course's own cell at place {i + 1}", given[i], added=True))
            continue
        if i in places.set_aside or normal_text(cell.source) in template.texts or not cell.source.strip():
            continue
        written = answers.get(i) or _written(cell, template)
        if written:
            if cell.kind != "markdown":
                merged.messages.append(f"The cell of {written} was turned into {_KINDS[cell.kind]}; its text is shown.")
            merged.shown.append(ShownCell("markdown", cell.source, written=written))
        elif cell.kind == "code" and not _is_check(cell, template):
            merged.shown.append(ShownCell("code", cell.source))
            where = "your setup cell" if cell.is_setup else f"the cell that you added at place {i + 1}"
            source = plain_python(cell.source)
            if source.strip():
                merged.cells.append(RunCell(where, source, added=True))
        elif cell.kind == "markdown":
            merged.shown.append(ShownCell("markdown", cell.source))
    merged.shown += [ShownCell("code", module.source, file=module.file) for module in merged.modules]
    _notice_conflicts(template, cells, places, merged)
    _notice_tampering(template, cells, merged)
    return merged


_KINDS = {"code": "code", "markdown": "Markdown", "raw": "a raw cell"}


def _written(cell: Cell, template: Template) -> str:
    """The written question that a cell answers, ``""`` if none."""
    if cell.grade_id:
        return cell.grade_id if cell.grade_id in template.written else ""
    return next((name for name in template.written if cell.id and template.labelled[name].id == cell.id), "")


def places_of(template: Template, cells: list[Cell], merged: Merged) -> Places:
    """Where each exercise is answered; what was odd about it goes to ``merged.messages``."""
    places = Places()
    for exercise in template.exercises:
        _find(exercise, template, cells, places, merged)
    return places


@dataclass
class _Candidates:
    """Which cells (places in the notebook) may hold the answer to an exercise, by what speaks for each of them."""

    exercise: TemplateExercise
    cells: list[Cell]
    own: list[int] = field(default_factory=list)  # code with the label
    elsewhere: list[int] = field(default_factory=list)  # code without a label that defines what is asked for
    by_id: list[int] = field(default_factory=list)  # code that lost its label but kept the cell's id
    others: list[int] = field(default_factory=list)  # code with the label of another exercise
    text: list[int] = field(default_factory=list)  # with the label or the id, but no longer code
    prose: list[int] = field(default_factory=list)  # any other text

    @classmethod
    def of(cls, exercise: TemplateExercise, template: Template, cells: list[Cell]) -> "_Candidates":
        found = cls(exercise, cells)
        exercises = {other.name for other in template.exercises}
        id_of_cell = template.labelled[exercise.name].id if exercise.name in template.labelled else ""
        for i, cell in enumerate(cells):
            code = cell.kind == "code"
            if cell.grade_id == exercise.name:
                (found.own if code else found.text).append(i)
            elif cell.grade_id in template.labelled:
                if code and cell.grade_id in exercises:
                    found.others.append(i)  # two cells may have been made into one
                continue
            else:  # lost its label, or made by the student
                gives = code and bool(found.given(i))
                if gives:
                    found.elsewhere.append(i)
                if id_of_cell and cell.id == id_of_cell:
                    (found.by_id if code else found.text).append(i)
                elif not gives and not code:
                    found.prose.append(i)
        return found

    def given(self, i: int) -> set[str]:
        """What of the asked-for names a cell defines."""
        return defined_names(self.cells[i].source) & set(self.exercise.targets)

    def touched(self, group: Iterable[int]) -> list[int]:
        return [i for i in group if not _is_untouched(self.cells[i], self.exercise)]

    def defining(self, group: Iterable[int]) -> list[int]:
        return [i for i in group if self.given(i)]

    def as_code(self) -> list[int]:
        """Text that is Python and defines what is asked for."""
        named = [i for i in self.prose if any(target in self.cells[i].source for target in self.exercise.targets)]
        return [i for i in self.defining(named) if outlined(plain_python(self.cells[i].source)) is not None]

    def best(self) -> int | None:
        """The last cell of the first group that has one: work comes before what was left as it came."""
        groups = (
            lambda: self.defining(self.touched(self.own)),
            lambda: self.touched(self.elsewhere),
            lambda: self.defining(self.touched(self.text)),
            lambda: self.defining(self.others),
            lambda: self.touched(self.own),
            lambda: self.touched(self.by_id),
            lambda: self.touched(self.text),
            lambda: self.own,
            lambda: self.elsewhere,
            lambda: self.by_id,
            lambda: self.text,
            self.as_code,
        )
        return next((found[-1] for group in groups if (found := group())), None)


def _find(exercise: TemplateExercise, template: Template, cells: list[Cell], places: Places, merged: Merged) -> None:
    """Which cells are graded for an exercise: one, or its parts. Copies of it that are not are set aside."""
    found = _Candidates.of(exercise, template, cells)
    best = found.best()
    if best is None:
        merged.missing.append(exercise.name)
        merged.messages.append(f"The cell of {exercise.name} is missing from the notebook.")
        return
    places.give(best, exercise)
    given = found.given(best)
    parts = []
    worked_on = set(found.touched(found.own))
    left_as_it_came = [i for i in found.elsewhere if _is_untouched(cells[i], exercise)]
    for i in (*found.own, *left_as_it_came, *found.text):
        if i == best:
            continue
        also = found.given(i)
        if i in worked_on and not also & given:
            parts.append(i)  # split by an editor, each part with the label, or the first alone
            if also:
                places.give(i, exercise)
                given |= also
        else:
            places.set_aside.add(i)
    _say_which(found, best, parts, merged)


def _say_which(found: _Candidates, best: int, parts: list[int], merged: Merged) -> None:
    name, cells, own = found.exercise.name, found.cells, found.own
    if cells[best].kind != "code":
        merged.messages.append(f"The cell of {name} was turned into {_KINDS[cells[best].kind]}; it was graded as code.")
    elif best in found.others:
        merged.messages.append(f"The answer to {name} was found in the cell of {cells[best].grade_id}.")
    elif best not in own and parts:
        pass  # said below
    elif best not in own:
        how = "lost its label and" if not own else "was left as it came; the answer"
        merged.messages.append(f"The cell of {name} {how} was found by the name it defines.")
    elif len(own) - len(parts) > 1:
        some = bool(found.touched(own))
        which = "the last one with work in it was graded" if some else "none has work in it"
        merged.messages.append(f"The cell of {name} is there {len(own) - len(parts)} times; {which}.")
    if parts:
        merged.messages.append(f"The cell of {name} is in {len(parts) + 1} parts; all of them were run.")


def _given_cells(template: Template, cells: list[Cell], places: Places) -> dict[int, str]:
    """The course's own cells, untouched, that give names which the student's code reads: for the student they were there."""
    own, course = set(template.setup), {}
    reads, gives = set(), set().union(*map(defined_names, template.setup))
    for i, cell in enumerate(cells):
        if cell.kind != "code" or cell.is_setup or cell.source in own or _is_check(cell, template):
            continue
        if normal_text(cell.source) in template.texts and i not in places.of_exercise:
            if cell.grade_id not in template.labelled:
                course[i] = plain_python(cell.source)
        elif i not in places.set_aside:
            source = plain_python(cell.source)
            reads |= _reads(source)
            gives |= defined_names(source)
    wanted: set[str] = reads - gives
    found: dict[int, str] = {}
    while True:
        more = {i: source for i, source in course.items() if i not in found and wanted & defined_names(source)}
        if not more:
            return found
        found |= more
        wanted = wanted.union(*map(_reads, more.values()))


def _reads(source: str) -> set[str]:
    outline = outlined(source)
    return {name for unit in outline.units for name in unit.reads} if outline else set()


def _given(source: str, exercise: TemplateExercise) -> tuple[str, ...]:
    given = defined_names(source)
    return tuple(target for target in exercise.targets if target in given)


def _shared(source: str, exercises: list[TemplateExercise]) -> list[tuple[TemplateExercise, str | None]]:
    """What of a cell belongs to each of its exercises, other lines blanked; None: all of it.

    A statement that gives what an exercise asks for is of that exercise, any other of the next one's.
    """
    plain = plain_python(source)
    told = outlined(plain) if len(exercises) > 1 else None
    if told is None:
        return [(exercise, None) for exercise in exercises]
    of_target = {target: exercise for exercise in exercises for target in exercise.targets}
    giving = {unit.statement: of_target[n] for unit in told.units for n in unit.names if n in of_target}
    owner = next((giving[k] for k in reversed(range(len(told.statements))) if k in giving), exercises[0])
    owners: dict[str, set[int]] = {exercise.name: set() for exercise in exercises}
    for k in reversed(range(len(told.statements))):
        owner = giving.get(k, owner)
        first, last = told.statements[k]
        owners[owner.name].update(range(first, last + 1))
    lines = plain.split("\n")
    ordered = sorted(exercises, key=lambda exercise: min(owners[exercise.name], default=0))
    return [(e, "\n".join(t if n in owners[e.name] else "" for n, t in enumerate(lines, 1))) for e in ordered]


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
        own = own or [i for i, cell in enumerate(cells) if _written(cell, template) == name]
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


def _notice_conflicts(template: Template, cells: list[Cell], places: Places, merged: Merged) -> None:
    """Say where a merge of two versions was not settled."""
    markers = [i for i, cell in enumerate(cells) if cell.is_marker]
    if markers:
        merged.messages.append(
            f"The notebook holds a merge conflict that was not settled: cell {markers[0] + 1} is a merge marker. "
            "Keep one version of each cell, delete the cells with <<<<<<<, ======= and >>>>>>>, and hand in again."
        )
    for i, cell in enumerate(cells):
        names = [exercise.name for exercise in places.of_exercise.get(i, ())]
        name = " and ".join(names) or _written(cell, template)
        where = f"The cell of {name}" if name else f"Cell {i + 1}"
        line = conflict_in(cell.source)
        if line and not cell.is_marker:
            merged.messages.append(
                f"{where} holds merge markers, the first in line {line}: a conflict that was not settled. "
                "Keep one version, delete the lines with <<<<<<<, ======= and >>>>>>>, and hand in again."
            )
        elif cell.conflict:
            merged.messages.append(
                f"{where} is there in two versions, because of a merge conflict in line {cell.conflict} of the file "
                "(<<<<<<<) that was not settled; the first version was read. Keep one of them and hand in again."
            )


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

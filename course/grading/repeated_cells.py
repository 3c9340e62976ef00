"""For those who grade with nbgrader's own commands: of a cell that is there several times, one counts.

nbgrader stops for the whole class at the first notebook in which a student has pasted a copy of a graded cell. Named
before nbgrader's own preprocessors in ``nbgrader_config.py``, `OneOfEach` takes the copy that ``course check`` and
``course grade`` take, and gives back to every graded cell the grading data that it was released with.
"""

import re
from pathlib import Path
from typing import Any

from nbformat import NotebookNode, read
from nbformat.v4 import new_markdown_cell
from nbgrader.preprocessors import NbGraderPreprocessor

from course.grading.read.cells import Cell, cells_from_notebook
from course.grading.read.merge import Merged, Template, answers_in, places_of
from course.grading.read.python_source import defined_names


class OneOfEach(NbGraderPreprocessor):
    """Says on nbgrader's log what it found, and in the notebook which cell was a copy."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        told = resources["nbgrader"]
        # nbgrader works in the folder of the course.
        folder = Path(self.config.CourseDirectory.release_directory) / told["assignment"]
        released = folder / f"{told['notebook']}.ipynb"
        if released.exists():
            for message in keep_one_of_each(nb, read(released, as_version=4)):
                self.log.warning("%s: %s", told["student"], message)
        return nb, resources


def keep_one_of_each(notebook: NotebookNode, released: NotebookNode) -> list[str]:
    """Leave nbgrader's names to one cell each, in place; returns what there is to say.

    Copies of an exercise become text, so that none takes the place of the answer; a check that would run before the
    answer comes after it. The other copies stay as cells that nbgrader does not look at.
    """
    cells, template = cells_from_notebook(notebook), _template(cells_from_notebook(released))
    merged = Merged()
    places = places_of(template, cells, merged)
    copies = places.set_aside
    found_at = {exercise.name: places.first_of(exercise.name) for exercise in template.exercises}
    kept = {name: place for name, place in found_at.items() if place is not None}
    kept |= {name: place for place, name in answers_in(template, cells, merged).items()}
    for name, original in template.labelled.items():
        own = [i for i, cell in enumerate(cells) if cell.grade_id == name and i not in copies]
        if own:
            kept.setdefault(name, own[0] if original.is_setup else own[-1])
        if len(own) > 1:
            merged.messages.append(f"The cell of {name} is there {len(own)} times; one of them counts.")

    found = list(notebook.cells)
    for i in copies:
        found[i] = _as_text(found[i], cells[i])
    for cell in found:
        cell.metadata.pop("nbgrader", None)
    data = {c.metadata.nbgrader.grade_id: c.metadata.nbgrader for c in released.cells if "nbgrader" in c.metadata}
    for name, place in kept.items():
        found[place].metadata["nbgrader"] = NotebookNode(data[name])
    order = list(range(len(found)))
    for exercise in template.exercises:
        answer, check = kept.get(exercise.name), kept.get(f"check_{exercise.name}")
        if answer is not None and check is not None and order.index(check) < order.index(answer):
            order.remove(check)
            order.insert(order.index(answer) + 1, check)
    notebook.cells = [found[i] for i in order]
    return merged.messages


def _template(released: list[Cell]) -> Template:
    answers = [cell for cell in released if cell.kind == "code" and cell.nbgrader.get("solution")]
    return Template.from_cells(released, {cell.grade_id: tuple(sorted(defined_names(cell.source))) for cell in answers})


def _as_text(cell: NotebookNode, read: Cell) -> NotebookNode:
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", read.source)), 3)
    told = f"*A copy of the cell of `{read.grade_id}`, which was not run:*" if read.grade_id else "*Not run:*"
    made = new_markdown_cell(f"{told}\n\n{fence}python\n{read.source}\n{fence}")
    if "id" in cell:
        made["id"] = cell.id
    else:
        made.pop("id", None)
    return made

"""The record as an nbgrader gradebook, so that formgrader and ``nbgrader export`` read it and essays can be marked."""

import os
import shutil
import sysconfig
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from course.grading.cells import Cell
from course.grading.merge import Template
from course.grading.record import StudentResult


class BadGradebook(Exception):
    """The gradebook that is there already cannot be used; the text says what to do."""


def write_gradebook(path: Path, topic: str, template: Template, results: Iterable[StudentResult]) -> None:
    """Bring ``gradebook.db`` up to date: automatic scores are replaced, marks given by a person are kept.

    A copy is changed and then put in the place of the old file, so that a failure leaves that as it was.

    Raises:
        BadGradebook: the file is there but is no nbgrader database, or not of this nbgrader's version.
    """
    from nbgrader.api import Gradebook
    from sqlalchemy.exc import DatabaseError

    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=".db")
    os.close(handle)
    try:
        if path.exists():
            shutil.copyfile(path, temporary)
        else:
            os.unlink(temporary)  # nbgrader makes the tables of a database that is not there
        try:
            with warnings.catch_warnings(), _alembic_on_path(), Gradebook(f"sqlite:///{temporary}") as gradebook:
                warnings.simplefilter("ignore")  # SQLAlchemy's, about how nbgrader adds a submission
                _describe_assignment(gradebook, topic, template)
                for result in results:
                    _write_student(gradebook, topic, result)
                gradebook.db.commit()
        except DatabaseError as error:
            raise BadGradebook(
                f"{path} is damaged or from another version of nbgrader ({error.orig}): move it away to have a new "
                "one made, or run `nbgrader db upgrade` on it"
            ) from None
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextmanager
def _alembic_on_path() -> Iterator[None]:
    """nbgrader runs the program `alembic`, which is not found where the virtual environment is not activated."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([before, sysconfig.get_path("scripts")])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _describe_assignment(gradebook, topic: str, template: Template) -> None:
    gradebook.update_or_create_assignment(topic)
    gradebook.update_or_create_notebook(topic, topic)
    for name, cell in template.labelled.items():
        told = cell.nbgrader
        if told.get("grade"):
            points = float(told.get("points", 0))
            gradebook.update_or_create_grade_cell(name, topic, topic, max_score=points, cell_type=cell.kind)
        if told.get("solution"):
            gradebook.update_or_create_solution_cell(name, topic, topic)
        gradebook.update_or_create_source_cell(name, topic, topic, **_source_cell(cell))


def _source_cell(cell: Cell) -> dict:
    return {"cell_type": cell.kind, "locked": bool(cell.nbgrader.get("locked")), "source": cell.source,
            "checksum": cell.nbgrader.get("checksum")}  # fmt: skip


def _write_student(gradebook, topic: str, result: StudentResult) -> None:
    from nbgrader.api import Grade, MissingEntry

    gradebook.update_or_create_student(result.student)
    try:
        notebook = gradebook.find_submission_notebook(topic, topic, result.student)
    except MissingEntry:
        if not result.exercises:
            return  # nbgrader, too, shows a student without a submission apart from one who earned 0
        gradebook.add_submission(topic, result.student)
        notebook = gradebook.find_submission_notebook(topic, topic, result.student)
    known = {grade.name for grade in notebook.grades}
    for cell in notebook.notebook.grade_cells:
        if cell.name not in known:  # an exercise that was added since this student was last graded
            notebook.grades.append(Grade(cell_id=cell.id, cell=cell))
    earned = {f"check_{exercise.name}": exercise.points for exercise in result.exercises}
    for grade in notebook.grades:
        if grade.name.startswith("check_"):
            grade.auto_score = earned.get(grade.name)
            grade.needs_manual_grade = False
        else:  # a written question; a person's mark stays
            grade.needs_manual_grade = grade.manual_score is None

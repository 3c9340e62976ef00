"""nbgrader over this repository, for institutions that run it: its commands work from this folder as they are.

    nbgrader generate_assignment hw1_self_attention --force     fills nbgrader's gradebook; assignments/ stays as it is
    nbgrader autograde hw1_self_attention                       submitted/STUDENT/hw1_self_attention/...
    nbgrader generate_feedback hw1_self_attention
    nbgrader export

Student code then runs beside its tests, as always with nbgrader, and its points can be forged; see CONTRIBUTING.md.
With JUPYTER_DEFAULT_PROVISIONER_NAME=course-sandbox it runs at least where it can read no answer and reach no network.
"""

import os
import sysconfig

from nbgrader.converters import Autograde

c = get_config()  # noqa: F821 (nbgrader defines it)

# nbgrader runs the program `alembic`, which is not found where the virtual environment is not activated.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])

c.CourseDirectory.course_id = "vision_transformers"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "assignments"
c.CourseDirectory.submitted_directory = "grading/submitted"
c.CourseDirectory.autograded_directory = "grading/autograded"
c.CourseDirectory.feedback_directory = "grading/feedback"
c.CourseDirectory.db_url = "sqlite:///grading/gradebook.db"
c.ExportPlugin.to = "grading/grades.csv"

# Beside each solution lie its source, its hidden checks and what cards say of wrong answers: none of it may go out.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "*.pyc", "*.py", "answers.json"]
c.Execute.timeout = 120  # seconds a cell

# Of cells that a student has pasted again, one counts: nbgrader itself would stop for the whole class.
c.Autograde.sanitize_preprocessors = [
    "course.grading.repeated_cells.OneOfEach",
    *Autograde().sanitize_preprocessors,
]


def _as_students_receive_it(assignment, **_):
    """nbgrader's own release names no exercise in its stubs and brings no check data: `course build` writes both."""
    from course.authoring import find_root
    from course.authoring.builder import write_assignment
    from course.authoring.files import HomeworkFiles

    write_assignment(HomeworkFiles(find_root(), assignment))


c.GenerateAssignment.post_convert_hook = _as_students_receive_it

"""From hand-edited sources to notebooks, and from the repository to what a student receives.

``course build`` is `builder`, ``course build --check`` is `examine`, ``course release`` is `student_tree`, ``course new`` is
`new`. What they use:

``repository``  finds the repository
``files``       which files belong to a lecture and to a homework
``source``      reads a percent source into cells, and names what is wrong in it
``reading_time`` how long a lecture takes
``cells``       makes the cells of a notebook of these, as plain data
``notebooks``   makes notebooks of those
``execute``     runs a notebook
``outputs``     cleans what it printed and drew, and examines it
``leaks``       searches for answers in what students receive

`course.checks` describes the whole way of an exercise, from its author to a student.
"""

from importlib import import_module

import course.quick_nbformat  # noqa: F401

_HOME_OF = {
    "AuthoringError": "course.authoring.repository",
    "find_root": "course.authoring.repository",
    "build": "course.authoring.builder",
    "build_command": "course.authoring.builder",
    "new_command": "course.authoring.new",
    "release": "course.authoring.student_tree",
    "release_command": "course.authoring.student_tree",
}
__all__ = [*_HOME_OF]


def __getattr__(name: str):
    # Imported on first use: `course grade` looks for the repository before it loads torch.
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'course.authoring' has no attribute {name!r}")

"""Grading a class: collect -> merge -> run -> judge -> record -> report, one module each, tied together by `grade`.

`collect` finds each student's notebook in a folder or zip, `cells` reads it, `python_source` tells what its code
defines, `merge` puts the student's cells into the instructor's notebook, `run` drives the child process in which
they are executed (`worker`, over `frames`), `judge` turns what was seen into points, `record` and `gradebook` write
them down, `report` makes the pages. `check_notebook` is the student's own ``course check``.
"""

from importlib import import_module

_HOME_OF = {"grade_command": "course.grading.command", "check_command": "course.grading.check_notebook"}
__all__ = [*_HOME_OF]


def __getattr__(name: str):
    # Imported on first use: the child process imports this package too and needs none of it.
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'course.grading' has no attribute {name!r}")

"""From hand-edited sources to notebooks, and from the repository to what a student receives.

`repository` finds the place, `source` reads and validates, `notebooks` makes cells and metadata, `execute` runs them, `outputs` cleans and
examines what came out, `leaks` looks for answers where none may be, `builder` is ``course build``,
`student_tree` is ``course release``, `new` is ``course new``.
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

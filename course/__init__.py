"""The helper package of the course: data, training, plots, checks of student work, authoring and grading.

What a notebook needs first comes from here: ``from course import setup, budget, check, when_done``.
"""

from importlib import import_module

__version__ = "2026.1"

_HOME_OF = {
    "setup": "course.notebook",
    "budget": "course.notebook",
    "when_done": "course.checks.show",
    "check": "course.checks",
}
__all__ = [*_HOME_OF]


def __getattr__(name: str):
    # Imported on first use: `course doctor` must be able to say that torch is missing.
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'course' has no attribute {name!r}")

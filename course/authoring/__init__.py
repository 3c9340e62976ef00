"""From hand-edited sources to notebooks, and from the repository to what a student receives.

`source` reads and validates, `notebooks` makes cells and metadata, `execute` runs them, `outputs` cleans and
examines what came out, `leaks` looks for answers where none may be, `builder` is ``course build``,
`student_tree` is ``course release``.
"""

from course.authoring.builder import build, build_command
from course.authoring.source import AuthoringError, find_root
from course.authoring.student_tree import release, release_command

__all__ = ["AuthoringError", "build", "build_command", "find_root", "release", "release_command"]

"""Where student code runs. `Sandbox` starts processes for it; how far they are contained is told by `isolation`."""

from course.grading.sandbox.client import CannotStart, Job, Sandbox

__all__ = ["CannotStart", "Job", "Sandbox"]

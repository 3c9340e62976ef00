"""Where student code runs: nothing of the machine to see, nobody to talk to, little to use up, and soon gone.

`client` (the grader's side) starts the `server`, one warm process that moves into the `house`, a root folder with
libraries and nothing else, and forks for every job a supervisor (`supervise`) and the job itself (`jobs`), which gets
a room in the house, limits (`cgroups`, rlimits), and loses its `capabilities` and, by `seccomp`, the kernel's
rarer calls. Where the kernel allows no namespaces, `landlock` takes the place of house and room. `plain` is for one's own
code: no walls at all. `forked`: the server as a fork of the grader to be (`course.grading.apart`).
"""

from course.grading.sandbox.client import Sandbox
from course.grading.sandbox.job import CannotStart, Job, ServerLost

__all__ = ["CannotStart", "Job", "Sandbox", "ServerLost"]

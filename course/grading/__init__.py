"""Grading a class. The modules in the order in which a submission meets them; each says in its first line what it does.

- ``command`` checks what ``course grade`` is given (``settings``, ``deadlines``, ``lock``); ``exam`` makes the homework
  ready: hidden inputs, right answers; ``grade`` takes the class through, ``student`` one of it, ``place`` here or
  on a ``cluster``.
- **collect** finds each student's notebook (``platforms``: how downloads are named; ``whose``: whose work a file is;
  ``handed_in``: when; ``cells`` reads it; ``python_source`` tells what its code defines).
- ``reader`` is a process with limits: notebooks are parsed in it, their code outlined (`course.outline`), their cells
  made into HTML (``formatting``). Some texts take other people's parsers the square of their length.
- **merge** puts the student's cells into the instructor's notebook; ``rules`` finds forbidden names in them.
- **sandbox** is where they run: a package of its own, under ``limits``.
- **run** drives the process in there, with ``child`` as the grader's end and ``worker`` as the student's, ``frames``
  between them and `course.checks.guards` against what an exercise forbids; ``outside`` looks itself where the process
  could lie.
- **judge** turns what was seen into points, in sentences of what is ``known_safe``; ``second_chance`` has what builds on
  an error run again, with a ``stand_in`` that asks the ``oracle`` (``depends``: what builds on what; ``values``: what
  they say to each other).
- **record** writes each result down, ``resume`` goes on from there after a kill; ``gradebook`` is nbgrader's,
  ``exports`` are for Canvas and Moodle.
- **report** makes the pages, with ``pictures`` and ``similarity``.

``check_notebook`` is the student's own ``course check``, by the same steps on public inputs.
"""

from importlib import import_module

_HOME_OF = {"grade_command": "course.grading.command", "check_command": "course.grading.check_notebook"}
__all__ = [*_HOME_OF]


def __getattr__(name: str):
    # Imported on first use: the child process imports this package too and needs none of it.
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'course.grading' has no attribute {name!r}")

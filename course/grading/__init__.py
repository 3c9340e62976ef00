"""Grading a class. A submission goes through six rooms, in this order, and leaves each of them once.

- ``collect``: whose work lies where. ``find`` lists each student's files, ``choose`` picks the notebook (``platforms``:
  how downloads are named; ``whose``: whose a file is; ``handed_in``: when; ``forms``, ``scripts``: as what; ``work``: how
  much is done in it; ``modules``: what lies beside it; ``roster``: who is who in the list of the course).
- ``read``: what the notebook says. ``cells`` reads it, ``python_source`` tells what its code defines, ``modules`` what it
  imports of the student's own files, ``merge`` puts the student's cells into the instructor's notebook, ``rules`` finds
  forbidden names, ``depends`` what builds on what, ``bare`` leaves out comments. All
  that other people's parsers do with a student's text is done by ``reader``, a process with limits.
- ``run``: what the code does. ``submission`` drives it, with ``child`` as the grader's end and ``worker`` as the student's,
  ``frames`` between them; ``stand_in`` asks the ``oracle`` for the course's own answers (``values``: what they say to each
  other), ``outside`` looks where the process could lie. It happens behind the walls of ``sandbox``.
- ``judge``: what was seen, in points and sentences. ``exercise`` judges one, ``second_chance`` has what builds on an error
  run again, ``unnamed`` keeps what is wrong without a name, ``pictures`` draws wrong results, ``blame`` tells what of that which failed cost something.
- ``record``: what is written down. ``result`` is a student's row, ``deadlines`` what coming late costs, ``exports`` are
  the tables of grades (``grades.csv``, those for Canvas and Moodle), ``gradebook`` is nbgrader's.
- ``report``: the ``pages``, ``similarity``: who resembles whom, ``groups``: who is
  wrong in the same way, and ``to_mark``: what formgrader shows.

Around them: ``command`` checks what ``course grade`` is given (``settings``, ``lock``), ``apart`` loads PyTorch once for
student code and for the grader, ``exam`` makes the homework ready
(hidden inputs, right answers), ``grade`` takes the class through, ``student`` one of it, ``place`` here or on a
``cluster``; ``resume`` goes on where an earlier run ended. Every room may use ``limits``, ``problems`` (what can go wrong),
``statuses`` and ``known_safe`` (what a sentence on a page may be made of).

A room uses those before it, ``collect`` uses ``read``, and nothing points back (tests/test_arrows.py). ``check_notebook``
is the student's own ``course check``: the same walk on public inputs, of an ``own_notebook``. ``formgrader`` serves
nbgrader's page for written questions; ``name_mistake`` gives a group its sentence; ``repeated_cells`` is for those who grade with nbgrader's own commands.
"""

from importlib import import_module

_HOME_OF = {
    "grade_command": "course.grading.command",
    "grade_apart": "course.grading.apart",
    "check_command": "course.grading.command",
    "formgrader_command": "course.grading.formgrader",
}
__all__ = [*_HOME_OF]


def __getattr__(name: str):
    # Imported on first use: the child process imports this package too and needs none of it.
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'course.grading' has no attribute {name!r}")

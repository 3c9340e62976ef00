"""Exercises and their checks: how an author describes them, what a student's ``check(...)`` does, what grading reuses.

The walk of one exercise, from its author to the card that a student sees:

1. The author writes the right answer as a cell of ``solutions/hwN_topic/hwN_topic.py``, and describes the exercise in
   ``exercises.py`` beside it: points, inputs, named mistakes, other right answers. This makes a `course.checks.Homework`
   (`course.checks.exercise`).
2. ``course build`` (`course.authoring.builder.build`) reads both. `course.authoring.source.read_source` reads the cells,
   `course.checks.load_homework` runs ``exercises.py``, `course.authoring.source.require_homework` names what does not
   fit together.
3. The check data. `course.checks.public.message_of` takes the inputs of the public seed, a list of `course.checks.Call`
   (`course.checks.calls`). `course.checks.expected_for` runs the right answer and every mistake on them. For each it
   writes down what happens (`course.checks.observe.observe`), and how much of that is rounding
   (`course.checks.rounding`). `course.checks.exercise.pools_for` runs the right answer and its alternatives once more and
   keeps a fingerprint of every value on the way (`course.checks.fingerprints`). `course.checks.public.to_bytes` presses
   these messages into ``checks.safetensors``: tensors and sentences, and no code.
4. The notebooks. `course.authoring.notebooks.make_notebook` makes two of the same cells: the solution, and the
   assignment, in which a line that raises ``NotImplementedError("hw1.attention_scores")`` stands for the answer
   (`course.authoring.source.SourceCell.stripped`).
5. `course.authoring.execute.execute` runs the solution beside the new check data, so every check meets the right answer
   once. `course.atomic.write_together` then writes solution, assignment and check data. Last, `course.authoring.leaks`
   looks for answers in what students receive, and `course.authoring.student_tree.release` copies it for them.
6. A student runs the check cell: `course.checks.student.check`. `course.checks.public.find` finds the check data beside
   the notebook, `course.checks.public.read` reads it. `course.checks.from_scratch.sentences` reads the student's code
   for what is forbidden, and `course.checks.guards.watching` refuses it while the code runs.
   `course.checks.stderr` hears what the code writes to stderr meanwhile.
7. `course.checks.observe.observe` makes the same calls on the student's object. `course.checks.compare.judge` compares
   what happened with the right answer, then with each mistake, then call by call with each mistake, and gives a
   `course.checks.Verdict`; numbers asked for side by side may come
   in one list or tensor (`compare.taken_apart`). Where that names no mistake, `course.checks.student.with_place` has the call made once more on a
   copy that writes down its values (`course.checks.trace`), and `course.checks.place` says in which line they stop being
   those of a right solution. `course.checks.show.show_card` draws the card, folds the author's hints
   (`course.checks.hints`) under one that is not right, and writes beside it, where no reader sees it, for which cells it
   holds (`course.checks.written.written_in`).

Grading goes the same way with inputs of a secret seed, and compares in another process: `course.grading`. There it says
nothing of single calls and of lines.
"""

from course.checks.calls import Accuracy, Call, Observation, Probe, Seeded
from course.checks.compare import Verdict, judge
from course.checks.credit import Credit
from course.checks.exercise import Draw, Exercise, Homework, expected_for, load_homework
from course.checks.observe import observe
from course.checks.student import CheckFailed, check

# Three faces. What a student's notebook uses:
__all__ = ["CheckFailed", "check"]
# what an author's exercises.py uses:
__all__ += ["Accuracy", "Call", "Credit", "Draw", "Homework", "Probe", "Seeded"]
# and what the build and the grader use:
__all__ += ["Exercise", "Observation", "Verdict", "expected_for", "judge", "load_homework", "observe"]

"""What a student's ``check("hw1.attention_scores", attention_scores)`` does."""

from dataclasses import replace
from typing import Any

from course.checks import from_scratch, place, public
from course.checks.calls import FORBIDDEN, Observation
from course.checks.compare import NOT_STARTED, RIGHT, WRONG, Verdict, judge
from course.checks.guards import found, watching
from course.checks.hints import with_hints
from course.checks.observe import observe
from course.checks.show import card_html, card_metadata, show_card
from course.checks.stderr import heard_on_stderr
from course.checks.written import written_in
from course.notebook import in_notebook


class CheckFailed(AssertionError):
    """A check did not pass. Its text is the sentence on the card; a notebook shows no traceback, and it only once."""

    def _render_traceback_(self) -> list[str]:
        return ["CheckFailed: not right yet, the card above says what is wrong."]


class _NotStarted:
    """The value of a check that was not started: shown as its card, and in plain text 0, the points nbgrader gives."""

    def __init__(self, card: str, metadata: dict[str, Any]):
        self._card, self._metadata = card, metadata

    def __repr__(self) -> str:
        return "0"

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict[str, str], dict[str, Any]]:
        return {"text/plain": "0", "text/html": self._card}, self._metadata


def check(exercise_id: str, *objects: Any) -> _NotStarted | None:
    """Check one exercise: ``check("hw1.attention_scores", attention_scores)``.

    Where an exercise asks for several functions, give them in its order: ``check("hw1.heads", split, merge)``.
    Shows a card; returns quietly when all is right, and when the exercise is not started yet. What the code writes to
    stderr meanwhile, warnings say, is on the card and costs nothing.

    Raises:
        CheckFailed: the work is wrong; the text names the mistake.
        FileNotFoundError, KeyError, TypeError: the check itself cannot be made; the text says why.
    """
    with heard_on_stderr() as heard:
        points, verdict = _judged(exercise_id, objects)
    written = written_in(objects)
    if verdict.status == NOT_STARTED and in_notebook():
        card = card_html(exercise_id, points, verdict, heard.text)
        return _NotStarted(card, card_metadata(exercise_id, points, verdict, written))
    show_card(exercise_id, points, verdict, heard.text, written)
    if verdict.status in (RIGHT, NOT_STARTED):
        return None
    raise CheckFailed(f"{verdict.sentence} {verdict.detail}".strip())


def _judged(exercise_id: str, objects: tuple[Any, ...]) -> tuple[float, Verdict]:
    """(highest points of an exercise, what is to be said of the student's objects)."""
    _, _, name = exercise_id.partition(".")
    if not name:
        raise KeyError(f"{exercise_id!r} is no exercise: it should look like 'hw1.attention_scores'")
    exercise = public.read(public.find(exercise_id), name)
    if len(objects) == 1 and isinstance(objects[0], (tuple, list)):
        objects = tuple(objects[0])
    if len(objects) != len(exercise.targets):
        raise TypeError(f"check({exercise_id!r}, ...) needs {', '.join(exercise.targets)}; it got {len(objects)}")
    broken = from_scratch.sentences(objects, exercise.forbidden)
    given = dict(zip(exercise.targets, objects))
    with watching(exercise_id, exercise.forbidden):
        seen = observe(given, exercise.calls)
        if found():
            seen.notes[FORBIDDEN] = found()
        verdict = judge(exercise.expected, seen, broken[-1] if broken else None)
        if FORBIDDEN not in seen.notes:
            verdict = with_place(exercise, given, seen, verdict)
    return exercise.points, with_hints(verdict, exercise.hints)


def with_place(exercise: public.PublicCheck, given: dict[str, Any], seen: Observation, verdict: Verdict) -> Verdict:
    """Where no mistake was named: the same verdict with the line to look at, if it can be told."""
    if verdict.status != WRONG or verdict.named or verdict.call not in exercise.pools:
        return verdict
    call = exercise.calls[verdict.call]
    if call.target not in given:
        return verdict
    found = place.find(
        given[call.target],
        call,
        exercise.pools[verdict.call],
        exercise.solutions[call.target],
        exercise.expected.answer,
        verdict.call,
        stopped=f"{verdict.call}.error" in seen.notes,
    )
    if found is None:
        return verdict
    return replace(verdict, detail=f"{found.sentence} {verdict.detail}".rstrip(), place=found)

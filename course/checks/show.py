"""What a notebook shows of an exercise: the card of its check, or a note where it is not written yet."""

import base64
import html
import io
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from course.checks.compare import NOT_STARTED, RIGHT, WRONG, Verdict
from course.checks.hints import hints_html, hints_text
from course.checks.place import Place
from course.notebook import in_notebook, unwritten_exercise

_LOOK = {  # status -> (accent colour, sign); white on each of the colours can be read, and each on white and on black
    RIGHT: ("#2e7d32", "✓"),
    WRONG: ("#c62828", "✗"),
    NOT_STARTED: ("#546e7a", "○"),
}


def show_card(exercise_id: str, points: float, verdict: Verdict, heard: str = "", written: Sequence[str] = ()) -> None:
    """`heard` is what the student's code wrote to stderr, `written` see `card_metadata`."""
    text = card_text(exercise_id, points, verdict)
    if not in_notebook():
        print(text)
        return
    from IPython.display import display

    card = {"text/html": card_html(exercise_id, points, verdict, heard), "text/plain": text}
    display(card, metadata=card_metadata(exercise_id, points, verdict, written), raw=True)


def card_metadata(exercise_id: str, points: float, verdict: Verdict, written: Sequence[str]) -> dict[str, Any]:
    """What `course progress` reads off a saved card; `written`: the cells it was about (`course.checks.written`)."""
    card = {"exercise": exercise_id, "status": verdict.status, "points": verdict.points(points), "of": points}
    return {"text/html": {"course": {**card, "written": list(written)}}}


@contextmanager
def when_done():
    """Guard a cell that uses the student's code: until the exercise is written, say so calmly and go on.

    Only the stub of an exercise is forgiven; every other error is raised as usual.
    """
    try:
        yield
    except NotImplementedError as error:
        exercise = unwritten_exercise(error)
        if exercise is None:
            raise
        _show_note(f"This cell comes alive once {exercise} is written.")


def _show_note(text: str) -> None:
    """A calm line that asks for nothing."""
    if not in_notebook():
        print(text)
        return
    from IPython.display import HTML, display

    display(HTML(_frame(NOT_STARTED, f"<span>{html.escape(text)}</span>")))


def card_text(exercise_id: str, points: float, verdict: Verdict) -> str:
    sign = _LOOK[verdict.status][1]
    words = {RIGHT: f"right, {points:g} of {points:g} points", NOT_STARTED: "not started"}
    words = words.get(verdict.status, f"wrong{_part(points, verdict)}")
    rest = "" if verdict.status == RIGHT else f": {verdict.sentence} {verdict.detail}".rstrip()
    return f"{sign} {exercise_id} {words}{rest}{hints_text(verdict.hints)}"


def _part(points: float, verdict: Verdict) -> str:
    """What was earned all the same, in words."""
    return f", {verdict.points(points):g} of {points:g} points ({verdict.earned})" if verdict.earned else ""


def card_html(exercise_id: str, points: float, verdict: Verdict, heard: str = "") -> str:
    """The card as one self-contained piece of HTML; every word from outside is escaped."""
    title = {
        RIGHT: f"right, {points:g} of {points:g} points",
        NOT_STARTED: f"not started yet ({points:g} point{'' if points == 1 else 's'} to earn here)",
    }.get(verdict.status, f"not right yet{_part(points, verdict)}")
    parts = [f"<strong>{html.escape(exercise_id)}: {title}</strong>"]
    if verdict.status == NOT_STARTED:
        parts.append("<div>Write the cell above, run it, then run this one again.</div>")
    elif verdict.status == RIGHT:
        parts.append("<div>Now run the next cell: what waited for this exercise comes alive.</div>")
    else:
        parts.append(f"<div>{html.escape(verdict.sentence)}</div>")
        if verdict.detail:
            parts.append(f"<div style='opacity:.85'>{html.escape(verdict.detail)}</div>")
        if verdict.place is not None:
            parts.append(_marked(verdict.place))
        if verdict.picture is not None:
            what, expected, yours = verdict.picture
            picture = compare_picture(expected, yours)
            parts.append(
                f"<img alt='expected, yours and the difference: {html.escape(what)}' style='margin-top:.4em' "
                f"src='data:image/png;base64,{base64.b64encode(picture).decode()}'>"
            )
    parts.append(hints_html(verdict.hints))
    if heard.strip():
        parts.append(
            "<details><summary>While this check ran, your code wrote to stderr, a warning for instance. "
            f"It costs nothing.</summary><pre style='white-space:pre-wrap'>{html.escape(heard)}</pre></details>"
        )
    return _frame(verdict.status, "".join(parts))


def _marked(place: Place) -> str:
    """The student's own line, with the step that is meant marked."""
    before, step, after = place.line[: place.begin], place.line[place.begin : place.end], place.line[place.end :]
    marked = f"{html.escape(before)}<mark>{html.escape(step)}</mark>{html.escape(after)}"
    return f"<pre style='margin:.4em 0;white-space:pre-wrap'>{place.number:>3}  {marked}</pre>"


def _frame(status: str, inside: str) -> str:
    """The text has the colour of the page, light or dark. A screen reader says it when it appears, a mistake at once."""
    colour, sign = _LOOK[status]
    mark = (
        f"<span aria-hidden='true' style='background:{colour};color:white;border-radius:1em;display:inline-block;"
        f"width:1.45em;text-align:center;font-weight:bold;margin-right:.5em'>{sign}</span>"
    )
    return (
        f"<div role='{'alert' if status == WRONG else 'status'}' style='border-left:5px solid {colour};"
        f"padding:.5em .8em;margin:.2em 0;max-width:56em;background:{colour}12;line-height:1.45'>{mark}{inside}</div>"
    )


def compare_picture(expected: Tensor, yours: Tensor) -> bytes:
    """PNG of three heat maps: expected, yours, and their difference where the shapes agree.

    Of a tensor with more than two axes, the first slice along the leading axes that differs is drawn.
    """
    from matplotlib.figure import Figure

    same_shape = expected.shape == yours.shape
    wanted, got = worth_comparing(expected, yours)
    panels = [("expected", wanted), ("yours", got)]
    if same_shape:
        panels.append(("yours − expected", got - wanted))
    finite = torch.cat([wanted.flatten(), got.flatten()])
    finite = finite[finite.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)

    tallest = max(values.shape[0] / values.shape[1] for _, values in panels)
    height = min(2.3, max(1.1, 0.6 + 1.9 * tallest))  # inches; a wide matrix needs less
    figure = Figure(figsize=(2.5 * len(panels), height), dpi=80, layout="constrained")
    for axis, (title, values) in zip(figure.subplots(1, len(panels)), panels):
        if "−" in title:
            reach = float(values[values.isfinite()].abs().max()) if values.isfinite().any() else 1.0
            image = axis.imshow(values, cmap="RdBu_r", vmin=-(reach or 1.0), vmax=reach or 1.0)
        else:
            image = axis.imshow(values, cmap="viridis", vmin=low, vmax=high)
        axis.set_title(f"{title}\n{tuple((expected if title == 'expected' else yours).shape)}", fontsize=8)
        axis.set_xticks([]), axis.set_yticks([])
        bar = figure.colorbar(image, ax=axis, shrink=0.9)
        bar.ax.tick_params(labelsize=6)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def worth_comparing(expected: Tensor, yours: Tensor) -> tuple[Tensor, Tensor]:
    """Two matrices (rows, columns): the first slices along the leading axes that differ most; at most 64 x 64."""
    a, b = _as_stack(expected), _as_stack(yours)
    k = 0
    if a.shape == b.shape:
        difference = (a - b).abs().nan_to_num(torch.inf).flatten(1).amax(dim=1)  # (slices,)
        k = int(difference.argmax())
    return a[k], b[k if a.shape == b.shape else 0]


def _as_stack(values: Tensor) -> Tensor:
    """(..., rows, columns) -> (slices, rows, columns), cut to at most 64 x 64."""
    values = values.double()
    if values.numel() == 0:
        return torch.zeros(1, 1, 1, dtype=torch.float64)
    while values.ndim < 2:
        values = values[None]
    return values.reshape(-1, *values.shape[-2:])[:, :64, :64]

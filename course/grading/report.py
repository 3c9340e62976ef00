"""The pages: one for each student, one for the class. Every word from outside is escaped; nothing in them runs."""

import functools
import statistics
from collections import Counter
from collections.abc import Iterable

import jinja2
import mistune
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from course.grading.judge import LOST, MISSING, NOT_STARTED, RIGHT, WRONG
from course.grading.merge import ShownCell, Template
from course.grading.record import STATUSES, StudentResult, number

MOST_CELLS = 200  # on a feedback page
LONGEST_CELL = 20_000  # characters
MOST_MISTAKES = 15

_SIGNS = {RIGHT: "✓", WRONG: "✗", LOST: "✗", NOT_STARTED: "○", MISSING: "○"}
_FORMATTER = HtmlFormatter(nowrap=False, cssclass="source")


def feedback_page(
    topic: str, template: Template, result: StudentResult, shown: Iterable[ShownCell], max_points: float, isolation: str
) -> bytes:
    """What a student receives: points, a sentence for each exercise, and what they wrote with the verdict below it."""
    shown = list(shown)
    of_exercise = {exercise.name: exercise for exercise in result.exercises}
    cells = [
        {
            "kind": cell.kind,
            "exercise": cell.exercise,
            "written": cell.written,
            "html": _code(cell.source) if cell.kind == "code" else _text(cell.source),
            "result": of_exercise.get(cell.exercise),
        }
        for cell in shown[:MOST_CELLS]
    ]
    return _render(
        "feedback.html.j2",
        topic=topic,
        result=result,
        max_points=max_points,
        written=template.written,
        cells=cells,
        cut=max(0, len(shown) - MOST_CELLS),
        isolation=isolation,
    )


def class_page(
    topic: str, template: Template, exercises: dict[str, float], results: list[StudentResult], isolation: str
) -> bytes:
    """What the instructor reads: distribution, hardest exercises, most frequent mistakes, every student.

    Args:
        exercises: highest points by exercise, in the order of the notebook.
    """
    graded = [result for result in results if result.exercises]
    points = [result.points for result in graded]
    max_points = sum(exercises.values())
    odd = Counter(status for result in results for status in result.statuses if status != "graded")
    return _render(
        "report.html.j2",
        topic=topic,
        results=results,
        graded=graded,
        mean=statistics.fmean(points) if points else 0.0,
        median=statistics.median(points) if points else 0.0,
        max_points=max_points,
        odd={status: odd[status] for status in STATUSES if odd[status]},
        bars=_bars(points, max_points),
        hardest=_hardest(list(exercises), graded),
        mistakes=_mistakes(graded),
        written=list(template.written),
        isolation=isolation,
    )


def _bars(points: list[float], max_points: float) -> list[dict]:
    """The distribution in at most 12 bars: a bar a point where that is enough, else bars of equal width."""
    width = max(1, -(-int(max_points) // 11))
    counts = Counter(int(value // width) for value in points)
    highest = max(counts.values(), default=1)
    bars = []
    for k in range(int(max_points // width) + 1):
        low, high = k * width, min((k + 1) * width - 1, int(max_points))
        label = f"{low}" if high <= low else f"{low}–{high}"
        bars.append({"count": counts[k], "height": round(88 * counts[k] / highest, 1), "label": label})
    return bars


def _hardest(names: list[str], graded: list[StudentResult]) -> list[dict]:
    outcomes = {name: Counter() for name in names}
    for result in graded:
        for exercise in result.exercises:
            outcomes[exercise.name][exercise.outcome] += 1
    rows = [
        {
            "name": name,
            "right": counts[RIGHT],
            "share": round(100 * counts[RIGHT] / max(1, len(graded)), 1),
            "wrong": counts[WRONG],
            "not_started": counts[NOT_STARTED] + counts[MISSING],
            "lost": counts[LOST],
        }
        for name, counts in outcomes.items()
    ]
    return sorted(rows, key=lambda row: row["right"])


def _mistakes(graded: list[StudentResult]) -> list[dict]:
    counts = Counter((e.name, e.sentence) for result in graded for e in result.exercises if e.named)
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_MISTAKES]
    return [{"count": count, "name": name, "sentence": sentence} for (name, sentence), count in frequent]


def _code(source: str) -> Markup:
    if len(source) > LONGEST_CELL:
        return Markup("<pre>{}\n…</pre>").format(source[:LONGEST_CELL])
    return Markup(highlight(source, PythonLexer(), _FORMATTER))  # pygments escapes what it is given


def _text(source: str) -> Markup:
    try:
        # escape=True: HTML in the student's text is shown as text.
        return Markup(mistune.create_markdown(escape=True, plugins=["table", "strikethrough"])(source[:LONGEST_CELL]))
    except Exception:  # deeply nested markdown; the text is shown as it is
        return Markup("<pre>{}</pre>").format(source[:LONGEST_CELL])


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("course.grading", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["points"] = number
    environment.globals["signs"] = _SIGNS
    source = environment.loader.get_source(environment, "style.css")[0]
    environment.globals["style"] = Markup(source)
    environment.globals["code_style"] = Markup(_FORMATTER.get_style_defs(".source"))
    return environment


def _render(name: str, **values) -> bytes:
    return _templates().get_template(name).render(**values).encode("utf-8", "replace")

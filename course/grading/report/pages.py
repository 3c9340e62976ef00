"""The pages: one for each student, one for the class. Every word from outside is escaped; nothing in them runs."""

import functools
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterable

import jinja2
from markupsafe import Markup
from pygments.formatters import HtmlFormatter

from course.grading.judge.exercise import ExerciseResult
from course.grading.read import reader
from course.grading.read.formatting import FORMATTER
from course.grading.read.merge import ShownCell, Template
from course.grading.record.result import StudentResult, number
from course.grading.report.groups import Groups
from course.grading.report.similarity import OTHER, Pair, Part, Similar
from course.grading.statuses import Outcome, Status

MOST_CELLS = 200  # on a feedback page
LONGEST_CELL = 20_000  # characters
LONGEST_PAGE = 100_000  # characters of cells that are shown with colours and formatting; the others are shown plain
LONGEST_PLAIN = 700_000  # characters of all cells that are shown; the longest solution has 67,000
MOST_MISTAKES = 15
MOST_PARTS = 4  # exercises that are named for a pair of students who are alike

SIGNS = {Outcome.RIGHT: "✓", Outcome.WRONG: "✗", Outcome.LOST: "✗", Outcome.NOT_STARTED: "○", Outcome.MISSING: "○"}
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+=*")


def feedback_page(
    topic: str, template: Template, result: StudentResult, shown: Iterable[ShownCell], max_points: float, isolation: str
) -> bytes:
    """What a student receives: points, a sentence for each exercise, and what they wrote with the verdict below it."""
    shown = list(shown)
    fit = that_fit(shown)
    made, some_plain = _as_html(fit)
    of_exercise = {exercise.name: exercise for exercise in result.exercises}
    cells = [
        {
            "kind": cell.kind,
            "exercise": cell.exercise,
            "written": cell.written,
            "file": cell.file,
            "html": html,
            "result": of_exercise.get(cell.exercise),
        }
        for cell, html in zip(fit, made)
    ]
    return _render(
        "feedback.html.j2",
        topic=topic,
        result=result,
        max_points=max_points,
        written=template.written,
        cells=cells,
        some_plain=some_plain,
        cut=len(shown) - len(fit),
        isolation=isolation,
    )


def class_page(
    topic: str,
    template: Template,
    exercises: dict[str, float],
    results: list[StudentResult],
    isolation: str,
    similar: Similar = Similar(),
    groups: Groups = Groups(),
) -> bytes:
    """What the instructor reads: distribution, hardest exercises, most frequent mistakes, who is alike, every student.

    Args:
        exercises: highest points by exercise, in the order of the notebook.
        similar: pairs whose pages `similar_pages` makes.
        groups: of wrong answers that no sentence names.
    """
    graded = [result for result in results if result.exercises]
    points = [result.points for result in graded]
    max_points = sum(exercises.values())
    odd = Counter(status for result in results for status in result.statuses if status != Status.GRADED)
    return _render(
        "report.html.j2",
        topic=topic,
        results=results,
        graded=graded,
        mean=statistics.fmean(points) if points else 0.0,
        median=statistics.median(points) if points else 0.0,
        max_points=max_points,
        odd={status: odd[status] for status in Status if odd[status]},
        outcomes=Outcome,
        bars=_bars(points, max_points),
        hardest=_hardest(list(exercises), graded),
        mistakes=_mistakes(graded),
        written=list(template.written),
        similar=similar,
        similar_names=_similar_names(similar),
        groups=groups,
        isolation=isolation,
    )


def similar_pages(topic: str, similar: Similar, isolation: str) -> dict[str, bytes]:
    """For each pair a page with what they share, side by side; by the name of its file, without ending."""
    pages = {}
    for name, pair in zip(_similar_names(similar), similar.pairs):
        parts = [
            {
                "name": part.exercise or "Further cells",
                "share": part.share,
                "sides": [_marked(work.code[part.exercise], lines) for work, lines in zip(_both(pair), part.lines)],
            }
            for part in pair.parts
        ]
        pages[name] = _render("similar.html.j2", topic=topic, pair=pair, parts=parts, isolation=isolation)
    return pages


def _both(pair: Pair) -> tuple:
    return pair.first, pair.second


def _similar_names(similar: Similar) -> list[str]:
    names: list[str] = []
    taken: set[str] = set()
    for pair in similar.pairs:
        name = f"{pair.first.page}--{pair.second.page}"
        while name.casefold() in taken:  # of "a--b" with "c" and "a" with "b--c"
            name += "+"
        taken.add(name.casefold())
        names.append(name)
    return names


def _marked(source: str, lines: frozenset[int]) -> list[dict]:
    """Runs of lines, each marked or not: fewer elements than one a line."""
    runs: list[dict] = []
    for k, line in enumerate(source.split("\n")):
        if not runs or runs[-1]["shared"] != (k in lines):
            runs.append({"shared": k in lines, "lines": []})
        runs[-1]["lines"].append(line)
    return [{"shared": run["shared"], "text": "\n".join(run["lines"])} for run in runs]


def _alike_in(parts: tuple[Part, ...]) -> str:
    """The exercises of a pair with the share of each, in words."""
    shares = [f"{'further cells' if part.exercise == OTHER else part.exercise} {part.share:.0%}" for part in parts]
    return ", ".join(shares[:MOST_PARTS]) + (
        f" and {len(shares) - MOST_PARTS} more" if len(shares) > MOST_PARTS else ""
    )


def _picture(exercise: ExerciseResult) -> dict | None:
    """The picture of an exercise, if it is one: results are read from files, too."""
    picture = exercise.picture
    if picture is None or not all(_PICTURE.fullmatch(panel["address"]) for panel in picture["panels"]):
        return None
    return picture


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
            "right": counts[Outcome.RIGHT],
            "share": round(100 * counts[Outcome.RIGHT] / max(1, len(graded)), 1),
            "wrong": counts[Outcome.WRONG],
            "not_started": counts[Outcome.NOT_STARTED] + counts[Outcome.MISSING],
            "lost": counts[Outcome.LOST],
        }
        for name, counts in outcomes.items()
    ]
    return sorted(rows, key=lambda row: row["right"])


def _mistakes(graded: list[StudentResult]) -> list[dict]:
    counts = Counter((e.name, e.sentence) for result in graded for e in result.exercises if e.named)
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_MISTAKES]
    return [{"count": count, "name": name, "sentence": sentence} for (name, sentence), count in frequent]


def _as_html(cells: list[ShownCell]) -> tuple[list[Markup], bool]:
    """Cells as they are shown, and whether any of them has to do without colours or formatting."""
    room, formatted = LONGEST_PAGE, []
    for k, cell in enumerate(cells):
        room -= len(cell.source)
        if room >= 0 and len(cell.source) <= LONGEST_CELL:
            formatted.append(k)
    asked = [[cells[k].kind, cells[k].source] for k in formatted]
    try:
        made = dict(zip(formatted, reader.ask("html", json.dumps(asked).encode())))
    except reader.TooMuch:
        made = {}
    shown = [Markup(made[k]) if made.get(k) is not None else _plain(cell.source) for k, cell in enumerate(cells)]
    return shown, any(made.get(k) is None for k in range(len(cells)))


def _plain(source: str) -> Markup:
    return Markup("<pre>{}{}</pre>").format(source[:LONGEST_CELL], "\n…" if len(source) > LONGEST_CELL else "")


def that_fit(cells: list[ShownCell]) -> list[ShownCell]:
    """The first cells, as many as one page may hold."""
    room, fit = LONGEST_PLAIN, []
    for cell in cells[:MOST_CELLS]:
        room -= min(len(cell.source), LONGEST_CELL)
        if room < 0:
            break
        fit.append(cell)
    return fit


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("course.grading.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["points"] = number
    environment.filters["alike_in"] = _alike_in
    environment.filters["picture"] = _picture
    environment.globals["signs"] = SIGNS
    source = environment.loader.get_source(environment, "style.css")[0]
    environment.globals["style"] = Markup(source)
    dark = HtmlFormatter(style="github-dark").get_style_defs(".source")
    dark = f"@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"
    environment.globals["code_style"] = Markup(f"{FORMATTER.get_style_defs('.source')}\n{dark}")
    return environment


def _render(name: str, **values) -> bytes:
    text = _templates().get_template(name).render(**values)
    return text.replace("\x00", "�").encode("utf-8", "replace")  # HTML knows no NUL

"""Hints that wait: under a card that is not right yet, the next smaller steps, folded, each inside the one before."""

import html
import re
from dataclasses import replace

from course.checks.compare import NOT_STARTED, RIGHT, Verdict


def with_hints(verdict: Verdict, hints: tuple[str, ...]) -> Verdict:
    """The verdict with what its card folds away; right work and work not begun need none. Grading never asks for them."""
    return verdict if verdict.status in (RIGHT, NOT_STARTED) else replace(verdict, hints=hints)


def hints_html(hints: tuple[str, ...]) -> str:
    """A fold in a fold: who opens the first sees the second, closed. Every word is escaped; `` `code` `` is set as code."""
    inside = ""
    for number in range(len(hints), 0, -1):
        title = "A hint: the next smaller step" if number == 1 else "One more hint"
        said = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(hints[number - 1]))
        inside = f"<details style='margin-top:.4em'><summary>{title}</summary><div>{said}</div>{inside}</details>"
    return inside


def hints_text(hints: tuple[str, ...]) -> str:
    """For a terminal, where nothing folds: the first hint alone, on a line of its own; "" where there is none."""
    if not hints:
        return ""
    more = f" ({len(hints) - 1} more: open the fold under its card in the notebook.)" if len(hints) > 1 else ""
    return f"\n    Hint: {hints[0]}{more}"

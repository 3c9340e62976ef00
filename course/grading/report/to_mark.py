"""A student's notebook as nbgrader's formgrader shows it to whoever marks the written questions.

Formgrader looks for ``autograded/STUDENT/HOMEWORK/HOMEWORK.ipynb`` beside the gradebook and makes a page of it, in the
browser of an instructor who is logged in there. It shows Markdown as it stands, HTML and scripts in it included, and
gives every heading an id, by which its own fields could be mistaken. So nothing of the file that a student handed in is
copied: this notebook is written anew, in the order of the homework. A student's text is made into HTML where time and
memory are limited (`reader`), HTML in it is shown as text, pictures are left out; outputs are ours.
"""

import html
import json
from collections.abc import Iterable

from course.grading.judge.exercise import ExerciseResult, one_line
from course.grading.read import reader
from course.grading.read.cells import Cell
from course.grading.read.formatting import few_empty_lines
from course.grading.read.merge import ShownCell, Template
from course.grading.record.result import StudentResult, number
from course.grading.report.pages import LONGEST_CELL, SIGNS, that_fit
from course.grading.statuses import Outcome

FOLDER = "autograded"
_LONGEST_NAME = 255  # bytes of a folder's name, on the usual file systems


def place_to_mark(student: str, topic: str) -> str | None:
    """Where formgrader looks for a student's notebook, below its gradebook's folder; None if no folder can be called so."""
    if student in ("", ".", "..") or "/" in student or "\0" in student or len(student.encode()) > _LONGEST_NAME:
        return None
    return f"{FOLDER}/{student}/{topic}/{topic}.ipynb"


def notebook_to_mark(template: Template, result: StudentResult, shown: Iterable[ShownCell]) -> bytes:
    """The notebook: what the student wrote, under each exercise its points, and every written question.

    The cells of checks and of written questions carry nbgrader's names, so that each has its field for a mark.
    """
    shown = list(shown)
    fit = {id(cell) for cell in that_fit(sorted(shown, key=lambda cell: not (cell.written or cell.exercise)))}
    shown = [cell for cell in shown if id(cell) in fit]
    made = iter(_as_html([cell.source for cell in shown if cell.kind == "markdown"]))
    own: dict[str, list[dict]] = {"": []}  # of each exercise its cell, and what follows it up to the next
    answers: dict[str, list[str]] = {}
    place = ""
    for cell in shown:
        text = next(made) if cell.kind == "markdown" else few_empty_lines(_cut(cell.source))
        place = cell.exercise or cell.written or place
        if cell.written:
            answers.setdefault(cell.written, []).append(text)
        else:
            is_first = cell.exercise and cell.exercise not in own  # of several parts one has the name
            released = template.labelled[cell.exercise] if is_first else None
            own.setdefault(place, []).append(_cell(cell.kind, text, released))
    judged = {exercise.name: exercise for exercise in result.exercises}
    cells = own[""]
    for name, released in template.labelled.items():
        if name in judged:
            there, *further = own.get(name, [_cell("markdown", f"*The cell of `{name}` is missing.*")])
            check = template.labelled[f"check_{name}"]
            cells += [there, _cell("code", check.source, check, _said_of(judged[name])), *further]
        elif name in template.written:
            cells += [_cell("markdown", _answer(name, released, answers, result), released), *own.get(name, [])]
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i + 1}"
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return (json.dumps(notebook, indent=1, sort_keys=True) + "\n").encode()


def _cell(kind: str, source: str, released: Cell | None = None, said: str = "") -> dict:
    cell = {"cell_type": kind, "metadata": {"nbgrader": released.nbgrader} if released else {}, "source": source}
    if kind == "code":
        outputs = [{"output_type": "stream", "name": "stdout", "text": said}] if said else []
        cell |= {"execution_count": None, "outputs": outputs}
    return cell


def _said_of(exercise: ExerciseResult) -> str:
    earned = f"{number(exercise.points)} of {number(exercise.max_points)} points"
    told = "" if exercise.outcome == Outcome.RIGHT else f" {one_line(exercise.full_sentence)}"
    return f"{SIGNS[exercise.outcome]} {exercise.name}: {exercise.outcome}, {earned}.{told}\n"


def _answer(name: str, released: Cell, answers: dict[str, list[str]], result: StudentResult) -> str:
    why = result.unanswered.get(name)
    note = f"*{why.capitalize()}: an automatic 0, unless you give a mark.*\n\n" if why else ""
    return note + ("<hr>".join(answers[name]) if name in answers else released.source)


def _as_html(texts: list[str]) -> list[str]:
    """Students' Markdown, each as one line of HTML, which no Markdown program then reads as anything else."""
    asked = [["math", text] for text in texts if len(text) <= LONGEST_CELL]
    try:
        made = reader.ask("html", json.dumps(asked).encode()) if asked else []
    except reader.TooMuch:
        made = [None] * len(asked)
    shown = []
    for text in texts:
        told = made.pop(0) if len(text) <= LONGEST_CELL else None
        told = told if told is not None else f"<pre>{html.escape(_cut(text))}</pre>"
        # A line break would be the end of the HTML.
        shown.append("<div>" + told.strip().replace("\r", "&#13;").replace("\n", "&#10;") + "</div>")
    return shown


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + "\n…"

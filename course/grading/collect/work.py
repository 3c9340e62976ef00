"""How much work is in a notebook: the questions whose text is no longer what was handed out."""

import re
from dataclasses import dataclass, field

from course.grading.read.cells import Cell, normal_text
from course.grading.read.merge import Template
from course.grading.read.python_source import defined_names

_NAME = re.compile(r"\b(def|class)[^\S\n]+\w+")
_NOTHING = ("", "pass", "...")  # lines that do nothing


@dataclass(frozen=True)
class Work:
    """What a student did in one notebook.

    Args:
        known: how many questions of the homework the notebook has at all; 0: it is another notebook.
        done: the text by question, exercise or written one, that is worked on.
        more: the texts of the student's own cells that give names a meaning.
    """

    known: int = 0
    done: dict[str, str] = field(default_factory=dict)
    more: frozenset[str] = frozenset()


def work_in(cells: list[Cell], template: Template) -> Work:
    """Raises `Unreadable`: a cell takes too much to be read."""
    own: dict[str, list[Cell]] = {}
    for cell in cells:
        own.setdefault(cell.grade_id, []).append(cell)
    free = [cell for cell in cells if cell.kind == "code" and cell.grade_id not in template.labelled]
    defined = [(cell, defined_names(cell.source)) for cell in free]
    known, done, used = 0, {}, set()
    for exercise in template.exercises:
        elsewhere = [cell for cell, names in defined if names & set(exercise.targets)]
        known += exercise.name in own or any(not cell.grade_id for cell in elsewhere)
        found = [*own.get(exercise.name, ()), *elsewhere]
        used |= {id(cell) for cell in found}
        worked = [normal_text(cell.source) for cell in found if not is_stub(cell.source, exercise.stub or "")]
        if worked:
            done[exercise.name] = "\n\n".join(worked)
    for name in template.written:
        known += name in own
        given = normal_text(template.labelled[name].source)
        worked = [text for cell in own.get(name, ()) if (text := normal_text(cell.source)) not in ("", given)]
        if worked:
            done[name] = "\n\n".join(worked)
    if not known:
        return Work()
    added = [(cell, names) for cell, names in defined if id(cell) not in used]
    added += [(cell, defined_names(cell.source)) for cell in cells if cell.is_setup and cell.kind == "code"]
    texts = (normal_text(cell.source) for cell, names in added if names)
    return Work(known, done, frozenset(text for text in texts if text not in template.texts))


def is_stub(source: str, stub: str) -> bool:
    """Whether a cell does nothing that the one handed out does not: other comments, line breaks, quotes are no work."""
    ours, given = _loose(source), _loose(stub)
    return _joined(ours) == _joined(given) or {*ours} <= {*given}


def _loose(source: str) -> list[str]:
    """The lines without comments, spaces, the kind of quotes, and the names of functions and classes."""
    text = _NAME.sub(r"\1 _", source)
    lines = ("".join(_without_comment(line).replace("'", '"').split()) for line in text.split("\n"))
    return [line for line in lines if line not in _NOTHING]


def _without_comment(line: str) -> str:
    if line.lstrip().startswith("#"):
        return ""
    sign = line.find("#", max(line.rfind('"'), line.rfind("'")) + 1)  # one before a quote may be in a string
    return line if sign < 0 else line[:sign]


def _joined(lines: list[str]) -> str:
    return re.sub(r",(?=[)\]}])", "", "".join(lines))

"""Answers that students really gave, kept as ``answers.json`` beside each homework, given to the check of a notebook.

What is true of each stands beside it. A card must hold the words that say it, and none that are false. Answers marked `open`
are judged wrongly today: who mends that deletes the mark.
"""

import json
import linecache
import sys
import types
from functools import cache
from pathlib import Path

import pytest

from course.checks import CheckFailed, check, load_homework
from course.checks.exercise import Homework

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("solutions/hw*_*/answers.json"))
SHORT = 4  # of the short form: every fourth
KEYS = {"exercise", "name", "code", "truth", "right", "says", "never", "open"}


@cache
def homework_in(folder: Path) -> Homework:
    return load_homework(folder)


def answers_in(folder: Path) -> list[dict]:
    return json.loads((folder / "answers.json").read_text(encoding="utf-8"))


def said_of(answer: dict, folder: Path, monkeypatch, capsys) -> tuple[str, str]:
    """(``right`` or ``wrong``, the text of the card): the answer as a cell after all that the homework defines."""
    homework = homework_in(folder)
    exercise = homework.exercises[answer["exercise"]]
    module = types.ModuleType(f"student_{exercise.name}")
    vars(module).update({key: value for key, value in homework.reference.items() if key != "__name__"})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    file_name = f"/nowhere/{answer['name']}.py"
    lines = answer["code"].splitlines(keepends=True)
    monkeypatch.setitem(linecache.cache, file_name, (len(answer["code"]), None, lines, file_name))
    exec(compile(answer["code"], file_name, "exec"), vars(module))
    monkeypatch.chdir(ROOT / "assignments" / folder.name)
    try:
        check(exercise.id, *[vars(module)[target] for target in exercise.targets])
        status = "right"
    except CheckFailed:
        status = "wrong"
    return status, capsys.readouterr().out


def parameters() -> list:
    found = []
    for folder in FOLDERS:
        for number, answer in enumerate(answers_in(folder)):
            marks = [pytest.mark.long] if number % SHORT else []
            if "open" in answer:
                marks.append(pytest.mark.xfail(strict=True, reason=f"{answer['open']}; mended? delete its `open`"))
            label = f"{folder.name}-{answer['exercise']}-{answer['name']}"
            found.append(pytest.param(folder, answer, id=label, marks=marks))
    return found


@pytest.mark.parametrize(("folder", "answer"), parameters())
def test_what_is_said_of_an_answer_is_true(folder, answer, monkeypatch, capsys):
    status, said = said_of(answer, folder, monkeypatch, capsys)
    assert status == ("right" if answer.get("right") else "wrong"), said
    assert not [words for words in answer["never"] if words in said], said
    assert all(words in said for words in answer.get("says", [])), said


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_answers_are_described_in_full(folder):
    for answer in answers_in(folder):
        assert answer.keys() <= KEYS and answer["truth"] and answer["code"], answer["name"]
        assert answer["exercise"] in homework_in(folder).exercises
        # Of what is judged rightly, something is said that could be missing.
        assert answer.get("says") or answer.get("right") or "open" in answer, answer["name"]

"""What ``course new`` writes is built, released to a class and graded as it stands, by the commands that it names."""

import csv
import html
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from course.authoring import find_root
from course.authoring.new import FRAME, SYLLABUS
from course.checks import CheckFailed, check, load_homework
from course.cli import main

NAME = "hw77_topic"
ROOT = find_root()

RIGHT = {
    "random_tokens": """\
def random_tokens(x, keep, generator):
    drawn = torch.rand(x.shape[:2], generator=generator)
    return torch.stack([tokens[row.argsort()[:keep]] for tokens, row in zip(x, drawn)])""",
    "AttentionPool": """\
class AttentionPool(nn.Module):
    def __init__(self, embed_dim):
        super().__init__()
        self.score = nn.Linear(embed_dim, 1)

    def forward(self, x):
        return (self.score(x).softmax(1) * x).sum(1)""",
    "bias_of_the_score": "No: it cancels.",
}
WRONG = {
    **RIGHT,
    "random_tokens": "def random_tokens(x, keep, generator):\n    return x[:, :keep]",
    "AttentionPool": RIGHT["AttentionPool"].replace("softmax(1)", "softmax(-1)"),
}
SENTENCES = {
    "random_tokens": "You kept the first tokens, whatever was drawn.",
    "AttentionPool": "Your softmax runs over the one score of a token, so every weight is 1. It should run over the N "
    "tokens.",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(a repository that holds nothing but the new homework, built and graded; its rows by student)"""
    root = tmp_path_factory.mktemp("course")
    (root / "notebooks" / "source").mkdir(parents=True)
    (root / "solutions").mkdir()
    (root / SYLLABUS).parent.mkdir()
    shutil.copy(ROOT / SYLLABUS, root / SYLLABUS)
    shutil.copytree(ROOT / FRAME, root / FRAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["new", NAME]) == 0
        assert main(shlex.split(f"build solutions/{NAME}")) == 0
        assignment = json.loads((root / "assignments" / NAME / f"{NAME}.ipynb").read_text())
        for student, written in (("right", RIGHT), ("wrong", WRONG), ("untouched", {})):
            hand_in(root / "class" / student / NAME / f"{NAME}.ipynb", assignment, written)
        assert main(["grade", "class", "-a", NAME, "-o", "grades", "--seed", "3", "--workers", "1"]) == 0
    with open(root / "grades" / "grades.csv", newline="", encoding="utf-8") as file:
        return root, {row["student"]: row for row in csv.DictReader(file)}


def hand_in(path: Path, assignment: dict, written: dict[str, str]) -> None:
    cells = [{**cell, "source": written.get(cell["id"], cell["source"])} for cell in assignment["cells"]]
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**assignment, "cells": cells}))


def test_it_is_built_with_every_check_passed(place):
    root, _ = place
    solution = json.loads((root / "solutions" / NAME / f"{NAME}.ipynb").read_text())
    shown = [output.get("metadata", {}) for cell in solution["cells"] for output in cell.get("outputs", ())]
    assert [one["text/html"]["course"]["status"] for one in shown if "text/html" in one] == ["right", "right"]
    assert "SOLUTION" not in (root / "assignments" / NAME / f"{NAME}.ipynb").read_text()


def test_right_work_has_all_points_but_those_that_a_person_gives(place):
    _, rows = place
    row = rows["right"]
    assert (row["points"], row["max_points"], row["status"], row["message"]) == ("5", "5", "graded", "")
    assert (row["random_tokens"], row["AttentionPool"], row["bias_of_the_score"]) == ("2", "3", "")


def test_a_named_mistake_loses_its_points_and_is_told_its_sentence(place):
    root, rows = place
    row = rows["wrong"]
    assert (row["points"], row["random_tokens"], row["AttentionPool"]) == ("0", "0", "0")
    page = html.unescape((root / "grades" / "feedback" / "wrong.html").read_text(encoding="utf-8"))
    for sentence in SENTENCES.values():
        assert sentence in row["message"] and sentence in page


def test_untouched_work_is_not_started(place):
    _, rows = place
    row = rows["untouched"]
    assert (row["points"], row["status"]) == ("0", "graded")
    assert row["message"].startswith("Not started: random_tokens, AttentionPool. ")
    assert "nothing was written: an automatic 0" in row["message"]


def test_the_card_in_the_notebook_says_the_same_sentence(place, monkeypatch, capsys):
    root, _ = place
    monkeypatch.chdir(root / "assignments" / NAME)
    by_name = {variant.__name__: variant for variant in mistakes(root, "random_tokens")}
    with pytest.raises(CheckFailed, match=re.escape(SENTENCES["random_tokens"])):
        check("hw77.random_tokens", by_name["keeps_the_first_ones"])
    assert SENTENCES["random_tokens"] in capsys.readouterr().out


def mistakes(root: Path, exercise: str) -> list:
    homework = load_homework(root / "solutions" / NAME)
    return [next(iter(mistake.objects.values())) for mistake in homework.exercises[exercise].mistakes]

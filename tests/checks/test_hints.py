"""Hints that wait: shown, folded, under work that is not right, and nowhere else; no answer is in one."""

import re
from functools import cache
from pathlib import Path

import pytest

from course.authoring import leaks
from course.authoring.new import FRAME, FRAMED
from course.checks import CheckFailed, Homework, check, expected_for, judge, load_homework, public
from course.checks.compare import NOT_STARTED, RIGHT, WRONG, Verdict
from course.checks.hints import hints_html, hints_text, with_hints
from course.checks.show import card_html, card_text
from course.grading import check_command
from tests.sample_class import Notebook

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {FRAMED: ROOT / FRAME} | {path.parent.name: path.parent for path in ROOT.glob("solutions/*/exercises.py")}
HINTS = ("Print `x < 1 & y`: is it <b>there</b>?", "Look at `it's`.", 'And "last".')
MOST, LONGEST = 3, 400  # hints of an exercise, characters of a hint


@cache
def homework_in(topic: str) -> Homework:
    return load_homework(FOLDERS[topic])


every_exercise = pytest.mark.parametrize(
    ("topic", "name"), [(topic, name) for topic in sorted(FOLDERS) for name in homework_in(topic).exercises]
)


@every_exercise
def test_every_exercise_has_hints_that_end_as_sentences_do(topic, name):
    hints = homework_in(topic).exercises[name].hints
    assert 1 <= len(hints) <= MOST and len(set(hints)) == len(hints)
    for hint in hints:
        assert len(hint) <= LONGEST and hint[-1] in ".?:)" and hint.count("`") % 2 == 0, hint
        assert "\n" not in hint and "  " not in hint, hint


def answer_lines_in(hint: str, topic: str) -> list[str]:
    """Lines of the homework's answers that stand in a hint; a line of one word is a name."""
    source, exercises = (FOLDERS[topic] / name for name in (f"{topic}.py", "exercises.py"))
    secrets = leaks._secrets_in(topic, source.read_text(encoding="utf-8"), exercises.read_text(encoding="utf-8"))
    answers = [
        line for line, _, owner in secrets.lines if owner.startswith("the answer to") and not line.isidentifier()
    ]
    assert answers
    return [line for line in answers if line in leaks._plain(hint)]


@every_exercise
def test_no_hint_holds_a_line_of_an_answer_or_the_sentence_of_a_mistake(topic, name):
    exercise = homework_in(topic).exercises[name]
    for hint in exercise.hints:
        assert not answer_lines_in(hint, topic), hint
        assert hint not in [mistake.sentence for mistake in exercise.mistakes]


@pytest.mark.parametrize("code", ["q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])", "return weights @ v"])
def test_a_hint_that_holds_a_line_of_the_answer_is_found(code):
    assert answer_lines_in(f"Write `{code}` and look at it.", "hw1_self_attention")


def test_wrong_work_and_lost_work_get_them_and_other_work_does_not():
    for status, there in ((WRONG, HINTS), ("lost", HINTS), (RIGHT, ()), (NOT_STARTED, ())):
        assert with_hints(Verdict(status, "Said."), HINTS).hints == there


def test_each_waits_inside_the_fold_before_and_every_word_is_escaped():
    shown = hints_html(HINTS)
    assert shown.count("<details") == shown.count("</details>") == 3 and " open" not in shown
    assert shown.endswith("</details>" * 3)  # one inside the other
    assert "<b>" not in shown and "is it &lt;b&gt;there&lt;/b&gt;?" in shown
    assert (
        "<code>x &lt; 1 &amp; y</code>" in shown and "<code>it&#x27;s</code>" in shown and "&quot;last&quot;" in shown
    )
    assert hints_html(()) == ""


def test_the_cards_of_notebook_and_terminal_show_them_under_wrong_work_only():
    wrong = with_hints(Verdict(WRONG, "Not so."), HINTS)
    assert hints_html(HINTS) in card_html("hw9.f", 2, wrong)
    assert card_text("hw9.f", 2, wrong).endswith(
        "Not so.\n    Hint: " + HINTS[0] + " (2 more: open the fold under its card in the notebook.)"
    )
    assert hints_text(HINTS[:1]).endswith(HINTS[0]) and hints_text(()) == ""
    right = with_hints(Verdict(RIGHT, "All right.", share=1.0), HINTS)
    assert "<details" not in card_html("hw9.f", 2, right) and "Hint" not in card_text("hw9.f", 2, right)


def test_check_reads_them_from_beside_the_notebook_and_grading_has_none(monkeypatch, capsys, tmp_path):
    homework = load_homework(ROOT / "solutions" / "hw0_first_check")
    (tmp_path / "hw0_first_check").mkdir()
    (tmp_path / "hw0_first_check" / public.FILE_NAME).write_bytes(public.to_bytes(homework))
    monkeypatch.chdir(tmp_path / "hw0_first_check")
    first = homework.exercises["mean_of_tokens"].hints[0]
    with pytest.raises(CheckFailed) as failed:
        check("hw0.mean_of_tokens", lambda x: x.mean(dim=2))
    assert f"\n    Hint: {first}" in capsys.readouterr().out and first not in str(failed.value)
    check("hw0.mean_of_tokens", homework.reference["mean_of_tokens"])
    assert "Hint" not in capsys.readouterr().out
    exercise = homework.exercises["mean_of_tokens"]
    seen = exercise.observe(exercise.calls(1), {"mean_of_tokens": lambda x: x.mean(dim=2)})
    assert judge(expected_for(exercise, 1), seen).hints == ()


@pytest.mark.parametrize(
    ("body", "there"), [("return x.mean(dim=2)", True), ("return x.mean(dim=1)", False), (None, False)]
)
def test_course_check_shows_the_first_under_its_row(body, there, tmp_path, capsys):
    homework = load_homework(ROOT / "solutions" / "hw0_first_check")
    notebook = Notebook("hw0_first_check")
    if body:
        notebook.cell("mean_of_tokens")["source"] = f"def mean_of_tokens(x):\n    {body}"
    (tmp_path / "hw0_first_check").mkdir()
    (tmp_path / "hw0_first_check" / public.FILE_NAME).write_bytes(public.to_bytes(homework))
    path = tmp_path / "hw0_first_check" / "hw0_first_check.ipynb"
    path.write_bytes(notebook.to_bytes())
    check_command(path)
    hint = homework.exercises["mean_of_tokens"].hints[0]
    assert (f"\n    Hint: {hint}" in capsys.readouterr().out) == there


def test_hints_that_are_no_tuple_of_texts_are_refused(tmp_path):
    homework = Homework("hw9_small", source=tmp_path / "hw9_small.py")
    for hints in ("a text", ["a list"], ("",), (3,)):
        with pytest.raises(TypeError, match=re.escape('hw9.f: hints are texts in a tuple, hints=("...",), the comma')):
            homework.exercise("f", points=1, hints=hints)
    assert homework.exercise("f", points=1, hints=("One.",)).hints == ("One.",)

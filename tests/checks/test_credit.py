"""What an answer earns that is right in parts, and that nothing cheap earns more."""

import pytest
import torch

from course.checks import Call, Credit, Homework, check, expected_for, judge, public
from course.checks.calls import FORBIDDEN
from course.checks.observe import observe
from course.checks.show import card_html

SOURCE = """
# %% exercise="scale"
def scale(x):
    return 2 * x

# %% exercise="order"
def order(x):
    return x.argsort(), x > 0

# %% exercise="total"
def total(x):
    return x.sum()
"""
PARTS = Credit(shape=0.1, values=0.6, gradients=0.3)


def homework_with(folder, **credit) -> Homework:
    (folder / "hw9_parts.py").write_text(SOURCE)
    homework = Homework("hw9_parts", source=folder / "hw9_parts.py", **credit)
    for name in ("scale", "order", "total"):
        exercise = homework.exercise(name, points=4)
        gradients = () if name == "order" else ("x",)
        exercise.inputs(
            lambda draw, name=name, gradients=gradients: [
                Call(name, {"x": draw.normal(size)}, gradients=gradients) for size in (7, 3)
            ]
        )
    homework.exercises["scale"].mistake("You tripled.")(lambda x: 3 * x)
    return homework


def verdict(homework: Homework, name: str, answer, rule_broken=None):
    exercise = homework.exercises[name]
    return judge(expected_for(exercise, 1), observe({name: answer}, exercise.calls(1)), rule_broken)


@pytest.fixture
def parts(tmp_path) -> Homework:
    return homework_with(tmp_path, credit=PARTS)


def unwritten(x):
    raise NotImplementedError("hw9.scale")


@pytest.mark.parametrize(
    "answer, share, earned",
    [
        (lambda x: x + x, 1.0, ""),
        (lambda x: 3 * x, 0.1, "the shape is right"),
        (lambda x: torch.zeros_like(x), 0.1, "the shape is right"),
        (lambda x: 2 * x.detach(), 0.7, "the values are right, the gradients are not"),
        (lambda x: x + x.detach(), 0.7, "the values are right, the gradients are not"),
        (lambda x: 2 * x + 1, 0.1, "the shape is right"),  # right gradients of wrong values earn nothing
        (lambda x: x.mul_(2), 0.1, "the shape is right"),  # right values, but in the student's own input
        (lambda x: 2 * x[:3], 0.0, ""),
        (lambda x: 2 * x[None], 0.0, ""),
        (lambda x: (2 * x, x), 0.0, ""),
        (lambda x: x > 0, 0.0, ""),
        (lambda x: 2 * x if len(x) > 3 else 1 / 0, 0.0, ""),
        (lambda x: None, 0.0, ""),
        (unwritten, 0.0, ""),
    ],
)
def test_each_part_is_earned_on_top_of_the_one_before(parts, answer, share, earned):
    found = verdict(parts, "scale", answer)
    assert found.share == pytest.approx(share) and found.earned == earned
    assert (found.status == "right") == (share == 1)


def test_a_named_mistake_keeps_its_sentence(parts):
    found = verdict(parts, "scale", lambda x: 3 * x)
    assert (found.named, found.sentence, found.points(4)) == (True, "You tripled.", 0.4)


def test_without_gradients_the_other_shares_make_up_the_whole(parts):
    assert verdict(parts, "order", lambda x: (x.argsort(), x > 0)).share == 1
    found = verdict(parts, "order", lambda x: (x.argsort(), x < 0))
    assert found.share == pytest.approx(1 / 7) and found.points(4) == 0.57  # never rounded up
    assert verdict(parts, "order", lambda x: (x.argsort(), x)).share == 0  # numbers where True/False belongs


def test_a_single_number_has_no_shape_to_be_paid_for(parts):
    assert verdict(parts, "total", lambda x: 0 * x.sum()).share == 0
    assert verdict(parts, "total", lambda x: x.sum().detach()).share == pytest.approx(0.7)


def test_all_or_nothing_unless_the_author_says_otherwise(tmp_path):
    plain = homework_with(tmp_path)
    for answer in (lambda x: 3 * x, lambda x: 2 * x.detach()):
        assert verdict(plain, "scale", answer).share == 0
    assert verdict(plain, "scale", lambda x: 2 * x).share == 1
    plain.exercise("own", points=1, credit=PARTS)
    assert plain.exercises["own"].credit == PARTS and plain.exercises["scale"].credit == Credit()


def test_what_is_forbidden_earns_nothing_wherever_it_was_noticed(parts):
    found = verdict(parts, "scale", lambda x: 2 * x, "Line 1.")
    assert (found.status, found.sentence, found.share) == ("wrong", "Line 1.", 0)
    half = verdict(parts, "scale", lambda x: 3 * x, "Line 1.")
    assert (half.sentence, half.share, half.earned) == ("You tripled.", 0, "")
    exercise = parts.exercises["scale"]
    seen = observe({"scale": lambda x: 2 * x}, exercise.calls(1))
    seen.notes[FORBIDDEN] = "Line 2."
    found = judge(expected_for(exercise, 1), seen)
    assert (found.status, found.sentence, found.share) == ("wrong", "Line 2.", 0)


@pytest.mark.parametrize(
    "shares, why",
    [
        ({"shape": 0.5, "values": 0.6}, "must sum to 1"),
        ({"shape": -0.1, "values": 1.1}, "not be negative"),
        ({"shape": 1, "values": 0}, "worth something"),
        ({"shape": float("nan")}, "must"),
    ],
)
def test_shares_that_make_no_sense_are_refused(shares, why):
    with pytest.raises(ValueError, match=why):
        Credit(**shares)


def test_the_notebook_shows_the_same_part(parts, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "hw9_parts"
    folder.mkdir()
    (folder / public.FILE_NAME).write_bytes(public.to_bytes(parts))
    assert public.read(folder / public.FILE_NAME, "scale").expected.credit == PARTS
    monkeypatch.chdir(folder)
    with pytest.raises(AssertionError, match="no gradient flows back"):
        check("hw9.scale", lambda x: 2 * x.detach())
    assert "wrong, 2.8 of 4 points (the values are right, the gradients are not): The values" in capsys.readouterr().out
    card = card_html("hw9.scale", 4, verdict(parts, "scale", lambda x: 3 * x))
    assert "not right yet, 0.4 of 4 points (the shape is right)" in card


def test_a_part_is_rounded_down_to_hundredths_and_loses_none_to_floats(parts):
    found = verdict(parts, "order", lambda x: (x.argsort(), x < 0))
    assert found.points(3) == 0.42  # of 0.42857...
    parts.exercises["scale"].credit = Credit(shape=0.29, values=0.71)
    assert verdict(parts, "scale", lambda x: 0 * x).points(1) == 0.29  # 100 * 0.29 is 28.999999999999996

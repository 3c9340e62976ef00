"""Observations come from student code: whatever is in them, they end as points and one clean sentence."""

import re
from dataclasses import replace

import pytest
import torch

from course.checks import Credit
from course.checks.calls import FORBIDDEN, Observation, calls_from_bytes
from course.checks.observe import observe
from course.grading.judge import judge_exercise, one_line
from course.grading.record import StudentResult, number
from course.grading.run import Lost


def judged(exam, seen, name="double"):
    return judge_exercise(name, exam.points[name], exam.expected[name], seen)


def seen(exam, function, name="double"):
    return observe({name: function}, calls_from_bytes(exam.questions[name].calls))


def test_right_wrong_and_named(exam):
    right = judged(exam, seen(exam, lambda x: x + x))
    assert (right.points, right.outcome) == (2, "right")
    named = judged(exam, seen(exam, lambda x: x + 2))
    assert (named.points, named.outcome, named.named) == (0, "wrong", True)
    assert named.sentence == "You added two instead of doubling."
    other = judged(exam, seen(exam, lambda x: 3 * x + 1))
    assert (other.points, other.outcome, other.named) == (0, "wrong", False)


def test_lost_missing_and_not_started(exam):
    assert judged(exam, None).outcome == "missing"
    assert judged(exam, Lost("timeout", "Your code hangs.")).sentence == "Your code hangs."

    def stub(x):
        raise NotImplementedError("hw9.double")

    not_started = judged(exam, seen(exam, stub))
    assert (not_started.outcome, not_started.sentence) == ("not started", "hw9.double is not written yet.")


def test_no_value_of_a_hidden_input_is_shown(exam):
    def tell(x):
        raise ValueError(f"{x.tolist()} {x[0, 0].item():.3e} shape {tuple(x.shape)}")

    (call,) = calls_from_bytes(exam.questions["double"].calls)
    told = judged(exam, seen(exam, tell)).sentence
    assert "ValueError" in told and "shape (3, 4)" in told
    for value in call.arguments["x"].flatten().tolist():
        assert f"{abs(value):.4f}"[:6] not in told
    # A difference in values is described without the values.
    wrong = judged(exam, seen(exam, lambda x: x * x))
    assert "Largest difference" not in wrong.sentence


@pytest.mark.parametrize(
    "forged",
    [
        Observation(),
        Observation({"0.out": torch.zeros(0)}),
        Observation({"0.out": torch.zeros(3, 4, dtype=torch.complex64), "0.grad.x": torch.zeros(3, 4)}),
        Observation({"0.out": torch.zeros(3, 4).to(torch.float8_e4m3fn), "0.grad.x": torch.zeros(3, 4)}),
        Observation({"0.out": torch.full((3, 4), torch.nan), "0.grad.x": torch.full((3, 4), torch.inf)}),
        Observation({"0.out": torch.zeros(3, 4, dtype=torch.uint8)}),
        Observation({"0.out": torch.zeros([1] * 60)}),
        Observation({f"{i}.out": torch.zeros(1) for i in range(500)}),
        Observation({"": torch.zeros(1), "....": torch.zeros(1), "\ud800": torch.zeros(1)}),
        Observation(notes={"0.error": "x\n" * 10**6, "0.type": "\x00\x1b[31m"}),
        Observation(notes={"0.error": "<script>alert(1)</script>\u202e\x07"}),
        Observation(notes={"": "", "no dot": "x", "0.unwritten": "y" * 10**6}),
    ],
    ids=range(12),
)
def test_forged_observations_earn_nothing_and_break_nothing(exam, forged):
    result = judged(exam, forged)
    assert result.points == 0 and result.outcome != "right"
    assert result.sentence.isprintable() and 0 < len(result.sentence) <= 400


def test_one_line():
    assert one_line("a\nb\t c\x07 \ud800") == "a b c� ?"
    assert one_line("x" * 1000, 10) == "x" * 9 + "…"


def test_a_part_of_the_points_is_said_with_what_it_is_for(exam):
    expected = replace(exam.expected["double"], credit=Credit(shape=0.1, values=0.6, gradients=0.3))
    cut = judge_exercise("double", 2, expected, seen(exam, lambda x: 2 * x.detach()))
    assert (cut.points, cut.outcome) == (1.4, "wrong")
    assert cut.told.startswith("1.4 of 2 points: the values are right, the gradients are not. The values are right, but")
    named = judge_exercise("double", 2, expected, seen(exam, lambda x: x + 2))
    assert named.told == "0.2 of 2 points: the shape is right. You added two instead of doubling." and named.named
    forged = Observation({"0.out": torch.zeros(3, 4)}, {FORBIDDEN: "x" * 10**6 + "\n<b>\x00"})
    assert judge_exercise("double", 2, expected, forged).points == 0
    row = StudentResult("Ada", "ada", ("graded",), (cut, replace(named, name="other")))
    assert StudentResult.from_json(row.to_json()) == row and number(row.points) == "1.6"
    assert "double: 1.4 of 2 points: the values are right" in row.message


def test_a_use_of_what_is_forbidden_costs_all_however_it_was_noticed(exam):
    right = seen(exam, lambda x: 2 * x)
    written = judge_exercise("double", 2, exam.expected["double"], right, "Line 2 of your cell uses F.twice.")
    assert (written.points, written.outcome, written.sentence) == (0, "wrong", "Line 2 of your cell uses F.twice.")
    right.notes[FORBIDDEN] = "Line 3 of your cell uses F.twice."
    refused = judge_exercise("double", 2, exam.expected["double"], right)
    assert (refused.points, refused.outcome, refused.sentence) == (0, "wrong", "Line 3 of your cell uses F.twice.")


@pytest.mark.parametrize(
    "message",
    [
        "it was 0.71093",
        "its bits were 1063675494",
        "in letters: P3GAAD+2mZoAQP8AAABhc2Rm",
        "x (line 3 of your cell: 0.71093 1063675494)",
    ],
)
def test_no_error_message_carries_a_hidden_value(message, exam):
    seen = Observation(notes={"0.error": f"ValueError: {message}"})
    result = judge_exercise("double", 2.0, exam.expected["double"], seen)
    assert result.points == 0 and not re.search(r"71093|1063675494|P3GAAD", result.sentence)
    shapes = Observation(notes={"0.error": "RuntimeError: mat1 and mat2 shapes cannot be multiplied (3x4 and 51x40)"})
    assert "(3x4 and 51x40)" in judge_exercise("double", 2.0, exam.expected["double"], shapes).sentence


def test_the_name_of_an_exercise_opens_no_way_for_what_follows_it(exam):
    def told(note: str) -> str:
        return judged(exam, Observation(notes={"0.unwritten": note})).sentence

    assert told("hw9.double") == "hw9.double is not written yet."
    assert not re.search(r"71093|1063675494", told("hw9.double 0.71093 1063675494"))


def test_whole_numbers_are_shown_as_far_as_shapes_need_them(exam):
    note = "ValueError: it was 123456, of shape (12345, 3)"
    told = judged(exam, Observation(notes={"0.error": note})).sentence
    assert "it was …, of shape (12345, 3)" in told


def test_what_a_lost_child_said_is_one_line_as_well(exam):
    told = judged(exam, Lost("crashed", "a\n\x1b[31m" * 10**5)).sentence
    assert told.isprintable() and len(told) == 400


def test_a_line_that_just_fits_is_not_cut():
    assert one_line("x" * 10, 10) == "x" * 10
    assert one_line("x" * 11, 10) == "x" * 9 + "…"


def test_what_cannot_be_compared_at_all_is_said_and_stops_nothing(exam, monkeypatch):
    def cannot(*arguments):
        raise NotImplementedError("'isfinite' not implemented for a type of a later torch")

    monkeypatch.setattr("course.grading.judge.judge", cannot)
    result = judged(exam, seen(exam, lambda x: 2 * x))
    assert (result.points, result.outcome) == (0, "wrong")
    assert result.sentence == "Your result could not be compared with the right one (NotImplementedError)."

"""Observations come from student code: whatever is in them, they end as points and one clean sentence."""

import linecache
import pickle
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from course.checks import Call, Credit, Exercise, Homework, Probe, expected_for, probes
from course.checks.calls import FORBIDDEN, Observation, calls_from_bytes
from course.checks.from_scratch import Use
from course.checks.observe import observe
from course.grading import known_safe
from course.grading.exam import prepare_exam
from course.grading.judge.exercise import judge_exercise, one_line
from course.grading.record.result import StudentResult, number
from course.grading.run.submission import Lost


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
    assert told.startswith("Your code stopped with ValueError: its message is not shown, because")
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
    assert cut.full_sentence.startswith(
        "1.4 of 2 points: the values are right, the gradients are not. The values are right, but"
    )
    named = judge_exercise("double", 2, expected, seen(exam, lambda x: x + 2))
    assert (
        named.full_sentence == "0.2 of 2 points: the shape is right. You added two instead of doubling." and named.named
    )
    forged = Observation({"0.out": torch.zeros(3, 4)}, {FORBIDDEN: "x" * 10**6 + "\n<b>\x00"})
    assert judge_exercise("double", 2, expected, forged).points == 0
    row = StudentResult("Ada", "ada", ("graded",), (cut, replace(named, name="other")))
    assert StudentResult.from_json(row.to_json()) == row and number(row.points) == "1.6"
    assert "double: 1.4 of 2 points: the values are right" in row.message


def test_a_use_of_what_is_forbidden_costs_all_however_it_was_noticed(exam):
    right = seen(exam, lambda x: 2 * x)
    written = judge_exercise("double", 2, exam.expected["double"], right, "Line 2 of your cell uses F.twice.")
    assert (written.points, written.outcome, written.sentence) == (0, "wrong", "Line 2 of your cell uses F.twice.")
    known = exam.known["double"].about("def double(x):\n    F = nn\n    F.Transformer(3)", (), 0)
    told = Use("nn.Transformer", 3, "double").sentence
    right.notes[FORBIDDEN] = told
    refused = judge_exercise("double", 2, exam.expected["double"], right, known=known)
    assert (refused.points, refused.outcome, refused.sentence) == (0, "wrong", told)


@pytest.mark.parametrize(
    "said",
    [
        "x was 0.71093",
        Use("nn.Transformer", 71093, "double").sentence,
        Use("nn.Seven_one", 3, "double").sentence,
        Use("nn.Transformer", 3, "seven_one").sentence,
        Use("nn.Transformer.seven_one", 3, "double").sentence,
    ],
)
def test_what_is_said_of_a_refusal_is_made_of_known_parts(said, exam):
    known = exam.known["double"].about("def double(x):\n    F = nn\n    F.Transformer(3)", (), 0)
    seen = Observation(notes={FORBIDDEN: said})
    result = judge_exercise("double", 2, exam.expected["double"], seen, known=known)
    assert result.points == 0 and "which does this exercise for you" in result.sentence
    assert not re.search("71093|[Ss]even", result.sentence)


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
    assert "(3x4 and …x…)" in judge_exercise("double", 2.0, exam.expected["double"], shapes).sentence


# -- what honest errors read like: each is raised by the line itself, in a cell of a student


CELL = """\
import torch, einops
from torch import nn
import torch.nn.functional as F
class Narrow(nn.Module):
    def __init__(self, width, heads):
        self.layer = nn.Linear(51, 40)
def helper(q, k): return q + k
def double(x):
    y = 3
    LINE
"""


@pytest.mark.parametrize(
    "line, told",
    [
        ("return nn.Linear(51, 40)(x)", "RuntimeError: mat1 and mat2 shapes cannot be multiplied (3x4 and 51x40)"),
        ("return x @ x", "RuntimeError: mat1 and mat2 shapes cannot be multiplied (3x4 and 3x4)"),
        (
            "return x + torch.ones(3, 5)",
            "RuntimeError: The size of tensor a (4) must match the size of tensor b (5) at non-singleton dimension 1",
        ),
        ("return x.view(5, -1)", "RuntimeError: shape '[5, -1]' is invalid for input of size 12"),
        (
            "return torch.cat([x, torch.ones(2, 5)])",
            "RuntimeError: Sizes of tensors must match except in dimension 0. "
            "Expected size 4 but got size 5 for tensor number 1 in the list.",
        ),
        ("return x[0, 0, 0]", "IndexError: too many indices for tensor of dimension 2"),
        ("return x.sum(5)", "IndexError: Dimension out of range (expected to be in range of [-2, 1], but got 5)"),
        (
            "return x.T.view(12)",
            "RuntimeError: view size is not compatible with input tensor's size and stride (at least "
            "one dimension spans across two contiguous subspaces). Use .reshape(...) instead.",
        ),
        (
            "return nn.LayerNorm(5)(x)",
            "RuntimeError: Given normalized_shape=[5], expected input with shape [*, 5], but got input of size[3, 4]",
        ),
        (
            "return einops.rearrange(x, 'b (h d) -> b h d', h=3)",
            "EinopsError: Error while processing rearrange-reduction "
            "pattern \"b (h d) -> b h d\". Input tensor shape: torch.Size([3, 4]). Additional info: {'h': 3}. Shape mismatch, "
            "can't divide axis of length 4 in chunks of 3",
        ),
        (
            "return x.double() @ x.T",
            "RuntimeError: expected m1 and m2 to have the same dtype, but got: double != float",
        ),
        (
            "return x.numpy()",
            "RuntimeError: Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
        ),
        ("return twice * x", "NameError: name 'twice' is not defined"),
        ("return x.twice()", "AttributeError: 'Tensor' object has no attribute 'twice'"),
        ("return F.twice(x)", "AttributeError: module 'torch.nn.functional' has no attribute 'twice'"),
        ("return Narrow(3)(x)", "TypeError: Narrow.__init__() missing 1 required positional argument: 'heads'"),
        ("return Narrow(3, 4)(x)", "AttributeError: cannot assign module before Module.__init__() call"),
        ("return helper(x, z=2)", "TypeError: helper() got an unexpected keyword argument 'z'"),
        ("return helper(x)", "TypeError: helper() missing 1 required positional argument: 'k'"),
        ("return x @ None", "TypeError: unsupported operand type(s) for @: 'Tensor' and 'NoneType'"),
        ("return y(x)", "TypeError: 'int' object is not callable"),
        ("a, b, c = x.shape", "ValueError: not enough values to unpack (expected 3, got 2)"),
        ("import nowhere.at_all", "ModuleNotFoundError: No module named 'nowhere'"),
        ("from torch import nowhere", "ImportError: cannot import name 'nowhere' from 'torch'…"),
        ("return {}['left']", "KeyError: 'left'"),
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("assert y == 4", "AssertionError:"),
    ],
)
def test_an_honest_error_reads_as_python_or_torch_says_it(line, told, exam):
    cell = CELL.replace("LINE", line)
    names = {}
    exec(compile(cell, "<the cell of double>", "exec"), names)
    linecache.cache["<the cell of double>"] = (len(cell), None, cell.splitlines(keepends=True), "<the cell of double>")
    known = exam.known["double"].about(cell, (cell,), 0)
    result = judge_exercise("double", 2, exam.expected["double"], seen(exam, names["double"]), known=known)
    line = "self.layer = nn.Linear(51, 40)" if "before Module" in told else line  # the last of the student's own
    number = cell[: cell.index(line)].count("\n") + 1
    assert result.sentence == f"Your code stopped with {told} (line {number} of your cell: {line})"


def test_every_sentence_of_python_and_torch_can_be_written():
    for sentence, expression, holes in known_safe._sentences():
        assert expression.groups == len(holes) and set(holes) <= set(known_safe._HOLES), sentence


@pytest.mark.parametrize(
    "note",
    [
        "E71093: x",
        "Seventy: x",
        "ValueError: seven one",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (71x0 and 93x71093)",
        "NameError: name 'seven_one' is not defined",
        "TypeError: seven_one() missing 1 required positional argument: 'seven'",
        "AttributeError: 'Seven' object has no attribute 'seven'",
        "KeyError: 'seven'",
        "ModuleNotFoundError: No module named 'seven.one'",
        "ValueError: x (line 71093 of your cell: seven one)",
        "ValueError: x (line 2 of your cell: seven one)",
        "RuntimeError: shape '[71093, 71]' is invalid for input of size 71093",
        "MemoryError: it asked for more memory than the 71093 MB allowed",
        "IndexError: index 71093 is out of bounds for dimension 71 with size 93",
        "RuntimeError: expected scalar type Seven but found One",
        'EinopsError: Error while processing rearrange-reduction pattern "seven one". Input tensor shape: torch.Size([71, 93]). '
        "Additional info: {'seven': 71, 'x': 93}. Shape mismatch, 71 != 93",
        "ImportError: cannot import name 'seven' from 'one' (71093)",
        "RecursionError: maximum recursion depth exceeded seven",
        "RuntimeError: one of the variables needed for gradient computation has been modified by an inplace operation: seven 71093",
        "SyntaxError: expected an indented block after seven on line 71093",
        "TypeError: Seven object is not callable",
        "(line 71093 of your cell: seven)",
        ": seven",
        "ValueError:seven",
        "ValueError\n: seven",
        "\N{FULLWIDTH DIGIT SEVEN}: seven",
    ],
)
def test_what_is_known_nowhere_else_is_not_written(note, exam):
    known = exam.known["double"].about("def double(x):\n    return 3 * x", (), 2**20)
    for key in ("error", "type", "undefined", "unwritten", "changed", "no_gradient", "parameters", "seven", "71093"):
        seen = Observation({"0.out.71093": torch.zeros(1), "0.grad.seven": torch.zeros(71)}, {f"0.{key}": note})
        result = judge_exercise("double", 2, exam.expected["double"], seen, known=known)
        assert result.points == 0 and not re.search(r"71|93|\b[Ss]even|７", result.sentence), (key, result.sentence)


def test_numbers_of_results_are_said_in_a_few_words(exam):
    """Each would otherwise be a number of the student's choice."""
    right = exam.expected["mean_and_spread"].answer.tensors["0.out.0"]

    def said(result) -> str:
        return judged(exam, seen(exam, lambda x: result(2 * x))).sentence

    assert (
        said(lambda y: 0.71093 * y)
        == "The result has the right shape, but 100% of its values differ from what is expected."
    )
    assert said(lambda y: 0.5002 * y) == "The result is the right one times 0.5: a factor is missing or too many."
    assert said(lambda y: -y) == "The result is the right one times -1: a factor is missing or too many."
    assert said(lambda y: torch.zeros(3, 71)) == "The result has the wrong shape: expected (3, 4), yours is (3, …)."
    assert (
        said(lambda y: torch.zeros([1] * 7))
        == "The result has the wrong shape: expected (3, 4), yours has too many axes."
    )
    nan = torch.full((3, 4), torch.nan)
    assert said(lambda y: torch.where(torch.arange(12.0).view(3, 4) < 5, nan, y)).startswith("Some of 12 values")
    some = said(lambda y: y + (torch.arange(12.0).view(3, 4) < 5))
    assert some == "The result has the right shape, but about 40% of its values differ from what is expected."
    many = judge_exercise(
        "mean_and_spread",
        1,
        exam.expected["mean_and_spread"],
        seen(exam, lambda x: (x.mean(), x.std(unbiased=False), *[x] * 71), "mean_and_spread"),
    )
    assert right.ndim == 0 and many.sentence == "Your code returned more than was asked for (result number 3)."


def test_the_name_of_an_exercise_opens_no_way_for_what_follows_it(exam):
    def told(note: str) -> str:
        return judged(exam, Observation(notes={"0.unwritten": note})).sentence

    assert told("hw9.double") == "hw9.double is not written yet."
    assert not re.search(r"71093|1063675494", told("hw9.double 0.71093 1063675494"))


def test_what_a_lost_child_said_is_one_line_as_well(exam):
    told = judged(exam, Lost("crashed", "a\n\x1b[31m" * 10**5)).sentence
    assert told.isprintable() and len(told) == 400


def test_a_line_that_just_fits_is_not_cut():
    assert one_line("x" * 10, 10) == "x" * 10
    assert one_line("x" * 11, 10) == "x" * 9 + "…"


def test_what_cannot_be_compared_at_all_is_said_and_stops_nothing(exam, monkeypatch):
    def cannot(*arguments):
        raise NotImplementedError("'isfinite' not implemented for a type of a later torch")

    monkeypatch.setattr("course.grading.judge.exercise.judge", cannot)
    result = judged(exam, seen(exam, lambda x: 2 * x))
    assert (result.points, result.outcome) == (0, "wrong")
    assert result.sentence == "Your result could not be compared with the right one (NotImplementedError)."


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("torch's operator native_group_norm", "torch's operator native_group_norm"),
        ("torch's operator seventy_one", "what is forbidden"),
        ("torch's operator relu", "what is forbidden"),
        ("nn.GroupNorm", "nn.GroupNorm"),
        ("seventy.one", "what is forbidden"),
    ],
)
def test_what_was_refused_is_named_only_where_it_is_forbidden(said, shown, exam):
    known = replace(exam.known["double"], forbidden=("torch.nn.GroupNorm",))
    told = known_safe._refused(f"Your code uses {said}, which does this exercise for you.", known)
    assert told.startswith(f"Your code uses {shown}, which does this exercise for you. ")
    assert known_safe._refused(known_safe.UNSEALED, known) == known_safe.UNSEALED


def test_a_sentence_that_goes_on_after_its_end_is_not_one_that_is_known(exam):
    """Only the whole text of a note is recognised: what begins as a sentence of torch may end as anything."""
    known = exam.known["double"].about("def double(x):\n    return 3 * x", (), 0)
    assert (
        known_safe.error("RuntimeError: batch1 must be a 3D tensor", known)
        == "RuntimeError: batch1 must be a 3D tensor"
    )
    assert (
        known_safe.error("RuntimeError: batch1 must be a 3D tensor 0.71", known) == f"RuntimeError: {known_safe.HIDDEN}"
    )
    forbids = replace(known, forbidden=("torch.nn.GroupNorm",))
    refused = "Your code uses nn.GroupNorm, which does this exercise for you."
    assert known_safe._refused(refused, forbids).startswith("Your code uses nn.GroupNorm,")
    assert known_safe._refused(f"{refused}\n0.71", forbids).startswith("Your code uses what is forbidden,")


def test_a_parameter_is_named_by_words_of_the_cell_and_single_digits_only(exam):
    known = exam.known["double"].about("class Double:\n    layers = 3", ("class Double:\n    layers = 3",), 0)

    def said(name: str) -> str:
        note = f"expected weight (3,); yours has {name} (3,)"
        return known_safe._parameters(note, known.calls[0], known).partition("yours has ")[2]

    assert said("layers.7").startswith("layers.7 (")
    assert said("layers.71093").startswith("… (")  # a number of the student's choice


def test_a_long_number_of_the_cell_is_no_size(exam):
    """It is as long as the bits of a hidden float: a cell could list many and name the right one."""
    known = exam.known["double"].about("def double(x):\n    return x.view(123456) + 10636754", (), 0)
    assert known_safe.error("RuntimeError: a Tensor with 123456 elements cannot be converted to Scalar", known).count(
        "123456"
    )
    said = known_safe.error("RuntimeError: a Tensor with 10636754 elements cannot be converted to Scalar", known)
    assert said == "RuntimeError: a Tensor with … elements cannot be converted to Scalar"


# -- mistakes are run for whoever is wrong


def test_no_mistake_is_run_for_a_right_answer_and_one_that_is_made_has_its_name(small_course, monkeypatch):
    ran, observe_it = [], Exercise.observe
    monkeypatch.setattr(
        Exercise,
        "observe",
        lambda self, calls, variant=None: (ran.append(variant), observe_it(self, calls, variant))[1],
    )
    exam = prepare_exam(small_course, small_course / "solutions" / "hw9_small", seed=11)
    calls, expected = calls_from_bytes(exam.questions["double"].calls), exam.expected["double"]
    assert judge_exercise("double", 2, expected, observe({"double": lambda x: x + x}, calls)).points == 2
    assert not any(ran)
    wrong = judge_exercise("double", 2, expected, observe({"double": lambda x: x + 2}, calls))
    assert wrong.named and wrong.sentence == "You added two instead of doubling." and any(ran)
    ran.clear()
    assert judge_exercise("double", 2, expected, observe({"double": lambda x: x + 2}, calls)) == wrong and not ran
    copy = pickle.loads(pickle.dumps(expected))  # as a cluster gets it
    assert isinstance(copy.mistakes, list) and [sentence for sentence, _ in copy.mistakes] == [wrong.sentence]


def test_mistakes_come_out_the_same_whatever_other_threads_judge_meanwhile():
    homework = Homework("hw9_random", source=Path(__file__))
    exercise = homework.exercise("draws", points=1)
    exercise.inputs(lambda draw: [Call("draws", {"x": draw.normal(2)})])
    exercise.mistake("You drew.")(lambda x: torch.stack([torch.rand(()) for _ in range(20_000)]))
    vars(homework)["reference"] = {"draws": lambda x: x}
    alone = list(expected_for(exercise, 1).mistakes)
    done, probe = threading.Event(), Probe("sentiment_net", seed=3)

    def judge_others() -> None:
        while not done.is_set():
            probes.build(probe)

    others = threading.Thread(target=judge_others)
    others.start()
    try:
        beside = list(expected_for(exercise, 1).mistakes)
    finally:
        done.set()
        others.join()
    assert torch.equal(alone[0][1].tensors["0.out"], beside[0][1].tensors["0.out"])

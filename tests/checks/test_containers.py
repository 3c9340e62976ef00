"""What stands in another container than that of the right answer is as good, where the homeworks' texts say so."""

import numpy
import pytest
import torch

from course.checks import Call, judge, observe
from course.checks.calls import Observation
from course.checks.compare import Expected, taken_apart
from course.grading.judge.exercise import judge_exercise

X = torch.arange(6.0).reshape(2, 3)
ROWS, OTHER = X + 1, 3 * X[0]  # (2, 3) and (3,)


def said(answer, result, **options) -> str:
    """The notebook's verdict on a function that returns `result` where `answer` is right; grading must agree."""
    calls = [Call("f", {"x": X}, **options)]
    give = lambda value: lambda x: value(x) if callable(value) else value
    expected = Expected(observe({"f": give(answer)}, calls), [], {}, 1e-4, 1, made=tuple(calls))
    seen = observe({"f": give(result)}, calls)
    verdict = judge(expected, seen)
    assert judge_exercise("f", 1.0, expected, seen).outcome.value == verdict.status
    return verdict.status if verdict.status == "right" else verdict.sentence


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ((3, 40), [3, 40]),
        ((3, 40), torch.tensor([3, 40])),
        ((3, 40), numpy.array([3, 40])),
        ((3, 40), (torch.tensor(3), numpy.int64(40))),
        ((3, 40), [torch.tensor(3), 40]),
        ((ROWS, OTHER), [ROWS, OTHER]),
        ((ROWS, ROWS + 1), [ROWS, ROWS + 1]),
        (3.5, torch.tensor(3.5)),
        (3.5, numpy.float32(3.5)),
        ([0.5, 1.0], (0.5, 1.0)),
        ([0.5, 1.0], [torch.tensor(0.5), torch.tensor(1.0)]),
        ([[1, 2], [3, 4]], ((1, 2), (3, 4))),
        ([[1, 2], [3, 4]], [torch.tensor([1, 2]), torch.tensor([3, 4])]),
        ([[1, 2], [3, 4]], torch.tensor([[1, 2], [3, 4]])),
    ],
)
def test_as_good(answer, result):
    assert said(answer, result) == "right"


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ((3, 40), [40, 3]),
        ((3, 40), [3, 40, 0]),
        ((3, 40), [3]),
        ((3, 40), torch.tensor([[3, 40]])),
        ((ROWS, OTHER), [OTHER, ROWS]),
        ([0.5, 1.0], (0.5, 1.0, 2.0)),
        ([[1, 2], [3, 4]], ((1, 3), (2, 4))),
        (ROWS, [ROWS, ROWS]),
        (ROWS, (ROWS,)),
    ],
)
def test_what_is_wrong_stays_wrong_in_any_container(answer, result):
    assert said(answer, result) != "right"


def test_results_in_a_list_carry_their_gradients():
    pair = lambda x: (2 * x, x.sum(1))
    assert said(pair, lambda x: list(pair(x)), gradients=("x",)) == "right"
    half = lambda x: [2 * x, x.sum(1).detach()]
    assert "gradient with respect to x" in said(pair, half, gradients=("x",))


def test_rows_of_one_tensor_are_to_be_put_together_where_gradients_are_compared():
    assert "not return one result, but several: put them together" in said(
        lambda x: 2 * x, lambda x: list(2 * x), gradients=("x",)
    )


def test_numbers_that_hold_their_graph_are_none():
    losses = lambda x: [part.sum().requires_grad_() for part in x]
    assert "still hangs on the computation that made it" in said([3.0, 12.0], losses)
    assert said([3.0, 12.0], lambda x: [loss.detach() for loss in losses(x)]) == "right"


def test_where_a_tensor_is_asked_for_a_table_of_its_numbers_is_told_to_become_one():
    assert said(ROWS, ROWS.tolist()) == "The numbers are right, but they came as a list. Return a tensor."
    assert said(ROWS, ROWS.numpy()) == "The numbers are right, but they came as an array. Return a tensor."
    assert "put them together into one tensor" in said(ROWS, list(ROWS))


def test_right_numbers_in_a_list_are_no_mistake_of_another_function():
    calls = [Call(target, {"x": X + i}) for i, target in enumerate(("f", "g"))]
    right = {"f": lambda x: 2 * x, "g": lambda x: x[0]}
    tripled = observe(right | {"f": lambda x: 3 * x}, calls)
    expected = Expected(observe(right, calls), [("You tripled.", tripled)], {}, 1e-4, 2, made=tuple(calls))
    in_list = right | {"g": lambda x: x[0].tolist()}
    verdict = judge(expected, observe(in_list, calls))
    assert not verdict.named and verdict.sentence == "The numbers are right, but they came as a list. Return a tensor."
    assert judge(expected, observe(in_list | {"f": lambda x: 3 * x}, calls)).sentence == "You tripled."


def test_a_tensor_of_endless_empty_rows_is_not_taken_apart():
    expected = Expected(Observation({"0.out.0": torch.tensor(1), "0.out.1": torch.tensor(2)}), [], {}, 1e-4, 1)
    seen = Observation({"0.out": torch.empty(2**40, 0)})
    assert taken_apart(expected, seen).tensors.keys() == {"0.out"}

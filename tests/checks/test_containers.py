"""What stands in another container than that of the right answer is as good, where the homeworks' texts say so."""

import numpy
import pytest
import torch
from torch import Tensor

from course.checks import Call, judge, observe
from course.checks.calls import LIVE, Observation
from course.checks.compare import Expected
from course.checks.containers import as_asked
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
        (ROWS, list(ROWS)),
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
    assert said([3.0, 12.0], losses) == f"Your code returned {LIVE}: take the plain number of each, with `.item()`."
    assert said([3.0, 12.0], lambda x: [loss.detach() for loss in losses(x)]) == "right"


@pytest.mark.parametrize("result", [ROWS.tolist(), list(ROWS), tuple(ROWS)])
def test_where_a_tensor_is_needed_its_rows_are_not_enough(result):
    asked = "where a torch tensor is expected"
    assert asked in said(ROWS, result, tensor=True) and said(ROWS, ROWS + 0, tensor=True) == "right"


def test_a_tensor_of_endless_empty_rows_is_not_taken_apart():
    answer = Observation({"0.out.0": torch.tensor(1), "0.out.1": torch.tensor(2)})
    seen = Observation({"0.out": torch.empty(2**40, 0)})
    assert as_asked(answer, seen).tensors.keys() == {"0.out"}


def test_results_with_a_gap_are_not_put_together():
    one: Tensor = torch.tensor(1.0)
    seen = Observation({"0.out.0": one, "0.out.2": one})
    assert as_asked(Observation({"0.out": torch.ones(2)}), seen).tensors.keys() == {"0.out.0", "0.out.2"}

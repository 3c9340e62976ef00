"""The first cell's helpers: seeds, budget, guarded cells."""

import pytest
import torch

from course import budget, setup, when_done
from course.notebook import unwritten_exercise


def test_setup_makes_random_numbers_repeat():
    import random

    import numpy

    draws = []
    for _ in range(2):
        setup(seed=3)
        draws.append((random.random(), numpy.random.rand(), float(torch.rand(()))))
    assert draws[0] == draws[1]


def test_budget_follows_the_variable(monkeypatch):
    for name, value in (("tiny", 1), ("cpu", 2), ("gpu", 3), (" GPU ", 3)):
        monkeypatch.setenv("COURSE_BUDGET", name)
        assert budget(tiny=1, cpu=2, gpu=3) == value
    assert budget(cpu=2) == 2
    monkeypatch.delenv("COURSE_BUDGET")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert budget(tiny=1, cpu=2, gpu=3) == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert budget(tiny=1, cpu=2, gpu=3) == 2


@pytest.mark.parametrize("choices", [{"tiny": 1}, {"cpu": 1, "huge": 2}, {}])
def test_budget_refuses_what_it_cannot_choose_from(choices):
    with pytest.raises(ValueError, match="tiny=, cpu="):
        budget(**choices)


def test_an_unknown_budget_is_an_error(monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "large")
    with pytest.raises(ValueError, match="tiny, cpu, gpu, or unset"):
        budget(cpu=1)


def test_when_done_forgives_the_stub_and_nothing_else(capsys):
    with when_done():
        raise NotImplementedError("hw1.attention_scores")
    assert "once hw1.attention_scores is written" in capsys.readouterr().out
    for error in (NotImplementedError("aten::foo"), NotImplementedError(), ValueError("hw1.attention_scores")):
        with pytest.raises(type(error)), when_done():
            raise error


def test_unwritten_exercise():
    assert unwritten_exercise(NotImplementedError("hw12.TransformerBlock")) == "hw12.TransformerBlock"
    assert unwritten_exercise(NotImplementedError("hw1.x is hard")) is None

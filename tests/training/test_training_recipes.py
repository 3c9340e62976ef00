import dataclasses

import pytest

from course.training import Recipe, recipes


def test_named_recipes():
    assert recipes.get("cpu_minute") is recipes.cpu_minute and recipes.get("gpu") is recipes.gpu
    with pytest.raises(ValueError, match="cpu_minit.*did you mean 'cpu_minute'.*gpu"):
        recipes.get("cpu_minit")
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipes.gpu.lr = 1.0


def test_but_changes_a_copy():
    shorter = recipes.cpu_minute.but(steps=7, lr=0.5)
    assert (shorter.steps, shorter.lr) == (7, 0.5) and recipes.cpu_minute.steps != 7
    assert shorter.but(epochs=2).steps is None and recipes.gpu.but(steps=9).epochs is None


@pytest.mark.parametrize(("changes", "words"), [
    ({"learning_rat": 1.0}, "no field 'learning_rat'"),
    ({"warmpu": 0.1}, "did you mean 'warmup'"),
    ({"optimizer": "adam"}, "did you mean 'adamw'"),
    ({"schedule": "cosin"}, "did you mean 'cosine'"),
    ({"augment": ("flip",)}, "random_flip"),
    ({"steps": 3, "epochs": 3}, "steps= or as epochs="),
    ({"steps": None}, "steps= or as epochs="),
    ({"steps": 0}, "at least 1"),
    ({"steps": 2.5}, "whole numbers"),
    ({"batch_size": 0}, "whole numbers"),
    ({"warmup": 1.0}, "warmup"),
    ({"lr": 0.0}, "lr"),
    ({"seed": -1}, "seed"),
])
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        recipes.cpu_minute.but(**changes)


def test_length_in_steps_and_epochs():
    assert Recipe(steps=9).total_steps(100) == 9
    assert Recipe(epochs=3).total_steps(100) == 300


@pytest.mark.parametrize(("schedule", "step", "expected"), [
    ("constant", 0, 0.1), ("constant", 9, 1.0), ("constant", 99, 1.0),
    ("flat_then_linear", 4, 0.5), ("flat_then_linear", 20, 1.0), ("flat_then_linear", 65, 0.5),
    ("flat_then_linear", 93, 0.1),
    ("cosine", 0, 0.1), ("cosine", 10, 1.0), ("cosine", 55, 0.5), ("cosine", 99, 0.0003),
])
def test_schedules_at_hand_computed_points(schedule, step, expected):
    recipe = Recipe(steps=100, lr=2.0, warmup=0.1, schedule=schedule)
    assert recipe.learning_rate(step, 100) == pytest.approx(2 * expected, abs=2e-4)


def test_no_warmup_starts_at_the_full_rate():
    assert Recipe(steps=10, lr=1.0, warmup=0.0, schedule="cosine").learning_rate(0, 10) == 1.0

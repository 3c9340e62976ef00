"""From-scratch rules on what is run for one student."""

from concurrent.futures import ThreadPoolExecutor

from course.checks.from_scratch import ALWAYS, uses_in
from course.grading.read.merge import Merged, RunCell
from course.grading.read.rules import rule_broken

SETUP = RunCell("the setup cell", "import torch\nimport torch.nn.functional as F")
FORBIDDEN = (*ALWAYS, "torch.nn.functional.scaled_dot_product_attention")
RULES = {"attend": FORBIDDEN, "block": FORBIDDEN}


def cells(*sources: tuple[str, str]) -> Merged:
    return Merged(cells=[SETUP, *(RunCell(f"cell of {name}", source, name) for name, source in sources)])


def test_the_line_and_the_name_are_told_and_only_that_exercise_is_hit():
    merged = cells(
        ("attend", "def attend(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)"),
        ("block", "def block(x):\n    return x + attend(x, x, x)"),
    )
    broken = rule_broken(merged, RULES)
    assert set(broken) == {"attend"}
    assert "Line 2" in broken["attend"] and "F.scaled_dot_product_attention" in broken["attend"]


def test_a_helper_in_another_cell_is_followed_through_others():
    merged = cells(
        (
            "",
            "def inner(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)\n\n\ndef unrelated(x):\n    return x",
        ),
        ("", "def outer(q, k, v):\n    return inner(q, k, v)"),
        ("attend", "def attend(q, k, v):\n    return outer(q, k, v)"),
        ("block", "def block(x):\n    return unrelated(x)"),
    )
    broken = rule_broken(merged, RULES)
    assert set(broken) == {"attend"} and "inside inner" in broken["attend"]


def test_an_import_in_any_cell_gives_the_name_its_meaning():
    merged = cells(("", "from torch.nn import MultiheadAttention as Linear"), ("block", "layer = Linear(4, 2)"))
    assert "Linear" in rule_broken(merged, RULES)["block"]


def test_code_that_is_no_python_breaks_no_rule():
    assert rule_broken(cells(("attend", "def attend(:")), RULES) == {}


def test_many_threads_may_look_at_once():
    """Python 3.11 parses wrongly in two threads at once; the class is graded in as many as there are workers."""
    nested = "def f(x):\n    return " + "(" * 60 + "x" + ")" * 60
    merged = cells(*[("attend", nested)] * 30)
    with ThreadPoolExecutor(8) as pool:
        assert all(broken == {} for broken in pool.map(lambda _: rule_broken(merged, RULES), range(64)))


def test_a_helper_is_searched_once_for_all_exercises(monkeypatch):
    from course.grading.read import rules

    searched = []
    search = lambda units, *rest: searched.extend(unit.kind for unit in units) or uses_in(units, *rest)
    monkeypatch.setattr(rules, "uses_in", search)
    helper = "def inner(x):\n    return timm.create_model(x)"
    exercises = [(name, f"def {name}(x):\n    return x") for name in ("attend", "block")]
    assert rule_broken(cells(("", "import timm"), ("", helper), *exercises), RULES) == {}
    assert searched.count("inner") == 1

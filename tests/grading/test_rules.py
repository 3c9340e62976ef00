"""From-scratch rules on what is run for one student."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from course.checks.from_scratch import ALWAYS, uses_in
from course.grading.read.merge import Merged, RunCell
from course.grading.read.modules import OwnModule
from course.grading.read.rules import rule_broken

SETUP = RunCell("the setup cell", "import torch\nimport torch.nn.functional as F")
FORBIDDEN = (*ALWAYS, "torch.nn.functional.scaled_dot_product_attention")
RULES = {"attend": FORBIDDEN, "block": FORBIDDEN}


def cells(*sources: tuple[str, str]) -> Merged:
    made = [RunCell(f"cell of {name}", source, name, (name,) if name else ()) for name, source in sources]
    return Merged(cells=[SETUP, *made])


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


# -- lines outside of functions

USES = "def attend(q, k, v):\n    return other(q, k, v)"
SDPA = "F.scaled_dot_product_attention"


@pytest.mark.parametrize(
    "line",
    [
        f"other = {SDPA}",
        f"other: object = {SDPA}",
        f"first, (other, last) = 1, ({SDPA}, 2)",
        f"a = b = other = {SDPA}",
        f"print(other := {SDPA})",
        f"if True:\n    other = {SDPA}",
        f"if (other := {SDPA}):\n    pass",
        f"try:\n    import nothing\nexcept ImportError:\n    other = {SDPA}",
        "try:\n    from torch.nn.functional import scaled_dot_product_attention as other\nexcept ImportError:\n    pass",
        f"with open('x') as f:\n    other = {SDPA}",
        f"with keep({SDPA}) as other:\n    pass",
        f"for other in [{SDPA}]:\n    break",
        f"while True:\n    other = {SDPA}\n    break",
        f"match {SDPA}:\n    case other:\n        pass",
        f"match 1:\n    case 1:\n        other = {SDPA}",
        f"other = lambda q, k, v: {SDPA}(q, k, v)",
        f"other = partial({SDPA}, scale=1)",
        f"table = {{'sdpa': {SDPA}}}\nother = table['sdpa']",
        f"step = {SDPA}\nwrapped = lambda *a: step(*a)\nother = wrapped",
        "G = F\nother = G.scaled_dot_product_attention",
        "import torch as t\nG = t.nn\nH = G.functional\nother = H.scaled_dot_product_attention",
        f"def install():\n    global other\n    other = {SDPA}\ninstall()",
        f"class Holder:\n    call = staticmethod({SDPA})\nother = Holder.call",
        f"[other := f for f in [{SDPA}]]",
        f"other = mine\nother += {SDPA}",
        "from torch import nn\nother = nn.MultiheadAttention(8, 2)",
    ],
)
def test_a_forbidden_name_is_found_however_a_line_gives_it(line):
    broken = rule_broken(cells(("", line), ("attend", USES), ("block", "def block(x):\n    return x + 1")), RULES)
    assert set(broken) == {"attend"}, broken
    for_all = rule_broken(cells(("", line), ("attend", USES.replace("def attend", "@keep\nasync def attend"))), RULES)
    assert set(for_all) == {"attend"}


def test_an_alias_of_a_module_in_another_cell_is_followed_to_its_name():
    broken = rule_broken(
        cells(("", "G = F"), ("attend", "def attend(q, k, v):\n    return G.scaled_dot_product_attention(q, k, v)")),
        RULES,
    )
    assert "Line 2 of your cell (inside attend) uses G.scaled_dot_product_attention" in broken["attend"]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (f"out = {SDPA}(q, k, v)", "def attend(q, k, v):\n    out = q @ k\n    return out"),
        (f"k = {SDPA}(q, k, v)", "def attend(q, k, v):\n    return q @ k"),
        (f"k = {SDPA}(q, k, v)", "def attend(q, *k, **v):\n    return [k for k in q], lambda v, k=q: k"),
        (f"ref = {SDPA}(q, k, v)\nprint(ref)", "def attend(q, k, v):\n    return q"),
        (f"attend = {SDPA}", "def attend(q):\n    return q"),
        (f"ref = {SDPA}\nattend = ref", "def attend(q):\n    return q"),
        ("from torch.nn.functional import scaled_dot_product_attention as attend", "def attend(q):\n    return q"),
        (f"print({SDPA}(q, k, v))", "def attend(q):\n    return print(q)"),
    ],
)
def test_comparing_with_what_is_forbidden_in_a_cell_of_ones_own_costs_nothing(line, answer):
    block = ("block", "def block(x):\n    return attend(x)")
    assert rule_broken(cells(("", line), ("attend", answer), block), RULES) == {}


# -- own modules

MODULE = "import torch.nn.functional as F\ndef inner(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)\n"


@pytest.mark.parametrize(
    ("how", "call"),
    [
        ("from helpers import inner", "inner"),
        ("from helpers import inner as mine", "mine"),
        ("import helpers", "helpers.inner"),
        ("import helpers as h", "h.inner"),
        ("from helpers import *", "inner"),
        ("try:\n    from helpers import inner\nexcept ImportError:\n    inner = None", "inner"),
        ("import helpers\nf = helpers.inner", "f"),
        ("from parts.more import again", "again"),
        ("import parts.more", "parts.more.again"),
    ],
)
def test_a_forbidden_name_in_an_own_module_is_found_where_it_is_used(how, call):
    modules = (
        OwnModule("helpers", "helpers.py", MODULE + "def innocent(x):\n    return x\n"),
        OwnModule("parts", "parts/__init__.py", "", is_package=True),
        OwnModule("parts.more", "parts/more.py", "from helpers import inner\nagain = lambda *a: inner(*a)"),
    )
    merged = cells(
        ("", how),
        ("attend", f"def attend(q, k, v):\n    return {call}(q, k, v)"),
        ("block", "from helpers import innocent\ndef block(x):\n    return innocent(x)"),
    )
    merged.modules = modules
    broken = rule_broken(merged, RULES)
    assert set(broken) == {"attend"}
    assert broken["attend"].startswith("Line 3 of helpers.py (inside inner) uses F.scaled_dot_product_attention")

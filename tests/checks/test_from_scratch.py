"""What would do the exercise is found under any name it is given."""

import linecache
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.checks import guards
from course.checks.calls import Call
from course.checks.from_scratch import ALWAYS, forbidden_uses, imported_names, sentences
from course.checks.guards import found, watching
from course.checks.observe import observe
from tests.checks import spellings

RULES = (*ALWAYS, "torch.nn.functional.scaled_dot_product_attention")
SETUP = "import torch\nimport torch.nn.functional as F\nfrom torch import nn"


@pytest.mark.parametrize(
    "cell, written, line",
    [
        (
            "def attend(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)",
            "F.scaled_dot_product_attention",
            2,
        ),
        (
            "def attend(q, k, v):\n    f = torch.nn.functional\n    return torch.nn.functional.scaled_dot_product_attention(q, k, v)",
            "torch.nn.functional.scaled_dot_product_attention",
            3,
        ),
        ("from torch.nn.functional import scaled_dot_product_attention as mine", "scaled_dot_product_attention", 1),
        ("class Mine(nn.MultiheadAttention):\n    pass", "nn.MultiheadAttention", 1),
        ("import timm.models.vision_transformer as t", "timm.models.vision_transformer", 1),
        ("from course.models import create_model", "create_model", 1),
        ("import torchvision\nnet = torchvision.models.vit_b_16()", "torchvision.models.vit_b_16", 2),
    ],
)
def test_found(cell, written, line):
    [use, *_] = forbidden_uses(cell, RULES, imported_names([SETUP, cell]))
    assert (use.written, use.line) == (written, line)


@pytest.mark.parametrize(
    "cell",
    [
        "def attend(q, k, v):\n    # not F.scaled_dot_product_attention\n    return (q @ k.T).softmax(-1) @ v",
        "layer = nn.Linear(2, 3)",
        "import torchvision\nfrom torchvision import transforms",
        "MultiheadAttention = 3",
        "def broken(:",
    ],
)
def test_nothing_found(cell):
    assert forbidden_uses(cell, RULES, imported_names([SETUP, cell])) == []


def test_an_exercise_may_forbid_more():
    cell = "norm = nn.GroupNorm(1, 8)"
    assert forbidden_uses(cell, ALWAYS, imported_names([SETUP])) == []
    [use] = forbidden_uses(cell, (*ALWAYS, "torch.nn.GroupNorm"), imported_names([SETUP]))
    assert use.written == "nn.GroupNorm"


def attend(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


class Attend(nn.Module):
    def forward(self, q, k, v):
        return attend(q, k, v)


def test_a_function_that_is_there_is_read_too():
    [sentence] = sentences([attend], RULES)
    assert sentence.startswith("Line 2 of your cell (inside attend) uses F.scaled_dot_product_attention")
    assert sentences([Attend, len], RULES) == []  # the class itself uses nothing; grading follows the helper


@pytest.mark.parametrize("module", ["course.checks.guards", "course.grading"])
def test_what_checks_the_work_may_not_be_used_by_it(module):
    [use] = forbidden_uses(f"import {module} as m", (), imported_names([SETUP]))
    assert (
        use.sentence
        == f"Line 1 of your cell uses {module}, which checks your work: no answer needs it. Leave it alone."
    )


# -- the notebook's check has the guards of grading


FAMILIES = {
    "attention": (spellings.ATTENTION, torch.randn(2, 5, 4), spellings.OF_ATTENTION, {}),
    "convolution": (
        spellings.CONVOLUTION,
        torch.randn(2, 3, 6, 7),
        spellings.OF_CONVOLUTION,
        spellings.HONEST_CONVOLUTION,
    ),
    "norm": (spellings.NORM, torch.randn(2, 3, 6, 7), spellings.OF_NORM, spellings.HONEST_NORM),
}
SPELLED = [(family, name) for family in FAMILIES for table in FAMILIES[family][2:] for name in table]


@pytest.mark.parametrize(("family", "name"), SPELLED)
def test_the_notebook_says_what_grading_says(family, name):
    forbidden, x, refused, honest = FAMILIES[family]
    body = "".join(f"    {line}\n" for line in {**refused, **honest}[name].split("\n"))
    space = {"__name__": "__main__"}
    source = f"import sys, importlib, threading, functools, torch\nfrom torch import nn\n{SETUP}\ndef f(x):\n{body}"
    linecache.cache["/nowhere/cell.py"] = len(source), None, source.splitlines(keepends=True), "/nowhere/cell.py"
    exec(compile(source, "/nowhere/cell.py", "exec"), space)
    with watching("hw9.f", forbidden):
        observe({"f": space["f"]}, [Call("f", {"x": x}, gradients=("x",))])
        sentence = found()
    assert (sentence is not None) == (name in refused), sentence


def test_nothing_is_left_behind_in_the_notebook():
    before = F.scaled_dot_product_attention, nn.MultiheadAttention.__init__, list(sys.meta_path)
    with watching("hw9.f", spellings.ATTENTION):
        pass
    assert before == (F.scaled_dot_product_attention, nn.MultiheadAttention.__init__, list(sys.meta_path))
    assert F.scaled_dot_product_attention(torch.ones(1, 2, 3), torch.ones(1, 2, 3), torch.ones(1, 2, 3)).shape == (
        1,
        2,
        3,
    )
    assert found() is None


def test_functions_and_classes_of_a_notebook_are_read_alike():
    """IPython keeps no file for a class; its methods' cell is known."""
    program = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("import torch, torch.nn.functional as F\\nfrom torch import nn")
shell.run_cell("x = 1\\ndef f(x):\\n    return F.group_norm(x, 1)")
shell.run_cell("class G(nn.Module):\\n    def forward(self, x):\\n        return F.group_norm(x, 1)")
from course.checks.from_scratch import sentences
for name in "fG":
    print(sentences([shell.user_ns[name]], ("torch.nn.functional.group_norm",)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    f, g = done.stdout.strip().splitlines()[-2:]
    assert (
        "Line 2 of your cell (inside f) uses F.group_norm" in f
        and "Line 3 of your cell (inside G) uses F.group_norm" in g
    )


def test_the_files_that_count_as_the_course_are_there():
    """Guards know their callers by file: one that has moved would count as a student's."""
    assert [file for file in (*guards._OURS, *guards._CALLERS) if not Path(file).is_file()] == []

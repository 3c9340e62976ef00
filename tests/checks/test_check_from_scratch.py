"""What would do the exercise is found under any name it is given."""

import pytest
import torch.nn.functional as F
from torch import nn

from course.checks.from_scratch import ALWAYS, forbidden_uses, imported_names, sentences

RULES = (*ALWAYS, "torch.nn.functional.scaled_dot_product_attention")
SETUP = "import torch\nimport torch.nn.functional as F\nfrom torch import nn"


@pytest.mark.parametrize(
    "cell, written, line",
    [
        ("def attend(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)", "F.scaled_dot_product_attention", 2),
        ("def attend(q, k, v):\n    f = torch.nn.functional\n    return torch.nn.functional.scaled_dot_product_attention(q, k, v)",
         "torch.nn.functional.scaled_dot_product_attention", 3),
        ("from torch.nn.functional import scaled_dot_product_attention as mine", "scaled_dot_product_attention", 1),
        ("class Mine(nn.MultiheadAttention):\n    pass", "nn.MultiheadAttention", 1),
        ("import timm.models.vision_transformer as t", "timm.models.vision_transformer", 1),
        ("from course.models import create_model", "create_model", 1),
        ("import torchvision\nnet = torchvision.models.vit_b_16()", "torchvision.models.vit_b_16", 2),
    ],
)  # fmt: skip
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

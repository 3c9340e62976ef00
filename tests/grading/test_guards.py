"""What an exercise forbids is refused while a student's code runs, however it was come by; the course may use it."""

import json
import subprocess
import sys

import pytest
import torch

from course.checks import Call, Probe, load_homework
from course.checks.calls import FORBIDDEN, Observation, calls_to_bytes
from course.checks.from_scratch import ALWAYS
from course.grading.limits import Limits
from course.grading.read.merge import Merged, RunCell
from course.grading.read.modules import OwnModule
from course.grading.run.child import Question
from course.grading.run.submission import Lost, run_submission
from course.grading.sandbox import Sandbox
from tests.checks import spellings
from tests.sample_class import ROOT

RULES = (*ALWAYS, "torch.nn.functional.scaled_dot_product_attention")
SETUP = RunCell(
    "the setup cell",
    "import sys, importlib, threading, functools, torch\nfrom torch import nn\nimport torch.nn.functional as F",
)
SDPA, MULTI_HEAD = "F.scaled_dot_product_attention", "nn.MultiheadAttention"
X = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))

# What it is called here: (the name that it is refused by, the body of a function of x).
TRICKS = {
    "written out": (SDPA, "return F.scaled_dot_product_attention(x, x, x)"),
    "getattr": (SDPA, "return getattr(F, 'scaled_' + 'dot_product_attention')(x, x, x)"),
    "C": (SDPA, "return torch._C._nn.scaled_dot_product_attention(x, x, x)"),
    "ops": (SDPA, "return torch.ops.aten.scaled_dot_product_attention(x, x, x)"),
    "overload": (SDPA, "return torch.ops.aten.scaled_dot_product_attention.default(x, x, x)"),
    "math": (SDPA, "return torch.ops.aten._scaled_dot_product_attention_math(x, x, x)[0]"),
    "flash": (
        SDPA,
        "y = x[:, None]\nreturn torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(y, y, y)[0][:, 0]",
    ),
    "no gradients": (
        SDPA,
        "with torch.inference_mode():\n    return torch._C._nn.scaled_dot_product_attention(x, x, x)",
    ),
    "vmap": (SDPA, "return torch.vmap(vars(F)['scaled_dot' + '_product_attention'])(x, x, x)"),
    "out of the guard": (
        SDPA,
        "held = [c.cell_contents for c in getattr(F, 'scaled_dot' + '_product_attention').__closure__]\n"
        "return next(c for c in held if callable(c))(x, x, x)",
    ),
    "exec": (
        SDPA,
        "space = {'F': F, 'x': x}\nexec('y = F.scaled_dot' + '_product_attention(x, x, x)', space)\nreturn space['y']",
    ),
    "caught": (
        SDPA,
        "try:\n    return getattr(F, 'scaled_dot' + '_product_attention')(x, x, x)\nexcept BaseException:\n    return x",
    ),
    "thread": (
        SDPA,
        "out = []\n"
        "go = functools.partial(torch._C._nn.scaled_dot_product_attention, x, x, x)\n"
        "class Run(threading.Thread):\n    def run(self):\n        out.append(go())\n"
        "other = Run(); other.start(); other.join()\nreturn out[0]",
    ),
    "module": (
        MULTI_HEAD,
        "layer = vars(nn)['Multihead' + 'Attention'](4, 1, batch_first=True)\nreturn layer(x, x, x)[0]",
    ),
    "subclass": (
        MULTI_HEAD,
        "base = sys.modules['torch.nn'].__dict__['Multihead' + 'Attention']\n"
        "return type('Mine', (base,), {})(4, 1, batch_first=True)(x, x, x)[0]",
    ),
    "its function": (
        "F.multi_head_attention_forward",
        "q = x.transpose(0, 1)\nw = torch.eye(4)\nmany = getattr(F, 'multi_head' + '_attention_forward')\n"
        "return many(q, q, q, 4, 1, w.repeat(3, 1), None, None, None, False, 0.0, w, None)[0]",
    ),
    "its operator": (
        MULTI_HEAD,
        "w = torch.eye(4)\nb = torch.zeros(4)\nwith torch.no_grad():\n"
        "    return torch._native_multi_head_attention(x, x, x, 4, 1, w.repeat(3, 1), b.repeat(3), w, b)[0]",
    ),
    "import": ("torchvision.models", "return importlib.import_module('torchvision.' + 'models').vit_b_16()(x)"),
    "import in pieces": (
        "torchvision.models",
        "import torchvision\nreturn getattr(torchvision, 'mod' + 'els').vit_b_16()(x)",
    ),
    "its dictionary": (
        "torchvision.models",
        "__import__('torchvision')\nreturn vars(sys.modules['torchvision.' + 'models'])['vit_b_16']()(x)",
    ),
    "a missing module": ("timm", "return __import__('ti' + 'mm').create_model('vit_tiny_patch16_224')(x)"),
}

HONEST = {
    "plain": "return torch.softmax(x @ x.transpose(-2, -1) / 2, dim=-1) @ x",
    "other parts of torch": "return nn.LayerNorm(4)(nn.Sequential(nn.Linear(4, 4), nn.GELU())(x))",
    "torchvision": "from torchvision import transforms\nreturn transforms.functional.hflip(x)",
    "a name that is like it": "def scaled_dot_product_attention(q):\n    return q\nreturn scaled_dot_product_attention(x)",
}


def cell(name: str, body: str) -> RunCell:
    """The cell of an exercise that defines a function of its name."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    target = f"by_{name}".replace(" ", "_")
    return RunCell(f"the cell of {name}", f"def {target}(x):\n{lines}", name, (target,))


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(Limits()) as sandbox:
        yield sandbox


def asked(sandbox, cells: list[RunCell], forbidden=RULES, given=X) -> dict[str, Observation | Lost]:
    """What is seen of the exercises of some cells, each called once with `given`."""
    gradients = () if isinstance(given, Probe) else ("x",)
    questions = {
        cell.exercise: Question(
            calls_to_bytes([Call(cell.keep[0], {"x": given}, gradients=gradients)]), 2**16, forbidden
        )
        for cell in cells
        if cell.exercise
    }
    return run_submission(Merged([SETUP, *cells]), questions, sandbox).exercises


# -- one child runs them all: every trick is an exercise of its own


@pytest.fixture(scope="module")
def seen(sandbox) -> dict[str, Observation | Lost]:
    return asked(
        sandbox, [cell(name, body) for name, (_, body) in TRICKS.items()] + [cell(*pair) for pair in HONEST.items()]
    )


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_is_noted_with_its_line_and_name(seen, trick):
    name, body = TRICKS[trick]
    told = seen[trick].notes[FORBIDDEN]
    assert f"uses {name}, which does this exercise for you." in told
    assert f"(inside by_{trick.replace(' ', '_')})" in told
    line = int(told.removeprefix("Line ").partition(" ")[0])
    assert 2 <= line <= 1 + len(body.splitlines())
    if trick != "caught":
        assert "0.out" not in seen[trick].tensors


@pytest.mark.parametrize("name", HONEST)
def test_honest_code_is_left_alone(seen, name):
    assert set(seen[name].notes) == set() and set(seen[name].tensors) == {"0.out", "0.grad.x"}


# -- by its operators: whatever it is called through


IMAGES = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
FAMILIES = {  # (what is forbidden, x, what is refused, what is not)
    "attention": (spellings.ATTENTION, X, spellings.OF_ATTENTION, {}),
    "convolution": (spellings.CONVOLUTION, IMAGES, spellings.OF_CONVOLUTION, spellings.HONEST_CONVOLUTION),
    "norm": (spellings.NORM, IMAGES, spellings.OF_NORM, spellings.HONEST_NORM),
}


@pytest.fixture(scope="module")
def spelled(sandbox) -> dict[str, dict[str, Observation | Lost]]:
    return {
        family: asked(sandbox, [cell(*pair) for pair in {**refused, **honest}.items()], forbidden, given)
        for family, (forbidden, given, refused, honest) in FAMILIES.items()
    }


@pytest.mark.parametrize(
    ("family", "spelling"), [(family, name) for family in FAMILIES for name in FAMILIES[family][2]]
)
def test_every_spelling_ends_at_an_operator_that_is_refused(spelled, family, spelling):
    seen = spelled[family][spelling]
    assert isinstance(seen, Observation), seen
    assert FORBIDDEN in seen.notes, seen
    assert "which does this exercise for you." in seen.notes[FORBIDDEN]
    assert f"(inside by_{spelling.replace(' ', '_')})" in seen.notes[FORBIDDEN] or spelling in BY_OTHER_CODE
    if spelling != "caught":
        assert "0.out" not in seen.tensors


BY_OTHER_CODE = ("pool of threads",)  # no line of a student's is on that thread's stack


@pytest.mark.parametrize(("family", "name"), [(family, name) for family in FAMILIES for name in FAMILIES[family][3]])
def test_what_an_exercise_does_not_forbid_runs(spelled, family, name):
    assert not spelled[family][name].notes and "0.out" in spelled[family][name].tensors


# -- whose use it is


def test_the_rule_is_that_of_the_exercise_and_a_helper_counts_for_who_calls_it(sandbox):
    hidden = "getattr(F, 'scaled_' + 'dot_product_attention')(x, x, x)"
    cells = [
        RunCell(
            "the cell that you added at place 3", f"def helper(x):\n    return {hidden}\n\nhelper(torch.ones(2, 2, 2))"
        ),
        cell("calls a helper", "return helper(x)"),
        RunCell("the cell of runs", "y = helper(torch.ones(2, 2, 2))\ndef run(x):\n    return x", "runs", ("run",)),
    ]
    seen = asked(sandbox, cells)
    told = "Line 2 of your cell (inside helper) uses F.scaled_dot_product_attention, which does"
    assert seen["calls a helper"].notes[FORBIDDEN].startswith(told)
    assert seen["runs"].notes[FORBIDDEN].startswith(told)  # its cell goes on below its first line, and has used it
    free = asked(sandbox, [cell("free", f"return {hidden}")], forbidden=ALWAYS)
    assert set(free["free"].tensors) == {"0.out", "0.grad.x"} and not free["free"].notes


NAME = "'scaled_' + 'dot_product_attention'"


@pytest.mark.parametrize(
    "line",
    [
        f"globals()['give'] = getattr(F, {NAME})",
        f"setattr(sys.modules['__main__'], 'give', getattr(F, {NAME}))",
        f"vars().update(give=vars(F)[{NAME}])",
        f"exec('give = F.' + {NAME})",
        f"try:\n    give = getattr(F, {NAME})\nfinally:\n    pass",
        f"class Holder: pass\nHolder.give = getattr(F, {NAME})\ngive = Holder.give",
        f"import builtins\nbuiltins.give = getattr(F, {NAME})",
    ],
)
def test_a_name_that_a_line_of_an_added_cell_makes_is_refused_where_an_exercise_uses_it(sandbox, line):
    added = RunCell("the cell that you added at place 3", line, added=True)
    seen = asked(sandbox, [added, cell("answer", "return give(x, x, x)"), cell("other", "return x")])
    assert seen["answer"].notes[FORBIDDEN].startswith("Line 2 of your cell (inside by_answer) uses F.scaled_dot")
    assert not seen["other"].notes


def test_a_name_that_an_own_module_makes_is_refused_where_an_exercise_uses_it(sandbox):
    text = f"import torch.nn.functional as F\n\ndef give(x):\n    return getattr(F, {NAME})(x, x, x)\n"
    merged = Merged([SETUP, cell("answer", "import helpers\nreturn helpers.give(x)")])
    merged.modules = (OwnModule("helpers", "helpers.py", text),)
    calls = calls_to_bytes([Call("by_answer", {"x": X})])
    seen = run_submission(merged, {"answer": Question(calls, 2**16, RULES)}, sandbox).exercises
    assert seen["answer"].notes[FORBIDDEN].startswith("Your code (inside give) uses F.scaled_dot_product_attention")


def test_an_own_module_may_not_import_what_is_forbidden(sandbox):
    merged = Merged(
        [SETUP, RunCell("the cell of answer", "import helpers\ndef by_answer(x): return x", "answer", ("by_answer",))]
    )
    merged.modules = (OwnModule("helpers", "helpers.py", "import importlib\nm = importlib.import_module('ti' + 'mm')"),)
    calls = calls_to_bytes([Call("by_answer", {"x": X})])
    seen = run_submission(merged, {"answer": Question(calls, 2**16, RULES)}, sandbox).exercises
    assert "uses timm" in seen["answer"].notes[FORBIDDEN]


def test_the_name_itself_may_not_be_handed_in(sandbox):
    given = RunCell(
        "the cell of given",
        "attend = functools.partial(getattr(F, 'scaled_' + 'dot_product_attention'), "
        "torch.ones(5, 4), torch.ones(5, 4))",
        "given",
        ("attend",),
    )
    assert asked(sandbox, [given])["given"].notes[FORBIDDEN].startswith("Your code uses F.scaled_dot_product_attention")


def test_who_builds_on_an_exercise_that_was_found_out_is_not_to_blame(sandbox):
    """The second exercise calls what the first one is asked for; a helper beside it is another matter."""
    hidden = "getattr(F, 'scaled_' + 'dot_product_attention')(x, x, x)"
    first = f"def attend(x):\n    return {hidden}\n\ndef beside(x):\n    return {hidden}"
    seen = asked(
        sandbox,
        [
            RunCell("the cell of first", first, "first", ("attend",)),
            RunCell("the cell of second", "def block(x):\n    return x + attend(x)", "second", ("block",)),
            RunCell("the cell of third", "def other(x):\n    return x + beside(x)", "third", ("other",)),
        ],
    )
    assert FORBIDDEN in seen["first"].notes
    assert not seen["second"].notes and set(seen["second"].tensors) == {"0.out", "0.grad.x"}
    assert "(inside beside)" in seen["third"].notes[FORBIDDEN]


def test_the_course_may_use_what_is_forbidden(sandbox):
    """A probe has torch's own transformer block inside; the student trains it."""
    body = "for _ in range(2):\n    x(torch.rand(3, 1, 8, 8)).sum().backward()\nreturn torch.zeros(1)"
    seen = asked(sandbox, [cell("trains", body)], given=Probe("digits_net", seed=1, ask=torch.rand(2, 1, 8, 8)))[
        "trains"
    ]
    assert not seen.notes and seen.tensors["0.after.x"].shape == (2, 10)


# -- a guard that is gone is noticed, and who asks for it by name is refused


def test_guards_that_were_switched_off_are_noticed(sandbox):
    off = "sys.modules['course.grading.run.worker'].follow.__globals__['_state'].exercise = ''\nreturn x"
    seen = asked(sandbox, [cell("off", off), cell("later", "return x")])
    assert seen["off"].notes[FORBIDDEN].startswith("While your code ran, the watch over what it uses was switched off")
    assert not seen["later"].notes


def test_a_kernel_put_over_the_guards_is_noticed(sandbox):
    over = (
        "held = torch.library.Library('aten', 'IMPL')\n"
        "held.impl('_scaled_dot_product_attention_math', lambda *a, **o: (a[0], a[0]), 'AutogradCPU')\n"
        "torch.held = held\nreturn x"
    )
    assert "switched off or changed" in asked(sandbox, [cell("over", over)])["over"].notes[FORBIDDEN]


@pytest.mark.parametrize(
    "way",
    [
        "sys.modules['course.checks.guards']._state",
        "sys.modules['course.checks.operators'].worker_of",
        "setattr(sys.modules['course.checks.guards'], '_state', None)",
    ],
)
def test_the_guards_answer_no_student(sandbox, way):
    seen = asked(sandbox, [cell("asks", f"try:\n    {way}\nexcept Exception:\n    pass\nreturn x")])["asks"]
    assert "which checks your work: no answer needs it" in seen.notes[FORBIDDEN]


def test_what_does_the_work_has_been_read_through_for_this_torch():
    """A new operator whose name sounds like one of the families, and is in none, is for a person to judge."""
    from course.checks.operators import all_operators, worker_of

    everything = (*spellings.ATTENTION, *spellings.CONVOLUTION, *spellings.NORM, "torch.nn.LayerNorm")
    aten = {name.partition("::")[2].partition(".")[0] for name in all_operators() if not name.startswith("c10d")}
    sounds = {name for name in aten if any(word in name for word in ("conv", "norm", "attention", "sdp", "mkldnn"))}
    plain = {name.strip("_").removesuffix("_backward") for name in sounds if worker_of(name, everything) is None}
    assert plain <= PLAIN, sorted(plain - PLAIN)


PLAIN = {
    "convert_element_type",
    "convert_indices_from_coo_to_csr",
    "convert_indices_from_csr_to_coo",
    "convert_weight_to_int4pack",
    "convert_weight_to_int4pack_for_cpu",
    "embedding_renorm",
    "foreach_norm",
    "frobenius_norm",
    "fused_sdp_choice",
    "get_mkldnn_serialized_md",
    "is_mkldnn_acl_supported",
    "is_mkldnn_bf16_supported",
    "is_mkldnn_fp16_supported",
    "linalg_matrix_norm",
    "linalg_norm",
    "linalg_vector_norm",
    "log_normal",
    "mkldnn_adaptive_avg_pool2d",
    "mkldnn_linear",
    "mkldnn_linear_backward_input",
    "mkldnn_linear_backward_weights",
    "mkldnn_max_pool2d",
    "mkldnn_max_pool3d",
    "mkldnn_reshape",
    "mkldnn_rnn_layer",
    "mkldnn_transpose",
    "native_norm",
    "norm",
    "norm_except_dim",
    "normal",
    "normal_functional",
    "nuclear_norm",
    "philox_normal",
    "renorm",
    "reorder_mkldnn_rnn_layer_weight",
    "to_mkldnn",
    "weight_norm",
    "weight_norm_differentiable",
    "weight_norm_interface",
}


# -- in a process by itself


def alone(code: str) -> str:
    """What a program prints that has torch and the guards."""
    lines = "import json, torch\nimport torch.nn.functional as F\nfrom course.checks import guards\n"
    done = subprocess.run([sys.executable, "-c", lines + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_name_of_the_course_is_guarded_and_nothing_changes_until_a_rule_is_told():
    folders = ROOT.glob("solutions/hw*_*")
    names = {name for folder in folders for e in load_homework(folder).exercises.values() for name in e.forbidden}
    assert {"torch.nn.GroupNorm", "torch.nn.functional.conv2d", *RULES} <= names
    code = f"""
q = torch.randn(2, 3, 4, requires_grad=True)
def all_of_it():
    y = F.scaled_dot_product_attention(q, q, q).sum() + F.group_norm(q, 3).square().sum()
    y = y + F.conv2d(q[None], torch.ones(1, 2, 2, 2)).sum() + torch.nn.MultiheadAttention(4, 2)(q, q, q)[0].sum() * 0
    (gradient,) = torch.autograd.grad(y, q)
    return [y.item(), *gradient.flatten().tolist()]
before = all_of_it()
unknown = guards.install({[*sorted(names), "torch.nn.functional.no_such_thing"]!r})
print(json.dumps([before, all_of_it(), unknown]))
import torchvision.models
torchvision.models.resnet18
"""
    before, after, unknown = json.loads(alone(code))
    assert after == pytest.approx(before, abs=1e-6) and unknown == ["torch.nn.functional.no_such_thing"]


def test_what_one_exercise_forbids_another_may_use():
    rule = ("torch.nn.GroupNorm", "torch.nn.functional.group_norm", "torch.nn.Conv2d", "torch.nn.functional.conv2d")
    code = f"""
def tried(f):
    try:
        f()
        return ""
    except Forbidden as problem:
        return str(problem).split(",")[0]
x = torch.randn(1, 2, 4, 4)
uses = [lambda: torch.nn.GroupNorm(1, 2), lambda: torch.group_norm(x, 1),
        lambda: torch.native_group_norm(x, None, None, 1, 2, 16, 1, 1e-5),
        lambda: torch._C._VariableFunctions.conv2d(x, torch.ones(1, 2, 2, 2)), lambda: torch.nn.Conv2d(2, 2, 1),
        lambda: torch.nn.LayerNorm(4)(x)]
conv = torch.nn.Conv2d(2, 3, 1)
follow, told, Forbidden = guards.follow, guards.rule, guards.Forbidden  # the module soon answers nobody
follow(told("norm", {rule[:2]!r}))
first = [tried(f) for f in uses] + [tried(lambda: conv(x))]
follow(told("patches", {rule[2:]!r}))
second = [tried(f) for f in uses] + [tried(lambda: conv(x))]
print(json.dumps([first, second]))
"""
    first, second = json.loads(alone(code))
    norm, conv = "Your code uses nn.GroupNorm", "Your code uses nn.Conv2d"
    assert first == [norm, *["Your code uses F.group_norm"] * 2, "", "", "", ""]
    assert second == ["", "", "", "Your code uses F.conv2d", conv, "", conv]


def test_a_second_use_in_the_same_exercise_is_refused_too(sandbox):
    body = (
        "f = getattr(F, 'scaled_' + 'dot_product_attention')\n"
        "try:\n    f(x, x, x)\nexcept BaseException:\n    pass\nreturn f(x, x, x)"
    )
    seen = asked(sandbox, [cell("again", body)])["again"]
    assert seen.notes[FORBIDDEN].startswith("Line 4 of your cell") and not seen.tensors


def test_operators_are_refused_without_gradients_as_well(sandbox):
    use = "torch.ops.aten.scaled_dot_product_attention(x, x, x)"
    seen = asked(
        sandbox,
        [
            cell("inference", f"with torch.inference_mode():\n    return {use}"),
            cell("no grad", f"with torch.no_grad():\n    return {use}"),
        ],
    )
    for name in ("inference", "no grad"):
        assert seen[name].notes[FORBIDDEN].startswith("Line 3 of your cell") and not seen[name].tensors

"""The line that a check points at: is it the one that was disturbed? Every homework's own right answers are tried."""

import linecache
import random
import types
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy
import pytest
import torch
from torch import nn

from course.checks import (
    Call,
    CheckFailed,
    Homework,
    again,
    check,
    expected_for,
    judge,
    load_homework,
    place,
    public,
    trace,
)
from course.checks.compare import same_in_call
from course.checks.exercise import PUBLIC_SEED, Exercise, solutions_of
from course.checks.fingerprints import Pool, value_of
from course.checks.place import first_wrong, pool_of
from course.checks.show import card_html

ROOT = Path(__file__).resolve().parents[2]
TOPICS = [folder.name for folder in sorted(ROOT.glob("solutions/hw*_*/")) if (folder / "exercises.py").is_file()]
RIGHT, WRONG = 0.90, 0.03  # at least, at most
SAMPLE = 7  # of the short form: every seventh try


@cache
def homework_in(topic: str) -> Homework:
    return load_homework(ROOT / "solutions" / topic)


class Disturbing(trace.Recorder):
    """Changes the values of one place: by a tenth and a ripple, or by moving each number on by one."""

    place = -1
    kind = "scale"
    hits = 0

    def value(self, number, value):
        return super().value(number, self._disturbed(number, value))

    def returned(self, number, value):
        value = self._disturbed(number, value)
        self.disturbed, before = True, getattr(self, "disturbed", False)
        try:
            return super().returned(number, value)
        finally:
            self.disturbed = before

    disturbed = False  # already, on the way here

    def _disturbed(self, number, value):
        if number != Disturbing.place or self.disturbed:
            return value
        scale = Disturbing.kind == "scale"
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            if scale:
                ripple = torch.cos(torch.arange(value.numel(), dtype=value.dtype)).view(value.shape)
                new = 1.1 * value + 0.03 * ripple
            else:
                new = value.reshape(-1).roll(1).view(value.shape)
        elif scale and (isinstance(value, float) or (type(value) is int and value >= place.SMALL)):
            new = value * 1.1 if isinstance(value, float) else value + value // 10
        else:
            return value
        Disturbing.hits += 1
        return new


def outcomes(exercise: Exercise, every: int, monkeypatch) -> Counter:
    """How often the disturbed statement was found, a later one, an earlier one, or none."""
    found: Counter = Counter()
    goals = exercise.goals_for(PUBLIC_SEED)
    calls = [call for i, call in enumerate(exercise.calls(PUBLIC_SEED)) if i not in goals]
    for call in {call.target: call for call in reversed(calls)}.values():  # the first of each target
        solutions = solutions_of(exercise, call.target)
        traces = [trace.traced(each, call, (Exercise,), 60) for each in solutions]
        assert None not in traces, "every right solution can be traced"
        pool = pool_of(call, traces)
        answer = exercise.observe([replace(call, gradients=())])
        for solution, right in zip(solutions, traces):
            statements = [k for k, each in enumerate(right.places) if each.kind in ("value", "result")]
            tries = [(k, kind) for k in statements for kind in ("scale", "order")]
            for Disturbing.place, Disturbing.kind in tries[::every]:
                Disturbing.hits = 0
                with monkeypatch.context() as patched:
                    patched.setattr(trace, "Recorder", Disturbing)
                    wrong = trace.traced(solution, call, (Exercise,), 60)
                if wrong is None or not Disturbing.hits or same_in_call(0, answer, wrong.seen, exercise.tolerance):
                    continue
                if "0.parameters" in wrong.seen.notes:
                    continue  # of a module whose parameters do not fit, that is said, and no line is looked for
                found[outcome(wrong, first_wrong(wrong, call, pool, answer, 0))] += 1
    return found


def outcome(wrong: trace.Trace, at: place.Found | None) -> str:
    if at is None:
        return "none"
    (first, _, last, _), (begin, _, end, _) = wrong.places[Disturbing.place].span, wrong.places[at.record.place].span
    if first <= end and begin <= last:
        return "right"
    disturbed = [k for k, record in enumerate(wrong.records) if record.place == Disturbing.place]
    if at.record.origins & set(disturbed):
        return "after"
    return "later" if wrong.records.index(at.record) > disturbed[0] else "wrong"


@pytest.mark.parametrize("every", [SAMPLE, pytest.param(1, marks=pytest.mark.long)])
def test_a_disturbed_statement_is_found(every, monkeypatch):
    """Every right answer of every homework, one statement of it at a time."""
    found: Counter = Counter()
    for exercise in (each for topic in TOPICS for each in homework_in(topic).exercises.values()):
        found += outcomes(exercise, every, monkeypatch)
    assert found["right"] + found["after"] >= RIGHT * found.total(), found
    assert found["wrong"] <= WRONG * found.total(), found


# -- a small homework

SOURCE = """
# %% tags=["setup"]
import torch
from torch import nn

# %% exercise="attend"
def attend(q, k):
    scores = q @ k.T
    weights = (scores / q.shape[1] ** 0.5).softmax(dim=1)
    return weights @ k

# %% exercise="Net"
class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)
    def forward(self, x):
        y = self.fc(x).tanh()
        return x + y
"""


@pytest.fixture
def homework(tmp_path, monkeypatch) -> Homework:
    folder = tmp_path / "hw9_small"
    folder.mkdir()
    source = folder / "hw9_small.py"
    source.write_text(SOURCE)
    homework = Homework("hw9_small", source=source)
    attend = homework.exercise("attend", points=2)
    attend.inputs(lambda draw: [Call("attend", {"q": draw.normal(3, 5), "k": draw.normal(4, 5)}, gradients=("q",))])
    attend.mistake("You did not scale.")(lambda q, k: (q @ k.T).softmax(dim=1) @ k)
    net = homework.exercise("Net", points=2)
    net.inputs(
        lambda draw: [
            Call(
                "Net", {"x": draw.normal(3, 5)}, init={"width": 5}, parameters=draw.linear("fc", 5, 5), gradients=("x",)
            )
        ]
    )
    (folder / public.FILE_NAME).write_bytes(public.to_bytes(homework))
    monkeypatch.chdir(folder)
    return homework


def typed(source: str, name: str = "/nowhere/typed.py", **given) -> dict:
    """The names that a cell with this source defines."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    module = types.ModuleType("typed")
    vars(module).update({"torch": torch, "nn": nn, **given})
    exec(compile(source, name, "exec"), vars(module))
    return vars(module)


def card(exercise: str, thing) -> str:
    with pytest.raises(CheckFailed) as failed:
        check(exercise, thing)
    return str(failed.value)


SUM_FOR_SOFTMAX = """def attend(q, k):
    scores = q @ k.T / q.shape[1] ** 0.5
    weights = scores / scores.sum(dim=1, keepdim=True)
    return weights @ k
"""


def test_the_line_is_said_and_marked(homework):
    said = card("hw9.attend", typed(SUM_FOR_SOFTMAX)["attend"])
    assert "Line 3, `scores.sum(dim=1, keepdim=True)`: what was computed for this step also occurs in a right" in said
    assert "what comes out of it does not occur in the right solution. Start looking here, or just before." in said


def test_the_card_shows_the_line_with_the_step_marked_and_escaped(homework):
    asked = public.read(homework.source.parent / public.FILE_NAME, "attend")
    target = typed("def attend(q, k):\n    return (q @ k.T).softmax(dim=1) @ (k * (1 < 2) + 1)\n")["attend"]
    found = place.find(target, asked.calls[0], asked.pools[0], 1, asked.expected.answer, 0, False)
    verdict = judge(asked.expected, homework.exercises["attend"].observe(asked.calls, {"attend": target}))
    shown = card_html("hw9.attend", 2, replace(verdict, place=found))
    assert "<mark>" in shown and "1 &lt; 2" in shown and "1 < 2" not in shown


def test_right_numbers_in_another_order(homework):
    said = card(
        "hw9.attend",
        typed(
            "def attend(q, k):\n    s = q @ k.T / 5 ** 0.5\n    w = s.reshape(4, 3).T.softmax(1)\n    return w @ k\n"
        )["attend"],
    )
    assert (
        "Line 3, `s.reshape(4, 3)`: these are the right numbers, in an order that the right solution does not" in said
    )


def test_a_missing_step(homework):
    said = card("hw9.attend", typed("def attend(q, k):\n    return q @ k.T\n")["attend"])
    assert "Line 2, `q @ k.T`: every value up to here also occurs in a right solution, but this is not the end" in said


def test_a_module_is_looked_into_with_the_weights_that_were_loaded(homework):
    source = """class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)
    def forward(self, x):
        y = self.fc(x).relu()
        return x + y
"""
    assert "Line 6, `self.fc(x).relu()`: what was computed for this step" in card("hw9.Net", typed(source)["Net"])


def test_where_an_input_is_written_into(homework):
    source = "def attend(q, k):\n    q /= q.shape[1] ** 0.5\n    return (q @ k.T).softmax(1) @ k\n"
    said = card("hw9.attend", typed(source)["attend"])
    assert said.startswith("Your code changes its input `q` in place") and "anomaly" not in said
    assert "Line 2, `q /= q.shape[1] ** 0.5`: here the input is written into" in said


def test_where_an_input_is_written_into_inside_a_loop(homework):
    source = """def attend(q, k):
    out = q
    for i in range(len(q)):
        total = 0
        out[i] = q[i] / q.shape[1] ** 0.5
    return (q @ k.T).softmax(1) @ k
"""
    said = card("hw9.attend", typed(source)["attend"])
    assert "Line 5, `out[i] = q[i] / q.shape[1] ** 0.5`: here the input is written into" in said


def test_tensors_of_inference_mode_which_do_not_count_how_often_they_are_written_into(homework):
    source = """def attend(q, k):
    with torch.inference_mode():
        weights = q @ k.T
        weights /= q.shape[1] ** 0.5
        weights = weights / weights.sum(dim=1, keepdim=True)
        return (weights @ k).clone()
"""
    assert "Line 5, `weights.sum(dim=1, keepdim=True)`" in card("hw9.attend", typed(source)["attend"])


def test_a_cell_of_ipython(homework):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.run_cell(f"import torch\n{SUM_FOR_SOFTMAX}")
    said = card("hw9.attend", shell.user_ns["attend"])
    assert "Line 4, `scores.sum(dim=1, keepdim=True)`" in said


def test_course_check_says_it_too(homework):
    cells = [{"label": "cell 1", "source": f"import torch\nprint('noise')\n{SUM_FOR_SOFTMAX}", "keep": ["attend"]}]
    said = again.places(
        [*cells, {"label": "cell 2", "source": "1 / 0", "keep": []}], Path(public.FILE_NAME), {"attend": 0}
    )
    assert list(said) == ["attend"] and said["attend"].startswith("Line 5, `scores.sum(dim=1, keepdim=True)`")
    assert again.places([], Path("nothing here"), {"attend": 0}) == {}


def test_never_of_right_work_of_a_named_mistake_or_of_hidden_inputs(homework, monkeypatch):
    exercise = homework.exercises["attend"]
    monkeypatch.setattr(place, "traced", None)  # would fail if it were called
    assert check("hw9.attend", homework.reference["attend"]) is None
    assert (
        card("hw9.attend", typed("def attend(q, k):\n    return (q @ k.T).softmax(1) @ k\n")["attend"])
        == "You did not scale."
    )
    seen = exercise.observe(exercise.calls(5), {"attend": typed(SUM_FOR_SOFTMAX)["attend"]})
    hidden = judge(expected_for(exercise, 5), seen, None, [{3, 4, 5}])
    assert hidden.place is None and "Line" not in hidden.sentence and "exactly what comes out" not in hidden.sentence


# -- the second run leaves nothing behind

BUSY = """import random
import numpy
kept, weights = [], torch.ones(2)
def attend(q, k):
    print("noise")
    kept.append(1)
    weights.add_(1)
    random.random(), numpy.random.rand(), torch.rand(2)
    return q @ k.T * q.new_ones(()) + 1
"""


def test_the_second_run_leaves_nothing_behind(capsys):
    space = typed(BUSY)
    call = Call("attend", {"q": torch.ones(3, 5), "k": torch.ones(4, 5)})
    states = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    found = trace.traced(space["attend"], call)
    assert found is not None and len(found.records) > 3
    assert (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert not space["kept"] and torch.equal(space["weights"], torch.ones(2)) and not capsys.readouterr().out
    assert torch.equal(call.arguments["q"], torch.ones(3, 5))


def test_where_anything_is_in_the_way_there_is_silence(monkeypatch):
    call = Call("attend", {"q": torch.ones(3, 5), "k": torch.ones(4, 5)})
    assert trace.traced(lambda q, k: q @ k.T, call) is None
    assert trace.traced(torch.add, call) is None
    inner = typed("def make(c):\n    def attend(q, k):\n        return c * q @ k.T\n    return attend\n")["make"](2)
    assert trace.traced(inner, call) is None  # it needs what is around it
    changed = typed("def attend(q, k):\n    return 2 * q\n")["attend"]
    linecache.cache["/nowhere/typed.py"] = (1, None, ["def attend(q, k):\n", "    return 3 * q\n"], "/nowhere/typed.py")
    assert trace.traced(changed, call) is None  # the file is another than the one that ran
    monkeypatch.setattr(trace, "MOST_SECONDS", 0.05)
    endless = typed("def attend(q, k):\n    while True:\n        q = q + 1\n")["attend"]
    assert trace.traced(endless, call, most_seconds=0.05) is None
    stubborn = typed(
        "def attend(q, k):\n    while True:\n        try:\n            q = q + 1\n        except BaseException: return q\n"
    )
    assert trace.traced(stubborn["attend"], call, most_seconds=0.05) is None
    monkeypatch.setattr(trace, "value_of", lambda thing: 1 / 0)
    assert trace.traced(typed("def attend(q, k):\n    return q\n")["attend"], call) is None


def test_a_run_is_bounded_in_records(monkeypatch):
    monkeypatch.setattr(trace, "MOST_RECORDS", 50)
    source = "def f(x):\n    for i in range(1000):\n        x = x + 1.5\n        x = x - 1.5\n    return x\n"
    assert len(trace.traced(typed(source)["f"], Call("f", {"x": torch.ones(3)})).records) == 50


# -- fingerprints


def test_a_value_is_known_again_in_any_order_and_its_order_is_told_apart():
    x = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    pool = Pool()
    pool.add(value_of(x))
    for there in (pool, Pool.from_tensors(pool.to_tensors())):
        assert there.knows(value_of(x)) and there.knows_order(value_of(x))
        turned, poured, other = x.transpose(0, 2), x.reshape(4, 6, 5).transpose(1, 2), x + 1e-3
        assert there.knows(value_of(turned)) and there.knows_order(value_of(turned))
        assert there.knows(value_of(poured)) and not there.knows_order(value_of(poured))
        assert not there.knows(value_of(other)) and there.knows(value_of(x * (1 + 1e-6)))
        assert not there.knows(value_of(x[:3]))


def test_of_a_number_alone_only_a_digest_is_kept():
    pool = Pool()
    pool.add(value_of(123456))
    stored = pool.to_tensors()
    assert stored["digests"].numel() == 1 and stored["digests"].item() != 123456 and not stored["moments"].numel()
    assert (
        pool.knows(value_of(123456))
        and pool.knows(value_of(torch.tensor(123456.4)))
        and not pool.knows(value_of(123999))
    )


def test_what_proves_nothing():
    assert place.is_neutral(value_of(5), True) and not place.is_neutral(value_of(500), True)
    assert place.is_neutral(value_of(500), False) and not place.is_neutral(value_of(float("nan")), True)
    assert place.is_neutral(value_of(torch.ones(4)), True) and place.is_weak(value_of(torch.eye(4)))
    assert not place.is_weak(value_of(torch.randn(4, 4)))

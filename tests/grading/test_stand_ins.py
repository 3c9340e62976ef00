"""What builds on an earlier exercise is graded with the course's own answer in place of a wrong one."""

import copy
import pickle
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from course.checks.message import pack, unpack
from course.grading import limits
from course.grading.collect.find import Found, collect
from course.grading.exam import prepare_exam
from course.grading.limits import Limits
from course.grading.read.cells import cells_from_notebook
from course.grading.read.depends import names_reached
from course.grading.read.merge import Merged, RunCell, merge
from course.grading.run import frames, oracle, stand_in
from course.grading.run.oracle import NoOracle, Oracle
from course.grading.sandbox import Sandbox
from course.grading.student import ToRun, put_together, read_student, run_and_judge
from tests.sample_class import ROOT, Notebook

REFERENCE = """
import torch
from torch import nn

def scaled(x, by, *, shift=0.0):
    return by * x + shift

def several(x):
    return {"sign": x > 0, "parts": [x * x, (x.sum(), len(x), None)], "name": "several"}

def noisy(x):
    return x + torch.rand(3)

def twice(f, x):
    return f(x) * f(2 * x) + x

def slow(seconds, file):
    import time
    time.sleep(seconds)
    open(file, "w").close()

def greedy(count):
    return torch.ones(count)

def dies():
    import os
    os._exit(1)

class Inner(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width))
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("index", torch.arange(width), persistent=False)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        if self.training:
            self.seen += 1
        return self.drop(x * self.weight + self.index)

class Outer(nn.Module):
    def __init__(self, width, mixer):
        super().__init__()
        self.width = width
        self.first = Inner(width)
        self.mixer = mixer
        self.frozen = nn.Parameter(torch.rand(1), requires_grad=False)

    def forward(self, x, mask=None):
        y = self.mixer(self.first(x)) * self.frozen
        return y if mask is None else y.masked_fill(mask, 0.0)
"""


@pytest.fixture(scope="module")
def answers() -> dict:
    namespace = {"__name__": "reference"}
    exec(REFERENCE, namespace)
    return namespace


@pytest.fixture(scope="module")
def course_oracle(exam):
    """The answers of the small homework, and some more."""
    made = Oracle(exam.reference + REFERENCE)
    yield made
    made.close()


@pytest.fixture
def line(monkeypatch):
    """Connects the stand-ins of this process with a function that answers; what it was asked is kept in a list."""
    ends = []

    def connect(answer) -> list[bytes]:
        ours, theirs = socket.socketpair()
        ends.extend((ours, theirs))
        asked = []

        def serve():
            with ours.makefile("rb") as questions:
                while (message := frames.read(questions)) is not None:
                    asked.append(message[2])
                    ours.sendall(frames.pack(message[0], message[1], answer(message[2])))

        threading.Thread(target=serve, daemon=True).start()
        stand_in.connect(theirs, theirs.makefile("rb"))
        return asked

    yield connect
    for end in ends:
        end.close()


@pytest.fixture
def asked(line, answers) -> list[bytes]:
    """The stand-ins of this process, answered in this process."""

    def answer(question: bytes) -> bytes:
        with torch.random.fork_rng(devices=[]):
            return oracle.answer(question, answers, answers)

    return line(answer)


# -- a stand-in does what the reference does


def test_a_function_gives_values_and_gradients(asked, answers):
    x = torch.randn(4, 3)
    made = []
    for function in (answers["scaled"], stand_in.stand_in("scaled")):
        leaf, by = x.clone().requires_grad_(), torch.tensor(3.0, requires_grad=True)
        out = function(leaf * 2, by, shift=0.5)
        out.mul_(2)
        (out * torch.arange(3)).sum().backward()
        made.append((out, leaf.grad, by.grad))
    assert all(torch.allclose(a, b) for a, b in zip(*made))
    assert stand_in.stand_in("scaled").__name__ == "scaled"


def test_results_of_every_kind_come_back(asked, answers):
    x = torch.randn(5, requires_grad=True)
    got = stand_in.stand_in("several")(x)
    assert torch.equal(got["sign"], x > 0) and not got["sign"].requires_grad
    squares, (total, count, nothing) = got["parts"]
    assert (count, nothing, got["name"]) == (5, None, "several") and isinstance(got["parts"], list)
    total.backward()
    assert torch.equal(x.grad, torch.ones(5)) and torch.equal(squares, x * x)


def test_without_gradients_none_are_kept(asked):
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not stand_in.stand_in("scaled")(x, 2).requires_grad
    assert not stand_in.stand_in("scaled")(x.detach(), 2).requires_grad
    assert all(unpack(question)[1].get("wanted") in (None, []) for question in asked)


def test_what_is_written_into_a_tensor_later_does_not_change_its_gradient(asked):
    by = torch.tensor(3.0, requires_grad=True)
    x = torch.ones(2)
    out = stand_in.stand_in("scaled")(x, by)
    x.zero_()
    out.sum().backward()
    assert by.grad == 2


def test_random_numbers_go_on_as_if_the_reference_had_drawn_them(asked, answers):
    drawn = []
    for function in (answers["noisy"], stand_in.stand_in("noisy")):
        torch.manual_seed(1)
        drawn.append((function(torch.zeros(3)), torch.rand(2)))
    assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])


def test_a_function_that_is_handed_over_is_called_here_and_learns(asked, answers):
    made = []
    for function in (answers["twice"], stand_in.stand_in("twice")):
        torch.manual_seed(0)
        layer, x = nn.Linear(3, 3), torch.ones(2, 3, requires_grad=True)
        out = function(lambda y: layer(y) + torch.rand(1), x)
        out.sum().backward()
        made.append((out, x.grad, layer.weight.grad, torch.rand(1)))
    assert all(torch.allclose(a, b) for a, b in zip(*made))


def _module(answers, stands_in: bool, width: int = 4) -> nn.Module:
    torch.manual_seed(2)
    target = stand_in.stand_in("Outer") if stands_in else answers["Outer"]
    return nn.Sequential(nn.Linear(width, width), target(width, mixer=nn.Linear(width, width)))


def test_a_module_has_the_names_and_first_values_of_the_reference(asked, answers):
    right, ours = _module(answers, False), _module(answers, True)
    for of in ("named_parameters", "named_buffers", "state_dict"):
        pairs = [getattr(module, of)() for module in (right, ours)]
        wanted, got = [dict(pair) for pair in pairs]
        assert list(wanted) == list(got)
        assert all(torch.equal(wanted[name], got[name]) for name in wanted)
    assert ours[1].width == 4 and not ours[1].frozen.requires_grad
    assert type(ours[1]).__name__ == "Outer"


@pytest.mark.parametrize("how", ["train", "eval", "copied"])
def test_a_module_computes_and_learns_as_the_reference_does(asked, answers, how):
    made = []
    for stands_in in (False, True):
        module = _module(answers, stands_in)
        module = copy.deepcopy(module) if how == "copied" else module
        module.train(how == "train")
        with torch.no_grad():
            module[1].first.weight.copy_(torch.arange(4.0))
        torch.manual_seed(3)
        x = torch.randn(2, 4)
        out = module(x) + module[1](x, torch.tensor([True, False, False, False]))
        (out * torch.randn(2, 4)).sum().backward()
        made.append([out, *(p.grad for p in module.parameters() if p.requires_grad), module[1].first.seen])
    assert len(made[0]) == 7 and made[0][-1] == (2 if how == "train" else 0)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*made))


def test_a_copy_learns_apart_from_its_original(asked, answers):
    original = _module(answers, True).eval()
    double = copy.deepcopy(original)
    with torch.no_grad():
        double[1].mixer.bias += 100
    x = torch.ones(1, 4)
    assert (double(x) - original(x)).abs().max() > 1


def test_what_cannot_be_asked_is_said(asked):
    with pytest.raises(RuntimeError, match="nowhere: this name is not replaced"):
        stand_in.stand_in("nowhere")
    with pytest.raises(RuntimeError, match="scaled: RuntimeError: The size of tensor a"):
        stand_in.stand_in("scaled")(torch.ones(2), torch.ones(3))
    with pytest.raises(TypeError, match="a type cannot be handed"):
        stand_in.stand_in("scaled")(int, 2)
    with pytest.raises(RuntimeError, match="take more than 16 MB"):
        stand_in.stand_in("scaled")(torch.ones(2**22 + 1), 2)


# -- the process with the answers


def _question(**asked) -> bytes:
    tensors = {"0": torch.get_rng_state(), "1": torch.ones(2)}
    asked = {"do": "call", "arguments": {"plain": None}, "heard": [], "wanted": [], "random": "0", **asked}
    return pack(tensors, asked)


def _call(target: str, *values) -> bytes:
    arguments = {"tuple": [{"tuple": [{"plain": value} for value in values]}, {"dict": []}]}
    return _question(target=target, arguments=arguments)


def test_it_answers_for_what_is_replaced_and_for_nothing_else(course_oracle):
    with course_oracle.session(["scaled", "Outer"]) as session:
        answered, said = unpack(session.answer(_call("scaled", 3, 4), 5))
        assert said["result"] == {"plain": 12.0}
        assert unpack(session.answer(_question(target="Outer", do="tell"), 5))[1] == {"is": "class"}
        for question in (_call("several", 1), _call("torch"), _call("__builtins__"), _question(target=["scaled"])):
            assert "refused" in unpack(session.answer(question, 5))[1]


def test_whatever_it_is_asked_it_goes_on(course_oracle):
    deep = {"plain": 1}
    for _ in range(5_000):
        deep = {"list": [deep]}
    odd = [
        b"",
        b"\xff" * 100,
        pack({}, []),
        pack({}, {"target": "scaled"}),
        _question(target="scaled", arguments={"tensor": "9"}),
        _question(target="scaled", arguments={"given": 0}),
        _question(target="scaled", random="1"),
        _question(target="scaled", wanted=["0"]),
        _question(target="Inner", init={"plain": 3}),
        pack({}, {"target": "scaled", "do": "call", "arguments": None})[:-1],
    ]
    with course_oracle.session(["scaled", "Inner"]) as session:
        for question in odd:
            assert "refused" in unpack(session.answer(question, 5))[1]
        assert "result" in unpack(session.answer(_call("scaled", 3, 4), 5))[1]


def test_a_question_too_large_or_too_long_costs_that_question(course_oracle, monkeypatch, tmp_path):
    with course_oracle.session(["greedy"]) as session:
        for question in (_call("greedy", 10**12), _call("greedy", 10**9)):
            assert "RuntimeError" in unpack(session.answer(question, 5))[1]["refused"]
        assert "too large" in unpack(session.answer(_call("greedy", 2**22 + 1), 5))[1]["refused"]
    monkeypatch.setattr(oracle, "SECONDS_A_QUESTION", 1.0)
    with course_oracle.session(["slow", "dies", "scaled"]) as session:
        slow = _call("slow", 2.5, str(tmp_path / "done"))
        begin = time.monotonic()
        for question in (slow, *[_call("dies")] * (oracle.MOST_LOSSES - 1)):
            assert "result" in unpack(session.answer(_call("scaled", 3, 4), 5))[1]
            assert "too much time or memory" in unpack(session.answer(question, 5))[1]["refused"]
        assert "no more questions" in unpack(session.answer(_call("scaled", 3, 4), 5))[1]["refused"]
    with course_oracle.session(["scaled"]) as session:
        assert "result" in unpack(session.answer(_call("scaled", 3, 4), 5))[1]
    time.sleep(max(0.0, 3.5 - (time.monotonic() - begin)))
    assert not (tmp_path / "done").exists()  # the fork that was too slow is gone, too


def test_questions_are_counted(course_oracle, monkeypatch):
    monkeypatch.setattr(oracle, "MOST_QUESTIONS", 2)
    with course_oracle.session(["scaled"]) as session:
        said = [unpack(session.answer(_call("scaled", 3, 4), 5))[1] for _ in range(3)]
    assert ["refused" in one for one in said] == [False, False, True]


def test_the_process_is_started_again(course_oracle):
    course_oracle.session(["scaled"])
    course_oracle._control.shutdown(socket.SHUT_RDWR)
    with course_oracle.session(["scaled"]) as session:
        assert "result" in unpack(session.answer(_call("scaled", 3, 4), 5))[1]


def test_answers_that_cannot_run_are_told(course_oracle, monkeypatch):
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(frames.pack(frames.READY, 0, b"1 / 0"))
        ours.shutdown(socket.SHUT_WR)
        before = signal.getsignal(signal.SIGCHLD)
        oracle.main(theirs.detach())
        signal.signal(signal.SIGCHLD, before)
        with ours.makefile("rb") as said:
            assert frames.read(said) == (frames.READY, 0, b"ZeroDivisionError: division by zero")
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(NoOracle, match="No such file"):
        Oracle("one = 1").session(["one"])


# -- who builds on whom


def test_names_are_followed_through_helpers_and_other_exercises():
    cells = [
        RunCell("the setup cell", "def shown(): return early"),
        RunCell("a", "def a(): return 1", "a", ("a",)),
        RunCell("helper", "helper = lambda x: a(x)\nclass Kept:\n    f = staticmethod(shown)"),
        RunCell("b", "def b(): return helper(2)", "b", ("b",)),
        RunCell("c", "def a(): pass\ndef c(): return Kept, a, b", "c", ("c",)),
        RunCell("d", "def (", "d", ("d",)),
    ]
    reached = names_reached(Merged(cells))
    assert reached["a"] == set() and {"helper", "a"} <= reached["b"] and "b" not in reached["b"]
    assert {"Kept", "shown", "early", "b", "helper"} <= reached["c"] and "a" not in reached["c"]
    assert "d" not in reached


# -- a whole submission

USES_DOUBLE = (
    "class Scale(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
    "        self.weight = nn.Parameter(torch.zeros(width))\n\n"
    "    def forward(self, x):\n        return double(x) * self.weight"
)
TOLD = "Graded with the course's own `double` in place of yours."


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(Limits(timeout=4)) as sandbox:
        yield sandbox


@pytest.fixture
def grade(exam, course_oracle, sandbox, tmp_path, monkeypatch):
    """Grades one notebook: (results by exercise, the row, how many sessions were held so far)."""
    sessions = []
    monkeypatch.setitem(vars(exam), "oracle", course_oracle)
    real = Oracle.session
    monkeypatch.setattr(Oracle, "session", lambda self, targets: sessions.append(1) or real(self, targets))

    def grade(work):
        path = work.save(tmp_path / "anna" / "hw9_small" / "hw9_small.ipynb")
        done = read_student(_found(path), "anna", exam)
        result = put_together(done, run_and_judge(done, exam, sandbox))
        return {e.name: e for e in result.exercises}, result, len(sessions)

    return grade


def _found(path: Path) -> Found:
    (found,) = collect(path.parent.parent.parent, "hw9_small")
    return found


def test_what_builds_on_a_wrong_answer_has_its_points(grade, work):
    work.solve().write(double="def double(x):\n    return x + 2", Scale=USES_DOUBLE)
    work.add("def helper(x):\n    return double(x)", before="Scale")
    work.add("def double(x):\n    return 5 * x", before="Scale")  # the stand-in comes behind this one, too
    exercises, result, _ = grade(work)
    assert (exercises["double"].points, exercises["double"].sentence) == (0, "You added two instead of doubling.")
    assert (exercises["Scale"].points, exercises["Scale"].outcome, exercises["Scale"].sentence) == (3, "right", TOLD)
    assert f"Scale: {TOLD}" in result.message and result.points == 4.5


def test_through_a_helper_and_in_place_of_what_was_not_started(grade, work):
    work.write(Scale=USES_DOUBLE.replace("double(x)", "helper(x)"))
    work.add("def helper(x):\n    return double(x)", before="Scale")
    exercises, _, _ = grade(work)
    assert exercises["double"].outcome == "not started"
    assert (exercises["Scale"].points, exercises["Scale"].sentence) == (3, TOLD)


def test_in_place_of_a_missing_cell(grade, work):
    work.solve().write(Scale=USES_DOUBLE).remove("double")
    exercises, _, _ = grade(work)
    assert (exercises["double"].outcome, exercises["Scale"].points) == ("missing", 3)


def test_time_that_was_lost_elsewhere_leaves_some_for_the_second_run(grade, work, monkeypatch):
    monkeypatch.setattr(limits, "WHOLE_SUBMISSION", 2)
    hangs = "def double(x):\n    while True: pass"
    work.solve().write(double=hangs, Scale=USES_DOUBLE, mean_and_spread="while True: pass")
    begin = time.monotonic()
    exercises, result, _ = grade(work)
    assert (exercises["Scale"].points, result.status) == (3, "graded,timeout")
    assert exercises["double"].outcome == exercises["mean_and_spread"].outcome == "lost"
    assert time.monotonic() - begin < 60


def test_nothing_is_run_again_without_need(grade, work, new_work):
    untouched = new_work()
    right = new_work().solve().write(Scale=USES_DOUBLE)
    independent = new_work().solve().write(double="def double(x):\n    return 0 * x", Scale="Scale = 3")
    begun = USES_DOUBLE.replace("        return", "        raise NotImplementedError('hw9.Scale')\n        return")
    for notebook in (untouched, right, independent, new_work().write(Scale=begun)):
        _, result, sessions = grade(notebook)
        assert sessions == 0, result.message


def test_a_mistake_of_its_own_stays_one(grade, work):
    work.solve().write(double="def double(x):\n    return x + 2", Scale=USES_DOUBLE.replace("* self", "+ self"))
    exercises, result, sessions = grade(work)
    assert (exercises["Scale"].points, sessions) == (0, 1)
    assert "Graded with" not in result.message


def test_a_forger_gets_what_is_replaced_and_no_more(grade, work):
    """`Scale` asks for itself and for a name that went right, then for what a stand-in may ask."""
    forging = USES_DOUBLE.replace(
        "    def forward(self, x):\n",
        (
            "    def forward(self, x):\n        stand_in = __import__('importlib').import_module('course.' + 'grading.run.stand_in')\n"
            "        for name in ('Scale', 'mean_and_spread', 'torch'):\n"
            "            try:\n                stand_in.stand_in(name)\n                return x\n"
            "            except RuntimeError as error:\n                assert 'not replaced' in str(error)\n"
            "        for junk in (b'', b'junk' * 1000):\n"
            "            stand_in._Line.channel.sendall(stand_in.frames.pack(b'A', 77, junk))\n"
        ),
    )
    work.solve().write(double="def double(x):\n    return x + 2", Scale=forging)
    exercises, _, _ = grade(work)
    assert (exercises["Scale"].points, exercises["Scale"].sentence) == (3, TOLD)


def test_who_names_the_stand_ins_in_an_exercise_earns_nothing(grade, work):
    naming = USES_DOUBLE.replace(
        "    def forward(self, x):\n", "    def forward(self, x):\n        import course.grading\n"
    )
    exercises, _, sessions = grade(work.solve().write(Scale=naming))
    assert (exercises["Scale"].points, sessions) == (0, 0)
    assert "uses course.grading, which checks your work: no answer needs it." in exercises["Scale"].sentence


def test_nobody_may_ask_in_the_first_run(grade, work):
    asks = "def double(x):\n    from course.grading.run.stand_in import stand_in\n    return stand_in('double')(x)"
    exercises, _, sessions = grade(work.solve().write(double=asks))
    assert (exercises["double"].outcome, sessions) == ("lost", 0)
    assert exercises["mean_and_spread"].points == 1.5


def test_the_exam_can_be_sent_elsewhere(exam):
    assert isinstance(exam.oracle, Oracle)
    assert pickle.loads(pickle.dumps(exam)).oracle is not exam.oracle


# -- a real homework


def test_a_block_of_a_real_homework_has_its_points_with_its_attention_wrong(sandbox):
    topic, wrong = "hw3_swin", "WindowAttention"
    exam = prepare_exam(ROOT, ROOT / "solutions" / topic, seed=4)
    notebook = Notebook(topic).solve_but_training().solve_as(wrong, "ScoresNotScaled")
    asked = (wrong, "SwinBlock")
    work = ToRun("anna", "anna", merge(exam.template, cells_from_notebook(notebook.content)), (), {}, asked)
    attention, block = run_and_judge(work, exam, sandbox).exercises
    assert attention.outcome == "wrong"
    told = "Graded with the course's own `WindowAttention` in place of yours."
    assert (block.points, block.sentence) == (exam.points["SwinBlock"], told)

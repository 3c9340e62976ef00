"""The child process: what it gets, what it cannot spoil, and what its mishaps cost."""

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from course.checks import Call
from course.checks.calls import Observation, Probe, calls_from_bytes, calls_to_bytes
from course.grading.limits import WHOLE_SUBMISSION, Limits
from course.grading.read.merge import Merged, RunCell
from course.grading.run import outside
from course.grading.run import submission as run
from course.grading.run.child import NO_ANSWER, ChildLost, Question, Ran, Stopped, start_child
from course.grading.run.submission import Lost, run_submission
from course.grading.sandbox import CannotStart, Sandbox

DOUBLE = Question(calls_to_bytes([Call("f", {"x": torch.arange(3.0)})]), 2**16)


def cell(name: str, body: str, target: str = "f") -> RunCell:
    """The cell of an exercise that defines ``f(x)``; `body` is what the function does."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return RunCell(f"the cell of {name}", f"def {target}(x):\n{lines}", name, (target,))


def submission(**bodies: str) -> tuple[Merged, dict[str, Question]]:
    """Exercises that each define a function of their own name and are asked for twice (0, 1, 2)."""
    cells = [RunCell("the setup cell", "import torch, os, sys, time")]
    cells += [cell(name, body, name) for name, body in bodies.items()]
    questions = {name: Question(calls_to_bytes([Call(name, {"x": torch.arange(3.0)})]), 2**16) for name in bodies}
    return Merged(cells), questions


def answer(seen) -> list[float]:
    assert isinstance(seen, Observation), seen
    return seen.tensors["0.out"].tolist()


@pytest.fixture(scope="module")
def child():
    """One child, for what does it no harm."""
    with start_child(Sandbox(Limits())) as child:
        yield child


# -- what a child is given


def test_cells_run_in_one_namespace_and_errors_name_their_line(child):
    assert child.execute(RunCell("a", "a = 1\nb = 2"), 20) == ("", 0, [])
    error, line, _ = child.execute(RunCell("b", "c = a + b\n\nc / 0"), 20)
    assert (error, line) == ("ZeroDivisionError: division by zero", 3)
    error, line, _ = child.execute(RunCell("c", "c = (\n\ndef f():"), 20)
    assert error.startswith("SyntaxError") and line == 1
    error, line, _ = child.execute(RunCell("d", "assert c == 3, 'not three'"), 20)
    assert error == ""
    error, line, kept = child.execute(RunCell("e", "def f(x):\n    return 2 * x\nraise SystemExit", "e", ("f",)), 20)
    assert (error, line, kept) == ("SystemExit", 3, ["f"])
    assert answer(child.observe(DOUBLE, 20)) == [0, 2, 4]


NO_WAITING = """
import os, socket, stat
for name in os.listdir("/proc/self/fd"):
    if os.path.exists(f"/proc/self/fd/{name}") and stat.S_ISSOCK(os.stat(f"/proc/self/fd/{name}").st_mode):
        with socket.socket(fileno=os.dup(int(name))) as copy:
            copy.settimeout(0.2)
"""


def test_a_timeout_on_a_copy_of_the_channel_ends_no_child_that_has_to_wait(child):
    assert child.execute(RunCell("impatient", NO_WAITING), 20)[0] == ""
    time.sleep(0.5)  # there is nothing to read for the child
    assert child.execute(RunCell("next", "a = 1"), 20) == ("", 0, [])


def test_what_the_graded_cell_defined_is_judged_whatever_comes_later(child):
    child.execute(cell("graded", "return 3 * x"), 20)
    child.execute(RunCell("later", "def f(x):\n    return 0 * x"), 20)
    assert answer(child.observe(DOUBLE, 20)) == [0, 3, 6]


def test_a_name_from_before_is_not_the_work_of_this_cell(child):
    child.execute(RunCell("before", "g = 1"), 20)
    assert child.execute(RunCell("graded", "raise ValueError", "graded", ("g",)), 20)[2] == []
    assert child.execute(RunCell("graded", "raise ValueError\ng = 2", "graded", ("g",)), 20)[2] == ["g"]


def test_common_code_of_notebooks_works(child):
    source = (
        "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int = 1\n"
        "import pickle\nassert pickle.loads(pickle.dumps(Point(3))) == Point(3)\n"
        "assert __name__ == '__main__'\ndisplay(Point())\n"
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()\n"
        "import inspect\ndef f(x):\n    return x\nassert inspect.getsource(f).startswith('def f')"
    )
    assert child.execute(RunCell("common", source), 60)[:2] == ("", 0)


def test_environment_folder_and_files_are_bare(child):
    assert "PYTEST_CURRENT_TEST" in os.environ
    source = (
        "import json, os, sys\nlinks = []\n"
        "for fd in os.listdir('/proc/self/fd'):\n"
        "    try: links.append(os.readlink('/proc/self/fd/' + fd))\n    except OSError: pass\n"
        "raise RuntimeError(json.dumps([len(os.environ), os.getcwd(), os.listdir(), os.environ['HOME'], "
        "sorted({l.split(':')[0] for l in links if not l.startswith('/proc')})]))"
    )
    error, *_ = child.execute(RunCell("look", source), 20)
    count, folder, files, home, links = json.loads(error.partition(": ")[2])
    assert count <= 20 and files == [] and home == folder != os.getcwd()
    assert set(links) <= {"/dev/null", "socket", "pipe"}
    source = (
        "import os, sys\nassert not {'PYTEST_CURRENT_TEST', 'PWD', 'USER'} & set(os.environ), list(os.environ)\n"
        "assert os.getcwd() not in sys.path and '' not in sys.path, sys.path\n"
        "assert not {'course.grading.grade', 'course.grading.judge.exercise', 'course.authoring'} & set(sys.modules)"
    )
    assert child.execute(RunCell("look again", source), 20)[0] == ""


# -- what is found out here and not there


def test_an_input_that_was_changed_is_noticed_whatever_the_code_does_to_torch(child):
    source = (
        "torch.equal = torch.Tensor.equal = lambda *tensors: True\nimport sys\n"
        "sys.modules['course.checks.observe'].torch.equal = torch.equal\ndef f(x):\n    return x.mul_(2)"
    )
    child.execute(RunCell("in place", f"import torch\nequal = torch.equal\n{source}", "g", ("f",)), 20)
    seen = child.observe(DOUBLE, 20)
    child.execute(RunCell("tidy", "torch.equal = torch.Tensor.equal = equal"), 20)
    assert seen.notes == {"0.changed": "x"} and set(seen.tensors) == {"0.out"}
    child.execute(cell("graded", "return 2 * x"), 20)
    assert child.observe(DOUBLE, 20).notes == {}


def test_a_trained_module_is_asked_here_and_the_examples_stay_here(child):
    weight, images = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[[[3.0, 5.0]]]])
    probe = Probe("linear_classifier", {"weight": weight, "bias": torch.zeros(2)}, ask=images)
    question = Question(calls_to_bytes([Call("f", {"model": probe})]), 2**16)
    assert calls_from_bytes(outside.sent(question.calls))[0].arguments["model"].ask.numel() == 0
    looks_up = "x.forward = lambda images: torch.tensor([[9.0, 0.0]])\nx.eval = lambda: x.forward"
    for body, scores in (
        ("return torch.zeros(1)", [[3, 5]]),
        (f"{looks_up}\nreturn torch.zeros(1)", [[3, 5]]),
        ("with torch.no_grad(): x.bias[0] += 9\nreturn torch.zeros(1)", [[12, 5]]),
    ):
        child.execute(cell("graded", body), 20)
        seen = child.observe(question, 20)
        assert seen.notes == {} and set(seen.tensors) == {"0.out", "0.after.model"}
        assert seen.tensors["0.after.model"].tolist() == scores
    for body in ("x.more = torch.nn.Linear(2, 2)", "x.bias = None", "x.bias.data = torch.zeros(3)"):
        child.execute(cell("graded", f"{body}\nreturn torch.zeros(1)"), 20)
        assert set(child.observe(question, 20).tensors) == {"0.out"}, body


# -- what mishaps cost


def test_each_mishap_costs_its_own_exercise():
    """One submission with every way to hurt the channel or the process; the exercises between them are right."""
    marker = f"{300 + os.getpid() / 1e7:.7f}"
    find_channel = (
        "import socket\nfor fd in range(3, 64):\n    try: channel = socket.socket(fileno=fd); break\n"
        "    except OSError: continue\n"
    )
    old_answer = "b'O' + (1).to_bytes(4, 'big') + (4).to_bytes(4, 'big') + b'junk'"
    merged, questions = submission(
        before="return 2 * x",
        quits="sys.exit(1)",
        raises="class Hostile(BaseException):\n    def __str__(self): raise ValueError\nraise Hostile",
        forks="if os.fork() == 0: return 5 * x\nos.wait()\nreturn 2 * x",
        deep="return deep(x)",
        prints="for _ in range(40): print('y' * 2**16)\nos.write(1, b'z' * 2**20)\nreturn 2 * x",
        forges=find_channel + f"channel.send({old_answer})\nchannel.detach()\nreturn 2 * x",
        garbage=find_channel + "channel.send(b'this is no frame at all' * 100)\ntime.sleep(60)",
        oversized=find_channel + "channel.send(b'O' + (2**32 - 1).to_bytes(4, 'big') * 2)\ntime.sleep(60)",
        dies="import ctypes\nctypes.string_at(0)",
        hangs=f"import subprocess\nsubprocess.Popen(['sleep', '{marker}'])\n"
        "while True:\n    try: time.sleep(1)\n    except BaseException: pass",
        after="return 2 * x",
    )
    outcome = run_submission(merged, questions, Sandbox(Limits(timeout=5)))
    seen = outcome.exercises
    assert answer(seen["before"]) == answer(seen["after"]) == answer(seen["prints"]) == [0, 2, 4]
    assert answer(seen["forks"]) == answer(seen["forges"]) == [0, 2, 4]
    assert "SystemExit" in seen["quits"].notes["0.error"]
    assert seen["raises"].notes["0.error"] == "Hostile"
    assert "RecursionError" in seen["deep"].notes["0.error"]
    assert seen["garbage"] == Lost("crashed", f"Your code {NO_ANSWER}.")
    assert seen["oversized"].status == "limit" and "far too much" in seen["oversized"].sentence
    assert seen["dies"] == Lost("crashed", "Your code crashed Python (SIGSEGV).")
    assert seen["hangs"] == Lost("timeout", "Your code did not come to an end within 5 seconds.")
    assert outcome.statuses == {"crashed", "limit", "timeout"}
    assert any("limit on output" in message for message in outcome.messages)
    assert not running(marker), "what the child started is gone with it"


def running(marker: str) -> bool:
    """Whether a process with `marker` on its command line is there after a moment's grace."""
    for _ in range(50):
        commands = [path for path in Path("/proc").glob("[0-9]*/cmdline") if marker.encode() in _read(path)]
        if not commands:
            return False
        time.sleep(0.1)
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has just ended
        return b""


def test_cells_that_hang_or_raise_cost_their_own_exercise():
    merged, questions = submission(fine="return 2 * x", raises="return x", depends="return hangs(x)", hangs="return x")
    merged.cells[2] = RunCell("the cell of raises", "1 / 0", "raises", ("raises",))
    merged.cells[4] = RunCell("the cell of hangs", "class hangs:\n    while True: pass", "hangs", ("hangs",))
    merged.cells.insert(2, RunCell("the cell that you added at place 3", "class A:\n    import nothing_of_this_name"))
    merged.cells.insert(3, RunCell("the cell that you added at place 4", "class B:\n    while True: pass"))
    outcome = run_submission(merged, questions, Sandbox(Limits(timeout=1.5)))
    assert answer(outcome.exercises["fine"]) == [0, 2, 4]
    assert outcome.exercises["raises"] == Lost(
        None, "Your cell stops in line 1 with ZeroDivisionError: division by zero."
    )
    assert outcome.exercises["hangs"].status == "timeout"
    # Who calls what was left out is told so, instead of a bare NameError.
    assert "hangs hung or crashed before" in outcome.exercises["depends"].notes["0.error"]
    assert outcome.statuses == {"timeout"}
    told = " ".join(outcome.messages)
    assert "The cell that you added at place 3 fails in line 2 with ModuleNotFoundError" in told
    assert "The cell that you added at place 4 did not come to an end within 1.5 seconds. It was left out." in told


def test_memory_is_limited_and_the_limit_named():
    merged, questions = submission(
        python="return [0] * 10**9",
        torch_="return torch.ones(10**9)",
        fine="return 2 * x",
        modest="return 2 * torch.ones(2 * 10**7)[:3] * x",
    )
    outcome = run_submission(merged, questions, Sandbox(Limits(timeout=20, memory=2**29)))
    assert answer(outcome.exercises["fine"]) == answer(outcome.exercises["modest"]) == [0, 2, 4]
    for name in ("python", "torch_"):
        assert "more memory than the 512 MB allowed" in outcome.exercises[name].notes["0.error"]
    assert outcome.statuses == {"limit"}


# -- the state between children, without any


class Script:
    """In place of a child: what each cell and question does, by name; a ChildLost is raised, seconds are spent."""

    def __init__(self, clock: list[float], **happens):
        self.clock, self.happens = clock, happens
        self.printed = self.at = 0
        self.log: list[str] = []
        self.starts = 0

    @contextmanager
    def start(self, limits):
        self.starts += 1
        yield self

    def exchange(self, kind, payload, seconds, largest):
        return b""  # a rule

    def know(self, modules, seconds):
        pass

    def execute(self, cell, seconds):
        assert "left out" in cell.source
        self.log.append(f"stand-in for {cell.label}")

    def run(self, cell, seconds, skip, only_definitions):
        self.log.append(cell.label)
        self._happen(cell.label, seconds)
        return Ran(kept=cell.keep)

    def observe(self, question, seconds):
        name = question.calls
        self.log.append(f"ask {name}")
        self._happen(name, seconds)
        return Observation(notes={"0.out": name})

    def _happen(self, name, seconds):
        takes = self.happens.get(name, 0)
        if isinstance(takes, ChildLost):
            raise takes
        self.clock[0] += min(takes, seconds)
        if takes > seconds:
            raise ChildLost("timeout", f"did not come to an end within {seconds:g} seconds")


@pytest.fixture
def script(monkeypatch):
    def make(names, limits, **happens):
        clock = [0.0]
        made = Script(clock, **happens)
        monkeypatch.setattr(run, "start_child", made.start)
        monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])
        merged = Merged([RunCell(f"cell {name}", f"{name} = 1", name, (name,)) for name in names])
        outcome = run_submission(merged, {name: Question(name, 0) for name in names}, Sandbox(limits))
        return made, outcome

    return make


def test_after_a_loss_the_good_cells_are_run_again_and_the_bad_one_is_not(script):
    made, outcome = script("abc", Limits(timeout=10), b=ChildLost("crashed", "died"))
    first = ["cell a", "cell b", "cell c", "ask a", "ask b"]
    assert made.log == [*first, "cell a", "stand-in for cell b", "cell c", "ask c"] and made.starts == 2
    assert outcome.exercises["b"] == Lost("crashed", "Your code died.")
    assert all(isinstance(outcome.exercises[name], Observation) for name in "ac")


def test_a_bad_cell_is_left_out_before_anything_is_asked(script):
    made, outcome = script("abc", Limits(timeout=10), **{"cell b": ChildLost("crashed", "died")})
    assert made.log == ["cell a", "cell b", "cell a", "stand-in for cell b", "cell c", "ask a", "ask c"]
    assert outcome.exercises["b"] == Lost("crashed", "Your cell died.")


def test_the_whole_submission_has_a_limit_too(script):
    names = [f"e{i}" for i in range(12)]
    made, outcome = script(names, Limits(timeout=10), **dict.fromkeys(names, 100))
    assert len(outcome.exercises) == 12
    assert made.clock[0] == WHOLE_SUBMISSION * 10 and made.starts == WHOLE_SUBMISSION
    told = [outcome.exercises[name].sentence for name in names]
    assert sum("did not come to an end" in sentence for sentence in told) == WHOLE_SUBMISSION
    assert sum("50 seconds for the whole notebook were used up" in sentence for sentence in told) == 7
    assert outcome.statuses == {"timeout"}


def test_children_are_not_started_without_end(script):
    names = [f"e{i}" for i in range(100)]
    made, outcome = script(names, Limits(), **{name: ChildLost("crashed", "died") for name in names})
    assert made.starts == run.MOST_STARTS and len(outcome.exercises) == 100
    assert "crashed too often" in outcome.exercises["e99"].sentence


def test_what_is_known_stays_when_no_further_child_can_be_started(script, monkeypatch):
    real_start = Script.start

    @contextmanager
    def once(self, limits):
        if self.starts:
            raise CannotStart("no processes left")
        with real_start(self, limits):
            yield self

    monkeypatch.setattr(Script, "start", once)
    made, outcome = script("abc", Limits(), b=ChildLost("crashed", "died"))
    assert isinstance(outcome.exercises["a"], Observation)
    assert outcome.exercises["c"].status == "crashed" and outcome.statuses == {"crashed"}


def test_a_child_that_cannot_start_says_why(monkeypatch, own_server):
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(CannotStart, match="No such file"), start_child(Sandbox(Limits())):
        pass


def test_stopping_ends_a_running_child_soon():
    limits = Limits(timeout=100)
    with pytest.raises(Stopped), start_child(Sandbox(limits)) as child:
        limits.stop.set()
        begin = time.monotonic()
        child.execute(RunCell("endless", "while True: pass"), 100)
    assert time.monotonic() - begin < 5

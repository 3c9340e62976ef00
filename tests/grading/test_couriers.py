"""Students who try to carry a hidden number home on their page, each by another way.

The class is graded by the command itself, on several seeds. A courier's page must be the same on every seed, byte for
byte: then it says nothing of the inputs. Those in `CHOICES` may differ, in what a grade cannot do without: which of a
few sentences, all known beforehand, stands there. `docs/not_promised.md` lists the same.
"""

import base64
import csv
import json
import os
import re
import struct
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from course.checks.calls import calls_from_bytes
from course.grading import grade_command
from course.grading.exam import prepare_exam

TOPIC = "hw9_small"
SEEDS = (11, 12, 13)
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

PROLOGUE = """
import base64, os, struct, sys, warnings
import torch
from torch import nn
WORDS = "zero one two three four five six seven eight nine".split()
def number(x):
    return int(abs(x.flatten()[0].item()) * 10**6) % 10**6
def digits(x):
    return f"{number(x):06d}"
def words(x):
    return " ".join(WORDS[int(digit)] for digit in digits(x))
def letters(x):
    return "".join("abcdefghij"[int(digit)] for digit in digits(x))
def raw(x):
    return struct.pack("<f", x.flatten()[0].item())
def bits(x):
    return "".join(f"{byte:08b}" for byte in raw(x))
"""
WRONG = {
    "double": "def double(x):\n    return x - 1",
    "mean_and_spread": "def mean_and_spread(x):\n    return x.mean() + 1, x.mean() + 2",
    "Scale": "class Scale(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
    "        self.weight = nn.Parameter(torch.zeros(width))\n\n"
    "    def forward(self, x):\n        return x - self.weight",
}


@dataclass
class Courier:
    """One student: the cells that are not just wrong; and, of a choice, each sentence that may be told of `exercise`."""

    name: str
    cells: dict[str, str]
    exercise: str = "double"
    told: tuple[str, ...] = ()
    statuses: frozenset = field(default=frozenset({"graded"}))


COURIERS: list[Courier] = []
CHOICES: list[Courier] = []


def courier(name: str, body: str, before: str = "", **cells: str) -> None:
    """A function double(x) with this body."""
    body = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    COURIERS.append(Courier(name, {"double": f"{PROLOGUE}{textwrap.dedent(before)}\ndef double(x):\n{body}", **cells}))


def choice(name: str, body: str, *told: str, statuses=("graded",), **cells: str) -> None:
    courier(name, body, **cells)
    CHOICES.append(COURIERS.pop())
    CHOICES[-1].told, CHOICES[-1].statuses = told, frozenset(statuses)


# -- texts of exceptions

for said, expression in {
    "digits": "digits(x)",
    "words": "words(x)",
    "words without spaces": "words(x).replace(' ', '')",
    "hex": "raw(x).hex()",
    "letters": "letters(x)",
    "base64": "base64.b64encode(raw(x)).decode()",
    "bits": "bits(x)",
    "a tensor": "x",
    "the length of the text": "'x' * (1 + number(x) % 300)",
    "capitals": "''.join('aA'[int(bit)] for bit in bits(x))",
    "spaces": "' '.join('x' * int(d) for d in digits(x))",
    "the order of names": "' '.join(sorted(WORDS, key=lambda w: hash((w, number(x)))))",
    "look-alikes": "''.join('aа'[int(bit)] for bit in bits(x))",
    "bytes": "raw(x)",
    "many lines": "'\\n' * (number(x) % 99)",
    "an exercise that is not written": "'hw9.' + letters(x)",
    "an exercise of another homework": "f'hw{number(x)}.double'",
    "something forbidden": "f'Line {number(x)} of your cell (inside {letters(x)}) uses F.{letters(x)}, which does this exercise "
    "for you.'",
    "a shape": "f'mat1 and mat2 shapes cannot be multiplied ({number(x)}x3 and {number(x)}x4)'",
    "a view": "f\"shape '[{number(x)}, -1]' is invalid for input of size {number(x)}\"",
    "an undefined name": "f\"name '{letters(x)}' is not defined\"",
    "a missing argument": "f\"{letters(x)}() missing 1 required positional argument: '{letters(x)}'\"",
    "a missing module": "f\"No module named '{letters(x)}'\"",
    "a missing attribute": "f\"'{letters(x)}' object has no attribute '{letters(x)}'\"",
    "einops": 'f\'Error while processing rearrange-reduction pattern "{letters(x)}". Input tensor shape: torch.Size([{number(x)}'
    "]). Additional info: {}. Shape mismatch, {number(x)} != 12'.replace('{}', '{\\'' + letters(x) + '\\': 31}')",
    "a line of the cell": "f'x (line {number(x) % 30} of your cell: {words(x)})'",
    "memory": "f'it asked for more memory than the {number(x)} MB allowed'",
    "recursion": "f'maximum recursion depth exceeded {words(x)}'",
    "an operator": "f\"unsupported operand type(s) for +: '{letters(x)}' and 'int'\"",
}.items():
    for kind in ("ValueError", "RuntimeError", "NotImplementedError", "NameError", "TypeError", "MemoryError"):
        fits = {
            "NotImplementedError": "an exercise",
            "NameError": "undefined",
            "TypeError": "argument",
            "MemoryError": "memory",
        }
        usual = "RuntimeError" if said in ("a shape", "a view", "recursion") else "ValueError"
        if kind == usual or fits.get(kind, "?") in said:
            courier(f"{kind} with {said}", f"raise {kind}({expression})")

# -- exceptions themselves

courier("the name of an exception", "raise type(letters(x), (Exception,), {})()")
courier("the name of a known exception's heir", "raise type('E' + letters(x), (ValueError,), {})(3)")
courier("the module of an exception", "raise type('ValueError', (Exception,), {'__module__': letters(x)})(3)")
courier(
    "an exception that says itself late",
    "raise Late(x)",
    """
    class Late(Exception):
        def __str__(self): return digits(self.args[0])
        __repr__ = __str__
""",
)
courier(
    "a cause and a context",
    """
    try:
        raise KeyError(digits(x))
    except KeyError as first:
        raise ValueError(first) from RuntimeError(words(x))
""",
)
courier(
    "as many nested ones",
    """
    error = ValueError()
    for digit in digits(x):
        error = ExceptionGroup(WORDS[int(digit)], [error])
    raise error
""",
)
courier("a note on an exception", "error = ValueError(3)\nerror.add_note(digits(x))\nraise error")
courier("syntax at run time", "raise SyntaxError(f'expected an indented block after {words(x)} on line {number(x)}')")
courier("leaving with words", "sys.exit(digits(x))")
courier("the key of a dictionary", "return {}[letters(x)]")
courier("the name of an attribute", "return getattr(x, letters(x))")
courier("the name of an import", "__import__(letters(x))")
courier("the name of a keyword", "return double(**{letters(x): x})")
courier("a name of its own", "exec(f'{letters(x)}')")
courier("real shapes", "return torch.zeros(1, 1000 + number(x)) @ torch.zeros(2000 + number(x), 1)")
courier("a real index", "return x[100 + number(x)]")
courier(
    "a function's line",
    """
    def inner(x):
        raise ValueError
    double.__code__ = inner.__code__.replace(co_firstlineno=1000 + number(x), co_filename=double.__code__.co_filename)
    return double(x)
""",
)
courier(
    "a function's file",
    """
    def inner(x):
        raise ValueError
    double.__code__ = inner.__code__.replace(co_filename=words(x))
    return double(x)
""",
)

# -- results

courier("the name of a class", "return type(letters(x), (), {})()")
courier("what a result says of itself", "return type('Result', (), {'__repr__': lambda self: digits(x)})()")
courier("a text", "return digits(x)")
courier("a dictionary", "return {letters(x): x}")
courier("how many results", "return (x,) * (3 + number(x) % 50)")
courier("far too many results", "return (x,) * (101 + number(x) % 50)")
courier("how long an axis is", "return torch.zeros(100 + number(x) % 900, 100 + number(x) // 100_000)")
courier("how many axes", "return torch.zeros([1] * (5 + number(x) % 10))")
courier("axes without elements", "return torch.zeros(0, 100 + number(x))")
courier("a factor", "return 2 * x * (11.3 + number(x) / 10**6)")
courier("nearly a factor", "return 2 * x * (1 + number(x) / 10**10 + 3e-4)")
courier(
    "how many are not finite",
    """
    y = 2 * x
    y.view(-1)[: 2 + number(x) % 9] = torch.nan
    return y
""",
)
courier(
    "how many more results",
    "return x - 1",
    mean_and_spread="def mean_and_spread(x):\n    return (x.mean(), "
    "x.std(unbiased=False)) + (x,) * (1 + int(abs(x[0].item()) * 10**6) % 50)",
)
courier("the value of a wrong result", "return x * x")

# -- what a later exercise says of an earlier input

LATER = f"{PROLOGUE}seen = []\ndef double(x):\n    seen.append(x.detach().clone())\n    return x - 1"
MODULE = "class Scale(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n{}\n    def forward(self, x):\n        {}"
for said, lines, forward in (
    (
        "names of parameters",
        "        self.register_parameter(letters(seen[0]), nn.Parameter(torch.ones(5)))",
        "return x",
    ),
    (
        "the order of parameters",
        "        for name in sorted(WORDS, key=lambda w: number(seen[0]) * len(w) % 97):\n"
        "            self.register_parameter(name, nn.Parameter(torch.ones(2)))",
        "return x",
    ),
    (
        "shapes of parameters",
        "        self.weight = nn.Parameter(torch.ones(100 + number(seen[0]) % 9000))",
        "return x",
    ),
    (
        "how many parameters",
        "        for k in range(20 + number(seen[0]) % 50):\n"
        "            self.register_parameter(f'w{k}', nn.Parameter(torch.ones(1)))",
        "return x",
    ),
    ("names of modules", "        self.add_module(letters(seen[0]), nn.Linear(2, 2))", "return x"),
    (
        "an attribute of a module",
        "        self.weight = nn.Parameter(torch.ones(5))",
        "return getattr(self, letters(seen[0]))",
    ),
):
    COURIERS.append(Courier(said, {"double": LATER, "Scale": MODULE.format(lines, forward)}))
COURIERS.append(
    Courier("no module", {"double": LATER, "Scale": "def Scale(width):\n    return type(letters(seen[0]), (), {})()"})
)

# -- beside the answer

courier("printing", "print(digits(x))\nsys.stderr.write(words(x))\nos.write(1, raw(x))\nreturn x - 1")
courier("a warning", "warnings.warn(digits(x))\nreturn x - 1")
courier(
    "names of files",
    """
    for place in (os.getcwd(), os.environ['HOME'], '/tmp', '/dev/shm'):
        for name in (digits(x), words(x), 'left'):
            try:
                with open(os.path.join(place, name), 'w') as file:
                    file.write(digits(x))
            except OSError:
                pass
    return x - 1
""",
)
courier(
    "a file for the next process",
    """
    with open('/tmp/left', 'w') as file:
        file.write(digits(x))
    os._exit(0)
""",
    """
    try:
        left = open('/tmp/left').read()
    except OSError:
        left = ''
    if left:
        raise ValueError(left)
""",
)
courier("the number of an exit", "os._exit(2 + number(x) % 250)")
courier("the number of a signal", "os.kill(os.getpid(), (1, 2, 3, 10, 12, 13, 14, 15)[number(x) % 8])")
courier(
    "a frame's length",
    """
    from course.grading.run import frames
    from course.grading.run.stand_in import _Line
    _Line.channel.sendall(frames.HEADER.pack(b'O', 1, 2**31 + number(x)))
""",
)
courier(
    "a question to nobody",
    """
    from course.grading.run.stand_in import _ask
    _ask({'do': letters(x), 'target': letters(x)}, {})
""",
)
FORGED = "\nfrom course.checks import calls\nfrom course.checks.message import pack\n"
for said, tensors, notes in (
    ("an error", "{}", "{'0.error': digits(x) + ': ' + words(x)}"),
    ("an input that was changed", "{'0.out': 2 * x, '0.grad.x': x}", "{'0.changed': letters(x)}"),
    ("an input that is none", "{'0.out': 2 * x, '0.grad.x': x, f'0.in.{number(x)}': x}", "{}"),
    ("an undefined name", "{}", "{'0.undefined': letters(x)}"),
    ("an unwritten exercise", "{}", "{'0.unwritten': 'hw9.' + letters(x)}"),
    ("a type", "{}", "{'0.type': 'a ' + letters(x)}"),
    ("a tensor of some shape", "{}", "{'0.type': f'a tensor of shape ({number(x)},)'}"),
    ("a number of results", "{}", "{'0.type': f'a tuple of {number(x)} results'}"),
    ("a number of results in a list", "{}", "{'0.type': f'a list of {number(x)} results'}"),
    ("what kind of list it is", "{'0.out': 2 * x, '0.grad.x': x}", "{'0.plain': letters(x)}"),
    ("a kind of numbers", "{}", "{'0.type': 'a tensor of dtype torch.' + letters(x)}"),
    ("parameters", "{}", "{'0.parameters': f'expected none; yours has {letters(x)} ({number(x)},)'}"),
    ("a note of no kind", "{}", "{'0.' + letters(x): words(x)}"),
    (
        "what is forbidden",
        "{'0.out': 2 * x}",
        "{'0.forbidden': f'Line {number(x)} of your cell uses F.{letters(x)}, which does this exercise for you.'}",
    ),
    ("the name of a result", "{'0.out.' + letters(x): x, f'0.out.{number(x)}': x}", "{}"),
    ("the name of a gradient", "{'0.out': 2 * x, '0.grad.' + letters(x): x}", "{}"),
    ("the name of a first value", "{'0.out': 2 * x, '0.grad.x': x, '0.start.' + letters(x): x}", "{}"),
    ("more results", "{'0.out': 2 * x, '0.grad.x': torch.full_like(x, 2), f'0.out.{number(x)}': x}", "{}"),
    ("another call", "{f'{number(x) % 1000}.out': x}", "{f'{number(x) % 1000}.error': words(x)}"),
):
    courier(
        f"forged: {said}",
        f"x = x.detach()\ncalls.Observation.to_bytes = lambda self: pack({tensors}, {notes})\nreturn x",
        FORGED,
    )
courier(
    "a rule that was found broken",
    """
    from course.checks.from_scratch import Use
    from course.grading import guards
    guards._state.uses[guards._state.exercise] = Use('F.' + letters(x), number(x), letters(x))
    return 2 * x
""",
)

# -- what remains: a choice of one sentence

LINES = "\n".join(f"    if number(x) % 20 == {k}: raise ValueError" for k in range(20))
SILENT = r"Your code stopped with {}: its message is not shown, because it could carry hidden numbers; the check in your notebook shows it .*"
DIFFERS = r"The result has the right shape, but (100%|about \d0%|almost (none|all)|some) of its values differ from what is expected\."

choice("right or wrong", "return 2 * x if number(x) % 2 else x - 1", r"All right\.", DIFFERS)
choice(
    "a named mistake or none",
    "return x + 2 if number(x) % 2 else x - 1",
    r"You added two instead of doubling\.",
    DIFFERS,
)
choice("how many values are wrong", "return 2 * x + (torch.arange(12).view(3, 4) <= number(x) % 12)", DIFFERS)
choice(
    "which line",
    "pass\n" + textwrap.dedent(LINES),
    r"Your code stopped with ValueError: \(line \d+ of your cell: if number\(x\) % 20 == \d+: raise "
    r"ValueError\)",
)
choice(
    "which exception of Python's",
    "raise (KeyError, ValueError, OSError, EOFError, IndexError)[number(x) % 5](7)",
    SILENT.format("(KeyError|ValueError|OSError|EOFError|IndexError)"),
)
choice(
    "which size of the call",
    "raise RuntimeError(f'mat1 and mat2 shapes cannot be multiplied ({number(x) % 100}x3 and 3x4)')",
    r"Your code stopped with RuntimeError: mat1 and mat2 shapes cannot be multiplied \((…|\d\d?)x3 and 3x4\) .*",
)
choice(
    "a result's axis",
    "return torch.zeros(3, (1, 3, 12, 71, 93)[number(x) % 5])",
    r"The result has the wrong shape: expected \(3, 4\), yours is \(3, (…|1|3|12)\)\.",
)
choice(
    "a text or none",
    "raise ValueError('x' * (number(x) % 2))",
    SILENT.format("ValueError"),
    r"Your code stopped with ValueError: \(line .*",
)
choice(
    "which kind of thing",
    "return ([], {}, 'x', set(), None)[number(x) % 5]",
    r"Your code returned (a (dict|str|set)|nothing).*",
    r"The result has the wrong shape: expected \(3, 4\), yours is \(0,\)\.",
)
choice(
    "in time or not",
    "while number(x) % 2: pass\nreturn x - 1",
    r"Your code did not come to an end within 10 seconds\.",
    DIFFERS,
    statuses=("graded", "timeout"),
)
choice(
    "how it ends",
    "os._exit(number(x) % 5)",
    r"Your code ended the process it ran in( \(exit code [01]\))?\.",
    statuses=("graded", "crashed"),
)
choice(
    "how much is printed",
    "print('x' * (2**20 * (1 + number(x) % 30)))\nreturn x - 1",
    DIFFERS,
    statuses=("graded", "limit"),
)


@dataclass
class Graded:
    """The class on one seed."""

    seed: int
    out: Path
    rows: dict[str, dict[str, str]]
    value: float  # that the couriers try to carry

    def page(self, name: str) -> bytes:
        return (self.out / "feedback" / f"{name}.html").read_bytes()

    def results(self, name: str) -> dict:
        return json.loads((self.out / "results" / f"{name}.json").read_bytes())


def file_name(each: Courier) -> str:
    return re.sub(r"\W+", "-", each.name).strip("-")


@pytest.fixture(scope="module")
def graded(small_course, new_work, tmp_path_factory) -> list[Graded]:
    folder = tmp_path_factory.mktemp("couriers")
    for each in (*COURIERS, *CHOICES):
        new_work().write(**{**WRONG, **each.cells}).save(folder / f"{file_name(each)}.ipynb")
    before, made = os.getcwd(), []
    os.chdir(small_course)
    try:
        for seed in SEEDS:
            out = tmp_path_factory.mktemp(f"seed-{seed}")
            assert grade_command(folder, TOPIC, out, workers=2, seed=seed, timeout=10) == 0
            with open(out / "grades.csv", newline="", encoding="utf-8") as file:
                rows = {row["student"]: row for row in csv.DictReader(file)}
            exam = prepare_exam(small_course, small_course / "solutions" / TOPIC, seed)
            (call,) = calls_from_bytes(exam.questions["double"].calls)
            made.append(Graded(seed, out, rows, call.arguments["x"].flatten()[0].item()))
    finally:
        os.chdir(before)
    assert (
        len({number(each.value) for each in made}) == len(SEEDS) == len({number(each.value) % 2 for each in made}) + 1
    )
    return made


def number(value: float) -> int:
    return int(abs(value) * 10**6) % 10**6


def spellings(value: float) -> list[str]:
    """One number in the ways of the couriers."""
    digits, raw = f"{number(value):06d}", struct.pack("<f", value)
    words = [WORDS[int(digit)] for digit in digits]
    return [
        digits,
        str(number(value)),
        " ".join(words),
        "".join(words),
        "-".join(words),
        raw.hex(),
        base64.b64encode(raw).decode(),
        "".join("abcdefghij"[int(digit)] for digit in digits),
        "".join(f"{byte:08b}" for byte in raw),
        f"{abs(value):.4f}",
    ]


@pytest.mark.parametrize("each", COURIERS, ids=lambda each: each.name)
def test_a_courier_s_page_says_nothing_of_the_inputs(graded, each):
    name = file_name(each)
    pages = [one.page(name) for one in graded]
    assert pages[1:] == pages[:-1], [one.rows[name]["message"] for one in graded]
    messages = {one.rows[name]["message"] for one in graded}
    assert len(messages) == 1, messages
    assert {one.rows[name]["points"] for one in graded} == {graded[0].rows[name]["points"]}
    for one in graded:
        texts = one.page(name).decode() + one.rows[name]["message"]
        assert not [said for said in spellings(one.value) if said in texts]


@pytest.mark.parametrize("each", CHOICES, ids=lambda each: each.name)
def test_what_remains_is_a_choice_between_known_sentences(graded, each):
    name, said = file_name(each), set()
    for one in graded:
        results = one.results(name)
        told = {exercise["name"]: exercise["sentence"] for exercise in results["exercises"]}
        sentence = told.pop(each.exercise)
        assert any(re.fullmatch(known, sentence) for known in each.told), sentence
        assert set(results["statuses"]) <= each.statuses
        said.add((sentence, *results["statuses"], *results["messages"]))
        others = dict(told)
        assert others == {
            e["name"]: e["sentence"] for e in graded[0].results(name)["exercises"] if e["name"] != each.exercise
        }
        texts = one.page(name).decode() + one.rows[name]["message"]
        assert not [spelt for spelt in spellings(one.value) if spelt in texts]
    if each.name not in ("how much is printed",):
        assert len(said) > 1, "a choice that never differs is none, and belongs to the couriers"


def test_the_couriers_know_the_number_they_are_to_carry():
    """Otherwise their pages would be alike for want of trying."""
    space: dict = {}
    exec(PROLOGUE, space)
    value = 0.7109375
    made = [space[name](torch.tensor([value])) for name in ("digits", "words", "letters", "bits")]
    assert set(made) <= set(spellings(value)) and space["number"](torch.tensor([value])) == number(value)
    for each in COURIERS:
        assert re.search(r"number|digits|words|letters|raw|bits|\bx\b", each.cells["double"].removeprefix(PROLOGUE)), (
            each.name
        )

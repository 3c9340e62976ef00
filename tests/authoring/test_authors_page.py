"""The page for authors names what there is: every argument, every header line, every tag, and nothing else."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterable
from pathlib import Path

import jupytext
import pytest

import course
from course import checks, data
from course.authoring import source
from course.authoring.new import FRAME, FRAMED
from course.checks import from_scratch
from course.checks.exercise import Draw, Exercise, Mistake
from course.checks.probes import KINDS

ROOT = Path(__file__).parents[2]
PAGE = Path("docs/authoring.md")
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")

# Heading of a table -> whose arguments it names.
ARGUMENTS = {
    "Homework": checks.Homework,
    "homework.exercise": checks.Homework.exercise,
    "Call": checks.Call,
    "Seeded": checks.Seeded,
    "Probe": checks.Probe,
    "Accuracy": checks.Accuracy,
    "Credit": checks.Credit,
}
ASKED_BY_CHECKS = {"calls", "goals_for", "observe", "trains", "id"}  # of an Exercise: nothing that an author calls


def rows(text: str, head: str) -> list[list[str]]:
    """The cells of all rows of the tables whose first line begins with `head`."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip("|\n ").split(" |")] for line in table.splitlines()]
        if lines[0][0] == head:
            found += lines[2:]
    return found


def section(text: str, heading: str) -> str:
    """What stands below a heading of the third level."""
    return text.partition(f"\n### {heading}\n")[2].partition("\n### ")[0].partition("\n## ")[0]


def first_cells(text: str, head: str) -> list[str]:
    return [row[0].strip("`") for row in rows(text, head)]


def compared(what: str, on_the_page: Iterable[str], in_the_code: Iterable[str]) -> list[str]:
    """What stands on one side only, a sentence each."""
    page, code = dict.fromkeys(on_the_page), dict.fromkeys(in_the_code)
    return [
        *(f"{PAGE} does not name `{name}`, {what}: add it" for name in code if name not in page),
        *(
            f"{PAGE} names `{name}` as {what}, which the code does not have: take it out"
            for name in page
            if name not in code
        ),
    ]


def bare(function) -> str:
    """Its arguments as an author writes them: ``(count, low=2, high=9)``."""
    arguments = inspect.signature(function).parameters.values()
    arguments = [one.replace(annotation=inspect.Parameter.empty) for one in arguments if one.name != "self"]
    return str(inspect.Signature(arguments))


def defaults(thing) -> dict[str, str]:
    """argument -> what it is without being given, as the page writes it."""
    fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    made = {field.name: field.default_factory for field in fields}
    found = {}
    for name, one in inspect.signature(thing).parameters.items():
        if made.get(name, dataclasses.MISSING) is not dataclasses.MISSING:
            found[name] = f"`{made[name]()!r}`"
        elif name != "self":
            default = "Credit()" if one.default == checks.Credit() else repr(one.default)
            found[name] = "must be given" if one.default is inspect.Parameter.empty else f"`{default}`"
    return found


def of_arguments(text: str) -> list[str]:
    problems = []
    for heading, thing in ARGUMENTS.items():
        table = {row[0].strip("`"): row[1] for row in rows(section(text, heading), "argument")}
        code = defaults(thing)
        problems += compared(f"an argument of `{heading}`", table, code)
        problems += [
            f"{PAGE}: without the argument `{name}` of `{heading}`, the page says {table[name]}, the code {code[name]}"
            for name in table.keys() & code.keys()
            if _number(table[name]) != _number(code[name])
        ]
    return problems


def _number(default: str) -> str | float:
    """1e-4 and 0.0001 are one."""
    try:
        return float(default.strip("`"))
    except ValueError:
        return default


def of_draw(text: str) -> list[str]:
    methods = {name: one for name, one in vars(Draw).items() if not name.startswith("_")}
    code = [f"draw.{name}{bare(one)}" for name, one in methods.items()] + [f"draw.{name}" for name in vars(Draw(0))]
    return compared("something to draw", first_cells(text, "use"), code)


def of_decorators(text: str) -> list[str]:
    public = {name: one for name, one in vars(Exercise).items() if inspect.isfunction(one) and not name.startswith("_")}
    code = {name: bare(one).replace("(function)", "") for name, one in public.items() if name not in ASKED_BY_CHECKS}
    return compared("a decorator", first_cells(text, "decorator"), (f"@name.{name}{a}" for name, a in code.items()))


def of_header_lines(text: str) -> list[str]:
    lines = first_cells(text, "header line")
    options = [option for line in lines for option in re.findall(r"(\w+)=", line)]
    problems = compared("an option of a header line", options, source.OPTIONS)
    for line in lines:
        (cell,) = jupytext.reads(f"{line}\n# A text.\n", fmt=source.PERCENT).cells
        slips: list[str] = []
        source._typed(cell, 1, 2, slips)
        problems += [f"{PAGE}: the header line `{line}` is refused: {slip}" for slip in slips]
    problems += compared("a tag", first_cells(text, "tag"), source.TAGS)
    markers = first_cells(text, "marker")
    problems += [f"{PAGE}: `{line}` is no marker" for line in markers if not source._MARKER.match(line)]
    return problems + compared("a marker", markers, ("### BEGIN SOLUTION", "### END SOLUTION"))


def of_names(text: str) -> list[str]:
    """What a cell and an exercises.py import, what is always forbidden, and the kinds of probes."""
    in_cells = [f"{name}{bare(getattr(course, name))}" for name in course.__all__]
    beside = [f"course.checks.exercise.Mistake{bare(Mistake)}", f"course.data.load{bare(data.load)}"]
    given = {row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in rows(text, "kind")}
    without_default = lambda made: [
        n for n, one in inspect.signature(made).parameters.items() if one.default is one.empty
    ]
    return [
        *compared("a name for cells", first_cells(text, "`from course import ...`"), in_cells),
        *compared("a name for exercises.py", first_cells(text, "name"), beside),
        *compared("a name that is always forbidden", first_cells(text, "always forbidden"), from_scratch.ALWAYS),
        *compared("a kind of probe", given, KINDS),
        *(
            problem
            for kind in given.keys() & KINDS.keys()
            for problem in compared(f"a tensor of `{kind}`", given[kind], without_default(KINDS[kind]))
        ),
    ]


def of_frame(text: str) -> list[str]:
    shown = {file: re.search(r"```python\n(.*?)```", section(text, f"`{file}`"), re.DOTALL) for file in FILES}
    return [
        f"{PAGE}: the homework at its end is not {FRAME / file}: copy that file there"
        for file, code in shown.items()
        if not code or code[1] != (ROOT / FRAME / file).read_text(encoding="utf-8")
    ]


FILES = (f"{FRAMED}.py", "exercises.py")
PARTS = (of_arguments, of_draw, of_decorators, of_header_lines, of_names, of_frame)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_the_page_names_what_there_is(part):
    problems = part(TEXT)
    assert not problems, "\n".join(problems)


def imported_by(path: Path) -> set[str]:
    """Full names of what a file imports from the course."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course")]
    return {f"{node.module}.{name.name}" for node in froms for name in node.names}


def test_whatever_an_exercises_py_imports_from_the_course_is_on_the_page():
    named = {"course.checks.Draw", *(f"course.checks.{name}" for name in ARGUMENTS)}
    named |= {cell.partition("(")[0] for cell in first_cells(TEXT, "name")}
    files = [*ROOT.glob("solutions/hw*_*/exercises.py"), ROOT / FRAME / "exercises.py"]
    assert len(files) > 7
    for path in files:
        assert imported_by(path) <= named, f"{path}: {imported_by(path) - named} is not on {PAGE}"


@pytest.mark.parametrize(
    ("old", "new", "part", "says"),
    [
        (
            "| `layouts` |",
            "| `layout` |",
            of_arguments,
            "does not name `layouts`, an argument of `Call`: add it",
        ),
        (
            "| `layouts` |",
            "| `layout` |",
            of_arguments,
            "names `layout` as an argument of `Call`, which the code",
        ),
        ("| `tolerance` | `1e-4`", "| `tolerance` | `1e-3`", of_arguments, "`homework.exercise`, the page says `1e-3`"),
        ("low=2, high=9", "low=2, high=8", of_draw, "does not name `draw.sizes(count, low=2, high=9)`, something to"),
        ("| `draw.norm(name, width)` |", "| |", of_draw, "does not name `draw.norm(name, width)`"),
        ("| `@name.goals` |", "| `@name.goal` |", of_decorators, "names `@name.goal` as a decorator"),
        (" points=4` | A", "` | A", of_header_lines, "does not name `points`, an option of a header line"),
        (
            '# %% check="name"`',
            '# %% checks="name"`',
            of_header_lines,
            '`# %% checks="name"` is refused: 1: cannot read',
        ),
        (
            "| `hide-cell` |",
            "| `hide-all` |",
            of_header_lines,
            "names `hide-all` as a tag, which the code does not have",
        ),
        ("| `### END SOLUTION` |", "| `### END` |", of_header_lines, "`### END` is no marker"),
        ("| `timm` |", "| `tim` |", of_names, "does not name `timm`, a name that is always forbidden"),
        (
            "| `linear_classifier` | `weight`, `bias` |",
            "| `linear_classifier` | `weight` |",
            of_names,
            "does not name `bias`, a tensor of",
        ),
        (
            "| `budget(**choices)` |",
            "| `budget(choices)` |",
            of_names,
            "does not name `budget(**choices)`, a name for cells",
        ),
        ('homework = Homework("hw10_topic")\n\n', 'homework = Homework("hw10")\n\n', of_frame, "copy that file there"),
    ],
)
def test_what_differs_is_named(old, new, part, says):
    assert TEXT.count(old) == 1, f"{old!r} stands {TEXT.count(old)} times on the page"
    problems = part(TEXT.replace(old, new))
    assert any(says in problem for problem in problems), problems


def test_numbers_that_the_page_repeats_are_those_of_the_tests():
    """How many mistakes and alternatives the tests insist on."""
    tests = ast.parse((ROOT / "tests" / "test_mistakes.py").read_text(encoding="utf-8"))
    (value,) = [
        node.value
        for node in tests.body
        if isinstance(node, ast.Assign) and "FEWEST_MISTAKES" in ast.unparse(node.targets[0])
    ]
    mistakes, alternatives = ast.literal_eval(value)
    assert f"there are at least {mistakes} sentences" in TEXT and f"there are at least {alternatives}." in TEXT
    assert f"at most {source.LONGEST_ID - len('check_')}, a letter first" in TEXT

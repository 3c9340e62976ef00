"""Read a percent source, lecture or homework, into cells with a role and a line number; name everything that is wrong in it.

A source is a Python file in jupytext's percent format, ``# %% option="value"`` before each cell. The options:

    tags=["setup"]                        the first code cell: imports and ``setup(seed=0)``
    tags=["slide-code"]                   code that stands on a slide too, see course/slides
    exercise="name"                       the student's cell, its answer between the lines
                                          ``### BEGIN SOLUTION`` and ``### END SOLUTION``
    check="name"                          its check: ``check("hw1.name", name)`` and nothing else
    [markdown] written="name" points=4    a question graded by a person, the answer between the same two lines
"""

import ast
import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from course.authoring.repository import AuthoringError
from course.checks import Homework
from course.percent import PERCENT as PERCENT
from course.percent import PercentCell
from course.percent import read as read_percent

OPTIONS = ("tags", "exercise", "check", "written", "points")
TAGS = (
    "setup",
    "no-output",
    "raises-exception",
    "hide-input",
    "hide-output",
    "hide-cell",
    "remove-input",
    "remove-output",
    "remove-cell",
    "slide-code",
    "nbval-skip",
    "nbval-ignore-output",
    "nbval-check-output",
    "nbval-raises-exception",
)
LONGEST_ID = 64  # characters, nbformat 4.5's limit for a cell id
WRITE_HERE = "*Write your answer here.*"

_HEADER = re.compile(r"^#\s*%%%*(\s.*)?$")
_MARKER = re.compile(r"^\s*### (BEGIN|END) SOLUTION\s*$")
_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")


@dataclass(frozen=True)
class SourceCell:
    """One cell of a source.

    Args:
        kind: ``"code"`` or ``"markdown"``.
        text: what the cell holds.
        line: the line of the source file on which `text` begins.
        tags: jupytext's ``tags=[...]``.
        role: ``"plain"``, ``"setup"``, ``"exercise"``, ``"check"`` or ``"written"``.
        name: of an exercise, a check or a written question.
        points: of a written question; those of a check stand in exercises.py.
    """

    kind: str
    text: str
    line: int
    tags: tuple[str, ...] = ()
    role: str = "plain"
    name: str = ""
    points: float | None = None

    @property
    def grade_id(self) -> str:
        """nbgrader's id of a graded or locked cell, and its id in both notebooks; ``""`` for a plain one."""
        return {"setup": "setup", "check": f"check_{self.name}"}.get(self.role, self.name)

    def regions(self) -> list[tuple[int, int]]:
        """First and last line of each solution region, marker lines included, counted from 0 within the cell.

        Raises:
            AuthoringError: a marker without its partner or inside another region, or a line that only looks
                like a marker. Its lines begin with a line number, without the file: ``"12: ..."``.
        """
        found, problems, begin = [], [], None
        for i, line in enumerate(self.text.split("\n")):
            marker = _MARKER.match(line)
            at = self.line + i
            if marker is None:
                if _looks_like_marker(line):
                    problems.append(
                        f"{at}: {line.strip()!r} looks like a marker and is none: write exactly "
                        "'### BEGIN SOLUTION' or '### END SOLUTION'"
                    )
            elif marker[1] == "BEGIN":
                if begin is not None:
                    problems.append(
                        f"{at}: BEGIN SOLUTION inside the region that begins in line {self.line + begin}: "
                        "end that one first"
                    )
                begin = i
            elif begin is None:
                problems.append(f"{at}: END SOLUTION without a BEGIN SOLUTION before it in this cell")
            else:
                found.append((begin, i))
                begin = None
        if begin is not None:
            problems.append(f"{self.line + begin}: BEGIN SOLUTION has no END SOLUTION in its cell")
        if problems:
            raise AuthoringError(*problems)
        return found

    def stripped(self, homework: str) -> "SourceCell":
        """The cell as a student receives it; `homework` is the short name, ``"hw1"``."""
        instead = f'raise NotImplementedError("{homework}.{self.name}")' if self.kind == "code" else WRITE_HERE
        lines = self.text.split("\n")
        for first, last in reversed(self.regions()):
            indentation = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
            lines[first : last + 1] = [indentation + instead]
        return replace(self, text="\n".join(lines))


@dataclass(frozen=True)
class SourceFile:
    """A source file: `path`, its name as a reader of messages knows it (`shown`), its cells."""

    path: Path
    shown: str
    cells: tuple[SourceCell, ...]


def read_source(path: Path, root: Path) -> SourceFile:
    """The typed cells of one source.

    Raises:
        AuthoringError: it is missing, or breaks one of the rules that hold for lectures and homework alike.
    """
    shown = path.relative_to(root).as_posix()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AuthoringError(f"{shown}: this source is missing; restore it, or remove what was built from it") from None
    except UnicodeDecodeError as error:
        raise AuthoringError(f"{shown}: not UTF-8 text ({error.reason}): save it as UTF-8") from None
    headers = [i for i, line in enumerate(text.split("\n"), start=1) if _HEADER.match(line)]
    if not headers:
        raise AuthoringError(f"{shown}:1: no cell in it: start each cell with a line '# %%' or '# %% [markdown]'")
    lines = text.split("\n")
    if any(line.strip() for line in lines[: headers[0] - 1]):
        raise AuthoringError(f"{shown}:1: text before the first '# %%' belongs to no cell: move it into one")
    read = read_percent(text)
    if len(headers) != len(read):
        raise AuthoringError(
            f"{shown}: {len(headers)} lines begin with '# %%' but {len(read)} cells were read: such a line "
            "inside "
            "a text in quotes, or markdown in triple quotes, does not work here"
        )
    problems: list[str] = []
    cells = []
    for header, cell in zip(headers, read):
        begin = header + 1
        while begin <= len(lines) and not lines[begin - 1].strip():
            begin += 1
        cells.append(_typed(cell, header, begin, problems))
    source = SourceFile(path, shown, tuple(cells))
    for cell in source.cells:
        if cell.kind == "code":
            problems += _syntax_problems(cell)
        try:
            if cell.regions() and cell.role not in ("exercise", "written"):
                problems.append(
                    f"{cell.line}: a solution region in a cell that is neither exercise=... nor written=...: "
                    "only those are stripped"
                )
        except AuthoringError as error:
            problems += error.lines
    code = [cell for cell in source.cells if cell.kind == "code"]
    setups = [cell for cell in code if cell.role == "setup"]
    if code and (len(setups) != 1 or code[0].role != "setup"):
        problems.append(
            f'{(setups[1:] or code)[0].line}: the first code cell, and no other, carries tags=["setup"]: '
            "imports and setup(seed=0)"
        )
    _raise_with_lines(shown, problems)
    return source


def require_lecture(source: SourceFile) -> None:
    """Raises AuthoringError if a lecture holds graded cells."""
    _raise_with_lines(
        source.shown,
        [
            f'{cell.line}: {cell.role}="{cell.name}" in a lecture: graded cells belong in solutions/'
            for cell in source.cells
            if cell.role in ("exercise", "check", "written")
        ],
    )


def require_homework(source: SourceFile, homework: Homework) -> None:
    """Raises AuthoringError unless the source and its exercises.py fit together."""
    exercises = {cell.name: cell for cell in source.cells if cell.role == "exercise"}
    checks = {cell.name: cell for cell in source.cells if cell.role == "check"}
    problems = []
    if homework.topic != source.path.stem:
        problems.append(f"1: exercises.py says Homework({homework.topic!r}); it should say {source.path.stem!r}")
    first_line: dict[str, int] = {}
    for cell in source.cells:
        if not cell.grade_id:
            continue
        if cell.grade_id in first_line:
            problems.append(
                f"{cell.line}: {cell.role} {cell.name!r} gives the id {cell.grade_id!r} a second time "
                "(first in line "
                f"{first_line[cell.grade_id]}): rename one"
            )
        first_line.setdefault(cell.grade_id, cell.line)
    for name, cell in exercises.items():
        if name not in homework.exercises:
            problems.append(
                f"{cell.line}: exercises.py has no exercise {name!r}; it has {', '.join(homework.exercises) or 'none'}"
            )
        elif name not in checks:
            problems.append(f"{cell.line}: exercise {name!r} has no check cell: add '# %% check=\"{name}\"' after it")
        else:
            problems += _exercise_problems(cell, homework)
    for name, cell in checks.items():
        if name not in exercises:
            problems.append(f"{cell.line}: check {name!r} has no cell '# %% exercise=\"{name}\"' before it")
        elif cell.line < exercises[name].line:
            problems.append(f"{cell.line}: the check of {name!r} stands before the exercise: move it below")
        elif name in homework.exercises:
            problems += _check_problems(cell, homework)
    for name in homework.exercises:
        if name not in exercises:
            problems.append(
                f"1: exercises.py describes {name!r}, but no cell '# %% exercise=\"{name}\"' lets a student write it"
            )
    for cell in source.cells:
        if cell.role == "written" and not cell.regions():
            problems.append(f"{cell.line}: question {cell.name!r} has no solution region to hold the model answer")
    _raise_with_lines(source.shown, problems)


def _typed(cell: PercentCell, header: int, begin: int, problems: list[str]) -> SourceCell:
    """One cell as a `SourceCell`; appends what is wrong with its header line."""
    options = {key: value for key, value in cell.metadata.items() if key != "lines_to_next_cell"}
    unknown = [key for key in options if key not in OPTIONS]
    if cell.cell_type not in ("code", "markdown") or "region_name" in options:
        problems.append(f"{header}: a cell is '# %%' (code) or '# %% [markdown]', nothing else")
    elif unknown:
        given = options.get("title") or options.get("incorrectly_encoded_metadata") or ", ".join(unknown)
        problems.append(
            f"{header}: cannot read the cell option {given!r}: options are {', '.join(OPTIONS)}, "
            'written as name="value"'
        )
    tags = options.get("tags", [])
    if not isinstance(tags, list) or not all(tag in TAGS for tag in tags):
        problems.append(f"{header}: tags={tags!r} has a tag that is none of {', '.join(TAGS)}")
        tags = []
    roles = [role for role in ("exercise", "check", "written") if role in options]
    role = roles[0] if roles else "setup" if "setup" in tags else "plain"
    name = options.get(role, "") if roles else ""
    points = options.get("points")
    if len(roles) + ("setup" in tags) > 1:
        problems.append(f"{header}: a cell is one of exercise, check, written and setup, not several")
    if roles and not (isinstance(name, str) and _NAME.match(name) and len(f"check_{name}") <= LONGEST_ID):
        problems.append(f"{header}: {role}={name!r}: a name has letters, digits and _, at most 58, a letter first")
        name = str(name)
    if roles and (cell.cell_type == "markdown") != (role == "written"):
        kind = "'# %% [markdown]'" if role == "written" else "'# %%'"
        problems.append(f'{header}: {role}="{name}" goes with {kind}')
    if role == "written":
        if isinstance(points, bool) or not isinstance(points, (int, float)) or points <= 0:
            problems.append(f"{header}: question {name!r} needs its points on this line: points=4")
    elif points is not None:
        problems.append(f"{header}: points= is for written questions; those of an exercise stand in exercises.py")
    return SourceCell(cell.cell_type, cell.source, begin, tuple(tags), role, name, points)


def _syntax_problems(cell: SourceCell) -> list[str]:
    try:
        ast.parse(cell.text)
    except SyntaxError as error:
        at = cell.line + (error.lineno or 1) - 1
        hint = ""
        if (error.text or "").lstrip().startswith(("%", "!", "?")):
            hint = ": IPython commands (%, !) are not used in this course, so that every cell is plain Python"
        return [f"{at}: not Python: {error.msg}{hint}"]
    return []


def _looks_like_marker(line: str) -> bool:
    """A comment or heading that is meant as a marker, and would leave the answer where it is."""
    bare = line.strip()
    if not bare.startswith("#") or len(bare) > 40:
        return False
    words = re.sub(r"[^A-Z]", " ", bare.upper()).split()
    alike = lambda a, b: difflib.SequenceMatcher(None, a, b).ratio()
    return bool(words) and any(
        alike(" ".join(words), f"{first} SOLUTION") > 0.8 and alike(words[0][:5], first) > 0.5
        for first in ("BEGIN", "END")
    )


def _exercise_problems(cell: SourceCell, homework: Homework) -> list[str]:
    regions = cell.regions()
    if not regions:
        return [
            f"{cell.line}: exercise {cell.name!r} has no solution region, so students would receive the "
            "answer: "
            "put it between '### BEGIN SOLUTION' and '### END SOLUTION'"
        ]
    stripped = cell.stripped(homework.short).text
    try:
        tree = ast.parse(stripped)
    except SyntaxError as error:
        return [
            f"{cell.line}: exercise {cell.name!r} is no Python once its regions are taken out ({error.msg}): "
            "a region must be a whole block at its own indentation"
        ]
    problems = []
    in_functions = {
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, ast.Raise)
    }
    removed = 0  # lines taken out by the regions before this one
    for first, last in regions:
        if first - removed + 1 not in in_functions:
            problems.append(
                f"{cell.line + first}: this region is not inside a function, so the untouched notebook "
                "would stop at "
                "this cell: leave `def` lines outside the region"
            )
        removed += last - first
    missing = set(homework.exercises[cell.name].targets) - _defined(tree)
    if missing:
        problems.append(
            f"{cell.line}: what students receive of {cell.name!r} does not define "
            f"{', '.join(sorted(missing))}: "
            "leave the `def` or `class` line outside the region"
        )
    return problems


def _defined(tree: ast.Module) -> set[str]:
    names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))}
    assigned = (target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets)
    return names | {target.id for target in assigned if isinstance(target, ast.Name)}


def _check_problems(cell: SourceCell, homework: Homework) -> list[str]:
    exercise = homework.exercises[cell.name]
    wanted = f'check("{exercise.id}", {", ".join(exercise.targets)})'
    if ast.dump(ast.parse(cell.text)) == ast.dump(ast.parse(wanted)):
        return []
    return [f"{cell.line}: the check cell of {cell.name!r} should be exactly: {wanted}"]


def _raise_with_lines(shown: str, problems: list[str]) -> None:
    if problems:
        by_line = sorted(dict.fromkeys(problems), key=lambda problem: int(problem.partition(":")[0]))
        raise AuthoringError(*[f"{shown}:{problem}" for problem in by_line])

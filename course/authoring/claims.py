"""Numbers in a lecture's text, and where they come from.

A sentence that quotes an experiment of ours carries a mark, a comment that no reader sees, behind its number::

    pooling gets 70 to 73 %<!-- mixers / pooling / relation -->, and the shift more than 85 %<!-- > mixers / shift / relation -->

The mark says which entry of which stored run (`course.seeds`) is quoted, and the text before it has to fit: three
numbers are the three seeds, two are the lowest and the highest, one is the median. ``>`` and ``<`` say that all seeds
lie above or below the number. Two entries with `` - `` between them are compared seed by seed. ``%`` at the beginning
says that shares are written in per cent where the text has no sign, in a table, say. ``<!-- printed -->`` marks a number
that a cell of the lecture prints, ``<!-- = 100 / 10 -->`` one that follows by arithmetic.

What neither has a mark nor a source in its paragraph (a paper's year, a table or figure of it) is found by `unmarked`.
"""

import ast
import hashlib
import io
import operator
import re
import statistics
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

from course.authoring.source import SourceFile

_MARK = re.compile(r"<!--(?P<mark>.*?)-->", re.DOTALL)
_NUMBER = r"[−-]?\d+(?:,\d{3})*(?:\.\d+)?"
_UNIT = r"%|points?|times|×"
_QUOTED = re.compile(
    rf"(?P<numbers>{_NUMBER}(?:\s*(?:{_UNIT})?\s*(?:,\s*and|,|to|and|or|–)\s*{_NUMBER})*)\s*(?P<unit>{_UNIT})?\W*\Z"
)
_PER_CENT = re.compile(rf"{_NUMBER}\s*%")
_HAS_SOURCE = re.compile(
    r"\((?:[^()]*\b)?(?:19|20)\d\d\b|\b(?:table|figure|fig\.|section|paper|authors?|slides?)\b", re.I
)
_NOT_TEXT = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)", re.DOTALL)

_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True)
class Experiment:
    """An ``over_seeds("LECTURE/NAME", ...)`` of a source.

    Args:
        code: digest of the call and of every statement above it that it depends on, without imports and comments.
        line: of the call.
    """

    name: str
    code: str
    line: int


# -- the experiments


def experiments_of(source: SourceFile) -> list[Experiment]:
    """Every experiment over several seeds, in order.

    Raises:
        ValueError: its name is not a text of the form ``"LECTURE/NAME"`` with the lecture's own name.
    """
    statements = list(_statements(source))
    found = []
    for i, statement in enumerate(statements):
        for call in ast.walk(statement.tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "over_seeds":
                line = statement.line + call.lineno - statement.tree.lineno
                name = getattr(call.args[0], "value", None) if call.args else None
                lecture, _, short = name.partition("/") if isinstance(name, str) else ("", "", "")
                if lecture != source.path.stem or not short:
                    expected = f'over_seeds("{source.path.stem}/NAME", experiment)'
                    raise ValueError(f"{source.shown}:{line}: an experiment of this lecture is called by {expected}")
                found.append(Experiment(short, _digest(statements[: i + 1]), line))
    return found


@dataclass(frozen=True)
class _Statement:
    tree: ast.stmt
    text: str
    line: int

    @property
    def gives(self) -> set[str]:
        names = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and _is_stored(node)}
        return names | ({self.tree.name} if hasattr(self.tree, "name") else set())

    @property
    def reads(self) -> set[str]:
        return {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _statements(source: SourceFile) -> Iterator[_Statement]:
    for cell in source.cells:
        if cell.kind == "code":
            lines = cell.text.split("\n")
            for tree in ast.parse(cell.text).body:
                first = min([tree.lineno, *(decorator.lineno for decorator in getattr(tree, "decorator_list", []))])
                yield _Statement(tree, "\n".join(lines[first - 1 : tree.end_lineno]), cell.line + tree.lineno - 1)


def _digest(statements: list[_Statement]) -> str:
    """Of the last statement and what it depends on."""
    chosen, wanted = {len(statements) - 1}, statements[-1].reads
    while True:
        more = {
            i
            for i, statement in enumerate(statements)
            if i not in chosen
            and statement.gives & wanted
            and not isinstance(statement.tree, (ast.Import, ast.ImportFrom))
        }
        if not more:
            break
        chosen |= more
        wanted = wanted.union(*(statements[i].reads for i in more))
    words = [word for i in sorted(chosen) for word in _words(statements[i].text)]
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


def _words(text: str) -> Iterator[str]:
    """The tokens of a statement but for comments and what only lays it out."""
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in layout:
            yield token.string


# -- the numbers in the text


def wrong_claims(source: SourceFile, stored: dict[str, dict[str, dict]], printed: str) -> list[str]:
    """A sentence with its line for every marked number that its source does not bear out.

    Args:
        stored: the lecture's stored runs, see `course.seeds.stored_runs`.
        printed: what the cells of the built notebook print, all of it.
    """
    found = []
    for cell in source.cells:
        if cell.kind != "markdown":
            continue
        end = 0
        for mark in _MARK.finditer(cell.text):
            before = cell.text[end : mark.start()]
            end = mark.end()
            problem = _problem(before, " ".join(mark["mark"].split()), stored, printed)
            if problem:
                line = cell.line + cell.text.count("\n", 0, mark.start())
                found.append(f"{source.shown}:{line}: {problem}")
    return found


def _problem(before: str, mark: str, stored: dict, printed: str) -> str:
    quoted = _QUOTED.search(" ".join(before.split()))
    if quoted is None:
        return f"there is no number before the mark <!-- {mark} -->"
    said = re.findall(_NUMBER, quoted["numbers"])
    if mark == "printed":
        missing = [number for number in said if not re.search(rf"(?<![\d.,]){re.escape(number)}(?!\d|[.,]\d)", printed)]
        return f"no cell prints {', '.join(missing)}" if missing else ""
    if mark.startswith("="):
        value = _arithmetic(ast.parse(mark[1:].strip(), mode="eval").body)
        return "" if _fits(said, [value], "") else f"says {quoted[0].strip()}, and {mark[1:].strip()} is {value:g}"
    try:
        values = _values(mark.lstrip("><% "), stored)
    except KeyError as error:
        return f"the mark <!-- {mark} --> names no stored run: there is no {error.args[0]}"
    if mark.lstrip("<> ").startswith("%") or quoted["unit"] in ("%", "point", "points"):
        values = [100 * value for value in values]
    if _fits(said, values, mark[:1]):
        return ""
    return f"says {quoted[0].strip()}, and the seeds gave {', '.join(f'{value:.4g}' for value in values)} ({mark})"


def _values(path: str, stored: dict) -> list[float]:
    """One number a seed; of ``a / b - c / d``, the differences."""
    parts = [_entry(part, stored) for part in path.split(" - ")]
    return parts[0] if len(parts) == 1 else [a - b for a, b in zip(*parts)]


def _entry(path: str, stored: dict) -> list[float]:
    experiment, *keys = [key.strip() for key in path.split(" / ")]
    if experiment not in stored:
        raise KeyError(f"experiment {experiment!r}")
    values = []
    for run in stored[experiment].values():
        for key in keys:
            if isinstance(run, list):
                run = run[int(key)]
            elif key in run:
                run = run[key]
            else:
                raise KeyError(f"entry {key!r}")
        values.append(run)
    if not all(isinstance(value, float) for value in values):
        raise KeyError(f"single number {path!r}")
    return values


def _arithmetic(tree: ast.expr) -> float:
    if isinstance(tree, ast.Constant) and isinstance(tree.value, (int, float)):
        return float(tree.value)
    if isinstance(tree, ast.BinOp) and type(tree.op) in _OPERATIONS:
        return _OPERATIONS[type(tree.op)](_arithmetic(tree.left), _arithmetic(tree.right))
    raise ValueError(f"a mark that begins with = holds numbers and + - * / **, not {ast.unparse(tree)}")


def _fits(said: list[str], values: list[float], sign: str) -> bool:
    numbers = [float(number.replace("−", "-").replace(",", "")) for number in said]
    if sign == ">":
        return len(numbers) == 1 and min(values) > numbers[0]
    if sign == "<":
        return len(numbers) == 1 and max(values) < numbers[0]
    if len(numbers) == len(values) > 2:
        expected = [values, sorted(values)]
    elif len(numbers) == 2:
        expected = [[min(values), max(values)]]
    elif len(numbers) == 1:
        expected = [[statistics.median(values)]]
    else:
        return False
    halves = [0.5 * 10.0 ** -len(number.partition(".")[2]) + 1e-6 for number in said]
    return any(all(abs(a - b) <= half for a, b, half in zip(numbers, each, halves)) for each in expected)


def unmarked(source: SourceFile) -> list[str]:
    """Every percentage in the text that has neither a mark nor, in its paragraph, a word of where it is from."""
    found = []
    for cell in source.cells:
        if cell.kind != "markdown":
            continue
        text = _NOT_TEXT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), cell.text)
        for block in re.finditer(r"(?:[^\n]+(?:\n|\Z))+", text):
            if _HAS_SOURCE.search(_MARK.sub("", block[0])):
                continue
            for number in _PER_CENT.finditer(block[0]):
                rest = block[0][number.end() :]
                if not re.match(rf"\W*(?:(?:to|and|or|,)\s*)*(?:{_NUMBER}\s*%?\W*)*<!--", rest):
                    line = cell.line + text.count("\n", 0, block.start() + number.start())
                    found.append(f"{source.shown}:{line}: {number[0]} has neither a mark nor a source in its paragraph")
    return found

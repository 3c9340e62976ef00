"""What can be told of a cell's Python without running it. Every function takes any text and raises nothing."""

import ast
import functools
import re

from course.checks.from_scratch import parse

_DEFINES = re.compile(r"^(?:async\s+)?(?:def|class)\s+(\w+)|^(\w+)\s*=[^=]", re.MULTILINE)
_MAGIC_LINE = re.compile(r"^(\s*)(?:[%!?]|\w+\s*=\s*[%!]|[\w.]+\?{1,2}\s*$)")
_RUNS_ITS_BODY = ("time", "timeit", "capture", "prun")  # cell magics after which plain Python follows


def plain_python(source: str) -> str:
    """The cell without IPython's commands (``%timeit f(x)``, ``!ls``, ``f?``); line numbers stay as they are.

    They are taken out only where the text is no Python as it stands: ``% b`` may continue a line above.
    """
    lines = source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        words = lines[first][2:].split()
        if not words or words[0] not in _RUNS_ITS_BODY:
            return ""  # a cell of another language
        lines[first] = ""
        source = "\n".join(lines)
    if parse(source) is not None:
        return source
    without = "\n".join(_MAGIC_LINE.match(line)[1] + "pass" if _MAGIC_LINE.match(line) else line for line in lines)
    return source if parse(without) is None else without


@functools.lru_cache(maxsize=10_000)  # asked once for each exercise
def defined_names(source: str) -> frozenset[str]:
    """Names that the cell gives a meaning to at its top level; of broken code, those that can be guessed."""
    tree = parse(plain_python(source))
    if tree is None:
        return frozenset(name for match in _DEFINES.finditer(source) for name in match.groups() if name)
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name))
    return frozenset(names)


def definitions_only(source: str) -> str:
    """The cell's imports, functions, classes and constants; its other lines are blanked, so line numbers stay.

    Returns ``""`` where nothing is left or the text is no Python.
    """
    source = plain_python(source)
    tree = parse(source)
    if tree is None:
        return ""
    keep: set[int] = set()
    for node in tree.body:
        if _is_definition(node):
            first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
            keep.update(range(first, node.end_lineno + 1))
    if not keep:
        return ""
    return "\n".join(line if i in keep else "" for i, line in enumerate(source.split("\n"), start=1))


def _is_definition(node: ast.stmt) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return True
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        try:
            ast.literal_eval(node.value)
            return True
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return False
    return False

"""What a text of Python says without running it: names given and read, imports, definitions. Time and size are linear.

Needs nothing but Python: the grader has it done in a process with limits (`course.grading.read.reader`).
"""

import ast
import threading
from dataclasses import dataclass
from typing import NamedTuple

LONGEST_FULL_NAME = 100  # characters that are kept of what is imported; no forbidden name is as long


class Given(NamedTuple):
    """A statement at the top that gives names a meaning: ``def``, ``class``, an assignment.

    Args:
        kind: the name of a function or class, ``""`` of an assignment.
        names: what it gives a meaning to.
        reads: the bare names in it.
    """

    kind: str
    names: list[str]
    reads: list[str]


class Mentions(NamedTuple):
    """What the statements of one function or class, or one other statement, refer to or import.

    Args:
        inside: the name of the function or class, or ``""``.
        found: [as written, full name where an import says it, else None, line], outer expressions first; of
            ``nn.functional.relu`` the whole and not its parts.
    """

    inside: str
    found: list[tuple[str, str | None, int]]


@dataclass(frozen=True)
class Outline:
    """What one text says; plain data that JSON can hold.

    Args:
        given: its statements that give a name a meaning.
        reads: all bare names in it.
        imports: [name, full name] of its import statements; where a name is there twice, the last counts.
        mentions: by statement at the top.
        definitions: [first, last] lines of imports, functions, classes, constants.
    """

    given: list[Given]
    reads: list[str]
    imports: list[tuple[str, str]]
    mentions: list[Mentions]
    definitions: list[tuple[int, int]]

    @classmethod
    def from_json(cls, stored: dict) -> "Outline":
        given = [Given(*entry) for entry in stored.pop("given")]
        mentions = [Mentions(*entry) for entry in stored.pop("mentions")]
        return cls(given=given, mentions=mentions, **stored)


def outline(source: str) -> Outline | None:
    """None where the text is no Python or too deeply nested to be read."""
    tree = _parse(source)
    if tree is None:
        return None
    given, mentions, definitions, reads = [], [], [], {}
    for statement in tree.body:
        read, found = _mentioned(statement)
        reads.update(read)
        if found:
            mentions.append(Mentions(_name(statement), list(found)))
        names = _names_given(statement)
        if names:
            given.append(Given(_name(statement), names, list(read)))
        if _is_definition(statement):
            decorators = getattr(statement, "decorator_list", [])
            definitions.append((min(part.lineno for part in (statement, *decorators)), statement.end_lineno))
    return Outline(given, list(reads), _imported(tree) if "import" in source else [], mentions, definitions)


_ONE_AT_A_TIME = threading.Lock()


def _parse(source: str) -> ast.Module | None:
    """One at a time: in Python 3.11 two threads that parse at once can both fail with a SystemError."""
    try:
        with _ONE_AT_A_TIME:
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _name(statement: ast.stmt) -> str:
    name = getattr(statement, "name", "")
    return name if isinstance(name, str) else ""  # of a type alias it is an expression


def _names_given(statement: ast.stmt) -> list[str]:
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        leaves = [leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)]
        return list(dict.fromkeys(leaves))
    return [_name(statement)] if _name(statement) else []


def _mentioned(statement: ast.stmt) -> tuple[dict[str, None], dict[tuple[str, str | None, int], None]]:
    """(bare names, what is found for `Mentions`), each once and in the order of `ast.walk`."""
    read: dict[str, None] = {}
    found: dict[tuple[str, str | None, int], None] = {}
    parts: set[int] = set()  # of longer forms: a chain is followed once, from its last name, not from each
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            read[node.id] = None
            if id(node) not in parts:
                found[node.id, None, node.lineno] = None
        elif isinstance(node, ast.Attribute) and id(node) not in parts:
            path, inner = [node.attr], node.value
            while isinstance(inner, ast.Attribute):
                parts.add(id(inner))
                path.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name):
                parts.add(id(inner))
                found[".".join([inner.id, *reversed(path)]), None, node.lineno] = None
        elif isinstance(node, ast.Import):
            found.update({(alias.name, _cut(alias.name), node.lineno): None for alias in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({(alias.name, _inside(node.module, alias), node.lineno): None for alias in node.names})
    return read, found


def _imported(tree: ast.Module) -> list[tuple[str, str]]:
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import torch.nn` makes the name torch.
                root = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or root] = _cut(root)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update({alias.asname or alias.name: _inside(node.module, alias) for alias in node.names})
    return list(names.items())


def _inside(module: str, alias: ast.alias) -> str:
    return _cut(f"{_cut(module)}.{_cut(alias.name)}")


def _cut(name: str) -> str:
    return name[:LONGEST_FULL_NAME]


def _is_definition(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return True
    if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        try:
            ast.literal_eval(statement.value)
            return True
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return False
    return False

"""What a text of Python says without running it: names given and read, imports, statements. Time and size are linear.

Needs nothing but Python: the grader has it done in a process with limits (`course.grading.read.reader`).
"""

import ast
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

LONGEST_FULL_NAME = 100  # characters that are kept of what is imported; no forbidden name is as long
DEEPEST_SCOPE = 50  # functions in functions that are told apart


class Unit(NamedTuple):
    """A statement at the top; of ``if``, ``for``, ``while``, ``with``, ``try`` and ``match`` its head, and each inside.

    Args:
        statement: the number of the statement at the top that this is or lies in, from 0.
        line: where that begins.
        kind: the name of a function or class, ``""`` of anything else.
        names: what it gives a meaning to.
        reads: the names in it that are not its own functions' variables.
        found: [as written, full name where an import says it, else None, line], outer expressions first; of
            ``nn.functional.relu`` the whole and not its parts.
        always: it stands at the top itself, so it is run whenever the text is.
    """

    statement: int
    line: int
    kind: str
    names: list[str]
    reads: list[str]
    found: list[tuple[str, str | None, int]]
    always: bool

    @property
    def is_import(self) -> bool:
        return not self.kind and bool(self.found) and all(full is not None for _, full, _ in self.found)


@dataclass(frozen=True)
class Outline:
    """What one text says; plain data that JSON can hold.

    Args:
        units: in the order of the text.
        imports: [name, full name] of its import statements; where a name is there twice, the last counts.
        aliases: [name, what it is another name of], ``f = nn.functional.relu``.
        statements: [first, last] line of each at the top.
    """

    units: list[Unit]
    imports: list[tuple[str, str]]
    aliases: list[tuple[str, str]]
    statements: list[tuple[int, int]]

    @classmethod
    def from_json(cls, stored: dict) -> "Outline":
        units = [Unit(*entry) for entry in stored.pop("units")]
        return cls(units=units, **stored)


def outline(source: str) -> Outline | None:
    """None where the text is no Python or too deeply nested to be read."""
    tree = _parse(source)
    if tree is None:
        return None
    aliases: dict[tuple[str, str], None] = {}
    units = []
    for k, statement in enumerate(tree.body):
        for nodes, kind, always in _parts(statement):
            reading = _Reading(nodes)
            if reading.names or reading.reads or reading.found:
                told = list(reading.names), list(reading.reads), list(reading.found)
                units.append(Unit(k, statement.lineno, kind, *told, always))
            aliases.update(dict.fromkeys(reading.aliases))
    return Outline(units, _imported(tree) if "import" in source else [], list(aliases), list(map(_lines, tree.body)))


def _lines(statement: ast.stmt) -> tuple[int, int]:
    decorators = getattr(statement, "decorator_list", [])
    return min(part.lineno for part in (statement, *decorators)), statement.end_lineno or statement.lineno


_ONE_AT_A_TIME = threading.Lock()


def _parse(source: str) -> ast.Module | None:
    """One at a time: in Python 3.11 two threads that parse at once can both fail with a SystemError."""
    try:
        with _ONE_AT_A_TIME:
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def is_definition(statement: ast.stmt) -> bool:
    """Whether this is an import, a function, a class or a constant: what takes no time to run."""
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return True
    if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        try:
            ast.literal_eval(statement.value)
            return True
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return False
    return False


_BODIES = ("body", "orelse", "finalbody", "handlers")
_BLOCKS = tuple(
    getattr(ast, name)
    for name in ("If", "For", "AsyncFor", "While", "With", "AsyncWith", "Try", "TryStar")
    if hasattr(ast, name)
)


def _parts(statement: ast.stmt) -> Iterator[tuple[list[ast.AST], str, bool]]:
    """(nodes, name of a function or class, always) of a statement and of those inside it, in their order."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Match):  # what a pattern names is of the subject
            patterns = (part for case in node.cases for part in (case.pattern, case.guard) if part)
            yield [node.subject, *patterns], "", False
            waiting += reversed([inner for case in node.cases for inner in case.body])
        elif isinstance(node, (*_BLOCKS, ast.ExceptHandler)):
            head: list[ast.AST] = [_Named(node.name)] if isinstance(node, ast.ExceptHandler) and node.name else []
            inside: list[ast.AST] = []
            for field, value in ast.iter_fields(node):
                values = value if isinstance(value, list) else [value]
                (inside if field in _BODIES else head).extend(v for v in values if isinstance(v, ast.AST))
            yield head, "", False
            waiting += reversed(inside)
        else:
            name = getattr(node, "name", "")  # of a type alias it is an expression
            yield [node], name if isinstance(name, str) else "", node is statement


class _Named(ast.AST):
    """Stands for ``as name`` behind ``except``."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name


class _Scope:
    """Of a function, a class or a comprehension."""

    __slots__ = ("above", "bound", "depth", "elsewhere", "is_class", "is_comprehension", "of_all")

    def __init__(self, above: "_Scope | None", is_class: bool = False, is_comprehension: bool = False):
        self.above, self.is_class, self.is_comprehension = above, is_class, is_comprehension
        self.depth: int = above.depth + 1 if above else 1
        self.bound: set[str] = set()
        self.of_all: set[str] = set()  # declared global
        self.elsewhere: set[str] = set()  # declared nonlocal


class _Reading:
    """What some nodes of one statement give, read and refer to, each once and in the order of the text."""

    def __init__(self, nodes: Iterable[ast.AST]):
        self.names: dict[str, None] = {}
        self.reads: dict[str, None] = {}
        self.found: dict[tuple[str, str | None, int], None] = {}
        self.aliases: list[tuple[str, str]] = []
        self._loads: dict[tuple[str, _Scope | None], None] = {}
        self._parts: set[int] = set()  # of longer forms: a chain is followed once, from its last name, not from each
        self._waiting: list[tuple[Any, _Scope | None]] = []
        self._push(nodes, None)
        while self._waiting:
            node, scope = self._waiting.pop()
            take = _TAKES.get(type(node))
            if take is None or take(self, node, scope):
                self._push(ast.iter_child_nodes(node), scope)
        for name, scope in self._loads:
            if self._is_of_all(name, scope):
                self.reads[name] = None

    def _push(self, nodes: Iterable[ast.AST | None], scope: _Scope | None) -> None:
        self._waiting += [(node, scope) for node in reversed(list(nodes)) if node is not None]

    def _bind(self, name: str, scope: _Scope | None) -> None:
        while scope is not None and name in scope.elsewhere:
            scope = scope.above
        if scope is None or name in scope.of_all:
            self.names[name] = None
        else:
            scope.bound.add(name)

    @staticmethod
    def _is_of_all(name: str, scope: _Scope | None) -> bool:
        while scope is not None:
            if name in scope.of_all:
                return True
            # In a class, a name may mean the outer one until it is given a meaning; functions in it see the outer one.
            if not scope.is_class and name in scope.bound:
                return False
            scope = scope.above
        return True

    @staticmethod
    def _inner(scope: _Scope | None, **kind: bool) -> _Scope:
        return scope if scope is not None and scope.depth >= DEEPEST_SCOPE else _Scope(scope, **kind)

    # -- one method a kind of node; True: its parts are to be looked at as well

    def _name(self, node: ast.Name, scope: _Scope | None) -> bool:
        if isinstance(node.ctx, ast.Load):
            self._loads[node.id, scope] = None
        else:
            self._bind(node.id, scope)
        if id(node) not in self._parts:
            self.found[node.id, None, node.lineno] = None
        return False

    def _attribute(self, node: ast.Attribute, scope: _Scope | None) -> bool:
        if id(node) not in self._parts:
            path, inner = [node.attr], node.value
            while isinstance(inner, ast.Attribute):
                self._parts.add(id(inner))
                path.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name):
                self._parts.add(id(inner))
                self.found[".".join([inner.id, *reversed(path)]), None, node.lineno] = None
        return True

    def _function(self, node: Any, scope: _Scope | None) -> bool:
        """``def``, ``async def``, ``lambda``: what stands in its head belongs outside."""
        own = self._inner(scope)
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        every = [argument for argument in every if argument is not None]
        own.bound.update(argument.arg for argument in every)
        body = node.body if isinstance(node.body, list) else [node.body]
        for declared in (s for s in body if isinstance(s, (ast.Global, ast.Nonlocal))):
            self._declared(declared, own)
        self._push([*getattr(node, "type_params", []), *body], own)
        if not isinstance(node, ast.Lambda):
            self._bind(node.name, scope)
            annotations = [argument.annotation for argument in every]
            self._push([*node.decorator_list, *annotations, node.returns], scope)
        self._push([*arguments.defaults, *arguments.kw_defaults], scope)
        return False

    def _class(self, node: ast.ClassDef, scope: _Scope | None) -> bool:
        self._bind(node.name, scope)
        self._push(node.body, self._inner(scope, is_class=True))
        self._push([*node.decorator_list, *node.bases, *node.keywords, *getattr(node, "type_params", [])], scope)
        return False

    def _comprehension(self, node: Any, scope: _Scope | None) -> bool:
        own = self._inner(scope, is_comprehension=True)
        first, *more = node.generators
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._push([first.target, *first.ifs, *more, *results], own)
        self._push([first.iter], scope)  # the only part that is worked out outside
        return False

    def _walrus(self, node: ast.NamedExpr, scope: _Scope | None) -> bool:
        holder = scope
        while holder is not None and holder.is_comprehension:
            holder = holder.above
        self._bind(node.target.id, holder)
        if holder is None:
            self._alias(node.target, node.value)
        self._push([node.value], scope)
        return False

    def _declared(self, node: Any, scope: _Scope | None) -> bool:
        if scope is not None:
            (scope.of_all if isinstance(node, ast.Global) else scope.elsewhere).update(node.names)
        return False

    def _import(self, node: ast.Import, scope: _Scope | None) -> bool:
        for alias in node.names:
            self._bind(alias.asname or alias.name.partition(".")[0], scope)
            self.found[alias.name, _cut(alias.name), node.lineno] = None
        return False

    def _import_from(self, node: ast.ImportFrom, scope: _Scope | None) -> bool:
        for alias in node.names:
            self._bind(alias.asname or alias.name, scope)
            if node.module:
                self.found[alias.name, _inside(node.module, alias), node.lineno] = None
        return False

    def _pattern(self, node: Any, scope: _Scope | None) -> bool:
        """``except … as name``, ``case name``."""
        name = getattr(node, "name", None) or getattr(node, "rest", None)
        if name:
            self._bind(name, scope)
        return True

    def _assignment(self, node: Any, scope: _Scope | None) -> bool:
        if isinstance(node, ast.AugAssign):
            if isinstance(node.target, ast.Name):
                self._loads[node.target.id, scope] = None
        elif scope is None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._alias(target, node.value)
        return True

    def _alias(self, target: ast.AST, value: ast.AST | None) -> None:
        pairs = [(target, value)]
        while pairs:
            target, value = pairs.pop()
            if isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (ast.Tuple, ast.List)):
                pairs += zip(target.elts, value.elts)
            elif isinstance(target, ast.Name):
                path: list[str] = []
                while isinstance(value, ast.Attribute):
                    path.append(value.attr)
                    value = value.value
                if isinstance(value, ast.Name):
                    self.aliases.append((target.id, ".".join([value.id, *reversed(path)])[: 2 * LONGEST_FULL_NAME]))


_TAKES = {
    ast.Name: _Reading._name,
    ast.Attribute: _Reading._attribute,
    **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda), _Reading._function),
    ast.ClassDef: _Reading._class,
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), _Reading._comprehension),
    ast.NamedExpr: _Reading._walrus,
    **dict.fromkeys((ast.Global, ast.Nonlocal), _Reading._declared),
    ast.Import: _Reading._import,
    ast.ImportFrom: _Reading._import_from,
    **dict.fromkeys((_Named, ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping), _Reading._pattern),
    **dict.fromkeys((ast.Assign, ast.AnnAssign, ast.AugAssign), _Reading._assignment),
}


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

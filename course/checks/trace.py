"""Run a function or module class once more and write down every value it computes, with where it came from.

The source is rewritten with `ast`: each expression hands its value to a `Recorder`, which gives it back unchanged. What
is written down is a `Record`: which place of the source, which numbers, and which earlier records they were made from.

Nothing of the original is touched. The definitions of the cell are made anew in a copy of its namespace, in which
tensors, lists, modules and whatever else could be changed are copies too; generators are put back; what is printed goes nowhere.
A run is bounded in records and in seconds, and where anything at all is in the way there is no trace: `traced` gives None.
"""

import ast
import contextlib
import copy
import functools
import io
import linecache
import random
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from course.checks.calls import Call, Observation
from course.checks.fingerprints import Value, value_of
from course.checks.observe import observe

MOST_RECORDS = 4_000
MOST_VISITS = 48  # that are recorded of one place
MOST_SECONDS = 1.0  # of computing
MOST_ORIGINS = 200  # of a value that is no record itself

_NAME = "__recorder__"  # in the copied namespace
_CHANGES = (list, dict, set, bytearray, Tensor, numpy.ndarray, nn.Module, torch.Generator)  # of these there are copies
_NO_VALUE = (
    ast.Constant,
    ast.JoinedStr,
    ast.FormattedValue,
    ast.Lambda,
    ast.Starred,
    ast.Slice,
    ast.GeneratorExp,
    ast.Await,
    ast.Yield,
    ast.YieldFrom,
)

Origins = frozenset[int]  # numbers of records
NOTHING: Origins = frozenset()


@dataclass(frozen=True)
class Place:
    """An expression in a source.

    Args:
        span: first line, first byte, last line, byte behind the last, as `ast` counts them.
        kind: ``argument``, ``expression``, ``value`` (of a statement), ``state`` (a name after a statement), ``result``.
        parts: the places of the expressions in it.
        inside: the definitions around it: ``"Block.forward"``.
    """

    span: tuple[int, int, int, int]
    kind: str
    parts: tuple[int, ...]
    inside: str


@dataclass(frozen=True, eq=False)
class Record:
    """One value that was computed."""

    place: int
    value: Value
    origins: Origins
    visit: int  # of this place, from 1


@dataclass
class Trace:
    """Args:
    result: the records that what was returned consists of.
    effects: those that went somewhere else than into a result: into an attribute, into a call of which nothing was kept.
    written: the place after which an input was another than before.
    seen: what the same call shows from outside, without gradients.
    lines: of the source.
    """

    places: list[Place]
    records: list[Record]
    result: Origins
    result_place: int | None
    effects: Origins
    written: int | None
    seen: Observation
    lines: list[str]

    @property
    def crashed(self) -> bool:
        return any(key.endswith((".error", ".unwritten")) for key in self.seen.notes)


class GivenUp(BaseException):
    """It took too long, or went wrong here. No `Exception`, so that a student's ``except Exception`` lets it pass."""


def _or_give_up(said: Callable) -> Callable:
    """What goes wrong in a method of the recorder is no error of the student's."""

    @functools.wraps(said)
    def guarded(recorder: "Recorder", *arguments: Any) -> Any:
        try:
            return said(recorder, *arguments)
        except Exception:
            recorder.given_up = True
            raise GivenUp from None

    return guarded


def traced(
    target: Any, call: Call, registers: tuple[type, ...] = (), most_seconds: float = MOST_SECONDS
) -> Trace | None:
    """Make `call` on a copy of `target` that writes down its values; None where that cannot be done.

    Args:
        registers: decorators that belong to an object of these classes are left away: they would register the copy.
    """
    try:
        with _nothing_left_behind():
            return _traced(target, call, registers, most_seconds)
    except (Exception, SystemExit, GivenUp):
        return None


def _traced(target: Any, call: Call, registers: tuple[type, ...], most_seconds: float) -> Trace | None:
    code = _code_of(target)
    if code is None:
        return None
    source = "".join(linecache.getlines(code.co_filename))
    definition = _definition(source, target, code)
    if definition is None:
        return None
    recorder = Recorder()
    copied = _made_anew(source, definition, code.co_filename, _namespace_of(target), recorder, registers)
    recorder.until = time.thread_time() + most_seconds
    seen = observe({call.target: copied}, [replace(call, gradients=())])
    if recorder.given_up:
        return None
    return Trace(
        recorder.places,
        recorder.records,
        recorder.result,
        recorder.result_place,
        recorder.effects,
        recorder.written,
        seen,
        source.splitlines(),
    )


# -- a copy of the student's definitions


def _code_of(target: Any) -> types.CodeType | None:
    """Of a function or of a method that a class defines; None if there is none, or it needs variables from around it."""
    functions = [target] if not isinstance(target, type) else list(vars(target).values())
    for function in functions:
        if isinstance(function, types.FunctionType) and function.__name__ != "<lambda>":
            if set(function.__code__.co_freevars) - {"__class__"}:
                return None
            return function.__code__
    return None


def _namespace_of(target: Any) -> dict[str, Any]:
    functions = [target] if not isinstance(target, type) else list(vars(target).values())
    return next(dict(function.__globals__) for function in functions if isinstance(function, types.FunctionType))


def _definition(source: str, target: Any, code: types.CodeType) -> int | None:
    """Which statement at the top of the source defines `target`; None where it is not the one that ran."""
    for number, node in enumerate(_parsed(source).body):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == target.__name__:
            first = min([node.lineno, *[decorator.lineno for decorator in node.decorator_list]])
            if first <= code.co_firstlineno <= node.end_lineno and _is_what_ran(source, code):
                return number
    return None


def _is_what_ran(source: str, code: types.CodeType) -> bool:
    """A file may have changed since. Instructions are not compared: they depend on what else was compiled with them."""
    return any(_facts_of(code) == _facts_of(each) for each in _codes_in(source, code.co_filename))


def _facts_of(code: types.CodeType) -> tuple:
    constants = [each for each in code.co_consts if not isinstance(each, types.CodeType)]
    return code.co_qualname, code.co_firstlineno, code.co_varnames, set(code.co_names), repr(constants)


@lru_cache(maxsize=4)
def _codes_in(source: str, file_name: str) -> list[types.CodeType]:
    found, left = [], [compile(source, file_name, "exec", dont_inherit=True)]
    while left:
        found.append(left.pop())
        left += [each for each in found[-1].co_consts if isinstance(each, types.CodeType)]
    return found


@lru_cache(maxsize=4)
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _made_anew(
    source: str,
    definition: int,
    file_name: str,
    namespace: dict[str, Any],
    recorder: "Recorder",
    registers: tuple[type, ...],
) -> Any:
    """A definition of a source, and those at its top that it leads to, in `namespace`."""
    body = _parsed(source).body
    nodes = [copy.deepcopy(node) for node in _leads_to(body[definition], body)]
    read = {node.id for each in nodes for node in ast.walk(each) if isinstance(node, ast.Name)}
    for name in read & set(namespace):
        if isinstance(namespace[name], _CHANGES):
            namespace[name] = copy.deepcopy(namespace[name])
    namespace[_NAME] = recorder
    for node in nodes:
        node.decorator_list = [
            each for each in node.decorator_list if not isinstance(namespace.get(_root(each)), registers)
        ]
        module = ast.fix_missing_locations(ast.Module(_Rewriting(recorder.places).statement(node), []))
        exec(compile(module, file_name, "exec", dont_inherit=True), namespace)
    return namespace[body[definition].name]


def _leads_to(node: ast.FunctionDef | ast.ClassDef, body: list[ast.stmt]) -> list[ast.FunctionDef | ast.ClassDef]:
    """The definitions that `node` needs, in the order of the source; of several with one name the last, and `node` at the end."""
    last = {each.name: each for each in body if isinstance(each, (ast.FunctionDef, ast.ClassDef))}
    last[node.name] = node
    found, left = {}, [node]
    while left:
        each = left.pop()
        found[each.name] = each
        names = {part.id for part in ast.walk(each) if isinstance(part, ast.Name)}
        left += [last[name] for name in names & set(last) - set(found)]
    return [*[each for each in last.values() if each.name in found and each is not node], node]


def _root(node: ast.expr) -> str:
    """The name at the beginning of ``a.b(c).d``."""
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


@contextlib.contextmanager
def _nothing_left_behind() -> Iterator[None]:
    """Generators go on afterwards as if nothing had run; nothing is printed, and no warning is given."""
    ours, theirs = random.getstate(), numpy.random.get_state()
    threads = torch.get_rng_state()
    grad = torch.is_grad_enabled()
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(ours)
        numpy.random.set_state(theirs)
        torch.set_rng_state(threads)
        torch.set_grad_enabled(grad)


# -- what the rewritten source calls


@dataclass
class Recorder:
    """Receives the values of a run. What a value was made from is known by three ways: the parts of its expression, the
    name it was read from, and, across calls, that it is the very same object."""

    places: list[Place] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    result: Origins = NOTHING
    result_place: int | None = None
    effects: Origins = NOTHING
    written: int | None = None
    until: float = float("inf")
    given_up: bool = False
    _at: dict[int, Origins] = field(default_factory=dict)  # of the latest value of each place
    _names: dict[str, Origins] = field(default_factory=dict)
    _objects: dict[int, tuple[Any, int | None, Origins]] = field(default_factory=dict)  # by id; with versions
    _visits: dict[int, int] = field(default_factory=dict)
    _inputs: list[tuple[Tensor, int | None]] = field(default_factory=list)  # of the call asked for
    _inside: str = ""  # its function
    _returned: tuple[Any, Origins] = (None, NOTHING)  # what a function gave back last

    @_or_give_up
    def value(self, place: int, value: Any) -> Any:
        """An expression has this value."""
        self._watch(place)
        parts = self._parts(place)
        if (
            type(value) is float and value is self._returned[0]
        ):  # by a function of their own: a number has no identity else
            parts |= self._returned[1]
        known = self._known(value)
        if known is not None:
            self._at[place] = known or parts
        else:
            record = self._record(place, value, parts)
            fewer = frozenset(sorted(parts)[-MOST_ORIGINS:])
            self._at[place] = fewer if record is None else frozenset([record])
        return value

    @_or_give_up
    def name(self, place: int, value: Any, name: str) -> Any:
        """A name was read."""
        known = self._known(value)
        self._at[place] = known if known is not None else self._names.get(name, NOTHING)
        return value

    @_or_give_up
    def assign(self, names: list[str], place: int) -> None:
        """The value of a place was given to names."""
        for name in names:
            self._names[name] = self._at.get(place, NOTHING)

    @_or_give_up
    def each(self, place: int, value: Any, names: list[str]) -> Any:
        """A loop goes over this value."""
        self.value(place, value)
        self.assign(names, place)
        return value

    @_or_give_up
    def store(self, name: str, place: int) -> None:
        """The value of a place was written into what a name stands for."""
        origins = self._at.get(place, NOTHING)
        self._names[name] = self._names.get(name, NOTHING) | origins
        if ".__init__" not in self.places[place].inside:
            self.effects |= origins

    @_or_give_up
    def state(self, place: int, name: str, value: Any) -> None:
        """What a name stands for after a statement that wrote into it."""
        self._watch(place)
        known = self._known(value)
        if known is None:
            record = self._record(place, value, self._names.get(name, NOTHING))
            known = self._names.get(name, NOTHING) if record is None else frozenset([record])
        self._names[name] = known

    @_or_give_up
    def watched(self, place: int) -> None:
        """A statement in a loop wrote into something."""
        self._watch(place)

    @_or_give_up
    def argument(self, place: int, name: str, value: Any) -> None:
        """A function was called with this."""
        inside = self.places[place].inside
        if not self._inside and not inside.endswith("__init__"):
            self._inside = inside
        if inside == self._inside and isinstance(value, Tensor):
            self._inputs.append((value, _version(value)))
        known = self._known(value)
        if known is None:
            record = self._record(place, value, NOTHING)
            known = NOTHING if record is None else frozenset([record])
        self._names[name] = known

    @_or_give_up
    def returned(self, place: int, value: Any) -> Any:
        """A function returns this; the last one that does is the one that was asked."""
        self.value(place, value)
        self.result, self.result_place = self._at.get(place, NOTHING), place
        self._returned = value, self.result
        return value

    def _parts(self, place: int) -> Origins:
        return NOTHING.union(*[self._at.get(part, NOTHING) for part in self.places[place].parts])

    def _known(self, value: Any) -> Origins | None:
        """The origins of an object that was recorded before and has not been written into since."""
        there, version, origins = self._objects.get(id(value), (None, None, NOTHING))
        return origins if there is value and version is not None and version == _version(value) else None

    def _record(self, place: int, value: Any, origins: Origins) -> int | None:
        visits = self._visits[place] = self._visits.get(place, 0) + 1
        if len(self.records) >= MOST_RECORDS or visits > MOST_VISITS:
            return None
        numbers = value_of(value)
        if numbers is None:
            return None
        number = len(self.records)
        self.records.append(Record(place, numbers, origins, visits))
        if not isinstance(value, (int, float)):
            self._objects[id(value)] = value, _version(value), frozenset([number])
        if isinstance(value, (list, tuple)):
            for each in value:
                if isinstance(each, Tensor) and self._known(each) is None:
                    self._objects[id(each)] = each, _version(each), frozenset([number])
        return number

    def _watch(self, place: int) -> None:
        if self.written is None and any(_version(value) != version for value, version in self._inputs):
            self.written = place
        if time.thread_time() > self.until:
            self.given_up = True
            raise GivenUp


def _version(value: Any) -> int | None:
    """It grows as the value is written into; None where torch does not count: of tensors made in inference mode."""
    if not isinstance(value, Tensor):
        return 0
    return None if value.is_inference() else value._version


# -- the rewriting


class _Rewriting:
    """Puts the calls of a `Recorder` into definitions. `places` grows by what they speak about."""

    def __init__(self, places: list[Place]):
        self.places = places
        self.inside: list[str] = []
        self.loops = 0
        self.of: dict[ast.AST, list[int]] = {}  # of an expression, its places: its own, or those of its parts

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        """What takes the place of one statement."""
        match node:
            case ast.FunctionDef():
                return [self._function(node)]
            case ast.ClassDef():
                self.inside.append(node.name)
                node.body = [self._function(each) if isinstance(each, ast.FunctionDef) else each for each in node.body]
                self.inside.pop()
                return [node]
            case ast.Return(value=ast.expr()):
                value = self.expression(node.value)
                place = self._place(node.value, "result", self._of(value))
                node.value = self._call("returned", ast.Constant(place), value)
                return [node]
            case ast.Assign() | ast.AnnAssign(value=ast.expr()):
                return self._assignment(node)
            case ast.AugAssign():
                return self._augmented(node)
            case ast.Expr():
                return self._bare(node)
            case ast.For() | ast.While():
                return self._loop(node)
            case ast.If():
                node.test = self.expression(node.test)
                node.body, node.orelse = self._block(node.body), self._block(node.orelse)
            case ast.With():
                node.body = self._block(node.body)
            case ast.Try():
                node.body, node.orelse = self._block(node.body), self._block(node.orelse)
                node.finalbody = self._block(node.finalbody)
                for handler in node.handlers:
                    handler.body = self._block(handler.body)
        return [node]

    def _block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        return [each for statement in statements for each in self.statement(statement)]

    def _function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if any(isinstance(each, (ast.Yield, ast.YieldFrom)) for each in ast.walk(node)):
            return node
        self.inside.append(node.name)
        loops, self.loops = self.loops, 0
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        first = [
            self._say("argument", self._place(each, "argument"), self._key(each.arg), _read(each.arg))
            for each in arguments
            if each.arg not in ("self", "cls")
        ]
        has_text = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
        text, body = node.body[:has_text], node.body[has_text:]
        node.body = [*text, *first, *self._block(body)] or [ast.Pass()]
        self.loops = loops
        self.inside.pop()
        return node

    def _assignment(self, node: ast.Assign | ast.AnnAssign) -> list[ast.stmt]:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        written = node.value
        value = self.expression(node.value)
        place = self._place(node.value, "value", self._of(value))
        node.value = self._call("value", ast.Constant(place), value)
        after: list[ast.stmt] = []
        for target in targets:
            names = _names_in(target)
            base = _base(target)
            if isinstance(target, (ast.Tuple, ast.List)):
                after += self._unpacked(target, written, place)
            elif names:
                after.append(self._say("assign", self._keys(names), place))
            elif base not in ("", "self"):
                after.append(self._say("store", self._key(base), place))
                after.append(self._after_writing(node, base))
        return [node, *after]

    def _unpacked(self, target: ast.Tuple | ast.List, written: ast.expr, place: int) -> list[ast.stmt]:
        """Each name gets its own part where the parts are written out (``a, b = f(x), g(x)``)."""
        parts = written.elts if isinstance(written, ast.Tuple) and len(written.elts) == len(target.elts) else None
        after: list[ast.stmt] = []
        for k, each in enumerate(target.elts):
            own = self._of(parts[k]) if parts else []
            after.append(self._say("assign", self._keys(_names_in(each)), own[0] if own else place))
            after += [self._state(each, name) for name in _names_in(each)]
        return after

    def _augmented(self, node: ast.AugAssign) -> list[ast.stmt]:
        value = self.expression(node.value)
        place = self._place(node.value, "value", self._of(value))
        node.value = self._call("value", ast.Constant(place), value)
        base = _base(node.target)
        if base in ("", "self"):
            return [node]
        after = [self._say("store", self._key(base), place)]
        after.append(self._state(node, base) if isinstance(node.target, ast.Name) else self._after_writing(node, base))
        return [node, *after]

    def _bare(self, node: ast.Expr) -> list[ast.stmt]:
        """A call whose result nobody keeps: it writes into something."""
        call = node.value
        if isinstance(call, ast.Constant):
            return [node]
        method = call.func.attr if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else ""
        in_place = method.endswith("_") and not method.endswith("__")
        on_a_name = bool(method) and isinstance(call.func.value, ast.Name)
        base = call.func.value.id if on_a_name and (in_place or method in ("append", "extend")) else ""
        spelled = ast.copy_location(ast.Expr(call), call)
        is_call = isinstance(call, ast.Call)
        node.value = self.expression(call)
        places = self._of(node.value)
        if not places or not is_call:
            return [node]
        after = [self._say("store", self._key(base) if base else "", places[0])]
        if base and in_place:
            after.append(self._after_writing(spelled, base))
        return [node, *after]

    def _loop(self, node: ast.For | ast.While) -> list[ast.stmt]:
        written = _written_into(node.body)
        if isinstance(node, ast.For):
            node.iter = self._iterated(node.iter, node.target)
        else:
            node.test = self.expression(node.test)
        whole = copy.copy(node)  # with the lines of the loop, whatever becomes of its body
        self.loops += 1
        node.body, node.orelse = self._block(node.body), self._block(node.orelse)
        self.loops -= 1
        if self.loops:
            return [node]
        unbound = ast.ExceptHandler(_read("NameError"), None, [ast.Pass()])
        return [node, *[ast.Try([self._state(whole, name)], [unbound], [], []) for name in written]]

    def expression(self, node: ast.expr) -> ast.expr:
        """The same expression, saying its value and those of its parts."""
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load) or node.id in ("self", "super", "__class__"):
                return node
            place = self._place(node, "name")
            return self._said("name", place, node, ast.Constant(self._key(node.id)))
        if isinstance(node, ast.Lambda):
            return node
        parts = self._parts(node)
        if isinstance(node, _NO_VALUE):
            self.of[node] = parts
            return node
        return self._said("value", self._place(node, "expression", parts), node)

    def _parts(self, node: ast.expr) -> list[int]:
        """Rewrite the expressions in an expression, and give their places."""
        places: list[int] = []

        def inner(part: ast.expr) -> ast.expr:
            said = self.expression(part)
            places.extend(self._of(said))
            return said

        if isinstance(node, ast.NamedExpr):
            node.value = inner(node.value)
            return places
        for name, value in ast.iter_fields(node):
            if isinstance(node, ast.Call) and name == "func":
                if isinstance(value, ast.Attribute):
                    value.value = inner(value.value)
                elif not isinstance(value, ast.Name):
                    node.func = inner(value)
            elif name == "generators":
                for part in value:
                    part.iter = self._iterated(part.iter, part.target)
                    places.extend(self._of(part.iter))
                    part.ifs = [self.expression(each) for each in part.ifs]
            elif isinstance(value, ast.expr):
                setattr(node, name, inner(value))
            elif isinstance(value, list):
                for k, each in enumerate(value):
                    if isinstance(each, ast.expr):
                        value[k] = inner(each)
                    elif isinstance(each, ast.keyword):
                        each.value = inner(each.value)
        return places

    def _iterated(self, node: ast.expr, target: ast.expr) -> ast.expr:
        said = self.expression(node)
        place = self._place(node, "expression", self._of(said))
        return self._said("each", place, said, self._keys(_names_in(target)))

    # -- pieces

    def _of(self, node: ast.AST) -> list[int]:
        return self.of.get(node, [])

    def _place(self, node: ast.AST, kind: str, parts: list[int] | tuple = ()) -> int:
        span = node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
        self.places.append(Place(span, kind, tuple(parts), ".".join(self.inside)))
        return len(self.places) - 1

    def _key(self, name: str) -> str:
        return f"{'.'.join(self.inside)}:{name}"

    def _keys(self, names: list[str]) -> ast.List:
        return ast.List([ast.Constant(self._key(name)) for name in names], ast.Load())

    def _after_writing(self, node: ast.AST, name: str) -> ast.stmt:
        """In a loop what a name stands for is recorded once, behind the loop; whether it is an input is seen at once."""
        return self._say("watched", self._place(node, "state")) if self.loops else self._state(node, name)

    def _state(self, node: ast.AST, name: str) -> ast.stmt:
        return self._say("state", self._place(node, "state"), self._key(name), _read(name))

    def _said(self, method: str, place: int, node: ast.expr, *more: ast.expr) -> ast.expr:
        said = self._call(method, ast.Constant(place), node, *more)
        self.of[said] = [place]
        return said

    def _say(self, method: str, *arguments: Any) -> ast.Expr:
        values = [each if isinstance(each, ast.expr) else ast.Constant(each) for each in arguments]
        return ast.Expr(self._call(method, *values))

    def _call(self, method: str, *arguments: ast.expr) -> ast.Call:
        return ast.Call(ast.Attribute(_read(_NAME), method, ast.Load()), list(arguments), [])


def _read(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _names_in(target: ast.expr) -> list[str]:
    match target:
        case ast.Name():
            return [target.id]
        case ast.Tuple() | ast.List():
            return [name for each in target.elts for name in _names_in(each)]
        case ast.Starred():
            return _names_in(target.value)
    return []


def _base(target: ast.expr) -> str:
    """``x`` of ``x[i].y``; "" where there is no such name."""
    while isinstance(target, (ast.Subscript, ast.Attribute)):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def _written_into(statements: list[ast.stmt]) -> list[str]:
    """What a loop fills: the names before ``[...] =`` and ``.append``."""
    names = []
    for node in (each for statement in statements for each in ast.walk(statement)):
        match node:
            case ast.Assign():
                names += [_base(target) for target in node.targets if isinstance(target, ast.Subscript)]
            case ast.AugAssign(target=ast.Subscript()):
                names.append(_base(node.target))
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="append" | "extend" | "insert"))):
                names.append(_base(node.value.func.value))
    return [name for name in dict.fromkeys(names) if name not in ("", "self")]

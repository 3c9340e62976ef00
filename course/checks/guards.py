"""What an exercise forbids is refused while a student's code runs, however it is called: in a notebook and at grading.

The source rule (`course.checks.from_scratch`) reads names, and a name may be put together at run time. Three nets:

- torch's dispatcher asks before it runs an operator that does the work of a forbidden name
  (`course.checks.operators`), so that every spelling leads to the same question;
- forbidden functions and classes of Python, which may be made of plain operators, are replaced or wrapped in place,
  under every name that torch has for them;
- forbidden modules cannot be imported by a student's cell, and where they are there already they answer it nothing.

What is found is noted with the line and sent along with what was observed; the grader decides. The operators of the
backward pass are the library's own consequence of a forward pass that was watched; they are asked about all the same,
and let pass only where the course's own code ran their forward.

This is no proof, since it runs in the student's own process. Code that changes this module's memory, that runs under
the name of a file of the course, or that is a copy of a library's source, is not refused. A guard that was taken away
is noticed (`intact`). Nobody gets around it by accident, and to do so on purpose is more work than the exercise.
"""

import functools
import importlib.machinery
import json
import os
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from course.checks.from_scratch import Use, covered
from course.checks.operators import all_operators, canaries, put_before, spoken, spoken_operator, worker_of

_COURSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_OURS = tuple(os.path.join(_COURSE, "checks", name) for name in ("guards.py", "operators.py"))
# These call a student's code: no frame below theirs is a student's.
_CALLERS = tuple(
    os.path.join(_COURSE, *parts)
    for parts in (
        ("checks", "observe.py"),
        ("checks", "student.py"),
        ("grading", "run", "worker.py"),
        ("grading", "run", "stand_in.py"),
    )
)
_LIBRARIES = tuple(
    {os.path.join(sysconfig.get_path(kind), "") for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_ENGINE = os.path.join("torch", "autograd", "graph.py")
_ITSELF = ("course.checks.guards", "course.checks.operators")  # bound by name where the course needs them
_MODULE_FACTS = frozenset(  # what the import system asks of every module
    ("__name__", "__spec__", "__path__", "__file__", "__loader__", "__package__", "__class__", "__doc__")
)


class Forbidden(RuntimeError):
    """A student's code used what its exercise forbids; the text is the sentence for them."""


class ForbiddenImport(Forbidden, ImportError):
    """The same for a module: ``except ImportError`` around a comparison works as it does where it is missing."""


@dataclass
class _State:
    """Of this process: what is guarded, which exercise is at work, and what was found."""

    installed: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)  # full names of those that are asked about
    taken_away_by: list[Callable[[], None]] = field(default_factory=list)
    exercise: str = ""
    forbidden: tuple[str, ...] = ()
    workers: dict[str, str | None] = field(default_factory=dict)  # by operator, the forbidden name whose work it does
    excused: set[str] = field(default_factory=set)  # forbidden names that the course itself has used for this exercise
    watching: bool = False
    in_notebook: bool = False
    cells: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)  # by file name: exercise, its targets
    modules_of_student: set[str] = field(default_factory=set)  # file names of those beside the notebook
    uses: dict[str, Use] = field(default_factory=dict)  # by exercise, the first


_state = _State()


# -- what the worker calls


def install(names: Iterable[str]) -> list[str]:
    """Guard these full names in this process and in those forked from it; nothing is refused before `follow`.

    Returns:
        Those that cannot be guarded, because torch has nothing of that name.
    """
    new = [name for name in dict.fromkeys(names) if name not in _state.installed]
    _state.installed.update(new)
    replaced: dict[int, tuple[Any, Callable]] = {}
    unknown = []
    for name in new:
        thing = _resolve(name)
        if isinstance(thing, type):
            for method in ("__init__", "forward"):
                if hasattr(thing, method):
                    _replace(thing, method, _guard(name, getattr(thing, method)))
        elif callable(thing):
            replaced[id(thing)] = thing, _guard(name, thing)
        elif thing is None and name.partition(".")[0] == "torch":
            unknown.append(name)
        else:
            _guard_module(name)
    _replace_everywhere(replaced)
    if new:
        for name in (name for name in _ITSELF if name not in _state.modules):
            _guard_module(name)
        _guard_operators()
    return unknown


def follow(rule: bytes) -> None:
    """From now on this holds: JSON {exercise, forbidden}; exercise ``""`` while what runs belongs to none."""
    described = json.loads(rule)
    install(described["forbidden"])
    _state.exercise, _state.forbidden = described["exercise"], tuple(described["forbidden"])
    _state.workers, _state.excused = {}, set()
    _state.watching = True


def rule(exercise: str, forbidden: Iterable[str], seal: str = "") -> bytes:
    """What `follow` takes. `seal` is what the worker says at the end if the guards were still standing."""
    return json.dumps({"exercise": exercise, "forbidden": list(forbidden), "seal": seal}).encode()


def running(file_name: str, targets: Iterable[str], is_module: bool = False) -> None:
    """A student's cell is about to run under this file name; it belongs to the exercise at work.

    Args:
        is_module: it is a file of theirs instead, and belongs to none.
    """
    _state.cells[file_name] = "" if is_module else _state.exercise, frozenset(targets)
    if is_module:
        _state.modules_of_student.add(file_name)


def found() -> str | None:
    """The sentence about the forbidden thing that the exercise at work has used, if any."""
    use = _state.uses.get(_state.exercise)
    return use.sentence if use else None


def intact(rule: bytes) -> bool:
    """Do the guards still follow `rule`, and refuse what it forbids? To be asked when a student's code is through."""
    described = json.loads(rule)
    exercise, forbidden = described["exercise"], tuple(described["forbidden"])
    if (_state.exercise, _state.forbidden) != (exercise, forbidden):
        return False
    before = dict(_state.uses)
    try:
        return all(
            _is_refused(call) for operator, call in canaries().items() if exercise and worker_of(operator, forbidden)
        )
    finally:
        _state.uses.clear()
        _state.uses.update(before)


def _is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except Forbidden:
        return True
    except Exception:  # something else stands in the way
        return False
    return False


# -- what the notebook's check calls


@contextmanager
def watching(exercise: str, forbidden: Iterable[str]) -> Iterator[None]:
    """In a student's own kernel: guards as at grading, while a check runs. Only what was found is kept afterwards."""
    _state.uses.pop(exercise, None)
    _state.in_notebook = True
    try:
        follow(rule(exercise, forbidden))
        yield
    finally:
        _state.watching = _state.in_notebook = False
        _state.exercise, _state.forbidden = "", ()
        while _state.taken_away_by:
            _state.taken_away_by.pop()()
        for guarded in (_state.installed, _state.modules, _state.operators):
            guarded.clear()


# -- who is asking


def _ask(name: str, written: str = "") -> None:
    """Note and refuse, if it is a student's code that uses `name` and its exercise forbids it."""
    if _state.exercise and covered(name, _state.forbidden):
        use = _use_by_student(name, written=written or spoken(name))
        if use is None:
            _state.excused.add(name)
        else:
            _state.uses.setdefault(_state.exercise, use)
            raise Forbidden(use.sentence)


def _ask_operator(operator: str) -> None:
    """The same for an operator that is about to run."""
    if _state.exercise:
        if operator not in _state.workers:
            _state.workers[operator] = worker_of(operator, _state.forbidden)
        name = _state.workers[operator]
        if name is not None:
            _ask(name, spoken_operator(operator, name))


def _ask_module(name: str) -> None:
    """The same for a module: refused to every cell of a student, noted where an exercise is at work."""
    if _state.watching:
        use = _use_by_student(name, own=name.partition(".")[0], written=name)
        if use is not None:
            if _state.exercise and covered(name, (*_state.forbidden, *_ITSELF)):
                _state.uses.setdefault(_state.exercise, use)
            raise ForbiddenImport(use.sentence)


def _use_by_student(name: str, written: str, own: str = "") -> Use | None:
    """Who uses `name`: None where it is the course itself, or another exercise that has been found out already.

    Torch and other libraries count for neither side; the nearest frame that is the course's or a student's decides.
    Code with no file (made by `exec`) is a student's; so is what stands at the bottom of a thread. What the engine of
    gradients runs is the course's where the course ran the forward pass.

    Args:
        own: a package that may use itself.
    """
    use, students = None, False
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file in _CALLERS:
            break
        cell = _cell(file)
        if cell is not None:
            exercise, targets = cell
            inside = frame.f_code.co_qualname.partition(".")[0]
            if inside in targets and exercise != _state.exercise and exercise in _state.uses:
                return None  # it has cost that exercise its points; one that calls it is not to blame
            if use is None:
                line = 0 if file in _state.modules_of_student else frame.f_lineno  # it is no line of a cell
                use = Use(written, line, "" if inside.startswith("<") else inside, name)
        elif file.startswith("<"):
            students = students or not file.startswith("<frozen")
        elif use is None and not students and file not in _OURS:
            if file.startswith(_COURSE) or (own and frame.f_globals.get("__name__", "").partition(".")[0] == own):
                return None
            if name in _state.excused and file.endswith(_ENGINE):
                return None
        frame = frame.f_back
    return use or Use(written, 0, "", name)


def _cell(file: str) -> tuple[str, frozenset[str]] | None:
    """(exercise, its targets) of a student's cell that runs under this file name, None if it is none."""
    if not _state.in_notebook:
        return _state.cells.get(file)
    typed = file.startswith("<ipython") or not file.startswith(("<", _COURSE, *_LIBRARIES))
    return ("", frozenset()) if typed else None


# -- functions, classes


def _resolve(name: str) -> Any:
    """What has this full name, if its package is here already; None if not."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        thing = sys.modules.get(".".join(parts[:length]))
        if thing is not None:
            for part in parts[length:]:
                thing = getattr(thing, part, None)
            return thing
    return None


def _replace(owner: type, key: str, value: Any) -> None:
    there, before = key in vars(owner), getattr(owner, key)
    setattr(owner, key, value)
    _state.taken_away_by.append(lambda: setattr(owner, key, before) if there else delattr(owner, key))


def _guard(name: str, original: Callable) -> Callable:
    @functools.wraps(original)
    def guarded(*arguments, **options):
        if _state.exercise:
            _ask(name)
        return original(*arguments, **options)

    del guarded.__wrapped__
    return guarded


def _replace_everywhere(replaced: dict[int, tuple[Any, Callable]]) -> None:
    """Wherever a module of torch has the object under some name, its own tools (compilers, exporters) left out."""
    for module_name, module in list(sys.modules.items()) if replaced else ():
        if module_name in ("torch", "torch.functional") or module_name.startswith(("torch.nn", "torch._C")):
            space = vars(module)
            for key in [key for key, value in space.items() if id(value) in replaced]:
                original, space[key] = replaced[id(space[key])]
                _state.taken_away_by.append(functools.partial(space.__setitem__, key, original))


# -- operators


def _guard_operators() -> None:
    """Those that do the work of what is installed, and again whenever a library brings new ones."""
    import torch

    new = [
        full_name
        for full_name in all_operators()
        if full_name not in _state.operators
        and worker_of(full_name.partition("::")[2].partition(".")[0], tuple(_state.installed))
    ]
    _state.operators.update(new)
    _state.taken_away_by.append(put_before(new, _ask_operator))
    load_library = torch.ops.load_library
    if load_library.__name__ != "load_and_guard":

        @functools.wraps(load_library)
        def load_and_guard(path: str) -> None:
            load_library(path)
            _guard_operators()

        load_and_guard.__name__ = "load_and_guard"
        torch.ops.load_library = load_and_guard
        _state.taken_away_by.append(lambda: vars(torch.ops).pop("load_library"))


# -- modules


def _guard_module(name: str) -> None:
    if not _state.modules:
        gate = _Gate()
        sys.meta_path.insert(0, gate)
        _state.taken_away_by.append(lambda: sys.meta_path.remove(gate))
    _state.modules.add(name)
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(name) and covered(module_name, (name,)) and isinstance(module, types.ModuleType):
            _silence(module)


def _silence(module: types.ModuleType) -> None:
    """A module that answers a student's cell nothing."""
    kind = type(module)

    class Silent(kind):
        def __getattribute__(self, attribute):
            if attribute not in _MODULE_FACTS:
                _ask_module(kind.__getattribute__(self, "__name__"))
            return kind.__getattribute__(self, attribute)

        def __setattr__(self, attribute, value):
            _ask_module(kind.__getattribute__(self, "__name__"))
            kind.__setattr__(self, attribute, value)

    module.__class__ = Silent
    _state.taken_away_by.append(functools.partial(types.ModuleType.__setattr__, module, "__class__", kind))


class _Gate:
    """At the head of `sys.meta_path`: a forbidden module is refused to students; loaded by others, it is silent."""

    def find_spec(self, name: str, path=None, target=None):
        if not _state.watching or not covered(name, tuple(_state.modules)):
            return None
        _ask_module(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _SilentLoader(spec.loader.name, spec.loader.path)
        return spec


class _SilentLoader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        _silence(module)

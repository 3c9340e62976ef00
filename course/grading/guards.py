"""What does an exercise for its student is refused while their code runs, by whatever way they came by it.

The child's half of the from-scratch rule: the source rule (`course.grading.rules`) reads names, and a name may be put
together at run time. Three nets, each below the one before:

- forbidden functions and classes of Python are replaced or wrapped in place, under every name that torch has for them;
- torch's dispatcher asks before it runs the operators beneath them, so that ``torch._C._nn``, ``torch.ops.aten``, a
  reference taken out of a guard and another thread lead to the same question. Operators that are not forbidden run as
  before, so this costs nothing, where a `TorchDispatchMode` costs every operator;
- forbidden modules cannot be imported by a student's cell, and where they are there already they answer it nothing.

What is found is noted with the line and sent along with what was observed; the grader decides. It is no proof: who
rewrites this module's memory, or runs under the file name of the course, gets by, and so does who copies the source
of a library. It is out of reach by accident, and costs more work than the exercise.
"""

import functools
import importlib.machinery
import json
import os
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from course.checks.from_scratch import Use, covered

# Operators beneath a forbidden name that are not called as it is.
OPERATORS = {
    "torch.nn.functional.scaled_dot_product_attention": (
        "_scaled_dot_product_attention_math",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_fused_attention_overrideable",
    ),
    "torch.nn.MultiheadAttention": ("_native_multi_head_attention", "_triton_multi_head_attention"),
    "torch.nn.TransformerEncoderLayer": ("_transformer_encoder_layer_fwd",),
}

_COURSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_THIS_FILE = os.path.abspath(__file__)
# Below these there is nothing of a student's: they call it.
_CALLERS = tuple(os.path.join(_COURSE, *place) for place in (
    ("checks", "observe.py"), ("grading", "worker.py"), ("grading", "stand_in.py")
))  # fmt: skip
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
    exercise: str = ""
    forbidden: tuple[str, ...] = ()
    watching: bool = False
    cells: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)  # by file name: exercise, its targets
    uses: dict[str, Use] = field(default_factory=dict)  # by exercise, the first
    libraries: list = field(default_factory=list)  # of kernels; they vanish with it


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
                    setattr(thing, method, _guard(name, getattr(thing, method)))
        elif callable(thing):
            replaced[id(thing)] = thing, _guard(name, thing)
        elif thing is None and name.partition(".")[0] == "torch":
            unknown.append(name)
            continue
        else:
            _guard_module(name)
            continue
        _guard_operators(name)
    _replace_everywhere(replaced)
    return unknown


def follow(rule: bytes) -> None:
    """From now on this holds: JSON {exercise, forbidden}; exercise ``""`` while what runs belongs to none."""
    described = json.loads(rule)
    install(described["forbidden"])
    _state.exercise, _state.forbidden = described["exercise"], tuple(described["forbidden"])
    _state.watching = True


def rule(exercise: str, forbidden: Iterable[str]) -> bytes:
    """What `follow` takes."""
    return json.dumps({"exercise": exercise, "forbidden": list(forbidden)}).encode()


def running(file_name: str, targets: Iterable[str]) -> None:
    """A student's cell is about to run under this file name; it belongs to the exercise at work."""
    _state.cells[file_name] = _state.exercise, frozenset(targets)


def found() -> str | None:
    """The sentence about the forbidden thing that the exercise at work has used, if any."""
    use = _state.uses.get(_state.exercise)
    return use.sentence if use else None


# -- who is asking


def _ask(name: str) -> None:
    """Note and refuse, if it is a student's code that uses `name` and its exercise forbids it."""
    if _state.exercise and covered(name, _state.forbidden):
        use = _use_by_student(name)
        if use is not None:
            _state.uses.setdefault(_state.exercise, use)
            raise Forbidden(use.sentence)


def _ask_module(name: str) -> None:
    """The same for a module: refused to every cell of a student, noted where an exercise is at work."""
    if _state.watching:
        use = _use_by_student(name, own=name.partition(".")[0])
        if use is not None:
            if _state.exercise and covered(name, _state.forbidden):
                _state.uses.setdefault(_state.exercise, use)
            raise ForbiddenImport(use.sentence)


def _use_by_student(name: str, own: str = "") -> Use | None:
    """Who uses `name`: None where it is the course itself, or another exercise that has been found out already.

    Torch and other libraries count for neither side; the nearest frame that is the course's or a student's decides.
    Code with no file (made by `exec`) is a student's; so is what stands at the bottom of a thread.

    Args:
        own: a package that may use itself.
    """
    use, students = None, False
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file in _CALLERS:
            break
        if file in _state.cells:
            exercise, targets = _state.cells[file]
            inside = frame.f_code.co_qualname.partition(".")[0]
            if inside in targets and exercise != _state.exercise and exercise in _state.uses:
                return None  # it has cost that exercise its points; one that calls it is not to blame
            if use is None:
                use = Use(_spoken(name), frame.f_lineno, "" if inside.startswith("<") else inside)
        elif file.startswith("<"):
            students = students or not file.startswith("<frozen")
        elif use is None and not students and file != _THIS_FILE:
            if file.startswith(_COURSE) or own and frame.f_globals.get("__name__", "").partition(".")[0] == own:
                return None
        frame = frame.f_back
    return use or Use(_spoken(name), 0, "")


def _spoken(name: str) -> str:
    """As it is written in a notebook: F.softmax, nn.Linear."""
    for long, short in (("torch.nn.functional.", "F."), ("torch.nn.", "nn.")):
        if name.startswith(long):
            return short + name.removeprefix(long)
    return name


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
                space[key] = replaced[id(space[key])][1]


# -- operators


def _guard_operators(name: str) -> None:
    """Have the dispatcher ask before it runs, on the CPU, what lies beneath a function or class."""
    import torch

    last = name.rpartition(".")[2]
    library = torch.library.Library("aten", "IMPL")
    _state.libraries.append(library)
    for operator in (last, f"native_{last}", *OPERATORS.get(name, ())):
        packet = getattr(torch.ops.aten, operator, None)
        for overload in packet.overloads() if packet else ():
            for key in ("AutogradCPU", "CPU"):
                _guard_kernel(library, getattr(packet, overload), key, name)


def _guard_kernel(library, operator, key: str, name: str) -> None:
    import torch

    try:
        original = torch.library.get_kernel(operator, key)
    except RuntimeError:  # there is none for the CPU
        return

    def kernel(keys, *arguments, **options):
        if _state.exercise:
            _ask(name)
        return original.call_boxed(keys, *arguments, **options)

    library.impl(operator, kernel, key, with_keyset=True)


# -- modules


def _guard_module(name: str) -> None:
    if not _state.modules:
        sys.meta_path.insert(0, _Gate())
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

    module.__class__ = Silent


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

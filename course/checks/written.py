"""Which cells an answer was written in: `course progress` then sees whether they have been changed since the check."""

import functools
import inspect
import linecache
import os
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from course.cell_id import text_id


def written_in(objects: Iterable[Any]) -> list[str]:
    """The `text_id` of every cell, and of every file beside the notebook, that `objects` and what they use come from.

    Empty where that cannot be told: of an object that was not written in Python, say.
    """
    waiting, seen, files = list(objects), set(), set()
    while waiting:
        for code, names, namespace in _codes(waiting.pop()):
            if id(code) in seen or not _is_own(code.co_filename):
                continue
            seen.add(id(code))
            files.add(code.co_filename)
            waiting += [namespace[name] for name in names if name in namespace]
    return sorted({text_id("".join(linecache.getlines(file))) for file in files})


def _codes(thing: Any) -> Iterator[tuple[types.CodeType, set[str], dict[str, Any]]]:
    """(code, names that it reads, where they are looked up) of a function, or of all methods of a class."""
    if inspect.isclass(thing):
        members = [member for base in thing.__mro__ for member in vars(base).values()]
        functions = [getattr(member, "__func__", getattr(member, "fget", member)) for member in members]
    else:
        functions = [thing.func if isinstance(thing, functools.partial) else thing]
    for function in functions:
        try:
            function = inspect.unwrap(function)
        except Exception:  # whatever a student's object can raise
            continue
        if isinstance(function, types.FunctionType):
            yield function.__code__, _names(function.__code__), function.__globals__


def _names(code: types.CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _is_own(file: str) -> bool:
    """Whether this is a cell, whose text no file holds, or a file beside the notebook."""
    if os.path.exists(file):
        return Path(file).resolve().parent == Path.cwd()
    return file in linecache.cache

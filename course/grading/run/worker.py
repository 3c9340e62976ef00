"""The child process in which one student's code runs: ``python -m course.grading.run.worker``, or a fork of the server.

It executes cells and calls what they define, as it is told over its channel, and answers with what it saw. It holds
no answer, gives no verdict and is trusted with nothing: all that it sends is treated as the student's.
"""

import __future__

import ast
import asyncio
import importlib.abc
import importlib.util
import inspect
import json
import linecache
import os
import socket
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

import course
from course.checks.guards import follow, found, intact, running  # by name: the module answers nobody once they stand
from course.grading.run import frames
from course.outline import is_definition

LONGEST_ERROR = 300  # characters
MOST_FAILED = 20  # statements of one cell whose errors are told
MOST_STEPS = 500  # of one cell that are told as they come; where it has more statements, several make a step

_MISSING = object()
_FUTURE = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


def main(channel_number: int) -> None:
    """Import what is needed, then `serve` on the socket `channel_number`: for a process without a fork server."""
    _die_with_parent()
    import torch

    torch.set_num_threads(1)
    serve(socket.socket(fileno=channel_number))


def serve(channel: socket.socket) -> None:
    """Answer requests until the other end is closed."""
    with channel, channel.makefile("rb") as requests:
        _serve(channel, requests)


def _serve(channel: socket.socket, requests: Any) -> None:
    from course.grading.run import stand_in

    notebook = types.ModuleType("__main__")
    shell = _Shell()
    notebook.__dict__.update(display=_quiet, get_ipython=lambda: shell)
    sys.modules["__main__"] = notebook  # dataclasses and pickle look there
    course.check = _quiet  # a check of the notebook's; what counts is asked from outside
    runner = _Runner(notebook.__dict__)
    our_id = os.getpid()
    rule = b""
    stand_in.connect(channel, requests)
    while (request := frames.read(requests)) is not None:
        kind, number, payload = request
        if kind == frames.ASK:
            continue  # told to student code that asked by itself and did not listen
        reply = b""
        if kind == frames.RULE:
            rule = payload
            follow(rule)
        elif kind == frames.MODULES:
            sys.meta_path.append(_OwnModules(json.loads(payload)))
        elif kind == frames.CELL:
            told = lambda statement: channel.sendall(frames.at(number, statement))
            reply = json.dumps(runner.run(json.loads(payload), told)).encode()
        elif kind == frames.OBSERVE:
            reply = _observe(payload, {**notebook.__dict__, **runner.kept}, rule)
        if os.getpid() != our_id:
            os._exit(0)  # the student's code forked and came back here
        _flush()
        channel.setblocking(
            True
        )  # code that gave a copy of it a timeout made it fail where there is nothing to read yet
        channel.sendall(frames.pack(kind, number, reply))


class _Runner:
    """Runs the cells of one notebook, as IPython would: each statement is compiled and run by itself.

    Unlike there, what follows a statement that raised is run all the same.
    """

    def __init__(self, namespace: dict[str, Any]):
        self.namespace = namespace
        self.kept: dict[str, Any] = {}  # what cells gave to the names that they keep, whatever comes later
        self.flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # and what ``from __future__ import`` switched on
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, request: dict, told: Callable[[int], None]) -> dict:
        """Execute one cell.

        Args:
            request: its source and label, the names to ``keep``, the numbers of statements to ``skip``, and whether only
                ``definitions`` are wanted.
            told: called before every statement but the first, or where there are many, every few, with its number.

        Returns:
            {"failed": [[statement, line of it, line of the error or 0, error, own file or "", line there]], "more": how
            many more failed, "kept": names, "not_run": numbers of statements that are no definitions}
        """
        file_name = f"<{request['label']}>"
        source = request["source"]
        linecache.cache[file_name] = (len(source), None, source.splitlines(keepends=True), file_name)
        running(file_name, request["keep"])
        before = {name: self.namespace.get(name, _MISSING) for name in request["keep"]}
        failed, more, not_run = [], 0, []
        try:
            statements = compile(source, file_name, "exec", self.flags | ast.PyCF_ONLY_AST, dont_inherit=True).body
        except BaseException as raised:
            statements = []
            failed.append([0, 0, _line(raised, file_name), _describe(raised), "", 0])
        step = len(statements) // MOST_STEPS + 1
        for number, statement in enumerate(statements):
            if number and number % step == 0:
                told(number)
            if number - number % step in request["skip"]:
                continue
            if request["definitions"] and not is_definition(statement):
                not_run.append(number)
                continue
            try:
                self._run(statement, file_name)
            except BaseException as raised:  # SystemExit and KeyboardInterrupt too: the child goes on
                if len(failed) < MOST_FAILED:
                    place = _place(raised)
                    failed.append([number, statement.lineno, _line(raised, file_name), _describe(raised), *place])
                else:
                    more += 1
        _close_figures()
        new = {name: self.namespace[name] for name in before if name in self.namespace}
        new = {name: value for name, value in new.items() if value is not before[name]}
        self.kept.update(new)
        return {"failed": failed, "more": more, "kept": sorted(new), "not_run": not_run[:MOST_STEPS]}

    def _run(self, statement: ast.stmt, file_name: str) -> None:
        code = compile(ast.Module([statement], []), file_name, "exec", self.flags, dont_inherit=True)
        self.flags |= code.co_flags & _FUTURE
        if code.co_flags & inspect.CO_COROUTINE:  # it awaits something
            if self._loop is None or self._loop.is_closed():
                self._loop = asyncio.new_event_loop()
            self._loop.run_until_complete(eval(code, self.namespace))
        else:
            exec(code, self.namespace)


def _close_figures() -> None:
    """As a notebook does after each cell."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    try:
        if pyplot is not None:
            pyplot.close("all")
    except BaseException:  # the student may have replaced it
        pass


class _OwnModules(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds the student's own modules, after everything that is installed. There is no file of them here."""

    def __init__(self, described: list[dict]):
        self.modules = {module["name"]: module for module in described}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        module = self.modules.get(fullname)
        if module is None:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=module["file"], is_package=module["is_package"])

    def get_source(self, fullname: str) -> str:
        return self.modules[fullname]["source"]

    def is_package(self, fullname: str) -> bool:
        return self.modules[fullname]["is_package"]

    def exec_module(self, module: types.ModuleType) -> None:
        told = self.modules[module.__name__]
        file_name, source = f"<{told['file']}>", told["source"]
        module.__file__ = told["file"]
        linecache.cache[file_name] = (len(source), None, source.splitlines(keepends=True), file_name)
        running(file_name, (), is_module=True)
        exec(compile(source, file_name, "exec", dont_inherit=True), module.__dict__)


def _observe(payload: bytes, objects: dict[str, Any], rule: bytes) -> bytes:
    from course.checks.calls import FORBIDDEN, SEAL, Observation, calls_from_bytes
    from course.checks.observe import observe

    calls = calls_from_bytes(payload)
    try:
        targets = {call.target for call in calls}
        seen = observe({name: objects[name] for name in targets & set(objects)}, calls, outside=True)
        if found():
            seen.notes[FORBIDDEN] = found()
    except BaseException as raised:
        seen = Observation(notes={"0.error": _describe(raised)})
    if rule and intact(rule):
        seen.notes[SEAL] = json.loads(rule)["seal"]
    try:
        return seen.to_bytes()
    except BaseException as raised:
        kept = {key: note for key, note in seen.notes.items() if key in (FORBIDDEN, SEAL)}
        return Observation(notes={"0.error": _describe(raised), **kept}).to_bytes()


def _describe(raised: BaseException) -> str:
    try:
        text = str(raised.msg if isinstance(raised, SyntaxError) else raised)
    except BaseException:  # a student's own exception class may fail even here
        text = ""
    return f"{type(raised).__name__}: {text}"[:LONGEST_ERROR].rstrip(": ")


def _line(raised: BaseException, file_name: str) -> int:
    if isinstance(raised, SyntaxError) and raised.filename == file_name:
        return raised.lineno or 0
    walked = traceback.walk_tb(raised.__traceback__)
    lines = [line for frame, line in walked if frame.f_code.co_filename == file_name]
    return lines[-1] or 0 if lines else 0


def _is_own(file_name: str | None) -> bool:
    return bool(file_name) and file_name.startswith("<") and file_name.endswith(".py>")


def _place(raised: BaseException) -> tuple[str, int]:
    """The student's own file in which something was raised, and its line there; ``("", 0)`` if it was in none."""
    if isinstance(raised, SyntaxError) and _is_own(raised.filename):
        return raised.filename[1:-1], raised.lineno or 0
    walked = [(f.f_code.co_filename, line) for f, line in traceback.walk_tb(raised.__traceback__)]
    return next(((name[1:-1], line or 0) for name, line in reversed(walked) if _is_own(name)), ("", 0))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # the student may have replaced or closed it
            pass


def _quiet(*args: Any, **kwargs: Any) -> None:
    """In place of IPython's `display`: a graded cell may show things."""


class _Shell:
    """In place of IPython's: whatever is asked of it does nothing and gives nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _quiet


def _die_with_parent() -> None:
    """On Linux, have this process killed when the grader's thread that started it ends, however it ends."""
    if sys.platform == "linux":
        import signal

        from course.grading.sandbox import kernel

        kernel.prctl(kernel.SET_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    # Under its own name, because the student's notebook takes the name __main__ over.
    from course.grading.run import worker

    worker.main(int(sys.argv[1]))

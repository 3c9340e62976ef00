"""The child process in which one student's code runs: ``python -m course.grading.run.worker``, or a fork of the server.

It executes cells and calls what they define, as it is told over its channel, and answers with what it saw. It holds
no answer, gives no verdict and is trusted with nothing: all that it sends is treated as the student's.
"""

import json
import linecache
import os
import socket
import sys
import traceback
import types
from typing import Any

from course.checks.guards import follow, found, intact, running  # by name: the module answers nobody once they stand
from course.grading.run import frames

LONGEST_ERROR = 300  # characters

_MISSING = object()


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
    notebook.__dict__.update(display=_quiet, get_ipython=lambda: None)
    sys.modules["__main__"] = notebook  # dataclasses and pickle look there
    kept: dict[str, Any] = {}
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
        elif kind == frames.CELL:
            reply = json.dumps(_run_cell(json.loads(payload), notebook.__dict__, kept)).encode()
        elif kind == frames.OBSERVE:
            reply = _observe(payload, {**notebook.__dict__, **kept}, rule)
        if os.getpid() != our_id:
            os._exit(0)  # the student's code forked and came back here
        _flush()
        channel.setblocking(
            True
        )  # code that gave a copy of it a timeout made it fail where there is nothing to read yet
        channel.sendall(frames.pack(kind, number, reply))


def _run_cell(request: dict, namespace: dict[str, Any], kept: dict[str, Any]) -> dict:
    """Execute one cell; what it gave to the names in ``keep`` stays the student's answer, whatever comes later."""
    file_name = f"<{request['label']}>"
    source = request["source"]
    linecache.cache[file_name] = (len(source), None, source.splitlines(keepends=True), file_name)
    running(file_name, request["keep"])
    before = {name: namespace.get(name, _MISSING) for name in request["keep"]}
    error, line = "", 0
    try:
        exec(compile(source, file_name, "exec", dont_inherit=True), namespace)
    except BaseException as raised:  # SystemExit and KeyboardInterrupt too: the cell ends, the child does not
        error, line = _describe(raised), _line(raised, file_name)
    new = {name: namespace[name] for name in before if name in namespace and namespace[name] is not before[name]}
    kept.update(new)
    return {"error": error, "line": line, "kept": sorted(new)}


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
    lines = [frame.lineno for frame in traceback.extract_tb(raised.__traceback__) if frame.filename == file_name]
    return lines[-1] or 0 if lines else 0


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # the student may have replaced or closed it
            pass


def _quiet(*args: Any, **kwargs: Any) -> None:
    """In place of IPython's `display`: a graded cell may show things."""


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

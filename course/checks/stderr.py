"""What a student's code writes to stderr while its check runs: it belongs on the card.

nbgrader gives a passing test cell 0 points if anything was written to stderr there, be it a warning or a progress bar.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from course.notebook import in_notebook

LONGEST = 2_000  # characters that are kept; a card shows them all


class Heard:
    """What was written so far."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        if len(self.text) < LONGEST:
            self.text = (self.text + str(text))[:LONGEST]
        return len(text)


@contextmanager
def heard_on_stderr() -> Iterator[Heard]:
    """In a notebook, keep what is written to stderr in the block: by Python, by loggers made before, by C code.

    If the block raises, all of it goes to stderr after all. Outside of a notebook nothing is kept.
    """
    heard = Heard()
    if not in_notebook():
        yield heard
        return
    try:
        with _of_python(heard), _of_the_process(heard):
            yield heard
    except BaseException:
        sys.stderr.write(heard.text)
        raise


@contextmanager
def _of_python(heard: Heard) -> Iterator[None]:
    """A logger may hold the stream itself, so it is the stream's own `write` that gives way."""
    stream = sys.stderr
    try:
        stream.write = heard.write
    except AttributeError:  # of a stream written in C
        sys.stderr = heard
        try:
            yield
        finally:
            sys.stderr = stream
        return
    try:
        yield
    finally:
        vars(stream).pop("write", None)  # the instance's; the one of the class is seen again


@contextmanager
def _of_the_process(heard: Heard) -> Iterator[None]:
    """What does not pass through `sys.stderr`: C code, and programs that are started."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            before = os.dup(2)
        except OSError:  # a full disk, or a stderr that is closed: then there is nowhere to keep it
            file = None
        if file is None:
            yield
            return
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            heard.write(file.read(LONGEST).decode(errors="replace"))

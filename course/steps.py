"""What a command is doing and how far it is, on stderr: in a terminal one line kept up to date, elsewhere plain lines.

Imports nothing slow: a command shows its first step before it imports torch.
"""

import sys
import time
from typing import Protocol, TextIO

from tqdm import tqdm

BETWEEN_LINES = 5.0  # seconds between two plain lines with the same words


class Step(Protocol):
    """What a function that takes time calls: what it is doing, which step that is (from 1), of how many; 0: not known."""

    def __call__(self, what: str, number: int = 0, total: int = 0) -> None: ...


def silent(what: str, number: int = 0, total: int = 0) -> None:
    """A step that shows nothing."""


class Steps:
    """Called with each step as it begins: ``step("hw2_vit", 3, 15)`` shows ``course build: hw2_vit (3 of 15)``.

    Used as a context: what is shown in a terminal is gone after it.

    Args:
        command: what comes before every step: ``"course build"``.
    """

    def __init__(self, command: str, file: TextIO | None = None):
        self.command = command
        self._file = sys.stderr if file is None else file
        self._bar = tqdm(bar_format="{desc}", leave=False, file=self._file) if self._file.isatty() else None
        self._last, self._time = "", 0.0

    def __call__(self, what: str, number: int = 0, total: int = 0) -> None:
        line = f"{self.command}: {what}" + (f" ({number} of {total})" if total else "")
        if self._bar is not None:
            bar = f"{{desc}} |{{bar:20}}| {{elapsed}}{'<{remaining}' if number > 1 else ''}" if total else "{desc}"
            if total != (self._bar.total or 0):
                self._bar.reset(total or None)
            self._bar.bar_format, self._bar.n = bar, max(number - 1, 0)
            self._bar.set_description_str(line)
        elif what != self._last or time.monotonic() >= self._time + BETWEEN_LINES:
            self._file.write(f"{line}\n")  # in one piece: other processes write there too
            self._file.flush()
            self._last, self._time = what, time.monotonic()

    def say(self, line: str) -> None:
        """Print a line on stdout, above what is shown."""
        with tqdm.external_write_mode(file=self._file):
            print(line, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, *_) -> None:
        self.close()

"""``course bench``: finds the benchmarks, which stand beside the package in ``benchmarks/``, and runs them."""

import importlib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path

from course.steps import Steps

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


class CannotRunHere(ValueError):
    """This machine lacks what a benchmark needs; the message says what. When all are run, the others go on."""


def bench_command(name: str | None, words: list[str], json_file: Path | None, steps: Steps, **flags) -> int:
    """Run one benchmark, or all; 0 when they have run, 2 if they cannot.

    Args:
        steps: what a benchmark that has an argument of this name shows its steps with; the others have bars of their own.
        words: what to measure, in the words of the benchmark.
        flags: options by name, None where not given; a benchmark gets those that it has.
    """
    names = sorted(path.stem for path in FOLDER.glob("*.py") if "\ndef bench(" in path.read_text(encoding="utf-8"))
    if not names:
        print(
            f"course bench: the benchmarks come with the course's repository, and {FOLDER} is not there",
            file=sys.stderr,
        )
        return 2
    from course.names import one_of  # loads torch

    given = {flag: value for flag, value in flags.items() if value is not None}
    try:
        chosen = [one_of(name, names, "there is no benchmark")] if name else names
        figures = {}
        for one in chosen:
            bench = _loaded(one)
            known = inspect.signature(bench).parameters
            for flag in given if name else ():
                if flag not in known:
                    raise ValueError(f"{one} has no --{flag}")
            if "steps" in known:
                own = {"steps": steps}
            else:
                own = {}
                steps.close()
            own |= {flag: value for flag, value in given.items() if flag in known}
            try:
                figures[one] = bench(words, **own)
            except CannotRunHere as reason:
                if name:
                    raise
                print(f"{one} is left out: {reason}")
    except (ValueError, ImportError) as error:
        print(f"course bench: {error}", file=sys.stderr)
        return 2
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def _loaded(name: str) -> Callable[..., dict]:
    root = str(FOLDER.parent)
    if root not in sys.path:  # where the command `course` runs, the repository itself is no place for modules
        sys.path.insert(0, root)
    return importlib.import_module(f"benchmarks.{name}").bench

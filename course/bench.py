"""``course bench``: finds the benchmarks, which stand beside the package in ``benchmarks/``, and runs them."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

from course.data.names import one_of

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def bench_command(name: str | None, only: list[str], json_file: Path | None, compiled: bool) -> int:
    """Run one benchmark, or all; 0 when they have run, 2 if they cannot."""
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    if not names:
        print(
            f"course bench: the benchmarks come with the course's repository, and {FOLDER} is not there",
            file=sys.stderr,
        )
        return 2
    try:
        chosen = [one_of(name, names, "there is no benchmark")] if name else names
        figures = {n: _loaded(n).bench(only, compiled=compiled) for n in chosen}
    except (ValueError, ImportError) as error:
        print(f"course bench: {error}", file=sys.stderr)
        return 2
    if json_file:
        json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks.{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module

"""``course check`` in a terminal: where to look in code of which nothing was named. Runs as a process of its own.

The exercises were run in a process that only says what it saw, so the cells are run once more here, on the student's
own machine and on the public inputs. Whatever goes wrong, nothing is said.
"""

import io
import json
import linecache
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

from course.checks import observe, place, public

MOST_SECONDS = 90.0  # a few are usual; on a machine that is busy with much else PyTorch alone takes long


def places(cells: list[dict[str, Any]], data: Path, wrong: dict[str, int]) -> dict[str, str]:
    """By exercise, the sentence about its line (`course.checks.place`); of what cannot be told, none.

    Args:
        cells: in the order in which they run: ``label``, ``source``, ``keep`` (the names that are judged).
        data: the check data. wrong: by exercise, the number of the call that went wrong.
    """
    asked = json.dumps({"cells": cells, "data": str(data), "wrong": wrong}).encode()
    command = [sys.executable, "-m", "course.checks.again"]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, timeout=MOST_SECONDS, check=True)
        said = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}
    return {name: sentence for name, sentence in said.items() if name in wrong and isinstance(sentence, str)}


def _answer(asked: dict[str, Any]) -> dict[str, str]:
    kept = _run(asked["cells"])
    said = {}
    for name, i in asked["wrong"].items():
        check = public.read(Path(asked["data"]), name)
        call = check.calls[i]
        if call.target in kept and i in check.pools:
            target, solutions = kept[call.target], check.solutions[call.target]
            stopped = "0.error" in observe({call.target: target}, [call]).notes
            found = place.find(target, call, check.pools[i], solutions, check.expected.answer, i, stopped)
            if found is not None:
                said[name] = found.sentence
    return said


def _run(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """What the cells gave to the names that are judged; a cell that stops leaves the others alone."""
    notebook = types.ModuleType("__main__")
    sys.modules["__main__"] = notebook
    kept = {}
    for cell in cells:
        file_name = f"<{cell['label']}>"
        linecache.cache[file_name] = (len(cell["source"]), None, cell["source"].splitlines(keepends=True), file_name)
        try:
            exec(compile(cell["source"], file_name, "exec", dont_inherit=True), notebook.__dict__)
        except (Exception, SystemExit):
            continue
        finally:
            kept.update({name: vars(notebook)[name] for name in cell["keep"] if name in vars(notebook)})
    return kept


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    answer_to, sys.stdout = sys.stdout, io.StringIO()
    print(json.dumps(_answer(json.load(sys.stdin))), file=answer_to, flush=True)

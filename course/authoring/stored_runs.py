"""Making the stored runs of a lecture: its own cells, run with every seed (``course bench lessons LECTURE``)."""

import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import torch

from course.atomic import write_atomically
from course.authoring.claims import experiments_of
from course.authoring.source import SourceFile
from course.seeds import FOLDER, RECORD, SEEDS
from course.steps import Steps


def store_runs(source: SourceFile, root: Path, steps: Steps) -> Path:
    """Run a lecture's code as it stands, every experiment with all seeds, and write what they gave.

    What is stored of an experiment whose code is still the same, under the same versions, is kept: delete the file to
    have it run again.

    Args:
        root: the repository.

    Returns:
        The file in ``course/stored_runs``.

    Raises:
        ValueError: the lecture has no experiment over seeds.
    """
    lecture = source.path.stem
    experiments = experiments_of(source)
    if not experiments:
        raise ValueError(f"{source.shown} calls over_seeds nowhere: there is nothing to store")
    path = FOLDER / f"{lecture}.json"
    versions = {"python": platform.python_version(), "torch": torch.__version__.partition("+")[0]}
    code = {experiment.name: experiment.code for experiment in experiments}
    kept = _still_of(path, code, versions)
    last = max(experiment.line for experiment in experiments)
    cells = [cell for cell in source.cells if cell.kind == "code" and cell.line <= last]
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        recorded = Path(folder) / "runs.json"
        recorded.write_text(json.dumps({"experiments": kept}), encoding="utf-8")
        given = {RECORD: str(recorded), "COURSE_BUDGET": "cpu"}
        before = {name: os.environ.get(name) for name in given}
        here = Path.cwd()
        os.environ.update(given)
        try:
            os.chdir(root / "notebooks")
            namespace = {"__name__": "__main__"}
            for i, cell in enumerate(cells):
                steps(f"running {source.shown} with {len(SEEDS)} seeds", i + 1, len(cells))
                exec(compile("\n" * (cell.line - 1) + cell.text, str(source.path), "exec"), namespace)
        finally:
            os.chdir(here)
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        found = json.loads(recorded.read_text(encoding="utf-8"))["experiments"]
    about = {
        "command": f"course bench lessons {lecture}",
        "seeds": list(SEEDS),
        "code": code,
        "versions": versions,
        "commit": commit_of(root),
        "seconds": round(time.monotonic() - begin),
    }
    text = json.dumps({"about": about, "experiments": found}, indent=1, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
    return path


def _still_of(path: Path, code: dict[str, str], versions: dict[str, str]) -> dict[str, dict]:
    """The stored experiments whose code and versions have not changed."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    about = stored["about"]
    if about["versions"] != versions:
        return {}
    return {name: runs for name, runs in stored["experiments"].items() if about["code"].get(name) == code.get(name)}


def commit_of(root: Path) -> str:
    """The commit from which it was run, ``""`` where git does not say."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

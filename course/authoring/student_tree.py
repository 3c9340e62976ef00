"""``course release``: what a student receives. No solution, no hidden input, no code of a named mistake."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from course.atomic import write_atomically
from course.authoring import leaks
from course.authoring.examine import checked
from course.authoring.files import HomeworkFiles, all_homeworks, all_lectures
from course.authoring.repository import RELEASE_MARKER as MARKER
from course.authoring.repository import AuthoringError, find_root, require_releasable
from course.authoring.source import read_source
from course.remembered import Memory
from course.steps import Step, Steps, silent

FIRST_CHECK = "hw0"
_FILES = ("pyproject.toml", "requirements.lock", "environment.yml", "Makefile", "LICENSE")
_NEVER = shutil.ignore_patterns("__pycache__", "*.pyc", ".ipynb_checkpoints", ".writing-*", ".DS_Store")

_README = """\
# A course on vision transformers

**Start**: you need Python 3.11 or newer. In this folder, run

```
make lab
```

It sets up everything in `.venv` and opens JupyterLab on `notebooks/00_start_here.ipynb`. Without `make`:

```
python3 -m venv .venv
.venv/bin/python -m pip install -r requirements.lock
.venv/bin/python -m pip install --no-deps -e .
.venv/bin/jupyter lab notebooks
```

(on Windows `.venv\\Scripts\\` in place of `.venv/bin/`)

**Read** the lectures in `notebooks/`, in the order of their numbers. Change numbers in them and run them
again.

**Homework** lies in `assignments/`:

{homework}

Each exercise is a cell that raises `NotImplementedError`: write it, run it, run the check below it. The check
says what is right, and what went wrong if something did. Keep each notebook in its folder, beside
`checks.safetensors`. To check a whole notebook at once:

```
.venv/bin/course check {example}
```

`.venv/bin/course progress` says what is right, begun and open in all of them, and what to do next. (In a terminal of
the JupyterLab that `make lab` starts, both go without `.venv/bin/`.)

**Hand in** the notebook, under the name it has.

If something does not start, `.venv/bin/course doctor` says what is missing and what to do.
"""


def release_command(out: Path, homeworks: Iterable[str] = (), steps: Steps | None = None, memory: bool = False) -> int:
    """``course release OUT [hwN ...]`` for a terminal. Returns 0, or 1 if nothing was released.

    `memory`: whether notebooks that were found clean before need not be examined again, see `course.authoring.examine.checked`.
    """
    step, say = (steps, steps.say) if steps else (silent, print)
    try:
        root = find_root()
        remembered = Memory(root) if memory else None
        release(Path(out), list(homeworks) or None, root=root, say=say, step=step, memory=remembered)
    except AuthoringError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def release(
    out: Path,
    homeworks: list[str] | None = None,
    *,
    root: Path | None = None,
    say: Callable[[str], None] = print,
    step: Step = silent,
    memory: Memory | None = None,
) -> list[Path]:
    """Write a student's tree: lectures, assignments, the package and what sets it up.

    Everything is first written beside `out` and examined file by file; only then is it moved to `out`. Into an
    earlier release the new files replace the old, homework released before stays, and a notebook that a
    student has changed is kept: the new one is put beside it as ``NAME.new.ipynb``.

    Args:
        out: a new or empty folder, or an earlier release.
        homeworks: ``"hw1"`` or ``"hw1_self_attention"``, beside which homework 0 always goes; None releases all.
        say: called with a line for what was written. step: called with each step.
        memory: see `course.authoring.examine.checked`. Every file that students receive is searched all the same.

    Returns:
        The files written, relative to `out`.

    Raises:
        AuthoringError: nothing was written, and the text says why.
    """
    root = (root or find_root()).resolve()
    out = Path(out).resolve()
    require_releasable(out, homeworks or (), root)
    works = _chosen(homeworks, root)
    _require_built(works, root, step, memory)
    staging = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        staging.mkdir(parents=True)
        _fill(staging, works, root)
        _require_clean(staging, root, step)
        step("putting it in place")
        if not (out / MARKER).is_file():
            written = _files(staging)
            _write_marker(staging, {path: [_digest(staging / path)] for path in written})
            if out.is_dir():
                out.rmdir()
            os.replace(staging, out)
        else:
            written = _update(out, staging, say)
    except OSError as error:
        raise AuthoringError(f"{out} cannot be written: {error.strerror} ({error.filename})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    say(f"{out}: {len(written)} files for students; {', '.join(work.name for work in works) or 'no homework'}")
    return [Path(path) for path in written]


def _chosen(homeworks: list[str] | None, root: Path) -> list[HomeworkFiles]:
    known = all_homeworks(root)
    if homeworks is None:
        return known
    by_name = {name: work for work in known for name in (work.name, work.name.split("_")[0])}
    # The start page shows what a check looks like on this one, so no release goes without it.
    always = [FIRST_CHECK] if FIRST_CHECK in by_name else []
    return list(dict.fromkeys(by_name[name] for name in (*always, *homeworks)))


def _require_built(works: list[HomeworkFiles], root: Path, step: Step, memory: Memory | None) -> None:
    """What is released must be what the sources say."""
    problems = [f"{name}: missing" for name in (*_FILES, "course") if not (root / name).exists()]
    targets = [*all_lectures(root), *works]
    for number, target in enumerate(targets, start=1):
        step(target.name, number, len(targets))
        problems += checked(target, memory)
    if problems:
        raise AuthoringError("not released, because:", *problems)


def _fill(staging: Path, works: list[HomeworkFiles], root: Path) -> None:
    for name in _FILES:
        shutil.copy2(root / name, staging / name)
    shutil.copytree(root / "course", staging / "course", ignore=_NEVER)
    lectures = {lecture.notebook.name for lecture in all_lectures(root)}

    def not_for_students(folder: str, names: list[str]) -> set[str]:
        stray = {name for name in names if name.endswith(".ipynb") and name not in lectures}
        return _NEVER(folder, names) | stray | ({"source"} if Path(folder) == root / "notebooks" else set())

    shutil.copytree(root / "notebooks", staging / "notebooks", ignore=not_for_students)
    for work in works:
        there = staging / "assignments" / work.name
        there.mkdir(parents=True)
        shutil.copy2(work.assignment, there)
        shutil.copy2(work.checks, there)
    lines = [f"- `assignments/{work.name}/{work.name}.ipynb`: {_title(work)}" for work in works]
    example = f"assignments/{works[0].name}/{works[0].name}.ipynb" if works else "NOTEBOOK"
    text = _README.format(homework="\n".join(lines) or "(none yet)", example=example)
    (staging / "README.md").write_text(text, encoding="utf-8")


def _title(work: HomeworkFiles) -> str:
    first = read_source(work.source, work.root).cells[0].text.split("\n")[0]
    return first.lstrip("# ")


def _require_clean(staging: Path, root: Path, step: Step) -> None:
    """Look into every file that students will receive, whatever wrote it."""
    secrets = leaks.secrets_in_tree(root / "solutions")
    problems = []
    names = _files(staging)
    for number, name in enumerate(names, start=1):
        step("looking into what students receive", number, len(names))
        look = leaks.find_in_assignment if name.startswith("assignments/") else leaks.find_in_other_file
        problems += [f"{name}: {found}" for found in look(staging / name, secrets)]
    if problems:
        raise AuthoringError("not released, because students would receive answers:", *problems)


def _update(out: Path, staging: Path, say: Callable[[str], None]) -> list[str]:
    """Replace an earlier release file by file; returns what was written."""
    known: dict[str, list[str]] = json.loads((out / MARKER).read_text(encoding="utf-8"))["files"]
    fresh = {name: _digest(staging / name) for name in _files(staging)}
    moves = {name: _new_name(out, name, fresh[name], known, say) for name in fresh}
    moves = {name: new_name for name, new_name in moves.items() if new_name is not None}
    # The new digests are noted before the first file moves: if this is cut short, what is already new is not
    # taken for a student's change next time.
    noted = {**known}
    for name, new_name in moves.items():
        noted[new_name] = list(dict.fromkeys([*known.get(new_name, []), fresh[name]]))
    _write_marker(out, noted)
    for name, new_name in moves.items():
        (out / new_name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / name, out / new_name)
        noted[new_name] = [fresh[name]]
    generated = [name for name in known if name.startswith(("course/", "notebooks/")) and name not in fresh]
    gone = [name for name in generated if not name.endswith(".new.ipynb")]
    for name in gone:
        if not _changed(out, name, known):
            (out / name).unlink(missing_ok=True)
            del noted[name]
    _write_marker(out, noted)
    return sorted(moves.values())


def _new_name(out: Path, name: str, digest: str, known: dict[str, list[str]], say: Callable[[str], None]) -> str | None:
    """Where a new file goes in an earlier release; None if what a student has there should simply stay."""
    if not name.endswith(".ipynb") or not _changed(out, name, known):
        return name
    if digest in (_digest(out / name), *known.get(name, [])):
        return None  # what they changed is this very version
    stem, number = name.removesuffix(".ipynb"), 1
    new_name = f"{stem}.new.ipynb"
    while _changed(out, new_name, known):
        if digest in (_digest(out / new_name), *known.get(new_name, [])):
            return None
        number += 1
        new_name = f"{stem}.new{number}.ipynb"
    say(f"{name}: changed since it was released, so kept; the new version is {new_name}")
    return new_name


def _changed(out: Path, name: str, known: dict[str, list[str]]) -> bool:
    return (out / name).is_file() and _digest(out / name) not in known.get(name, [])


def _write_marker(folder: Path, files: dict[str, list[str]]) -> None:
    text = json.dumps(
        {"note": "written by `course release`; a later release reads it", "files": files},
        indent=1,
        sort_keys=True,
    )
    write_atomically(folder / MARKER, (text + "\n").encode())


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

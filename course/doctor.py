"""What this machine has and lacks for the course, one line each, with the remedy."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OK, WARN, FAIL = "OK", "WARN", "FAIL"
Line = tuple[str, str, str]  # status, what was found, remedy

REINSTALL = "run `make lab` again, or `pip install -r requirements.lock` in this environment"
# What students and instructors need; pytest and nbval are for contributors.
NEEDED = ("torch", "torchvision", "jupyterlab", "matplotlib", "einops", "scikit-learn", "nbgrader", "safetensors")
FOR_TESTS = ("pytest", "nbval")
NEEDED_BY = {"cifar10": "no lecture needs it, some lectures and most homeworks have a cell that trains on it"}
FREE_SPACE_GB = 1.0  # CIFAR-10 and CIFAR-100, packed and unpacked, take about 0.7


def report() -> int:
    """Print one line a finding; 0 if the course can run here, 1 if something that it needs is missing."""
    failed = False
    for check in (_python, _packages, _torch, _memory, _kernel, _data_folder, _data_sets, _budget):
        for status, found, remedy in _guarded(check):
            failed |= status == FAIL
            print(f"[{status}]".ljust(7) + found + (f"  ->  {remedy}" if remedy else ""))
    print("Something is missing: see [FAIL] above." if failed else "Ready: open notebooks/00_start_here.ipynb.")
    return int(failed)


def _guarded(check) -> Iterator[Line]:
    """A finding that cannot be made is itself a finding; it must not hide the others."""
    try:
        yield from check()
    except Exception as error:
        yield FAIL, f"{check.__name__.strip('_')}: {type(error).__name__}: {error}", REINSTALL


def _python() -> Iterator[Line]:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < (3, 11):  # noqa: UP036 (who starts it with an older one should read why it fails)
        yield FAIL, found, "install Python 3.11 or newer and name it: make lab PYTHON=python3.12"
    else:
        yield OK, found, ""


def _packages() -> Iterator[Line]:
    missing = {FAIL: [], WARN: []}
    found = []
    for severity, names in ((FAIL, NEEDED), (WARN, FOR_TESTS)):
        for name in names:
            try:
                found.append(f"{name} {version(name)}")
            except PackageNotFoundError:
                missing[severity].append(name)
    yield OK, ", ".join(found), ""
    if missing[FAIL]:
        yield FAIL, f"missing: {', '.join(missing[FAIL])}", REINSTALL
    if missing[WARN]:
        yield WARN, f"missing: {', '.join(missing[WARN])}, which only `make test` needs", "pip install -e '.[tests]'"


def _torch() -> Iterator[Line]:
    import torch

    x = torch.ones(3, 3, requires_grad=True)
    (x @ x).sum().backward()
    if x.grad is None or float(x.grad[0, 0]) != 6.0:
        yield FAIL, "torch computes a wrong gradient of a 3x3 product", REINSTALL
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(i)
            yield OK, f"GPU {i}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB", ""
    elif torch.backends.mps.is_available():
        yield OK, "GPU: Apple Metal", ""
    else:
        yield OK, f"no GPU; {torch.get_num_threads()} of {os.cpu_count()} cores compute. The course runs on them.", ""
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    if torchvision.ops.nms(boxes, torch.ones(1), 0.5).tolist() != [0]:
        yield FAIL, "torchvision's compiled operators do not work with this torch", REINSTALL


def _memory() -> Iterator[Line]:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if gigabytes < 3.5:
        yield WARN, f"{gigabytes:.1f} GiB of memory", "set COURSE_BUDGET=tiny, and close other programs"
    else:
        yield OK, f"{gigabytes:.0f} GiB of memory", ""


def _kernel() -> Iterator[Line]:
    from jupyter_client.kernelspec import KernelSpecManager

    command = Path(KernelSpecManager().get_kernel_spec("python3").argv[0])
    # A bare "python" is replaced by the running interpreter when the kernel starts.
    if command.is_absolute() and command.parent != Path(sys.executable).parent:
        yield WARN, f"Jupyter's kernel python3 is {command}, not this Python", "start JupyterLab with `make lab`"
    else:
        yield OK, "Jupyter's kernel python3 is this Python", ""


def _data_folder() -> Iterator[Line]:
    from course.data_folder import data_folder

    folder = data_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    if not os.access(there, os.W_OK):
        yield WARN, f"data folder {folder} cannot be written", "set COURSE_DATA to a folder of yours"
    elif free < FREE_SPACE_GB:
        yield WARN, f"data folder {folder}: only {free:.1f} GB free", "free some space, or set COURSE_DATA"
    else:
        yield OK, f"data folder {folder}: {free:.0f} GB free", ""


def _data_sets() -> Iterator[Line]:
    from course.data import available

    rows = available()
    yield OK, "data sets here: " + ", ".join(row["name"] for row in rows if row["state"] == "here"), ""
    for row in rows:
        if row["state"] != "here":
            needed = NEEDED_BY.get(row["name"], "no lecture and no homework needs it")
            yield WARN, f"data set {row['name']} is {row['state']}; {needed}", f"course data {row['name']}"


def _budget() -> Iterator[Line]:
    from course.notebook import budget_name

    try:
        yield OK, f"training cells run at COURSE_BUDGET={budget_name()}", ""
    except ValueError as error:
        yield FAIL, str(error), "unset COURSE_BUDGET"

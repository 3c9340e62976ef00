"""JupyterLab as `make lab` starts it, on a copy of the course, and what a reader does in it with a mouse and keys."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TOKEN = "course"
LONGEST_RUN = 600  # seconds, for one notebook on a busy machine
LONGEST_WAIT = 300_000  # milliseconds, for anything on a page
REST = 4.0
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def running_lab(folder: Path, **variables: str) -> Iterator[str]:
    """`make lab` in `folder`, which becomes a copy of the course; yields its address.

    Args:
        folder: an empty folder; JupyterLab's own files and settings go there too, and a home.
        variables: of the environment.
    """
    for name in ("notebooks", "assignments", "solutions"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "course").symlink_to(ROOT / "course")
    (folder / "home").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "HOME": str(folder / "home"),
        "COURSE_BUDGET": "tiny",
        "PYTHONPATH": str(ROOT),
        **{f"JUPYTER_{kind}_DIR": str(folder / f".jupyter-{kind.lower()}") for kind in ("CONFIG", "DATA", "RUNTIME")},
        **variables,
    }
    environment.pop("VIRTUAL_ENV", None)
    # What the environment lacks is not installed here: -o takes it for ready.
    options = f"--no-browser --ip=127.0.0.1 --port={port} --IdentityProvider.token={TOKEN}"
    command = ["make", "lab", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.ready-default", f"LAB={options}"]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=1)
                break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()[-2000:]
                time.sleep(0.5)
        yield address
    finally:
        ask(address, "shutdown", "POST")
        server.wait(60)


def ask(lab: str, what: str, method: str = "GET", body: dict | None = None):
    """Of JupyterLab's server."""
    data = json.dumps(body).encode() if body is not None else b"" if method == "POST" else None
    headers = {"Authorization": f"token {TOKEN}"}
    request = urllib.request.Request(f"{lab}/api/{what}", data, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def open_notebook(
    browser, lab: str, path: str, *, width: int = 1280, height: int = 1000, scale: float = 1, kernel: bool = True
):
    """Its page, once its cells are drawn and, with `kernel`, its kernel is ready; `scale`: pixels of the screen for one."""
    page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
    page.set_default_timeout(LONGEST_WAIT)
    page.goto(f"{lab}/lab/tree/{path}?reset&token={TOKEN}")
    wait_for_cells(page, lab, path, kernel)
    return page


def wait_for_cells(page, lab: str, path: str, kernel: bool = True) -> None:
    cells = ask(lab, f"contents/{path}")["content"]["cells"]
    number = sum(cell["cell_type"] == "code" for cell in cells)
    page.wait_for_function("n => document.querySelectorAll('.jp-CodeCell').length >= Math.min(n, 3)", arg=number)
    page.locator(".jp-StatusBar-TextItem, .jp-Notebook-ExecutionIndicator").first.wait_for()
    if kernel:
        # The kernel is ready only when the status bar says so; before that, "Run All" clears cells and runs nothing.
        page.wait_for_function("() => document.body.innerText.includes('| Idle')")


def run_all(page, lab: str) -> None:
    before = [kernel["last_activity"] for kernel in ask(lab, "kernels")]
    page.get_by_text("Run", exact=True).first.click()
    page.get_by_text("Run All Cells", exact=True).click()
    # A small notebook may be through before the page ever says "Busy".
    end = time.monotonic() + LONGEST_RUN
    while before == [kernel["last_activity"] for kernel in ask(lab, "kernels")]:
        assert time.monotonic() < end, "no cell was ever run"
        page.wait_for_timeout(200)
    rest(page, lab)


def rest(page, lab: str) -> None:
    """Wait until every kernel has been idle for a while, and no cell waits: between two cells it is so for a moment too."""
    end, rested = time.monotonic() + LONGEST_RUN, 0.0
    while rested < REST:
        assert time.monotonic() < end, f"still running after {LONGEST_RUN} s"
        page.wait_for_timeout(500)
        busy = any(kernel["execution_state"] != "idle" for kernel in ask(lab, "kernels"))
        rested = 0 if busy or page.locator(".jp-InputPrompt", has_text="[*]").count() else rested + 0.5


def save(page) -> None:
    page.keyboard.press("Control+s")
    page.wait_for_function("() => !document.querySelector('.lm-TabBar-tab.jp-mod-dirty')")
    page.wait_for_timeout(1500)


def write_notebook(lab: str, path: str, *cells: str, kernel: str = "python3") -> None:
    """A small notebook with these cells of code."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    notebook.metadata["kernelspec"] = {"display_name": kernel, "language": "python", "name": kernel}
    ask(lab, f"contents/{path}", "PUT", {"type": "notebook", "content": notebook})


def cards_of(page, lab: str, path: str) -> list[str]:
    """Texts of the check cards of the saved notebook: the page itself draws only what is on screen."""
    save(page)
    notebook = ask(lab, f"contents/{path}")["content"]
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    html = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    assert not [output for output in outputs if output["output_type"] == "error"], "Run All stopped at an error"
    return [text for text in html if "border-left" in text]

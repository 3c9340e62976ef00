"""The course in a real browser: JupyterLab, where "Run All" shows what it should, and formgrader, where a mark is given.

Needs Chromium on this machine (Debian: ``apt-get install chromium``); skipped where there is none. The screenshots are
kept: COURSE_SCREENSHOTS names their folder.
"""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from course.grading import grade_command
from tests.sample_class import Notebook

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TOKEN = "course"
LONGEST_RUN = 240  # seconds, for one notebook on a busy machine
REST = 4.0

pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on a copy of the course; yields its address."""
    with running_lab(tmp_path_factory.mktemp("lab")) as address:
        yield address


@pytest.fixture(scope="module")
def sandboxed_lab(tmp_path_factory):
    """The same with kernels from the fork server."""
    with running_lab(tmp_path_factory.mktemp("lab"), JUPYTER_DEFAULT_PROVISIONER_NAME="course-sandbox") as address:
        yield address


@contextmanager
def running_lab(folder: Path, **variables: str):
    for name in ("notebooks", "assignments", "solutions"):
        shutil.copytree(ROOT / name, folder / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "COURSE_BUDGET": "tiny",
        "PYTHONPATH": str(ROOT),
        **variables,
        **{f"JUPYTER_{kind}_DIR": str(folder / f".jupyter-{kind.lower()}") for kind in ("CONFIG", "DATA", "RUNTIME")},
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=1)
                break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()[-2000:]
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = Path(os.environ.get("COURSE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def open_notebook(browser, lab: str, path: str):
    import nbformat

    # Windowing draws only the cells on screen; tall enough a window shows them all.
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(f"{lab}/lab/tree/{path}?reset&token={TOKEN}")
    cells = sum(cell.cell_type == "code" for cell in nbformat.read(ROOT / path, as_version=4).cells)
    page.wait_for_function("n => document.querySelectorAll('.jp-CodeCell').length >= Math.min(n, 3)", arg=cells)
    page.locator(".jp-StatusBar-TextItem, .jp-Notebook-ExecutionIndicator").first.wait_for()
    # The kernel is ready only when the status bar says so; before that, "Run All" clears cells and runs nothing.
    page.wait_for_function("() => document.body.innerText.includes('| Idle')", timeout=90_000)
    return page


def run_all(page, lab: str) -> None:
    before = [kernel["last_activity"] for kernel in ask(lab, "kernels")]
    page.get_by_text("Run", exact=True).first.click()
    page.get_by_text("Run All Cells", exact=True).click()
    # A small notebook may be through before the page ever says "Busy".
    end, rested = time.monotonic() + LONGEST_RUN, 0
    while before == [kernel["last_activity"] for kernel in ask(lab, "kernels")]:
        assert time.monotonic() < end, "no cell was ever run"
        page.wait_for_timeout(200)
    # A kernel is idle for a moment between two cells too: only a longer rest means that it is through.
    while rested < REST:
        assert time.monotonic() < end, f"still running after {LONGEST_RUN} s"
        page.wait_for_timeout(500)
        busy = any(kernel["execution_state"] != "idle" for kernel in ask(lab, "kernels"))
        rested = 0 if busy else rested + 0.5


def ask(lab: str, what: str):
    with urllib.request.urlopen(f"{lab}/api/{what}?token={TOKEN}") as answer:
        return json.load(answer)


def cards_of(page, lab: str, path: str) -> list[str]:
    """Texts of the check cards of the saved notebook: the page itself draws only what is on screen."""
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)
    notebook = ask(lab, f"contents/{path}")["content"]
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    html = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    assert not [output for output in outputs if output["output_type"] == "error"], "Run All stopped at an error"
    return [text for text in html if "border-left" in text]


def test_the_start_page_opens_with_its_figures(browser, lab, pictures):
    page = open_notebook(browser, lab, "notebooks/00_start_here.ipynb")
    assert page.locator(".jp-RenderedImage img").count() >= 1
    page.screenshot(path=pictures / "start.png")
    page.close()


@pytest.mark.parametrize("topic, exercises", [("hw0_first_check", 1), ("hw1_self_attention", 9)])
def test_run_all_on_the_solution_shows_green_cards(browser, lab, pictures, topic, exercises):
    path = f"solutions/{topic}/{topic}.ipynb"
    page = open_notebook(browser, lab, path)
    run_all(page, lab)
    cards = cards_of(page, lab, path)
    assert sum(": right, " in card for card in cards) == exercises
    page.locator("text=: right, ").first.scroll_into_view_if_needed()
    page.screenshot(path=pictures / f"{topic}_solution.png")
    page.close()


@pytest.mark.parametrize("kernels", ["lab", "sandboxed_lab"])
@pytest.mark.parametrize("topic, exercises", [("hw0_first_check", 1), ("hw1_self_attention", 9)])
def test_run_all_on_the_untouched_assignment_is_calm(browser, request, pictures, topic, exercises, kernels):
    lab = request.getfixturevalue(kernels)
    path = f"assignments/{topic}/{topic}.ipynb"
    page = open_notebook(browser, lab, path)
    run_all(page, lab)
    cards = cards_of(page, lab, path)
    assert sum("not started yet" in card for card in cards) == exercises
    page.locator("text=not started yet").first.scroll_into_view_if_needed()
    page.screenshot(path=pictures / f"{topic}_untouched_{kernels}.png")
    page.close()


def test_a_mark_given_in_formgrader_is_in_the_grades(browser, pictures, tmp_path, monkeypatch):
    """What a student wrote is read there as text, whatever it is, and the mark is in ``grades.csv`` after grading again."""
    monkeypatch.chdir(ROOT)
    topic, question = "hw1_self_attention", "order_and_cost"
    for student, more in (
        ("anna", "Because **order** is lost. <script>document.title = 'mine'</script>"),
        ("bert", ""),
    ):
        notebook = Notebook().solve("attention_scores")
        cell = notebook.cell(question)
        cell["source"] = "".join(cell["source"]) + (f"\n\n{more}" if more else "")
        (tmp_path / "class").mkdir(exist_ok=True)
        (tmp_path / "class" / f"{student}.ipynb").write_bytes(notebook.to_bytes())
    out = tmp_path / "grades"
    assert grade_command(tmp_path / "class", topic, out) == 0
    command = [sys.executable, "-m", "course.cli", "formgrader", str(out), "--no-browser"]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        address = server.stdout.readline().split()[-1]
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(address)
        page.locator("#main-table a.name-hidden").first.wait_for()
        assert page.locator("#main-table tr").count() == 2
        # Rows are called "Submission #1" until the name is asked for: the one that waits for a mark is anna's.
        waiting = page.locator("#main-table tr", has=page.locator(".needs-manual-grade .glyphicon-ok"))
        assert waiting.count() == 1
        waiting.locator("a.name-hidden").click()
        field = page.locator(f"input#{question}")
        field.wait_for()
        assert page.get_by_text("<script>document.title").is_visible() and page.title() != "mine"
        assert page.locator("strong", has_text="order").count() == 1
        with page.expect_response(
            lambda answer: "/api/grade/" in answer.url and answer.request.method == "PUT"
        ) as saved:
            field.fill("1.5")
            field.press("Tab")
        assert saved.value.ok
        page.screenshot(path=pictures / "formgrader.png")
        page.close()
    finally:
        server.terminate()
        server.wait(30)
    assert grade_command(tmp_path / "class", topic, out) == 0
    with open(out / "grades.csv", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert (rows["anna"][question], rows["bert"][question]) == ("1.5", "0")

"""The course in a real browser: JupyterLab, where "Run All" shows what it should, and formgrader, where a mark is given.

Needs Chromium on this machine (Debian: ``apt-get install chromium``); skipped where there is none. The screenshots are
kept: COURSE_SCREENSHOTS names their folder.
"""

import csv
import subprocess
import sys

import pytest

from course.grading import grade_command
from tests.browser.lab import CHROMIUM, LONGEST_WAIT, ROOT, cards_of, open_notebook, run_all, running_lab
from tests.sample_class import Notebook

pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def sandboxed_lab(tmp_path_factory):
    """The same with kernels from the fork server."""
    with running_lab(tmp_path_factory.mktemp("lab"), JUPYTER_DEFAULT_PROVISIONER_NAME="course-sandbox") as address:
        yield address


def test_the_start_page_opens_with_its_figures(browser, lab, pictures):
    page = open_notebook(browser, lab, "notebooks/00_start_here.ipynb")
    assert page.locator(".jp-RenderedHTMLCommon img").count() >= 1
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
        page.set_default_timeout(LONGEST_WAIT)
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

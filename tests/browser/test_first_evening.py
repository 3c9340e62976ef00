"""A student's first evening in JupyterLab, as `make lab` starts it: what a strict reader once found wrong, a test each.

One notebook is used by most of them: homework 0, written and checked, with cells that the student added.
"""

import json
import re
import sys
import time

import pytest

from tests.browser.lab import CHROMIUM, ask, open_notebook, rest, run_all, save, write_notebook

pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

HOMEWORK = "assignments/hw0_first_check/hw0_first_check.ipynb"
KNOBS = """from course import plots
from course.knobs import turn
def draw(shift, part):
    return plots.bars({"one": {"seen": shift / 4}, "two": {"seen": 0.2}}).described(f"The first bar is {shift / 4}.")
turn(draw, shift=[2, 0, 1, 3], part=["query", "key"])"""
WRONG = 'def wrong(x):\n    return x.sum(dim=1)\n\ncheck("hw0.mean_of_tokens", wrong)'
WAITING = 'def waiting(x):\n    raise NotImplementedError("hw0.mean_of_tokens")\n\ncheck("hw0.mean_of_tokens", waiting)'
PROGRESS = "from course import plots\nplots.course_progress()"
READABLE = 4.5  # WCAG 2.2, contrast of text, level AA

# Of every piece of text in a card: its words, its colour, and the colours under it from the nearest to the page's.
COLOURS = """cards => cards.flatMap(card => [card, ...card.querySelectorAll('*')]
    .filter(part => [...part.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
    .map(part => {
        const under = [], opacity = [];
        for (let at = part; at; at = at.parentElement) {
            under.push(getComputedStyle(at).backgroundColor);
            if (card.contains(at)) opacity.push(Number(getComputedStyle(at).opacity));
        }
        return {text: part.textContent, colour: getComputedStyle(part).color, under,
                opacity: opacity.reduce((a, b) => a * b, 1)};
    }))"""


@pytest.fixture(scope="module")
def evening(browser, lab):
    """The page of homework 0, all of it run, and saved."""
    content = ask(lab, f"contents/{HOMEWORK}")["content"]
    for cell in content["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "mean_of_tokens":
            cell["source"] = "def mean_of_tokens(x):\n    return x.mean(dim=1)"
    for number, (text, tags) in enumerate([(KNOBS, []), (WRONG, ["raises-exception"]), (WAITING, []), (PROGRESS, [])]):
        new = {"cell_type": "code", "id": f"own{number}", "metadata": {"tags": tags}, "source": text}
        content["cells"].append({**new, "outputs": [], "execution_count": None})
    ask(lab, f"contents/{HOMEWORK}", "PUT", {"type": "notebook", "content": content})
    page = open_notebook(browser, lab, HOMEWORK, height=3600)
    run_all(page, lab)
    save(page)
    yield page
    page.close()


def of_slider(page, name: str):
    return page.locator(".widget-hslider", has_text=name).locator(".noUi-handle")


# -- high


def test_course_is_found_in_the_terminal(browser, lab, evening, pictures):
    """Where the start page sends its reader; the shell of a login would have set PATH anew."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{lab}/lab?reset&token=course")
    page.get_by_text("File", exact=True).first.click()
    page.get_by_text("New", exact=True).last.hover()
    page.locator(".lm-Menu-item", has_text="Terminal").click()
    page.locator(".jp-Terminal .xterm-screen").wait_for()
    page.wait_for_timeout(2000)
    page.keyboard.type("course progress | tee seen.txt; echo $SHLVL > done.txt\n", delay=20)
    end = time.monotonic() + 300
    while not any(file["name"] == "done.txt" for file in ask(lab, "contents/")["content"]):
        assert time.monotonic() < end, "the terminal says nothing"
        page.wait_for_timeout(500)
    page.wait_for_timeout(1000)
    page.screenshot(path=pictures / "terminal.png")
    page.close()
    seen = ask(lab, "contents/seen.txt")["content"]
    assert re.search(r"hw0 · Your first check +1 of 1 +1 of 1 +done", seen) and "Next: " in seen


# -- medium


def test_dragging_right_makes_the_value_larger(evening):
    """Sorted values: from 2, where it begins, one step to the right is 3."""
    assert [of_slider(evening, "shift").get_attribute(f"aria-value{what}") for what in ("text", "min")] == ["2", "0.0"]
    of_slider(evening, "shift").focus()
    evening.keyboard.press("ArrowRight")
    evening.locator("img[alt='The first bar is 0.75.']").wait_for()
    evening.keyboard.press("ArrowLeft")
    evening.keyboard.press("ArrowLeft")
    evening.locator("img[alt='The first bar is 0.25.']").wait_for()


def test_a_knobs_picture_has_its_natural_size(evening, pictures):
    picture = evening.locator("img[alt^='The first bar is']")
    picture.scroll_into_view_if_needed()
    evening.screenshot(path=pictures / "knobs.png")
    assert picture.evaluate("image => image.clientWidth == image.naturalWidth && image.naturalWidth > 300")


def test_a_slider_has_a_name_and_a_value_for_a_screen_reader(evening):
    assert of_slider(evening, "part").get_attribute("aria-label") == "part"
    assert of_slider(evening, "part").get_attribute("aria-valuetext") == "query"
    assert all(image.get_attribute("alt") for image in evening.locator(".jp-OutputArea img").all())


def test_a_card_announces_its_verdict(evening):
    right = evening.get_by_role("status").filter(has_text="right, 1 of 1 points")
    assert right.count() == 1 and "run the next cell" in right.inner_text()
    assert evening.get_by_role("alert").filter(has_text="not right yet").count() == 1
    assert evening.get_by_role("status").filter(has_text="not started yet").count() == 1


def test_the_sentence_of_a_mistake_is_there_once(evening):
    cell = evening.locator(".jp-CodeCell", has=evening.get_by_role("alert").filter(has_text="not right yet"))
    sentence = cell.get_by_role("alert").locator("div").first.inner_text()
    assert len(sentence) > 20 and cell.inner_text().count(sentence) == 1
    assert "the card above says what is wrong" in cell.inner_text()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_cards_can_be_read_in_both_themes(evening, pictures, theme):
    choose_theme(evening, theme)
    cards = evening.locator(".jp-OutputArea [role=status], .jp-OutputArea [role=alert]").filter(has_text="hw0.mean")
    cards.first.scroll_into_view_if_needed()
    evening.screenshot(path=pictures / f"cards_{theme.split()[1].lower()}.png")
    pieces = cards.evaluate_all(COLOURS)
    assert len(pieces) >= 9
    for piece in pieces:
        assert contrast(piece) >= READABLE, (round(contrast(piece), 2), piece)


def test_a_figure_is_no_white_slab_in_the_dark(evening, pictures):
    choose_theme(evening, "JupyterLab Dark")
    picture = evening.locator("img[alt^='The first bar is']")
    style = picture.evaluate(
        "image => { const s = getComputedStyle(image); return [s.padding, s.borderRadius, s.filter] }"
    )
    picture.scroll_into_view_if_needed()
    evening.screenshot(path=pictures / "figure_dark.png")
    choose_theme(evening, "JupyterLab Light")
    assert style == ["8px", "6px", "brightness(0.9)"]
    assert picture.evaluate("image => getComputedStyle(image).padding") == "0px"


def test_the_map_shows_what_is_saved(evening, lab, pictures):
    """Run again now that the card is in the file: homework 0 is right, and the next thing is homework 1."""
    cell = evening.locator(".jp-CodeCell").last
    cell.locator(".cm-content").click()
    evening.keyboard.press("Control+Enter")
    evening.wait_for_timeout(1000)
    rest(evening, lab)
    cell.scroll_into_view_if_needed()
    evening.screenshot(path=pictures / "progress.png")
    rows = [row.inner_text().split("\t") for row in cell.locator("tbody tr").all()]
    assert [part.strip() for part in rows[0]] == ["hw0 · Your first check", "1 of 1", "1 of 1", "done"]
    assert rows[1][3].strip() == "not begun"
    assert (
        "Next: read lecture 3 · Self-attention, then hw1 · Self-attention: write attention_scores" in cell.inner_text()
    )
    assert cell.locator("tbody a").nth(1).get_attribute("href")


def test_a_homework_says_how_to_check_it_and_hand_it_in(evening, lab, pictures):
    """At its top and at its end."""
    prose = evening.locator(".jp-MarkdownCell")
    assert "Handing in at the end says how" in prose.first.inner_text()
    end = prose.filter(has=evening.locator("h2", has_text="Handing in"))
    end.scroll_into_view_if_needed()
    evening.screenshot(path=pictures / "handing_in.png")
    assert f"course check {HOMEWORK}" in end.inner_text() and "course progress" in end.inner_text()


def test_no_button_is_for_instructors(evening):
    assert evening.locator("text=/^Validate$/").count() == 0
    assert evening.get_by_text("Nbgrader").count() == 0 and evening.get_by_text("Create Assignment").count() == 0


@pytest.mark.parametrize(("width", "scale"), [(1280, 1), (1000, 1), (853, 1.5)])
def test_code_fits_beside_the_file_browser(browser, lab, pictures, width, scale):
    """853 pixels are a window of 1280 at a zoom of 150 %."""
    path = "assignments/hw1_self_attention/hw1_self_attention.ipynb"
    page = open_notebook(browser, lab, path, width=width, height=700, scale=scale, kernel=False)
    assert page.locator(".jp-FileBrowser").is_visible()
    there = ask(lab, f"contents/{path}")["content"]["cells"]
    number = sum(cell["cell_type"] == "code" for cell in there)
    cells = page.locator(".jp-CodeCell")
    cut = []
    for i in range(number):
        cells.nth(i).scroll_into_view_if_needed()  # JupyterLab draws what is on screen
        code = cells.nth(i).locator(".cm-scroller").first
        if code.evaluate("code => code.scrollWidth > code.clientWidth + 1"):
            cut.append(code.inner_text().splitlines()[0])
    page.screenshot(path=pictures / f"code_{width}.png")
    page.close()
    assert number > 30 and not cut, cut


def test_a_notebook_that_was_opened_does_not_look_unsaved(browser, lab):
    page = open_notebook(browser, lab, "notebooks/08_swin.ipynb", height=700)
    page.wait_for_timeout(5000)
    dirty = page.locator(".lm-TabBar-tab.jp-mod-dirty")
    assert dirty.count() == 0
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.type("# mine")
    dirty.first.wait_for()
    page.close()


def test_another_kernel_is_told_which_to_choose(browser, lab, lab_folder, pictures):
    name = "assignments/hw0_first_check/other_kernel.ipynb"
    folder = lab_folder / ".jupyter-data" / "kernels" / "other"
    folder.mkdir(parents=True)
    hide = "import sys; sys.modules['torch'] = sys.modules['course'] = None; from ipykernel import kernelapp; "
    start = [sys.executable, "-c", f"{hide}kernelapp.launch_new_instance()", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": start, "display_name": "Other", "language": "python"}))
    content = ask(lab, f"contents/{HOMEWORK}")["content"]
    setup = next(cell["source"] for cell in content["cells"] if "setup" in cell["metadata"].get("tags", ()))
    write_notebook(lab, name, setup, kernel="other")
    page = open_notebook(browser, lab, name, height=800)
    run_all(page, lab)
    page.screenshot(path=pictures / "other_kernel.png")
    said = page.locator(".jp-OutputArea").inner_text()
    page.close()
    assert "ModuleNotFoundError" in said and "Kernel > Change Kernel" in said and "Python 3 (ipykernel)" in said


# -- and the last, because it ends the kernels


def test_a_knobs_picture_is_there_when_the_notebook_is_opened_again(browser, lab, evening, pictures):
    """High: what was last shown, with its words, and no word of a widget that is gone."""
    save(evening)
    for session in ask(lab, "sessions"):
        ask(lab, f"sessions/{session['id']}", "DELETE")
    evening.wait_for_timeout(1000)
    save(evening)
    page = open_notebook(browser, lab, HOMEWORK, height=3600)
    picture = page.locator("img[alt='The first bar is 0.25.']")
    picture.wait_for()
    cell = page.locator(".jp-CodeCell", has=picture)
    cell.get_by_text("To turn this picture, run the cell").wait_for()
    picture.scroll_into_view_if_needed()
    page.screenshot(path=pictures / "knobs_again.png")
    assert "widget" not in cell.locator(".jp-OutputArea").inner_text().lower()
    assert picture.evaluate("image => image.naturalWidth > 300 && image.clientWidth == image.naturalWidth")
    page.close()


# -- what the tests above use


def choose_theme(page, name: str) -> None:
    page.get_by_text("Settings", exact=True).first.click()
    page.locator(".lm-Menu-item", has_text="Theme").first.hover()
    page.locator(".lm-Menu-item", has_text=name).first.click()
    light = str(name.endswith("Light")).lower()
    page.wait_for_function(f"() => document.body.dataset.jpThemeLight == '{light}'")
    page.keyboard.press("Escape")
    page.wait_for_timeout(1500)


def contrast(piece: dict) -> float:
    """Of a text and what is under it, as WCAG defines it: 1 to 21."""
    under = (255.0, 255.0, 255.0)
    for layer in reversed(piece["under"]):
        under = _over(layer, 1, under)
    text = _over(piece["colour"], piece["opacity"], under)
    light, dark = sorted((_luminance(text), _luminance(under)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _over(colour: str, opacity: float, under: tuple[float, ...]) -> tuple[float, ...]:
    """A colour as CSS computes it, ``rgba(46, 125, 50, 0.07)``, on what is under it."""
    red, green, blue, alpha = [*map(float, re.findall(r"[\d.]+", colour)), 1.0][:4]
    alpha *= opacity
    return tuple(alpha * c + (1 - alpha) * u for c, u in zip((red, green, blue), under))


def _luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (c / 255 for c in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_that_of_the_standard():
    black_on_white = {"colour": "rgb(0, 0, 0)", "opacity": 1, "under": ["rgba(0, 0, 0, 0)", "rgb(255, 255, 255)"]}
    assert contrast(black_on_white) == pytest.approx(21)
    grey = {**black_on_white, "colour": "rgb(118, 118, 118)"}
    assert 4.5 < contrast(grey) < 4.6 and contrast({**grey, "opacity": 0.9}) < 4.5

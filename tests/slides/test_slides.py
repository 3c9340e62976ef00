"""Slides: what becomes one, what stays in the speaker's notes, and that the file is whole in itself."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course.authoring import AuthoringError
from course.authoring.files import LectureFiles, all_lectures
from course.authoring.source import read_source
from course.slides.command import chosen, make
from course.slides.deck import HEIGHT, WIDTH, deck_html
from course.slides.split import CODE_LINES, LINES, slides_of

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
HEADER = "# 7 · Things\n\n| | |\n|---|---|\n| **You need** | [nothing](06_x.ipynb) |"
PICTURE = '<img src="data:image/png;base64,iVBORw0KGgo=" alt="a drawing">'


def deck_of(*cells):
    return slides_of(new_notebook(cells=[new_markdown_cell(HEADER), *cells]))


def code_cell(text="x = 1", tags=(), rich="", printed=""):
    outputs = [new_output("stream", name="stdout", text=printed)] if printed else []
    outputs += [new_output("execute_result", data={"text/html": rich})] if rich else []
    return new_code_cell(text, metadata={"tags": list(tags)}, outputs=outputs)


def words(slide):
    return " ".join(re.sub(r"<[^>]*>", "", " ".join(slide.body)).split())


def test_header_first_summary_last_and_nothing_of_exercises():
    title, one, summary = deck_of(
        new_markdown_cell("## 1 · One\n\nA **bold** word."),
        new_markdown_cell(
            "## Summary\n\n1. The end.\n\n## Exercises\n\nDo.\n\n<details><summary>A</summary>\n\nNo.\n</details>"
        ),
        new_markdown_cell("## References\n\n* A paper."),
    )
    assert (title.kind, title.heading, words(title)) == ("title", "7 · Things", "You neednothing")
    assert one.level == summary.level == 1 and words(summary) == "The end."


def test_a_long_paragraph_is_in_the_notes_and_its_bold_sentence_on_the_slide():
    text = (
        "First of all something else is said. " * 8 + "Then a **term** is explained. " + "More follows here, too. " * 10
    )
    _, slide = deck_of(new_markdown_cell(f"## 1 · One\n\n{text}"))
    assert words(slide).startswith("Then a term is explained.") and slide.lines <= 3
    assert "First of all" in slide.notes[0] and slide.notes[0].count("More follows") == 10


def test_a_picture_has_its_own_slide_with_the_sentence_that_says_what_it_shows():
    _, text, figure = deck_of(
        new_markdown_cell(
            "## 1 · One\n\nTokens are words. The figure shows **all** of them.<!-- printed --> Look at it."
        ),
        code_cell(rich=PICTURE),
    )
    assert text.kind == "text" and figure.kind == "figure" and figure.heading == "1 · One"
    assert figure.body == ['<p class="caption">The figure shows <strong>all</strong> of them.</p>', PICTURE]


def test_a_formula_stands_under_its_heading_whole():
    _, slide = deck_of(new_markdown_cell("## 1 · One\n\nBy definition:\n\n$$a_1 =\n- b_2$$\n\nSo it is."))
    assert slide.heading == "1 · One" and ">$$a_1 = - b_2$$<" in slide.body[1]
    assert "By definition:" in slide.body[0] and "So it is." in slide.body[2]


def test_the_answer_of_a_question_comes_with_the_next_click():
    _, asked, printed = deck_of(
        new_markdown_cell("## 1 · One\n\n**Question 7.1** How many?"),
        code_cell(printed="a 1\nb 2\n"),
        new_markdown_cell("<details><summary>Answer</summary>\n\nTwo of them.\n</details>"),
    )
    assert asked.heading == "Question 7.1" and asked.kind == "question" and printed.kind == "printed"
    assert asked.body == ['<p class="asked">How many?</p>', '<p class="fragment answer">Two of them.</p>']


def test_code_is_shown_where_it_is_marked_and_nowhere_else():
    _, shown = deck_of(new_markdown_cell("## 1 · One"), code_cell("y = 2"), code_cell("z = 3", tags=["slide-code"]))
    assert shown.kind == "code" and words(shown) == "z = 3"
    with pytest.raises(ValueError, match=r"begins 'a = 0'.* 19 lines .*split the cell"):
        deck_of(code_cell("a = 0\n" * (CODE_LINES + 1), tags=["slide-code"]))


def test_a_misspelt_mark_is_refused(tmp_path):
    path = tmp_path / "07_x.py"
    path.write_text('# %% tags=["setup"]\nx = 1\n\n# %% tags=["slide-kode"]\ny = 1\n')
    with pytest.raises(
        AuthoringError, match=r"07_x.py:4: tags=\['slide-kode'\] has a tag that is none of .*slide-code"
    ):
        read_source(path, tmp_path)


@pytest.mark.parametrize("lecture", all_lectures(ROOT), ids=lambda lecture: lecture.name)
def test_of_every_lecture_no_slide_has_more_lines_than_it_holds(lecture):
    slides = slides_of(nbformat.read(lecture.notebook, as_version=4))
    assert slides[0].kind == "title" and slides[-1].heading == "Summary"
    assert [s.heading for s in slides if s.lines > LINES] == []
    kinds = [slide.kind for slide in slides]
    assert kinds.count("figure") >= 5 and kinds.count("question") >= 2 and kinds.count("code") >= 1


def test_a_deck_holds_all_that_it_shows(tmp_path):
    make(LectureFiles(ROOT, "02_beyond_local"), tmp_path)
    (deck,) = tmp_path.iterdir()
    page = re.sub(r"<(script|style)>.*?</\1>", "", deck.read_text(), flags=re.DOTALL)
    assert "<link" not in page and page.count("<img ") >= 5
    assert set(re.findall(r'<[^>]*\bsrc="([^"]{10})', page)) == {"data:image"}
    assert "Reveal.initialize" in deck.read_text() and 'class="notes"' in page


def test_errors_say_what_to_do(tmp_path):
    with pytest.raises(AuthoringError, match=r"no lecture '99'; there is 00_start_here, 01_convolution"):
        chosen(["99"], ROOT)
    assert [lecture.name for lecture in chosen(["5", "02_beyond_local"], ROOT)] == [
        "05_vision_transformer",
        "02_beyond_local",
    ]
    with pytest.raises(
        AuthoringError, match=r"notebooks/05_x.ipynb: missing; run `course build notebooks/source/05_x.py`"
    ):
        make(LectureFiles(tmp_path, "05_x"), tmp_path)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


OVERFLOWING = f"""() => Reveal.getSlides().map((slide, i) => {{
    const at = Reveal.getIndices(slide); Reveal.slide(at.h, at.v, 99);
    return [i + 1, slide.scrollWidth, slide.scrollHeight];
}}).filter(([, wide, high]) => wide > {WIDTH} || high > {HEIGHT})"""


@pytest.mark.long
@needs_chromium
@pytest.mark.parametrize("lecture", all_lectures(ROOT), ids=lambda lecture: lecture.name)
def test_no_slide_overflows_in_a_browser(lecture, browser, tmp_path):
    make(lecture, tmp_path)
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    faults = []
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("request", lambda asked: faults.append(asked.url) if asked.url.startswith("http") else None)
    page.goto((tmp_path / f"{lecture.name}.html").as_uri())
    page.wait_for_selector("html[data-ready=yes]", timeout=120_000)
    assert page.evaluate(OVERFLOWING) == []
    assert page.locator("mjx-merror").count() == 0
    page.close()
    assert faults == []


@pytest.mark.long
@needs_chromium
def test_a_slide_with_too_much_is_found(browser, tmp_path):
    slides = deck_of(new_markdown_cell("## 1 · One\n\nShort."))
    slides[1].body *= 40
    (tmp_path / "deck.html").write_text(deck_html("x", slides))
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.goto((tmp_path / "deck.html").as_uri())
    page.wait_for_selector("html[data-ready=yes]", timeout=120_000)
    assert [number for number, *_ in page.evaluate(OVERFLOWING)] == [2]
    page.close()


@pytest.mark.long
@needs_chromium
def test_printing_gives_a_page_a_slide(browser, tmp_path):
    make(LectureFiles(ROOT, "00_start_here"), tmp_path)
    page = browser.new_page()
    page.goto((tmp_path / "00_start_here.html").as_uri() + "?print-pdf")
    page.wait_for_selector("html[data-ready=yes]", timeout=120_000)
    printed = page.pdf(prefer_css_page_size=True)
    slides = slides_of(nbformat.read(ROOT / "notebooks/00_start_here.ipynb", as_version=4))
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == len(slides)
    page.close()

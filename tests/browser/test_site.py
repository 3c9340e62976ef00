"""The site in a real browser: what it shows, and that it asks nobody but its own server for anything."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.browser.lab import CHROMIUM
from tests.site.conftest import MODELS, site  # noqa: F401  a fixture

pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

LECTURE = "notebooks/02_beyond_local"
PAGES = ["index", LECTURE, "assignments/hw1_self_attention/hw1_self_attention", "notebooks/glossary", "models/index"]
PAGES += [f"models/{MODELS[0]}", "CONTRIBUTING"]
WIDTHS = {"desk": 1280, "phone": 400}


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):  # noqa: F811
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def opened(browser, address):
    """Opens a page of the site; at the end, no page may have complained or asked for anything from elsewhere."""
    said, asked, pages = [], [], []

    def open_page(name, width=1280, colours="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=colours)
        pages.append(page)
        page.on(
            "console", lambda line: said.append(f"{name}: {line.text}") if line.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: said.append(f"{name}: {error}"))
        page.on("requestfailed", lambda request: said.append(f"{name}: not found: {request.url}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/{name}", wait_until="load")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []
    assert [url for url in asked if not url.startswith((f"{address}/", "data:"))] == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_window(opened, pictures, name, width):
    page = opened(f"{name}.html", WIDTHS[width])
    if page.locator(".math").count():
        page.locator("mjx-container").first.wait_for()
    page.screenshot(path=pictures / f"site_{name.replace('/', '_')}_{width}.png", full_page=name != LECTURE)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width]
    assert page.locator("h1:visible").count() == 1


def test_formulas_are_set_with_the_sites_own_fonts(opened):
    page = opened(f"{LECTURE}.html")
    page.locator("mjx-container").first.wait_for()
    page.evaluate("MathJax.startup.promise.then(() => document.fonts.ready)")
    assert page.locator("mjx-container").count() == page.locator(".bd-article .math").count() >= 5
    assert page.locator("mjx-merror").count() == 0
    loaded = page.evaluate("[...document.fonts].filter(f => f.status == 'loaded').map(f => f.family)")
    assert any("MJX" in family for family in loaded)


def test_search_finds_a_page_by_its_words(opened):
    page = opened("search.html?q=gather-excite")
    found = page.locator("#search-results li a", has_text="Beyond local")
    found.first.wait_for()
    found.first.click()
    page.locator("h1:visible", has_text="Beyond local").wait_for()
    assert LECTURE in page.url


def test_dark_for_those_whose_machine_is(opened, pictures):
    brightness = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"
    assert min(opened(f"{LECTURE}.html").evaluate(brightness)) > 200
    page = opened(f"{LECTURE}.html", colours="dark")
    page.locator("mjx-container").first.wait_for()
    page.locator("div.cell_output img").nth(1).scroll_into_view_if_needed()
    page.screenshot(path=pictures / "site_dark.png")
    assert max(page.evaluate(brightness)) < 60


def test_on_paper_stands_the_text_alone(opened):
    page = opened(f"{LECTURE}.html")
    assert page.locator(".bd-sidebar-primary").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".bd-sidebar-primary").is_visible() and page.locator("article").is_visible()

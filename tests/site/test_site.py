"""The site: what is on it, what never is, and that a fault is named before anybody sees it."""

import html
import json
import re
import subprocess

import pytest

from course.authoring import AuthoringError
from course.authoring.repository import homework_names
from course.site import build
from course.site.build import build_site
from course.site.look import faults_of
from course.site.pages import links_to_open, pages_of, with_links, write_sources
from tests.site.conftest import ADDRESS, MODELS, ROOT, small_pages

LECTURE = "notebooks/02_beyond_local.html"
HOMEWORK = "assignments/hw1_self_attention/hw1_self_attention.html"


def text_of(page):
    """What a reader sees of an HTML page, blanks normalised."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page.read_text())).split())


def test_every_page_is_there_and_without_fault(site):
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {
        "index.html",
        LECTURE,
        HOMEWORK,
        "notebooks/glossary.html",
        "docs/statuses.html",
        "models/index.html",
    } <= pages
    assert {f"models/{name}.html" for name in MODELS} <= pages
    assert faults_of(site) == []


def test_the_notebook_is_beside_its_page_as_it_is_in_the_repository(site):
    for page in (LECTURE, HOMEWORK):
        notebook = page.replace(".html", ".ipynb")
        assert (site / notebook).read_bytes() == (ROOT / notebook).read_bytes()
        assert f'href="{notebook.rpartition("/")[2]}" download' in (site / page).read_text()
    checks = "assignments/hw1_self_attention/checks.safetensors"
    assert (site / checks).read_bytes() == (ROOT / checks).read_bytes()


def test_a_lecture_shows_its_figures_with_their_words_and_its_formulas(site):
    page = (site / LECTURE).read_text()
    notebook = json.loads((ROOT / LECTURE.replace(".html", ".ipynb")).read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    figures = [h for o in outputs if "<img" in (h := "".join(o.get("data", {}).get("text/html", "")))]
    alts = [re.search(r'alt="([^"]*)"', figure)[1] for figure in figures]
    assert len(alts) >= 3 and all(f'alt="{alt}"' in page for alt in alts)
    assert page.count('class="math') >= 5 and "mathjax/tex-chtml.js" in page


def test_a_models_page_has_figures_drawing_source_and_neighbours(site):
    from course.models import card, show
    from course.models.drawn import architecture

    page = text_of(site / "models/vit_s16.html")
    assert card("vit_s16").paper in page and " ".join(show("vit_s16").split()) in page
    assert "Beside its neighbours" in page and "multiply-adds" in page
    assert f'alt="{html.escape(architecture("vit_s16").alt)}"' in (site / "models/vit_s16.html").read_text()
    assert all(" ".join(said.split()) in page for _, said in card("vit_s16").lines())
    assert 'href="vit_s16.html"' in (site / "models/index.html").read_text()


def test_no_page_says_a_line_of_a_solution_or_of_a_written_answer(site):
    """Read off the sources here, without the code that looks for answers when the site is built."""
    for topic in homework_names(ROOT):
        source = (ROOT / "solutions" / topic / f"{topic}.py").read_text()
        parts = re.split(r"^\W*(?:BEGIN|END) SOLUTION\W*$", source, flags=re.MULTILINE)
        assert len(parts) >= 3, topic
        given = " ".join(" ".join(part.replace("\n# ", "\n").split()) for part in parts[::2])
        lines = {" ".join(line.removeprefix("# ").split()) for part in parts[1::2] for line in part.split("\n")}
        secret = {line for line in lines if len(line) >= 25 and line not in given}
        page = site / "assignments" / topic / f"{topic}.html"
        if page.is_file():
            read = text_of(page)
            assert secret and "NotImplementedError" in read
            assert not [line for line in secret if line in read]
        for author in ("CONTRIBUTING.html", "docs/statuses.html", "notebooks/glossary.html"):
            assert not [line for line in secret if len(line) >= 60 and line in text_of(site / author)]


def test_a_notebook_with_an_answer_is_refused_by_name(tmp_path):
    solution = "solutions/hw1_self_attention/hw1_self_attention.ipynb"
    with pytest.raises(AuthoringError, match=rf"{solution}: holds"):
        write_sources(small_pages(homeworks=[solution]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_but_the_pages_reaches_the_site():
    pages = pages_of(ROOT).all()
    assert not [name for name in pages if name.startswith(("solutions/", "tests/"))]
    assert {f"assignments/{name}/{name}.ipynb" for name in homework_names(ROOT)} <= set(pages)
    assert {f"notebooks/{path.stem}.ipynb" for path in (ROOT / "notebooks/source").glob("[0-9]*.py")} <= set(pages)
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} <= set(pages)


def test_buttons_open_the_notebook_elsewhere_where_the_address_is_set(site):
    notebook = LECTURE.replace(".html", ".ipynb")
    page = (site / LECTURE).read_text()
    assert links_to_open(notebook, ADDRESS).keys() == {"Colab", "Kaggle", "Binder"}
    for address in links_to_open(notebook, ADDRESS).values():
        assert f'href="{html.escape(address)}"' in page
    assert links_to_open(notebook, "") == {}


def test_the_address_is_a_setting_of_pyproject(tmp_path):
    for name in ("notebooks", "assignments", "solutions", "docs", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    setting = '[tool.course]\nrepository = "{}"\n'
    (tmp_path / "pyproject.toml").write_text(setting.format(ADDRESS))
    assert pages_of(tmp_path).repository == ADDRESS
    (tmp_path / "pyproject.toml").write_text(setting.format("somewhere"))
    with pytest.raises(AuthoringError, match=r"pyproject.toml: repository = 'somewhere' .*should be https"):
        pages_of(tmp_path)


def test_links_to_files_without_a_page_lead_to_the_repository_or_are_plain_words():
    text = 'See [the rules](statuses.md#late), [the walk](../course/checks/__init__.py "code"), [torch](https://pytorch.org).\n'
    text += "```\n[code](../Makefile)\n```\n"
    known = {"docs/statuses.md"}
    without = with_links(text, "docs/authoring.md", known, small_pages())
    assert without == text.replace('[the walk](../course/checks/__init__.py "code")', "the walk")
    given = with_links(text, "docs/authoring.md", known, small_pages(repository=ADDRESS))
    assert f"[the walk]({ADDRESS}/blob/main/course/checks/__init__.py)" in given and "[code](../Makefile)" in given


PAGE = '<html lang="en"><body><h1 id="top">Title</h1>{}</body></html>'


@pytest.mark.parametrize(
    "body, fault",
    [
        ('<a href="other.html#there">right</a><img src="data:image/png;base64,AA" alt="a dot">', None),
        ('<a href="https://example.org">elsewhere, when it is clicked</a>', None),
        ('<a href="gone.html">x</a>', "page.html: the link to gone.html leads nowhere"),
        ('<a href="../up.html">x</a>', "page.html: the link to ../up.html leads nowhere"),
        (
            '<a href="other.html#gone">x</a>',
            "page.html: the link to other.html#gone leads to a page that has no such place",
        ),
        ('<img src="other.html" alt="">', "page.html: the picture other.html has no words for who cannot see it"),
        (
            '<script src="https://cdn.org/x.js"></script>',
            "page.html: https://cdn.org/x.js would be fetched from the network",
        ),
        (
            '<link rel="stylesheet" href="//cdn.org/x.css">',
            "page.html: //cdn.org/x.css would be fetched from the network",
        ),
    ],
)
def test_each_fault_of_a_page_is_named(tmp_path, body, fault):
    (tmp_path / "page.html").write_text(PAGE.format(body))
    (tmp_path / "other.html").write_text(PAGE.format('<p id="there">'))
    assert faults_of(tmp_path) == ([fault] if fault else [])


def test_a_page_without_heading_or_language_is_named(tmp_path):
    (tmp_path / "page.html").write_text("<html><body>x</body></html>")
    assert faults_of(tmp_path) == [
        "page.html: has no first-level heading",
        "page.html: does not say in which language it is",
    ]


def test_what_sphinx_warns_of_is_said_with_its_file_and_the_earlier_site_stays(tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    (site / build.MARKER).write_text("an earlier site")
    warning = "docs/statuses.md:3: WARNING: 'myst' cross-reference target not found: 'no_such_file.md'"

    class Warns(subprocess.Popen):
        def __init__(self, command, *, stderr, **options):
            stderr.write(f"{command[-2]}/{warning}\n")
            super().__init__(["true"], stderr=stderr, **options)

    monkeypatch.setattr(build.subprocess, "Popen", Warns)
    with pytest.raises(AuthoringError) as stopped:
        build_site(small_pages(homeworks=[], lectures=[]), site, models=[])
    assert stopped.value.lines[1:] == [warning]
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    assert (site / build.MARKER).read_text() == "an earlier site"


def test_no_folder_but_an_earlier_site_is_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(
        AuthoringError, match="is not empty and no earlier site of this kind: empty it, or give another folder"
    ):
        build_site(small_pages(), tmp_path, models=[])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

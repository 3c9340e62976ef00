"""The glossary: its page, and the links that the build puts into the lectures."""

from pathlib import Path

import pytest

from course.authoring import notebooks
from course.authoring.source import read_source
from course.glossary import PAGE, TERMS, Term, first_use, page, with_links

ROOT = Path(__file__).parents[1]
PATCH = Term("patch", "A square of pixels.", 3, also=("tile",))


@pytest.mark.parametrize(
    "text, linked",
    [
        ("A patch is a square, a patch.", "A [patch](glossary.md#patch) is a square, a patch."),
        ("Two **Patches** and two patches", "Two **[Patches](glossary.md#patch)** and two patches"),
        ("The **tile** here", "The **[tile](glossary.md#patch)** here"),
        (
            "# A patch\n\n`patch` and $patch$, [a patch](x.md)<!-- patch -->\n\n| patch |\n\ntiles",
            "[tiles](glossary.md#patch)",
        ),
        ("patch-wise, dispatch", "patch-wise, dispatch"),
    ],
)
def test_the_first_use_in_prose_is_linked_and_nothing_else(text, linked):
    assert with_links([text], 3, (PATCH,))[0].endswith(linked)
    assert with_links([text], 4, (PATCH,)) == [text]


def test_capitals_are_a_name_and_small_letters_a_word():
    norm = Term("layer norm", "It normalises.", 3, also=("LN",))
    assert first_use("the logarithm, ln N, of N", norm) is None
    assert first_use("ln N, then LN and Layer norms", norm)[0] == "LN"


def test_a_term_is_linked_once_in_a_lecture():
    assert with_links(["None here.", "A patch.", "A patch."], 3, (PATCH,)) == [
        "None here.",
        "A [patch](glossary.md#patch).",
        "A patch.",
    ]


def test_the_page_is_in_the_order_of_the_alphabet_and_names_the_lecture():
    text = page((Term("zoom", "Nearer.", 3, chinese="變焦"), PATCH))
    assert text.index("## patch") < text.index("## zoom")
    assert "A square of pixels. *(also: tile; [3 · Self-attention](03_self_attention.ipynb))*" in text
    assert "Chinese: 變焦" in text
    assert (ROOT / "notebooks" / PAGE).read_text(encoding="utf-8") == page()


def test_every_term_is_there_once():
    names = [name.lower() for term in TERMS for name in (term.name, *term.also)]
    assert len(set(names)) == len(names)
    assert len({term.anchor for term in TERMS}) == len(TERMS)


def test_the_build_links_a_lecture(tmp_path):
    path = tmp_path / "03_patches.py"
    path.write_text(
        '# %% [markdown]\n# # Patches\n#\n# An image is cut into patches: a patch has 16 × 16 pixels.\n\n# %% tags=["setup"]\nx = 1\n'
    )
    notebook = notebooks.make_notebook(read_source(path, tmp_path), notebooks.LECTURE)
    assert "cut into [patches](glossary.md#patch): a patch" in notebook.cells[0].source
    assert first_use("no such thing", PATCH) is None


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_every_term_is_used_in_the_lecture_that_it_is_linked_in(term):
    (path,) = (ROOT / "notebooks" / "source").glob(f"{term.lecture:02}_*.py")
    texts = [cell.text for cell in read_source(path, ROOT).cells if cell.kind == "markdown"]
    assert any(first_use(text, term) for text in texts), f"{path.name} says it nowhere: give another lecture"

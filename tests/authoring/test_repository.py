"""The course itself: every notebook is what its source says, and no assignment holds an answer."""

import re

import nbformat

from course.authoring import build, find_root, release


def test_every_source_is_built_and_no_notebook_was_edited_by_hand():
    assert build(check=True, root=find_root()) == []


def test_no_line_inside_a_mark_begins_like_a_list():
    """Markdown would end the paragraph there, and show the mark to the student."""
    root, found = find_root(), []
    for path in sorted([*root.glob("notebooks/*.ipynb"), *root.glob("assignments/*/*.ipynb")]):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                marks = re.findall(r"<!--.*?-->", cell.source, flags=re.DOTALL)
                found += [f"{path.name}: {mark}" for mark in marks if re.search(r"\n\s*([-+*]|1[.)])\s", mark)]
    assert found == []


def test_a_release_of_one_homework_brings_homework_0_which_the_start_page_uses(tmp_path):
    out = tmp_path / "student"
    release(out, ["hw1"], root=find_root(), say=lambda line: None)
    assert sorted(folder.name for folder in (out / "assignments").iterdir()) == [
        "hw0_first_check",
        "hw1_self_attention",
    ]
    assert not (out / "solutions").exists() and not (out / "tests").exists() and (out / "Makefile").is_file()

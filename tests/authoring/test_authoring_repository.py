"""The course itself: every notebook is what its source says, and no assignment holds an answer."""

from course.authoring import build, find_root


def test_every_source_is_built_and_no_notebook_was_edited_by_hand():
    assert build(check=True, root=find_root()) == []

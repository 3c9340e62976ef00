"""The course itself: every notebook is what its source says, and no assignment holds an answer."""

from course.authoring import build, find_root, release


def test_every_source_is_built_and_no_notebook_was_edited_by_hand():
    assert build(check=True, root=find_root()) == []


def test_a_release_of_one_homework_brings_homework_0_which_the_start_page_uses(tmp_path):
    out = tmp_path / "student"
    release(out, ["hw1"], root=find_root(), say=lambda line: None)
    assert sorted(folder.name for folder in (out / "assignments").iterdir()) == [
        "hw0_first_check",
        "hw1_self_attention",
    ]
    assert not (out / "solutions").exists() and not (out / "tests").exists() and (out / "Makefile").is_file()

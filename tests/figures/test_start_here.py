"""The figures of lecture 0: the map shows what is there."""

from course.figures import start_here as figures


def test_the_map_shows_what_is_in_the_folder(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "08_swin.ipynb").touch()
    (tmp_path / "assignments" / "hw3_swin").mkdir(parents=True)
    assert figures.course_map(tmp_path).alt.endswith("here are: Swin")
    assert "6 what ViTs see builds on 5;" in figures.course_map(tmp_path).alt
    (tmp_path / "notebooks" / "source").mkdir()
    (tmp_path / "notebooks" / "source" / "14_video.py").touch()
    assert figures.course_map(tmp_path).alt.endswith("here are: Swin, video")


def test_the_map_finds_the_course_from_a_notebook_folder(tmp_path, monkeypatch):
    (tmp_path / "notebooks" / "source").mkdir(parents=True)
    (tmp_path / "notebooks" / "source" / "10_all_mlp.py").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert figures.course_map().alt.endswith("here are: all-MLP")

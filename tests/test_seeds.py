"""Experiments over several seeds: one runs here, the others are looked up, and all are stored by one command."""

import json

import pytest

from course import seeds
from course.authoring.source import read_source
from course.authoring.stored_runs import store_runs
from course.plots import bars, curves
from course.steps import Steps

LECTURE = """\
# %% [markdown]
# # A lecture of one experiment

# %% tags=["setup"]
from course.seeds import over_seeds

# %%
SIZE = 3

def experiment(seed):
    return {"a": {"x": 0.1 * seed + SIZE}, "curve": [seed, seed + 1.0]}

results = over_seeds("97_tiny/sizes", experiment)

# %%
raise RuntimeError("what stands below the last experiment is not run")
"""


def test_what_was_trained_once_is_not_trained_again_where_the_seed_is_left_out():
    trained = []

    @seeds.cache
    def network(kind, seed=0, *, fresh=False):
        """A network."""
        trained.append((kind, seed, fresh))
        return object()

    first = network("ViT")
    assert first is network("ViT", 0) is network("ViT", seed=0) is network(kind="ViT", fresh=False)
    assert first is not network("ViT", 1) and network("ViT", fresh=True) is not first
    assert trained == [("ViT", 0, False), ("ViT", 1, False), ("ViT", 0, True)] and network.__doc__ == "A network."


SHOWN = """
# %%
models = {}

def remembering(seed):
    models[seed] = seed
    return {"a": 1.0}

over_seeds("97_tiny/remembering", remembering)

# %%
shown = models[0]

# %%
over_seeds("97_tiny/last", remembering)
"""


@pytest.fixture
def lecture(tmp_path, monkeypatch):
    """The source of the lecture in a repository of its own; runs are stored there, too."""
    monkeypatch.setattr(seeds, "FOLDER", tmp_path / "stored_runs")
    monkeypatch.setattr("course.authoring.stored_runs.FOLDER", tmp_path / "stored_runs")
    path = tmp_path / "notebooks" / "source" / "97_tiny.py"
    path.parent.mkdir(parents=True)
    path.write_text(LECTURE)
    return read_source(path, tmp_path)


def counted(trained):
    def experiment(seed):
        trained.append(seed)
        return {"a": {"x": 10.0 + seed}, 3: [float(seed), 1.0]}

    return experiment


def test_the_command_runs_every_seed_and_says_where_the_numbers_are_from(lecture, tmp_path):
    with Steps("test") as steps:
        path = store_runs(lecture, tmp_path, steps)
    written = json.loads(path.read_text())
    assert written["experiments"]["sizes"] == {
        "0": {"a": {"x": 3.0}, "curve": [0.0, 1.0]},
        "1": {"a": {"x": 3.1}, "curve": [1.0, 2.0]},
        "2": {"a": {"x": 3.2}, "curve": [2.0, 3.0]},
    }
    about = written["about"]
    assert about["command"] == "course bench lessons 97_tiny" and about["seeds"] == [0, 1, 2]
    assert set(about["versions"]) == {"python", "torch"} and set(about["code"]) == {"sizes"} and "commit" in about


def test_one_seed_is_trained_and_the_others_are_looked_up(lecture, tmp_path, monkeypatch):
    with Steps("test") as steps:
        store_runs(lecture, tmp_path, steps)
    monkeypatch.setenv("COURSE_BUDGET", "cpu")
    trained = []

    def experiment(seed):
        trained.append(seed)
        return {"a": {"x": 7.0}, "curve": [5.0, 6.0]}

    found = seeds.over_seeds("97_tiny/sizes", experiment)
    assert found == {"a": {"x": (7.0, 3.1, 3.2)}, "curve": ([5.0, 6.0], [1.0, 2.0], [2.0, 3.0])}
    assert trained == [0]


def test_tiny_trains_one_and_gpu_trains_all(lecture, monkeypatch):
    for budget, expected in (("tiny", [0]), ("gpu", [0, 1, 2])):
        monkeypatch.setenv("COURSE_BUDGET", budget)
        trained = []
        found = seeds.over_seeds("97_tiny/sizes", counted(trained))
        assert trained == expected and found["a"]["x"] == tuple(10.0 + seed for seed in expected)


def test_without_a_stored_run_it_is_one_seed_and_says_so(lecture, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_BUDGET", "cpu")
    assert seeds.over_seeds("97_tiny/sizes", counted([]))["a"]["x"] == (10.0,)
    assert "`course bench lessons 97_tiny` runs and stores 3" in capsys.readouterr().out


@pytest.mark.parametrize("budget", ["tiny", "cpu", "gpu"])
def test_what_is_too_long_for_a_cell_is_looked_up_with_every_seed_and_run_once_where_nothing_is_stored(
    lecture, tmp_path, monkeypatch, budget
):
    monkeypatch.setenv("COURSE_BUDGET", budget)
    trained = []
    assert seeds.over_seeds("97_tiny/sizes", counted(trained), live=False)["a"]["x"][0] == 10.0
    assert trained == ([0, 1, 2] if budget == "gpu" else [0])
    with Steps("test") as steps:
        store_runs(lecture, tmp_path, steps)
    trained.clear()
    found = seeds.over_seeds("97_tiny/sizes", counted(trained), live=False)
    assert found["a"]["x"] == (3.0, 3.1, 3.2) and trained == []


def test_what_is_stored_of_the_same_code_is_kept_and_the_rest_is_run(lecture, tmp_path):
    with Steps("test") as steps:
        path = store_runs(lecture, tmp_path, steps)
        written = json.loads(path.read_text())
        for run in written["experiments"]["sizes"].values():
            run["curve"] = [8.0, 9.0]
        path.write_text(json.dumps(written))

        def first_curve():
            return json.loads(store_runs(lecture, tmp_path, steps).read_text())["experiments"]["sizes"]["0"]["curve"]

        assert first_curve() == [8.0, 9.0], "the same code: kept"
        lecture.path.write_text(LECTURE.partition("# %%\nraise")[0] + SHOWN)
        lecture = read_source(lecture.path, tmp_path)
        for _ in range(2):  # kept the second time: what the cell has trained is there for the cells below it
            store_runs(lecture, tmp_path, steps)
        lecture.path.write_text(LECTURE.replace("SIZE = 3", "SIZE = 4"))
        lecture = read_source(lecture.path, tmp_path)
        assert first_curve() == [0.0, 1.0], "other code: run again"
        path.write_text(json.dumps(written | {"about": written["about"] | {"versions": {"torch": "1.0"}}}))
        lecture.path.write_text(LECTURE)
        lecture = read_source(lecture.path, tmp_path)
        assert first_curve() == [0.0, 1.0], "another torch: run again"


def test_a_stored_run_of_other_code_is_named(lecture, tmp_path, monkeypatch):
    with Steps("test") as steps:
        store_runs(lecture, tmp_path, steps)
    monkeypatch.setenv("COURSE_BUDGET", "cpu")
    with pytest.raises(
        ValueError, match="97_tiny/sizes: the stored run has a, curve and this one a, 3: run `course bench"
    ):
        seeds.over_seeds("97_tiny/sizes", counted([]))


def test_a_lecture_without_experiments_has_nothing_to_store(lecture, tmp_path):
    lecture.path.write_text('# %% tags=["setup"]\nx = 1\n')
    with Steps("test") as steps, pytest.raises(ValueError, match="calls over_seeds nowhere"):
        store_runs(read_source(lecture.path, tmp_path), tmp_path, steps)


def test_bars_show_every_seed_and_the_range():
    picture = bars({"CNN": {"texture": (0.70, 0.90, 0.80)}, "ViT": {"texture": 0.5}})
    (axis,) = picture.axes
    assert [text.get_text() for text in axis.texts] == ["70–90", "50"] and "CNN: texture 70–90 %" in picture.alt
    assert [round(bar.get_width()) for bar in axis.patches] == [80, 50]
    (marks,) = axis.lines
    assert list(marks.get_xdata().round()) == [70, 90, 80]


def test_curves_of_several_seeds_have_a_band():
    picture = curves([1, 2], {"a": ([1.0, 2.0], [3.0, 6.0]), "b": [0.0, 1.0]})
    (axis,) = picture.axes
    (band,) = axis.collections
    assert band.get_paths()[0].get_extents().bounds == (1, 1, 1, 5)
    assert list(axis.lines[0].get_ydata()) == [2, 4]

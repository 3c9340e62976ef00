"""``course bench loading`` and ``startup``, on a handful of images: what is counted is what was loaded."""

import pytest

from benchmarks import loading
from course.cli import main


def test_both_sides_load_every_image_and_the_figures_are_of_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(loading, "BATCH", 4)
    monkeypatch.setattr(loading, "_vit", loading._linear)
    loading.make_images(tmp_path / "photos", 12)
    figures = loading._measured(tmp_path / "photos", rounds=1)
    assert figures["images"] == 12 and figures["memory"]["ours_mapped"] == 12 * 3 * 256 * 256
    assert figures["memory"]["theirs_workers"] > 10e6 and len(figures["epochs"]["ratios"]) == 1
    for side in ("ours", "theirs"):
        assert figures["epochs"][side] > 0 and figures["epochs"][f"{side}_cpu"] > 0
    loading._print(figures)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{figures['epochs']['ratio']:.2f}× the images a second")


def test_the_two_sides_see_images_alike(tmp_path, monkeypatch):
    """Mean and spread of what comes out: normalised by the same numbers, cut out of the same images."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(loading, "BATCH", 12)
    monkeypatch.setattr(loading, "WORKERS", 1)
    loading.make_images(tmp_path / "photos", 12)
    data = loading.load(tmp_path / "photos", img_size=loading.KEPT, device="cpu")
    [(ours, labels)] = loading.Ours(data)()
    [(theirs, their_labels)] = loading.Theirs(tmp_path / "photos" / "train")()
    assert ours.shape == theirs.shape == (12, 3, 224, 224) and sorted(labels.tolist()) == sorted(their_labels.tolist())
    assert abs(ours.mean() - theirs.mean()) < 0.2 and abs(ours.std() - theirs.std()) < 0.2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["loading", "12"], "128 at least, not '12'"),
        (["loading", "a"], "not 'a'"),
        (["startup", "3"], "takes no words"),
    ],
)
def test_wrong_words_are_a_sentence(words, sentence, capsys):
    assert main(["bench", *words]) == 2
    assert sentence in capsys.readouterr().err

"""``course bench shapes``: three steps of it, and what is stored of a whole run."""

import pytest

from benchmarks import shapes
from course.analysis import average_precision
from course.data import load
from course.data.shapes import objects
from course.models import create_model
from course.models.dense.detr import detections
from course.training.pretrained import FOLDER, load_pretrained

STORED = FOLDER / "detr_shapes.safetensors"


def test_three_steps_both_ways(capsys, monkeypatch):
    monkeypatch.setattr(shapes, "load", lambda name, split="train", size=None: load(name, split, size=20, device="cpu"))
    figures = shapes.bench([])
    assert list(figures) == ["matched", "in_order"]
    assert figures["matched"]["loss"] != figures["in_order"]["loss"] > 1
    assert "in_order: AP 0.0" in capsys.readouterr().out


def test_what_it_does_not_do_is_said():
    with pytest.raises(ValueError, match="shapes are not learned by 'sorted'"):
        shapes.bench(["sorted"])
    with pytest.raises(ValueError, match="not worth storing"):
        shapes.bench([], save=True)


def test_what_is_stored_finds_the_shapes_as_well_as_its_header_says():
    model = create_model("detr_shapes")
    origin = load_pretrained(STORED, model)
    test = load("shapes", "test", size=200, device="cpu")
    found = detections(*model(model.normalise_images(test.images)))
    ap50 = average_precision(found, objects(test), 4, (0.5,))
    assert origin.data == "shapes, 8,000 images" and origin.recipe["steps"] == shapes.RECIPE.steps
    assert ap50 == pytest.approx(origin.accuracy, abs=0.05)

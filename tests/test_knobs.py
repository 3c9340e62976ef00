"""A picture with knobs: the picture stays where no kernel runs, and turning draws another."""

import base64
import re
from hashlib import sha256

import nbformat
import pytest
from nbclient import NotebookClient

from course.authoring.outputs import clean, hygiene
from course.knobs import _sliders, turn
from course.plots import bars

CELL = """
from hashlib import sha256
from course import plots
from course.knobs import turn
draw = lambda height, colour: plots.bars({"one": {"seen": height}, "two": {"seen": 0.2}})
print(sha256(draw(0.1, 0).png()).hexdigest())
turn(draw, height=[0.1, 0.5, 0.3], colour=range(2))
"""


def drawn(height: float, colour: int = 0):
    return bars({"one": {"seen": height}, "two": {"seen": 0.2}})


def test_a_turn_draws_another_picture_with_the_values_of_all_knobs():
    seen = []
    box = _sliders(lambda **values: seen.append(values), {"height": [0.3, 0.5, 0.1], "colour": range(2)})
    height, colour = box.children
    height.value = 0.5
    colour.value = 1
    assert seen == [{"height": 0.5, "colour": 0}, {"height": 0.5, "colour": 1}]


def test_a_slider_is_sorted_and_begins_with_the_first_choice_that_was_given():
    (numbers, names) = _sliders(print, {"shift": [2, 0, 1, 3], "part": ["norm", "attention"]}).children
    assert [value for _, value in numbers.options] == [0, 1, 2, 3] and numbers.value == 2
    assert [value for _, value in names.options] == ["norm", "attention"] and names.value == "norm"


def test_in_a_notebook_the_picture_stays_when_the_widget_goes(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed, sliders, output = notebook.cells[0].outputs
    assert set(sliders.data) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert sliders.data["text/plain"] == "[run this cell to choose height, colour]"
    clean(notebook)
    _, output = notebook.cells[0].outputs
    assert set(output.data) == {"text/html", "text/plain"} and hygiene(notebook, tmp_path) == []
    (picture,) = re.findall(r"base64,([A-Za-z0-9+/=]+)", output.data["text/html"])
    assert sha256(base64.b64decode(picture)).hexdigest() == printed.text.strip()


def test_elsewhere_it_says_what_there_is_to_see(capsys):
    turn(drawn, height=[0.1, 0.5])
    assert capsys.readouterr().out.strip() == drawn(0.1).alt


def test_a_knob_without_choices():
    with pytest.raises(ValueError, match="nothing to choose for height"):
        turn(drawn, height=[])

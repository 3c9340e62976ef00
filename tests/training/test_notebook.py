"""In a real kernel: bar and curve in one place while training goes on, only the figure when it is over."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
CELLS = [
    """
import time
from torch import nn
from course.data import load
from course.training import fit, recipes
from tests.training.after_steps import after_each_step
data, test = load("digits", device="cpu"), load("digits", "test", device="cpu")
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
recipe = recipes.cpu_minute.but(steps=60)
slow = lambda: after_each_step(lambda step: time.sleep(0.07))
""",
    """
print("before")
with slow():
    history = fit(model, data, recipe, val=test)
print("after")
""",
    """
with slow():
    history = fit(model, data, recipe, plot=False)
""",
    """
import _thread
def stop(step):
    if step == 20:
        _thread.interrupt_main()  # what the stop button does
with after_each_step(stop):
    history = fit(model, data, recipe, val=test)
assert history.interrupted and len(history.loss) == 20
""",
]


class Recording(NotebookClient):
    """Keeps every message about a display, in the order of arrival."""

    def process_message(self, message, cell, cell_index):
        if message["msg_type"] in ("display_data", "update_display_data"):
            data, date = message["content"]["data"], message["header"]["date"]
            self.shown.append((cell_index, message["msg_type"], data, date))
        return super().process_message(message, cell, cell_index)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip()) for source in CELLS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_BUDGET", "cpu")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        client = Recording(notebook, timeout=120, kernel_name="python3")
        client.shown = []
        client.execute()
    return notebook, client.shown


def test_what_is_left_is_one_picture(executed):
    notebook, _ = executed
    kinds = [output.output_type for output in notebook.cells[1].outputs]
    assert kinds == ["stream", "display_data", "stream"]
    picture = notebook.cells[1].outputs[1].data
    assert set(picture) == {"image/png", "text/plain"} and len(picture["image/png"]) < 60_000
    assert picture["text/plain"].startswith("60 of 60 steps, loss ")
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata


def test_without_a_plot_one_line_is_left(executed):
    (line,) = executed[0].cells[2].outputs
    assert set(line.data) == {"text/plain"} and "60 of 60 steps" in line.data["text/plain"]


def test_bar_and_curve_are_updated_in_the_one_place(executed):
    cell = [(kind, data) for index, kind, data, _ in executed[1] if index == 1]
    assert [kind for kind, _ in cell] == ["display_data"] + ["update_display_data"] * (len(cell) - 1)
    live = [data["text/html"] for _, data in cell[:-1]]
    assert len(live) >= 3 and all("training" in html and re.search("step/s|s/step", html) for html in live)
    curves = {html.partition("<img")[2] for html in live} - {""}
    dates = [date for index, _, _, date in executed[1] if index == 1]
    seconds = (dates[-1] - dates[0]).total_seconds()
    assert 1 <= len(curves) <= 1 + seconds / 2 < len(live), "drawn every two seconds, the bar more often"
    assert "text/html" not in cell[-1][1]


def test_the_stop_button_leaves_curve_and_advice(executed):
    picture, advice = executed[0].cells[3].outputs
    assert "image/png" in picture.data and picture.data["text/plain"].startswith("20 of 60 steps")
    assert advice.text.startswith("Stopped after step 20 of 60.")

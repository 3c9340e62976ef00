"""A check in a real kernel: the card, no traceback, and the points that nbgrader reads off."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from nbgrader.utils import determine_grade

from course.checks import load_homework, public

ROOT = Path(__file__).resolve().parents[2]
NBGRADER = {"schema_version": 3, "grade": True, "solution": False, "locked": True, "task": False, "points": 4}
BODIES = {
    "right": "return x.mean(dim=1)",
    "wrong": "return x.mean(dim=2)",
    "unwritten": 'raise NotImplementedError("hw0.mean_of_tokens")',
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "hw0_first_check"
    folder.mkdir()
    (folder / public.FILE_NAME).write_bytes(public.to_bytes(load_homework(ROOT / "solutions" / "hw0_first_check")))
    notebook = new_notebook()
    notebook.cells.append(new_code_cell("from course import check, when_done"))
    for name, body in BODIES.items():
        notebook.cells.append(new_code_cell(f"def {name}(x):\n    {body}"))
        notebook.cells.append(
            new_code_cell(f'check("hw0.mean_of_tokens", {name})', metadata={"nbgrader": {**NBGRADER, "grade_id": name}})
        )
    notebook.cells.append(new_code_cell("with when_done():\n    unwritten(0)\n    raise SystemExit"))
    notebook.cells.append(new_code_cell('with when_done():\n    raise NotImplementedError("of torch\'s own")'))
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, allow_errors=True, timeout=120)
    cells = client.execute().cells
    nbformat.validate(notebook)
    return {"right": cells[2], "wrong": cells[4], "unwritten": cells[6], "guarded": cells[7], "unguarded": cells[8]}


def text_of(cell) -> str:
    return "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)


def test_right_shows_a_green_card_and_full_points(checked):
    assert "right, 1 of 1 points" in text_of(checked["right"]) and "#2e7d32" in text_of(checked["right"])
    assert determine_grade(checked["right"]) == (4, 4)


def test_wrong_shows_the_sentence_the_picture_and_one_line_instead_of_a_traceback(checked):
    cell = checked["wrong"]
    assert "averaged over the D numbers" in text_of(cell) and "data:image/png;base64," in text_of(cell)
    error = next(output for output in cell.outputs if output.output_type == "error")
    assert error.ename == "CheckFailed" and len(error.traceback) == 1 and "averaged over" in error.traceback[0]
    assert determine_grade(cell) == (0, 4)


def test_not_started_is_calm_and_earns_nothing(checked):
    cell = checked["unwritten"]
    assert "not started yet" in text_of(cell)
    assert all(output.output_type != "error" for output in cell.outputs)
    assert determine_grade(cell) == (0, 4)


def test_a_guarded_cell_waits_calmly_for_its_exercise(checked):
    assert "comes alive once hw0.mean_of_tokens is written" in text_of(checked["guarded"])
    assert [output.output_type for output in checked["unguarded"].outputs] == ["error"]

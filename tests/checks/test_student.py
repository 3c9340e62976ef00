"""A check in a real kernel: the card, no traceback, and the points that nbgrader reads off."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from nbgrader.utils import determine_grade

from course.cell_id import text_id
from course.checks import load_homework, public
from course.checks.stderr import LONGEST, Heard

ROOT = Path(__file__).resolve().parents[2]
NBGRADER = {"schema_version": 3, "grade": True, "solution": False, "locked": True, "task": False, "points": 4}
NOISE = """
    import logging, os, sys, warnings
    warnings.warn("careful")
    LOGGER.warning("from a logger <b>made before</b>")
    print("by hand", file=sys.stderr)
    os.write(2, b"as C code does")
    os.system("echo by a program >&2")
    return x.mean(dim=1)"""
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
    notebook.cells.append(new_code_cell("import logging, sys\nLOGGER = logging.getLogger('mine')"))
    notebook.cells[-1].source += "\nLOGGER.addHandler(logging.StreamHandler())\ndef noisy(x):" + NOISE
    data = {"nbgrader": {**NBGRADER, "grade_id": "noisy"}}
    notebook.cells.append(new_code_cell('check("hw0.mean_of_tokens", noisy)', metadata=data))
    notebook.cells.append(new_code_cell("print('heard again', file=sys.stderr)"))
    notebook.cells.append(new_code_cell("import os\nos.write(2, b'and this')\nimport time\ntime.sleep(1)"))
    notebook.cells.append(new_code_cell("def odd(x):\n    print('before', file=sys.stderr)\n    return x"))
    notebook.cells.append(new_code_cell('check("hw0.mean_of_tokens", odd, odd)'))
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, allow_errors=True, timeout=120)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_CURRENT_TEST")  # else ipykernel hears nothing of what C code writes
        cells = client.execute().cells
    nbformat.validate(notebook)
    told = {"right": cells[2], "wrong": cells[4], "unwritten": cells[6], "guarded": cells[7], "unguarded": cells[8]}
    return told | {"noisy": cells[10], "after": cells[11], "after, in C": cells[12], "not made": cells[14]}


def text_of(cell) -> str:
    return "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)


def test_right_shows_a_green_card_and_full_points(checked):
    assert "right, 1 of 1 points" in text_of(checked["right"]) and "#2e7d32" in text_of(checked["right"])
    assert determine_grade(checked["right"]) == (4, 4)


def test_wrong_shows_the_sentence_the_picture_and_one_line_instead_of_a_traceback(checked):
    cell = checked["wrong"]
    assert "averaged over the D numbers" in text_of(cell) and "data:image/png;base64," in text_of(cell)
    error = next(output for output in cell.outputs if output.output_type == "error")
    assert error.ename == "CheckFailed" and "averaged over" in error.evalue
    # Once is enough: the sentence stands on the card.
    assert error.traceback == ["CheckFailed: not right yet, the card above says what is wrong."]
    assert determine_grade(cell) == (0, 4)


@pytest.mark.parametrize("state, status, points", [("right", "right", 1), ("wrong", "wrong", 0)])
def test_a_card_says_what_it_was_about(checked, state, status, points):
    (output,) = [output for output in checked[state].outputs if output.output_type == "display_data"]
    cell = text_id(f"def {state}(x):\n    {BODIES[state]}")
    told = {"exercise": "hw0.mean_of_tokens", "status": status, "points": points, "of": 1, "written": [cell]}
    assert output.metadata["text/html"]["course"] == told


def test_a_card_that_waits_says_what_it_was_about_too(checked):
    (output,) = checked["unwritten"].outputs
    assert (
        output.metadata["text/html"]["course"]["status"] == "not started"
        and len(output.metadata["text/html"]["course"]["written"]) == 1
    )


def test_a_card_is_announced_and_says_what_to_run_next(checked):
    assert "role='status'" in text_of(checked["right"]) and "run the next cell" in text_of(checked["right"])
    assert "role='alert'" in text_of(checked["wrong"])
    assert "role='status'" in text_of(checked["unwritten"])


def test_not_started_is_calm_and_earns_nothing(checked):
    cell = checked["unwritten"]
    assert "not started yet" in text_of(cell)
    assert all(output.output_type != "error" for output in cell.outputs)
    assert determine_grade(cell) == (0, 4)


def test_a_guarded_cell_waits_calmly_for_its_exercise(checked):
    assert "comes alive once hw0.mean_of_tokens is written" in text_of(checked["guarded"])
    assert [output.output_type for output in checked["unguarded"].outputs] == ["error"]


def test_what_is_written_to_stderr_is_on_the_card_and_costs_nothing(checked):
    cell = checked["noisy"]
    assert [output.output_type for output in cell.outputs] == ["display_data"] and determine_grade(cell) == (4, 4)
    card = text_of(cell)
    assert "right, 1 of 1 points" in card and "<details>" in card and "It costs nothing." in card
    assert "<details>" not in text_of(checked["right"])
    for word in ("careful", "from a logger &lt;b&gt;made before", "by hand", "as C code does", "by a program"):
        assert word in card, word


def test_a_flood_of_it_is_cut():
    heard = Heard()
    for _ in range(10):
        assert heard.write("x" * LONGEST) == LONGEST
    assert heard.text == "x" * LONGEST


def test_after_the_check_stderr_is_heard_as_ever(checked):
    assert "".join(output.text for output in checked["after"].outputs) == "heard again\n"
    assert "and this" in "".join(output.get("text", "") for output in checked["after, in C"].outputs)
    assert [output.output_type for output in checked["not made"].outputs] == ["error"]

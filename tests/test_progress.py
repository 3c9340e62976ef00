"""`course progress` reads what a reader has saved, and says of nothing that it is right which is not."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell
from nbgrader.utils import compute_checksum

from course import progress
from course.cell_id import text_id
from course.figures.start_here import course_progress
from course.progress import BEGUN, CHANGED, MISSING, OPEN, RIGHT, WRONG, progress_command, read_progress

ROOT = Path(__file__).parents[1]
HW0, HW1 = "hw0_first_check", "hw1_self_attention"


class Own:
    """A reader's folder with homeworks 0 and 1 as they are handed out."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in (HW0, HW1):
            there = folder / "assignments" / name
            there.mkdir(parents=True)
            for file in (ROOT / "assignments" / name).iterdir():
                (there / file.name).write_bytes(file.read_bytes())

    def path(self, name: str = HW1) -> Path:
        return self.folder / "assignments" / name / f"{name}.ipynb"

    def change(self, edit, name: str = HW1) -> "Own":
        notebook = json.loads(self.path(name).read_text())
        edit({cell["metadata"].get("nbgrader", {}).get("grade_id"): cell for cell in notebook["cells"]}, notebook)
        self.path(name).write_text(json.dumps(notebook))
        return self

    def write(self, exercise: str, text: str = "def mine(x):\n    return x", status: str = "", **card) -> "Own":
        """Write the cell of an exercise and, with a `status`, run its check, which gives that."""

        def edit(cells, notebook):
            cells[exercise]["source"] = text
            if status:
                points = cells[f"check_{exercise}"]["metadata"]["nbgrader"]["points"]
                told = {"exercise": f"hw1.{exercise}", "status": status, "of": points, "written": [text_id(text)]}
                told["points"] = points if status == "right" else 0
                output = {
                    "output_type": "display_data",
                    "data": {},
                    "metadata": {"text/html": {"course": {**told, **card}}},
                }
                cells[f"check_{exercise}"].update(outputs=[output], execution_count=7)

        return self.change(edit)

    def state(self, exercise: str) -> tuple[str, float]:
        parts = {part.name: part for part in self.homework().parts}
        return parts[exercise].state, parts[exercise].points

    def homework(self, number: int = 1) -> progress.Progress:
        return read_progress(self.folder)[number]


@pytest.fixture
def own(tmp_path):
    return Own(tmp_path)


def test_what_was_handed_out_is_open(own):
    for each in read_progress(own.folder)[:2]:
        assert each.parts and not each.is_begun and each.in_words() == "not begun"
    assert own.homework(2).in_words() == "no notebook here"
    assert len(own.homework().exercises) == 9 and own.homework().points == (0, 55)


def test_what_counts_as_untouched_is_nbgraders_own_sum():
    label = {"schema_version": 3, "grade_id": "a", "solution": True, "grade": False, "locked": False, "task": False}
    for cell in (
        new_code_cell("x = 1\ny", metadata={"nbgrader": label}),
        new_markdown_cell("wörds", metadata={"nbgrader": {**label, "grade": True, "points": 2}}),
    ):
        label = {**cell.metadata.nbgrader, "checksum": compute_checksum(cell)}
        assert progress._is_untouched(cell, label) and not progress._is_untouched({**cell, "source": "z"}, label)


def test_a_card_that_holds_gives_its_state_and_its_points(own):
    assert own.write("attention_scores").state("attention_scores") == (BEGUN, 0)
    assert own.write("attention_scores", status="not started").state("attention_scores") == (BEGUN, 0)
    assert own.write("attention_scores", status="right").state("attention_scores") == (RIGHT, 4)
    assert own.write("attention_scores", status="wrong", points=1.5).state("attention_scores") == (WRONG, 1.5)
    assert own.state("attention_cost") == (OPEN, 0)


def test_a_card_from_before_an_edit_is_not_believed(own):
    own.write("attention_scores", status="right")
    own.change(lambda cells, _: cells["attention_scores"].update(source="def mine(x):\n    return 2 * x"))
    assert own.state("attention_scores") == (CHANGED, 0)
    own.change(lambda cells, _: cells["attention_scores"].update(source="def mine(x):  \n    return x\n"))
    assert own.state("attention_scores") == (RIGHT, 4), "a space at the end of a line is no edit"


def test_what_a_student_checks_in_a_cell_of_their_own_counts_only_where_the_check_was_not_run(own):
    def try_out(_, notebook):
        cell = new_code_cell('check("hw1.attention_scores", other)', execution_count=9)
        told = {"exercise": "hw1.attention_scores", "status": "wrong", "points": 0, "of": 4, "written": []}
        cell["outputs"] = [{"output_type": "display_data", "data": {}, "metadata": {"text/html": {"course": told}}}]
        notebook["cells"].append(cell)

    assert own.change(try_out).state("attention_scores") == (WRONG, 0)
    assert own.write("attention_scores", status="right").state("attention_scores") == (RIGHT, 4)


def test_nor_is_one_whose_helper_was_edited(own):
    helper = "def helper(x):\n    return x"
    own.write("attention_scores", status="right", written=[text_id("def mine(x):\n    return x"), text_id(helper)])
    assert own.state("attention_scores") == (CHANGED, 0)
    own.change(lambda _, notebook: notebook["cells"].append(new_code_cell(helper)))
    assert own.state("attention_scores") == (RIGHT, 4)
    own.change(lambda _, notebook: notebook["cells"].pop())
    (own.path().parent / "mine.py").write_text(helper + "\n")
    assert own.state("attention_scores") == (RIGHT, 4)


def test_a_card_that_cannot_tell_its_cells_counts_until_the_cell_is_run_again(own):
    own.write("attention_scores", status="right", written=[])
    own.change(lambda cells, _: cells["attention_scores"].update(execution_count=6))
    assert own.state("attention_scores") == (RIGHT, 4)
    own.change(lambda cells, _: cells["attention_scores"].update(execution_count=8))
    assert own.state("attention_scores") == (CHANGED, 0)


def test_a_cell_that_is_gone_is_missing_and_its_points_are_still_counted(own):
    own.change(lambda cells, notebook: notebook["cells"].remove(cells["attention_scores"]))
    own.change(lambda cells, notebook: notebook["cells"].remove(cells["check_attention_scores"]))
    assert own.state("attention_scores") == (MISSING, 0) and own.homework().points == (0, 55)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no notebook any more"),
        ("[]", "is no notebook any more"),
        ('{"cells": [3]}', "is no notebook any more"),
        ('{"cells": []}', "has lost the labels of its exercises"),
    ],
)
def test_a_broken_notebook_is_said_and_disturbs_no_other(own, text, words, capsys):
    own.path().write_text(text)
    assert progress_command(own.folder) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("hw1"))
    assert words in line and f"{HW1}.ipynb" in line
    assert own.homework(0).in_words() == "not begun"


def test_the_next_step_is_in_what_is_begun(own, capsys):
    def said() -> str:
        assert progress_command(own.folder) == 0
        return capsys.readouterr().out.rpartition("Next: ")[2].strip()

    assert said() == "read lecture 0 · Start here, then hw0 · Your first check: write mean_of_tokens (1 point)."
    own.write("attention_scores", status="right")
    assert said().startswith("hw1 · Self-attention: write scaled_dot_product_attention (8 points)")
    own.write("scaled_dot_product_attention", "def scaled(x):\n    return x", status="wrong")
    assert "not right yet: its card says why" in said()
    own.write("scaled_dot_product_attention", "def other(x):\n    return x")
    assert "is begun" not in said() and "changed since its check" in said()


def test_when_all_is_right_it_says_to_hand_in(own, capsys):
    for part in own.homework().exercises:
        own.write(part.name, f"def {part.name}(x):\n    return x", status="right")
    assert own.homework().right == 9 and not own.homework().is_done, "a question in words is still open"
    own.change(lambda cells, _: cells["order_and_cost"].update(source="Because."))
    assert own.homework().is_done
    own.path(HW0).unlink()
    assert progress_command(own.folder) == 0
    out = capsys.readouterr().out
    assert "Hand it in" in out and re.search(r"hw1 · Self-attention +9 of 9 +55 of 55 +done", out)


def test_any_folder_can_be_named(own, tmp_path_factory, capsys):
    other = tmp_path_factory.mktemp("other")
    (other / "deep" / ".hidden").mkdir(parents=True)
    (other / "deep" / f"{HW1}.ipynb").write_bytes(own.path().read_bytes())
    (other / "deep" / ".hidden" / f"{HW0}.ipynb").write_bytes(own.path(HW0).read_bytes())
    found = read_progress(other)
    assert [each.homework.number for each in found if each.path] == [1]
    assert progress_command(tmp_path_factory.mktemp("empty")) == 2
    assert progress_command(other / "nowhere") == 2
    said = capsys.readouterr().err.splitlines()
    assert "no homework (hwN_topic.ipynb) was found" in said[0] and "is no folder" in said[1]


def test_it_is_quick_and_changes_nothing(own):
    before = {path: path.read_bytes() for path in own.folder.rglob("*") if path.is_file()}
    code = "import sys; from course.cli import main; main(['progress']); print('torch' in sys.modules, 'numpy' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=own.folder / "assignments" / HW1, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("homework") and ran.stdout.endswith("False False\n")
    assert before == {path: path.read_bytes() for path in own.folder.rglob("*") if path.is_file()}


def test_in_a_notebook_it_is_a_map_with_words(own):
    own.write("attention_scores", status="right")
    shown = course_progress(own.folder)
    drawn = [text.get_text() for axis in shown.picture.axes for text in axis.texts]
    assert "hw1 1/9" in drawn and "hw0 0/1" in drawn
    html = shown._repr_html_()
    assert "<img " in html and "<strong>Next:</strong> hw1 · Self-attention: write scaled_dot" in html
    assert f"{HW1}.ipynb'>hw1 · Self-attention</a>" in html and "<td>1 of 9</td><td>4 of 55</td>" in html
    assert repr(shown).startswith("homework")

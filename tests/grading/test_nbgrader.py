"""nbgrader's own commands over this repository, unchanged: generate, autograde, feedback, export."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator

from course.checks import public
from course.grading.repeated_cells import keep_one_of_each

ROOT = Path(__file__).parents[2]
TOPIC = "hw1_self_attention"


@pytest.mark.long
def test_generate_autograde_feedback_and_export_work_on_the_first_homework(tmp_path):
    for name in ("solutions", "assignments", "notebooks"):
        skip = shutil.ignore_patterns("__pycache__", *(f"hw{k}_*" for k in range(2, 10)))
        shutil.copytree(ROOT / name, tmp_path / name, ignore=skip)
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    released = tmp_path / "assignments" / TOPIC
    before = (released / f"{TOPIC}.ipynb").read_bytes()
    data = (released / public.FILE_NAME).read_bytes()
    for student, notebook in (("anna", "solutions"), ("bert", "assignments")):
        folder = tmp_path / "grading" / "submitted" / student / TOPIC
        shutil.copytree(released, folder)
        shutil.copy(tmp_path / notebook / TOPIC / f"{TOPIC}.ipynb", folder)

    _nbgrader(tmp_path, "generate_assignment", TOPIC, "--force")
    assert sorted(os.listdir(released)) == [public.FILE_NAME, f"{TOPIC}.ipynb"], "no answer beside it"
    assert (released / f"{TOPIC}.ipynb").read_bytes() == before
    assert public.same_content(released / public.FILE_NAME, data)

    _nbgrader(tmp_path, "autograde", TOPIC, JUPYTER_DEFAULT_PROVISIONER_NAME="course-sandbox")
    _nbgrader(tmp_path, "generate_feedback", TOPIC)
    for student in ("anna", "bert"):
        assert (tmp_path / "grading" / "feedback" / student / TOPIC / f"{TOPIC}.html").stat().st_size > 10_000

    _nbgrader(tmp_path, "export")
    with open(tmp_path / "grading" / "grades.csv") as file:
        scores = {row["student_id"]: (float(row["raw_score"]), float(row["max_score"])) for row in csv.DictReader(file)}
    assert scores == {"anna": (55.0, 60.0), "bert": (0.0, 60.0)}, "all but the written question, which a person marks"


NOISY = """import logging, os, sys, warnings
from tqdm import tqdm
logging.basicConfig()
warnings.simplefilter("always")


def mean_of_tokens(x):
    for _ in tqdm(range(2)):
        warnings.warn("careful")
    logging.warning("from a logger that was made before")
    print("by hand", file=sys.stderr)
    os.write(2, b"as C code does")
    os.system("echo by a program >&2")
    return x.mean(dim=1)
"""
RIGHT = "def mean_of_tokens(x):\n    return x.mean(dim=1)"


@pytest.mark.long
def test_noise_costs_nothing_and_pasted_copies_stop_nobody(tmp_path):
    topic, name = "hw0_first_check", "mean_of_tokens"
    for folder in ("solutions", "assignments", "notebooks"):
        skip = shutil.ignore_patterns("__pycache__", *(f"hw{k}_*" for k in range(1, 10)))
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=skip)
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    released = json.loads((tmp_path / "assignments" / topic / f"{topic}.ipynb").read_bytes())
    for student, change in {
        "anna": lambda cells: cells[place(cells, name)].update(source=NOISY),
        "bert": lambda cells: cells.append({**cells[place(cells, name)], "source": RIGHT, "id": "pasted"}),
        "carl": lambda cells: _work_then_stub(cells, name),
        "dora": lambda cells: cells[place(cells, name)].update(source=RIGHT),
        "emma": lambda cells: cells[place(cells, name)]["metadata"].update(nbgrader={}),
    }.items():
        notebook = json.loads(json.dumps(released))
        change(notebook["cells"])
        folder = tmp_path / "grading" / "submitted" / student / topic
        shutil.copytree(tmp_path / "assignments" / topic, folder)
        (folder / f"{topic}.ipynb").write_text(json.dumps(notebook))

    _nbgrader(tmp_path, "generate_assignment", topic, "--force")
    said = _nbgrader(tmp_path, "autograde", topic)
    assert f"bert: The cell of {name} is there 2 times; the last one with work in it was graded." in said
    _nbgrader(tmp_path, "export")
    with open(tmp_path / "grading" / "grades.csv") as file:
        scores = {row["student_id"]: float(row["raw_score"]) for row in csv.DictReader(file)}
    assert scores == {"anna": 1.0, "bert": 1.0, "carl": 1.0, "dora": 1.0, "emma": 0.0}
    graded = nbformat.read(tmp_path / "grading" / "autograded" / "anna" / topic / f"{topic}.ipynb", as_version=4)
    check = graded.cells[place(graded.cells, f"check_{name}")]
    (card,) = [output.data["text/html"] for output in check.outputs]
    for word in ("careful", "from a logger", "by hand", "as C code does", "by a program", "it/s", "It costs nothing"):
        assert word in card, word


def _work_then_stub(cells: list[dict], name: str) -> None:
    """The answer, the cell as it came pasted below it, then the check."""
    i = place(cells, name)
    cells.insert(i + 1, json.loads(json.dumps({**cells[i], "id": "pasted"})))
    cells[i]["source"] = RIGHT


def place(cells: list[dict], grade_id: str) -> int:
    return next(i for i, c in enumerate(cells) if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


def kept_of(work, released) -> tuple[nbformat.NotebookNode, list[str]]:
    notebook = nbformat.from_dict(json.loads(json.dumps(work.content)))
    messages = keep_one_of_each(notebook, nbformat.from_dict(json.loads(json.dumps(released))))
    MetadataValidator().validate_nb(notebook)  # here nbgrader would stop for everyone
    nbformat.validate(notebook)
    return notebook, messages


def pasted(work, grade_id: str, source: str, before: str | None = None) -> None:
    copy = json.loads(json.dumps(work[grade_id])) | {"source": source, "id": f"pasted-{len(work.content['cells'])}"}
    cells = work.content["cells"]
    cells.insert(cells.index(work[before]) if before else len(cells), copy)


def test_an_untouched_notebook_is_left_as_it_is(work, released):
    notebook, messages = kept_of(work, released)
    assert notebook == nbformat.from_dict(released) and messages == []


def test_of_copies_the_one_with_the_work_counts_and_the_check_comes_after_it(work, released):
    pasted(work, "double", "def double(x):\n    return '```'", before="double")
    pasted(work, "double", "def double(x):\n    return x + x")  # at the end, below all checks
    pasted(work, "double", "".join(work["double"]["source"]), before="Scale")
    pasted(work, "check_double", "check('hw9.double', double)", before="Scale")
    pasted(work, "why", "Why?\nBecause.")
    pasted(work, "setup", "import torch", before="why")
    notebook, messages = kept_of(work, released)
    places = [cell.metadata.get("nbgrader", {}).get("grade_id", "") for cell in notebook.cells]
    graded = [name for name in places if name]
    assert sorted(graded) == sorted({*graded}) and "".join(graded).count("setup") == 1
    assert notebook.cells[place(notebook.cells, "double")].source == "def double(x):\n    return x + x"
    assert places.index("check_double") == places.index("double") + 1
    assert notebook.cells[place(notebook.cells, "why")].source == "Why?\nBecause."
    assert places.index("setup") == 1
    copies = [cell.source for cell in notebook.cells if "which was not run" in cell.source]
    assert len(copies) == 3 and "````python\ndef double(x):\n    return '```'\n````" in copies[0]
    assert not [cell for cell in notebook.cells if cell.cell_type == "code" and "'```'" in cell.source]
    assert "The cell of double is there 4 times; the last one with work in it was graded." in messages
    assert "The cell of why is there 2 times; one of them counts." in messages


@pytest.mark.parametrize("data", [{}, {"schema_version": 99}, {"schema_version": 3, "grade_id": "mine", "grade": True}])
def test_grading_data_that_was_damaged_is_put_back_or_dropped(work, released, data):
    work.solve()["double"]["metadata"]["nbgrader"] = data
    work["check_double"]["metadata"]["nbgrader"] |= {"points": 100, "schema_version": 1}
    notebook, messages = kept_of(work, released)
    before = nbformat.from_dict(released)
    for name in ("double", "check_double"):
        assert notebook.cells[place(notebook.cells, name)].metadata == before.cells[place(before.cells, name)].metadata
    assert "The cell of double lost its label and was found by the name it defines." in messages


def _nbgrader(root: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=root,
        env={**os.environ, "COURSE_BUDGET": "tiny", **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr

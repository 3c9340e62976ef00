"""nbgrader's own commands over this repository, unchanged: generate, autograde, feedback, export."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course.checks import public

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


def _nbgrader(root: Path, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=root,
        env={**os.environ, "COURSE_BUDGET": "tiny", **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr

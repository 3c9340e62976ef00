#!/usr/bin/env bash
# One student who pastes a copy of an answer's cell keeps nbgrader from grading anybody: the message speaks of an old
# version of nbgrader, and the classmates that come after have no grade.
#
# nbgrader 0.9.6 (nbformat 5.10.4, nbconvert 7.17.2). Jupyter copies a cell with its metadata, so a copy bears nbgrader's
# name of the cell, too; such a notebook is valid. `nbgrader autograde` has a preprocessor for it, DeduplicateIds, which
# takes the metadata off the copies: it leaves `{"nbgrader": {}}`. The next one, CheckCellMetadata, reads the missing
# schema_version as 0 and raises SchemaTooOldError: "use an old version of the nbgrader metadata format … run
# `nbgrader update`". That error is none of those which skip one student: the command ends.
#
# Good guesses that are wrong: that the preprocessor called DeduplicateIds settles copies; that a student's notebook can
# cost no one but the student; and that `nbgrader update`, which the message asks for, helps (it refuses the notebook).
# The way round: a preprocessor of one's own before these, which removes the key "nbgrader" from the copies.
#
# Prints the versions, the command's status and who was graded; ends with 1 once bob, whose notebook is as released, has a
# grade.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet nbgrader==0.9.6 nbformat==5.10.4 nbconvert==7.17.2 nbclient==0.11.0 ipykernel
export PATH="$folder/env/bin:$PATH" JUPYTER_CONFIG_DIR="$folder/config" JUPYTER_DATA_DIR="$folder/data" HOME="$folder"
cd "$folder"
mkdir -p source/ps1
python - <<'PYTHON'
from importlib.metadata import version

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

print(*(f"{name} {version(name)}" for name in ("nbgrader", "nbformat", "nbconvert")), sep=", ")
same = {"schema_version": 3, "task": False}
answer = same | {"grade": False, "solution": True, "locked": False, "grade_id": "answer"}
test = same | {"grade": True, "solution": False, "locked": True, "grade_id": "test", "points": 1}
cells = [
    new_code_cell("### BEGIN SOLUTION\nx = 1\n### END SOLUTION", metadata={"nbgrader": answer}),
    new_code_cell("assert x == 1", metadata={"nbgrader": test}),
]
kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), "source/ps1/p1.ipynb")
PYTHON
nbgrader generate_assignment ps1 > log 2>&1
for student in amy bob; do
  mkdir -p "submitted/$student/ps1"
  cp release/ps1/p1.ipynb "submitted/$student/ps1/"
done
python - <<'PYTHON'
import nbformat

path = "submitted/amy/ps1/p1.ipynb"
notebook = nbformat.read(path, 4)
pasted = nbformat.from_dict(dict(notebook.cells[0]))
pasted["id"] = "pasted"
notebook.cells.append(pasted)
nbformat.validate(notebook)
nbformat.write(notebook, path)
PYTHON
mv submitted/amy pasted
nbgrader autograde ps1 > log 2>&1 || { tail log; exit 1; }
echo "without the copy, graded: $(ls autograded)"
rm -r autograded
mv pasted submitted/amy
status=0
nbgrader autograde --force ps1 > log 2>&1 || status=$?
grep -m1 "old version" log || tail log
echo "with it, status $status, graded: $(ls autograded 2> /dev/null || true)"
test ! -e autograded/bob

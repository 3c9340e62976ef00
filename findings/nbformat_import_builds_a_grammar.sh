#!/usr/bin/env bash
# Importing nbformat takes ten times as long where JupyterLab is installed as where it is not, with the same nbformat.
#
# nbformat 5.10.4 imports jsonschema (4.26.0). jsonschema tries to import rfc3987_syntax, to be able to check
# international web addresses, and goes without where it is missing. rfc3987-syntax 1.1.0 builds a lark grammar with
# an Earley parser for every term of that standard while it is imported: about a second of processor time, in every process
# that opens a notebook, none of which checks such an address. jupyter-events asks for jsonschema[format-nongpl], and so
# every JupyterLab since brings the package along.
#
# Good guesses that are wrong: that the time is nbformat's own schemas (they are read when a notebook is validated), and
# that fastjsonschema, which nbformat validates with by default, spares one jsonschema (both are imported).
# The way round: sys.modules["rfc3987_syntax"] = None before nbformat; jsonschema takes that for "not installed".
#
# Prints the versions and the seconds of both imports; ends with 1 once the slow one is less than three times the other.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet nbformat==5.10.4 jsonschema==4.26.0 rfc3987-syntax==1.1.0 lark==1.3.1
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ("nbformat", "jsonschema", "rfc3987-syntax", "lark")), sep=", ")
MEASURE = "import time; begin = time.process_time(); import nbformat; print(time.process_time() - begin)"


def seconds(before: str) -> float:
    runs = [subprocess.run([sys.executable, "-c", before + MEASURE], capture_output=True, text=True, check=True) for _ in range(3)]
    return min(float(run.stdout) for run in runs)


seconds("")  # the modules are compiled once
slow, fast = seconds(""), seconds("import sys; sys.modules['rfc3987_syntax'] = None; ")
print(f"import nbformat: {slow:.2f} s of processor time, without rfc3987-syntax {fast:.2f} s: {slow / fast:.1f} times")
sys.exit(slow < 3 * fast)
PYTHON

#!/bin/sh
# What only a GPU can show, in at most eight minutes of one (benchmarks/device.py says what that is).
#
#   benchmarks/device.sh FILE OUT      FILE: CIFAR-10, packed by `python -m benchmarks.pack_cifar`; OUT: a folder for device.json
#
# Nothing is installed and no network is asked: this checkout, FILE and a Python with PyTorch are all it takes. PYTHON names
# that Python. Packages that it lacks are named before anything starts; a folder with them can be named in PYTHONPATH.
set -eu
[ $# -eq 2 ] || { sed -n '2,7p' "$0" >&2; exit 2; }
file=$(realpath "$1"); mkdir -p "$2"; out=$(realpath "$2")
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export COURSE_OFFLINE=1 COURSE_DATA="$scratch" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MPLBACKEND=agg
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$python" - <<'END'
import importlib.util
import sys

needed = ["torch", "numpy", "einops", "safetensors", "tqdm", "PIL", "matplotlib", "sklearn"]
if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
    sys.exit(f"device.sh: {sys.executable} has no {', '.join(missing)}; put them into a folder and name it in PYTHONPATH")
END
timeout -k 10 480 "$python" -m benchmarks.device "$file" "$out"

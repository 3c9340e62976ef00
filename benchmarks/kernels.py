"""``course bench kernels``: unchanged Jupyter programs with their own kernels, and with kernels from the fork server.

The same notebooks, the same commands, in turns; only JUPYTER_DEFAULT_PROVISIONER_NAME differs. The first kernel of a
program waits for the fork server to import everything, so a program that needs a single kernel gains little.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

import nbformat

from benchmarks import measured
from course.progress_bar import progress_bar

CELLS = (
    "import torch\nimport matplotlib.pyplot as plt",
    "from torch import nn\nmodel = nn.Linear(8, 2)\noptimizer = torch.optim.Adam(model.parameters())",
    "for _ in range(20):\n    loss = model(torch.randn(16, 8)).square().mean()\n    loss.backward()\n    optimizer.step()",
    "plt.plot([1, 2, 3])\nplt.show()",
    *("x = torch.randn(64, 64) @ torch.randn(64, 64)\nassert x.shape == (64, 64)" for _ in range(6)),
)
_CLIENT = """
import sys, nbformat
from nbclient import NotebookClient
for path in sys.argv[1:]:
    NotebookClient(nbformat.read(path, 4), resources={"metadata": {"path": "."}}).execute()
"""


def bench(words: list[str], *, rounds: int = 3) -> dict:
    """Time each program both ways and print the ratios.

    Args:
        words: how many notebooks of ten cells each program runs; 5 by default.

    Returns:
        {"notebooks", "rows": [{"program", "wall", "cpu", "seconds": [...]}]}: ratios of medians, own kernels over ours.
    """
    count = int(words[0]) if words else 5
    commands = {
        "nbclient": [sys.executable, "-c", _CLIENT],
        "pytest --nbval-lax": [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax"],
    }
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        progress_bar(2 * rounds * len(commands), None, desc="kernels", unit=" runs") as progress,
    ):
        notebooks = [str(_notebook(Path(folder), k)) for k in range(count)]
        for program, command in commands.items():
            costs: dict[str, list[measured.Cost]] = {"": [], "course-sandbox": []}
            for _ in range(rounds):
                for name, found in costs.items():
                    env = {**os.environ, "COURSE_OFFLINE": "1", "JUPYTER_DEFAULT_PROVISIONER_NAME": name}
                    env = {key: value for key, value in env.items() if value}
                    found.append(measured.run([*command, *notebooks], env=env, log=Path(folder) / "log"))
                    progress.update()
            rows.append(_row(program, costs[""], costs["course-sandbox"]))
            progress.clear()
            print(
                f"{program:20} {count} notebooks: {rows[-1]['own']:.1f} s with its own kernels, {rows[-1]['ours']:.1f} s "
                f"with ours, {rows[-1]['wall']:.1f}× faster, {rows[-1]['cpu']:.1f}× fewer processor seconds"
            )
    print(f"{rows[0]['wall']:.1f}× faster in {rows[0]['program']}, first kernel included")
    return {"notebooks": count, "rounds": rounds, "rows": rows}


def _row(program: str, own: list[measured.Cost], ours: list[measured.Cost]) -> dict:
    def median(costs: list[measured.Cost], what: str) -> float:
        return statistics.median(getattr(cost, what) for cost in costs)

    return {
        "program": program,
        "own": median(own, "wall"),
        "ours": median(ours, "wall"),
        "wall": median(own, "wall") / median(ours, "wall"),
        "cpu": median(own, "cpu") / median(ours, "cpu"),
    }


def _notebook(folder: Path, number: int) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / f"notebook_{number}.ipynb"
    nbformat.write(notebook, path)
    return path

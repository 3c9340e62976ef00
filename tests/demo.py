"""``make demo``: the whole course once, without a browser. Ends with a table of grades; 0 if all are as expected."""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(out: Path) -> int:
    out = out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    os.chdir(ROOT)

    print("==> 1/3 Running the lecture 03_self_attention at its smallest (COURSE_BUDGET=tiny)")
    run_lecture(ROOT / "notebooks" / "03_self_attention.ipynb", out / "03_self_attention.ipynb")

    from course.cli import main as course

    print("\n==> 2/3 Releasing homework 1: course release student hw1")
    if course(["release", str(out / "student"), "hw1"]):
        return 1

    print("\n==> 3/3 Grading a sample class: course grade submissions -a hw1_self_attention -o grades")
    from tests.sample_class import demo

    return demo(out)


def run_lecture(notebook: Path, into: Path) -> None:
    """Run all cells in a fresh kernel, save the result, and say what it printed last."""
    import nbformat
    from nbclient import NotebookClient
    from tqdm import tqdm

    lecture = nbformat.read(notebook, as_version=4)
    with tqdm(total=len(lecture.cells), unit="cell", leave=False) as bar:
        client = NotebookClient(
            lecture,
            timeout=300,
            resources={"metadata": {"path": str(notebook.parent)}},
            on_cell_start=lambda cell, cell_index: bar.update(cell_index - bar.n),
        )
        client.execute(env={**os.environ, "COURSE_BUDGET": "tiny"})
    nbformat.write(lecture, into)
    code = [cell for cell in lecture.cells if cell.cell_type == "code"]
    figures = sum("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    print(f"{len(code)} cells ran and drew {figures} figures; the notebook is {into}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo")))

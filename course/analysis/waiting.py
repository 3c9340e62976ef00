"""A progress bar for analyses, which run through many batches and print nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from course.notebook import budget_name, in_notebook
from course.progress_bar import CellOutput, progress_bar


@contextmanager
def waiting(total: int, what: str, unit: str = "batch") -> Iterator[tqdm]:
    """A bar to ``update()``, shown if the work takes more than a second (never with ``COURSE_BUDGET=tiny``).

    Nothing of it stays, in a terminal or in a notebook.
    """
    output = CellOutput() if in_notebook() else None
    try:
        with progress_bar(total, output, desc=what, unit=unit, disable=budget_name() == "tiny") as bar:
            yield bar
    finally:
        if output and output.handle:
            output.show({"text/plain": ""})

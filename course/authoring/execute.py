"""Run a notebook in a fresh kernel and keep its outputs."""

import asyncio
import atexit
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

import course
from course.authoring.outputs import clean
from course.authoring.repository import AuthoringError
from course.authoring.source import SourceFile
from course.steps import Step, silent

LONGEST_CELL = 900  # seconds; a lecture is meant to take 60 in all


def execute(notebook: NotebookNode, folder: Path, shown: str, source: SourceFile, step: Step = silent) -> float:
    """Run all cells in `folder` and clean the outputs, in place.

    The kernel is this Python, finds this very `course`, and has ``COURSE_BUDGET=cpu`` where nothing else is
    set.

    Args:
        shown: the notebook's name in messages.
        source: where its cells come from, cell by cell.
        step: called with each cell as it begins.

    Returns:
        Seconds taken.

    Raises:
        AuthoringError: a cell that is not tagged raises-exception failed, took too long, or ended the kernel.
    """
    package = str(Path(course.__file__).parent.parent)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "MPLBACKEND"},  # figures belong in the cells
        "COURSE_BUDGET": os.environ.get("COURSE_BUDGET") or "cpu",
        # As in the Makefile: threads that spin long while they wait slow each other down on a busy machine.
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT") or "1000",
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")])),
    }
    metadata = deepcopy(notebook.metadata)
    reached = 0
    begin = time.monotonic()

    def on_cell_start(cell, cell_index):
        nonlocal reached
        reached = cell_index
        step(f"running {shown}", cell_index + 1, len(notebook.cells))

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # else it warns on the terminal of how it is connected
        timeout=LONGEST_CELL,
        record_timing=False,
        store_widget_state=False,
        on_cell_start=on_cell_start,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        _run(client, environment)
    except CellExecutionError as error:
        raise _failure(notebook, reached, shown, source, f"stopped with {error.ename}: {error.evalue}") from None
    except CellTimeoutError:
        text = f"still ran after {LONGEST_CELL} s: give it less to do, by budget(...)"
        raise _failure(notebook, reached, shown, source, text) from None
    except DeadKernelError:
        text = "ended its kernel: out of memory, or a crash in compiled code"
        raise _failure(notebook, reached, shown, source, text) from None
    notebook.metadata = metadata  # the client adds the version of Python
    clean(notebook)
    return time.monotonic() - begin


def _run(client: NotebookClient, environment: dict[str, str]) -> None:
    """Execute a notebook in a thread: nbclient takes Ctrl-C and SIGTERM for itself where it runs in the main one.

    If either comes, the kernel is ended before the exception goes on.
    """
    tasks: list[asyncio.Task] = []
    ready = threading.Event()

    async def run() -> None:
        tasks.append(asyncio.current_task())
        ready.set()
        try:
            await client.async_execute(env=environment)
        finally:  # stopped while the kernel started, nbclient does neither
            if client.km is not None and client.km.has_kernel:
                await client.km.shutdown_kernel(now=True)  # pyrefly: ignore[not-async]
            atexit.unregister(client._cleanup_kernel)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: asyncio.run(run()))
        try:
            running.result()
        except BaseException:
            if not running.done():
                ready.wait()
                client.shutdown_kernel = "immediate"
                tasks[0].get_loop().call_soon_threadsafe(tasks[0].cancel)
            raise


def _failure(notebook: NotebookNode, reached: int, shown: str, source: SourceFile, what: str) -> AuthoringError:
    cell = notebook.cells[reached]
    return AuthoringError(
        f"{shown}: cell {reached + 1} ({cell.id}, {source.shown}:{source.cells[reached].line}) {what}"
    )

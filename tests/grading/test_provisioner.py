"""Kernels from the fork server: unchanged Jupyter programs take them, and they are behind the walls."""

import os
import subprocess
import sys
import time

import nbformat
import pytest
from jupyter_client.provisioning import KernelProvisionerFactory
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

NAME = "course-sandbox"


@pytest.fixture(autouse=True)
def provisioner(monkeypatch):
    monkeypatch.setenv("JUPYTER_DEFAULT_PROVISIONER_NAME", NAME)
    KernelProvisionerFactory.clear_instance()  # an earlier test may have made it, and it reads the name but once
    yield
    KernelProvisionerFactory.clear_instance()


def execute(folder, *sources: str, **options) -> list[list[dict]]:
    """The outputs of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **options).execute()
    return [cell.outputs for cell in notebook.cells]


def test_text_figures_and_the_files_beside_the_notebook(tmp_path):
    (tmp_path / "values.txt").write_text("3 4")
    (tmp_path / "graded.ipynb").write_text("the tests")
    value, figure, printed = execute(
        tmp_path,
        "import torch\ntorch.ones(2)",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
        "import os\nprint(open('values.txt').read(), os.listdir(), os.getuid())\nopen('written', 'w').write('x')",
    )
    assert value[0]["data"]["text/plain"] == "tensor([1., 1.])"
    assert "image/png" in figure[0]["data"]
    assert printed[0]["text"] == "3 4 ['values.txt'] 1000\n"
    assert sorted(os.listdir(tmp_path)) == ["graded.ipynb", "values.txt"]


def test_a_second_kernel_is_there_at_once_and_knows_nothing_of_the_first(tmp_path):
    execute(tmp_path, "mine = 1\nopen('left', 'w').close()")
    begin = time.monotonic()
    ((seen,),) = execute(tmp_path, "import os\nprint('mine' in globals(), os.listdir())")
    assert seen["text"] == "False []\n"
    assert time.monotonic() - begin < 8, "a cold kernel with torch takes about that long on an idle machine"


def test_the_answers_and_the_network_are_out_of_reach(tmp_path, tmp_path_factory):
    secret = tmp_path_factory.mktemp("secret") / "answer"
    secret.write_text("42")
    with pytest.raises(CellExecutionError, match="FileNotFoundError"):
        execute(tmp_path, f"open({str(secret)!r})")
    with pytest.raises(CellExecutionError, match="OSError|Network is unreachable"):
        execute(tmp_path, "import socket\nsocket.create_connection(('127.0.0.1', 22), 2)")


def test_errors_interrupts_and_deaths_are_seen(tmp_path):
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(tmp_path, "1 / 0")
    with pytest.raises((CellTimeoutError, CellExecutionError), match="KeyboardInterrupt|timed out"):
        execute(tmp_path, "import time\ntime.sleep(60)", timeout=2, interrupt_on_timeout=True)
    with pytest.raises(DeadKernelError):
        execute(tmp_path, "import os\nos._exit(3)")


def test_a_kernel_can_be_restarted(tmp_path):
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(cwd=str(tmp_path), startup_timeout=120)
    try:
        client.execute_interactive("here = 1", timeout=60)
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=60)
        reply = client.execute_interactive("here", timeout=60)
        assert reply["content"]["ename"] == "NameError"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert not manager.is_alive()


def test_nbval_runs_through_it_unchanged(tmp_path):
    cells = ["import os, torch\nprint(os.getuid())", "assert torch.ones(2).sum() == 2"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for count, cell in enumerate(notebook.cells, start=1):
        cell.execution_count = count
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text="1000\n")]
    nbformat.write(notebook, tmp_path / "a.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", str(tmp_path / "a.ipynb")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr

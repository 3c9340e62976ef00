"""A Jupyter kernel as a job of the fork server: any Jupyter program gets it through `provisioner`."""

import io
import json
import os
import tarfile

from course.grading.sandbox import house


def warm_up() -> None:
    """In the server: import what a kernel imports, and create nothing, since no thread outlives a fork."""
    import ipykernel.control
    import ipykernel.debugger
    import ipykernel.heartbeat
    import ipykernel.ipkernel
    import ipykernel.kernelapp
    import ipykernel.zmqshell  # noqa: F401
    import IPython.core.pylabtools
    import IPython.extensions.storemagic  # noqa: F401
    import jupyter_client.localinterfaces
    import matplotlib_inline.backend_inline  # noqa: F401

    jupyter_client.localinterfaces.local_ips()  # slow the first time


def run(connection: dict, files: int) -> None:
    """Serve a notebook until the kernel is shut down.

    Args:
        connection: what stands in a kernel's connection file.
        files: descriptor of a tar with the files that lie beside the notebook.
    """
    with open(files, "rb") as file, tarfile.open(fileobj=file) as archive:
        archive.extractall(".", filter="data")
    connection_file = os.path.join(house.JOB_HOME, "connection.json")
    with open(connection_file, "w") as file:
        json.dump(connection | {"ip": f"{house.OWN_EXCHANGE}/k"}, file)
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        os.environ[name] = os.path.join(house.JOB_HOME, name.lower())
    start(connection_file)


def start(connection_file: str) -> None:
    """In a fork of a process that called `warm_up`: be a kernel until it is shut down."""
    import matplotlib
    import matplotlib_inline.backend_inline
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance(parent_handle=0, log_level=50)
    app.initialize(["-f", connection_file, "--HistoryManager.enabled=False"])
    # The server uses another backend, and the inline one was imported before there was a shell to set itself up in.
    matplotlib.use("module://matplotlib_inline.backend_inline")
    matplotlib_inline.backend_inline._enable_matplotlib_integration()
    app.start()


def pack(folder: str, largest: int) -> io.BytesIO:
    """The files of `folder` as a tar, without notebooks (a graded one beside it holds the tests) and hidden files.

    Raises:
        ValueError: they have more than `largest` bytes.
    """
    packed, size = io.BytesIO(), 0
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if (
                entry.is_file(follow_symlinks=False)
                and not entry.name.startswith(".")
                and not entry.name.endswith(".ipynb")
            ):
                size += entry.stat().st_size
                if size > largest:
                    raise ValueError(f"the files beside the notebook in {folder} have more than {largest >> 20} MB")
                archive.add(entry.path, entry.name)
    packed.seek(0)
    return packed

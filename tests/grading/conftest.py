"""A homework of three exercises and a written question in a small repository of its own, and ways to fill it in."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from course.authoring import notebooks
from course.authoring.source import read_source
from course.checks import load_homework, public
from course.grading.grade import Exam, prepare_exam
from course.grading.read.cells import Cell, cells_from_notebook
from course.grading.sandbox import client

TOPIC = "hw9_small"

SOURCE = '''\
# %% [markdown]
# # Homework 9 · Small

# %% tags=["setup"]
import torch
from torch import nn
from course import check, setup
setup(seed=0)

# %% [markdown]
# Double it.

# %% exercise="double"
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% check="double"
check("hw9.double", double)

# %% exercise="mean_and_spread"
def mean_and_spread(x):
    ### BEGIN SOLUTION
    centre = x.mean()
    return centre, ((x - centre) ** 2).mean().sqrt()
    ### END SOLUTION

# %% check="mean_and_spread"
check("hw9.mean_and_spread", mean_and_spread)

# %% exercise="Scale"
class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        ### BEGIN SOLUTION
        self.weight = nn.Parameter(torch.ones(width))
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        return double(x) * self.weight
        ### END SOLUTION

# %% check="Scale"
check("hw9.Scale", Scale)

# %% [markdown] written="why" points=2
# Why?
# ### BEGIN SOLUTION
# The model answer, which nobody may see.
# ### END SOLUTION
'''

EXERCISES = """\
from course.checks import Call, Draw, Homework
from torch import nn
import torch

homework = Homework("hw9_small")

double = homework.exercise("double", points=2)
spread = homework.exercise("mean_and_spread", points=1.5)
scale = homework.exercise("Scale", points=3)


@double.inputs
def _(draw: Draw):
    yield Call("double", {"x": draw.normal(3, 4)}, gradients=("x",))


@double.mistake("You added two instead of doubling.")
def plus_two(x):
    return x + 2


@spread.inputs
def _(draw: Draw):
    yield Call("mean_and_spread", {"x": draw.normal(50)})


@scale.inputs
def _(draw: Draw):
    yield Call("Scale", {"x": draw.normal(2, 5)}, init={"width": 5}, parameters={"weight": draw.normal(5)})
"""

SOLVED = {
    "double": "def double(x):\n    return x + x",
    "mean_and_spread": "def mean_and_spread(x):\n    return x.mean(), x.std(unbiased=False)",
    "Scale": "class Scale(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
    "        self.weight = nn.Parameter(torch.zeros(width))\n\n"
    "    def forward(self, x):\n        return 2 * x * self.weight",
}


# Tests of how servers start, end and what they wall off have servers of their own; the others share a warm one.
OWN_SERVERS = ("attacks", "kill", "provisioner", "sandbox", "walls")
FORK_SERVER = client.ForkServer


class KeptServer:
    """A running fork server that outlives the sandbox which uses it; jobs are forks as always."""

    def __init__(self) -> None:
        self.server = FORK_SERVER()

    def __getattr__(self, name: str):
        return getattr(self.server, name)

    def close(self) -> None:
        """Its sandbox has done with it; the next one takes it over."""


@pytest.fixture(scope="session")
def kept_servers() -> Iterator[list[KeptServer]]:
    kept: list[KeptServer] = []
    yield kept
    for each in kept:
        each.server.close()


@pytest.fixture(scope="module", autouse=True)
def one_server_for_many_tests(request, kept_servers) -> Iterator[None]:
    """Warming one up costs five seconds of processor time, and most tests are about what happens later."""
    if request.module.__name__.rpartition(".test_")[2] in OWN_SERVERS:
        yield
        return

    def take_over() -> KeptServer:
        if not kept_servers or kept_servers[-1].server._process.poll() is not None:
            kept_servers.append(KeptServer())
        return kept_servers[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "ForkServer", take_over)
        yield


@pytest.fixture
def own_server(monkeypatch) -> None:
    """For a test of how a server starts, in a module of others."""
    monkeypatch.setattr(client, "ForkServer", FORK_SERVER)


@pytest.fixture(scope="session")
def small_course(tmp_path_factory) -> Path:
    """The root of a repository that holds the homework ``hw9_small``, with its public checks."""
    root = tmp_path_factory.mktemp("course")
    (root / "notebooks" / "source").mkdir(parents=True)
    folder = root / "solutions" / TOPIC
    folder.mkdir(parents=True)
    (folder / f"{TOPIC}.py").write_text(SOURCE)
    (folder / "exercises.py").write_text(EXERCISES)
    released = root / "assignments" / TOPIC
    released.mkdir(parents=True)
    (released / public.FILE_NAME).write_bytes(public.to_bytes(load_homework(folder)))
    return root


@pytest.fixture(scope="session")
def exam(small_course) -> Exam:
    return prepare_exam(small_course, small_course / "solutions" / TOPIC, seed=3)


@pytest.fixture(scope="session")
def released(small_course) -> dict:
    """The notebook as students receive it, parsed."""
    folder = small_course / "solutions" / TOPIC
    source = read_source(folder / f"{TOPIC}.py", small_course)
    notebook = notebooks.make_notebook(source, notebooks.ASSIGNMENT, load_homework(folder))
    return json.loads(notebooks.to_bytes(notebook))


class Work:
    """A copy of the released notebook, to be filled in."""

    def __init__(self, released: dict):
        self.content = json.loads(json.dumps(released))

    def __getitem__(self, grade_id: str) -> dict:
        return next(c for c in self.content["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)

    def write(self, **sources: str) -> "Work":
        for grade_id, source in sources.items():
            self[grade_id]["source"] = source
        return self

    def solve(self) -> "Work":
        return self.write(**SOLVED)

    def add(self, source: str, before: str | None = None, **more) -> dict:
        made = {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None, **more}
        cells = self.content["cells"]
        cells.insert(cells.index(self[before]) if before else len(cells), made)
        return made

    def remove(self, grade_id: str) -> "Work":
        self.content["cells"].remove(self[grade_id])
        return self

    def cells(self) -> list[Cell]:
        return cells_from_notebook(self.content)

    def to_bytes(self) -> bytes:
        return json.dumps(self.content).encode()

    def save(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.to_bytes())
        return path


@pytest.fixture
def work(released) -> Work:
    return Work(released)


@pytest.fixture(scope="session")
def new_work(released):
    return lambda: Work(released)

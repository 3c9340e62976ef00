"""A small course in a temporary folder: one lecture, one homework, and what a release needs."""

import shutil
from pathlib import Path

import pytest

from course.authoring import build

LECTURE = """\
# %% [markdown]
# # A tiny lecture

# %% tags=["setup"]
from IPython.display import HTML, display

# %% [markdown]
# Count to three.

# %%
# copy the numbers, then print them
numbers = [1, 2, 3]
print(*numbers)

# %%
len(numbers)
"""

HOMEWORK = '''\
# %% [markdown]
# # Homework 7 · Two functions

# %% tags=["setup"]
import torch

from course import check, setup

setup(seed=0)

# %% [markdown]
# Write `double(x)`, twice `x`. For instance `print(double(torch.tensor([1.0])))` shows 2.

# %% exercise="double"
def double(x):
    """(N,) -> (N,): twice x."""
    ### BEGIN SOLUTION
    twice_as_much = torch.add(x, x)  # (N,)
    return twice_as_much
    ### END SOLUTION

# %% check="double"
check("hw7.double", double)

# %% exercise="split_and_join"
def split(x):
    """(N, D) -> two times (N, D/2)."""
    ### BEGIN SOLUTION
    return x.chunk(2, dim=1)
    ### END SOLUTION


class Join(torch.nn.Module):
    """Puts them together again."""

    def forward(self, a, b):
        ### BEGIN SOLUTION
        both = torch.cat([a, b], dim=1)
        return both
        ### END SOLUTION

# %% check="split_and_join"
check("hw7.split_and_join", split, Join)

# %%
# Play with it here.
x = torch.arange(6.0).reshape(2, 3)

# %% [markdown] written="why_two" points=4
# Why are there *two* halves?
#
# ### BEGIN SOLUTION
# Because one half alone would be nothing but the whole.
# ### END SOLUTION
'''

EXERCISES = '''\
"""Homework 7."""

import torch

from course.checks import Call, Draw, Homework

homework = Homework("hw7_tiny")

double = homework.exercise("double", points=2)


@double.inputs
def _(draw: Draw):
    yield Call("double", {"x": draw.normal(5)}, gradients=("x",))


@double.mistake("You squared x. Twice a number is the number plus itself.")
def squared_not_doubled(x):
    return torch.square(x)


@double.mistake("You returned x as it was.")
def forgot_to_double(x):
    return x


@double.alternative
def by_multiplying(x):
    return torch.mul(x, 2.0)


split_and_join = homework.exercise("split_and_join", points=2.5, targets=("split", "Join"))


@split_and_join.inputs
def _(draw: Draw):
    yield Call("split", {"x": draw.normal(3, 4)})
    yield Call("Join", {"a": draw.normal(3, 2), "b": draw.normal(3, 5)}, init={})


@split_and_join.mistake("You cut along the rows: the columns are axis 1.")
def cut_along_the_rows(x):
    pieces = torch.tensor_split(x, 2, dim=0)
    first, second = pieces
    return first, second
'''


def make_course(root: Path) -> Path:
    """The sources only; nothing is built."""
    for name, text in {
        "notebooks/source/01_tiny.py": LECTURE,
        "solutions/hw7_tiny/hw7_tiny.py": HOMEWORK,
        "solutions/hw7_tiny/exercises.py": EXERCISES,
        "pyproject.toml": '[project]\nname = "course"\n',
        "requirements.lock": "torch==2.14.1\n",
        "environment.yml": "name: course\n",
        "Makefile": "lab:\n",
        "LICENSE": "MIT\n",
        "course/__init__.py": '"""The package."""\n',
        "course/__pycache__/left.pyc": "x",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    root = make_course(tmp_path_factory.mktemp("course"))
    assert build(root=root, say=lambda line: None) == []
    return root


@pytest.fixture
def built(built_once, tmp_path):
    """A copy of the built course, to be broken."""
    return Path(shutil.copytree(built_once, tmp_path / "course"))


@pytest.fixture
def sources(tmp_path):
    """A course of which nothing is built."""
    return make_course(tmp_path / "course")


@pytest.fixture
def edit():
    """``edit(path, old, new)`` replaces a text that stands in the file exactly once."""

    def edit(path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    return edit

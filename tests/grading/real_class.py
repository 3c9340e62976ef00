"""A class as real tools save it, and the table that a fair instructor would give it.

``python -m tests.grading.real_class FOLDER`` writes the class into FOLDER; `CASES` is the table. What each student did
is one function below: it stands beside what the student should get, by exercise, and what the row must say. The
outcome is what a person would give who opens the files: the work counts, not how it was saved.

Formats are those of the tools themselves: JupyterLab 4 (nbformat 4.5), Colab (4.0, ids inside the metadata, outputs with
``colab``), VS Code (``vscode`` metadata), jupytext's percent script, nbconvert's exported script.
"""

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from course.authoring import notebooks
from course.authoring.source import read_source
from course.checks import load_homework, public
from tests.grading import conftest
from tests.grading.conftest import EXERCISES, SOLVED, SOURCE, TOPIC

NOTEBOOK = f"{TOPIC}.ipynb"
FULL = (2, 1.5, 3)
NOTHING = (0, 0, 0)
ANSWER = "Because twice the input is the sum of the input and itself."
OTHER_DOUBLE = "def double(x):\n    return torch.add(x, x)"
WRONG_DOUBLE = "def double(x):\n    return x + 2"
BOTH = "both(x)[::-1]"  # with both = torch.std_mean, which is forbidden: (spread, mean) of x


@dataclass(frozen=True)
class Case:
    """One student.

    Args:
        name: of the student, and what happened.
        kind: 1 several notebooks, 2 what is run, 3 IPython, 4 cells, 5 files, 6 own modules, 7 written answers,
            8 hostile classmates, 11 public reports; as in the list of what is to be fair.
        earned: points by exercise; None where a person has to look first.
        status: a regular expression for the whole status.
        says: regular expressions, each found in the message of the row; what cost nothing need not be said there.
        silent: one that must not be found there.
        page: one that must be found in the text of the student's page.
        why: what the column of the written question holds; None: not looked at.
        long: a variant of what another student did, for the long form of the tests.
        write: puts the student's files into the folder of the class.
    """

    name: str
    kind: int
    earned: tuple[float, float, float] | None
    status: str
    says: tuple[str, ...]
    silent: str
    page: str
    why: str | None
    long: bool
    write: Callable[["Place"], None]


CASES: dict[str, Case] = {}


def student(
    name: str,
    kind: int,
    earned: tuple[float, float, float] | None = FULL,
    status: str = "graded",
    says: str | tuple[str, ...] = (),
    silent: str = "",
    page: str = "",
    why: str | None = None,
    long: bool = False,
):
    """Enter a student into the table."""

    def enter(write: Callable[["Place"], None]) -> Callable[["Place"], None]:
        assert name not in CASES, name
        says_all = (says,) if isinstance(says, str) else says
        CASES[name] = Case(name, kind, earned, status, says_all, silent, page, why, long, write)
        return write

    return enter


def write_course(root: Path) -> dict:
    """A repository with one homework: conftest's, with a given cell before the first exercise and a forbidden function.

    Returns:
        the notebook as students receive it, parsed.
    """
    (root / "notebooks" / "source").mkdir(parents=True)
    folder = root / "solutions" / TOPIC
    folder.mkdir(parents=True)
    given = "# %%\nexample = torch.ones(3)\nprint(example)\n\n# %% [markdown]\n# Double it."
    (folder / f"{TOPIC}.py").write_text(SOURCE.replace("# %% [markdown]\n# Double it.", given))
    name = f'Homework("{TOPIC}"'
    assert name in EXERCISES and given.rpartition("\n")[2] in SOURCE
    (folder / "exercises.py").write_text(EXERCISES.replace(name, f'{name}, forbidden=("torch.std_mean",)'))
    homework = load_homework(folder)
    released = root / "assignments" / TOPIC
    released.mkdir(parents=True)
    (released / public.FILE_NAME).write_bytes(public.to_bytes(homework))
    source = read_source(folder / f"{TOPIC}.py", root)
    return json.loads(notebooks.to_bytes(notebooks.make_notebook(source, notebooks.ASSIGNMENT, homework)))


class Work(conftest.Work):
    """A student's notebook, as JupyterLab 4 saves it after all cells were run."""

    def solve(self) -> "Work":
        super().solve()
        self["why"]["source"] = ANSWER
        return self

    def above(self, source: str, before: str = "double") -> "Work":
        """A cell of the student's own."""
        self.add(source, before, id=f"0{len(self.content['cells']):07x}-own")
        return self

    def using(self, expression: str, helpers: str) -> "Work":
        """All solved; `double` returns `expression`, which needs the `helpers` of a cell above it."""
        return self.solve().above(helpers).write(double=f"def double(x):\n    return {expression}")

    def relabelled(self, label: Callable[[int, dict], dict]) -> "Work":
        """With another tool's metadata, `label(place, metadata)`, on every cell; without ids."""
        for place, cell in enumerate(self.content["cells"]):
            cell["metadata"] = label(place, cell["metadata"])
            cell.pop("id", None)
        return self

    def source(self, grade_id: str) -> str:
        text = self[grade_id]["source"]
        return text if isinstance(text, str) else "".join(text)

    def to_bytes(self) -> bytes:
        for count, cell in enumerate(self.content["cells"], start=1):
            if isinstance(cell["source"], str):
                cell["source"] = cell["source"].splitlines(keepends=True)
            if cell["cell_type"] == "code":
                cell["execution_count"] = count
        return json.dumps(self.content, indent=1, ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True)
class Place:
    """Where one student hands in: ``put`` writes into the student's folder, ``put_beside`` next to it."""

    folder: Path
    name: str
    released: dict

    def work(self) -> Work:
        return Work(self.released)

    def solved(self) -> Work:
        return self.work().solve()

    def put(self, name: str, content: Work | bytes | str) -> Path:
        return _write(self.folder / self.name / name, content)

    def put_beside(self, ending: str, content: Work | bytes | str) -> Path:
        return _write(self.folder / f"{self.name}{ending}", content)


def _write(path: Path, content: Work | bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_bytes(content))
    return path


def as_bytes(content: Work | bytes | str) -> bytes:
    if isinstance(content, str):
        return content.encode()
    return content if isinstance(content, bytes) else content.to_bytes()


def zipped(files: dict[str, Work | bytes | str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, as_bytes(content))
    return made.getvalue()


def write_class(folder: Path, released: dict, cases: Iterable[Case] = CASES.values()) -> None:
    for case in cases:
        case.write(Place(folder, case.name, released))


# -- other tools' formats


def from_colab(work: Work, labels: bool = True) -> Work:
    """As Colab's "Download .ipynb" writes it. Without `labels`, only Colab's own metadata is there."""
    for cell in work.content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["ok\n"]}]

    def label(place: int, metadata: dict) -> dict:
        colab = {"id": f"xK3_{place:08d}"}
        if place % 3 == 2:
            colab["colab"] = {"base_uri": "https://localhost:8080/"}
            colab["outputId"] = "6f0dbe63-6a4c-4a4f-8b3c-0cb3d9b4b1c3"
        return {**metadata, **colab} if labels else colab

    work.relabelled(label)
    work.content["metadata"] = {
        "colab": {"provenance": [], "toc_visible": True},
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    work.content["nbformat_minor"] = 0
    return work


def from_vs_code(work: Work) -> Work:
    """As VS Code saves it: ids stay; its language id is written where it is not the kernel's."""
    for place, cell in enumerate(work.content["cells"]):
        if cell["cell_type"] == "code":
            cell["metadata"]["vscode"] = {"languageId": "python"}
        cell["id"] = f"{place:08x}"
    work.content["metadata"] = {
        "kernelspec": {"display_name": ".venv (3.11.9)", "language": "python", "name": "python3"},
        "language_info": {
            "codemirror_mode": {"name": "ipython", "version": 3},
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
            "nbconvert_exporter": "python",
            "pygments_lexer": "ipython3",
            "version": "3.11.9",
        },
    }
    return work


def exported(work: Work) -> str:
    """``jupyter nbconvert --to script``, which is also "Save and Export Notebook As… Executable Script"."""
    parts = ["#!/usr/bin/env python\n# coding: utf-8\n"]
    for cell in work.content["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] != "code":
            parts.append("\n" + "\n".join(f"# {line}" for line in text.split("\n")) + "\n")
            continue
        first, _, rest = text.partition("\n")
        if first.startswith("%%"):
            text = f"get_ipython().run_cell_magic({first[2:]!r}, '', {rest + chr(10)!r})"
        parts.append(f"\n# In[{cell['execution_count'] or ' '}]:\n\n\n{text}\n\n")
    return "".join(parts)


def percent(work: Work) -> str:
    """``jupytext --to py:percent``: cells with their metadata, magics commented out."""
    head = (
        "# ---\n# jupyter:\n#   jupytext:\n#     text_representation:\n#       extension: .py\n"
        "#       format_name: percent\n#       format_version: '1.3'\n#       jupytext_version: 1.19.6\n"
        "#   kernelspec:\n#     display_name: Python 3 (ipykernel)\n#     language: python\n#     name: python3\n# ---\n"
    )
    parts = [head]
    for cell in work.content["cells"]:
        said = "".join(f" {key}={json.dumps(value)}" for key, value in cell["metadata"].items())
        lines = "".join(cell["source"]).split("\n")
        if cell["cell_type"] == "code":
            text = "\n".join(f"# {line}" if line.startswith(("%", "!")) else line for line in lines)
            parts.append(f"# %%{said}\n{text}\n")
        else:
            kind = f" [{cell['cell_type']}]"
            parts.append(f"# %%{kind}{said}\n" + "\n".join(f"# {line}".rstrip() for line in lines) + "\n")
    return "\n".join(parts)


# -- 1: several notebooks of one student, none with a date that anyone could trust


@student("copy1_beside_the_released", 1, says="Copy1")
def _(place: Place) -> None:
    """JupyterLab's "Duplicate"; the file as it came lies beside it."""
    place.put(NOTEBOOK, place.work())
    place.put(f"{TOPIC}-Copy1.ipynb", place.solved())


@student("canvas_number_beside_the_released", 1, says="-1", long=True)
def _(place: Place) -> None:
    """Canvas numbers what is handed in again."""
    place.put(NOTEBOOK, place.work())
    place.put(f"{TOPIC}-1.ipynb", place.solved())


@student("browser_number_in_the_folder", 1, says=r"\(1\)")
def _(place: Place) -> None:
    """A browser numbers a second download; both lie in nbgrader's folder."""
    place.put(f"{TOPIC}/{NOTEBOOK}", place.work())
    place.put(f"{TOPIC}/{TOPIC} (1).ipynb", place.solved())


@student("untouched_in_the_folder_work_beside_it", 1, says=r"\.ipynb")
def _(place: Place) -> None:
    place.put(f"{TOPIC}/{NOTEBOOK}", place.work())
    place.put_beside(".ipynb", place.solved())


@student("work_in_the_folder_untouched_beside_it", 1, says=r"\.ipynb", long=True)
def _(place: Place) -> None:
    place.put(f"{TOPIC}/{NOTEBOOK}", place.solved())
    place.put_beside(".ipynb", place.work())


@student("less_work_in_the_copy", 1, says="Copy1")
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.solved())
    place.put(f"{TOPIC}-Copy1.ipynb", place.work().write(double=WRONG_DOUBLE))


@student("less_work_under_the_right_name", 1, says=r"final", long=True)
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.work().write(double=WRONG_DOUBLE))
    place.put("final.ipynb", place.solved())


@student("the_files_own_date_never_decides", 1, says="Copy1")
def _(place: Place) -> None:
    """Who copies the class gives every file a new date; so does git."""
    os.utime(place.put(NOTEBOOK, place.solved()), (10**9, 10**9))
    place.put(f"{TOPIC}-Copy1.ipynb", place.work().write(double=WRONG_DOUBLE))


@student("two_different_answers", 1, earned=None, status=r".*ambiguous.*", says=("Copy1", rf"{TOPIC}\.ipynb"))
def _(place: Place) -> None:
    """As much work in both, no date: which is meant only the student knows."""
    place.put(NOTEBOOK, place.solved().write(double=WRONG_DOUBLE))
    place.put(f"{TOPIC}-Copy1.ipynb", place.solved())


@student("the_same_work_twice", 1)
def _(place: Place) -> None:
    """Only the stored outputs differ: there is nothing to choose, nobody has to look."""
    place.put(NOTEBOOK, place.solved())
    again = place.solved()
    again["check_double"]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["right\n"]}]
    place.put(f"{TOPIC}-Copy1.ipynb", again)


@student("untouched_twice", 1, earned=NOTHING, says="(?i)not started", why="0", long=True)
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.work())
    place.put(f"{TOPIC} (1).ipynb", place.work())


@student("zip_in_a_zip", 1, long=True)
def _(place: Place) -> None:
    place.put("submission.zip", zipped({"homework.zip": zipped({f"{TOPIC}/{NOTEBOOK}": place.solved()})}))


@student("zip_in_a_zip_beside_the_released", 1, says=r"\.ipynb")
def _(place: Place) -> None:
    inner = zipped({f"my work/{NOTEBOOK}": place.solved(), f"__MACOSX/my work/._{NOTEBOOK}": b"\x00\x05\x16\x07"})
    place.put_beside(".zip", zipped({f"student/{NOTEBOOK}": place.work(), "my work.zip": inner}))


@student("second_zip_with_more_work", 1, says=r"\.ipynb|\.zip", long=True)
def _(place: Place) -> None:
    place.put("homework.zip", zipped({NOTEBOOK: place.work().write(double=WRONG_DOUBLE)}))
    place.put("homework (1).zip", zipped({NOTEBOOK: place.solved()}))


@student("a_broken_copy_beside_it", 1, says=r"Copy1|copy")
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.solved())
    data = place.solved().to_bytes()
    place.put(f"{TOPIC}-Copy1.ipynb", data[: len(data) // 2])


@student("the_checkpoint_is_no_version", 1, silent=r"notebooks")
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.solved().write(double=OTHER_DOUBLE))
    place.put(f".ipynb_checkpoints/{TOPIC}-checkpoint.ipynb", place.solved().write(double=WRONG_DOUBLE))


# -- 2: what the student could run is run


@student("lambda", 2)
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.work().using("twice(x)", "twice = lambda x: 2 * x"))


@student("partial", 2)
def _(place: Place) -> None:
    helpers = "from functools import partial\n\ntwice = partial(torch.mul, torch.tensor(2.0))"
    place.put(NOTEBOOK, place.work().using("twice(x)", helpers))


@student("a_layer", 2)
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.work().using("2 * same(x)", "same = nn.Identity()\nact = nn.GELU()"))


@student("a_device", 2, long=True)
def _(place: Place) -> None:
    helpers = 'device = torch.device("cuda" if torch.cuda.is_available() else "cpu")\nprint("using", device)'
    place.put(NOTEBOOK, place.work().using("2 * x.to(device)", helpers))


@student("a_base_class_under_another_name", 2)
def _(place: Place) -> None:
    work = place.solved().above("class MyBase(nn.Module):\n    pass\n\n\nBase = MyBase", before="Scale")
    place.put(NOTEBOOK, work.write(Scale=SOLVED["Scale"].replace("nn.Module", "Base")))


@student("numbers_that_are_computed", 2)
def _(place: Place) -> None:
    work = place.solved().write(double="def double(x):\n    return (2 * x + EPS - EPS).clamp(-BIG, BIG)")
    work["setup"]["source"] = work.source("setup") + '\nEPS = 10**-5\nBIG = float("inf")'
    place.put(NOTEBOOK, work)


@student("try_around_an_import", 2)
def _(place: Place) -> None:
    helpers = (
        "try:\n    import a_fast_library as fast\nexcept ImportError:\n    fast = None\n\n\n"
        "def twice(x):\n    return 2 * x if fast is None else fast.twice(x)"
    )
    place.put(NOTEBOOK, place.work().using("twice(x)", helpers))


@student("with_around_a_tensor", 2, long=True)
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.work().using("TWO * x", "with torch.no_grad():\n    TWO = torch.tensor(2.0)"))


@student("if_around_a_function", 2, long=True)
def _(place: Place) -> None:
    helpers = (
        "if torch.cuda.is_available():\n    def twice(x):\n        return 2 * x.cuda()\n"
        "else:\n    def twice(x):\n        return 2 * x"
    )
    place.put(NOTEBOOK, place.work().using("twice(x)", helpers))


@student("a_decorator_of_ones_own", 2)
def _(place: Place) -> None:
    helpers = (
        "import functools\nimport time\n\n\ndef timed(function):\n    @functools.wraps(function)\n"
        "    def inner(*args):\n        start = time.time()\n        result = function(*args)\n"
        "        print(time.time() - start)\n        return result\n    return inner\n\n\n"
        "@timed\ndef twice(x):\n    return 2 * x"
    )
    place.put(NOTEBOOK, place.work().using("twice(x)", helpers))


@student("calls_that_fill_a_list", 2)
def _(place: Place) -> None:
    helpers = "factors = []\nfor k in range(3):\n    factors.append(float(k))\ntable = {}\ntable.update(two=factors[2])"
    place.put(NOTEBOOK, place.work().using('table["two"] * x', helpers))


@student("unpacking_and_adding_to", 2, long=True)
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.work().using("one * x + rest[0] * x", "one, *rest = 1.0, 0.5, 0.25\nrest[0] += 0.5"))


@student("a_name_of_a_given_cell", 2)
def _(place: Place) -> None:
    """The course's own cell defines ``example``; for the student it was there."""
    place.put(NOTEBOOK, place.work().using("(1 + ONE) * x", "ONE = float(example[0])"))


@student("colab_drive_above_helpers", 2, page="ModuleNotFoundError")
def _(place: Place) -> None:
    helpers = "from google.colab import drive\ndrive.mount('/content/drive')\n\n\ndef twice(x):\n    return 2 * x"
    place.put(NOTEBOOK, from_colab(place.work().using("twice(x)", helpers)))


@student("colab_drive_in_a_solution", 2, page="ModuleNotFoundError")
def _(place: Place) -> None:
    work = place.solved()
    work.write(double="from google.colab import drive\ndrive.mount('/content/drive')\n\n" + work.source("double"))
    place.put(NOTEBOOK, from_colab(work))


@student("colab_files_in_the_setup_cell", 2, long=True)
def _(place: Place) -> None:
    work = place.work().using("TWO * x", "# a remark")
    work["setup"]["source"] = (
        "!pip install -q einops\nfrom google.colab import files\n" + work.source("setup") + "\nTWO = 2"
    )
    place.put(NOTEBOOK, from_colab(work))


@student("seaborn_above_helpers", 2, page="ModuleNotFoundError", long=True)
def _(place: Place) -> None:
    helpers = "import seaborn as sns\nsns.set_theme()\nTWO = 2.0\n\n\ndef twice(x):\n    return TWO * x"
    place.put(NOTEBOOK, place.work().using("twice(x)", helpers))


@student("an_answer_that_needs_seaborn", 2, earned=(0, 1.5, 3), says=("double:", "(?i)seaborn"))
def _(place: Place) -> None:
    """This one costs the exercise: its answer needs what is not there. The row says which line it was."""
    place.put(NOTEBOOK, place.work().using("len(sns.color_palette(n_colors=2)) * x", "import seaborn as sns"))


@student("debug_print_between_two_functions", 2)
def _(place: Place) -> None:
    """In the cell of an exercise, with a name of a given cell of the course."""
    answer = (
        "def helper(x):\n    return 2 * x\n\n"
        "print(example.shape, helper(example))\n\n"
        "def double(x):\n    return helper(x)"
    )
    place.put(NOTEBOOK, place.solved().write(double=answer))


@student("debug_print_in_an_own_cell", 2)
def _(place: Place) -> None:
    """A name that has been renamed since: the kernel still knew it, a fresh one stops there."""
    helpers = "def one(x):\n    return x\n\nprint(one(exampel))\n\ndef twice(x):\n    return one(x) + one(x)"
    place.put(NOTEBOOK, place.work().using("twice(x)", helpers))


@student("an_own_test_that_fails", 2)
def _(place: Place) -> None:
    work = place.solved().above("assert double(torch.ones(1)).item() == 3, 'why?'\nTWO = 2", before="check_double")
    place.put(NOTEBOOK, work)


@student("plots_and_training_in_own_cells", 2, long=True)
def _(place: Place) -> None:
    work = place.solved().above(
        "import matplotlib.pyplot as plt\nlayer = nn.Linear(3, 1)\n"
        "optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)\nlosses = []\nfor step in range(5):\n"
        "    loss = layer(torch.randn(4, 3)).pow(2).mean()\n    optimizer.zero_grad()\n    loss.backward()\n"
        "    optimizer.step()\n    losses.append(loss.item())\nplt.plot(losses)\nplt.show()",
        before="mean_and_spread",
    )
    place.put(NOTEBOOK, work)


@student("an_own_cell_that_takes_an_hour", 2, status="graded(,timeout)?")
def _(place: Place) -> None:
    """It trained at home. It may not end here, and costs nothing that it was not needed for."""
    place.put(NOTEBOOK, place.solved().above("import time\ntime.sleep(3600)", before="Scale"))


@student("input_and_exit_in_own_cells", 2)
def _(place: Place) -> None:
    work = place.solved().above("name = input('Your name: ')", before="double")
    place.put(NOTEBOOK, work.above("import sys\nif double(torch.ones(1)) != 3:\n    sys.exit()\n", before="Scale"))


@student("helpers_below_the_exercise", 2, long=True)
def _(place: Place) -> None:
    work = place.solved().write(double="def double(x):\n    return twice(x)")
    place.put(NOTEBOOK, work.above("twice = lambda x: x + x", before="check_double"))


@student("forbidden_under_another_name", 2, earned=(2, 0, 3), says="std_mean")
def _(place: Place) -> None:
    work = place.solved().above("both = torch.std_mean", before="mean_and_spread")
    place.put(NOTEBOOK, work.write(mean_and_spread="def mean_and_spread(x):\n    return both(x, unbiased=False)[::-1]"))


@student("forbidden_in_a_lambda", 2, earned=(2, 0, 3), says="std_mean", long=True)
def _(place: Place) -> None:
    work = place.solved().above("both = lambda x: torch.std_mean(x, unbiased=False)", before="mean_and_spread")
    place.put(NOTEBOOK, work.write(mean_and_spread=f"def mean_and_spread(x):\n    return {BOTH}"))


@student("forbidden_in_a_partial_under_try", 2, earned=(2, 0, 3), says="std_mean")
def _(place: Place) -> None:
    helpers = (
        "from functools import partial\ntry:\n    both = partial(torch.std_mean, unbiased=False)\n"
        "except AttributeError:\n    both = None"
    )
    work = place.solved().above(helpers, before="mean_and_spread")
    place.put(NOTEBOOK, work.write(mean_and_spread=f"def mean_and_spread(x):\n    return {BOTH}"))


# -- 3: IPython


@student("magics_everywhere", 3)
def _(place: Place) -> None:
    work = place.solved().above("%load_ext autoreload\n%autoreload 2\n!pip install -q einops\nfiles = !ls\ntorch.std??")
    work.write(double="%matplotlib inline\n" + work.source("double") + "\n\n%timeit double(torch.ones(3))")
    work.write(mean_and_spread="%%time\n" + work.source("mean_and_spread"))
    place.put(NOTEBOOK, work)


@student("get_ipython_in_a_solution", 3)
def _(place: Place) -> None:
    line = "get_ipython().run_line_magic('matplotlib', 'inline')\nget_ipython().system('pip install einops')\n"
    work = place.solved()
    place.put(NOTEBOOK, work.write(double=line + work.source("double")))


@student("get_ipython_above_helpers", 3, long=True)
def _(place: Place) -> None:
    helpers = "get_ipython().run_line_magic('load_ext', 'autoreload')\nTWO = 2.0\n\n\ndef twice(x):\n    return TWO * x"
    place.put(NOTEBOOK, place.work().using("twice(x)", helpers))


@student("display_of_anything", 3)
def _(place: Place) -> None:
    work = place.solved().above(
        "from IPython.display import HTML, Markdown\ndisplay(Markdown('**hello**'), HTML('<b>'))"
    )
    work.write(double="def double(x):\n    display(x.shape)\n    return 2 * x\n\ndisplay(double(torch.ones(3)))")
    place.put(NOTEBOOK, work)


@student("other_languages_earn_nothing", 3, earned=(0, 1.5, 3), long=True)
def _(place: Place) -> None:
    """A cell for the shell is no answer in Python, whatever stands in it."""
    work = place.solved()
    place.put(NOTEBOOK, work.write(double="%%bash\n" + work.source("double")))


# -- 4: cells


@student("solution_turned_into_markdown", 4, says=("double", "(?i)markdown"), long=True)
def _(place: Place) -> None:
    """The key M outside of the editor."""
    work = place.solved()
    _change_kind(work["double"], "markdown")
    place.put(NOTEBOOK, work)


@student("solution_turned_raw", 4, says=("Scale", "(?i)raw"))
def _(place: Place) -> None:
    """The key R outside of the editor."""
    work = place.solved()
    _change_kind(work["Scale"], "raw")
    place.put(NOTEBOOK, work)


@student("written_answer_turned_raw", 4, page="twice the input is the sum", why="")
def _(place: Place) -> None:
    work = place.solved()
    _change_kind(work["why"], "raw")
    place.put(NOTEBOOK, work)


@student("written_answer_turned_into_code", 4, page="twice the input is the sum", why="", long=True)
def _(place: Place) -> None:
    work = place.solved()
    _change_kind(work["why"], "code")
    place.put(NOTEBOOK, work)


def _change_kind(cell: dict, kind: str) -> None:
    cell["cell_type"] = kind
    cell.pop("outputs", None)
    cell.pop("execution_count", None)
    if kind == "code":
        cell |= {"outputs": [], "execution_count": None}


@student("colab_keeps_labels", 4, why="")
def _(place: Place) -> None:
    place.put(NOTEBOOK, from_colab(place.solved()))


@student("colab_without_labels", 4, page="twice the input is the sum", long=True)
def _(place: Place) -> None:
    place.put("Copy of hw9_small.ipynb", from_colab(place.solved(), labels=False))


@student("vs_code", 4, why="", long=True)
def _(place: Place) -> None:
    place.put(NOTEBOOK, from_vs_code(place.solved()))


@student("two_exercises_merged_into_one_cell", 4)
def _(place: Place) -> None:
    """JupyterLab's "Merge Selected Cells" keeps the metadata of the first."""
    work = place.solved()
    merged = f"{work.source('double')}\n\ncheck('hw9.double', double)\n\n{work.source('mean_and_spread')}"
    place.put(NOTEBOOK, work.write(double=merged).remove("check_double").remove("mean_and_spread"))


@student("everything_in_one_cell", 4, long=True)
def _(place: Place) -> None:
    work = place.solved()
    names = ("double", "mean_and_spread", "Scale")
    work.write(double="\n\n".join(work.source(name) for name in names))
    for name in names[1:]:
        work.remove(name)
    place.put(NOTEBOOK, work)


@student("split_by_jupyterlab", 4)
def _(place: Place) -> None:
    """JupyterLab's "Split Cell" gives both halves the metadata, nbgrader's id with it."""
    work = place.solved().write(double="def twice(x):\n    return x + x\n")
    second = {**json.loads(json.dumps(work["double"])), "id": "second", "source": "def double(x):\n    return twice(x)"}
    cells = work.content["cells"]
    cells.insert(cells.index(work["double"]) + 1, second)
    place.put(NOTEBOOK, work)


@student("split_by_vs_code", 4, long=True)
def _(place: Place) -> None:
    """VS Code leaves the metadata with the first half."""
    work = from_vs_code(place.solved().write(double="def twice(x):\n    return x + x\n"))
    work.above("def double(x):\n    return twice(x)", before="check_double")
    place.put(NOTEBOOK, work)


@student("git_conflict_in_the_file", 4, says=("double", "(?i)conflict"))
def _(place: Place) -> None:
    """The first version is read, and the row says so: one cell of the notebook differs, the rest is work."""
    text = place.solved().to_bytes().decode()
    line = '    "    return x + x"'
    assert line in text
    both = f'<<<<<<< HEAD\n{line}\n=======\n    "    return 2 * x"\n>>>>>>> origin/main'
    place.put(NOTEBOOK, text.replace(line, both))


@student("nbdime_conflict_in_a_cell", 4, earned=(0, 1.5, 3), says=("double", "(?i)conflict"))
def _(place: Place) -> None:
    """nbmerge leaves the notebook valid and both versions of the lines in the cell."""
    work = place.solved()
    work.write(
        double="def double(x):\n<<<<<<< local\n    return x + x\n=======\n    return torch.add(x, x)\n>>>>>>> remote",
        Scale=SOLVED["Scale"].replace("2 * x", "(x + x)"),
        mean_and_spread=SOLVED["mean_and_spread"],
    )
    place.put(NOTEBOOK, work)


@student("nbdime_conflict_of_whole_cells", 4, says="(?i)conflict", long=True)
def _(place: Place) -> None:
    """nbmerge frames cells that differ with cells of its own; both versions are right."""
    work = place.solved()
    cells = work.content["cells"]
    at = cells.index(work["double"])
    remote = {**json.loads(json.dumps(work["double"])), "id": "remote", "source": OTHER_DOUBLE}
    marks = ["<<<<<<< local", "=======", ">>>>>>> remote"]
    local, middle, end = (
        {
            "cell_type": "markdown",
            "id": f"mark-{k}",
            "metadata": {},
            "source": f'<span style="color:red">**{mark}**</span>',
        }
        for k, mark in enumerate(marks)
    )
    cells[at : at + 1] = [local, cells[at], middle, remote, end]
    place.put(NOTEBOOK, work)


@student("saved_in_windows_encoding", 4, earned=None, status="graded|unreadable", says="(?i)utf-?8|encod", long=True)
def _(place: Place) -> None:
    """A text editor saved it in cp1252. It may be read all the same or refused, but the row says what it is."""
    work = place.solved().write(why="Größer als zuvor: naïve façade.")
    place.put(NOTEBOOK, work.to_bytes().decode().replace("·", "-").encode("cp1252"))


# -- 5: files


@student("file_called_json", 5, long=True)
def _(place: Place) -> None:
    """What a browser makes of a notebook's type."""
    place.put(f"{NOTEBOOK}.json", place.solved())


@student("file_called_txt", 5)
def _(place: Place) -> None:
    place.put(f"{NOTEBOOK}.txt", place.solved())


@student("flat_file_called_txt", 5)
def _(place: Place) -> None:
    place.put_beside(".ipynb.txt", place.solved())


@student("ending_twice", 5, long=True)
def _(place: Place) -> None:
    """Windows hides the first."""
    place.put(f"{NOTEBOOK}.ipynb", place.solved())


@student("percent_script", 5)
def _(place: Place) -> None:
    work = place.work().using("twice(x)", "%matplotlib inline\ntwice = lambda x: 2 * x")
    place.put(f"{TOPIC}.py", percent(work))


@student("exported_script", 5, long=True)
def _(place: Place) -> None:
    work = place.work().using(
        "twice(x)", "get_ipython().run_line_magic('matplotlib', 'inline')\ntwice = lambda x: 2 * x"
    )
    place.put(f"{TOPIC}.py", exported(work))


@student("exported_script_with_time", 5, long=True)
def _(place: Place) -> None:
    """nbconvert puts the whole cell under ``%%time`` into a string."""
    work = place.solved()
    place.put_beside(".py", exported(work.write(double="%%time\n" + work.source("double"))))


@student("notebook_and_its_export", 5, long=True)
def _(place: Place) -> None:
    """The same work in two forms: nothing to choose."""
    place.put(NOTEBOOK, place.solved())
    place.put(f"{TOPIC}.py", exported(place.solved()))


@student(
    "web_page", 5, NOTHING, "missing|unreadable", ("(?i)html", "(?i)ipynb", "(?i)hand|upload|download|export|save")
)
def _(place: Place) -> None:
    place.put(f"{TOPIC}.html", "<!DOCTYPE html><html><head><title>hw9_small</title></head><body></body></html>")


@student("printed_to_a_file", 5, NOTHING, "missing|unreadable", "(?i)pdf", long=True)
def _(place: Place) -> None:
    place.put(f"{TOPIC}.pdf", b"%PDF-1.7\n")


# -- 6: own modules


@student("own_module", 6, long=True)
def _(place: Place) -> None:
    place.put(f"{TOPIC}/{NOTEBOOK}", place.work().using("twice(x)", "from my_layers import twice"))
    place.put(f"{TOPIC}/my_layers.py", "import torch\n\n\ndef twice(x):\n    return torch.add(x, x)\n")


@student("own_package", 6, long=True)
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.work().using("ops.twice(x)", "from lib import ops"))
    place.put("lib/__init__.py", "")
    place.put("lib/ops.py", "def twice(x):\n    return 2 * x\n")


@student("own_module_in_a_zip", 6)
def _(place: Place) -> None:
    work = place.work().using("helpers.twice(x)", "import helpers")
    place.put_beside(".zip", zipped({NOTEBOOK: work, "helpers.py": "def twice(x):\n    return 2 * x\n"}))


@student("own_module_of_the_same_name_and_wrong", 6, earned=(0, 1.5, 3))
def _(place: Place) -> None:
    """The classmate's ``helpers`` is right; nobody gets another's."""
    place.put(NOTEBOOK, place.work().using("helpers.twice(x)", "import helpers"))
    place.put("helpers.py", "def twice(x):\n    return x + 2\n")


@student("forbidden_in_an_own_module", 6, earned=(2, 0, 3), says="std_mean")
def _(place: Place) -> None:
    work = place.solved().above("from statistics_of_mine import both", before="mean_and_spread")
    place.put(NOTEBOOK, work.write(mean_and_spread=f"def mean_and_spread(x):\n    return {BOTH}"))
    place.put("statistics_of_mine.py", "import torch\n\n\ndef both(x):\n    return torch.std_mean(x, unbiased=False)\n")


@student("a_stray_module_named_like_pythons", 6, long=True)
def _(place: Place) -> None:
    """From another course, never imported by the notebook."""
    place.put(NOTEBOOK, place.solved())
    place.put("random.py", "raise RuntimeError('this is an exercise of another course')\n")


@student("own_module_that_is_not_there", 6, earned=(0, 1.5, 3), says="my_layers", long=True)
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.work().using("twice(x)", "from my_layers import twice"))


# -- 7: written answers


@student("answered", 7, why="", long=True)
def _(place: Place) -> None:
    """It waits for a person."""
    place.put(NOTEBOOK, place.solved())


@student("not_answered", 7, why="0")
def _(place: Place) -> None:
    work = place.solved()
    place.put(NOTEBOOK, work.write(why="Why?\n*Write your answer here.*"))


@student("answer_deleted", 7, why="0", long=True)
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.solved().remove("why"))


@student("answer_emptied", 7, why="0", long=True)
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.solved().write(why="  \n"))


@student("answer_below_the_cell", 7, page="twice the input is the sum")
def _(place: Place) -> None:
    """The question's own cell is as it came, and the answer in a cell below it: a person has to see it."""
    work = place.solved().write(why="Why?\n*Write your answer here.*")
    work.content["cells"].append({"cell_type": "markdown", "id": "below", "metadata": {}, "source": ANSWER})
    place.put(NOTEBOOK, work)


# -- 8: hostile or broken classmates


@student("hostile_quits", 8, earned=None, status="graded.*|.*crashed.*")
def _(place: Place) -> None:
    """Its line is left out; what else it handed in has its points."""
    work = place.solved().above("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos._exit(0)")
    place.put(NOTEBOOK, work)


@student("hostile_changes_the_house", 8, earned=None, status="graded.*|.*crashed.*")
def _(place: Place) -> None:
    """Every classmate's row would be another if any of this lasted."""
    work = place.solved().above(
        "import builtins, pathlib\ntorch.Tensor.__add__ = torch.Tensor.__mul__ = lambda *_: torch.zeros(1)\n"
        "builtins.print = None\nfor name in ('/tmp/helpers.py', 'helpers.py', '/tmp/sitecustomize.py'):\n    try:\n"
        "        pathlib.Path(name).write_text('raise SystemExit')\n    except OSError:\n        pass"
    )
    place.put(NOTEBOOK, work)


@student("hostile_zip", 8, earned=NOTHING, status="limit|unreadable|missing", long=True)
def _(place: Place) -> None:
    """Each layer unpacks to many."""
    data = zipped({f"{k}.txt": b"0" * 10**6 for k in range(10)})
    for _depth in range(5):
        data = zipped({f"{k}.zip": data for k in range(10)})
    place.put_beside(".zip", data)


# -- 11: what happened in public; told in test_real_class.py


@student("report_nbgrader_108", 11, says="double")
def _(place: Place) -> None:
    work = place.work().write(double=WRONG_DOUBLE)
    first = json.loads(json.dumps(work["double"]))
    work.solve()
    cells = work.content["cells"]
    cells.insert(cells.index(work["double"]), {**first, "id": "first-try"})
    place.put(NOTEBOOK, work)


@student("report_nbgrader_1083", 11, says="mean_and_spread")
def _(place: Place) -> None:
    work = place.solved()
    cells = work.content["cells"]
    for name in ("mean_and_spread", "check_mean_and_spread"):
        copy = {**json.loads(json.dumps(work[name])), "id": f"copy-of-{name}"}
        cells.insert(cells.index(work["Scale"]), copy)
    place.put(NOTEBOOK, work)


@student("report_nbgrader_424", 11, page="twice the input is the sum")
def _(place: Place) -> None:
    work = place.solved()
    work["why"]["metadata"] = {}
    place.put(NOTEBOOK, work)


@student("report_nbgrader_427", 11, earned=(0, 1.5, 3), status="graded(,(limit|timeout|crashed))*")
def _(place: Place) -> None:
    eats = "def double(x):\n    kept = []\n    while True:\n        kept.append(torch.empty(2**28))"
    work = place.solved().write(double=eats)
    place.put(NOTEBOOK, work.write(Scale=SOLVED["Scale"]))


@student("report+nbgrader_928", 11)
def _(place: Place) -> None:
    place.put(f"{TOPIC}/{NOTEBOOK}", place.solved())


@student("report_nbgrader_1738 (b) [c]", 11, says=r"\(final\)")
def _(place: Place) -> None:
    place.put(f"{TOPIC} (final) [24 points].ipynb", place.solved())


@student("report_nbgrader_1302", 11, says="WMS hw9")
def _(place: Place) -> None:
    place.put(f"{TOPIC}/WMS hw9.ipynb", place.solved())
    place.put(f"{TOPIC}/jupyter.png", b"\x89PNG")


@student("report_nbgrader_1682", 11, why="0")
def _(place: Place) -> None:
    place.put(NOTEBOOK, place.solved().remove("check_double").remove("why"))


@student("report_nbgrader_1941", 11, says="(?i)markdown")
def _(place: Place) -> None:
    work = place.solved().above("# a cell of my own", before="Scale")
    for name in ("mean_and_spread", "check_mean_and_spread"):
        _change_kind(work[name], "markdown")
    place.put(NOTEBOOK, work)


@student("report_nbgrader_729", 11, page="ModuleNotFoundError")
def _(place: Place) -> None:
    work = place.solved()
    place.put(NOTEBOOK, work.write(double="import pyspark\nimport xlrd\n\n" + work.source("double")))


@student("report_nbgrader_1273", 11, page="ModuleNotFoundError")
def _(place: Place) -> None:
    helpers = "from google.colab import files\nuploaded = files.upload()\n\n\ndef twice(x):\n    return 2 * x"
    place.put("hw9_small.ipynb", from_colab(place.work().using("twice(x)", helpers), labels=False))


@student("report_nbgrader_1876", 11)
def _(place: Place) -> None:
    place.put(f"{TOPIC}/{NOTEBOOK}", place.work().using("P0.twice(x)", "import P0"))
    place.put(f"{TOPIC}/P0.py", "SYM = None\n\n\ndef twice(x):\n    return 2 * x\n")


@student("report_cs224u_64", 11)
def _(place: Place) -> None:
    work = place.solved()
    work["setup"]["source"] = (
        work.source("setup") + "\nif 'IS_GRADESCOPE_ENV' not in __import__('os').environ:\n    pass"
    )
    line = "get_ipython().run_line_magic('matplotlib', 'inline')\n"
    place.put(f"{TOPIC}.py", exported(work.write(double=line + work.source("double"))))


@student("report_ssid_137", 11)
def _(place: Place) -> None:
    place.put("all.zip", zipped({"inner.zip": zipped({f"work/{NOTEBOOK}": place.solved()})}))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as repository:
        write_class(Path(sys.argv[1]), write_course(Path(repository)))
    print(f"{len(CASES)} students in {sys.argv[1]}")

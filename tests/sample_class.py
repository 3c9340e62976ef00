"""A class of students who hand in homework 1: right in several ways, wrong in the common ones, and every mishap.

``write_sample_class(folder)`` writes their submissions, made from the solution and from the alternatives and named
mistakes in ``solutions/hw1_self_attention/exercises.py``. What each should get stands in ``sample_class.csv``.
`demo` grades them and compares; ``make demo`` and a test call it. `Notebook` fills in any homework's notebook; the
classes of the other homeworks are in ``grading/test_every_homework.py``.
"""

import ast
import csv
import functools
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from course.authoring import notebooks
from course.authoring.source import read_source
from course.checks import Exercise, Homework, load_homework
from course.checks.exercise import Mistake

ROOT = Path(__file__).resolve().parents[1]
TOPIC = "hw1_self_attention"
SECONDS = 30  # for a cell or an exercise: training takes 5 on a quiet core, several times that on a busy one
SEED = 2026


def expected() -> dict[str, tuple[float, set[str]]]:
    """(points, statuses) by student."""
    with open(Path(__file__).with_suffix(".csv"), newline="", encoding="utf-8") as file:
        return {row["student"]: (float(row["points"]), set(row["status"].split(","))) for row in csv.DictReader(file)}


def stories() -> dict[str, str]:
    """What happened to a student's files, in one line, for those who show that an honest mishap costs nothing."""
    with open(Path(__file__).with_suffix(".csv"), newline="", encoding="utf-8") as file:
        return {row["student"]: row["story"] for row in csv.DictReader(file) if row["story"]}


def write_sample_class(folder: Path) -> None:
    """Write one submission for each student of `expected`: nbgrader's layout, with a flat file and zips among them."""
    for student, write in STUDENTS.items():
        notebook = Notebook()
        path = folder / student / TOPIC / f"{TOPIC}.ipynb"
        path = write(notebook, path) or path
        if path.suffix == ".ipynb" and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(notebook.to_bytes())


def demo(out: Path) -> int:
    """Grade the class into ``out/grades``, print the table beside what was expected; 0 if they agree."""
    from course.grading import grade_command

    print("Writing the submissions of the sample class", flush=True)
    write_sample_class(out / "submissions")
    status = grade_command(out / "submissions", TOPIC, out / "grades", seed=SEED, timeout=SECONDS)
    if status:
        return status
    with open(out / "grades" / "grades.csv", newline="", encoding="utf-8") as file:
        got = {row["student"]: row for row in csv.DictReader(file)}
    wanted, told = expected(), stories()
    different = []
    print(f"\n  {'student':<12}{'points':>7}   {'status':<18}  message")
    for student in sorted({*got, *wanted}):
        row = got.get(student, {"points": "nan", "status": "no row", "message": ""})
        right = (float(row["points"]), set(row["status"].split(","))) == wanted.get(student)
        if not right:
            different.append(student)
        message = row["message"] if len(row["message"]) <= 90 else row["message"][:89] + "…"
        print(f"{' ' if right else '!'} {student:<12}{row['points']:>7}   {row['status']:<18}  {message}")
        if student in told:
            print(f"{'':<43}{told[student]}")
    if different:
        print(f"\nNot as expected: {', '.join(f'{name} (expected {wanted.get(name)})' for name in different)}")
        return 1
    print(f"\nAll {len(wanted)} students have the points and the status expected of them.")
    print(f"The class page is {out / 'grades' / 'report.html'}")
    print(f"A student's page, for instance {out / 'grades' / 'feedback' / 'dora.html'}")
    return 0


class Notebook:
    """The released assignment, to be filled in by a student of the sample class."""

    def __init__(self, topic: str = TOPIC):
        self.topic = topic
        self.homework, released, self.solutions = _homework(topic)
        self.content = json.loads(released)

    @property
    def cells(self) -> list[dict]:
        return self.content["cells"]

    def cell(self, grade_id: str) -> dict:
        return next(c for c in self.cells if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)

    def solve(self, *names: str) -> "Notebook":
        """Write the right answers into the cells of `names`, or of all."""
        for name in names or self.solutions:
            self.cell(name)["source"] = self.solutions[name]
        return self

    def solve_but_training(self) -> "Notebook":
        """Everything but the exercise that trains, which takes longer to grade than all others together."""
        trains = {name for name, exercise in self.homework.exercises.items() if exercise.trains}
        return self.solve(*(name for name in self.solutions if name not in trains))

    def solve_as(self, exercise: str, variant: str) -> "Notebook":
        """Write an alternative or a mistake of exercises.py, by the name it has there."""
        described = self.homework.exercises[exercise]
        variants = [mistake.objects for mistake in described.mistakes] + described.alternatives
        target = next(t for objects in variants for t, made in objects.items() if made.__name__ == variant)
        self.cell(exercise)["source"] = _replace(self.topic, self.solutions[exercise], target, variant)
        return self

    def solve_with_alternatives(self, which: int) -> "Notebook":
        """Every exercise by one of its alternatives: 0 takes the first, -1 the last."""
        self.solve()
        for name, exercise in self.homework.exercises.items():
            self.solve_as(name, next(iter(exercise.alternatives[which].values())).__name__)
        return self

    def add_code(self, source: str, before: str) -> None:
        made = {
            "cell_type": "code",
            "execution_count": None,
            "id": f"added-{len(self.cells)}",
            "metadata": {},
            "outputs": [],
            "source": source,
        }
        self.cells.insert(self.cells.index(self.cell(before)), made)

    def to_bytes(self) -> bytes:
        return json.dumps(self.content, indent=1).encode()


@functools.cache
def _homework(topic: str) -> tuple[Homework, bytes, dict[str, str]]:
    """(the homework, its released notebook, the right answers by cell)."""
    homework = load_homework(ROOT / "solutions" / topic)
    source = read_source(ROOT / "solutions" / topic / f"{topic}.py", ROOT)
    solutions = {
        cell.name: re.sub(r"^\s*### (BEGIN|END) SOLUTION\n", "", cell.text + "\n", flags=re.MULTILINE).rstrip()
        for cell in source.cells
        if cell.role in ("exercise", "written")
    }
    return homework, notebooks.to_bytes(notebooks.make_notebook(source, notebooks.ASSIGNMENT, homework)), solutions


@functools.cache
def _replace(topic: str, solution: str, target: str, variant: str) -> str:
    """The solution's cell with `target` written as `variant` of exercises.py is, helpers and imports included."""
    text = (ROOT / "solutions" / topic / "exercises.py").read_text(encoding="utf-8")
    there = top_level(text)
    wanted = ast.get_source_segment(text, there[variant])
    wanted = re.sub(rf"^(def|class) {variant}\b", rf"\1 {target}", wanted)
    needed: dict[str, str] = {}

    def need(code: str) -> None:
        # Imports first, then helpers, each before what uses it.
        nodes = list(ast.walk(ast.parse(code)))
        names = [node for node in nodes if isinstance(node, ast.Name)]
        # Its own, even if an exercise happens to be called the same.
        own = {node.arg for node in nodes if isinstance(node, ast.arg)}
        own |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
        for name in sorted({node.id for node in names} - own):
            if name in there and name not in needed and name != variant:
                helper = ast.get_source_segment(text, there[name])
                needed[name] = ""
                need(helper)
                needed[name] = helper

    need(wanted)
    imports = sorted({code for code in needed.values() if re.match(r"import |from ", code)})
    helpers = list(dict.fromkeys(code for code in needed.values() if not re.match(r"import |from ", code)))
    helpers.sort(key=lambda code: text.index(code))
    own = top_level(solution)[target]
    lines = solution.split("\n")
    lines[own.lineno - 1 : own.end_lineno] = [wanted]
    return "\n".join([*imports, *(["", ""] if imports else []), *(f"{code}\n\n" for code in helpers), *lines])


@functools.cache
def top_level(text: str) -> dict[str, ast.stmt]:
    """What a file defines or imports at its top level, by name; loops are looked into, for variants made there."""
    found: dict[str, ast.stmt] = {}

    def look(statements: list[ast.stmt]) -> None:
        for node in statements:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found[node.name] = node
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                found.update({alias.asname or alias.name: node for alias in node.names})
            elif isinstance(node, ast.Assign):
                found.update({leaf.id: node for leaf in ast.walk(node.targets[0]) if isinstance(leaf, ast.Name)})

    look(ast.parse(text).body)
    return found


def named_mistakes(topic: str, exercise: Exercise) -> list[tuple[Mistake, str]]:
    """Its mistakes that are one function or class of exercises.py, with the name there, which no other mistake has."""
    there = top_level((ROOT / "solutions" / topic / "exercises.py").read_text(encoding="utf-8"))
    made = [(m, *m.objects.values()) for m in exercise.mistakes if len(m.objects) == 1]
    names = Counter(getattr(variant, "__name__", "") for _, variant in made)
    return [(m, v.__name__) for m, v in made if names[getattr(v, "__name__", "")] == 1 and v.__name__ in there]


# -- the students. Each function fills the notebook; it may write files itself and return another path.


def _right(notebook: Notebook, path: Path) -> None:
    notebook.solve()


def _right_another_way(notebook: Notebook, path: Path) -> None:
    notebook.solve_with_alternatives(0)


def _right_a_third_way(notebook: Notebook, path: Path) -> None:
    notebook.solve_with_alternatives(-1)


def _right_and_rearranged(notebook: Notebook, path: Path) -> None:
    """Helpers in cells of their own, an import in the setup cell, plots and magics, cells moved, labels lost."""
    notebook.solve()
    setup = notebook.cell("setup")
    setup["source"] += "\nimport functools"
    notebook.add_code(
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nROOT = 0.5\n\n\ndef over_root(scores, d):\n"
        "    return scores / d**ROOT\n\nplt.plot([1, 2])\nprint(over_root(torch.ones(2), 4))",
        before="attention_scores",
    )
    notebook.cell("attention_scores")["source"] = (
        "@functools.lru_cache\ndef width(shape):\n    return shape[-1]\n\n\n"
        "def attention_scores(q, k):\n    return over_root(q @ k.T, width(q.shape))"
    )
    cost = notebook.cell("attention_cost")
    notebook.cells.remove(cost)
    notebook.cells.insert(2, cost)  # before the setup cell's successors
    del notebook.cell("sinusoidal_positions")["metadata"]["nbgrader"]
    notebook.cell("TransformerBlock")["metadata"] = {}


def _mistake(exercise: str, variant: str) -> Callable[[Notebook, Path], None]:
    def write(notebook: Notebook, path: Path) -> None:
        notebook.solve_but_training().solve_as(exercise, variant)

    return write


def _half(notebook: Notebook, path: Path) -> None:
    names = list(notebook.homework.exercises)
    notebook.solve(*names[:4])


def _untouched(notebook: Notebook, path: Path) -> None:
    pass


def _syntax_error(notebook: Notebook, path: Path) -> None:
    notebook.solve_but_training()
    cell = notebook.cell("sinusoidal_positions")
    cell["source"] = cell["source"].replace("):", ")", 1)


def _endless_cell(notebook: Notebook, path: Path) -> None:
    notebook.solve_but_training()
    notebook.cell("attention_cost")["source"] += "\n\nwhile True:\n    pass"


def _endless_function(notebook: Notebook, path: Path) -> None:
    notebook.solve_but_training()
    notebook.cell("causal_and_padding_masks")["source"] = (
        "def causal_and_padding_masks(lengths, num_tokens):\n    i = 0\n    while i < num_tokens:\n        i * 1\n"
    )


def _quits(notebook: Notebook, path: Path) -> None:
    notebook.solve_but_training()
    notebook.cell("attention_scores")["source"] = "import os\n\n\ndef attention_scores(q, k):\n    os._exit(0)"


def _eats_memory(notebook: Notebook, path: Path) -> None:
    notebook.solve_but_training()
    notebook.cell("sinusoidal_positions")["source"] = (
        "def sinusoidal_positions(num_tokens, embed_dim):\n    return torch.ones(10**12)[:num_tokens, None]"
    )


def _cut_off(notebook: Notebook, path: Path) -> None:
    path.parent.mkdir(parents=True)
    data = notebook.solve_but_training().to_bytes()
    path.write_bytes(data[: len(data) // 2])


def _nothing(notebook: Notebook, path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path.parent


def _renamed(notebook: Notebook, path: Path) -> Path:
    notebook.solve_but_training()
    return path.with_name("Homework one - FINAL (2).ipynb")


def _deleted_cell(notebook: Notebook, path: Path) -> None:
    notebook.solve_but_training()
    notebook.cells.remove(notebook.cell("TransformerBlock"))


def _duplicated_cell(notebook: Notebook, path: Path) -> None:
    """The first copy holds an early try, the second the answer, the third is the cell as it came."""
    stub = json.loads(json.dumps(notebook.cell("attention_scores")))
    notebook.solve_but_training()
    answer = notebook.cell("attention_scores")
    early = {**answer, "id": "early", "source": "def attention_scores(q, k):\n    return q @ k.T"}
    place = notebook.cells.index(answer)
    notebook.cells[place : place + 1] = [early, answer, {**stub, "id": "stub"}]


def _edited_tests(notebook: Notebook, path: Path) -> None:
    notebook.solve("attention_scores")
    check = notebook.cell("check_TransformerBlock")
    check["source"] = "print('all right')"
    check["metadata"]["nbgrader"]["points"] = 100
    notebook.add_code(
        "import course.checks.compare\ncourse.checks.compare.judge = lambda *_: 'right'\n\n\n"
        "def check(*_):\n    return None",
        before="attention_scores",
    )


def _prints_a_lot(notebook: Notebook, path: Path) -> None:
    notebook.solve_but_training()
    notebook.cell("attention_cost")["source"] += "\n\nfor _ in range(100):\n    print('x' * 2**20)"


def _stores_a_lot(notebook: Notebook, path: Path) -> None:
    notebook.solve_but_training()
    code = notebook.cell("check_attention_cost")
    code["outputs"] = [{"name": "stdout", "output_type": "stream", "text": "0123456789abcde\n" * (100 * 2**16)}]


def _flat_file(notebook: Notebook, path: Path) -> Path:
    notebook.solve()
    return path.parents[2] / f"{path.parents[1].name}.ipynb"


def _in_a_zip(notebook: Notebook, path: Path) -> Path:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{TOPIC}/{TOPIC}.ipynb", notebook.solve_but_training().to_bytes())
        archive.writestr(f"../../{TOPIC}.ipynb", b"not where it should be")
    target = path.parents[1] / "homework.zip"
    target.parent.mkdir(parents=True)
    target.write_bytes(packed.getvalue())
    return target


def _finished_in_a_copy(notebook: Notebook, path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_bytes(notebook.to_bytes())
    notebook.solve_but_training()
    return path.with_name(f"{TOPIC}-Copy1.ipynb")


def _in_colab(notebook: Notebook, path: Path) -> None:
    """Labels and ids are gone, and the first line of a cell of helpers runs nowhere else."""
    notebook.solve_but_training()
    notebook.add_code(
        "from google.colab import drive\ndrive.mount('/content/drive')\n\n\n"
        "def over_root(scores, d):\n    return scores / d**0.5",
        before="attention_scores",
    )
    notebook.cell("attention_scores")["source"] = (
        "def attention_scores(q, k):\n    return over_root(q @ k.T, q.shape[-1])"
    )
    for place, cell in enumerate(notebook.cells):
        cell["metadata"] = {"id": f"xK3_{place:08d}"}
        del cell["id"]
    notebook.content["metadata"] = {
        "colab": {"provenance": []},
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    notebook.content["nbformat_minor"] = 0


def _helpers_in_one_line(notebook: Notebook, path: Path) -> None:
    notebook.solve_but_training()
    notebook.add_code(
        "from functools import partial\n\nroot = lambda d: d**0.5\nturned = partial(torch.transpose, dim0=0, dim1=1)",
        before="attention_scores",
    )
    notebook.cell("attention_scores")["source"] = (
        "def attention_scores(q, k):\n    return q @ turned(k) / root(q.shape[-1])"
    )


def _turned_into_markdown(notebook: Notebook, path: Path) -> None:
    cell = notebook.solve_but_training().cell("sinusoidal_positions")
    cell["cell_type"] = "markdown"
    del cell["outputs"], cell["execution_count"]


def _exported(notebook: Notebook, path: Path) -> Path:
    """As ``jupyter nbconvert --to script`` writes it."""
    from tests.grading.real_class import exported

    path.parent.mkdir(parents=True)
    script = path.with_suffix(".py")
    script.write_text(exported(notebook.solve_but_training()), encoding="utf-8")
    return script


STUDENTS: dict[str, Callable[[Notebook, Path], Path | None]] = {
    "ada": _right,
    "bela": _right_another_way,
    "bo": _finished_in_a_copy,
    "chen": _right_a_third_way,
    "cleo": _right_and_rearranged,
    "di": _in_colab,
    "dora": _mistake("scaled_dot_product_attention", "attention_without_scale"),
    "emil": _mistake("scaled_dot_product_attention", "softmax_over_queries"),
    "eva": _helpers_in_one_line,
    "fay": _mistake("MultiHeadSelfAttention", "HeadsByReshape"),
    "gus": _mistake("sinusoidal_positions", "in_two_halves"),
    "hana": _mistake("TransformerBlock", "PostNorm"),
    "ian": _turned_into_markdown,
    "ivan": _mistake("attention_cost", "three_projections"),
    "jo": _mistake("train_on_digits", "gradients_not_cleared"),
    "kim": _mistake("split_and_merge_heads", "number_taken_for_width"),
    "lena": _mistake("causal_and_padding_masks", "looking_ahead"),
    "lou": _exported,
    "max": _half,
    "nadia": _untouched,
    "otto": _syntax_error,
    "pia": _endless_cell,
    "quin": _endless_function,
    "rosa": _quits,
    "sami": _eats_memory,
    "tess": _cut_off,
    "uli": _nothing,
    "vera": _renamed,
    "wim": _deleted_cell,
    "xenia": _duplicated_cell,
    "yann": _edited_tests,
    "zoe": _prints_a_lot,
    "zora": _stores_a_lot,
    "zulu": _flat_file,
    "zygmunt": _in_a_zip,
}

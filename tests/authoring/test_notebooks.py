"""Ids, metadata and bytes of built notebooks, and what nbgrader itself makes of them."""

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.preprocessors import CheckCellMetadata
from nbgrader.utils import compute_checksum, determine_grade

import course
from course.authoring import cells, notebooks
from course.authoring.source import WRITE_HERE, read_source
from course.checks import load_homework
from course.syllabus import Lecture


@pytest.fixture
def source(sources):
    return read_source(sources / "solutions/hw7_tiny/hw7_tiny.py", sources)


@pytest.fixture
def homework(sources):
    return load_homework(sources / "solutions/hw7_tiny")


@pytest.fixture
def solution(source, homework):
    return notebooks.make_notebook(source, notebooks.SOLUTION, homework)


@pytest.fixture
def assignment(source, homework):
    return notebooks.make_notebook(source, notebooks.ASSIGNMENT, homework)


def by_id(notebook):
    return {cell.id: cell for cell in notebook.cells}


def test_two_builds_give_the_same_bytes(source, homework, assignment):
    again = notebooks.make_notebook(source, notebooks.ASSIGNMENT, homework)
    data = notebooks.to_bytes(assignment)
    assert data == notebooks.to_bytes(again)
    assert data.endswith(b"}\n") and not data.endswith(b"\n\n") and b"\r" not in data
    assert notebooks.to_bytes(nbformat.reads(data.decode(), as_version=4)) == data


def test_solution_and_assignment_share_every_id_and_differ_in_answers_alone(solution, assignment):
    assert [cell.id for cell in solution.cells] == [cell.id for cell in assignment.cells]
    differing = [a.id for a, b in zip(solution.cells, assignment.cells) if a.source != b.source]
    assert differing == ["double", "split_and_join", "why_two"]


def test_an_id_changes_with_its_own_cell_only(sources, source, homework, assignment, edit):
    edit(source.path, "# Play with it here.", "# Play here.")
    changed = notebooks.make_notebook(read_source(source.path, sources), notebooks.ASSIGNMENT, homework)
    same = [a.id == b.id for a, b in zip(assignment.cells, changed.cells)]
    assert same == [True] * 7 + [False, True]


def test_equal_cells_have_different_ids(sources):
    path = sources / "notebooks/source/01_tiny.py"
    path.write_text(path.read_text() + "\n# %%\nlen(numbers)\n\n# %%\nlen(numbers)\n")
    ids = [cell.id for cell in notebooks.make_notebook(read_source(path, sources), notebooks.LECTURE).cells]
    assert len(set(ids)) == len(ids) == 7


def test_students_get_stubs_that_name_the_exercise(assignment):
    cells = by_id(assignment)
    assert cells["double"].source.endswith(
        '    """(N,) -> (N,): twice x."""\n    raise NotImplementedError("hw7.double")'
    )
    assert cells["split_and_join"].source.count('raise NotImplementedError("hw7.split_and_join")') == 2
    assert cells["why_two"].source == f"Why are there *two* halves?\n\n{WRITE_HERE}"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in assignment.cells)


def test_metadata_of_a_notebook_is_the_same_on_every_machine(solution):
    assert solution.metadata.kernelspec.name == "python3"
    assert solution.metadata.language_info == {"name": "python"}
    assert solution.metadata.course.built_from == "solutions/hw7_tiny/hw7_tiny.py"
    assert solution.metadata.course.version == course.__version__
    assert (solution.nbformat, solution.nbformat_minor) == (4, 5)


def test_nbgrader_accepts_both_versions(solution, assignment):
    for notebook in (solution, assignment):
        nbformat.validate(notebook)
        CheckCellMetadata().preprocess(notebook, {})
        assert MetadataValidator().schema_version == 3


@pytest.mark.parametrize(
    ("cell_id", "grade", "is_solution", "locked", "points", "editable"),
    [
        ("setup", False, False, True, None, False),
        ("double", False, True, False, None, True),
        ("check_double", True, False, True, 2, False),
        ("check_split_and_join", True, False, True, 2.5, False),
        ("why_two", True, True, False, 4, True),
    ],
)
def test_graded_cells_carry_nbgraders_schema_3(assignment, cell_id, grade, is_solution, locked, points, editable):
    cell = by_id(assignment)[cell_id]
    graded = cell.metadata.nbgrader
    assert (graded.schema_version, graded.grade_id, graded.task) == (3, cell_id, False)
    assert (graded.grade, graded.solution, graded.locked) == (grade, is_solution, locked)
    assert graded.get("points") == points
    assert cell.metadata.deletable is False
    assert cell.metadata.get("editable", True) is editable
    assert graded.checksum == compute_checksum(cell)


def test_cells_to_play_in_belong_to_the_student(assignment):
    play = next(cell for cell in assignment.cells if cell.source.startswith("# Play"))
    assert play.metadata == {}


def test_nbgrader_gives_an_untouched_question_nothing_and_leaves_an_answer_to_a_person(assignment):
    cell = by_id(assignment)["why_two"]
    assert determine_grade(cell) == (0, 4.0)
    cell.source = cell.source.replace(WRITE_HERE, "Because.")
    assert determine_grade(cell) == (None, 4.0)


def test_outputs_move_only_between_notebooks_that_run_the_same_code(sources, source, edit):
    path = sources / "notebooks/source/01_tiny.py"
    old = notebooks.make_notebook(read_source(path, sources), notebooks.LECTURE)
    for count, cell in enumerate((cell for cell in old.cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count
    edit(path, "# Count to three.", "# Count to three, aloud.")
    new = notebooks.make_notebook(read_source(path, sources), notebooks.LECTURE)
    assert notebooks.take_outputs(new, old) and notebooks.is_executed(new)
    edit(path, "print(*numbers)", "print(numbers)")
    other = notebooks.make_notebook(read_source(path, sources), notebooks.LECTURE)
    assert not notebooks.take_outputs(other, old) and not notebooks.is_executed(other)


def test_the_first_code_cell_says_which_kernel_to_choose(sources, solution, assignment):
    lecture = notebooks.make_notebook(read_source(sources / "notebooks/source/01_tiny.py", sources), notebooks.LECTURE)
    for notebook in (lecture, solution, assignment):
        first, *others = (cell for cell in notebook.cells if cell.cell_type == "code")
        assert notebook.metadata.kernelspec.display_name in first.source.partition("\nimport")[0].partition("\nfrom")[0]
        assert not any("Change Kernel" in cell.source for cell in others)


def test_the_sum_of_every_cell_is_nbgraders(assignment):
    from nbgrader.utils import compute_checksum

    summed = [cell for cell in assignment.cells if "nbgrader" in cell.metadata]
    assert [cell.metadata.nbgrader.checksum for cell in summed] == list(map(compute_checksum, summed))
    assert len(summed) > 3


def test_that_remark_alone_keeps_the_outputs(sources, edit, monkeypatch):
    path = sources / "notebooks/source/01_tiny.py"
    executed = notebooks.make_notebook(read_source(path, sources), notebooks.LECTURE)
    for count, cell in enumerate((cell for cell in executed.cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count
    monkeypatch.setattr(cells, "WRONG_KERNEL", "# Another remark.\n")
    reworded = notebooks.make_notebook(read_source(path, sources), notebooks.LECTURE)
    assert notebooks.take_outputs(reworded, executed)
    edit(path, "from IPython.display import HTML, display", "from IPython.display import display")
    assert not notebooks.take_outputs(notebooks.make_notebook(read_source(path, sources), notebooks.LECTURE), executed)


def test_a_homework_says_at_its_end_how_to_hand_it_in_and_points_there(solution, assignment):
    for notebook in (solution, assignment):
        prose = [
            cell.source for cell in notebook.cells if cell.cell_type == "markdown" and "nbgrader" not in cell.metadata
        ]
        assert "*Handing in* at the end" in prose[0] and "course progress" in prose[-1]
        assert "`course check assignments/hw7_tiny/hw7_tiny.ipynb`" in prose[-1]
        assert sum("## Handing in" in cell.source for cell in notebook.cells) == 1


def test_a_lecture_that_is_to_come_is_said_to_be(sources, monkeypatch):
    rows = [
        Lecture("01_tiny", "Tiny", "tiny", (0, 0), minutes=5),
        Lecture("02_later", "Later", "later", (0, 1)),
        Lecture("12_later", "Later still", "later", (0, 2)),
    ]
    monkeypatch.setattr(cells, "LECTURES", rows)
    path = sources / "notebooks/source/01_tiny.py"
    header = "# | **Before · after** | [1 · Tiny](01_tiny.ipynb) · 2 · Later · 12 · Later |"
    prose = "# **Next:** lecture `02_later`, not lecture `01_tiny`; 2 · Later in a sentence."
    path.write_text(f"# %% [markdown]\n# # A title\n# | | |\n# |---|---|\n{header}\n#\n{prose}\n", encoding="utf-8")
    text = notebooks.make_notebook(read_source(path, sources), notebooks.LECTURE).cells[0].source
    assert "| [1 · Tiny](01_tiny.ipynb) · 2 · Later (to come) · 12 · Later |" in text
    assert "lecture `02_later` (to come), not lecture `01_tiny`; 2 · Later in a sentence." in text

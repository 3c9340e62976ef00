"""Ids, metadata and bytes of built notebooks, and what nbgrader itself makes of them."""

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.preprocessors import CheckCellMetadata
from nbgrader.utils import compute_checksum, determine_grade

from course.authoring import notebooks
from course.authoring.source import WRITE_HERE, read_source
from course.checks import load_homework


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

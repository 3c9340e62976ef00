"""``course build`` on a small course, and everything ``--check`` must name."""

import base64
import json
import shutil

import nbformat
import pytest
from nbformat.v4 import new_output

from course.authoring import AuthoringError, build, build_command, leaks, notebooks
from course.authoring.examine import leak_problems
from course.authoring.files import HomeworkFiles, LectureFiles, targets_of
from course.authoring.source import SourceCell, read_source
from course.checks import load_homework, public

LECTURE = "notebooks/01_tiny.ipynb"
SOLUTION = "solutions/hw7_tiny/hw7_tiny.ipynb"
ASSIGNMENT = "assignments/hw7_tiny/hw7_tiny.ipynb"
CHECKS = "assignments/hw7_tiny/checks.safetensors"


def check(root, *paths):
    return build([root / path for path in paths], check=True, root=root, say=lambda line: None)


def rebuild(root, *paths):
    """(problems, what was said)"""
    said = []
    return build([root / path for path in paths], root=root, say=said.append), said


def bytes_below(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def change(path, how):
    """Edit a notebook as some other program would."""
    notebook = json.loads(path.read_text())
    how(notebook)
    path.write_text(json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def test_all_is_built_and_found_clean(built, monkeypatch, capsys):
    for name in (LECTURE, SOLUTION, ASSIGNMENT, CHECKS):
        assert (built / name).is_file()
    for name in (LECTURE, SOLUTION, ASSIGNMENT):
        nbformat.validate(nbformat.read(built / name, as_version=4))
    monkeypatch.chdir(built / "solutions")
    assert build_command([], check=True) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_lectures_and_solutions_are_run_and_assignments_are_not(built):
    lecture = nbformat.read(built / LECTURE, as_version=4)
    assert [cell.execution_count for cell in lecture.cells if cell.cell_type == "code"] == [1, 2, 3]
    assert lecture.cells[3].outputs[0].text == "1 2 3\n"
    assert lecture.cells[4].outputs[0].data["text/plain"] == "3"
    solution = nbformat.read(built / SOLUTION, as_version=4)
    cards = [output for cell in solution.cells if "check" in cell.id for output in cell.outputs]
    assert [card.metadata["text/html"]["course"]["status"] for card in cards] == ["right", "right"]
    assert "### BEGIN SOLUTION" in solution.cells[3].source
    assignment = (built / ASSIGNMENT).read_text()
    assert '"outputs": []' in assignment and "torch.add" not in assignment and "SOLUTION" not in assignment


def test_building_again_changes_no_byte_and_says_nothing(built):
    before = bytes_below(built)
    assert rebuild(built) == ([], [])
    assert bytes_below(built) == before


def test_naming_a_source_runs_it_again_to_the_same_bytes(built):
    before = bytes_below(built)
    problems, said = rebuild(built, "notebooks/source/01_tiny.py")
    assert problems == [] and len(said) == 1 and said[0].startswith(f"{LECTURE}: run in")
    assert bytes_below(built) == before


def test_a_changed_sentence_keeps_the_outputs_and_changed_code_runs(built, edit):
    source = built / "notebooks/source/01_tiny.py"
    edit(source, "# Count to three.", "# Count to three, aloud.")
    assert rebuild(built) == ([], [f"{LECTURE}: written, outputs kept (no code changed)"])
    edit(source, "[1, 2, 3]", "[1, 2, 3, 4]")
    assert f"{LECTURE}: cell 4" in check(built)[0]
    problems, said = rebuild(built)
    assert problems == [] and "run in" in said[0]
    assert nbformat.read(built / LECTURE, as_version=4).cells[3].outputs[0].text == "1 2 3 4\n"
    assert check(built) == []


def test_outputs_that_are_kept_are_cleaned_by_the_rules_of_today(built):
    before = (built / LECTURE).read_bytes()
    lecture = nbformat.read(built / LECTURE, as_version=4)
    lecture.cells[3].outputs[
        0
    ].text += "100%|██████████| 5/5 [00:03<00:00,  1.3it/s]\n"  # as an older build might leave
    nbformat.write(lecture, built / LECTURE)
    assert rebuild(built) == ([], [f"{LECTURE}: written, outputs kept (no code changed)"])
    assert (built / LECTURE).read_bytes() == before


def test_what_a_cell_leaves_behind_is_cleaned(built):
    source = built / "notebooks/source/01_tiny.py"
    source.write_text(
        source.read_text()
        + """
# %%
import matplotlib.pyplot as plt
from tqdm.auto import tqdm

total = sum(tqdm(range(3)))
plt.figure(figsize=(2, 2), dpi=90)
plt.plot([1, 2]);

# %% tags=["no-output"]
print("not kept")

# %% tags=["raises-exception"]
raise ValueError("on purpose")

# %%
import os
print(os.environ["COURSE_BUDGET"], os.path.basename(os.getcwd()))
"""
    )
    problems, _ = rebuild(built, "notebooks/source/01_tiny.py")
    assert problems == []
    cells = nbformat.read(built / LECTURE, as_version=4).cells
    assert [set(output.data) for output in cells[5].outputs] == [{"image/png", "text/plain"}]
    assert cells[6].outputs == []
    assert cells[7].outputs[0].evalue == "on purpose"
    assert cells[8].outputs[0].text.split() == [os_budget(), "notebooks"]
    assert check(built) == []


def os_budget():
    import os

    return os.environ.get("COURSE_BUDGET") or "cpu"


def test_a_failing_cell_is_named_and_nothing_is_written(built, edit):
    before = (built / LECTURE).read_bytes()
    edit(built / "notebooks/source/01_tiny.py", "len(numbers)", "print(1 / 0)")
    edit(built / "solutions/hw7_tiny/hw7_tiny.py", "# Homework 7 · Two", "# Homework 7 · These two")
    problems, said = rebuild(built)
    assert len(problems) == 1 and problems[0].startswith(f"{LECTURE}: cell 5 (")
    assert "notebooks/source/01_tiny.py:16) stopped with ZeroDivisionError: division by zero" in problems[0]
    assert (built / LECTURE).read_bytes() == before
    assert any(line.startswith(ASSIGNMENT) for line in said), "the other sources are built all the same"
    assert not list(built.rglob(".writing-*"))


def test_a_wrong_solution_is_not_written(built, edit):
    before = (built / SOLUTION).read_bytes()
    # The reference and the notebook are one text: what can go wrong is the cell between them.
    edit(
        built / "solutions/hw7_tiny/hw7_tiny.py",
        "# Play with it here.",
        "double = None\ncheck('hw7.double', double)",
    )
    problems, _ = rebuild(built, "solutions/hw7_tiny")
    assert "cell 8 (" in problems[0] and "stopped with CheckFailed" in problems[0]
    assert (built / SOLUTION).read_bytes() == before


def test_mistakes_in_exercises_py_are_named_with_their_line(built, edit):
    exercises = built / "solutions/hw7_tiny/exercises.py"
    edit(exercises, "draw.normal(5)", "draw.ordinary(5)")
    line = check(built)[0]
    assert line.startswith("solutions/hw7_tiny: its checks cannot be made: AttributeError")
    assert line.endswith("no attribute 'ordinary' (exercises.py, line 14)")
    edit(exercises, "import torch\n", "import torch torch\n")
    assert check(built)[0].startswith("solutions/hw7_tiny/exercises.py: SyntaxError: invalid syntax (line 3)")
    exercises.unlink()
    assert check(built)[0].startswith("solutions/hw7_tiny/exercises.py is missing")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("notebooks/source/01_tiny.py", ["01_tiny"]),
        ("notebooks/01_tiny.ipynb", ["01_tiny"]),
        ("notebooks", ["01_tiny"]),
        ("solutions/hw7_tiny", ["hw7_tiny"]),
        ("solutions/hw7_tiny/exercises.py", ["hw7_tiny"]),
        ("assignments/hw7_tiny/hw7_tiny.ipynb", ["hw7_tiny"]),
        ("assignments", ["hw7_tiny"]),
        (".", ["01_tiny", "hw7_tiny"]),
    ],
)
def test_any_path_of_a_source_means_it(built, monkeypatch, path, expected):
    monkeypatch.chdir(built / "notebooks")
    found = targets_of(built / path, built)
    assert [target.name for target in found] == expected
    assert all(isinstance(target, (LectureFiles, HomeworkFiles)) for target in found)


def test_an_unknown_path_is_an_error_with_the_list(built, monkeypatch, capsys):
    with pytest.raises(AuthoringError, match="02_none.py belongs to no source here.*there are 01_tiny, hw7_tiny"):
        check(built, "notebooks/source/02_none.py")
    monkeypatch.chdir(built)
    assert build_command(["nothing.py"]) == 2
    assert "belongs to no source" in capsys.readouterr().err


# -- what --check must find: (how it is broken, a piece of the line that names it)


def _source_of(cell_index, text):
    def how(notebook):
        notebook["cells"][cell_index]["source"] = [text]

    return how


def _metadata(cell_index, **entries):
    return lambda notebook: notebook["cells"][cell_index]["metadata"].update(entries)


BROKEN = {
    "lecture edited by hand": (LECTURE, _source_of(2, "Count to four."), f"{LECTURE}: cell 3 ("),
    "lecture's metadata": (
        LECTURE,
        _metadata(3, collapsed=True),
        "its metadata differs; edit notebooks/source/01_tiny.py",
    ),
    "lecture saved by JupyterLab": (
        LECTURE,
        lambda nb: nb["metadata"]["language_info"].update(version="3.12.1"),
        f"{LECTURE}: the notebook's metadata differs (language_info)",
    ),
    "lecture without outputs": (
        LECTURE,
        lambda nb: nb["cells"][3].update(outputs=[], execution_count=None),
        f"{LECTURE}: has cells that were never run",
    ),
    "lecture with a cell more": (
        LECTURE,
        lambda nb: nb["cells"].append({"cell_type": "markdown", "id": "abc", "metadata": {}, "source": ["more"]}),
        "cell 6 (abc): not in the source",
    ),
    "lecture with a cell less": (LECTURE, lambda nb: nb["cells"].pop(2), "cell 3 (", "missing, or changed"),
    "lecture's cells swapped": (
        LECTURE,
        lambda nb: nb["cells"].reverse(),
        f"{LECTURE}: its cells stand in another order",
    ),
    "a path in an output": (
        LECTURE,
        lambda nb: nb["cells"][3]["outputs"][0].update(text=["/home/ada/x"]),
        "shows a path of the machine",
    ),
    "solution edited by hand": (
        SOLUTION,
        _source_of(3, "def double(x): return 2 * x"),
        f"{SOLUTION}: cell 4 (double, line 15",
    ),
    "points edited": (
        ASSIGNMENT,
        lambda nb: nb["cells"][4]["metadata"]["nbgrader"].update(points=99),
        f"{ASSIGNMENT}: cell 5 (check_double, line 23",
    ),
    "assignment with outputs": (
        ASSIGNMENT,
        lambda nb: nb["cells"][1]["outputs"].append(dict(new_output("stream", text="x"))),
        "its outputs differ",
    ),
    "assignment's stub answered": (
        ASSIGNMENT,
        _source_of(3, "def double(x):\n    return x * 2"),
        "exercise 'double': double does something before a student wrote it",
    ),
    "assignment's stub stops": (
        ASSIGNMENT,
        _source_of(3, 'raise NotImplementedError("hw7.double")'),
        "its cell 'double' stops untouched",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_check_names_a_notebook_that_was_edited(built, case):
    name, how, *expected = BROKEN[case]
    change(built / name, how)
    found = check(built)
    assert any(all(piece in line for piece in expected) for line in found), found
    assert all(line.startswith(name) for line in found), found
    assert rebuild(built)[0] == []  # the remedy works
    assert check(built) == []


def test_check_names_other_bytes_of_the_same_cells(built):
    path = built / ASSIGNMENT
    path.write_text(json.dumps(json.loads(path.read_text()), indent=2))
    assert check(built) == [
        f"{ASSIGNMENT}: same cells, but other bytes: another program saved it; edit solutions/hw7_tiny/hw7_tiny.py, "
        "then run `course build solutions/hw7_tiny/hw7_tiny.py`"
    ]


@pytest.mark.parametrize("name", [LECTURE, SOLUTION, ASSIGNMENT])
def test_check_names_what_is_missing_or_unreadable(built, name):
    (built / name).write_text('{"cells": [')
    assert any(line.startswith(f"{name}: not a notebook") for line in check(built))
    (built / name).unlink()
    assert any(line.startswith(f"{name}: not built from") for line in check(built))


def test_check_names_check_data_that_is_missing_or_old(built, edit):
    exercises = built / "solutions/hw7_tiny/exercises.py"
    edit(exercises, "You returned x as it was.", "You gave x back as it was.")
    assert check(built) == [f"{CHECKS}: not what exercises.py gives; run `course build solutions/hw7_tiny/hw7_tiny.py`"]
    edit(exercises, "You gave x back as it was.", "You returned x as it was.")
    edit(exercises, "draw.normal(5)", "2 * draw.normal(5)")
    assert check(built)[0].startswith(f"{CHECKS}: not what")
    (built / CHECKS).write_bytes(b"not safetensors")
    assert check(built)[0].startswith(f"{CHECKS}: not what")
    (built / CHECKS).unlink()
    assert check(built)[0].startswith(f"{CHECKS}: missing")


def test_check_names_a_source_that_was_not_built(built):
    shutil.copy(built / "notebooks/source/01_tiny.py", built / "notebooks/source/02_more.py")
    assert check(built) == [
        "notebooks/02_more.ipynb: not built from notebooks/source/02_more.py; "
        "run `course build notebooks/source/02_more.py`"
    ]


def test_check_names_what_no_source_makes(built):
    (built / "notebooks/source/01_tiny.py").unlink()
    shutil.copy(built / SOLUTION, built / "solutions/hw7_tiny/old.ipynb")
    shutil.copy(built / "solutions/hw7_tiny/hw7_tiny.py", built / "assignments/hw7_tiny/left.py")
    (built / "notebooks/source/Notes.py").write_text("# %%\n")
    (built / "solutions/drafts").mkdir()
    (built / "assignments/hw9_gone").mkdir()
    (built / "assignments/hw9_gone/hw9_gone.ipynb").write_text("{}")
    (built / "assignments/hw7_tiny/.ipynb_checkpoints").mkdir()
    (built / "assignments/hw7_tiny/.ipynb_checkpoints/hw7_tiny.ipynb").write_text("{}")
    found = "\n".join(check(built))
    for piece in (
        f"{LECTURE}: its source notebooks/source/01_tiny.py is gone",
        "solutions/hw7_tiny/old.ipynb: no source makes this notebook",
        "assignments/hw7_tiny/left.py: no source makes this file",
        "assignments/hw7_tiny/left.py: holds the marker",
        "assignments/hw7_tiny/left.py: holds 'torch.add(x, x)', a line of the answer to hw7_tiny.double",
        "notebooks/source/Notes.py: a lecture's source is named NN_topic.py",
        "solutions/drafts: no homework",
        "assignments/hw9_gone/hw9_gone.ipynb: no source makes this file",
    ):
        assert piece in found
    assert "checkpoints" not in found


def test_a_source_that_cannot_be_read_is_named_by_build_and_check(built, edit):
    source = built / "solutions/hw7_tiny/hw7_tiny.py"
    edit(source, "    ### BEGIN SOLUTION\n    return x.chunk", "    ### BEGN SOLUTION\n    return x.chunk")
    for problems in (check(built), rebuild(built)[0]):
        assert problems[0].startswith("solutions/hw7_tiny/hw7_tiny.py:28: '### BEGN SOLUTION' looks like a marker")
    assert "### BEGN" not in (built / ASSIGNMENT).read_text()


# -- leaks, each put into a file of the assignment whose stripping is otherwise right


def _attach(notebook):
    data = base64.b64encode(b"see: twice_as_much = torch.add(x, x)").decode()
    notebook["cells"][2]["attachments"] = {"note.txt": {"text/plain": data}}


LEAKS = {
    "a marker": (
        _source_of(7, "### BEGIN SOLUTION\n### END SOLUTION"),
        "holds the marker '### BEGIN SOLUTION'",
    ),
    "a whole line": (
        _source_of(7, "twice_as_much   = torch.add(x, x)"),
        "holds 'twice_as_much = torch.add(x, x)', a line",
    ),
    "the heart of a line": (
        _source_of(7, "y = torch.add(x, x) / 1"),
        "holds 'torch.add(x, x)', a line of the answer to hw7",
    ),
    "a comment of an answer": (
        _source_of(2, "Because one half alone would be nothing but the whole."),
        "hw7_tiny.why_two",
    ),
    "in a cell's metadata": (
        _metadata(2, answer="both = torch.cat([a, b], dim=1)"),
        "torch.cat([a, b], dim=1)",
    ),
    "in the notebook's metadata": (
        lambda nb: nb["metadata"].update(x={"torch.cat([a, b], dim=1)": 1}),
        "torch.cat([a, b]",
    ),
    "in an attachment": (_attach, "holds 'twice_as_much = torch.add(x, x)'"),
    "in an output": (
        lambda nb: nb["cells"][1]["outputs"].append(dict(new_output("stream", text="x.chunk(2, dim=1)"))),
        "holds 'x.chunk(2, dim=1)'",
    ),
    "a mistake's name": (_source_of(7, "squared_not_doubled(x)"), "holds the name 'squared_not_doubled'"),
    "a mistake's line": (
        _source_of(7, "z = torch.square(x)"),
        "holds 'torch.square(x)', a line of squared_not_doubled",
    ),
    "an alternative's line": (
        _source_of(7, "z = torch.mul(x, 2.0)"),
        "a line of by_multiplying in exercises.py",
    ),
    "how inputs are drawn": (
        _source_of(7, 'Call("double", {"x": draw.normal(5)}, gradients=("x",))'),
        "exercises.py of hw7",
    ),
}


@pytest.mark.parametrize("case", LEAKS)
def test_a_leak_is_found_without_comparing_with_the_source(built, case):
    how, expected = LEAKS[case]
    secrets = leaks.secrets_in_tree(built / "solutions")
    assert leaks.find_in_assignment(built / ASSIGNMENT, secrets) == []
    change(built / ASSIGNMENT, how)
    found = leaks.find_in_assignment(built / ASSIGNMENT, secrets)
    assert any(expected in line for line in found), found
    assert any(expected in line for line in check(built))


def test_a_builder_that_strips_nothing_is_found_out(built, monkeypatch):
    # Then the assignment is, byte for byte, what the builder makes: only the independent look can tell.
    monkeypatch.setattr(SourceCell, "stripped", lambda cell, homework: cell)
    source = read_source(built / "solutions/hw7_tiny/hw7_tiny.py", built)
    homework = load_homework(built / "solutions/hw7_tiny")
    notebook = notebooks.make_notebook(source, notebooks.ASSIGNMENT, homework)
    (built / ASSIGNMENT).write_bytes(notebooks.to_bytes(notebook))
    found = "\n".join(leak_problems(HomeworkFiles(built, "hw7_tiny")))
    for piece in ("the marker", "torch.add(x, x)", "torch.cat([a, b], dim=1)", "hw7_tiny.why_two", "exercise 'double'"):
        assert piece in found


def test_a_leak_in_check_data_is_found(built, edit):
    secrets = leaks.secrets_in_tree(built / "solutions")
    assert leaks.find_in_assignment(built / CHECKS, secrets) == []
    data = (built / CHECKS).read_bytes()
    for leak in (b"torch.square(x)", b"forgot_to_double"):
        (built / CHECKS).write_bytes(data + b" " + leak + b" ")
        assert any(leak.decode() in line for line in leaks.find_in_assignment(built / CHECKS, secrets))
    # An author's sentence may say what it likes; code that came along in it is the author's wish.
    edit(built / "solutions/hw7_tiny/exercises.py", "You squared x.", "You wrote torch.square(x).")
    (built / CHECKS).write_bytes(public.to_bytes(load_homework(built / "solutions/hw7_tiny")))
    assert leaks.find_in_assignment(built / CHECKS, leaks.secrets_in_tree(built / "solutions")) == []


def test_lines_that_students_see_anyway_are_no_leak(built, edit):
    # On two lines: in the notebook it is one paragraph.
    edit(built / "solutions/hw7_tiny/hw7_tiny.py", "shows 2.", "shows 2, as `torch.add(x,\n# x)` does.")
    assert rebuild(built)[0] == []
    secrets = leaks.secrets_in_tree(built / "solutions")
    change(built / ASSIGNMENT, _source_of(7, "torch.add(x, x)"))
    assert leaks.find_in_assignment(built / ASSIGNMENT, secrets) == []


def test_a_whole_answer_in_a_lecture_is_found_and_a_line_of_one_is_not(built, tmp_path):
    secrets = leaks.secrets_in_tree(built / "solutions")
    file = tmp_path / "lecture.py"
    body = "    pieces = torch.tensor_split(x, 2, dim=0)\n    first, second = pieces\n    return first, second\n"
    file.write_text(f"def shown(x):\n    # another comment\n{body}")
    assert leaks.find_in_other_file(file, secrets) == ["holds cut_along_the_rows in exercises.py of hw7_tiny, whole"]
    file.write_text("def shown(x):\n    return torch.tensor_split(x, 2, dim=0)\n")
    assert leaks.find_in_other_file(file, secrets) == []
    for text in ("    ### END SOLUTION\n", '# %% exercise="double"\n', '@double.mistake("x")\n'):
        file.write_text(text)
        assert len(leaks.find_in_other_file(file, secrets)) == 1

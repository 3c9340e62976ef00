"""Every slip an author can make in a source is named, with its line and the remedy."""

import pytest

from course.authoring import AuthoringError, find_root
from course.authoring.source import SourceCell, read_source, require_homework, require_lecture
from course.checks import load_homework


def problems_of(sources):
    folder = sources / "solutions" / "hw7_tiny"
    try:
        source = read_source(folder / "hw7_tiny.py", sources)
        require_homework(source, load_homework(folder))
    except AuthoringError as error:
        return error.lines
    return []


def test_a_right_source_has_no_problem_and_its_cells_are_typed(sources):
    assert problems_of(sources) == []
    cells = read_source(sources / "solutions/hw7_tiny/hw7_tiny.py", sources).cells
    assert [cell.role for cell in cells] == [
        "plain",
        "setup",
        "plain",
        "exercise",
        "check",
        "exercise",
        "check",
        "plain",
        "written",
    ]
    lines = (sources / "solutions/hw7_tiny/hw7_tiny.py").read_text().split("\n")
    for cell in cells:
        first = cell.text.split("\n")[0]
        assert lines[cell.line - 1].removeprefix("# " if cell.kind == "markdown" else "") == first
    assert cells[-1].points == 4 and cells[-1].name == "why_two"


def test_comments_that_look_like_shell_commands_stay_comments(sources):
    cells = read_source(sources / "notebooks/source/01_tiny.py", sources).cells
    assert cells[3].text.startswith("# copy the numbers, then print them\n")


SLIPS = {
    "misspelt marker": (
        "    twice_as_much = torch.add(x, x)  # (N,)\n    return twice_as_much\n    ### END SOLUTION",
        "    return x + x\n    ### END SOLUTON",
        "19: '### END SOLUTON' looks like a marker",
    ),
    "marker in small letters": (
        "    ### BEGIN SOLUTION\n    return x.chunk",
        "    # begin solution\n    return x.chunk",
        "looks like a marker",
    ),
    "no end": (
        "    return twice_as_much\n    ### END SOLUTION\n",
        "    return twice_as_much\n",
        "17: BEGIN SOLUTION has no END SOLUTION",
    ),
    "nested": (
        "    twice_as_much =",
        "    ### BEGIN SOLUTION\n    twice_as_much =",
        "18: BEGIN SOLUTION inside the region that begins in line 17",
    ),
    "end without begin": (
        "    ### BEGIN SOLUTION\n    return x.chunk",
        "    return x.chunk",
        "END SOLUTION without a BEGIN",
    ),
    "no region": (
        "    ### BEGIN SOLUTION\n    twice_as_much = torch.add(x, x)  # (N,)\n    return twice_as_much\n"
        "    ### END SOLUTION\n",
        "    return 2 * x\n",
        "15: exercise 'double' has no solution region",
    ),
    "region in a plain cell": (
        "x = torch.arange(6.0)",
        "### BEGIN SOLUTION\n### END SOLUTION\nx = torch.arange(6.0)",
        "neither exercise",
    ),
    "unknown exercise": ('exercise="double"', 'exercise="triple"', "exercises.py has no exercise 'triple'"),
    "exercise without a cell": (
        'exercise="double"',
        'exercise="triple"',
        "1: exercises.py describes 'double'",
    ),
    "no check": (
        '# %% check="double"\ncheck("hw7.double", double)\n',
        "",
        "15: exercise 'double' has no check cell",
    ),
    "check without exercise": (
        'check="double"',
        'check="doubble"',
        "has no cell '# %% exercise=\"doubble\"'",
    ),
    "check of another id": (
        'check("hw7.double", double)',
        'check("hw6.double", double)',
        'should be exactly: check("hw7.double", double)',
    ),
    "check of another object": ("split, Join)", "Join)", 'exactly: check("hw7.split_and_join", split, Join)'),
    "twice the same id": (
        'written="why_two"',
        'written="double"',
        "50: written 'double' gives the id 'double' a second",
    ),
    "points on an exercise": (
        'exercise="double"',
        'exercise="double" points=3',
        "14: points= is for written",
    ),
    "written without points": (
        ' written="why_two" points=4',
        ' written="why_two"',
        "49: question 'why_two' needs its points",
    ),
    "negative points": ("points=4", "points=-1", "49: question 'why_two' needs its points"),
    "written without an answer": (
        "# ### BEGIN SOLUTION\n# Because one half alone would be nothing but the whole.\n# ### END SOLUTION\n",
        "#\n",
        "has no solution region to hold the model answer",
    ),
    "misspelt option": ('check="double"', 'chek="double"', "22: cannot read the cell option 'chek'"),
    "option without quotes": ('check="double"', "check=double", "22: cannot read the cell option"),
    "misspelt tag": ('tags=["setup"]', 'tags=["set-up"]', "4: tags=['set-up'] has a tag"),
    "no setup": (' tags=["setup"]', "", "5: the first code cell"),
    "code as a question": (
        '[markdown] written="why_two"',
        'written="why_two"',
        'written="why_two" goes with \'# %% [mark',
    ),
    "two roles": ('check="double"', 'check="double" exercise="double"', "22: a cell is one of"),
    "bad name": (
        'exercise="double"',
        'exercise="the double"',
        "14: exercise='the double': a name has letters",
    ),
    "not Python": ("x = torch.arange(6.0)", "x = = 3", "47: not Python"),
    "shell command": (
        "x = torch.arange(6.0)",
        "!ls\nx = torch.arange(6.0)",
        "47: not Python: invalid syntax: IPython",
    ),
    "region outside a function": (
        "    ### BEGIN SOLUTION\n    return x.chunk(2, dim=1)\n    ### END SOLUTION\n",
        "    return x.chunk(2, dim=1)\n\n\n### BEGIN SOLUTION\nanswer = 42\n### END SOLUTION\n",
        "31: this region is not inside a function",
    ),
    "def inside the region": (
        "    def forward(self, a, b):\n        ### BEGIN SOLUTION\n",
        "    ### BEGIN SOLUTION\n    def forward(self, a, b):\n",
        "36: this region is not inside",
    ),
    "target taken away": ("def split(x):", "def cut(x):", "does not define split"),
    "half a block": (
        "    twice_as_much = torch",
        "    pass\n    ### END SOLUTION\n        ### BEGIN SOLUTION\n    y = torch",
        "is no Python once its regions are taken out",
    ),
    "text before the first cell": (
        "# %% [markdown]\n# # Homework",
        "import torch\n# %% [markdown]\n# # Homework",
        "1: text before the first '# %%'",
    ),
    "raw cell": ("# %%\n# Play", "# %% [raw]\n# Play", "45: a cell is '# %%' (code) or '# %% [markdown]'"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slip_is_named(sources, edit, slip):
    old, new, expected = SLIPS[slip]
    edit(sources / "solutions/hw7_tiny/hw7_tiny.py", old, new)
    problems = problems_of(sources)
    assert any(expected in problem for problem in problems), problems
    assert all(problem.startswith("solutions/hw7_tiny/hw7_tiny.py:") for problem in problems)


def test_a_wrong_topic_in_exercises_is_named(sources, edit):
    edit(sources / "solutions/hw7_tiny/exercises.py", 'Homework("hw7_tiny")', 'Homework("hw7_small")')
    assert "it should say 'hw7_tiny'" in problems_of(sources)[0]


def test_a_lecture_holds_no_graded_cell(sources):
    with (sources / "notebooks/source/01_tiny.py").open("a") as file:
        file.write('\n# %% check="double"\ncheck("hw7.double", double)\n')
    with pytest.raises(AuthoringError, match=r"01_tiny.py:19: check=\"double\" in a lecture"):
        require_lecture(read_source(sources / "notebooks/source/01_tiny.py", sources))


def test_each_region_is_replaced_at_its_own_indentation():
    text = """\
def f():
    ### BEGIN SOLUTION
    a
    ### END SOLUTION
    if 1:
        ### BEGIN SOLUTION
        b
        c
        ### END SOLUTION
    return 3"""
    assert (
        SourceCell("code", text, 1, role="exercise", name="f").stripped("hw3").text
        == """\
def f():
    raise NotImplementedError("hw3.f")
    if 1:
        raise NotImplementedError("hw3.f")
    return 3"""
    )


def test_the_root_is_found_upwards_and_a_students_tree_is_told_apart(sources, tmp_path):
    assert find_root(sources / "solutions" / "hw7_tiny") == sources.resolve()
    student = tmp_path / "student"
    (student / "notebooks").mkdir(parents=True)
    (student / "assignments" / "hw7_tiny").mkdir(parents=True)
    with pytest.raises(AuthoringError, match="is a student's tree: it has no solutions/"):
        find_root(student / "assignments" / "hw7_tiny")
    with pytest.raises(AuthoringError, match="not inside the course's repository"):
        find_root(tmp_path)

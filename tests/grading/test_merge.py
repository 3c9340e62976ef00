"""Which of a student's cells count."""

import json
from dataclasses import replace

import pytest

from course.grading.problems import Unreadable
from course.grading.read.cells import cells_from_bytes
from course.grading.read.merge import merge
from tests.grading.conftest import SOLVED


def run(exam, work):
    return merge(exam.template, work.cells())


def executed(merged) -> dict[str, str]:
    return {cell.exercise or cell.label: cell.source for cell in merged.cells}


def test_a_solved_notebook(exam, work):
    merged = run(exam, work.solve())
    assert [cell.exercise for cell in merged.cells] == ["", "double", "mean_and_spread", "Scale"]
    assert executed(merged)["double"] == "def double(x):\n    return x + x"
    assert merged.cells[2].keep == ("mean_and_spread",)
    assert (merged.missing, merged.messages, merged.tampered) == ([], [], False)
    assert [cell.exercise for cell in merged.shown] == ["double", "mean_and_spread", "Scale"]


def test_the_template_is_the_instructors(exam):
    assert [exercise.name for exercise in exam.template.exercises] == ["double", "mean_and_spread", "Scale"]
    assert exam.template.written == {"why": 2.0}
    assert "NotImplementedError" in exam.template.exercises[0].stub
    assert len(exam.template.setup) == 1 and "setup(seed=0)" in exam.template.setup[0]


def test_a_deleted_cell_is_missing_and_said(exam, work):
    merged = run(exam, work.solve().remove("double"))
    assert merged.missing == ["double"] and "double" not in executed(merged)
    assert "The cell of double is missing" in merged.messages[0]


def test_of_copies_the_last_with_work_in_it_counts(exam, work):
    stub = work["double"]["source"]
    work.solve()
    answer = work["double"]
    work.content["cells"].append({**answer, "source": "def double(x):\n    return x * 2"})
    work.content["cells"].append({**answer, "source": stub})
    merged = run(exam, work)
    assert executed(merged)["double"] == "def double(x):\n    return x * 2"
    assert sum(cell.exercise == "double" for cell in merged.cells) == 1
    assert "3 times; the last one with work in it" in merged.messages[0]


def test_untouched_copies_are_one_untouched_exercise(exam, work):
    work.content["cells"].append(dict(work["double"]))
    merged = run(exam, work)
    assert "NotImplementedError" in executed(merged)["double"]
    assert "none has work in it" in merged.messages[0]


def test_a_cell_without_its_label_is_known_by_what_it_defines(exam, work):
    work.solve()
    del work["double"]["metadata"]["nbgrader"]
    work["Scale"]["metadata"] = {"nbgrader": {"grade_id": ["nonsense"], "points": {}}}
    merged = run(exam, work)
    assert executed(merged)["double"] == "def double(x):\n    return x + x"
    assert "Scale" in executed(merged) and not merged.tampered and merged.missing == []
    assert [message for message in merged.messages if "lost its label" in message] == merged.messages[:2]


def test_an_answer_in_a_cell_of_its_own_is_found(exam, work):
    work.add("def double(x):\n    return 2.0 * x")
    merged = run(exam, work)
    assert executed(merged)["double"] == "def double(x):\n    return 2.0 * x"
    assert "left as it came" in merged.messages[0]


def test_the_labelled_cell_counts_where_both_are_written(exam, work):
    work.solve().add("def double(x):\n    return 'an experiment'")
    merged = run(exam, work)
    (graded,) = [cell for cell in merged.cells if cell.exercise == "double"]
    assert graded.source == "def double(x):\n    return x + x" and graded.keep == ("double",)


def test_a_syntax_error_stays_with_its_exercise(exam, work):
    merged = run(exam, work.solve().write(double="def double(x)\n    return x"))
    assert executed(merged)["double"] == "def double(x)\n    return x"


def test_added_cells_are_run_whole(exam, work):
    source = "import math\nprint('tried')\nlow = lambda i: i\nlow(1)"
    work.solve().add(source, before="double")
    work.add("plot()")
    merged = run(exam, work)
    added = [cell for cell in merged.cells if "added" in cell.label]
    assert [cell.source for cell in added] == [source, "plot()"] and all(cell.added for cell in added)
    assert merged.cells.index(added[0]) == 1  # in the student's order, after the instructor's setup
    assert sum(not cell.exercise for cell in merged.shown) == 2


def test_the_setup_is_the_instructors_and_then_the_students(exam, work):
    work.solve()["setup"]["source"] = "import math\ndevice = torch.device('cpu')"
    merged = run(exam, work)
    assert merged.cells[0].source == exam.template.setup[0] and not merged.cells[0].added
    assert merged.cells[1].label == "your setup cell" and merged.cells[1].source == work["setup"]["source"]
    assert merged.cells[1].added and not merged.tampered


def test_edited_checks_and_points_are_tampering_without_effect(exam, work):
    work.solve()["check_double"]["source"] = "pass"
    work["check_Scale"]["metadata"]["nbgrader"]["points"] = 100
    work["double"]["metadata"]["nbgrader"]["grade"] = True
    merged = run(exam, work)
    assert merged.tampered and [cell.exercise for cell in merged.cells] == ["", "double", "mean_and_spread", "Scale"]
    told = " ".join(merged.messages)
    assert "check_double was edited" in told and "check_Scale was edited (points)" in told
    assert "double was edited (grade)" in told


def test_a_deleted_or_copied_check_is_no_tampering(exam, work):
    copy = dict(work["check_double"], source="check(1)")
    work.solve().remove("check_Scale").content["cells"].append(copy)
    merged = run(exam, work)
    assert not merged.tampered and merged.messages == []


def test_written_answers_are_shown_not_run(exam, work):
    work.write(why="Because.")
    merged = run(exam, work)
    assert [(cell.written, cell.source) for cell in merged.shown if cell.kind == "markdown"] == [("why", "Because.")]


# -- cells that changed their kind


def asked(merged) -> dict[str, list[str]]:
    """By exercise, the sources that are run for it."""
    return {name: [cell.source for cell in cells] for name, cells in merged.by_exercise.items()}


@pytest.mark.parametrize("kind", ["markdown", "raw"])
@pytest.mark.parametrize("known_by", ["label", "id", "text"])
def test_a_solved_cell_that_is_no_code_any_more_is_graded_as_code(exam, work, kind, known_by):
    cell = work.solve()["double"]
    cell["cell_type"] = kind
    if known_by != "label":
        cell["metadata"] = {}
    if known_by == "text":
        del cell["id"]
    merged = run(exam, work)
    assert merged.missing == [] and asked(merged)["double"] == [SOLVED["double"]]
    words = {"markdown": "Markdown", "raw": "a raw cell"}[kind]
    assert merged.messages == [f"The cell of double was turned into {words}; it was graded as code."]
    assert [shown.kind for shown in merged.shown if shown.exercise == "double"] == ["code"]


def test_text_that_only_speaks_of_the_answer_is_no_answer(exam, work):
    work.solve().remove("double")
    work.add("Here I call `double(x)`; double = two", cell_type="markdown")
    work.add("import os\nos.double = 3", cell_type="raw")
    assert run(exam, work).missing == ["double"]


def test_of_a_solved_cell_and_its_copy_as_text_the_code_counts(exam, work):
    work.solve()
    work.content["cells"].append({**work["double"], "cell_type": "markdown", "source": "def double(x): return 0"})
    merged = run(exam, work)
    assert asked(merged)["double"] == [SOLVED["double"]] and merged.messages == []


@pytest.mark.parametrize("kind", ["code", "raw"])
@pytest.mark.parametrize("known_by", ["label", "id"])
def test_a_written_answer_that_is_no_text_any_more_is_shown_and_not_run(exam, work, kind, known_by):
    work.solve().write(why="raise SystemExit")
    work["why"]["cell_type"] = kind
    if known_by == "id":
        work["why"]["metadata"] = {}
    merged = run(exam, work)
    assert [(c.kind, c.source) for c in merged.shown if c.written == "why"] == [("markdown", "raise SystemExit")]
    assert len(merged.cells) == 4, "it is not run"
    words = {"code": "code", "raw": "a raw cell"}[kind]
    assert merged.messages == [f"The cell of why was turned into {words}; its text is shown."]


# -- cells that editors made into one, or into several


@pytest.mark.parametrize("interleaved", [False, True])
def test_two_exercises_in_one_cell_are_both_graded(exam, work, interleaved):
    work.solve()
    parts = [SOLVED["double"], "half = lambda x: x / 2", SOLVED["mean_and_spread"], "print(1)"]
    work.write(double="\n\n".join(parts[::-1] if interleaved else parts)).remove("mean_and_spread")
    merged = run(exam, work)
    assert merged.missing == []
    assert merged.messages == ["The answer to mean_and_spread was found in the cell of double."]
    sources = {name: "".join(cells).split() for name, cells in asked(merged).items()}
    assert "double(x):" in sources["double"] and "mean_and_spread(x):" not in sources["double"]
    assert "mean_and_spread(x):" in sources["mean_and_spread"] and "double(x):" not in sources["mean_and_spread"]
    line = next(n for n, text in enumerate(asked(merged)["mean_and_spread"][0].split("\n")) if "mean_and" in text)
    assert "mean_and" in work["double"]["source"].split("\n")[line], "lines stay where they are"
    every = "\n".join(source for cells in asked(merged).values() for source in cells)
    assert every.count("half =") == every.count("print(1)") == 1


def test_a_cell_in_parts_is_run_whole(exam, work):
    work.solve()
    first, second, third = "factor = 2", "def helper(x):\n    return factor * x", "def double(x):\n    return helper(x)"
    place = work.content["cells"].index(work["double"])
    split = [{**work["double"], "id": f"part{k}", "source": part} for k, part in enumerate((first, second, third))]
    work.content["cells"][place : place + 1] = split
    merged = run(exam, work)
    assert [cell.source for cell in merged.cells[1:4]] == [first, second, third]
    assert asked(merged)["double"] == [third] and merged.cells[3].keep == ("double",)
    assert merged.messages == ["The cell of double is in 3 parts; all of them were run."]


def test_the_label_may_be_on_the_part_that_defines_nothing(exam, work):
    work.solve().write(double="factor = 2")
    place = work.content["cells"].index(work["double"])
    work.add("def double(x):\n    return factor * x")
    work.content["cells"].insert(place + 1, work.content["cells"].pop())
    merged = run(exam, work)
    assert [cell.source for cell in merged.cells[1:3]] == ["factor = 2", "def double(x):\n    return factor * x"]
    assert asked(merged)["double"] == ["def double(x):\n    return factor * x"]
    assert merged.messages == ["The cell of double is in 2 parts; all of them were run."]


# -- merges that were not settled

BOTH = "<<<<<<< HEAD\ndef double(x):\n    return 2 * x\n=======\ndef double(x):\n    return x + x\n>>>>>>> theirs"


def test_merge_markers_in_a_cell_are_called_so_and_cost_that_cell(exam, work):
    work.solve().write(double="import math\n" + BOTH)
    merged = run(exam, work)
    assert merged.messages == [
        "The cell of double holds merge markers, the first in line 2: a conflict that was not settled. Keep one version, "
        "delete the lines with <<<<<<<, ======= and >>>>>>>, and hand in again."
    ]
    assert asked(merged)["mean_and_spread"] == [SOLVED["mean_and_spread"]]


def test_a_heading_is_no_merge_marker(exam, work):
    work.solve().write(why="Because\n=======\nit is.")
    assert run(exam, work).messages == []


@pytest.mark.parametrize(
    "form", ['<span style="color:red">**{}**</span>', "`{}`", "{}"], ids=["nbdime", "nbdev", "plain"]
)
def test_cells_that_are_merge_markers_are_called_so(exam, work, form):
    """What nbdime and nbdev write between two versions of cells."""
    work.solve()
    place = work.content["cells"].index(work["double"])
    theirs = {**work["double"], "source": "def double(x):\n    return 2 * x"}
    marks = [
        {"cell_type": "markdown", "metadata": {}, "source": form.format(text)}
        for text in ("<<<<<<< local", "=======", ">>>>>>> remote")
    ]
    work.content["cells"][place : place + 1] = [marks[0], work["double"], marks[1], theirs, marks[2]]
    work.content["metadata"]["nbdime-conflicts"] = {"local_diff": [], "remote_diff": []}
    merged = run(exam, work)
    assert asked(merged)["double"] == [theirs["source"]]
    assert merged.messages == [
        "The cell of double is there 2 times; the last one with work in it was graded.",
        f"The notebook holds a merge conflict that was not settled: cell {place + 1} is a merge marker. Keep one version "
        "of each cell, delete the cells with <<<<<<<, ======= and >>>>>>>, and hand in again.",
    ]


def conflicting(work, ours: dict, theirs: dict, base: str = "") -> bytes:
    """The notebook's file as git leaves it where the cell of double differs."""
    made = []
    for changed in (ours, theirs):
        work["double"].update(changed)
        made.append(json.dumps(work.content, indent=1).split("\n"))
    first, second = made
    start = next(k for k, (a, b) in enumerate(zip(first, second)) if a != b)
    end = next(k for k, (a, b) in enumerate(zip(first[::-1], second[::-1])) if a != b)
    lines = [*first[:start], "<<<<<<< HEAD", *first[start : len(first) - end], *([base] if base else []), "======="]
    return "\n".join(
        [*lines, *second[start : len(second) - end], ">>>>>>> theirs", *first[len(first) - end :]]
    ).encode()


def test_a_conflict_in_the_file_that_does_not_touch_what_is_read_costs_nothing(exam, work):
    data = conflicting(work.solve(), {"execution_count": 3}, {"execution_count": 4}, base="||||||| merged")
    merged = merge(exam.template, cells_from_bytes(data))
    assert merged.messages == [] and asked(merged)["double"] == [SOLVED["double"]]


def test_a_conflict_in_the_file_between_two_answers_is_told_with_its_line(exam, work):
    data = conflicting(work.solve(), {"source": "def double(x):\n    return 2 * x"}, {"source": "double = 3"})
    line = data.split(b"\n").index(b"<<<<<<< HEAD") + 1
    merged = merge(exam.template, cells_from_bytes(data))
    assert merged.messages == [
        f"The cell of double is there in two versions, because of a merge conflict in line {line} of the file (<<<<<<<) "
        "that was not settled; the first version was read. Keep one of them and hand in again."
    ]
    assert asked(merged)["double"] == ["def double(x):\n    return 2 * x"] and len(asked(merged)) == 3


def test_a_conflict_in_the_file_that_cannot_be_taken_apart_is_called_one(work):
    data = work.to_bytes() + b"\n<<<<<<< HEAD\n{\n"
    with pytest.raises(Unreadable, match="Line 2 of the file is a merge marker: a conflict that was not settled"):
        cells_from_bytes(data)


def test_the_courses_own_cells_are_run_where_the_students_code_reads_what_they_give(exam, work):
    given = ("base = 2", "example = base + 1", "unread = 3")
    template = replace(exam.template, texts=exam.template.texts | frozenset(given))
    for source in given:
        work.add(source, before="double")
    work.solve().write(double="def double(x):\n    return x * (example - 1)")
    merged = merge(template, work.cells())
    assert [cell.source for cell in merged.cells if cell.source in given] == ["base = 2", "example = base + 1"]
    assert "example" not in "".join(cell.source for cell in merged.shown if not cell.exercise)
    work.add("example = 3", before="double")
    assert not [cell.source for cell in merge(template, work.cells()).cells if cell.source in given]

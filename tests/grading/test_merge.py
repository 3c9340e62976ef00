"""Which of a student's cells count."""

from course.grading.read.merge import merge


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



"""Of several notebooks of one student the work wins, whatever they are called and wherever they lie."""

import io
import json
import os
import zipfile

import pytest

from course.grading.collect import find
from course.grading.collect.choose import Submission, choose
from course.grading.collect.find import collect
from course.grading.collect.work import is_stub, work_in
from course.grading.problems import Unreadable
from course.grading.read.cells import cells_from_notebook
from course.grading.read.merge import Template
from course.grading.student import read_student
from tests.grading.conftest import SOLVED, TOPIC

TARGETS = {"double": ("double",), "mean_and_spread": ("mean_and_spread",), "Scale": ("Scale",)}


@pytest.fixture(scope="module")
def template(released) -> Template:
    return Template.from_cells(cells_from_notebook(released), TARGETS)


@pytest.fixture
def graded(tmp_path, template):
    """Writes the files of anna and gives what is graded: ``graded({"a.ipynb": work}, place="anna")``."""

    def graded(files: dict, student: str = "anna") -> Submission:
        for name, work in files.items():
            path = tmp_path / "class" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(work if isinstance(work, bytes) else work.to_bytes())
        (found,) = (found for found in collect(tmp_path / "class", TOPIC) if found.student == student)
        return choose(found, TOPIC, template)

    return graded


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def is_solved(submission: Submission) -> bool:
    return any(cell.source == SOLVED["double"] for cell in submission.cells)


@pytest.mark.parametrize(
    ("released_at", "finished_at"),
    [
        ("anna/{t}.ipynb", "anna/{t}-1.ipynb"),
        ("anna/{t}.ipynb", "anna/{t}-Copy1.ipynb"),
        ("anna/{t}.ipynb", "anna/{t} (1).ipynb"),
        ("anna/{t}/{t}.ipynb", "anna/final.ipynb"),
        ("anna/{t}/{t}.ipynb", "anna.ipynb"),
        ("anna.ipynb", "anna/{t}/{t}.ipynb"),
        ("anna/{t}/{t}.ipynb", "anna_{t}.ipynb"),
        ("anna/a/b/{t}.ipynb", "anna/{t}/old/{t}.ipynb"),
        ("anna/{t}/{t}.ipynb", "anna/hw0_first_check/{t}.ipynb"),
        ("anna/{t}.ipynb", "anna/{t}.ipynb.json"),
    ],
)
def test_a_finished_notebook_beats_the_released_one_wherever_they_lie(released_at, finished_at, graded, work, new_work):
    first, second = (place.format(t=TOPIC) for place in (released_at, finished_at))
    submission = graded({first: work, second: new_work().solve()})
    assert is_solved(submission)
    (message,) = submission.messages
    assert message.startswith("There are 2 notebooks; ") and "no other has work in it" in message
    assert "(as it was handed out)." in message


def test_the_work_is_found_in_zips_in_zips(graded, work, new_work):
    inner = zipped({f"upload/{TOPIC}.ipynb": new_work().solve().to_bytes()})
    submission = graded({f"anna/{TOPIC}.ipynb": work, "anna/all.zip": zipped({"more.zip": inner})})
    assert is_solved(submission)
    assert "all.zip/more.zip/upload/hw9_small.ipynb was graded" in submission.messages[0]


def test_the_date_of_a_file_decides_nothing(graded, work, new_work, tmp_path):
    graded({"anna/a.ipynb": new_work().solve(), "anna/b.ipynb": work.write(double=SOLVED["double"])})
    for name, seconds in (("a", 1_700_000_000), ("b", 1_800_000_000)):
        os.utime(tmp_path / "class" / "anna" / f"{name}.ipynb", (seconds, seconds))
    submission = graded({})
    assert (
        "a.ipynb was graded, it has the most work in it. Set aside: b.ipynb (work on double)." in submission.messages[0]
    )


def test_work_that_is_set_aside_and_is_in_no_other_is_named(graded, new_work):
    most = new_work().write(**{name: SOLVED[name] for name in ("double", "Scale")})
    other = new_work().write(mean_and_spread=SOLVED["mean_and_spread"])
    (message,) = graded({"anna/a.ipynb": most, "anna/b.ipynb": other}).messages
    assert "b.ipynb (with work on mean_and_spread that is not graded)" in message


def test_as_much_and_not_the_same_is_ambiguous(graded, new_work, tmp_path, exam):
    files = {f"anna/{name}.ipynb": new_work().write(**{name: SOLVED[name]}) for name in ("double", "Scale")}
    with pytest.raises(Unreadable, match=r"Scale\.ipynb \(Scale\), double\.ipynb \(double\)") as caught:
        graded(files)
    assert caught.value.status == "ambiguous" and "leave the right one and grade again" in str(caught.value)
    (found,) = collect(tmp_path / "class", TOPIC)
    row = read_student(found, "anna", exam)
    assert (row.status, row.exercises, row.message) == ("ambiguous", (), str(caught.value))


def test_two_answers_to_the_same_question_are_ambiguous(graded, new_work):
    with pytest.raises(Unreadable) as caught:
        graded(
            {
                "anna/a.ipynb": new_work().solve(),
                "anna/b.ipynb": new_work().solve().write(double="def double(x):\n    return x * 3"),
            }
        )
    assert caught.value.status == "ambiguous"


def test_the_same_work_twice_is_no_tie(graded, new_work):
    copy = new_work().solve()
    copy["double"]["source"] += "  \n"
    copy.add("double(torch.ones(3))")  # to look at it: it gives nothing a meaning
    (message,) = graded({f"anna/{TOPIC}.ipynb": new_work().solve(), "anna/b.ipynb": copy}).messages
    assert f"{TOPIC}.ipynb was graded, the work in them is the same" in message and "b.ipynb (the same work)" in message


def test_a_helper_that_the_other_lacks_is_kept(graded, new_work):
    uses = {"double": "def double(x):\n    return twice(x)"}
    whole = new_work().solve().write(**uses)
    whole.add("def twice(x):\n    return 2 * x", before="double")
    without = new_work().solve().write(**uses)
    submission = graded({f"anna/{TOPIC}.ipynb": without, "anna/b.ipynb": whole})
    assert any("def twice" in cell.source for cell in submission.cells)
    other = new_work().solve().write(**uses)
    other.add("def twice(x):\n    return 3 * x", before="double")
    with pytest.raises(Unreadable) as caught:
        graded({"anna/c.ipynb": other})
    assert caught.value.status == "ambiguous"


def test_a_written_answer_is_work_and_emptied_cells_are_none(graded, new_work):
    written = new_work().write(why="Because.")
    emptied = new_work().write(**dict.fromkeys((*SOLVED, "why"), "  \n"))
    submission = graded({f"anna/{TOPIC}.ipynb": emptied, "anna/b.ipynb": written})
    assert any(cell.source == "Because." for cell in submission.cells)


def test_two_untouched_ones_are_one(graded, work, new_work):
    (message,) = graded({f"anna/{TOPIC}.ipynb": work, f"anna/{TOPIC}-1.ipynb": new_work()}).messages
    assert f"{TOPIC}.ipynb was graded, none of them has work in it" in message


def test_an_untouched_notebook_does_not_stand_for_one_that_cannot_be_read(graded, work, new_work):
    with pytest.raises(
        Unreadable, match=r"final\.ipynb: .*cut off.* hw9_small\.ipynb is as it was handed out"
    ) as caught:
        graded({f"anna/{TOPIC}.ipynb": work, "anna/final.ipynb": new_work().solve().to_bytes()[:-50]})
    assert caught.value.status == "unreadable"
    submission = graded({"anna/third.ipynb": new_work().solve()})
    assert is_solved(submission) and "final.ipynb (cannot be read: The file is cut off" in submission.messages[0]


def test_an_exercise_counts_by_the_name_it_defines(graded, new_work):
    lost = new_work().solve()
    for cell in lost.content["cells"]:
        cell["metadata"].pop("nbgrader", None)
    submission = graded({f"anna/{TOPIC}.ipynb": new_work(), "anna/colab.ipynb": lost})
    assert is_solved(submission)


def test_a_notebook_of_something_else_is_no_rival(graded, new_work):
    other = {"cells": [{"cell_type": "code", "source": f"def f{i}(): pass", "metadata": {}} for i in range(9)]}
    (message,) = graded(
        {"anna/a.ipynb": json.dumps(other).encode(), f"anna/{TOPIC}.ipynb": new_work().solve()}
    ).messages
    assert "a.ipynb (another notebook)" in message


def test_the_last_number_of_canvas_counts(graded, new_work):
    early = new_work().solve()
    late = new_work().write(double=SOLVED["double"])
    files = {
        f"annaa_101_901_{TOPIC}.ipynb": early,
        f"annaa_101_902_{TOPIC}-1.ipynb": late,
        f"annaa_101_903_{TOPIC}-2.ipynb": new_work(),  # handed in by mistake, as it came
        f"bobb_102_904_{TOPIC}.ipynb": new_work().solve(),
    }
    submission = graded(files, "annaa")
    assert [cell.source for cell in submission.cells].count(SOLVED["Scale"]) == 0 and is_solved(submission)
    assert f"{TOPIC}-1.ipynb was graded, the last one with work in it" in submission.messages[0]
    assert "with work on Scale, mean_and_spread that is not graded" in submission.messages[0].replace(
        "mean_and_spread, Scale", "Scale, mean_and_spread"
    )


def test_many_notebooks_are_told_in_a_sentence_that_ends(graded, new_work):
    files = {f"anna/{i:02d}.ipynb": new_work() for i in range(19)}
    (message,) = graded({**files, "anna/x.ipynb": new_work().solve()}).messages
    assert "There are 20 notebooks; x.ipynb was graded" in message and "and 14 more" in message and len(message) < 500


def test_zips_in_zips_come_to_an_end(graded, new_work, monkeypatch):
    deep = zipped({f"{TOPIC}.ipynb": new_work().solve().to_bytes()})
    for i in range(find.MOST_ZIPS_DEEP):
        deep = zipped({f"{i}.zip": deep})
    with pytest.raises(Unreadable, match="too deep in others") as caught:
        graded({"anna/all.zip": deep})
    assert caught.value.status == "limit"
    monkeypatch.setattr(find, "LARGEST_FILE", 10**6)
    read = []
    monkeypatch.setattr(find, "_read_member", lambda *given: read.append(given) or bytes(2 * 10**6))
    bombs = zipped({f"{i}.zip": bytes(2 * 10**6) for i in range(300)})
    with pytest.raises(Unreadable, match="larger than"):
        graded({"bert/all.zip": bombs}, "bert")
    assert len(read) == find.MOST_LIMITS


def test_what_is_packed_otherwise_is_named_with_the_remedy(graded, new_work):
    for name in ("work.rar", "work.7z", "work.tar.gz"):
        with pytest.raises(Unreadable, match=r"is not opened here: hand in the \.ipynb itself, or a \.zip"):
            graded({f"{name[-2:]}/{name}": b"Rar!"}, name[-2:])
    assert is_solved(graded({"rar/mine.ipynb": new_work().solve(), "rar/b.rar": b"Rar!"}, "rar"))


# -- what is no work

STUB = 'def double(x, factor):\n    """Twice x."""  # (B, N)\n    y = f(x,\n          factor)\n    raise NotImplementedError("hw9.double")'


@pytest.mark.parametrize(
    "text",
    [
        STUB,
        STUB.replace('"', "'").replace("    ", "  "),
        STUB.replace("f(x,\n          factor)", "f(\n        x,\n        factor,\n    )"),
        f"# my try\n{STUB}\n\n\n# TODO",
        STUB.replace("double(", "twice("),
        STUB.replace('    """Twice x."""  # (B, N)\n', ""),
        "def double(x, factor):\n    pass",
        "",
    ],
)
def test_what_is_still_the_stub(text):
    assert is_stub(text, STUB)


@pytest.mark.parametrize(
    "text", [STUB.replace("raise", "return 2 * x  #"), STUB.replace("factor)\n", "2)\n"), f"{STUB}\n    return x"]
)
def test_what_is_work(text):
    assert not is_stub(text, STUB)


def test_work_by_question(new_work, template):
    work = new_work().solve().write(why="Because.")
    found = work_in(work.cells(), template)
    assert (found.known, set(found.done)) == (4, {*SOLVED, "why"}) and found.done["why"] == "Because."
    assert work_in(new_work().cells(), template).done == {} and work_in([], template).known == 0

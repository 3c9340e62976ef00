"""Wrong answers of a class that no sentence names, in groups; and the sentence that an instructor gives a group."""

import json
import re
import shutil
import stat
from pathlib import Path

import pytest
import torch

from course.checks import load_homework
from course.checks.calls import Observation
from course.checks.compare import faulty_calls, same_fault
from course.grading import grade_command
from course.grading.judge.exercise import judge_exercise
from course.grading.judge.unnamed import unnamed, what_it_did
from course.grading.name_mistake import name_mistake
from course.grading.read.bare import bare
from course.grading.report.groups import Wrong, group, to_json
from course.grading.report.similarity import Work
from course.grading.run.submission import Lost

TOPIC = "hw9_small"
SENTENCE = "You added three to each number. Twice x is x and once more x."


def did(exam, **changed) -> Observation:
    """What a right `double` does, with the result or the gradient changed."""
    right = exam.expected["double"].answer
    return Observation({key: changed.get(key.split(".")[1], value) for key, value in right.tensors.items()})


def kept(exam, seen, broken=()) -> dict[str, str]:
    result = judge_exercise("double", 2.0, exam.expected["double"], seen, "Forbidden." if broken else None)
    return unnamed([result], {"double": seen}, exam.expected, dict.fromkeys(broken, "Forbidden."))


def groups_of(exam, **seen: Observation):
    works = {name: Work(name, name, {"double": f"def double(x):\n    return {name}"}) for name in seen}
    wrong = {name: Wrong("inputs", kept(exam, each)) for name, each in seen.items()}
    return group(wrong, works, exam.expected)


def test_values_on_both_sides_of_a_rounding_border_are_the_same(exam):
    out = exam.expected["double"].answer.tensors["0.out"]
    near, far = torch.full_like(out, 0.12345 - 2e-6), torch.full_like(out, 0.12345 + 2e-6)
    assert round(float(near[0, 0]), 4) != round(float(far[0, 0]), 4)
    found = groups_of(exam, a=did(exam, out=near), b=did(exam, out=far), c=did(exam, out=near + 0.01))
    assert [each.students for each in found.listed] == [2, 1]


def test_errors_are_the_same_if_they_say_the_same(exam):
    error = lambda text: Observation({}, {"0.error": text})
    found = groups_of(
        exam,
        a=error("IndexError: index 4 is out of bounds (line 2 of your cell: x[4])"),
        b=error("IndexError: index 5 is out of bounds (line 7 of your cell: return x[5])"),
        c=error("IndexError: too many indices (line 2 of your cell: x[4])"),
        d=error("TypeError: index 4 is out of bounds (line 2 of your cell: x[4])"),
    )
    assert [each.students for each in found.listed] == [2, 1, 1]


def test_not_a_number_is_the_same_where_it_stands_in_the_same_places(exam):
    out = exam.expected["double"].answer.tensors["0.out"]
    everywhere, once = torch.full_like(out, torch.nan), out.clone()
    once[0, 0] = torch.nan
    found = groups_of(exam, a=did(exam, out=everywhere), b=did(exam, out=everywhere), c=did(exam, out=once))
    assert [each.students for each in found.listed] == [2, 1]


def test_nothing_is_kept_of_what_cannot_get_a_sentence(exam):
    right = exam.expected["double"].answer
    wrong = did(exam, out=right.tensors["0.out"] + 3)
    no_memory = Observation(
        {}, {"0.error": "RuntimeError: can't allocate memory: you tried to allocate 4000000000000 bytes"}
    )
    assert kept(exam, wrong)
    assert what_it_did(kept(exam, wrong)["double"]).tensors.keys() == wrong.tensors.keys()
    with_a_name = exam.expected["double"].mistakes[0][1]
    for other in (
        right,
        with_a_name,
        Lost(None, "It hung."),
        None,
        Observation({}, {"0.undefined": "`double`"}),
        no_memory,
    ):
        assert not kept(exam, other), other
    assert not kept(exam, wrong, broken=("double",))
    assert not kept(exam, did(exam, out=torch.randn(400, 1000)))  # too large


def test_answers_on_other_inputs_are_not_compared(exam):
    text = kept(exam, did(exam, out=exam.expected["double"].answer.tensors["0.out"] + 3))
    works = {name: Work(name, name, {"double": "def double(x):\n    return x + 3"}) for name in "ab"}
    found = group({name: Wrong(name, text) for name in "ab"}, works, exam.expected)
    assert [each.students for each in found.listed] == [1, 1] and len({each.id for each in found.listed}) == 2
    told = json.loads(to_json(TOPIC, found, "a", 7))["groups"]
    assert {each["seed"] for each in told} == {7, None}


def test_same_fault_and_faulty_calls(exam):
    expected = exam.expected["double"]
    wrong = did(exam, out=expected.answer.tensors["0.out"] + 3)
    assert faulty_calls(expected, wrong) == [0] and faulty_calls(expected, expected.answer) == []
    assert same_fault(expected, wrong, wrong) and not same_fault(expected, wrong, expected.answer)


def test_code_is_shown_without_comments_and_docstrings():
    shown = bare('"""Anna"""\n%time x = 1\ndef f(x):\n    """By Anna."""\n    # Anna, 12345\n    return x  # Anna\n')
    assert shown == "x = 1\n\ndef f(x):\n    return x"
    assert bare("def f(:") == "" and bare("def f():\n    'only a text'") == "def f():\n    pass"


# -- a class


@pytest.fixture(scope="module")
def graded(small_course, new_work, tmp_path_factory):
    """(the repository, the submissions, the grades): three add three, one four, one stops, one makes the named mistake.

    Two are wrong in the same way in `Scale`; one of them makes the named mistake in `double`, on which it builds.
    """
    root = tmp_path_factory.mktemp("own") / "course"
    shutil.copytree(small_course, root)
    (root / "tests").mkdir()
    (root / "tests" / "test_mistakes.py").write_text(TEST)
    doubles = {
        "anna": "def double(x):\n    # Anna was here\n    return (x + 1) + 2",
        "bert": "def double(x):\n    three = 3.0\n    return x + three",
        "carl": "def double(x):\n    carl = x + 3\n    return carl",
        "dora": "def double(x):\n    return x + 4",
        "emil": "def double(x):\n    return x[7, 7]",
        "fred": "def double(x):\n    return x + 2",
        "gina": "def double(x):\n    return 2 * x",
        "hans": "three = 3\n\ndef double(x):\n    return x + three * x.abs()",
        "ines": "import os\n\ndef double(x):\n    os.getpid()\n    return x + 6",
    }
    folder, out = root.parent / "class", root.parent / "grades"
    for name, source in doubles.items():
        new_work().solve().write(double=source).save(folder / f"{name}.ipynb")
    for name, source in (("jana", doubles["gina"]), ("kurt", doubles["fred"])):
        new_work().solve().write(double=source, Scale=SCALE).save(folder / f"{name}.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert grade_command(folder, TOPIC, out, seed=5, workers=1) == 0
    return root, folder, out


SCALE = """\
class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return double(x) * self.weight + 1
"""
TEST = '''
"""What the tests of the tests are for the real homework."""
from pathlib import Path
import pytest
from course.checks import load_homework

@pytest.mark.parametrize("name", ["hw9_small-double", "hw9_small-Scale"])
def test_sentences(name):
    homework = load_homework(Path(__file__).parents[1] / "solutions" / "hw9_small")
    for mistake in homework.exercises[name.split("-")[1]].mistakes:
        assert len(mistake.sentence) < 100, "a sentence has at most 100 letters"
'''


def listed(out: Path) -> list[dict]:
    return json.loads((out / "groups.json").read_bytes())["groups"]


def of(out: Path, text: str) -> str:
    """The group whose code holds a text."""
    return next(each["id"] for each in listed(out) if text in each["code"])


def test_the_report_says_how_many_do_this_with_the_code_of_one_and_no_name(graded):
    _, _, out = graded
    first, *others = listed(out)
    assert (first["exercise"], first["students"]) == ("double", 3)
    assert [(each["exercise"], each["students"]) for each in others] == [("Scale", 2), *[("double", 1)] * 4]
    page = (out / "report.html").read_text()
    part = page.partition("without a name</h2>")[2].partition("<h2>")[0]
    assert f"<b>3 students do this</b>: <code>{first['id']}</code>" in part
    assert part.index("3 students do") < part.index("1 student does")
    assert "return x + 1 + 2" in part or "return x + three" in part
    for name in (
        "anna",
        "bert",
        "carl",
        "dora",
        "emil",
        "fred",
    ):  # carl's name stands in his own code: others are shown
        assert name not in part.casefold()


def test_students_and_others_read_nothing_of_groups(graded):
    _, _, out = graded
    secret = [each["id"] for each in listed(out)] + [each["did"][:40] for each in listed(out)]
    pages = list((out / "feedback").glob("*.html"))
    assert len(pages) == 11
    for page in [*pages, *out.glob("autograded/**/*.ipynb"), *out.glob("*.csv")]:
        text = page.read_text()
        assert not [each for each in (*secret, "students do this", "student does this") if each in text], page
    anna = (out / "feedback" / "anna.html").read_text()
    assert "three" not in re.sub("<[^>]*>", "", anna)  # that is how Bert wrote it
    for path in [out / "groups.json", *(out / "results").glob("*.json")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert not [each for each in listed(out) if each["did"][:40] in (out / "report.html").read_text()]


def test_the_same_seed_gives_the_same_groups_and_nobody_is_run_again_for_them(graded, tmp_path, monkeypatch, capsys):
    root, folder, out = graded
    monkeypatch.chdir(root)
    before = [(out / name).read_bytes() for name in ("groups.json", "report.html")]
    assert grade_command(folder, TOPIC, out, seed=5, workers=1) == 0
    said = capsys.readouterr().out
    assert "11 of them were graded by an earlier run" in said
    assert (
        f'3 students are wrong in the same way in double, and no sentence says so: see the report, then course name-mistake {listed(out)[0]["id"]} "…"'
        in said
    )
    assert before == [(out / name).read_bytes() for name in ("groups.json", "report.html")]
    assert grade_command(folder, TOPIC, tmp_path / "again", seed=5, workers=2) == 0
    assert [(each["id"], each["students"]) for each in listed(tmp_path / "again")] == [
        (each["id"], each["students"]) for each in listed(out)
    ]


@pytest.fixture
def own(graded, tmp_path, monkeypatch):
    """(exercises.py of a copy of the repository that a test may change, submissions, a copy of the grades)."""
    root, folder, out = graded
    shutil.copytree(root, tmp_path / "course")
    shutil.copytree(out, tmp_path / "grades")
    monkeypatch.chdir(tmp_path / "course")
    return tmp_path / "course" / "solutions" / TOPIC / "exercises.py", folder, tmp_path / "grades"


def test_a_group_gets_its_sentence_and_the_next_grading_says_it(own):
    path, folder, out = own
    assert name_mistake(listed(out)[0]["id"], SENTENCE, out, yes=True) == 0
    added = path.read_text()
    assert re.search(r'@double\.mistake\("You added three .*"\)\ndef double_[0-9a-f]{6}\(x\):\n', added)
    assert added.index("def plus_two") < added.index("def double_") < added.index("@spread.inputs")
    assert load_homework(path.parent).exercises["double"].mistakes[-1].sentence == SENTENCE
    assert grade_command(folder, TOPIC, out, seed=5, workers=1) == 0
    told = {page.stem for page in (out / "feedback").glob("*.html") if SENTENCE in page.read_text()}
    assert told == {"anna", "bert", "carl"}
    assert [each["students"] for each in listed(out)] == [2, 1, 1, 1, 1]


def test_a_class_that_builds_on_another_exercise_gets_its_sentence(own):
    path, _, out = own
    assert name_mistake(of(out, "self.weight + 1"), "You added one to what was asked for.", out, yes=True) == 0
    assert 'return homework.reference["double"](x) * self.weight + 1' in path.read_text()


def test_nothing_is_written_or_run_before_the_instructor_agrees(own, monkeypatch, capsys):
    path, _, out = own
    before = path.read_bytes()
    monkeypatch.setattr("course.grading.name_mistake._problem", lambda *_: pytest.fail("it was run"))
    for answer in ("n", ""):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert name_mistake(listed(out)[0]["id"], SENTENCE, out, yes=False) == 1
    said = capsys.readouterr()
    assert "+@double.mistake(" in said.out and "--yes" in said.err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("code", "sentence", "why"),
    [
        ("return x + 4", "Too long. " * 20, "a test says: a sentence has at most 100 letters"),
        ("return x + 4", "  ", "the sentence is empty"),
        ("three * x.abs()", SENTENCE, "its code uses `three`, which is defined elsewhere"),
        ("os.getpid()", SENTENCE, "its code uses `os`"),
    ],
)
def test_what_does_not_do_leaves_the_file_as_it_was(own, capsys, code, sentence, why):
    path, _, out = own
    before = path.read_bytes()
    assert name_mistake(of(out, code), sentence, out, yes=True) == 1
    assert why in capsys.readouterr().err and path.read_bytes() == before


def changed_group(out: Path, **changes) -> str:
    told = json.loads((out / "groups.json").read_bytes())
    told["groups"][0] |= changes
    (out / "groups.json").write_text(json.dumps(told))
    return told["groups"][0]["id"]


def test_code_that_by_itself_does_something_else_is_put_back(own, capsys):
    path, _, out = own
    before = path.read_bytes()
    group_id = changed_group(out, code="def double(x):\n    return x + 5")
    assert name_mistake(group_id, SENTENCE, out, yes=True) == 1
    assert "does not do what the group did" in capsys.readouterr().err and path.read_bytes() == before


def test_stopping_it_puts_the_file_back(own, monkeypatch):
    path, _, out = own
    before = path.read_bytes()

    def stop(*_):
        assert path.read_bytes() != before
        raise KeyboardInterrupt

    monkeypatch.setattr("course.grading.name_mistake._failed", stop)
    with pytest.raises(KeyboardInterrupt):
        name_mistake(listed(out)[0]["id"], SENTENCE, out, yes=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "torch.os.system('x')",
        "torch.load('x')",
        "x.__class__.__base__",
        "open('x')",
        "eval('x')",
        "getattr(x, 'y')",
        "__import__('os')",
        "homework.source",
        "t = torch; t.os.remove('x')",
    ],
)
def test_what_is_not_let_in(own, capsys, line):
    path, _, out = own
    before = path.read_bytes()
    assert (
        name_mistake(changed_group(out, code=f"def double(x):\n    {line}\n    return x + 3"), SENTENCE, out, True) == 1
    )
    assert "not let in" in capsys.readouterr().err and path.read_bytes() == before


def test_a_group_that_is_not_there_is_said_with_those_that_are(own, tmp_path, capsys):
    _, _, out = own
    assert name_mistake("double-abcdef", SENTENCE, out, yes=True) == 1
    assert f"no group 'double-abcdef'; it has {listed(out)[0]['id']}, " in capsys.readouterr().err
    assert name_mistake("double-abcdef", SENTENCE, tmp_path / "nowhere", yes=True) == 1
    assert "groups.json is missing: with -o give the folder" in capsys.readouterr().err
    assert name_mistake(changed_group(out, seed=None), SENTENCE, out, yes=True) == 1
    assert "on hidden inputs of an earlier run" in capsys.readouterr().err

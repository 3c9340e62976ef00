"""The pages: what they say, and that nothing a student writes can run in them."""

import dataclasses
import re
import time
from html.parser import HTMLParser

import pytest
import torch

from course.checks.calls import Observation
from course.grading.judge.exercise import ExerciseResult, judge_exercise
from course.grading.judge.pictures import LARGEST, PublicChecks, draw, with_pictures
from course.grading.limits import Limits
from course.grading.read.merge import ShownCell, merge
from course.grading.record.result import StudentResult
from course.grading.report.pages import class_page, feedback_page, similar_pages
from course.grading.report.similarity import Work, similar_submissions
from course.grading.run.submission import run_submission
from course.grading.sandbox import Sandbox

POINTS = {"double": 2.0, "mean_and_spread": 1.5, "Scale": 3.0}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}'


class Elements(HTMLParser):
    """Collects every element with its attributes."""

    def __init__(self, page: bytes):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def assert_nothing_runs(page: bytes) -> None:
    for tag, attributes in Elements(page).found:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base", "link", "svg"), tag
        assert not any(name.startswith("on") for name in attributes), attributes
        for name in ("href", "src"):
            assert not re.match(r"\s*(javascript|vbscript|data:text)", attributes.get(name, ""), re.I), attributes
        if "src" in attributes:  # nothing is loaded from anywhere
            assert re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/]+=*", attributes["src"]), attributes["src"][:80]
    assert b"Content-Security-Policy" in page and b"default-src 'none'" in page


def exercises(*outcomes):
    return tuple(
        ExerciseResult(name, most if outcome == "right" else 0.0, most, outcome, f"{name}: {HOSTILE}", named)
        for (name, most), (outcome, named) in zip(POINTS.items(), outcomes)
    )


def test_nothing_in_a_feedback_page_runs(exam):
    shown = [
        ShownCell("code", f"x = '{HOSTILE}'\n# </pre></div>{HOSTILE}", exercise="double"),
        ShownCell("code", "</script>" * 5000),
        ShownCell("code", f"'''{HOSTILE}" + "x" * 30_000),
        ShownCell(
            "markdown",
            f"{HOSTILE}\n\n[a](javascript:alert(1)) ![b](javascript:alert(2)) ![<u>](https://x.y/z.png) <b onclick=x>c</b>\n\n"
            f"<javascript:alert(3)>\n\n| a |\n|---|\n| {HOSTILE} |",
            written="why",
        ),
        ShownCell("markdown", "[" * 5_000 + "*" * 5_000 + ">" * 5_000),
    ]
    result = StudentResult(
        HOSTILE,
        "page",
        ("graded", "tampered"),
        exercises(("wrong", True), ("lost", False), ("not started", False)),
        (HOSTILE,),
    )
    page = feedback_page("hw9_small", exam.template, result, shown, 6.5, HOSTILE)
    assert_nothing_runs(page)
    assert page.count(b"{{ 7 * 7 }}") >= 5  # what students write is no template


def test_nothing_in_the_class_page_runs(exam):
    results = [
        StudentResult(HOSTILE, "a b&c", ("graded",), exercises(("wrong", True), ("lost", False), ("missing", False))),
        StudentResult("anna", "anna", ("missing",), messages=(HOSTILE,)),
    ]
    assert_nothing_runs(class_page("hw9_small", exam.template, POINTS, results, HOSTILE))


def test_a_feedback_page_says_what_there_is_to_say(exam, work):
    merged = merge(exam.template, work.solve().write(why="Because of *this*.").cells())
    graded = (
        ExerciseResult("double", 2.0, 2.0, "right", "All right."),
        ExerciseResult("mean_and_spread", 0.0, 1.5, "wrong", "You forgot the root."),
        ExerciseResult("Scale", 0.0, 3.0, "lost", "Your code hangs."),
    )
    result = StudentResult("zoë", "zoë", ("graded", "timeout"), graded, ("Something was odd.",))
    page = feedback_page("hw9_small", exam.template, result, merged.shown, 6.5, "process limits only").decode()
    for words in (
        "zoë",
        "2</b>of 6.5 points",
        "All right.",
        "You forgot the root.",
        "Your code hangs.",
        "Something was odd.",
        "<em>this</em>",
        "process limits only",
        "A person reads this one",
    ):
        assert words in page
    assert "The model answer" not in page and "SOLUTION" not in page
    assert 'class="source"' in page  # code is coloured


def test_a_student_without_a_notebook_has_a_page_too(exam):
    result = StudentResult("bert", "bert", ("missing",), messages=("There is no notebook.",))
    page = feedback_page(
        "hw9_small", exam.template, result, [], 6.5, Sandbox(Limits(enforced=False)).isolation
    ).decode()
    assert "There is no notebook." in page and "Nothing could be graded." in page and "none was asked for" in page


def test_the_class_page_counts(exam):
    def student(name, *outcomes):
        made = [
            ExerciseResult(
                e, most if o == "right" else 0.0, most, o, "You added two." if o == "wrong" else "", o == "wrong"
            )
            for (e, most), o in zip(POINTS.items(), outcomes)
        ]
        return StudentResult(name, name, ("graded",), tuple(made))

    results = [
        student("a", "right", "right", "wrong"),
        student("b", "right", "wrong", "wrong"),
        student("c", "right", "not started", "lost"),
        StudentResult("d", "d", ("unreadable",)),
    ]
    page = class_page("hw9_small", exam.template, POINTS, results, Sandbox(Limits()).isolation).decode()
    text = re.sub(r"<[^>]+>", " ", page)
    assert re.search(r"\b4\s+students", text) and re.search(r"\b3\s+graded", text)
    assert re.search(r"\b2\.5\s+mean of 6\.5", text)  # (3.5 + 2 + 2) / 3
    assert text.index("Scale") < text.index("mean_and_spread") < text.index("double")  # the hardest first
    mistakes = page[page.index("Most frequent mistakes") :]
    assert re.search(r'number">2</td><td class="name">Scale', mistakes)  # two students made it
    assert "unreadable" in text and 'href="feedback/d.html"' in page


def test_empty_classes_and_all_missing(exam):
    assert b"Class report" in class_page("hw9_small", exam.template, POINTS, [], Sandbox(Limits()).isolation)


# -- pictures


@pytest.fixture(scope="module")
def checks(small_course) -> PublicChecks:
    return PublicChecks(small_course / "assignments" / "hw9_small")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(Limits()) as sandbox:
        yield sandbox


def addresses(page: bytes) -> list[str]:
    return [attributes["src"] for tag, attributes in Elements(page).found if tag == "img"]


def page_of(exam, result: ExerciseResult) -> bytes:
    student = StudentResult("anna", "anna", ("graded",), (result,))
    return feedback_page("hw9_small", exam.template, student, [ShownCell("code", "pass", result.name)], 6.5, "")


def test_a_named_mistake_has_a_picture_without_running_anything(exam, checks):
    sentence = "You added two instead of doubling."
    (result,) = with_pictures((ExerciseResult("double", 0, 2, "wrong", sentence, True),), {}, None, checks, None)
    page = page_of(exam, result)
    assert_nothing_runs(page)
    assert [panel["title"] for panel in result.picture["panels"]] == [
        "expected",
        "with this mistake",
        "with this mistake − expected",
    ]
    assert addresses(page) == [panel["address"] for panel in result.picture["panels"]]
    assert "On the inputs of the check in your notebook" in page.decode()


def test_who_is_right_or_stopped_has_no_picture(checks):
    results = (
        ExerciseResult("double", 2, 2, "right", "All right."),
        ExerciseResult("mean_and_spread", 0, 1.5, "wrong", "Your code stopped with ValueError: x"),
        ExerciseResult("Scale", 0, 3, "lost", "Your code hangs."),
    )
    seen = {"mean_and_spread": Observation(notes={"0.error": "ValueError: x"})}
    assert [e.picture for e in with_pictures(results, seen, None, checks, None)] == [None] * 3


def test_another_wrong_value_is_drawn_on_public_inputs_and_never_on_hidden_ones(exam, checks, work, sandbox):
    # What it was asked before comes back as the result: hidden inputs must not reach the picture in this way.
    keeper = "kept = []\ndef double(x):\n    kept.append(x.detach().clone())\n    return 3 * x + 0 * kept[0] + kept[0]"
    cells = work.solve().write(double=keeper).cells()
    merged = merge(exam.template, cells)
    outcome = run_submission(merged, exam.questions, sandbox)
    result = judge_exercise("double", 2, exam.expected["double"], outcome.exercises["double"])
    assert result.outcome == "wrong" and not result.named
    (result,) = with_pictures((result,), outcome.exercises, merged, checks, sandbox)
    # With nothing kept from before, kept[0] is the public x itself.
    seen = checks.expected["double"].answer
    wanted = Observation({"0.out": 2 * seen.tensors["0.out"], "0.grad.x": seen.tensors["0.grad.x"]})
    assert result.picture == draw(checks.expected["double"], wanted, of_mistake=False)
    assert_nothing_runs(page_of(exam, result))


def test_a_second_run_that_hangs_costs_seconds_and_the_picture_only(exam, checks, work, sandbox, monkeypatch):
    monkeypatch.setattr("course.grading.judge.pictures.MOST_SECONDS", 0.5)
    merged = merge(exam.template, work.solve().write(double="def double(x):\n    while True: pass").cells())
    result = ExerciseResult("double", 0, 2, "wrong", "Half of it differs.")
    begin = time.monotonic()
    (same,) = with_pictures((result,), {"double": Observation()}, merged, checks, sandbox)
    assert same == result and same.picture is None
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (1000, 1000), (2,) * 20])
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), 1e300])
def test_whatever_a_student_returns_can_be_drawn_or_is_left_out(checks, shape, value):
    expected = checks.expected["double"]
    drawn = draw(expected, Observation({"0.out": torch.full(shape, value, dtype=torch.float64)}), of_mistake=False)
    assert drawn is None or sum(len(panel["address"]) for panel in drawn["panels"]) <= LARGEST
    assert shape not in ((1000, 1000), ()) or drawn is not None


def test_a_large_noisy_picture_stays_small(checks):
    noise = torch.rand(500, 500, generator=torch.Generator().manual_seed(0))
    expected = dataclasses.replace(checks.expected["double"], answer=Observation({"0.out": noise}), mistakes=[])
    drawn = draw(expected, Observation({"0.out": noise.flip(0)}), of_mistake=False)
    assert len(drawn["panels"]) == 3 and sum(len(panel["address"]) for panel in drawn["panels"]) <= LARGEST


@pytest.mark.parametrize(
    "address", ["https://x.y/z.png", "data:text/html,<script>", 'data:image/png;base64,A" onload="x']
)
def test_only_a_picture_is_taken_for_a_picture(exam, address):
    panels = [{"title": HOSTILE, "about": HOSTILE, "address": address}]
    picture = {"what": "x", "of_mistake": False, "panels": panels}
    result = ExerciseResult("double", 0, 2, "wrong", "No.", picture=picture)
    assert addresses(page_of(exam, result)) == []
    panels[0]["address"] = "data:image/png;base64,AAAA"
    page = page_of(exam, result)
    assert_nothing_runs(page)
    assert addresses(page) == ["data:image/png;base64,AAAA"]


def test_without_check_data_there_are_no_pictures(tmp_path):
    result = ExerciseResult("double", 0, 2, "wrong", "No.", True)
    assert with_pictures((result,), {}, None, PublicChecks(tmp_path), None) == (result,)


# -- similar submissions


def test_nothing_in_a_page_of_two_students_runs(exam):
    body = "".join(f"\n    part_{k} = torch.roll(x, {k}) * {k}.5 - x.sum(-{k})" for k in range(9))
    code = {HOSTILE: f"def f(x):{body}\n    # </pre>{HOSTILE}\n    s = '{HOSTILE}'", "": "</script>" * 100}
    works = [Work(HOSTILE, "a b&c", code), Work("../../<b>", "b--c", code)]
    works += [Work("", "a b&c--b", code | {"": ""}), Work("x", "c", {})]
    similar = similar_submissions(works[:2] + works[3:], [])
    assert similar.pairs
    pages = similar_pages("hw9_small", similar, "")
    for page in [*pages.values(), class_page("hw9_small", exam.template, POINTS, [], "", similar)]:
        assert_nothing_runs(page)
        assert b"Similar is not guilty" in page
    assert set(pages) == {"a b&c--b--c"}
    assert b'href="similar/a%20b%26c--b--c.html"' in class_page("hw9_small", exam.template, POINTS, [], "", similar)


def test_pairs_whose_names_run_together_have_pages_of_their_own(exam):
    body = "".join(f"\n    part_{k} = torch.roll(x, {k}) * {k}.5 - x.sum(-{k})" for k in range(9))
    pair = similar_submissions([Work(name, name, {"e": f"def f(x):{body}"}) for name in "ab"], []).pairs[0]
    work = lambda page: dataclasses.replace(pair.first, student=page, page=page)
    pages = [("a--b", "c"), ("a", "b--c"), ("A", "B--c")]
    pairs = tuple(dataclasses.replace(pair, first=work(a), second=work(b)) for a, b in pages)
    assert set(similar_pages("hw9_small", dataclasses.replace(similar_submissions([], []), pairs=pairs), "")) == {
        "a--b--c",
        "a--b--c+",
        "A--B--c++",
    }

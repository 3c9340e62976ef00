"""The pages: what they say, and that nothing a student writes can run in them."""

import re
from html.parser import HTMLParser

from course.grading.judge import ExerciseResult
from course.grading.merge import ShownCell, merge
from course.grading.record import StudentResult
from course.grading.report import class_page, feedback_page
from course.grading.limits import Limits
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
        ShownCell("markdown", f"{HOSTILE}\n\n[a](javascript:alert(1)) ![b](javascript:alert(2)) <b onclick=x>c</b>\n\n"
                              f"<javascript:alert(3)>\n\n| a |\n|---|\n| {HOSTILE} |", written="why"),
        ShownCell("markdown", "[" * 5_000 + "*" * 5_000 + ">" * 5_000),
    ]  # fmt: skip
    result = StudentResult(
        HOSTILE, "page", ("graded", "tampered"), exercises(("wrong", True), ("lost", False), ("not started", False)),
        (HOSTILE,),
    )  # fmt: skip
    page = feedback_page("hw9_small", exam.template, result, shown, 6.5, Sandbox(Limits()).isolation)
    assert_nothing_runs(page)
    assert page.count(b"{{ 7 * 7 }}") >= 5  # what students write is no template


def test_nothing_in_the_class_page_runs(exam):
    results = [
        StudentResult(HOSTILE, "a b&c", ("graded",), exercises(("wrong", True), ("lost", False), ("missing", False))),
        StudentResult("anna", "anna", ("missing",), messages=(HOSTILE,)),
    ]
    assert_nothing_runs(class_page("hw9_small", exam.template, POINTS, results, Sandbox(Limits()).isolation))


def test_a_feedback_page_says_what_there_is_to_say(exam, work):
    merged = merge(exam.template, work.solve().write(why="Because of *this*.").cells())
    graded = (
        ExerciseResult("double", 2.0, 2.0, "right", "All right."),
        ExerciseResult("mean_and_spread", 0.0, 1.5, "wrong", "You forgot the root."),
        ExerciseResult("Scale", 0.0, 3.0, "lost", "Your code hangs."),
    )
    result = StudentResult("zoë", "zoë", ("graded", "timeout"), graded, ("Something was odd.",))
    page = feedback_page("hw9_small", exam.template, result, merged.shown, 6.5, Sandbox(Limits()).isolation).decode()
    for words in ("zoë", "2</b>of 6.5 points", "All right.", "You forgot the root.", "Your code hangs.",
                  "Something was odd.", "<em>this</em>", "process limits only", "A person reads this one"):  # fmt: skip
        assert words in page
    assert "The model answer" not in page and "SOLUTION" not in page
    assert 'class="source"' in page  # code is coloured


def test_a_student_without_a_notebook_has_a_page_too(exam):
    result = StudentResult("bert", "bert", ("missing",), messages=("There is no notebook.",))
    page = feedback_page("hw9_small", exam.template, result, [], 6.5, Sandbox(Limits(enforced=False)).isolation).decode()
    assert "There is no notebook." in page and "Nothing could be graded." in page and "none was asked for" in page


def test_the_class_page_counts(exam):
    def student(name, *outcomes):
        made = [
            ExerciseResult(e, most if o == "right" else 0.0, most, o, "You added two." if o == "wrong" else "", o == "wrong")
            for (e, most), o in zip(POINTS.items(), outcomes)
        ]  # fmt: skip
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

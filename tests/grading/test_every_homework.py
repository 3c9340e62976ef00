"""A class for every homework after the first: right, each named mistake, untouched and broken, through ``course grade``.

The students called ``wrong-0``, ``wrong-1``, ... make one named mistake in every exercise at once: the k-th of each.
"""

import csv
import html

import pytest

from course.grading import grade_command
from tests.sample_class import ROOT, SECONDS, SEED, Notebook, named_mistakes

TOPICS = sorted(path.parent.name for path in ROOT.glob("solutions/hw*_*/exercises.py"))
TOPICS = [topic for topic in TOPICS if topic.partition("_")[0] not in ("hw0", "hw1")]  # hw1: the sample class
MISTAKES = 6


def stands_alone(notebook: Notebook, name: str) -> bool:
    """Whether the right answer of an exercise calls nothing that another exercise has the student define."""
    others = {t for other, e in notebook.homework.exercises.items() if other != name for t in e.targets}
    return not any(target in notebook.solutions[name] for target in others)


def wrong(topic: str, which: int) -> tuple[Notebook, dict[str, str]]:
    """(a notebook with one mistake in each exercise, the sentence that each should get)."""
    notebook = Notebook(topic).solve_but_training()
    sentences = {}
    for name, exercise in notebook.homework.exercises.items():
        mistakes = named_mistakes(topic, exercise)
        if not exercise.trains and mistakes:
            mistake, variant = mistakes[which % len(mistakes)]
            notebook.solve_as(name, variant)
            sentences[name] = mistake.sentence
    return notebook, sentences


def broken(topic: str) -> tuple[Notebook, str]:
    """(a notebook whose first exercise is no Python, that exercise)."""
    notebook = Notebook(topic).solve_but_training()
    first = next(iter(notebook.homework.exercises))
    notebook.cell(first)["source"] = notebook.cell(first)["source"].replace("(", "((", 1)
    return notebook, first


@pytest.fixture(scope="module", params=TOPICS)
def graded(request, tmp_path_factory):
    """(topic, folder with the grades, rows by student, by student the sentences due)."""
    topic = request.param
    folder = tmp_path_factory.mktemp(f"one-{topic}")
    students = {"right": Notebook(topic).solve(), "untouched": Notebook(topic), "broken": broken(topic)[0]}
    sentences = {}
    for which in range(MISTAKES):
        students[f"wrong-{which}"], sentences[f"wrong-{which}"] = wrong(topic, which)
    for student, notebook in students.items():
        path = folder / "submissions" / student / topic / f"{topic}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_bytes(notebook.to_bytes())
    assert grade_command(folder / "submissions", topic, folder / "grades", seed=SEED, timeout=SECONDS) == 0
    with open(folder / "grades" / "grades.csv", newline="", encoding="utf-8") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(students)
    return topic, folder / "grades", rows, sentences


def test_the_right_notebook_has_full_marks_but_for_what_a_person_grades(graded):
    topic, _, rows, _ = graded
    for name, exercise in Notebook(topic).homework.exercises.items():
        assert float(rows["right"][name]) == exercise.points, (name, rows["right"])


def test_the_untouched_notebook_has_none(graded):
    _, _, rows, _ = graded
    assert float(rows["untouched"]["points"]) == 0 and rows["untouched"]["status"] == "graded"


def test_a_broken_cell_costs_its_own_exercise(graded):
    topic, _, rows, _ = graded
    notebook, first = broken(topic)
    assert float(rows["broken"][first]) == 0
    for name, exercise in notebook.homework.exercises.items():
        if name != first and not exercise.trains and stands_alone(notebook, name):
            assert float(rows["broken"][name]) == exercise.points, (name, rows["broken"])


@pytest.mark.parametrize("which", range(MISTAKES))
def test_every_mistake_loses_points_and_gets_its_own_sentence(graded, which):
    topic, grades, rows, sentences = graded
    student = f"wrong-{which}"
    page = html.unescape((grades / "feedback" / f"{student}.html").read_text(encoding="utf-8"))
    notebook = Notebook(topic)
    assert sentences[student]
    for name, sentence in sentences[student].items():
        assert float(rows[student][name]) < notebook.homework.exercises[name].points, (name, rows[student])
        if stands_alone(notebook, name):
            assert sentence in page, name

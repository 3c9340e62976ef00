"""The handbook says what the course is: its minutes, questions and commands; and no answer is where students read."""

import html
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from course.authoring import AuthoringError
from course.authoring.repository import homework_names
from course.cli import _parser
from course.site.build import MARKER, MARKER_OF_INSTRUCTORS, TITLE_OF_INSTRUCTORS, build_site
from course.site.pages import HANDBOOK, NOT_FOR_STUDENTS, marked, pages_of, texts_with_answers, write_sources
from course.syllabus import LECTURES, WITHOUT_LECTURE
from tests.handbook import HANDBOOK as FOLDER
from tests.handbook import commands, files, text_of
from tests.site.conftest import ROOT, small_pages

BY_NAME = {lecture.name: lecture for lecture in LECTURES}
HOMEWORKS = {work.name: work for work in (*(one.homework for one in LECTURES), *WITHOUT_LECTURE) if work}
SAMPLES = (ROOT / "solutions" / "discussions.md").read_text(encoding="utf-8")


def test_every_page_of_the_folder_is_on_the_site_and_named_on_its_first_page():
    names = {path.stem for path in FOLDER.glob("*.md")}
    assert {Path(page).stem for page in HANDBOOK} == names
    assert {name for name in names if f"({name}.md" in text_of("index")} == names - {"index"}
    assert "docs/handbook/index.md" in (ROOT / "README.md").read_text(encoding="utf-8")


# ---- the plans


def plans(text: str) -> dict[str, list[list[str]]]:
    """Heading -> rows of the plan below it, the head and its line left out."""
    found = {}
    for section in text.split("\n## ")[1:]:
        rows = [line for line in section.split("\n") if line.startswith("|")]
        if rows:
            found[section.partition("\n")[0]] = [[c.strip() for c in row[1:-1].split("|")] for row in rows[2:]]
    return found


def of_plan(heading: str, rows: list[list[str]]) -> list[str]:
    """What a plan says otherwise than the syllabus, with what it should say."""
    problems, so_far, total, total_of_homework = [], [], 0, 0
    for week, (number, lectures, minutes, homeworks, of_homework, _) in enumerate(rows[:-1], start=1):
        here = [BY_NAME[name] for name in re.findall(r"notebooks/(\w+)\.ipynb", lectures)]
        works = [HOMEWORKS[name] for name in re.findall(r"assignments/(\w+)/", homeworks)]
        links = ", ".join(f"[{one.heading}](../../notebooks/{one.name}.ipynb)" for one in here)
        links_of_homework = ", ".join(f"[{w.heading}](../../assignments/{w.name}/{w.name}.ipynb)" for w in works)
        wanted = [str(week), links, str(sum(one.minutes for one in here)), links_of_homework]
        wanted.append(str(sum(work.minutes for work in works)) if works else "")
        if wanted != [number, lectures, minutes, homeworks, of_homework]:
            problems.append(f"docs/handbook/plan.md: {heading}: the row should begin | {' | '.join(wanted)} |")
        so_far += here
        for one in here:
            early = [need for need in one.needs if LECTURES[need] not in so_far]
            problems += [f"docs/handbook/plan.md: {heading}: {one.name} comes before lecture {need}" for need in early]
        for work in works:
            of = [one for one in LECTURES if one.homework == work]
            if of and of[0] not in so_far:
                problems.append(f"docs/handbook/plan.md: {heading}: {work.name} is handed out before {of[0].name}")
        total += sum(one.minutes for one in here)
        total_of_homework += sum(work.minutes for work in works)
    if sorted(one.number for one in so_far) != [one.number for one in LECTURES if not one.is_to_come]:
        problems.append(f"docs/handbook/plan.md: {heading}: each lecture should be in it once")
    if rows[-1][2] != f"**{total}**" or rows[-1][4] != f"**{total_of_homework}**":
        problems.append(f"docs/handbook/plan.md: {heading}: the sums should be {total} and {total_of_homework}")
    return problems


def of_plans(text: str) -> list[str]:
    found = plans(text)
    problems = [problem for heading, rows in found.items() for problem in of_plan(heading, rows)]
    weeks = {heading: len(rows) - 1 for heading, rows in found.items()}
    return problems + ([] if weeks == {"14 weeks": 14, "8 weeks": 8} else [f"docs/handbook/plan.md: weeks: {weeks}"])


def test_the_plans_are_made_of_the_syllabus():
    problems = of_plans(text_of("plan"))
    assert not problems, "\n".join(problems)
    handed_out = {row[3] for row in plans(text_of("plan"))["14 weeks"]} - {""}
    assert len(handed_out) == len(HOMEWORKS), "the plan of 14 weeks says that it has all homeworks"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("| 130 |", "| 131 |", "14 weeks: the row should begin | 1 | "),
        ("| 200 | [hw0", "| 201 | [hw0", "8 weeks: the row should begin | 1 | "),
        ("[3 · Self-attention]", "[3 · Attention]", "14 weeks: the row should begin | 3 | [3 · Self-attention]"),
        ("**1530**", "**1500**", "14 weeks: the sums should be 1530 and 1985"),
        (
            "02_beyond_local.ipynb) | 70",
            "06_what_vits_see.ipynb) | 70",
            "14 weeks: 06_what_vits_see comes before lecture 5",
        ),
        ("| 70 | | | |", "| 70 | [x](../../assignments/hw2_vit/x) | | |", "hw2_vit is handed out before 05_vision"),
        ("02_beyond_local.ipynb) | 70", "x) | 70", "14 weeks: each lecture should be in it once"),
    ],
)
def test_a_plan_that_is_out_of_date_is_told_what_it_should_say(old, new, says):
    assert old in text_of("plan")
    problems = of_plans(text_of("plan").replace(old, new, 1))
    assert any(says in problem for problem in problems), problems


# ---- the room


def of_room(text: str) -> list[str]:
    """What the page on rooms says otherwise than a lecture's source."""
    problems = []
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}
    problems += [
        f"docs/handbook/room.md: has no section {one.heading}" for one in LECTURES if one.heading not in sections
    ]
    for lecture in LECTURES:
        source = (ROOT / "notebooks" / "source" / f"{lecture.name}.py").read_text(encoding="utf-8")
        section = " ".join(sections.get(lecture.heading, "").split())
        runs = re.search(r"\{reading time\}; ([^|]*?) \|", source)[1]
        wanted = f"{lecture.minutes} minutes; {runs}."
        photographs = re.search(r"^# ## (\d+) · Photographs$", source, flags=re.MULTILINE)
        if photographs:
            wanted += f" Section {photographs[1]} is on photographs."
        if f" {wanted} - " not in section:
            problems.append(f"docs/handbook/room.md: {lecture.heading} should begin: {wanted}")
        if not re.search(r"\*\*Show\*\*.*\*\*Ask\*\* Question", section):
            problems.append(f"docs/handbook/room.md: {lecture.heading}: nothing to show, or no question")
        for question in re.findall(r"Question (\d+\.\d+)", section):
            if f"# **Question {question}**" not in source:
                problems.append(f"docs/handbook/room.md: {lecture.heading}: there is no question {question}")
        for number in {
            n
            for found in re.findall(r"[Ss]ections? (\d+(?:, \d+| and \d+| to \d+)*)", section)
            for n in re.findall(r"\d+", found)
        }:
            if f"\n# ## {number} · " not in source:
                problems.append(f"docs/handbook/room.md: {lecture.heading}: there is no section {number}")
        for number in re.findall(r"section (\d+) with its knob", section):
            part = source.partition(f"\n# ## {number} · ")[2].partition("\n# ## ")[0]
            if "turn(" not in part:
                problems.append(f"docs/handbook/room.md: {lecture.heading}: section {number} has no knob")
    return problems


def test_the_page_on_rooms_says_what_the_lectures_say():
    problems = of_room(text_of("room"))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "\n110 minutes; all cells together run in under",
            "\n100 minutes; all cells together run in under",
            "3 · Self-attention should begin",
        ),
        (" Section 12 is on photographs.", "", "5 · The vision transformer should begin"),
        ("Question 8.5", "Question 8.55", "there is no question 8.55"),
        ("section 4 with its knob (shift", "section 3 with its knob (shift", "8 · Swin: section 3 has no knob"),
        ("Sections 4 to 8 can", "Sections 4 to 88 can", "13 · Scaling: there is no section 88"),
        ("\n## 8 · Swin", "\n## 8 · Swine", "has no section 8 · Swin"),
    ],
)
def test_what_is_wrong_on_the_page_on_rooms_is_named(old, new, says):
    assert old in text_of("room")
    problems = of_room(text_of("room").replace(old, new, 1))
    assert any(says in problem for problem in problems), problems


# ---- discussions


def test_the_questions_for_discussion_are_the_same_everywhere():
    questions = re.findall(r"^## (D\d+ · .*)$", text_of("discussions"), flags=re.MULTILINE)
    assert questions == re.findall(r"^## (D\d+ · .*)$", SAMPLES, flags=re.MULTILINE) and len(questions) >= 9
    lectures = re.findall(
        r"^## (D\d+) .*\n\n\*With lecture (\d+), section (\d+)", text_of("discussions"), flags=re.MULTILINE
    )
    assert len(lectures) == len(questions)
    rooms = {part.partition(" ")[0]: part for part in text_of("room").split("\n## ")[1:]}
    for question, lecture, section in lectures:
        source = (ROOT / "notebooks" / "source" / f"{LECTURES[int(lecture)].name}.py").read_text(encoding="utf-8")
        assert f"\n# ## {section} · " in source
        assert re.search(rf"\b{question}\b", rooms[lecture].partition("**Discuss**")[2])
        for heading, rows in plans(text_of("plan")).items():
            for row in rows[:-1]:
                with_lecture = f"notebooks/{LECTURES[int(lecture)].name}.ipynb" in row[1]
                assert (question in row[5].split(", ")) == with_lecture, f"{heading}: {question} in week {row[0]}"


def test_each_question_has_a_rubric_of_four_points_and_a_marked_sample_of_each_grade():
    for part in SAMPLES.split("\n## ")[1:]:
        rubric = re.findall(r"^\| (claim|reason|evidence|limit) \| .{40,} \|$", part, flags=re.MULTILINE)
        assert rubric == ["claim", "reason", "evidence", "limit"], part[:40]
        samples = part.split("\n### ")[1:]
        assert [sample.partition("\n")[0] for sample in samples] == [f"{grade} of 4" for grade in (4, 3, 2, 1, 0)]
        for sample in samples:
            assert re.search(r"^> \S", sample, flags=re.MULTILINE)
            (marking,) = re.findall(
                r"\*Marking: claim ([01]), reason ([01]), evidence ([01]), limit ([01]) = (\d)\.", sample
            )
            assert sum(map(int, marking[:4])) == int(marking[4]) == int(sample[0]), f"{part[:30]}: {sample[:6]}"


# ---- what students must not read


def secrets() -> list[str]:
    """Lines of written answers, rubrics and samples, read off their sources by a way of its own."""
    lines = []
    for topic in homework_names(ROOT):
        source = (ROOT / "solutions" / topic / f"{topic}.py").read_text(encoding="utf-8")
        for cell in re.split(r"^# %%", source, flags=re.MULTILINE):
            if ' written="' in cell.partition("\n")[0]:
                answer = cell.partition("### BEGIN SOLUTION")[2].partition("### END SOLUTION")[0]
                lines += [line.removeprefix("# ") for line in answer.split("\n")]
    for part in SAMPLES.split("\n## ")[1:]:
        lines += [line.removeprefix("> ") for line in part.split("\n") if line.startswith(("> ", "*Marking"))]
        lines += [
            line.split("|")[2] for line in part.split("\n") if re.match(r"\| (claim|reason|evidence|limit)", line)
        ]
    # What is bold, code, a formula or in quotes looks otherwise on a page: the words between such signs are looked for.
    pieces = [" ".join(piece.split()) for line in lines for piece in re.split(r"[*$`\\<>&\"']", line)]
    return [piece for piece in pieces if len(piece) >= 45]


def read(path: Path) -> str:
    """What a file says, tags and blanks left out, for `secrets` to be looked for."""
    text = path.read_bytes().decode("utf-8", errors="replace").replace("\\n", "\n")
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", text)).split())


def found_below(folder: Path, lines: list[str]) -> list[str]:
    told = [
        path for path in folder.rglob("*") if path.suffix in (".html", ".md", ".ipynb", ".js", ".txt", ".json", ".rst")
    ]
    assert told
    return [f"{path}: {line}" for path in told for text in [read(path)] for line in lines if line in text]


@pytest.fixture(scope="module")
def for_instructors(tmp_path_factory):
    """A small instructors' site."""
    folder = tmp_path_factory.mktemp("instructors") / "site"
    texts = {path: marked(text) for path, text in texts_with_answers(ROOT).items()}
    pages = small_pages(lectures=[], reference=[], for_instructors=[], not_for_students=texts)
    build_site(pages, folder, models=[])
    return folder


def test_no_line_of_an_answer_a_rubric_or_a_sample_is_on_the_students_site(site, for_instructors):
    lines = secrets()
    assert len(lines) > 300
    assert found_below(site, lines) == []
    names = {"answers", "discussions"}
    assert not [path for path in site.rglob("*") if path.parent.name == "solutions"]
    documents = re.search(r'"?docnames"?:(\[.*?\])', (site / "searchindex.js").read_text())[1]
    assert "docs/handbook/index" in json.loads(documents)
    assert not [name for name in json.loads(documents) if name.startswith("solutions/")]
    # The search would find them: on the instructors' site nearly all are there.
    there = {read(for_instructors / "solutions" / f"{name}.html") for name in names}
    missing = [line for line in lines if not any(line in text for text in there)]
    assert len(missing) < len(lines) / 50, missing


def test_what_sphinx_is_given_for_the_whole_students_site_holds_no_such_line(tmp_path):
    pages = pages_of(ROOT)
    assert not pages.not_for_students and not [name for name in pages.all() if name.startswith("solutions/")]
    write_sources(pages, tmp_path)
    assert found_below(tmp_path, secrets()) == []


def test_the_instructors_pages_say_at_their_top_that_they_are_not_for_students(for_instructors):
    assert set(pages_of(ROOT, instructor=True).not_for_students) == {"solutions/answers.md", "solutions/discussions.md"}
    for name in ("answers", "discussions"):
        article = (for_instructors / "solutions" / f"{name}.html").read_text().partition("<article")[2]
        assert NOT_FOR_STUDENTS in article[: article.index("<h2")]
    for page in for_instructors.rglob("*.html"):
        assert TITLE_OF_INSTRUCTORS in html.unescape(page.read_text()), page


def test_every_written_question_has_its_answer_and_a_marking_for_each_part(for_instructors):
    page = (for_instructors / "solutions" / "answers.html").read_text()
    text = texts_with_answers(ROOT)["solutions/answers.md"]
    questions = []
    for topic in homework_names(ROOT):
        notebook = json.loads((ROOT / "solutions" / topic / f"{topic}.ipynb").read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            graded = cell["metadata"].get("nbgrader", {})
            if cell["cell_type"] != "markdown" or not graded.get("solution"):
                continue
            name, points = graded["grade_id"], graded["points"]
            questions.append(name)
            assert f"`{name}`, {points:g} points" in text and ">Answer to <code" in page
            answer = text.partition(f"### Answer to `{name}`")[2].partition("\n## ")[0]
            asked = text.partition(f"`{name}`, {points:g} points")[2].partition("### Answer")[0]
            parts = re.findall(r"^\*\*\(([a-z])\)\*\* \*\((\d+) points?\)\*", asked, flags=re.MULTILINE)
            assert sum(int(worth) for _, worth in parts) == points, name
            assert re.findall(r"^\*\*\(([a-z])\)\*\*", answer, flags=re.MULTILINE) == [part for part, _ in parts], name
            assert len(re.findall(r"^\*Marking: ", answer, flags=re.MULTILINE)) == len(parts), name
    assert len(questions) == 9 and "(nine, one in each homework but homework 0)" in text_of("plan")


def test_neither_kind_of_site_replaces_the_other(tmp_path):
    texts = {"solutions/answers.md": "# Answers\n"}
    for marker, more in ((MARKER, texts), (MARKER_OF_INSTRUCTORS, {})):
        site = tmp_path / marker
        site.mkdir()
        (site / marker).write_text("a site")
        with pytest.raises(AuthoringError, match="no earlier site of this kind"):
            build_site(small_pages(not_for_students=more), site, models=[])


# ---- commands and machines


def test_every_command_that_the_handbook_names_is_one():
    """Whether it ends well is tried in ``tests/grading/test_handbook_commands.py``."""
    texts = [page.read_text(encoding="utf-8") for page in FOLDER.glob("*.md")]
    typed = [line for text in texts for line in commands(text)]
    said = re.findall(r"`(course [^`]*|make [^`]*)`", "\n".join(texts))
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert len(typed) >= 8 and len(said) >= 15
    for line in [*typed, *said]:
        program, *arguments = shlex.split(line)
        if program == "make":
            assert arguments[0] in targets, line
        elif program == "course" and arguments and arguments[-1] != "...":
            if len(arguments) == 1 or "--help" in arguments:  # named, or asked for its help
                arguments = [arguments[0], "--help"]
            elif "..." in arguments:
                arguments = ["train", "vit_cifar", *arguments[arguments.index("...") + 1 :]]
            try:
                _parser().parse_args(arguments)
            except SystemExit as stopped:
                assert stopped.code == 0, line


WITHOUT_UNIX = """
import contextlib, io, json, os, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
from course.cli import main
for arguments in (["doctor"], ["progress", "assignments"], ["models", "vit_cifar"]):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(arguments) == 0, said.getvalue()
os.chdir("assignments/hw0_first_check")
with open("../../solutions/hw0_first_check/hw0_first_check.ipynb", encoding="utf-8") as file:
    cells = json.load(file)["cells"]
for cell in cells:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]), globals())
from course.data import load
from course.models import create_model
from course.training import fit, recipes
images = load("two_questions", "train", size=64, device="cpu").ask("texture")
fit(create_model("vit_cifar", depth=1), images, recipes.cpu_minute.but(steps=2), progress=False)
"""


def test_what_a_reader_does_needs_nothing_that_windows_lacks():
    """An imitation: the modules that are Unix's alone cannot be imported."""
    environment = {**os.environ, "COURSE_BUDGET": "tiny", "COURSE_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "right, 1 of 1 points" in done.stdout


def test_the_files_of_the_walk_are_read_off_the_page():
    assert set(files(text_of("class"))) == {"build/rehearsal/due.toml", "build/rehearsal/roster.csv"}

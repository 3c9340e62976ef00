"""The list of lectures in ``course/syllabus.py`` is what the folders, the README and the notebooks' headers say."""

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from course.authoring import find_root
from course.authoring.reading_time import reading_minutes
from course.authoring.source import read_source
from course.plots import course_map
from course.syllabus import LECTURES, WITHOUT_LECTURE, Homework, Lecture, readme_table

LIST = "course/syllabus.py"
START = "notebooks/00_start_here.ipynb"
ROOT = find_root()
BY_NUMBER = {lecture.number: lecture for lecture in LECTURES}
WRITTEN = [lecture for lecture in LECTURES if not lecture.is_to_come]
HOMEWORKS = [*(lecture.homework for lecture in LECTURES if lecture.homework), *WITHOUT_LECTURE]


def of_files(root: Path, lectures: tuple[Lecture, ...] = LECTURES) -> list[str]:
    """Sources without a row, and rows without a source."""
    return [
        *_of_lectures(lectures, {path.stem for path in (root / "notebooks" / "source").glob("[0-9][0-9]_*.py")}),
        *_of_homeworks(lectures, {path.name for path in (root / "solutions").glob("hw[0-9]*_*") if path.is_dir()}),
    ]


def _of_lectures(lectures: tuple[Lecture, ...], sources: set[str]) -> list[str]:
    problems = []
    for name in sorted(sources - {lecture.name for lecture in lectures}):
        problems.append(f"notebooks/source/{name}.py is in no row of LECTURES in {LIST}: add one")
    for lecture in lectures:
        path = f"notebooks/source/{lecture.name}.py"
        if lecture.is_to_come and lecture.name in sources:
            problems.append(f"{path} exists, but its row in {LIST} has no `minutes`: give it `about` and `minutes`")
        if not lecture.is_to_come and lecture.name not in sources:
            problems.append(
                f"{LIST} gives {lecture.name} minutes, but {path} does not exist: write it, or take them out"
            )
    return problems


def _of_homeworks(lectures: tuple[Lecture, ...], folders: set[str]) -> list[str]:
    listed = {work.name for work in (*(lecture.homework for lecture in lectures), *WITHOUT_LECTURE) if work}
    return [
        *(f"solutions/{name} is in no row of LECTURES in {LIST}: add it" for name in sorted(folders - listed)),
        *(f"{LIST} lists {name}, but solutions/{name} does not exist" for name in sorted(listed - folders)),
    ]


def of_readme(text: str, lectures: tuple[Lecture, ...] = LECTURES) -> list[str]:
    wanted = readme_table(lectures)
    found = re.search(r"^\| lecture \|.*\n(?:\|.*\n?)*", text, flags=re.MULTILINE)
    if found and found[0].rstrip("\n") == wanted:
        return []
    return [f"README.md: the table of lectures is not what {LIST} says. It should be\n{wanted}"]


def header(source: str) -> list[str]:
    """The lines of the first cell, as Markdown."""
    cell = source.split("\n# %%")[0].split("\n")[1:]
    return [line.removeprefix("#").strip() for line in cell]


def of_header(lecture: Lecture, source: str) -> list[str]:
    """What the first cell of a lecture says otherwise than its row, and what it should say."""
    lines = header(source)
    rows = {row[1]: row[2] for line in lines if (row := re.fullmatch(r"\| \*\*(.+?)\*\* \| (.+) \|", line))}
    problems = []
    if lines[0].partition(": ")[0] != f"# {lecture.heading}":
        problems.append(f"the heading should begin with `# {lecture.heading}`")
    around = [
        _link(BY_NUMBER.get(lecture.number - 1)),
        f"**{lecture.heading}**",
        _link(BY_NUMBER.get(lecture.number + 1)),
    ]
    wanted = " · ".join(part for part in around if part)
    if rows.get("Before · after") != wanted:
        problems.append(f"the row `Before · after` should say `{wanted}`")
    if lecture.homework and not rows.get("Homework", "").startswith(_homework_link(lecture.homework)):
        problems.append(f"the row `Homework` should begin with `{_homework_link(lecture.homework)}`")
    known = {_link(other) for other in LECTURES} | {_homework_link(work) for work in HOMEWORKS}
    for link in re.findall(r"\[(?:hw)?\d+ · [^\]]+\]\([^)]+\)", "\n".join(lines)):
        if link not in known:
            problems.append(f"`{link}` is no lecture or homework of {LIST}")
    for number in map(int, re.findall(r"\[(\d+) · ", rows.get("You need", ""))):
        if number not in _before(lecture):
            problems.append(f"it needs lecture {number}, to which no arrow (`needs`) of {LIST} leads back")
    return [f"notebooks/source/{lecture.name}.py: {problem}" for problem in problems]


def _link(lecture: Lecture | None) -> str:
    """As a header names another lecture: a link, or its name alone as long as it is to come."""
    if lecture is None or lecture.is_to_come:
        return lecture.heading if lecture else ""
    return f"[{lecture.heading}]({lecture.name}.ipynb)"


def _homework_link(work: Homework) -> str:
    return f"[{work.heading}](../assignments/{work.name}/{work.name}.ipynb)"


def _before(lecture: Lecture) -> set[int]:
    """The numbers of all lectures it builds on, over any number of arrows."""
    return set(lecture.needs).union(*(_before(BY_NUMBER[number]) for number in lecture.needs))


def test_the_list_is_numbered_through_and_lectures_build_on_earlier_ones():
    assert [lecture.number for lecture in LECTURES] == list(range(len(LECTURES)))
    numbers = [work.number for work in HOMEWORKS]
    assert len(set(numbers)) == len(numbers), "commands know a homework by its number: each stands there once"
    for lecture in LECTURES:
        assert lecture.needs or lecture.number == 0, (
            f"{LIST}: {lecture.name}: say in `needs` which lectures it builds on"
        )
        assert all(needed < lecture.number for needed in lecture.needs), (
            f"{LIST}: {lecture.name}: `needs` names a later lecture"
        )
        assert bool(lecture.about) != lecture.is_to_come, (
            f"{LIST}: {lecture.name} needs `about` and `minutes`, or neither"
        )
        assert not (lecture.homework and lecture.is_to_come), f"{lecture.name}: a homework, but no lecture"


def test_every_source_is_in_the_list_and_every_row_that_is_not_to_come_has_a_source():
    problems = of_files(ROOT)
    assert not problems, "\n".join(problems)


def test_the_readme_has_the_table_of_the_list():
    problems = of_readme((ROOT / "README.md").read_text(encoding="utf-8"))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("lecture", WRITTEN, ids=lambda lecture: lecture.name)
def test_the_header_of_a_lecture_says_what_the_list_says(lecture):
    source = (ROOT / "notebooks" / "source" / f"{lecture.name}.py").read_text(encoding="utf-8")
    problems = of_header(lecture, source)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("lecture", WRITTEN, ids=lambda lecture: lecture.name)
def test_the_minutes_of_a_lecture_are_counted(lecture):
    minutes = reading_minutes(read_source(ROOT / "notebooks" / "source" / f"{lecture.name}.py", ROOT))
    assert lecture.minutes == minutes, f"{LIST}: {lecture.name} takes a reader {minutes} minutes"


@pytest.mark.parametrize("work", HOMEWORKS, ids=lambda work: work.name)
def test_the_heading_of_a_homework_has_its_number_and_its_title(work):
    source = (ROOT / "solutions" / work.name / f"{work.name}.py").read_text(encoding="utf-8")
    number, _, title = header(source)[0].partition(" · ")
    assert number == f"# Homework {work.number}" and work.title.lower() in title.lower()


def test_a_source_or_a_row_alone_is_named_with_the_file_to_edit(tmp_path):
    for folder in ("notebooks/source", "solutions"):
        (tmp_path / folder).mkdir(parents=True)
    for lecture in WRITTEN:
        shutil.copy(ROOT / "notebooks" / "source" / f"{lecture.name}.py", tmp_path / "notebooks" / "source")
    for work in HOMEWORKS:
        (tmp_path / "solutions" / work.name).mkdir()
    assert of_files(tmp_path) == []
    (tmp_path / "notebooks" / "source" / "17_new.py").touch()
    later = Lecture("18_later", "Later", box="later", on_map=(5, 0.5), needs=(16,))
    (tmp_path / "notebooks" / "source" / "18_later.py").touch()
    (tmp_path / "notebooks" / "source" / "08_swin.py").unlink()
    (tmp_path / "solutions" / "hw999_new").mkdir()
    (tmp_path / "solutions" / "hw6_vivit").rmdir()
    assert of_files(tmp_path, (*LECTURES, later)) == [
        "notebooks/source/17_new.py is in no row of LECTURES in course/syllabus.py: add one",
        "course/syllabus.py gives 08_swin minutes, but notebooks/source/08_swin.py does not exist: write it, or take "
        "them out",
        "notebooks/source/18_later.py exists, but its row in course/syllabus.py has no `minutes`: give it `about` "
        "and `minutes`",
        "solutions/hw999_new is in no row of LECTURES in course/syllabus.py: add it",
        "course/syllabus.py lists hw6_vivit, but solutions/hw6_vivit does not exist",
    ]


def test_a_readme_with_another_row_is_told_the_whole_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    new = Lecture("17_new", "New", box="new", on_map=(5, 0.5), needs=(16,), about="something new", minutes=60)
    (problem,) = of_readme(text, (*LECTURES, new))
    assert "course/syllabus.py" in problem and problem.endswith("\n| `17_new` | | something new | 60 |")
    assert of_readme(text.replace("+ 210 |", "+ 211 |")) and of_readme("# Nothing")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("# # 11 · MetaFormer:", "# # 11 · Metaformer:", "the heading should begin with `# 11 · MetaFormer`"),
        (
            "**11 · MetaFormer** · [12",
            "**11 · MetaFormer** · [13",
            "the row `Before · after` should say `[10 · All-MLP](10_all_mlp.ipynb) · **11 · MetaFormer** · [12 · ConvNets",
        ),
        ("[hw5 · PoolFormer](", "[hw5 · Pools](", "the row `Homework` should begin with `[hw5 · PoolFormer](../assign"),
        ("[3 · Self-attention](", "[3 · Attention](", "`[3 · Attention](03_self_attention.ipynb)` is no lecture"),
        ("[3 · Self-attention](03_self_attention", "[14 · Video](14_video", "it needs lecture 14, to which no arrow"),
    ],
)
def test_what_a_header_says_otherwise_is_named_with_what_it_should_say(old, new, says):
    lecture = BY_NUMBER[11]
    source = (ROOT / "notebooks" / "source" / f"{lecture.name}.py").read_text(encoding="utf-8")
    assert any(says in problem for problem in of_header(lecture, source.replace(old, new, 1)))


def test_a_lecture_that_is_to_come_is_named_without_a_link():
    assert _link(replace(BY_NUMBER[12], minutes=0)) == "12 · ConvNets strike back"
    assert _link(BY_NUMBER[12]) == "[12 · ConvNets strike back](12_convnets_strike_back.ipynb)"


def of_map(notebook: dict, wanted: str) -> list[str]:
    """Whether lecture 0 shows the map as it is drawn now: its words say which lectures there are and which are here."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    shown = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    if f'alt="{html.escape(wanted)}"' in shown:
        return []
    return [f"{START} shows an older map of the course: run `course build notebooks/source/{LECTURES[0].name}.py`"]


def test_lecture_0_shows_the_map_with_every_lecture_that_is_here():
    problems = of_map(json.loads((ROOT / START).read_text(encoding="utf-8")), course_map(ROOT).alt)
    assert not problems, problems


def test_a_map_that_was_not_drawn_anew_is_named_with_the_command():
    old = {"cells": [{"outputs": [{"data": {"text/html": ["<img ", 'alt="the 17 lectures">']}}]}, {}]}
    assert of_map(old, "the 17 lectures") == []
    assert of_map(old, "the 18 lectures") == [
        "notebooks/00_start_here.ipynb shows an older map of the course: run `course build "
        "notebooks/source/00_start_here.py`"
    ]


def test_each_box_of_the_map_has_a_place_of_its_own():
    at = {}
    for lecture in LECTURES:
        other = at.setdefault(lecture.on_map, lecture.name)
        assert other == lecture.name, f"{lecture.name} lies on {other} on the map: give it another `on_map` in {LIST}"

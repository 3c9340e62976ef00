"""The page that says where each system and each statement of the decks is taught, built and proved.

``notebooks/source/coverage_systems.csv`` has a line for each row of ``course/models/references.csv``,
``coverage_topics.csv`` one for each statement, table, figure or discussion of the decks that the course covers.
``course build`` makes ``notebooks/COVERAGE.md`` of both and names each section and each test that is not there.
"""

import ast
import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from course.authoring.files import LectureFiles, all_homeworks, all_lectures
from course.syllabus import LECTURES

PAGE = "COVERAGE.md"
SYSTEMS, TOPICS = "coverage_systems.csv", "coverage_topics.csv"
REFERENCES = "course/models/references.csv"
PROMISED = ("core", "high", "medium")  # priorities whose rows are taught, built and proved, all of them
DECKS = {
    "S0": "*ConvNets with non-local operations* and transformers, NCTU, after the CVPR 2022 tutorial *Beyond CNN*",
    "S1": "*Application of transformers (ViT and Swin)*, AIKU, Korea University",
    "S2": "*Advanced topics in computer vision*, University of Texas at Austin, 2023",
    "S3": "A talk on *An image is worth 16 × 16 words*",
    "S4": "*An overview of transformers*: language, vision, video",
}

_HEADING = re.compile(r"^# ## (\d+) · (.+?)(?: [●○]+)?$", re.MULTILINE)
_SECTION = re.compile(r"(\d\d|hw\d+) §(\d+)")


@dataclass(frozen=True)
class System:
    """A row of the table of references with what is said of it.

    Args:
        row: its number in ``references.csv``.
        taught: sections, as in ``("05 §6", "hw2 §5")``.
        implemented: registered models, and functions or classes by their full names, ours or a kept library's.
        reason: of a row of low priority that is mentioned only: why that is enough.
    """

    row: int
    name: str
    priority: str
    taught: tuple[str, ...]
    implemented: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Topic:
    """A statement, table, figure or discussion of a deck: the sections that have it, or the reason why none has."""

    decks: str
    topic: str
    kind: str
    taught: tuple[str, ...]
    reason: str


class Coverage:
    """All of it, read from the repository at `root`."""

    def __init__(self, root: Path):
        self.root = root
        self.path = root / "notebooks" / PAGE
        self._sources = root / "notebooks" / "source"

    @cached_property
    def systems(self) -> list[System]:
        said = {int(line["row"]): line for line in _lines(self._sources / SYSTEMS)}
        systems = []
        for row in _lines(self.root / REFERENCES):
            line = said.get(int(row["row"]), {})
            models = _parts(row["model"]) + _parts(line.get("implemented", ""))
            sections, reason = _parts(line.get("taught", "")), line.get("reason", "")
            systems.append(System(int(row["row"]), row["name"], row["priority"], sections, models, reason))
        return systems

    @cached_property
    def topics(self) -> list[Topic]:
        return [
            Topic(line["decks"], line["topic"], line["kind"], _parts(line["taught"]), line["reason"])
            for line in _lines(self._sources / TOPICS)
        ]

    @cached_property
    def sections(self) -> dict[str, str]:
        """``"05 §6"`` -> its heading, of all lectures and homeworks that are there."""
        found = {}
        for work in [*all_lectures(self.root), *all_homeworks(self.root)]:
            label = work.name[:2] if isinstance(work, LectureFiles) else work.name.partition("_")[0]
            for number, title in _HEADING.findall(work.source.read_text(encoding="utf-8")):
                found[f"{label} §{number}"] = title
        return found

    @cached_property
    def proofs(self) -> dict[int, list[str]]:
        """Row -> the tests that carry ``@proves(row)``, as pytest names them; found without running any."""
        found: dict[int, list[str]] = {}
        for path in sorted((self.root / "tests").rglob("test_*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                for row in _proved_by(node):
                    found.setdefault(row, []).append(f"{path.relative_to(self.root).as_posix()}::{node.name}")
        return found

    def problems(self) -> list[str]:
        """One line for each row that is not what is promised, and for each name that leads nowhere."""
        known, said = {system.row for system in self.systems}, [int(s["row"]) for s in _lines(self._sources / SYSTEMS)]
        problems = [f"{row}: stands twice" for row, times in Counter(said).items() if times > 1]
        problems += [f"{row}: no such row in {REFERENCES}" for row in said if row not in known]
        problems += [f"{system.row}: {lacks}" for system in self.systems for lacks in self._lacking(system)]
        problems = [f"notebooks/source/{SYSTEMS}: row {line}" for line in problems]
        problems += [
            f"{REFERENCES}: has no row {row}, which {', '.join(self.proofs[row])} proves"
            for row in self.proofs
            if row not in known
        ]
        for topic in self.topics:
            wrong = [f"no section {section}" for section in self._unknown(topic.taught)]
            wrong += ["neither a section nor a reason"] if not (topic.taught or topic.reason) else []
            problems += [f'notebooks/source/{TOPICS}: "{topic.topic}": {line}' for line in wrong]
        return problems

    def is_written(self) -> bool:
        """Whether the page lies there as these lists have it."""
        return self.path.is_file() and self.path.read_text(encoding="utf-8") == self.page()

    def page(self) -> str:
        """The page as Markdown."""
        whole = sum(self.is_whole(system) for system in self.systems)
        taught = sum(bool(self._there(topic.taught)) for topic in self.topics)
        lines = [
            "# What the course covers",
            "",
            f"**{len(self.systems)} systems**, {whole} of them taught, built and proved by a test; "
            f"**{len(self.topics)} statements, tables, figures and discussions** of five lecture decks, {taught} of them "
            "taught. `course build` writes this page and checks that each section and each test is there.",
            "",
            *(f"* {code}: {title}" for code, title in DECKS.items()),
            "",
            "## Systems",
            "",
            "| | System | Taught | Built | Proved |",
            "|-|-|-|-|-|",
            *map(self._system_line, self.systems),
            "",
            "## Statements of the decks",
            "",
            "| Decks | What it says or shows | Where |",
            "|-|-|-|",
        ]
        for topic in self.topics:
            where = self._links(topic.taught)
            lines.append(f"| {topic.decks} | {_cell(topic.topic)} ({topic.kind}) | {_said(where, topic.reason)} |")
        return "\n".join(lines) + "\n"

    def _lacking(self, system: System) -> Iterable[str]:
        for section in self._unknown(system.taught):
            yield f"no section {section}; the headings of its source say which there are"
        if self._is_to_come(system.taught):
            return
        if system.priority in PROMISED or not system.reason:
            lacks = "" if system.priority in PROMISED else " and gives no reason why it is only mentioned"
            if not system.taught:
                yield f"{system.name} is taught nowhere{lacks}"
            if not system.implemented:
                yield f"{system.name} is not built{lacks}"
            if system.row not in self.proofs:
                yield f"no test proves {system.name}{lacks}: mark one with @proves({system.row})"
        elif not system.taught:
            yield f"{system.name} is mentioned nowhere: name the section"

    def is_whole(self, system: System) -> bool:
        """Whether it is taught in a lecture that is there, built, and proved by a test."""
        return bool(self._there(system.taught) and system.implemented and system.row in self.proofs)

    def _there(self, sections: Iterable[str]) -> list[str]:
        return [section for section in sections if section in self.sections]

    def _is_to_come(self, sections: Iterable[str]) -> bool:
        """Whether a lecture that is still to come has it."""
        labels = {f"{lecture.number:02}" for lecture in LECTURES if lecture.is_to_come}
        return any(section.partition(" ")[0] in labels for section in sections)

    def _unknown(self, sections: Iterable[str]) -> list[str]:
        return [
            section
            for section in sections
            if section not in self.sections and not (_SECTION.fullmatch(section) and self._is_to_come([section]))
        ]

    def _links(self, sections: Iterable[str]) -> str:
        return ", ".join(
            f'[{section}]({self._file(section)} "{_cell(self.sections[section])}")'
            if section in self.sections
            else f"{section} (to come)"
            for section in sections
        )

    def _file(self, section: str) -> str:
        label = section.partition(" ")[0]
        if label.isdigit():
            return next(f"{work.name}.ipynb" for work in all_lectures(self.root) if work.name.startswith(label))
        name = next(work.name for work in all_homeworks(self.root) if work.name.startswith(f"{label}_"))
        return f"../assignments/{name}/{name}.ipynb"

    def _system_line(self, system: System) -> str:
        built = ", ".join(f"`{name}`" for name in system.implemented)
        tests = self.proofs.get(system.row, [])
        proved = ", ".join(f"`{test.removeprefix('tests/')}`" for test in tests[:2])  # a student's tree has no tests
        more = f" and {len(tests) - 2} more" if len(tests) > 2 else ""
        cells = (
            str(system.row),
            _cell(system.name),
            _said(self._links(system.taught), system.reason),
            built,
            proved + more,
        )
        return f"| {' | '.join(cells)} |"


def page_problems(root: Path) -> list[str]:
    """What is wrong with the two lists, or that the page is not made of them; nothing where there are no lists."""
    if not is_kept(root):
        return []
    coverage = Coverage(root)
    problems = coverage.problems()
    if not problems and not coverage.is_written():
        problems.append(f"notebooks/{PAGE}: not what its lists in notebooks/source say; run `course build`")
    return problems


def is_kept(root: Path) -> bool:
    """Whether this repository lists what it covers."""
    return (root / "notebooks" / "source" / SYSTEMS).is_file()


def _proved_by(node: ast.AST) -> list[int]:
    if not isinstance(node, ast.FunctionDef):
        return []
    marks = [mark for mark in node.decorator_list if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "proves"]
    return [ast.literal_eval(row) for mark in marks for row in mark.args]


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"\s*;\s*", text.strip()) if part)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace('"', "”")


def _said(where: str, reason: str) -> str:
    return f"{where}{': ' if where and reason else ''}{_cell(reason)}"

"""Which files of the repository become pages of the site, and the folder of sources that Sphinx reads."""

import html
import importlib.util
import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from course.authoring import leaks
from course.authoring.files import all_homeworks, all_lectures
from course.authoring.repository import AuthoringError
from course.site.answers import written_answers
from course.syllabus import LECTURES, WITHOUT_LECTURE, Homework

HERE = Path(__file__).parent
BRANCH = "main"
REFERENCE = ("notebooks/glossary.md", "notebooks/COVERAGE.md")
HANDBOOK = tuple(
    f"docs/handbook/{name}.md"
    for name in ("index", "plan", "room", "class", "discussions", "project", "integrity", "machines")
)
# Written for authors, who read there what answers and mistakes look like: on them only whole answers are looked for.
FOR_INSTRUCTORS = ("README.md", "docs/statuses.md", "docs/not_promised.md", "docs/authoring.md")
FOR_INSTRUCTORS += ("CONTRIBUTING.md", "CHANGELOG.md")
IN_THE_SIDEBAR = {"README": "What the repository holds <README>"}  # where the page's own title would not tell

NOT_FOR_STUDENTS = "Not for students: this page holds answers. Do not publish the folder that it lies in."

_LINK = re.compile(r"(?<!!)\[([^\]\[]*)\]\(([^()\s#:]+)(#[^()\s]*)?(?: \"[^\"]*\")?\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\(([^()\s:]+)\)")
_REPOSITORY = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")


@dataclass(frozen=True)
class Pages:
    """The pages of a site, as paths in the repository: ``notebooks/03_self_attention.ipynb``.

    Attributes:
        root: of the repository.
        lectures, homeworks: notebooks. reference, handbook, for_instructors: texts.
        repository: its address on GitHub, or nothing; then nothing links there.
        not_for_students: path -> text of the pages with answers; none on the students' site.
    """

    root: Path
    lectures: list[str]
    homeworks: list[str]
    reference: list[str] = field(default_factory=lambda: list(REFERENCE))
    handbook: list[str] = field(default_factory=lambda: list(HANDBOOK))
    for_instructors: list[str] = field(default_factory=lambda: list(FOR_INSTRUCTORS))
    repository: str = ""
    not_for_students: dict[str, str] = field(default_factory=dict)

    def all(self) -> list[str]:
        """Those that are files of the repository and may be read by everybody."""
        return [*self.lectures, *self.homeworks, *self.reference, *self.handbook, *self.for_instructors]


def pages_of(root: Path, instructor: bool = False) -> Pages:
    """All pages of the students' site, or of the instructors', which has those with answers besides.

    Raises:
        AuthoringError: a file is missing, or the setting in pyproject.toml is no address.
    """
    lectures = [f"notebooks/{lecture.name}.ipynb" for lecture in all_lectures(root)]
    homeworks = [f"assignments/{work.name}/{work.name}.ipynb" for work in all_homeworks(root)]
    more = {path: marked(text) for path, text in texts_with_answers(root).items()} if instructor else {}
    pages = Pages(root, lectures, homeworks, repository=_repository(root), not_for_students=more)
    missing = [name for name in pages.all() if not (root / name).is_file()]
    if missing:
        raise AuthoringError(*(f"{name}: missing, `course build` writes the notebooks" for name in missing))
    return pages


def texts_with_answers(root: Path) -> dict[str, str]:
    """Path on the instructors' site -> Markdown: what no student may read before the work is handed in."""
    samples = "solutions/discussions.md"
    return {
        "solutions/answers.md": written_answers(root),
        samples: (root / samples).read_text(encoding="utf-8"),
    }


def marked(text: str) -> str:
    """A page with answers, with the sentence that says so below its title."""
    title, _, rest = text.partition("\n")
    return f"{title}\n\n```{{warning}}\n{NOT_FOR_STUDENTS}\n```\n{rest}"


def _repository(root: Path) -> str:
    setting = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address = setting.get("tool", {}).get("course", {}).get("repository", "")
    if address and not _REPOSITORY.fullmatch(address):
        raise AuthoringError(
            f"pyproject.toml: repository = {address!r} under [tool.course] should be https://github.com/OWNER/NAME, "
            "or empty: then the site has no buttons for Colab, Kaggle and Binder"
        )
    return address


def write_sources(pages: Pages, folder: Path) -> None:
    """Write to `folder`, which is empty, all that Sphinx reads except the pages of models.

    Raises:
        AuthoringError: a page holds an answer.
    """
    problems = _answers_in(pages)
    if problems:
        raise AuthoringError("no site is written, because students would read answers:", *problems)
    known = {*pages.all(), *pages.not_for_students, "models/index.md"}
    for name in pages.all():
        text = (pages.root / name).read_text(encoding="utf-8")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".ipynb"):
            notebook = json.loads(text)
            for cell in notebook["cells"]:
                if cell["cell_type"] == "markdown":
                    _renew(cell, with_links(_source(cell), name, known, pages))
            notebook["cells"].insert(1, _opening_line(name, pages))
            target.write_text(json.dumps(notebook, ensure_ascii=False), encoding="utf-8")
        else:
            target.write_text(with_links(text, name, known, pages), encoding="utf-8")
            for image in _IMAGE.findall(text):
                there = os.path.normpath(Path(name).parent / image)
                (folder / there).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(pages.root / there, folder / there)
    for name, text in pages.not_for_students.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(with_links(text, name, known, pages), encoding="utf-8")
    images = pages.root / "notebooks" / "images"
    if images.is_dir():
        shutil.copytree(images, folder / "notebooks" / "images", dirs_exist_ok=True)
    (folder / "index.md").write_text(with_links(_index(pages), "index.md", known, pages), encoding="utf-8")
    shutil.copy2(HERE / "conf.py", folder)
    static = folder / "_static"
    static.mkdir()
    for name in ("style.css", "favicon.svg"):
        shutil.copy2(HERE / name, static)
    _copy_mathjax(static / "mathjax")


def write_downloads(pages: Pages, folder: Path) -> None:
    """Put the notebooks, as they are in the repository, and the check data beside their pages."""
    for name in [*pages.lectures, *pages.homeworks]:
        shutil.copy2(pages.root / name, folder / name)
        checks = pages.root / Path(name).parent / "checks.safetensors"
        if checks.is_file():
            shutil.copy2(checks, (folder / name).parent)


def with_links(text: str, page: str, known: Iterable[str], pages: Pages) -> str:
    """`text` in which links to files without a page lead to the repository, or are plain words where that has no address."""

    def renewed(link: re.Match) -> str:
        words, target, fragment = link[1], link[2], link[3] or ""
        there = os.path.normpath(PurePosixPath(page).parent / target)
        if there in known or not (pages.root / there).exists():
            return link[0]  # what exists nowhere, Sphinx names
        return f"[{words}]({pages.repository}/blob/{BRANCH}/{there}{fragment})" if pages.repository else words

    fenced = re.split(r"(^ *```.*?^ *```\s*$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if i % 2 else _LINK.sub(renewed, part) for i, part in enumerate(fenced))


def links_to_open(name: str, repository: str) -> dict[str, str]:
    """Where a notebook can be opened without installing anything: label and address of each."""
    found = _REPOSITORY.fullmatch(repository)
    if not found:
        return {}
    blob, path = f"{found[1]}/blob/{BRANCH}/{name}", quote(name, safe="")
    return {
        "Colab": f"https://colab.research.google.com/github/{blob}",
        "Kaggle": f"https://www.kaggle.com/kernels/welcome?src=https://github.com/{blob}",
        "Binder": f"https://mybinder.org/v2/gh/{found[1]}/{BRANCH}?labpath={path}",
    }


def _opening_line(name: str, pages: Pages) -> dict:
    """The cell below the title: the notebook to download, its check data, and where it opens."""
    file = PurePosixPath(name)
    links = [f'<a href="{file.name}" download>Download the notebook</a>']
    if (pages.root / file.parent / "checks.safetensors").is_file():
        links.append('<a href="checks.safetensors" download>its check data</a> (into the same folder)')
    links += [
        f'<a href="{html.escape(address)}">Open in {label}</a>'
        for label, address in links_to_open(name, pages.repository).items()
    ]
    source = f'<p class="open-notebook">{" · ".join(links)}</p>'
    return {"cell_type": "markdown", "id": "open-notebook", "metadata": {}, "source": source}


def _index(pages: Pages) -> str:
    """The first page, with the lectures and homeworks as they stand in `course/syllabus.py`."""
    there = {Path(name).stem: name for name in [*pages.lectures, *pages.homeworks]}

    def link(stem: str, words: str) -> str:
        return f"[{words}]({there[stem]})" if stem in there else ""

    def homework(work: Homework | None) -> str:
        return link(work.name, work.heading) if work else ""

    rows = [
        f"| {link(lecture.name, lecture.heading)} | {homework(lecture.homework)} | {lecture.about} |"
        for lecture in LECTURES
        if lecture.name in there
    ]
    rows += [f"| | {homework(work)} | |" for work in WITHOUT_LECTURE if work.name in there]
    text = (HERE / "index.md").read_text(encoding="utf-8")
    for title, names in {
        "lectures": pages.lectures,
        "homeworks": pages.homeworks,
        "reference": [*pages.reference, "models/index.md"],
        "handbook": pages.handbook,
        "for_instructors": pages.for_instructors,
    }.items():
        text = text.replace(f"{{{title}}}", "\n".join(map(_in_the_sidebar, names)))
    if pages.not_for_students:
        entries = "\n".join(map(_in_the_sidebar, pages.not_for_students))
        text += f"\n```{{toctree}}\n:hidden:\n:caption: Not for students\n\n{entries}\n```\n"
    return text.replace("{table}", "\n".join(["| lecture | homework | you build or meet |", "|---|---|---|", *rows]))


def _in_the_sidebar(name: str) -> str:
    stem = name.rpartition(".")[0]
    return IN_THE_SIDEBAR.get(stem, stem)


def _answers_in(pages: Pages) -> list[str]:
    secrets = leaks.secrets_in_tree(pages.root / "solutions")
    problems = []
    for name in pages.all():
        look = leaks.find_in_assignment if name in pages.homeworks else leaks.find_in_other_file
        if name in (*pages.for_instructors, *pages.handbook):
            look = leaks.find_whole
        problems += [f"{name}: {found}" for found in look(pages.root / name, secrets)]
    return problems


def _copy_mathjax(folder: Path) -> None:
    """What sets formulas, with its fonts: the site fetches neither from the network."""
    package = importlib.util.find_spec("mathjax")
    if package is None:
        raise AuthoringError("the package that sets formulas is missing: pip install -e '.[site]', or run `make site`")
    mathjax = Path(package.submodule_search_locations[0], "static", "mathjax")
    folder.mkdir()
    shutil.copy2(mathjax / "LICENSE", folder)
    shutil.copy2(mathjax / "es5" / "tex-chtml.js", folder)
    fonts = Path("output", "chtml", "fonts", "woff-v2")
    shutil.copytree(mathjax / "es5" / fonts, folder / fonts)


def _source(cell: dict) -> str:
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def _renew(cell: dict, text: str) -> None:
    cell["source"] = text

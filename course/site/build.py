"""``course site``: from the repository to a folder of HTML that is whole or not there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from course.authoring.repository import AuthoringError, find_root
from course.remembered import Memory
from course.site.look import faults_of
from course.site.model_pages import write_model_pages
from course.site.pages import Pages, pages_of, write_downloads, write_sources
from course.steps import Step, Steps, silent

# What may be replaced: nothing but an earlier site of the same kind.
MARKER = ".course-site"
MARKER_OF_INSTRUCTORS = ".course-site-with-answers"
TITLE_OF_INSTRUCTORS = "Instructors' copy, with answers: not for students"
_READ = re.compile(r"^(reading sources|writing output)\.\.\. \[ *(\d+)%\]")


def site_command(
    out: Path | None = None, steps: Steps | None = None, memory: bool = False, instructor: bool = False
) -> int:
    """``course site [OUT] [--instructor]`` for a terminal. Returns 0, or 1 if nothing was written."""
    step, say = (steps, steps.say) if steps else (silent, print)
    try:
        root = find_root()
        target = Path(out) if out else root / "build" / ("site-instructor" if instructor else "site")
        build_site(pages_of(root, instructor), target, step=step, memory=Memory(root) if memory else None)
    except (AuthoringError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    where = "keep it to yourself, it holds the answers" if instructor else "or put the folder on any web server"
    say(f"The site is in {target}: open {target / 'index.html'}, {where}.")
    return 0


def build_site(
    pages: Pages, out: Path, *, models: list[str] | None = None, step: Step = silent, memory: Memory | None = None
) -> None:
    """Write the site to `out`, a new or empty folder or an earlier site, which is replaced when the new one is sound.

    Args:
        models: those with a page; None: all. memory: where their pages are kept from one time to the next.

    Raises:
        AuthoringError: nothing was written; a line for each problem, with its file.
    """
    out = out.resolve()
    marker = MARKER_OF_INSTRUCTORS if pages.not_for_students else MARKER
    if out.exists() and not (out / marker).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise AuthoringError(f"{out} is not empty and no earlier site of this kind: empty it, or give another folder")
    work = out.with_name(f".{out.name}.partial-{os.getpid()}")
    source, site = work / "source", work / "site"
    try:
        source.mkdir(parents=True)
        step("looking for answers in what students will read")
        write_sources(pages, source)
        names = models
        if names is None:
            from course.models import list_models

            names = list_models()
        write_model_pages(source / "models", names, step, memory, processes=2 if models is None else 1)
        _run_sphinx(source, site, pages.root, step, TITLE_OF_INSTRUCTORS if pages.not_for_students else "")
        for template in (site / "_static").glob("*.html"):  # the theme's, which nobody opens
            template.unlink()
        write_downloads(pages, site)
        step("following every link")
        faults = faults_of(site)
        if faults:
            raise AuthoringError("no site is written, because:", *faults)
        (site / marker).write_text("written by `course site`, which may replace this folder\n", encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        os.replace(site, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run_sphinx(source: Path, site: Path, root: Path, step: Step, title: str) -> None:
    """Raises AuthoringError with what Sphinx warns of, each with its file in the repository.

    `title`: stands on every page in place of the course's; ``""``: that stays.
    """
    doctrees = source.parent / "doctrees"
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-j", "2", "--no-color", "-d", doctrees, source, site]
    if title:
        command[-2:-2] = ["-D", f"html_title={title}"]
    warnings = source.parent / "warnings.txt"
    step("starting Sphinx")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    last: list[str] = []
    with (
        warnings.open("w", encoding="utf-8") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment) as sphinx,
    ):
        for line in sphinx.stdout:
            last = [*last[-3:], line.rstrip()]
            found = _READ.match(line)
            if found:
                step(
                    {"reading sources": "reading pages", "writing output": "writing pages"}[found[1]],
                    int(found[2]),
                    100,
                )
    said = [line for line in warnings.read_text(encoding="utf-8").splitlines() if line.strip()]
    said = [line.replace(f"{source}{os.sep}", "").replace(str(source), str(root)) for line in said]
    if said or sphinx.returncode:
        raise AuthoringError("no site is written, because Sphinx says:", *(said or last))

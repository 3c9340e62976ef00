"""``course slides``: which lectures, and where their decks go."""

import sys
from pathlib import Path

from course.atomic import write_atomically
from course.authoring.files import LectureFiles, all_lectures
from course.authoring.notebooks import read_notebook
from course.authoring.repository import AuthoringError, find_root
from course.slides.deck import deck_html
from course.slides.split import slides_of
from course.steps import Steps, silent


def slides_command(
    names: list[str], out: Path | None = None, steps: Steps | None = None, root: Path | None = None
) -> int:
    """``course slides [NN ...]`` for a terminal. Returns 0, or 1 if something could not be made."""
    step, say = (steps, steps.say) if steps else (silent, print)
    try:
        root = root or find_root()
        lectures = chosen(names, root)
        folder = Path(out) if out else root / "build" / "slides"
        folder.mkdir(parents=True, exist_ok=True)
        for number, lecture in enumerate(lectures, start=1):
            step(lecture.name, number, len(lectures))
            make(lecture, folder)
    except (AuthoringError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    made = folder / f"{lectures[0].name}.html" if len(lectures) == 1 else folder
    say(
        f"Slides: {made}. In a browser, S opens the speaker's notes, O the overview; ?print-pdf behind the address prints."
    )
    return 0


def chosen(names: list[str], root: Path) -> list[LectureFiles]:
    """Lectures by number or name; all without one. Raises AuthoringError with the names there are."""
    lectures = all_lectures(root)
    known = {
        key: lecture for lecture in lectures for key in (lecture.name, lecture.name[:2], str(int(lecture.name[:2])))
    }
    unknown = [name for name in names if name not in known]
    if unknown:
        there = ", ".join(lecture.name for lecture in lectures)
        raise AuthoringError(f"there is no lecture {', '.join(map(repr, unknown))}; there is {there}")
    return [known[name] for name in names] or lectures


def make(lecture: LectureFiles, folder: Path) -> None:
    """Write ``NAME.html`` to a folder.

    Raises:
        AuthoringError: the notebook is not built or a cell of it has no room on a slide.
    """
    shown = lecture.notebook.relative_to(lecture.root).as_posix()
    source = lecture.source.relative_to(lecture.root).as_posix()
    if not lecture.notebook.is_file():
        raise AuthoringError(f"{shown}: missing; run `course build {source}`")
    try:
        notebook = read_notebook(lecture.notebook)
        slides = slides_of(notebook)
    except ValueError as error:
        raise AuthoringError(f"{shown}: {error}; then run `course build {source}`") from None
    title = slides[0].heading
    deck = folder / f"{lecture.name}.html"
    write_atomically(deck, deck_html(title, slides).encode())

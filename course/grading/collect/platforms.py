"""How learning platforms name what their download holds, and what such a name says of a student.

The platform writes the beginning of a name and the student the end, which may imitate a beginning. So a name is read
from the left, up to the first place where the platform's part can end, and a download as a whole is of one platform.

- Canvas (``lib/content_zipper.rb`` of canvas-lms at commit 05e9653c): ``NAME[_LATE]_USER_ATTACHMENT_FILE``, all at the
  top; ``NAME[_LATE]_USER_text.html`` and ``…_link.html`` for a text or an address typed in. NAME is the sortable name
  in small letters without anything but letters, digits and ``_``; numbers between two ``_`` lose those, so that the
  first two numbers are the ids, and that is how Canvas itself reads such names when they are uploaded again
  (``infer_comment_context_from_filename``). Only a NAME that ends in a number (``bob_126``) slips through: such names
  have two readings, see `Named.doubtful`. With anonymous grading it is ``[LATE_]anon_CODE_ATTACHMENT_FILE``: no user,
  and LATE comes first.
- Moodle (``public/mod/assign/classes/downloader.php`` of 5.1): ``NAME_PARTICIPANT_assignsubmission_PLUGIN/FILE``, or
  with "Download submissions in folders" off ``NAME_PARTICIPANT_assignsubmission_PLUGIN_FILE``, all at the top; older
  versions end the folder in another ``_``. NAME has its ``_`` replaced by spaces, so nothing in it looks like the
  rest. PLUGIN is ``file``, or ``onlinetext`` for a text typed in (``onlinetext.html``, and what was put into it).
- Blackboard (the files of `kwurst/bb-file-cleanup` and `vangef/BBGradebookOrganiser`): ``gradebook_COURSE_ASSIGNMENT_DATE.zip``
  holds ``ASSIGNMENT_USER_attempt_DATE_FILE`` for each file of each attempt, and ``ASSIGNMENT_USER_attempt_DATE.txt``
  with what was typed in. DATE is ``2026-11-21-16-37-49`` by the server's clock, without a zone.
- nbgrader (``exchange/default/submit.py`` and ``collect.py``, 0.9) names folders, ``USER/ASSIGNMENT/``, and puts
  ``timestamp.txt`` inside, over one that the student had there. Before they are collected they lie in the exchange's
  ``inbound/`` as ``USER+ASSIGNMENT+TIME+RANDOM/``; each time that a student hands in makes another. A USER may have a +.
- Gradescope's export has ``submission_NUMBER/`` folders and, beside them, `GRADESCOPE_LIST`, which is nobody's: by
  folder, ``:submitters:`` with ``:name:``, ``:sid:`` and ``:email:``, and ``:created_at:``.
- Google Classroom ("Make a copy for each student") calls the copies ``NAME - TITLE``, and its folder in Drive is
  downloaded as a zip of files; a copy is the student's, who can rename it, so of two with one NAME neither is believed.
  What students upload keeps its own name, which says nothing.
- GitHub Classroom (``gh classroom clone student-repos``) clones into ``ASSIGNMENT-submissions/ASSIGNMENT-USER/``.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from course.grading.collect.handed_in import HandedIn, Untellable, sensible_time, time_from_text

GRADESCOPE_LIST = "submission_metadata.yml"
COPY_OF = "Copy of "  # how Google Drive begins the name of a copy that lies beside its original


@dataclass(frozen=True)
class Upload:
    """What the download of a platform, ``"Canvas"`` or ``"Moodle"`` for instance, says of a student.

    `id` is ``""`` where the download is anonymous.
    """

    system: str
    id: str
    late: bool = False


@dataclass(frozen=True)
class Named:
    """What a name in a download says.

    Args:
        student: the student's name, as the platform writes it.
        id: what tells students of this download apart.
        upload: what is known of the student elsewhere.
        plugin: Moodle's, by which something was handed in.
        file: how the student called it; ``""`` where that does not follow.
        doubtful: it can be read in another way, as another student's.
        within: the folders in which it is put, so that each attempt has its own.
        handed_in: when, where the name tells.
    """

    student: str
    id: str
    upload: Upload
    plugin: str
    file: str
    doubtful: bool
    within: tuple[str, ...] = ()
    handed_in: HandedIn = HandedIn()


@dataclass(frozen=True)
class Naming:
    """One way to name files: its `pattern` stops where the platform's part may stop first.

    Args:
        says_who: it names the student.
        alone: a student has one entry by this platform; of two, one is another's.
    """

    system: str
    pattern: re.Pattern
    says_who: bool = True
    alone: bool = False

    def read(self, name: str) -> Named | None:
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        said = {key: value or "" for key, value in match.groupdict().items()}
        file = said.get("file") or said.get("page", "")
        upload = Upload(self.system, said["id"] if self.says_who else "", bool(said.get("late")))
        doubtful = "late" in said and self.says_who and bool(_ANOTHER_READING.search(said["file"]))
        student = said.get("name", said["id"]) if self.says_who else f"anon_{said['id']}"
        attempt = said.get("attempt") or said.get("time", "")
        within = tuple(part for part in (said.get("assignment"), attempt) if part)
        handed_in = HandedIn(_time(attempt), f"by {self.system}") if attempt else HandedIn()
        return Named(student, said["id"], upload, said.get("plugin", ""), file, doubtful, within, handed_in)

    def describe(self, named: Named) -> str:
        """The student, in words."""
        if self.system in ("Canvas", "Moodle"):
            kind = "participant" if self.system == "Moodle" else "user" if self.says_who else "the anonymous user"
            return f"{kind} {named.id} of {self.system}"
        return f"{named.student} of {self.system}"


def _time(text: str) -> datetime | None:
    """In UTC: of Blackboard, whose clock is taken to be in this machine's zone, or as nbgrader writes it."""
    try:
        if re.fullmatch(r"[0-9]{4}(-[0-9]{2}){5}", text):
            return sensible_time(datetime.strptime(text, "%Y-%m-%d-%H-%M-%S").astimezone())
        return time_from_text(text.encode())
    except (ValueError, OverflowError, OSError, Untellable):
        return None


_WORD = r"[^\x00-/:-@\[-^`{-\x7f]"  # letters of any alphabet with their marks, digits, _
_CANVAS_END = r"(?:[0-9]+_(?P<file>.+)|(?P<page>(?:text|link)\.html))"
_ANOTHER_READING = re.compile(r"^[0-9]+_|_[0-9]+_(?:[0-9]+_|(?:text|link)\.html$)")  # in Canvas's FILE
_NAMINGS = (
    Naming("Canvas", re.compile(rf"(?P<late>LATE_)?anon_(?P<id>[0-9A-Za-z]+)_{_CANVAS_END}", re.DOTALL), False),
    Naming("Canvas", re.compile(rf"(?P<name>{_WORD}*?)_(?P<late>LATE_)?(?P<id>[0-9]+)_{_CANVAS_END}", re.DOTALL)),
    Naming(
        "Moodle",
        re.compile(
            r"(?P<name>.*?)_(?P<id>[0-9]+)_assignsubmission_(?P<plugin>[a-z][a-z0-9]*)(?:_(?P<file>.*))?", re.DOTALL
        ),
    ),
    Naming(
        "Blackboard",
        re.compile(
            r"(?P<id>(?:.*?_)?(?P<name>[^_]+?))_attempt_(?P<attempt>[0-9]{4}(?:-[0-9]{2}){5})(?:_(?P<file>.+)|\.txt)",
            re.DOTALL,
        ),
    ),
    Naming(
        "nbgrader",
        re.compile(
            r"(?P<id>.+)\+(?P<assignment>[^+]+)\+(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2} [^+]+)(?:\+[A-Za-z0-9_-]{12})?",
            re.DOTALL,
        ),
    ),
)
_GOOGLE = Naming(
    "Google Classroom", re.compile(rf"(?:{COPY_OF})?(?P<id>.+?) - (?P<file>.+\.[A-Za-z0-9]+)", re.DOTALL), alone=True
)


def file_of(name: str) -> str:
    """What a student called a file that Canvas put its own words before; `name` itself where it did not."""
    matches = [naming.pattern.fullmatch(name) for naming in _NAMINGS if naming.system == "Canvas"]
    return next((match["file"] for match in matches if match and match["file"]), name)


def naming_of(names: Iterable[str], around: str = "") -> Naming | None:
    """By which naming the top of a class is called; None unless at least half of it is.

    What students wrote never counts: in a name that could be of two platforms, the platform's part is what comes first.

    Args:
        around: the folder that holds them.
    """
    names = list(names)
    namings, slug = [*_NAMINGS], around.removesuffix("-submissions")
    if slug != around:
        namings.insert(0, Naming("GitHub Classroom", re.compile(rf"{re.escape(slug)}-(?P<id>.+)", re.DOTALL)))
    votes: Counter[Naming] = Counter()
    for name in names:
        matches = [(naming.pattern.fullmatch(name), naming) for naming in namings]
        places = [(_place(match), naming) for match, naming in matches if match]
        if places:
            votes[_earliest(places)] += 1
    most = max(namings, key=lambda naming: votes[naming])
    if _is_google(names, most):
        return _GOOGLE
    return most if votes[most] and 2 * votes[most] >= len(names) else None


def _is_google(names: list[str], other: Naming) -> bool:
    """Most names are ``NAME - FILE``, and most students have the same FILE, which is the title of what was copied.

    The title of an assignment, which Blackboard writes first, may hold such a dash: then all names are Blackboard's.
    """
    by_google = {name: match for name in names if (match := _GOOGLE.pattern.fullmatch(name))}
    titles = Counter(title for _, title in {(match["id"], match["file"]) for match in by_google.values()})
    students = {match["id"] for match in by_google.values()}
    shared = max(titles.values(), default=0)
    with_dash = sum(" - " in name for name in names)
    is_google = shared > 1 and 2 * shared >= len(students) and 2 * with_dash >= len(names)
    return is_google and not all(other.pattern.fullmatch(name) for name in by_google)


def _place(match: re.Match) -> int:
    """Where the platform's part says which platform it is: what a student wrote comes after."""
    return match.start(next(group for group in ("attempt", "assignment", "id") if group in match.re.groupindex))


def _earliest(places: list[tuple[int, Naming]]) -> Naming:
    return min(places, key=lambda place: place[0])[1]


@dataclass(frozen=True)
class OnGradescope:
    """What `GRADESCOPE_LIST` says of one folder: its students, as (name, what tells them apart), and when."""

    students: tuple[tuple[str, str], ...]
    handed_in: HandedIn = HandedIn()


def read_gradescope_list(data: bytes) -> dict[str, OnGradescope]:
    """By folder. Only its own lines are read, which stand at fixed depths; what students wrote stands deeper."""
    told: dict[str, OnGradescope] = {}
    folder, people, when, inside = "", [], HandedIn(), ""

    def done() -> None:
        students = tuple((them["name"], them.get("email") or them.get("sid") or them["name"]) for them in people)
        if folder and students:
            told[folder] = OnGradescope(students, when)

    # Not `splitlines`: it splits at signs that students may write in the middle of a line, too.
    for line in data.decode("utf-8-sig", "replace").replace("\r\n", "\n").split("\n"):
        if match := re.fullmatch(r"(submission_[0-9]+):\s*", line):
            done()
            folder, people, when, inside = match[1], [], HandedIn(), ""
        elif match := re.match(r"  :(\w+):(.*)", line):
            inside = match[1]
            if inside == "created_at":
                when = HandedIn(_gradescope_time(match[2]), "by Gradescope")
        elif inside == "submitters" and (match := re.match(r"  (?:  )?([- ]) :(name|sid|email):(.*)", line)):
            if match[1] == "-" or not people:
                people.append({"name": ""})
            people[-1][match[2]] = _scalar(match[3])
    done()
    return {folder: known for folder, known in told.items() if all(name for name, _ in known.students)}


def _gradescope_time(text: str) -> datetime | None:
    return _time(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", _scalar(text)))


def _scalar(text: str) -> str:
    """A short text of YAML on one line."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'").strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(re.sub(r"\\x([0-9A-Fa-f]{2})", r"\\u00\1", text))).strip()
        except ValueError:
            return text[1:-1].strip()
    return text

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
- nbgrader (``exchange/default/submit.py`` and ``collect.py``, 0.9) names folders, ``USER/ASSIGNMENT/``, and puts
  ``timestamp.txt`` inside, over one that the student had there.
- Gradescope's export has ``submission_NUMBER/`` folders and, beside them, `GRADESCOPE_LIST`, which is nobody's.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

GRADESCOPE_LIST = "submission_metadata.yml"


@dataclass(frozen=True)
class Upload:
    """What the download of a learning management system, ``"Canvas"`` or ``"Moodle"``, says of a student.

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
    """

    student: str
    id: str
    upload: Upload
    plugin: str
    file: str
    doubtful: bool


@dataclass(frozen=True)
class Naming:
    """One way to name files: its `pattern` stops where the platform's part may stop first."""

    system: str
    pattern: re.Pattern
    says_who: bool = True

    def read(self, name: str) -> Named | None:
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        said = {key: value or "" for key, value in match.groupdict().items()}
        file = said["file"] or said.get("page", "")
        upload = Upload(self.system, said["id"] if self.says_who else "", bool(said.get("late")))
        doubtful = "late" in said and self.says_who and bool(_ANOTHER_READING.search(said["file"]))
        student = said["name"] if self.says_who else f"anon_{said['id']}"
        return Named(student, said["id"], upload, said.get("plugin", ""), file, doubtful)

    def describe(self, id: str) -> str:
        """The student with this id, in words."""
        kind = "participant" if self.system == "Moodle" else "user" if self.says_who else "the anonymous user"
        return f"{kind} {id} of {self.system}"


_CANVAS_END = r"(?:[0-9]+_(?P<file>.+)|(?P<page>(?:text|link)\.html))"
_ANOTHER_READING = re.compile(r"^[0-9]+_|_[0-9]+_(?:[0-9]+_|(?:text|link)\.html$)")  # in Canvas's FILE
_NAMINGS = (
    Naming("Canvas", re.compile(rf"(?P<late>LATE_)?anon_(?P<id>[0-9A-Za-z]{{5}})_{_CANVAS_END}", re.DOTALL), False),
    Naming("Canvas", re.compile(rf"(?P<name>.*?)_(?P<late>LATE_)?(?P<id>[0-9]+)_{_CANVAS_END}", re.DOTALL)),
    Naming(
        "Moodle",
        re.compile(
            r"(?P<name>.*?)_(?P<id>[0-9]+)_assignsubmission_(?P<plugin>[a-z][a-z0-9]*)(?:_(?P<file>.*))?", re.DOTALL
        ),
    ),
)


def file_of(name: str) -> str:
    """What a student called a file that Canvas put its own words before; `name` itself where it did not."""
    matches = [naming.pattern.fullmatch(name) for naming in _NAMINGS if naming.system == "Canvas"]
    return next((match["file"] for match in matches if match and match["file"]), name)


def naming_of(names: Iterable[str]) -> Naming | None:
    """By which naming the top of a class is called; None unless at least half of it is.

    What students wrote never counts: in a name that could be of two platforms, the platform's part is what comes first.
    """
    names = list(names)
    votes: Counter[Naming] = Counter()
    for name in names:
        matches = [(naming.pattern.fullmatch(name), naming) for naming in _NAMINGS]
        places = [(match.start("id"), naming) for match, naming in matches if match]
        if places:
            votes[min(places, key=lambda place: place[0])[1]] += 1
    most = max(_NAMINGS, key=lambda naming: votes[naming])
    return most if votes[most] and 2 * votes[most] >= len(names) else None

"""Look for answers where none may be: in what students receive.

This reads sources and exercises.py as text, and shares no code with the stripping that it checks. There are two
searches. In ``assignments/`` no line of an answer or of a named mistake may stand. All other files of a student's tree
teach the same subject in the same words; in them it looks for whole answers and whole mistakes.
"""

import ast
import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from course.checks import observe, public
from course.checks.calls import calls_from_bytes
from course.checks.message import unpack

# On purpose looser than the builder's: what merely resembles a marker must be found here.
_BEGIN = re.compile(r"^\W*BEGIN\W*SOLUTION\W*$")
_END = re.compile(r"^\W*END\W*SOLUTION\W*$")
_AUTHORS = re.compile(r"^# %% .*\bexercise=\"|^@\w+\.(mistake|alternative)\b|^homework = Homework\(", re.MULTILINE)
_ASSIGNED = re.compile(r"^(return|yield|assert|[\w.,\[\] ]+ [-+*/@]?=) ")
_WORD = re.compile(r"\w+")
_INNER_WORD = re.compile(r"(?<=\W)\w+(?=\W)")
_SHORTEST = 10  # characters other than blanks; below, a line says nothing ("return out")
_BLOCK = 3  # telling lines in a row that make a whole answer


@dataclass
class Secrets:
    """What must not reach students from one homework.

    Args:
        topic: ``"hw1_self_attention"``. lines: (telling part of a line, the `_parts` inside it, what it belongs to),
        blanks normalised. names: names of mistakes and alternatives. blocks: (whole answer or mistake, its code
        lines joined by newlines, what it is). public: all text of the source outside its regions, and the
        sentences of the mistakes, blanks normalised.
    """

    topic: str
    lines: list[tuple[str, frozenset, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    blocks: list[tuple[str, str]] = field(default_factory=list)
    public: str = ""


def secrets_of(folder: Path) -> Secrets:
    """The secrets of ``solutions/hwN_topic/``."""
    source = (folder / f"{folder.name}.py").read_text(encoding="utf-8")
    return _secrets_in(folder.name, source, (folder / "exercises.py").read_text(encoding="utf-8"))


@lru_cache(maxsize=64)  # each homework is held against the secrets of all
def _secrets_in(topic: str, source: str, exercises: str) -> Secrets:
    secrets = Secrets(topic)
    public_parts: list[str] = []
    _collect_source(source, secrets, public_parts)
    _collect_exercises(exercises, secrets, public_parts)
    secrets.public = _plain("\n".join(public_parts))
    return secrets


def find_in_assignment(path: Path, all_secrets: list[Secrets]) -> list[str]:
    """Every secret that stands in a file of ``assignments/hwN_topic/``, one line each."""
    own = [secrets for secrets in all_secrets if secrets.topic == path.parent.name]
    allowed = [secrets.public for secrets in own]
    texts = list(_texts_in(path))
    plain = "\n".join(_plain(text) for text in texts)
    parts = _parts(_WORD.findall(plain))
    found = _markers_in(texts)
    # The words first: megabytes of check data would be searched for thousands of lines.
    inner = {line: inside for secrets in all_secrets for line, inside, _ in secrets.lines}
    there = {line for line, inside in inner.items() if inside <= parts and line in plain}
    for secrets in all_secrets:
        exempt = [*allowed, secrets.public]
        for line, _, owner in secrets.lines:
            if line in there and not any(line in text for text in exempt):
                found.append(f"holds {line!r}, a line of {owner}")
        for name in secrets.names:
            if name in parts and not any(re.search(rf"\b{name}\b", text) for text in exempt):
                found.append(f"holds the name {name!r}, a mistake or alternative of {secrets.topic}")
    return list(dict.fromkeys(found))


def find_in_other_file(path: Path, all_secrets: list[Secrets]) -> list[str]:
    """Whole answers, whole mistakes and authors' files, in a lecture, the package or any other file."""
    texts = list(_texts_in(path))
    found = _markers_in(texts)
    if any(_AUTHORS.search(text) for text in texts):
        found.append("holds an author's cells or exercises")
    return list(dict.fromkeys(found + _whole_in(texts, all_secrets)))


def find_whole(path: Path, all_secrets: list[Secrets]) -> list[str]:
    """Whole answers and whole mistakes in a page that shows authors what such things look like."""
    return _whole_in(list(_texts_in(path)), all_secrets)


def _whole_in(texts: list[str], all_secrets: list[Secrets]) -> list[str]:
    found = []
    code = ["\n" + "\n".join(_code_lines(text.split("\n"))) + "\n" for text in texts if "\n" in text]
    for secrets in all_secrets:
        for block, owner in secrets.blocks:
            if any(f"\n{block}\n" in text for text in code):
                found.append(f"holds {owner}, whole")
    return list(dict.fromkeys(found))


def untouched_problems(assignment: Path) -> list[str]:
    """Run the untouched student's notebook against its own checks: every call must end in "not written yet".

    Args:
        assignment: a folder with the notebook and its checks.safetensors.
    """
    topic = assignment.name
    short = topic.split("_")[0]
    notebook = json.loads((assignment / f"{topic}.ipynb").read_text(encoding="utf-8"))
    problems = []
    namespace: dict = {"__name__": f"untouched_{short}"}
    for cell in notebook["cells"]:
        graded = cell["metadata"].get("nbgrader", {})
        if cell["cell_type"] == "code" and (graded.get("solution") or graded.get("grade_id") == "setup"):
            try:
                exec(compile("".join(cell["source"]), f"{topic}.ipynb", "exec"), namespace)
            except Exception as error:
                problems.append(f"its cell {graded['grade_id']!r} stops untouched: {type(error).__name__}: {error}")
    for name, message in public.messages((assignment / public.FILE_NAME).read_bytes()).items():
        tensors, exercise = unpack(message)
        calls = calls_from_bytes(tensors["calls"].numpy().tobytes())
        seen = observe({target: namespace[target] for target in exercise["targets"] if target in namespace}, calls)
        answered = [call.target for i, call in enumerate(calls) if f"{i}.unwritten" not in seen.notes]
        if answered:
            problems.append(
                f"exercise {name!r}: {', '.join(dict.fromkeys(answered))} does something before a student "
                "wrote it; "
                f'it should raise NotImplementedError("{short}.{name}")'
            )
    return problems


def secrets_in_tree(solutions: Path) -> list[Secrets]:
    """The secrets of every homework that can be read; the build names those that cannot."""
    found = []
    for folder in sorted(solutions.glob("hw*_*/")):
        try:
            found.append(secrets_of(folder))
        except (FileNotFoundError, SyntaxError):
            continue
    return found


# -- what is secret


def _collect_source(text: str, secrets: Secrets, public_parts: list[str]) -> None:
    owner, inside, region = "the source", False, []
    outside: list[str] = []
    for line in text.split("\n"):
        title = re.search(r"# %%.*\b(?:exercise|written)=\"(\w+)\"", line)
        if title:
            owner = f"the answer to {secrets.topic}.{title[1]}"
        if _BEGIN.match(line):
            inside, region = True, []
        elif _END.match(line):
            inside = False
            _add_block(region, owner, secrets)
        elif inside:
            region.append(line.removeprefix("# "))  # markdown stands in comments
            _add_line(region[-1], owner, secrets)
        else:
            outside.append(line)
    public_parts += ["\n".join(outside), "\n".join(line.removeprefix("# ") for line in outside)]


def _collect_exercises(text: str, secrets: Secrets, public_parts: list[str]) -> None:
    lines = text.split("\n")
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        is_definition = isinstance(node, (ast.FunctionDef, ast.ClassDef))
        # The decorators hold the sentences, which students read.
        spoken = node.decorator_list if is_definition else [node]
        public_parts += [
            part.value
            for top in spoken
            for part in ast.walk(top)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        part = lines[node.lineno - 1 : node.end_lineno]
        owner = f"exercises.py of {secrets.topic}"
        if is_definition:
            owner = f"{node.name} in {owner}"
            if node.name.strip("_"):
                secrets.names.append(node.name)
            _add_block(part, owner, secrets, fewest=2)
            # A body that is long enough is recognised under another name as well.
            _add_block(part[node.body[0].lineno - node.lineno :], owner, secrets)
        for line in part:
            if not re.fullmatch(r"\s*[rf]?(\"[^\"]*\"|'[^']*')[,)\s]*", line):
                _add_line(line, owner, secrets)


def _add_line(line: str, owner: str, secrets: Secrets) -> None:
    whole = _plain(line)
    code = _plain(_code(line))
    for part in dict.fromkeys([whole, code, _ASSIGNED.sub("", code)]):
        if len(part.replace(" ", "")) >= _SHORTEST:
            secrets.lines.append((part, frozenset(_parts(_INNER_WORD.findall(part))), owner))


def _parts(words: list[str]) -> set:
    """The words of a text and its pairs of neighbours: a text holds no line whose inner ones it lacks."""
    return {*words, *zip(words, words[1:])}


def _add_block(lines: list[str], owner: str, secrets: Secrets, fewest: int = _BLOCK) -> None:
    code = _code_lines(lines)
    if sum(len(line.replace(" ", "")) >= _SHORTEST for line in code) >= fewest:
        secrets.blocks.append(("\n".join(code), owner))


def _code_lines(lines: list[str]) -> list[str]:
    return [code for line in lines if (code := _plain(_code(line)))]


def _code(line: str) -> str:
    return re.split(r"(?:^|\s)#\s", line, maxsplit=1)[0]


def _plain(text: str) -> str:
    return " ".join(text.split())


# -- what a file says


def _texts_in(path: Path) -> Iterator[str]:
    """All text of a file, as it is and as written inside it in JSON or base64."""
    data = path.read_bytes()
    yield data.decode("utf-8", "ignore")
    if path.suffix == ".safetensors":
        yield from _texts_in_messages(data)
        data = _header(data)
    if path.suffix in (".ipynb", ".safetensors", ".json"):
        try:
            yield from _strings_in(json.loads(data))
        except ValueError:  # damaged: then there is the text as it is
            pass


def _texts_in_messages(data: bytes) -> Iterator[str]:
    """Of check data, in which the message of each exercise is pressed."""
    try:
        messages = public.messages(data)
    except ValueError:  # not check data, or damaged
        return
    for message in messages.values():
        yield message.decode("utf-8", "ignore")
        yield from _strings_in(json.loads(_header(message)))


def _header(message: bytes) -> bytes:
    return message[8 : 8 + int.from_bytes(message[:8], "little")]


def _strings_in(value) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from _strings_in(part)
    elif isinstance(value, list):
        if value and all(isinstance(part, str) for part in value):
            yield "".join(value)  # notebooks keep a text as a list of its lines
        for part in value:
            yield from _strings_in(part)
    elif isinstance(value, str):
        yield value
        if value[:1] in "[{" and value[-1:] in "]}":
            try:
                yield from _strings_in(json.loads(value))
            except ValueError:
                pass
        elif len(value) >= 16 and re.fullmatch(r"[A-Za-z0-9+/\s]+=*\s*", value):
            try:
                yield base64.b64decode(value).decode("utf-8", "ignore")
            except binascii.Error:
                pass


def _markers_in(texts: list[str]) -> list[str]:
    lines = (line for text in texts for line in text.split("\n"))
    marker = next((line for line in lines if _BEGIN.match(line) or _END.match(line)), None)
    return [f"holds the marker {marker.strip()!r}"] if marker else []

"""What a cell printed and drew: cleaned before it is committed, and examined for what does not belong there."""

import base64
import json
import re
import struct
import tempfile
from pathlib import Path

from nbformat import NotebookNode

WIDGET = "application/vnd.jupyter.widget-view+json"
MOST_BYTES = 500 * 1024  # of outputs in one notebook
MOST_DPI = 100
MOST_PIXELS = 1600  # either side of a picture

# "12%|███   | 3/25 [00:01<00:08, 2.5it/s]", with or without a total
_BAR = re.compile(r"\d{1,3}%\|.{0,300}\|| \[\d+:\d\d(<[\d:?]+)?, .{0,12}(it/s|s/it|B/s)|\d ?(it/s|s/it)\b")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CURSOR_UP = "\x1b[A"  # how a second progress bar finds its line
_TIMES = re.compile(r"\b(CPU times|Wall time):|\bETA\b|\bper loop\b|\d\d:\d\d:\d\d")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{8,}")
_MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(home|Users|root|tmp|var/folders|private|mnt|opt|usr/lib|content)/[^\s'\"<>]{0,80}"
    r"|\b[A-Z]:\\{1,2}[Uu]sers\\[^\s'\"<>]{0,80}|\bipykernel_\d+|/site-packages/"
)
_EMBEDDED = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+")
_EMBEDDED_PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")


def clean(notebook: NotebookNode) -> None:
    """Keep of every output what a reader will still want in a year. Changes the notebook itself.

    Gone are widgets (a picture beside one stays), progress bars, times of execution, frames of library code
    in tracebacks, a picture that its HTML holds too, and all outputs of cells tagged ``no-output``. Cells are numbered
    1, 2, ... as they ran.
    """
    notebook.metadata.pop("widgets", None)
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    for count, cell in enumerate(code, start=1):
        cell.metadata.pop("execution", None)
        cell.execution_count = count
        kept = [] if "no-output" in cell.metadata.get("tags", ()) else _merged(cell.outputs)
        cell.outputs = [output for output in kept if _clean_output(output, count)]


def hygiene(notebook: NotebookNode, root: Path) -> list[str]:
    """What in committed outputs differs from one machine or run to the next, or is too much.

    Returns one line a finding: ``"cell 4 (id): ..."``.
    """
    found = []
    if "widgets" in notebook.metadata:
        found.append("the state of widgets is stored in its metadata")
    size = 0
    for i, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code":
            continue
        where = f"cell {i} ({cell.get('id')})"
        for output in cell.outputs:
            size += len(json.dumps(output, ensure_ascii=False).encode())
            found += [f"{where}: {problem}" for problem in _output_problems(output, root)]
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", ()):
                found.append(f"{where}: stopped with {output.ename}, and is not tagged raises-exception")
    if size > MOST_BYTES:
        found.append(f"its outputs have {size / 1024:.0f} KB, more than {MOST_BYTES // 1024}: fewer or smaller figures")
    return found


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Text printed between two displays as one piece a stream: how it was cut up depends on the moment."""
    merged: list[NotebookNode] = []
    since_display: dict[str, NotebookNode] = {}
    for output in outputs:
        if output.output_type != "stream":
            since_display = {}
        elif output.name in since_display:
            since_display[output.name].text += output.text
            continue
        else:
            since_display[output.name] = output
        merged.append(output)
    # Which of two streams came first depends on the moment too.
    for i in range(1, len(merged)):
        if [getattr(output, "name", None) for output in merged[i - 1 : i + 1]] == ["stderr", "stdout"]:
            merged[i - 1], merged[i] = merged[i], merged[i - 1]
    return merged


def _clean_output(output: NotebookNode, count: int) -> bool:
    """Clean this output itself; False if nothing worth keeping is left."""
    if output.output_type == "stream":
        lines = output.text.replace("\r\n", "\n").split("\n")
        kept = [line for line in lines if "\r" not in line and _CURSOR_UP not in line and not _BAR.search(line)]
        output.text = "\n".join(kept)
        return bool(output.text.strip())
    if output.output_type == "error":
        frames = [frame for frame in output.traceback if not _ANSI.sub("", frame).lstrip().startswith("File ")]
        output.traceback = [_ANSI.sub("", frame) for frame in frames]
        return True
    if output.output_type == "execute_result":
        output.execution_count = count
    if output.data.pop(WIDGET, None) is not None:
        if not any(kind.startswith("image/") for kind in output.data):
            return False
        output.metadata.pop(WIDGET, None)
    if _stands_twice(output):
        del output.data["image/png"]
        output.metadata.pop("image/png", None)
    return not _BAR.search(output.data.get("text/plain", ""))


def _stands_twice(output: NotebookNode) -> bool:
    """Whether its PNG is in its HTML as well, with words for who cannot see it: then the HTML says all."""
    png = "".join(output.data.get("image/png", "").split())
    return bool(png) and png in output.data.get("text/html", "")


def _output_problems(output: NotebookNode, root: Path) -> list[str]:
    problems = []
    for text in _texts(output):
        text = _EMBEDDED.sub("", text)
        path = next((part for part in machine_paths(root) if part in text), None) or _first(_MACHINE_PATH, text)
        if path:
            problems.append(f"shows a path of the machine it ran on ({path[:60]})")
        if "\r" in text or _BAR.search(text):
            problems.append("shows a progress bar: tag the cell no-output, or build again")
        if _TIMES.search(text):
            problems.append(f"shows a time that differs on every run ({_first(_TIMES, text)})")
        if _ADDRESS.search(text):
            problems.append(
                f"shows an address in memory ({_first(_ADDRESS, text)}): end the cell's last line with a "
                "semicolon, or "
                "print something else"
            )
    data = output.get("data", {})
    if WIDGET in data:
        problems.append("holds a widget, which shows nothing where no kernel runs: build again")
    pictures = ["".join(data["image/png"])] if "image/png" in data else _EMBEDDED_PNG.findall(data.get("text/html", ""))
    for picture in pictures:
        problems += _picture_problems(base64.b64decode(picture))
    return problems


def _texts(output: NotebookNode) -> list[str]:
    if output.output_type == "stream":
        return [output.text]
    if output.output_type == "error":
        return ["\n".join(output.traceback), output.evalue]
    kinds = [kind for kind in output.data if kind.startswith("text/") or kind == "image/svg+xml"]
    return [output.data[kind] for kind in kinds]


def machine_paths(root: Path) -> list[str]:
    """Folders of this machine that no output may show."""
    paths = {str(root), str(Path.home()), tempfile.gettempdir()}
    return [path for path in paths if len(path) > 5]  # "/", "/root" and "/tmp" are looked for as whole folders


def _first(pattern: re.Pattern, text: str) -> str:
    match = pattern.search(text)
    return match[0] if match else ""


def _picture_problems(png: bytes) -> list[str]:
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        return ["holds a picture that is no PNG"]
    width, height = struct.unpack(">II", png[16:24])
    problems = []
    if max(width, height) > MOST_PIXELS:
        problems.append(f"shows a picture of {width} x {height} pixels: at most {MOST_PIXELS} a side")
    at = png.find(b"pHYs", 0, png.find(b"IDAT"))
    if at > 0:
        per_metre, _, unit = struct.unpack(">IIB", png[at + 4 : at + 13])
        dpi = per_metre * 0.0254
        if unit == 1 and dpi > MOST_DPI + 0.5:
            problems.append(f"shows a picture of {dpi:.0f} dpi: at most {MOST_DPI}")
    return problems

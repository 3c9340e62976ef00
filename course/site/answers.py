"""The page with the answers and rubrics of all written questions, read off the sources of the homework."""

from pathlib import Path

from course.authoring.files import all_homeworks
from course.authoring.source import SourceCell, read_source

_TITLE = """\
# Answers and rubrics of the written questions

From `solutions/hwN_topic/hwN_topic.py`, where each stands beside its question: change it there. Read the whole answer before
you mark: other right reasons than these earn the same, and half points may be given.
"""


def written_answers(root: Path) -> str:
    """Markdown: for each question its homework, points, text, and the answer with its marking."""
    parts = [_TITLE]
    for work in all_homeworks(root):
        cells = read_source(work.source, root).cells
        title = cells[0].text.partition("\n")[0].lstrip("# ")
        for cell in cells:
            if cell.role == "written":
                question, answer = question_and_answer(cell)
                link = f"[The notebook](../assignments/{work.name}/{work.name}.ipynb)"
                head = f"## {title}: `{cell.name}`, {cell.points:g} points\n\n{link}"
                parts.append(f"{head}\n\n{question}\n\n### Answer to `{cell.name}`\n\n{answer}\n")
    return "\n".join(parts)


def question_and_answer(cell: SourceCell) -> tuple[str, str]:
    """The text of a written question without its heading, and what stands between its markers."""
    lines = cell.text.split("\n")
    inside = {i for first, last in cell.regions() for i in range(first, last + 1)}
    answer = [line for first, last in cell.regions() for line in [*lines[first + 1 : last], ""]]
    question = [line for i, line in enumerate(lines) if i not in inside and not line.startswith("## ")]
    return "\n".join(question).strip(), "\n".join(answer).strip()

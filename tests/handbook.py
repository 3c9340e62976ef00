"""Reads the pages of the handbook: its tables, and its commands and files, for the tests that try them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HANDBOOK = ROOT / "docs" / "handbook"
TOPIC = "hw1_self_attention"  # the homework that its commands are about


def text_of(name: str) -> str:
    return (HANDBOOK / f"{name}.md").read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """The lines of all blocks without a language: what is typed in a terminal, in order."""
    found, inside = [], None
    for line in text.split("\n"):
        if line.startswith("```"):
            inside = None if inside is not None else line.removeprefix("```")
        elif inside == "":
            found.append(line)
    return found


def files(text: str) -> dict[str, str]:
    """Path -> what is in it, of the blocks that follow a path in backticks."""
    return dict(re.findall(r"`([\w./]+\.(?:toml|csv))`[^`]*?```\w+\n(.*?)```", text, flags=re.DOTALL))

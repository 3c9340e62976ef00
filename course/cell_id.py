"""The id of a built cell is a hash of its text: without the sources, one sees whether the cell is still as it was built."""

import hashlib


def cell_id(kind: str, text: str, nth: int = 1) -> str:
    """The id of the `nth` cell of a notebook with this `text`; `kind` is ``"code"`` or ``"markdown"``."""
    return hashlib.sha256(f"{kind}\0{text}\0{nth}".encode()).hexdigest()[:12]


def text_id(text: str) -> str:
    """The same for texts of code that differ in spaces at the ends of lines only."""
    return cell_id("code", "\n".join(line.rstrip() for line in text.strip().splitlines()))

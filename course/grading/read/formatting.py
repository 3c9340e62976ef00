"""What students wrote as HTML: code with colours, Markdown. Called where time and memory are limited (`reader`)."""

import json
import re

import mistune
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

MOST_HTML = 40  # characters for one of the source, on average: tables can multiply
FORMATTER = HtmlFormatter(nowrap=False, cssclass="source")
_EMPTY_LINES = re.compile(r"\n(?:[^\S\n]*\n){20,}")


def described(data: bytes) -> list[str | None]:
    """The cells of a page, as JSON [kind, source], each as HTML; None where that is no sensible way to show it.

    The kind is ``"code"``, ``"markdown"``, or ``"math"``: Markdown whose formulas a program on the page will draw.
    """
    made = []
    for kind, source in json.loads(data):
        html = _code(source) if kind == "code" else _text(source, with_math=kind == "math")
        made.append(html if html is not None and len(html) <= MOST_HTML * (len(source) + 100) else None)
    return made


def _code(source: str) -> str:
    return highlight(few_empty_lines(source), PythonLexer(), FORMATTER)  # pygments escapes what it is given


def few_empty_lines(source: str) -> str:
    """At most twenty of them in a row: for these, pygments takes time with the square of their number."""
    return _EMPTY_LINES.sub("\n" * 20, source)


def _text(source: str, with_math: bool) -> str | None:
    try:
        # escape=True: HTML in the student's text is shown as text.
        renderer = _WithoutImages(escape=True)
        plugins = ["table", "strikethrough", *(["math"] if with_math else [])]
        return mistune.create_markdown(renderer=renderer, plugins=plugins)(source)
    except MemoryError:
        raise
    except Exception:  # deeply nested
        return None


class _WithoutImages(mistune.HTMLRenderer):
    """An image may lie anywhere on the web: its words are shown in its place."""

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return f"[{mistune.escape(text)}]"

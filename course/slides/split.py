"""A lecture's notebook, as slides: what stands on each, and what its speaker says."""

import html
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import mistune
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

CODE_TAG = "slide-code"
CHARACTERS = 74  # of text in a line of a slide
LINES = 10  # of text under a heading
POINT = 3  # lines of a paragraph
CODE_CHARACTERS, CODE_LINES = 104, 18
PRINTED_CHARACTERS, PRINTED_LINES = 120, 17
ROWS = 9  # of a table; each line of its fullest cell counts as one
LAST = ("Exercises", "References", "To revise")  # sections for the reader alone
HIDDEN = {"no-output", "hide-output", "hide-cell", "remove-output", "remove-cell"}

_DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LOCAL_LINK = re.compile(r"(?<!!)\[([^\]\[]*)\]\((?!https?:)[^()\s]*\)")
_HEADING = re.compile(r"(#{1,6}) +(.*)")
_ITEM = re.compile(r"^(?:[*-]|\d+\.) +", re.MULTILINE)
_QUESTION = re.compile(r"\*\*(Question \d+\.\d+)\.?\*\*\s*")
_SENTENCE_END = re.compile(r"(?<=[.?!])((?:\*\*|[*)”\"])*)\s+(?=[^a-z\s])")
_ABOUT_A_PICTURE = re.compile(r"\b(figure|picture|drawing|drawn|map|maps|curve|curves|plot)\b", re.IGNORECASE)
_PRICE = re.compile(r"\*\(Price:.*?\)\*", re.DOTALL)  # what a cell costs who runs it
_to_html = mistune.create_markdown(escape=True, plugins=["math", "table"])


@dataclass
class Slide:
    """One slide.

    Attributes:
        heading: markdown. kind: "title", "text", "figure", "table", "printed", "code" or "question".
        body: HTML of each part, from top to bottom; the answer of a question is its last part, a fragment.
        lines: how many lines of text that takes, estimated. notes: markdown, what the speaker has before them.
        level: 1 where a section of the lecture begins, else 2.
    """

    heading: str
    kind: str = "text"
    body: list[str] = field(default_factory=list)
    lines: int = 0
    notes: list[str] = field(default_factory=list)
    level: int = 2


def slides_of(notebook: NotebookNode) -> list[Slide]:
    """The slides of a lecture: its header first, its summary last.

    Raises:
        ValueError: a cell marked as `CODE_TAG` has more code than a slide shows.
    """
    deck = _Deck()
    for cell in notebook.cells:
        text = "".join(cell.source)
        if cell.cell_type == "markdown":
            deck.read(text)
        elif cell.cell_type == "code" and not deck.ended:
            tags = set(cell.metadata.get("tags", []))
            if CODE_TAG in tags:
                deck.code(text)
            if not tags & HIDDEN:
                for output in cell.get("outputs", []):
                    deck.output(output)
    return [slide for slide in deck.slides if slide.body]


def to_html(markdown: str) -> str:
    return _to_html(markdown).strip()


def inline(markdown: str) -> str:
    """HTML of a sentence, without a paragraph around it."""
    return re.sub(r"^<p>(.*)</p>$", r"\1", to_html(re.sub(r"^(\d+)\.", r"\1\.", markdown)), flags=re.DOTALL)


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph; none ends within a formula, code, bold or brackets."""
    found: list[str] = []
    for piece in _SENTENCE_END.sub(r"\1\0", " ".join(text.split())).split("\0"):
        open_before = found and (
            any(found[-1].count(mark) % 2 for mark in ("**", "$", "`"))
            or found[-1].count("(") > found[-1].count(")")
            or re.search(r"\b(e\.g|i\.e|cf|vs|[A-Z])\.$", found[-1])
        )
        if open_before:
            found[-1] += f" {piece}"
        else:
            found.append(piece)
    return found


def point_of(paragraph: str) -> str:
    """What a slide keeps of a paragraph: from the first sentence with a bold term, else the first, what `POINT` lines hold."""
    said = sentences(paragraph)
    bold = next((i for i, sentence in enumerate(said) if "**" in sentence), 0)
    return _fitting(said if lines_of(paragraph) <= POINT else said[bold:], POINT)


def lines_of(markdown: str, characters: int = CHARACTERS) -> int:
    seen = re.sub(r"\$([^$]*)\$", lambda m: re.sub(r"\\[a-zA-Z]+|[{}_^\\]", "", m[1]), markdown)
    seen = re.sub(r"\]\([^)]*\)|[*`\[]", "", seen)
    return max(1, -(-len(seen) // characters))


class _Deck:
    """Slides so far, and where in the lecture we are."""

    def __init__(self):
        self.slides: list[Slide] = []
        self.ended = False
        self._heading, self._level = "", 2
        self._before: list[
            str
        ] = []  # sentences since the last heading or output: one of them says what a picture shows
        self._question: Slide | None = None  # whose answer is still to come

    def read(self, text: str) -> None:
        text = _LOCAL_LINK.sub(r"\1", _PRICE.sub("", _COMMENT.sub("", text)))
        self._before = []
        parts = _DETAILS.split(text)  # text, summary, answer, text, ...
        for i in range(0, len(parts), 3):
            blocks = _blocks(parts[i])
            for block, after in zip(blocks, [*blocks[1:], ""]):
                if not self.ended:
                    self._block(block, after)
            if i + 2 < len(parts) and not self.ended:
                self._answer(parts[i + 2])

    def code(self, text: str) -> None:
        rows = text.rstrip().split("\n")
        if len(rows) > CODE_LINES or max(map(len, rows)) > CODE_CHARACTERS:
            raise ValueError(
                f"the cell that begins {rows[0]!r} is marked {CODE_TAG} and has {len(rows)} lines of up to "
                f"{max(map(len, rows))} characters; a slide shows {CODE_LINES} of {CODE_CHARACTERS}: split the cell, or "
                "take the mark away"
            )
        coloured = highlight("\n".join(rows), PythonLexer(), HtmlFormatter(nowrap=True))
        self._start("code").body.append(f'<pre class="code">{coloured}</pre>')

    def output(self, output: NotebookNode) -> None:
        data = output.get("data", {})
        rich, plain = "".join(data.get("text/html", "")), "".join(output.get("text", ""))
        if output.output_type == "stream" and output.get("name") == "stdout":
            self._printed(plain)
        elif rich:
            for table in re.findall(r"<table.*?</table>", rich, re.DOTALL):
                self._table(_rows_of_html(table), head=False)
            for said in re.findall(r"<pre[^>]*>(.*?)</pre>", rich, re.DOTALL):
                self._printed(html.unescape(said))
            for picture in re.findall(r"<img [^>]*>", rich):
                slide = self._start("figure", self._caption(about_pictures=True))
                slide.body.append(picture)

    # -- text

    def _block(self, block: str, after: str) -> None:
        heading = _HEADING.fullmatch(block)
        if heading:
            self._head(heading[2], len(heading[1]))
        elif block.startswith("$$"):
            self._equation(block)
        elif block.startswith("|"):
            self._markdown_table(block)
        elif block.startswith(">"):
            self._quote(re.sub(r"^> ?([*-] )?", "", block, flags=re.MULTILINE))
        elif _QUESTION.match(block):
            self._ask(block)
        elif _ITEM.match(block):
            for item in re.split(_ITEM, block)[1:]:
                self._paragraph(item)
        else:
            self._paragraph(block, announces=after.startswith(("$$", "|")) or bool(_ITEM.match(after)))

    def _head(self, words: str, depth: int) -> None:
        self._heading, self._level, self._before, self._question = words, 1 if depth < 3 else 2, [], None
        self.ended = words.startswith(LAST)
        if depth == 1:
            self._start("title")

    def _paragraph(self, text: str, announces: bool = True) -> None:
        """`announces`: whether what its last sentence may announce stands on a slide as text."""
        said = sentences(text)
        self._before += said
        if not announces and said[-1].endswith(":"):  # a cell comes, and is no slide or has this as its caption
            del said[-1]
        if said:
            point = point_of(" ".join(said))
            self._put(f'<p class="point">{inline(point)}</p>', lines_of(point), " ".join(text.split()))

    def _equation(self, block: str) -> None:
        rows = 1 + block.count(r"\\") + any(sign in block for sign in (r"\frac", r"\sum", r"\begin"))
        self._put(f'<div class="equation">{html.escape(" ".join(block.split()))}</div>', rows + 1, "")

    def _quote(self, text: str) -> None:
        text = " ".join(text.split())
        slide = self._start("text")
        kept = _fitting(sentences(text), LINES)
        slide.body, slide.notes = [f"<blockquote>{inline(kept)}</blockquote>"], [text]
        slide.lines = lines_of(kept)

    def _ask(self, block: str) -> None:
        text = " ".join(block.split())
        found = _QUESTION.match(text)
        slide = self._start("question")
        slide.heading, slide.notes = found[1], [text]
        kept = _fitting(sentences(text[found.end() :]), LINES - 3)
        slide.body, slide.lines = [f'<p class="asked">{inline(kept)}</p>'], lines_of(kept)
        self._question = slide

    def _answer(self, text: str) -> None:
        slide, self._question = self._question, None
        if slide is None:
            return  # of an exercise
        slide.notes.append(f"**Answer.** {text.strip()}")
        prose = [block for block in _blocks(text) if not block.startswith(("$$", "|", "```"))]
        kept = _fitting(sentences(" ".join(prose)), LINES - slide.lines)
        slide.lines += lines_of(kept)
        slide.body.append(f'<p class="fragment answer">{inline(kept)}</p>')

    def _put(self, body: str, lines: int, notes: str) -> None:
        """A part of running text: on the slide before, where it has room and the same heading."""
        last = self.slides[-1] if self.slides else None
        if last is None or last.kind != "text" or last.heading != self._heading or last.lines + lines > LINES:
            last = self._start("text")
        if "<blockquote>" in "".join(last.body):
            last = self._start("text")
        last.body.append(body)
        last.lines += lines
        if notes:
            last.notes.append(notes)

    # -- what has a slide of its own

    def _markdown_table(self, block: str) -> None:
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))] for row in block.split("\n")]
        if self.slides and self.slides[-1].kind == "title" and not self.slides[-1].body:
            rows = [row for row in rows if "**" in row[0] and "Before" not in row[0] and "Homework" not in row[0]]
            self.slides[-1].body.append(_table_html([], [[inline(cell) for cell in row] for row in rows]))
            return
        head, *rest = [[inline(cell) for cell in row] for i, row in enumerate(rows) if i != 1]
        self._table([head, *rest], head=True)

    def _table(self, rows: list[list[str]], head: bool) -> None:
        first, rest = ([rows[0]], rows[1:]) if head else ([], rows)
        caption, part, used = self._caption(about_pictures=False), [], 0
        width = 110 // max(map(len, rows))
        for row in rest:
            needed = max(-(-len(re.sub(r"<[^>]*>", "", cell)) // width) for cell in row) or 1
            if part and used + needed > ROWS:
                self._start("table", caption).body.append(_table_html(first, part))
                part, used = [], 0
            part.append(row)
            used += needed
        self._start("table", caption).body.append(_table_html(first, part))

    def _printed(self, text: str) -> None:
        rows = text.rstrip("\n").split("\n")
        if len(rows) < 2:  # a line is for who runs the cell
            return
        rows = [row if len(row) <= PRINTED_CHARACTERS else f"{row[: PRINTED_CHARACTERS - 1]}…" for row in rows]
        caption = self._caption(about_pictures=False)
        for i in range(0, len(rows), PRINTED_LINES):
            shown = html.escape("\n".join(rows[i : i + PRINTED_LINES]))
            large = len(rows) <= 12 and max(map(len, rows)) <= 84
            self._start("printed", caption).body.append(f'<pre class="{"large" if large else "small"}">{shown}</pre>')

    def _caption(self, about_pictures: bool) -> str:
        """The sentence before an output that says what it shows; "": none is short enough."""
        room = 3 if len(self._heading) <= 52 else 2  # lines
        short = [sentence for sentence in self._before if lines_of(sentence) <= room]
        about = [s for s in short if _ABOUT_A_PICTURE.search(s)] if about_pictures else []
        return next(iter([*about, *[s for s in short if s.endswith(":")], *short[-1:]]), "")

    def _start(self, kind: str, caption: str = "") -> Slide:
        slide = Slide(self._heading, kind, level=self._level)
        self._level = 2
        if caption:
            slide.body.append(f'<p class="caption">{inline(caption)}</p>')
            slide.notes.append(" ".join(self._before))
            slide.lines = lines_of(caption)
        self.slides.append(slide)
        return slide


def _blocks(text: str) -> list[str]:
    """What stands between blank lines or around headings, lists and formulas; a formula stays whole."""
    text = re.sub(r"^(#{1,6} .*)$", r"\n\n\1\n\n", text, flags=re.MULTILINE)
    formula = re.compile(r"^ *\$\$.*?\$\$", re.DOTALL | re.MULTILINE)
    text = formula.sub(lambda found: "\n\n" + re.sub(r"\n\s*\n", "\n", found[0]) + "\n\n", text)
    return [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip() and block.strip() != "---"]


def _fitting(said: list[str], lines: int) -> str:
    """As many whole sentences, from the first, as have room; the first in any case."""
    kept = said[0] if said else ""
    for sentence in said[1:]:
        if lines_of(f"{kept} {sentence}") > lines:
            break
        kept += f" {sentence}"
    return kept


def _table_html(head: list[list[str]], rows: list[list[str]]) -> str:
    line = lambda row, tag: "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in row) + "</tr>"
    top = f"<thead>{line(head[0], 'th')}</thead>" if head else ""
    kind = ' class="wide"' if rows and len(rows[0]) > 6 else ""
    return f"<table{kind}>{top}<tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>"


def _rows_of_html(table: str) -> list[list[str]]:
    reader = _Cells()
    reader.feed(table)
    return reader.rows


class _Cells(HTMLParser):
    """The words of each cell of an HTML table, escaped again."""

    def __init__(self):
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += html.escape(data.strip("\n"))

"""How long a reader takes for a lecture or the text of a homework: counted, so that no header has to guess."""

import re

from course.authoring.source import SourceFile

WORDS_A_MINUTE = 150  # technical text in a language that is not the reader's own
LINES_A_MINUTE = 10  # of code, with what it shows
MINUTES_A_QUESTION = 3  # to predict, to change a number, to run, to read the answer
PLACE = "{reading time}"  # in a header; the build writes the time there

_QUESTION = re.compile(r"\*\*Question \d+\.\d+\*\*")
_LINK = re.compile(r"\]\([^)]*\)|<!--.*?-->|<[^>]*>", re.DOTALL)
_WORD = re.compile(r"\w[\w’'-]*")


def reading_minutes(source: SourceFile) -> int:
    """Minutes for text, code and questions, in fives; the exercises and the references at the end are not in it.

    Of a homework, the answers are not: the time to find them is not counted here.
    """
    lines = sum(bool(line.strip()) for text in _texts(source, "code") for line in text.split("\n"))
    minutes = words_of(source) / WORDS_A_MINUTE + lines / LINES_A_MINUTE + MINUTES_A_QUESTION * questions_of(source)
    return 5 * round(minutes / 5)


def words_of(source: SourceFile) -> int:
    return len(_WORD.findall(_LINK.sub(" ", _text(source))))


def questions_of(source: SourceFile) -> int:
    return len(_QUESTION.findall(_text(source)))


def in_words(source: SourceFile) -> str:
    """``"about 75 minutes (6,700 words, 10 questions)"``"""
    words, questions = round(words_of(source), -2), questions_of(source)
    asked = f", {questions} question{'s' * (questions != 1)}" if questions else ""
    return f"about {reading_minutes(source)} minutes ({words:,} words with code to read{asked})"


def _text(source: SourceFile) -> str:
    text = "\n".join(_texts(source, "markdown"))
    return re.split(r"^## (?:Exercises|References)\b", text, maxsplit=1, flags=re.MULTILINE)[0]


def _texts(source: SourceFile, kind: str) -> list[str]:
    """What a reader receives: the cells of a kind, without the answers in them."""
    return [cell.stripped("").text for cell in source.cells if cell.kind == kind]

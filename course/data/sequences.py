"""Sequences of words, drawn: ``sentiment``, ``lookup`` and ``reversal``, each built to show one thing about order.

A word is a whole number, and the set's vocabulary says which word. Four words stand for no word of a sentence, and have
the same numbers in every set: `PADDING` fills up to the longest, `START` is what a decoder is given first, `END` says
that nothing follows, `MASK` hides a word (and asks for it).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from course.data.imageset import rows

PADDING, START, END, MASK = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<mask>")

NOT = "not"
GOOD = ("good", "great", "fine", "lovely", "clever", "funny", "warm", "bright")
BAD = ("bad", "poor", "weak", "ugly", "stupid", "boring", "cold", "dull")
NEUTRAL = (
    "the",
    "a",
    "this",
    "film",
    "book",
    "story",
    "plot",
    "cast",
    "scene",
    "ending",
    "opening",
    "music",
    "and",
    "but",
    "with",
    "so",
    "then",
    "it",
    "was",
    "felt",
    "one",
    "two",
    "evening",
    "again",
)
SENTIMENT_WORDS = (*SPECIAL, NOT, *GOOD, *BAD, *NEUTRAL)
SENTIMENT_CLASSES = {"sentiment": ["negative", "positive"]}
SHORTEST, LONGEST = 10, 24  # words of a sentence
NEGATIONS = 3

NAMES, NUMBERS = 16, 8
PAIRS = 12
LOOKUP_WORDS = (*SPECIAL, *"abcdefghijklmnop", *map(str, range(NUMBERS)))
LOOKUP_CLASSES = {"number": [str(number) for number in range(NUMBERS)]}

LETTERS = "abcdefghijklmnopqrstuvwxyz"
REVERSAL_WORDS = (*SPECIAL, *LETTERS)
REVERSAL_LENGTHS = (5, 8)


@dataclass(frozen=True, eq=False, repr=False)
class SequenceSet:
    """Sequences and what belongs to each, on one device: ``words, labels = load("sentiment")``.

    Attributes:
        words: int64, (N, L), filled up with `PADDING`; ``lookup``: (N, L, 2).
        labels: int64, (N,); ``reversal``: (N, M), filled up with `PADDING`.
        vocabulary: ``vocabulary[words[i, n]]`` is the word.
        classes: the class names, ``classes[labels[i]]``; where the labels are words, the vocabulary.
        name, split: where it came from.
    """

    words: Tensor
    labels: Tensor
    vocabulary: Sequence[str]
    classes: Sequence[str]
    name: str
    split: str

    @property
    def lengths(self) -> Tensor:
        """How many words each sequence has, padding not counted, (N,)."""
        lines = self.words.flatten(2)[..., 0] if self.words.ndim > 2 else self.words  # (N, L)
        return (lines != PADDING).sum(dim=1)

    def text(self, words: Tensor) -> str:
        """A sequence (L,) or (L, 2) in words, without its padding; what stands at one place is joined by ``=``."""
        rows = words.tolist()
        shown = [[row] if isinstance(row, int) else row for row in rows]
        return " ".join("=".join(self.vocabulary[word] for word in row) for row in shown if row[0] != PADDING)

    def subset(self, chosen: int | slice | Sequence[int] | Tensor) -> "SequenceSet":
        """The first n sequences (an int), or those at the given indices (a slice, list, index or mask tensor).

        Raises:
            ValueError: more sequences are asked for than there are.
        """
        chosen = rows(chosen, self.words, f"{self.name}/{self.split}", "sequences")
        return replace(self, words=self.words[chosen], labels=self.labels[chosen])

    def to(self, device: torch.device | str) -> "SequenceSet":
        """The same set on another device."""
        return replace(self, words=self.words.to(device), labels=self.labels.to(device))

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.words, self.labels))

    def __repr__(self) -> str:
        size = "×".join(str(length) for length in self.words.shape[1:])
        return (
            f"{self.name}/{self.split}: {len(self)} sequences {size} of {len(self.vocabulary)} words on "
            f"{self.words.device}, labels {tuple(self.labels.shape)}"
        )


def draw_sentiment(random: np.random.Generator, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Sentences of which only the order tells the sentiment: "not" turns the word behind it into its opposite.

    Each sentence has 1 to 3 good words, 1 to 3 bad ones and three times "not". If it is positive, one "not" stands before
    each bad word, if it is negative, before each good word; those that are left stand before neutral words, where they
    say nothing. The parts come in any order; 10 to 24 words in all.

    Built to show: who reads pairs of neighbours ("not good") knows the answer from any good or bad word; the words as a
    *bag* say nothing at all. The control is a network that is blind to order, or the same sentences with their words shuffled:
    every bag of words comes with both labels equally often, so such a network is right in exactly half of the cases,
    whatever it is and however much data it gets.

    Returns:
        int64 words (count, 24) and ``{"sentiment": (count,)}``, 1 for positive.
    """
    good, bad, neutral = (np.array([SENTIMENT_WORDS.index(w) for w in kind]) for kind in (GOOD, BAD, NEUTRAL))
    negation = SENTIMENT_WORDS.index(NOT)
    words = np.full((count, LONGEST), PADDING)
    positive = random.integers(2, size=count)
    for row, label in zip(words, positive):
        length = random.integers(SHORTEST, LONGEST, endpoint=True)
        goods, bads = (list(random.choice(kind, random.integers(1, 3, endpoint=True))) for kind in (good, bad))
        plain, turned = (goods, bads) if label else (bads, goods)
        others = list(random.choice(neutral, length - NEGATIONS - len(goods) - len(bads)))
        turned += [others.pop() for _ in range(NEGATIONS - len(turned))]
        parts = [[word] for word in (*plain, *others)] + [[negation, word] for word in turned]
        random.shuffle(parts)
        row[:length] = [word for part in parts for word in part]
    return words, {"sentiment": positive}


def draw_lookup(random: np.random.Generator, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Twelve pairs of a name and a number, then one of the names alone: which number was it?

    All names of a sequence differ, numbers may come twice. A place holds a name and a number, and the last one a name and
    `MASK`, so that no network has to find out first what belongs together.

    Built to show: attention finds one of many things by its content at once, while a recurrent network has to carry all
    of them in one vector until it is asked. The control is the shorter list (the last 4 pairs and the question, where
    that has its answer among them) and guessing, 1/8: no single place knows both the name and its number that is asked.

    Returns:
        int64 words (count, 13, 2) and ``{"number": (count,)}``, 0 to 7.
    """
    names = len(SPECIAL) + random.permuted(np.tile(np.arange(NAMES), (count, 1)), axis=1)[:, :PAIRS]  # (B, 12)
    number = random.integers(NUMBERS, size=(count, PAIRS))
    asked = random.integers(PAIRS, size=count)
    rows = np.arange(count)
    words = np.empty((count, PAIRS + 1, 2), dtype=np.int64)
    words[:, :-1, 0], words[:, :-1, 1] = names, len(SPECIAL) + NAMES + number
    words[:, -1, 0], words[:, -1, 1] = names[rows, asked], MASK
    return words, {"number": number[rows, asked]}


def draw_reversal(random: np.random.Generator, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A word of 5 to 8 letters, to be written backwards and ended: "c a f f e" → "e f f a c <end>".

    Built to show: an encoder and a decoder, where each letter that is written is copied from one place of the source.
    The letters are drawn independently, so what was written already says nothing about the next one: a decoder that
    does not look at the source is right in one letter of 26 (the control), apart from where the word ends.

    Returns:
        int64 words (count, 8) and ``{"reversed": (count, 9)}``: the letters backwards, `END`, and `PADDING`.
    """
    shortest, longest = REVERSAL_LENGTHS
    length = random.integers(shortest, longest, endpoint=True, size=(count, 1))
    place = np.arange(longest + 1)
    letters = random.integers(len(SPECIAL), len(REVERSAL_WORDS), size=(count, longest))
    words = np.where(place[:-1] < length, letters, PADDING)
    backwards = np.take_along_axis(letters, np.maximum(length - 1 - place, 0), axis=1)  # (B, 9)
    return words, {"reversed": np.select([place < length, place == length], [backwards, END], PADDING)}

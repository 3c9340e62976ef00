"""``narrated_digits``: a short clip of a digit, a tone, and two sentences of which one names the digit.

Built to show: what is learned from things that come together, without a label. A clip, its tone and its sentences have the
digit in common and nothing else: the motion, the digit's place, the tone's loudness and phase, and all other words are
drawn independently. Nothing says of the two sentences which one names the digit: people who talk over a video often
speak of something else (Miech et al. 2020). The digits of the train and the test split are different images.

The controls: an untrained network, which finds the right one of ten tones or words in one case of ten, and the same set
with its tones and sentences dealt to other clips, of which nothing can be learned.

``load("narrated_digits")`` asks for the ``digit``, int64 (N,), or the ``motion``. Its other labels are what comes with the
clip: ``tone``, float32 (N, 256), and ``words``, int64 (N, 2, 5), numbers of `VOCABULARY`.
"""

import numpy as np

from course.data.digits import DIGIT, MOTIONS, moving, split_digits

FRAMES, FRAME = 4, 10
NOISE = 0.1

SAMPLES, PERIOD = 256, 32  # samples of a tone; within PERIOD of them, a digit d swings d + LOWEST times
LOWEST = 2
LOUDNESS = (0.5, 1.5)
TONE_NOISE = 0.5

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
OTHER_WORDS = (
    "a",
    "the",
    "this",
    "that",
    "now",
    "here",
    "look",
    "see",
    "and",
    "then",
    "so",
    "it",
    "is",
    "was",
    "what",
    "we",
    "you",
    "they",
    "again",
    "today",
)
VOCABULARY = (*DIGIT_WORDS, *OTHER_WORDS)
SENTENCES, WORDS = 2, 5

CLASS_NAMES = {
    "digit": list(DIGIT_WORDS),
    "motion": list(MOTIONS),
    "tone": [f"sample {sample}" for sample in range(SAMPLES)],
    "words": list(VOCABULARY),
}


def draw(random: np.random.Generator, count: int, split: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw clips, and what comes with them.

    Returns:
        uint8 clips (count, 4, 1, 10, 10); ``{"digit": (count,), "motion": (count,), "tone": (count, 256), "words":
        (count, 2, 5)}``.
    """
    grey, label = split_digits(split)
    chosen = random.integers(len(grey), size=count)
    motion = random.integers(len(MOTIONS), size=count)
    digit = label[chosen]
    clips = _clips(random, grey[chosen], motion)
    tone, words = _tones(random, digit), _sentences(random, digit)
    return clips, {"digit": digit, "motion": motion, "tone": tone, "words": words}


def _clips(random: np.random.Generator, grey: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A digit that goes as far as it can, from one side to the other, at a random place across: (B, 4, 1, 10, 10)."""
    count, last = len(grey), FRAME - DIGIT
    velocity = np.array(list(MOTIONS.values()))[motion]  # (B, 2) as (x, y)
    across = random.integers(last, size=(count, 2), endpoint=True)
    start = np.where(velocity == 0, across, np.where(velocity > 0, 0, last))
    places = [(start + frame * velocity).clip(0, last) for frame in range(FRAMES)]
    return moving(random, grey, places, FRAME, NOISE)


def _tones(random: np.random.Generator, digit: np.ndarray) -> np.ndarray:
    """Sines whose pitch is the digit's, of random phase and loudness, in noise: (B, 256)."""
    count = len(digit)
    phase, loudness = random.uniform(0, 2 * np.pi, (count, 1)), random.uniform(*LOUDNESS, (count, 1))
    turns = (LOWEST + digit[:, None]) * np.arange(SAMPLES) / PERIOD  # (B, S)
    tone = loudness * np.sin(2 * np.pi * turns + phase) + TONE_NOISE * random.standard_normal((count, SAMPLES))
    return tone.astype(np.float32)


def _sentences(random: np.random.Generator, digit: np.ndarray) -> np.ndarray:
    """Words that say nothing, but for one, at any place of one of the sentences: (B, 2, 5)."""
    count = len(digit)
    words = random.integers(len(DIGIT_WORDS), len(VOCABULARY), size=(count, SENTENCES, WORDS))
    words[np.arange(count), random.integers(SENTENCES, size=count), random.integers(WORDS, size=count)] = digit
    return words

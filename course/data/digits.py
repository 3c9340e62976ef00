"""``digits``: scikit-learn's 1,797 handwritten digits, and ``digit_video``: the same digits, moving.

The digits come inside the scikit-learn wheel (UCI Optical Recognition of Handwritten Digits, test part), so
both sets need no network.
"""

import gzip
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

TRAIN_IMAGES = 1400
DIGIT = 8
CLASS_NAMES = {"digit": [str(digit) for digit in range(10)]}

FRAMES = 5  # odd: there is a middle frame
FRAME = 16
VIDEO_NOISE = 0.1
MOTIONS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}  # pixels a frame, (x, y)
VIDEO_CLASS_NAMES = {"motion": list(MOTIONS), **CLASS_NAMES}


@cache
def split_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Grey values 0..1, float32 (N, 8, 8), and labels int64 (N,) of the fixed split, 1,400 and 397."""
    images, target = _of_scikit_learn()
    # RandomState's streams are frozen by NumPy's own promise, so the split stays the same in every version.
    order = np.random.RandomState(0).permutation(len(images))
    chosen = order[:TRAIN_IMAGES] if split == "train" else order[TRAIN_IMAGES:]
    return (images[chosen] / 16).astype(np.float32), target[chosen].astype(np.int64)


def _of_scikit_learn() -> tuple[np.ndarray, np.ndarray]:
    """Grey values 0..16 (1797, 8, 8) and labels (1797,), from the file in its package: loading it takes a second."""
    found = find_spec("sklearn")
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz" if found and found.origin else None
    if path is None or not path.is_file():
        from sklearn.datasets import load_digits

        digits = load_digits()
        return digits.images, digits.target
    with gzip.open(path, "rt", encoding="utf-8") as file:
        table = np.loadtxt(file, delimiter=",")  # (1797, 65): 64 grey values and the label
    return table[:, :-1].reshape(-1, DIGIT, DIGIT), table[:, -1].astype(int)


def read(split: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All digits of a split: uint8 (N, 1, 8, 8) and ``{"digit": (N,)}``."""
    grey, label = split_digits(split)
    return np.rint(grey * 255).astype(np.uint8)[:, None], {"digit": label.copy()}


def draw_video(random: np.random.Generator, count: int, split: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Clips of one digit sliding one pixel a frame over a 16×16 frame; labels ``motion`` and ``digit``.

    The start is drawn so that two ceilings hold exactly, whatever the model and however much data it gets:

    * the *middle* frame has the same distribution under all four motions: one frame tells nothing (25 %);
    * right and left show the same *set* of frames, down and up likewise: a model that is blind to the order
      of the frames (their mean, or attention without a time code) gets at most 50 %.

    The digits of the train and the test split are different images.

    Returns:
        uint8 clips (count, 5, 1, 16, 16) and ``{"motion": (count,), "digit": (count,)}``, int64.
    """
    grey, label = split_digits(split)
    chosen = random.integers(len(grey), size=count)
    motion = random.integers(len(MOTIONS), size=count)
    velocity = np.array(list(MOTIONS.values()))[motion]  # (B, 2) as (x, y)
    half = FRAMES // 2
    middle = random.integers(half, FRAME - DIGIT - half, size=(count, 2), endpoint=True)  # stays inside
    places = [middle + (frame - half) * velocity for frame in range(FRAMES)]
    return moving(random, grey[chosen], places, FRAME, VIDEO_NOISE), {"motion": motion, "digit": label[chosen]}


def moving(
    random: np.random.Generator, grey: np.ndarray, places: Sequence[np.ndarray], frame: int, noise: float
) -> np.ndarray:
    """Digits (B, 8, 8) on dark frames, in noise.

    Args:
        places: of each of the T frames (B, 2) as (x, y): where a digit's upper left corner is.
        frame: height and width of a frame in pixels.

    Returns:
        uint8 clips (B, T, 1, frame, frame).
    """
    clips = np.zeros((len(grey), len(places), 1, frame, frame), dtype=np.float32)
    clip, reach = np.arange(len(grey))[:, None, None], np.arange(DIGIT)
    for t, place in enumerate(places):
        left, top = place.T
        rows, columns = (top[:, None] + reach)[:, :, None], (left[:, None] + reach)[:, None, :]
        clips[clip, t, 0, rows, columns] = grey
    clips += noise * random.standard_normal(clips.shape, dtype=np.float32)
    return np.rint(clips.clip(0, 1) * 255).astype(np.uint8)

"""``two_questions``: the same pixels, two ten-class questions, one local and one global.

Every image is a noisy striped ground with one red plus and one blue ring on it, and carries two labels:

* ``texture``: which way the stripes run. *Local*: any small window of the image answers it.
* ``relation``: in which direction the ring lies from the plus. *Global*: both glyphs are in every image,
  farther apart than a small window reaches, and where one of them lies gives little away (knowing that
  exactly, one is right in 35 of 100 images; knowing both, always); so neither one window nor a bag of windows
  answers it, only content together with position does.

A CNN of 9 px receptive field therefore answers the first and is at chance on the second, as long as nothing tells
its windows apart: with circular padding. Zeros around the image mark its borders, and a window near one knows where it
is: who knows of each glyph which borders it is within 3 px of is right in 39 in 100 images, within 6 px (what windows
of 9 px that reach over a border see) in 67 in 100, and such a CNN leaves chance in a long training (lecture 3). A
transformer without position codes stays at chance, however much data it gets. A horizontal flip changes both labels:
augmentation is not free.
"""

import numpy as np

CLASSES = 10
SIZE = 32
GLYPH = 6
# Centre to centre, in pixels. A window of 9 px never holds pixels of both, one of 13 px does at the smallest distance.
DISTANCE = (15.0, 21.0)
# Directions keep off the edges of their sector by this share of it, so that rounding to pixels is harmless.
SECTOR_MARGIN = 0.1
WAVELENGTH = (3.6, 4.4)
STRIPE_CONTRAST = 0.08
NOISE = 0.15
GROUND = (0.35, 0.55)
GLYPH_COLOUR_JITTER = 0.15
RED = (0.95, 0.25, 0.15)
BLUE = (0.15, 0.35, 0.95)

PLUS = np.zeros((GLYPH, GLYPH), dtype=np.float32)
PLUS[2:4, :] = PLUS[:, 2:4] = 1
RING = np.ones((GLYPH, GLYPH), dtype=np.float32)
RING[2:4, 2:4] = 0
RING[[0, 0, -1, -1], [0, -1, 0, -1]] = 0

# Angles as in mathematics: counter-clockwise, 0° to the right. A direction is named by its sector's middle.
CLASS_NAMES = {
    "relation": [f"{36 * k + 18}°" for k in range(CLASSES)],
    "texture": [f"{18 * k}°" for k in range(CLASSES)],
}


def draw(random: np.random.Generator, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw images and both their labels.

    Returns:
        uint8 images (count, 3, 32, 32) and ``{"relation": (count,), "texture": (count,)}``, int64.
    """
    texture = random.integers(CLASSES, size=count)
    relation = random.integers(CLASSES, size=count)
    images = _striped_ground(random, texture)  # (B, 3, H, W)

    angle = 2 * np.pi / CLASSES * (relation + random.uniform(SECTOR_MARGIN, 1 - SECTOR_MARGIN, count))
    distance = random.uniform(*DISTANCE, count)
    plus, ring = [], []
    for step in (distance * np.cos(angle), -distance * np.sin(angle)):  # along x, then y, which points down
        start, end = _place(random, step)
        plus.append(start)
        ring.append(end)
    _paint(random, images, PLUS, RED, *plus)
    _paint(random, images, RING, BLUE, *ring)
    return (images.clip(0, 1) * 255).astype(np.uint8), {"relation": relation, "texture": texture}


def _striped_ground(random: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Sine stripes along 18°·texture, with random phase, colour and noise: (B, 3, H, W)."""
    count = len(texture)
    across = np.pi * texture / CLASSES  # the stripes' direction; the wave runs at right angles to it
    wave_x, wave_y = (part.astype(np.float32)[:, None, None] for part in (np.sin(across), np.cos(across)))
    wavelength = random.uniform(*WAVELENGTH, (count, 1, 1)).astype(np.float32)
    phase = random.uniform(0, 2 * np.pi, (count, 1, 1)).astype(np.float32)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    stripes = np.sin(2 * np.pi * (x * wave_x + y * wave_y) / wavelength + phase)  # (B, H, W)
    ground = random.uniform(*GROUND, (count, 3, 1, 1)).astype(np.float32)
    noise = random.standard_normal((count, 3, SIZE, SIZE), dtype=np.float32)
    return ground + STRIPE_CONTRAST * stripes[:, None] + NOISE * noise


def _place(random: np.random.Generator, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left (or upper) edges of both glyphs along one axis, `step` apart, anywhere both still fit."""
    last = SIZE - GLYPH
    low, high = np.maximum(-step, 0), last - np.maximum(step, 0)
    start = np.rint(random.uniform(low, high)).astype(np.int64)
    return start, (start + np.rint(step).astype(np.int64)).clip(0, last)


def _paint(
    random: np.random.Generator,
    images: np.ndarray,
    glyph: np.ndarray,
    colour: tuple[float, ...],
    left: np.ndarray,
    top: np.ndarray,
) -> None:
    """Put the glyph on every image, in place. Its colour jitters, and says nothing about either label."""
    count = len(images)
    jitter = GLYPH_COLOUR_JITTER * random.uniform(-0.5, 0.5, (count, 3))
    colours = (np.array(colour) + jitter).astype(np.float32)
    reach = np.arange(GLYPH)
    image = np.arange(count)[:, None, None]
    rows = (top[:, None] + reach)[:, :, None]  # (B, 6, 1)
    columns = (left[:, None] + reach)[:, None, :]  # (B, 1, 6)
    for channel in range(3):
        under = images[image, channel, rows, columns]  # (B, 6, 6)
        images[image, channel, rows, columns] = under * (1 - glyph) + glyph * colours[:, channel, None, None]

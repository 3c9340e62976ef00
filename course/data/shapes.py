"""``shapes``: a few flat shapes of very different sizes on a flat ground; a mask, and a box for each.

Built to show: what a pixel belongs to is told by an outline, which may be far away, and not by what is there. Discs, rings,
squares and triangles take their colours as the ground does, and no colour is anybody's own. A network therefore has to see
whole shapes to name their insides, and to keep places to tell their borders. The shapes of an image come from three
groups of sizes, by area, the same for every kind: what is lost where a map is coarse is lost for the small ones first.

The controls: who knows a pixel's colour alone, or the 5×5 pixels around it where all of them are of one shape, says no
better than one who always answers with the most frequent class. Boxes do not overlap, so a pixel of a shape lies in one
box only.

``load("shapes")`` asks for the ``mask``, int64 (N, H, W): 0 is ground. Its other labels have a row for each object:
``kind``, int64 (N, 4), and ``box``, float32 (N, 4, 4): centre x, centre y, width and height in units of the image's side,
those of the mask's pixels. Where an image has fewer objects, the last rows are filled up: `NOTHING` and zeros.
"""

import numpy as np
import torch
from torch import Tensor

from course.data.imageset import ImageSet

SIZE = 64
KINDS = ("disc", "ring", "square", "triangle")
MOST = 4  # objects in an image
NOTHING = -1  # the kind of no object
CLASS_NAMES = {
    "mask": ["ground", *KINDS],
    "kind": list(KINDS),
    "box": ["centre x", "centre y", "width", "height"],
}

# The square root of the area, in pixels. The large ones are placed first, while there is room.
SIZES = {"large": (19.0, 25.0), "medium": (11.0, 15.0), "small": (6.0, 9.0)}
# Width of the box for an area of 1; the ring's hole is half as wide as the ring, the triangle as high as it is wide.
BOX = {"disc": (4 / np.pi) ** 0.5, "ring": (16 / (3 * np.pi)) ** 0.5, "square": 1.0, "triangle": 2**0.5}
GAP = 2  # pixels between two boxes, and between a box and the image's border
TRIES = 30
NOISE = 0.05
COLOUR = (0.1, 0.9)
CONTRAST = 0.4  # at least, between a shape and the ground, as the distance of two colours


def draw(random: np.random.Generator, count: int, needed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw images, and what there is to say of them.

    Args:
        random: places and colours of all `count` images come from it, and then the noise, image by image.
        count: how many images the random numbers are for.
        needed: only the first so many are painted and returned; they are the same whatever it is.

    Returns:
        uint8 images (needed, 3, 64, 64); ``{"mask": (needed, 64, 64), "kind": (needed, 4), "box": (needed, 4, 4)}``.
    """
    images = np.empty((needed, 3, SIZE, SIZE), dtype=np.float32)
    mask = np.zeros((needed, SIZE, SIZE), dtype=np.int64)
    kinds = np.full((count, MOST), NOTHING)
    boxes = np.zeros((count, MOST, 4), dtype=np.float32)
    for index, (kind, box) in enumerate(zip(kinds, boxes)):
        ground = random.uniform(*COLOUR, 3)
        if index < needed:
            images[index] = ground[:, None, None]
        number = 0
        wanted = random.integers(len(SIZES), size=random.integers(1, MOST, endpoint=True))
        for group in sorted(wanted):
            which = int(random.integers(len(KINDS)))
            side = round(random.uniform(*list(SIZES.values())[group]) * BOX[KINDS[which]])
            place = _free_place(random, box[:number] * SIZE, side)
            if place is None:
                continue  # no room: an object less
            left, top = place
            colour = _another_colour(random, ground)
            if index < needed:
                inside = _inside(KINDS[which], side)  # (side, side)
                mask[index, top : top + side, left : left + side][inside] = 1 + which
                images[index, :, top : top + side, left : left + side][:, inside] = colour[:, None]
            kind[number] = which
            box[number] = np.array([left + side / 2, top + side / 2, side, side]) / SIZE
            number += 1
        shuffled = random.permutation(number)  # which comes first says nothing
        kind[:number], box[:number] = kind[shuffled], box[shuffled]
    images += NOISE * random.standard_normal(images.shape, dtype=np.float32)
    said = {"mask": mask, "kind": kinds[:needed], "box": boxes[:needed]}
    return (images.clip(0, 1) * 255).astype(np.uint8), said


def objects(data: ImageSet) -> list[tuple[Tensor, Tensor]]:
    """For each image the kinds (M,) and boxes (M, 4) of its objects, without what fills up: what a detector is to find."""
    kinds, boxes = data.all_labels["kind"], data.all_labels["box"]
    return [(kind[kind != NOTHING], box[kind != NOTHING]) for kind, box in zip(kinds, boxes)]


def object_sides(data: ImageSet) -> list[Tensor]:
    """For each image (M,): the square root of each object's area, in pixels."""
    wide = torch.tensor([BOX[kind] for kind in KINDS], device=data.images.device)
    return [SIZE * box[:, 2] / wide[kind] for kind, box in objects(data)]


def _free_place(random: np.random.Generator, boxes: np.ndarray, side: int) -> tuple[int, int] | None:
    """Left and upper edge of a square that keeps off `boxes` (M, 4), in pixels; None if none was found."""
    for _ in range(TRIES):
        left, top = (int(edge) for edge in random.integers(GAP, SIZE - side - GAP, 2, endpoint=True))
        apart = np.abs(boxes[:, :2] - (left + side / 2, top + side / 2)) - (boxes[:, 2:] + side) / 2  # (M, 2)
        if (apart >= GAP).any(1).all():
            return left, top
    return None


def _inside(kind: str, side: int) -> np.ndarray:
    """Which pixels of its box a shape has, (side, side) truth values. Every border of the box touches some."""
    row, column = np.mgrid[:side, :side]
    y, x = 2 * row + 1 - side, 2 * column + 1 - side  # of the pixel's centre, in half pixels from the box's
    if kind == "square":
        return np.ones((side, side), dtype=bool)
    if kind == "triangle":  # as wide as at the lower border of the row; its tip is above
        return np.abs(x) <= row + 1
    distance = x**2 + y**2
    return (distance <= side**2) & ((kind == "disc") | (4 * distance >= side**2))


def _another_colour(random: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """(3,), as the ground's was drawn, but far enough from it."""
    while True:
        colour = random.uniform(*COLOUR, 3)
        if np.linalg.norm(colour - ground) >= CONTRAST:
            return colour

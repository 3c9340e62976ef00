"""Photographs for a cell that trains on them where they can be had, and says how to have them where they cannot."""

import torch
from torch import Tensor

from course.data.catalogue import load
from course.data.cifar import DataError, NotHere
from course.data.imageset import ImageSet

HOW = (
    "CIFAR-10 is not on this machine: run `course data cifar10` in a terminal once, with a network (170 MB), "
    "and then this cell again."
)
PANS = ("right", "left", "down", "up")


def photographs(train: int, test: int) -> tuple[ImageSet, ImageSet] | None:
    """The first so many images of CIFAR-10 to train on and to test with, on the device; downloaded once.

    Returns:
        None where they are not here and cannot be fetched, or are damaged. What to do about it is printed.
    """
    try:
        return load("cifar10", "train", size=train), load("cifar10", "test", size=test)
    except NotHere:
        print(HOW)
    except DataError as error:
        print(error)
    return None


def panned(images: Tensor, motion: Tensor) -> Tensor:
    """Clips of a window that slides over each photograph, two pixels a frame.

    Args:
        images: (B, C, 32, 32), of any type.
        motion: (B,) int64, on their device: the camera goes 0 right, 1 left, 2 down, 3 up (`PANS`).

    Returns:
        (B, 5, C, 24, 24), of the same type.
    """
    x_step, y_step = torch.tensor([[2, 0], [-2, 0], [0, 2], [0, -2]], device=motion.device)[motion].T  # (B,) each
    place = torch.arange(24, device=motion.device)
    which = torch.arange(len(images), device=motion.device)[:, None, None]
    frames = []
    for n in range(-2, 3):
        rows, columns = (4 + n * y_step)[:, None] + place, (4 + n * x_step)[:, None] + place  # (B, 24) each
        frames.append(images[which, :, rows[:, :, None], columns[:, None]].movedim(-1, 1))  # (B, C, 24, 24)
    return torch.stack(frames, dim=1)

"""Augmentation of a whole batch on the device: by index, without a Python loop over images.

Every function takes uint8 or float images (B, C, H, W) or clips (B, T, C, H, W) and a generator on their
device, treats all frames of a clip alike, and returns a new tensor of the same shape and type. Which ones a
training uses is said by name in its recipe. What a flip or a shift does to the *label* is for the person who
chooses it to know.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor


def random_crop(images: Tensor, generator: Generator, padding: int | None = None) -> Tensor:
    """Pad by reflection and cut out the original size at a random place, for each image its own.

    Args:
        images: (B, ..., H, W).
        generator: where the randomness comes from; on the images' device.
        padding: pixels on each side; default an eighth of the height: 4 at 32×32 as usual on CIFAR, 1 at 8×8.
    """
    count, height, width = images.shape[0], *images.shape[-2:]
    padding = height // 8 if padding is None else padding
    if not 0 <= padding < min(height, width):
        raise ValueError(f"padding is {padding}; it is 0 or more and below the size, {height}×{width}")
    offset = torch.randint(
        -padding, padding + 1, (2, count, 1), generator=generator, device=images.device
    )  # (2, B, 1)
    rows = _reflect(torch.arange(height, device=images.device) + offset[0], height)  # (B, H)
    columns = _reflect(torch.arange(width, device=images.device) + offset[1], width)  # (B, W)
    planes = images.flatten(1, -3)  # (B, C, H, W); of clips (B, T·C, H, W)
    image = torch.arange(count, device=images.device)[:, None, None, None]
    plane = torch.arange(planes.shape[1], device=images.device)[:, None, None]
    return planes[image, plane, rows[:, None, :, None], columns[:, None, None, :]].view(images.shape)


def _reflect(index: Tensor, length: int) -> Tensor:
    """Mirror indices back into 0 .. length-1 without the edge twice: -1 -> 1, length -> length-2."""
    index = index.abs()
    return torch.where(index < length, index, 2 * (length - 1) - index)


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left-right with probability one half.

    Args:
        images: (B, ..., H, W).
        generator: where the randomness comes from; on the images' device.
    """
    flipped = torch.rand(len(images), generator=generator, device=images.device) < 0.5  # (B,)
    return torch.where(flipped.view(-1, *[1] * (images.ndim - 1)), images.flip(-1), images)


AUGMENTATIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "random_crop": random_crop,
    "random_flip": random_flip,
}

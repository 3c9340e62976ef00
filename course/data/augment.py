"""Augmentation of a whole batch on the device: without a Python loop over images and without waiting for it.

An augmentation does its work in two steps. ``draw`` makes the random numbers, a row for each image;
``apply`` does to each image what its row says and nothing random. So several processes that draw for the
whole batch and apply to their own rows see together what one process sees, ``apply`` compiles
(``torch.compile(augmentation.apply, fullgraph=True)``), and a test can ask what was drawn.

Images are (B, C, H, W) or clips (B, T, C, H, W), all frames of a clip alike; the result is new, of the same
shape and type. Which augmentations a training uses is said by name in its recipe. What a flip or a shift does
to the *label* is for the person who chooses it to know.

``rand_augment`` has RandAugment; ``mix`` has what acts on normalised images: erasing, mixup, cutmix.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from course.data import colour

ATTEMPTS = 10
"""How often a random rectangle is tried until it fits into the image, as in the reference implementations."""

LARGE = 64 * 64
"""Pixels from which on bytes on a CPU are cropped one image at a time. Below, compiled or not gives the same bytes."""


class Augmentation:
    """One way to change images at random.

    Attributes:
        on_normalised: whether it takes normalised images; otherwise pixels, most often uint8.
    """

    on_normalised = False

    def draw(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """The random numbers, (count, k), on the generator's device.

        Args:
            count: images or clips in the batch.
            size: of the images, (..., C, H, W): ``images.shape`` or ``images.shape[1:]``.
            generator: where all the randomness comes from.
        """
        raise NotImplementedError

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """The images (B, ..., C, H, W), each changed as its row of `drawn` (B, k) says."""
        raise NotImplementedError

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Draw and apply at once; the generator is on the images' device."""
        return self.apply(images, self.draw(len(images), images.shape, generator))


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Pad by reflection and cut out the original size at a random place, for each image its own.

    Args:
        padding: pixels on each side; None: an eighth of the height, 4 at 32×32 as usual on CIFAR.
    """

    padding: int | None = None

    def draw(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """Rows and columns to shift by, (count, 2), whole numbers.

        Raises:
            ValueError: a padding as large as the image.
        """
        height, width = size[-2:]
        padding = height // 8 if self.padding is None else self.padding
        if not 0 <= padding < min(height, width):
            raise ValueError(f"padding is {padding}; it is 0 or more and below the size, {height}×{width}")
        return torch.randint(-padding, padding + 1, (count, 2), generator=generator, device=generator.device)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        count, height, width = images.shape[0], *images.shape[-2:]
        rows = _reflect(torch.arange(height, device=images.device) + drawn[:, :1], height)  # (B, H)
        columns = _reflect(torch.arange(width, device=images.device) + drawn[:, 1:], width)  # (B, W)
        planes = images.flatten(1, -3)  # (B, C, H, W); of clips (B, T·C, H, W)
        image = torch.arange(count, device=images.device)[:, None, None, None]
        plane = torch.arange(planes.shape[1], device=images.device)[:, None, None]
        return planes[image, plane, rows[:, None, :, None], columns[:, None, None, :]].view(images.shape)


def _reflect(index: Tensor, length: int) -> Tensor:
    """Mirror indices back into 0 .. length-1 without the edge twice: -1 -> 1, length -> length-2."""
    index = index.abs()
    return torch.where(index < length, index, 2 * (length - 1) - index)


@dataclass(frozen=True)
class RandomFlip(Augmentation):
    """Mirror each image left-right with probability one half."""

    def draw(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """Whether, (count, 1), bool."""
        return torch.rand(count, 1, generator=generator, device=generator.device) < 0.5

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        if images.device.type == "cpu" and not torch.compiler.is_compiling():
            result, chosen = images.clone(), drawn.flatten()
            result[chosen] = images[chosen].flip(-1)  # elsewhere to choose is to wait for the device
            return result
        return torch.where(drawn.view(-1, *[1] * (images.ndim - 1)), images.flip(-1), images)


@dataclass(frozen=True)
class RandomResizedCrop(Augmentation):
    """Cut out a random rectangle and stretch it to the original size, bilinearly.

    A share of 0.08 to 1 of the area, sides between 3:4 and 4:3, as for "Inception" (Szegedy et al., "Going
    deeper with convolutions", 2015, section 6; arXiv:1409.4842).

    Args:
        area: the least and the largest share.
        side: height and width of the result in pixels; None: those of the images.
    """

    area: tuple[float, float] = (0.08, 1.0)
    side: int | None = None

    def draw(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """Top, left, height, width of the rectangles, (count, 4), in pixels; the whole image if none fits."""
        height, width = size[-2:]
        boxes, fits = random_boxes(count, size, self.area, (3 / 4, 4 / 3), generator)
        whole = (0, 0, height, width)
        columns = [torch.where(fits, *pair) for pair in zip(boxes.unbind(1), whole, strict=True)]
        return torch.stack(columns, 1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        height, width = images.shape[-2:] if self.side is None else (self.side, self.side)
        large = images.shape[-2] * images.shape[-1] >= LARGE and images.dtype == torch.uint8
        if large and images.device.type == "cpu" and not torch.compiler.is_compiling():
            return self._one_by_one(images, drawn, height, width)
        top, left, box_height, box_width = drawn[:, :, None].unbind(1)  # each (B, 1)

        def coordinates(start: Tensor, box: Tensor, length: int) -> Tensor:
            """Where the centres of the new pixels lie in the old image, (B, length); not outside the box."""
            centres = torch.arange(length, device=images.device) + 0.5  # (length,)
            return start + torch.minimum((centres * (box / length)).clamp(min=0.5), box - 0.5)

        y = coordinates(top, box_height, height)[:, :, None].expand(-1, height, width)
        x = coordinates(left, box_width, width)[:, None, :].expand(-1, height, width)
        return resample(images, x, y)

    def _one_by_one(self, images: Tensor, drawn: Tensor, height: int, width: int) -> Tensor:
        """The same, up to one of 255 levels: PyTorch has a kernel for bytes that is ten times as fast as sampling."""
        planes = images.flatten(1, -3)[:, None]  # (B, 1, C, H, W); of clips (B, 1, T·C, H, W)
        result = planes.new_empty(*planes.shape[:3], height, width)
        for number, box in enumerate(drawn.tolist()):
            top, left, high, wide = map(int, box)
            cut = planes[number, :, :, top : top + high, left : left + wide]
            result[number] = F.interpolate(cut, (height, width), mode="bilinear")
        return result.view(*images.shape[:-2], height, width)


def random_boxes(
    count: int,
    size: Sequence[int],
    area: tuple[float, float],
    ratio: tuple[float, float],
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Random rectangles inside an image.

    Args:
        count: how many.
        size: (..., H, W).
        area: the least and the largest share of the image; uniform between.
        ratio: the least and the largest ratio of the sides; its logarithm is uniform between.
        generator: where the randomness comes from.

    Returns:
        Top, left, height, width (count, 4) in whole pixels, as float; and which of `ATTEMPTS` tries led to a
        rectangle that fits into the image, (count,) bool.
    """
    height, width = size[-2:]
    shares, ratios, down, right = torch.rand(
        4, count, ATTEMPTS, generator=generator, device=generator.device
    )  # each (count, ATTEMPTS)
    areas = (area[0] + (area[1] - area[0]) * shares) * height * width
    ratios = torch.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * ratios)
    heights, widths = (areas / ratios).sqrt().round(), (areas * ratios).sqrt().round()
    fits = (heights >= 1) & (widths >= 1) & (heights <= height) & (widths <= width)
    tops, lefts = (down * (height - heights + 1)).floor(), (right * (width - widths + 1)).floor()
    boxes = torch.stack([tops, lefts, heights, widths], 2)  # (count, ATTEMPTS, 4)
    first = fits.long().argmax(1)  # (count,): of several largest, argmax takes the first
    return boxes[torch.arange(count, device=boxes.device), first], fits.any(1)


def in_box(images: Tensor, boxes: Tensor) -> Tensor:
    """Which pixels lie in the rectangle of their image: (B, 1, H, W), of clips (B, 1, 1, H, W), bool.

    Args:
        images: (B, ..., H, W).
        boxes: top, left, height, width (B, 4); they may reach over the edge of the image.
    """
    height, width = images.shape[-2:]
    top, left, box_height, box_width = boxes[:, :, None].unbind(1)  # each (B, 1)
    rows = torch.arange(height, device=images.device)  # (H,)
    columns = torch.arange(width, device=images.device)  # (W,)
    in_rows = (rows >= top) & (rows < top + box_height)  # (B, H)
    in_columns = (columns >= left) & (columns < left + box_width)  # (B, W)
    inside = in_rows[:, :, None] & in_columns[:, None, :]  # (B, H, W)
    return inside.view(-1, *[1] * (images.ndim - 3), height, width)


def resample(images: Tensor, x: Tensor, y: Tensor, fill: float = 0.0) -> Tensor:
    """Images made of other pixels of themselves, between pixels bilinearly.

    Args:
        images: (B, ..., H, W); uint8 are rounded.
        x, y: (B, h, w), the size of the result: where each new pixel looks, in pixels from the left and the upper edge; the centre of
            the first pixel is at 0.5.
        fill: the value outside the image.
    """
    height, width = images.shape[-2:]
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], 3)  # (B, h, w, 2), -1..1
    planes = images.flatten(1, -3).to(grid.dtype) - fill  # (B, ...·C, H, W): outside is 0
    sampled = F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + fill
    if images.dtype == torch.uint8:
        sampled = sampled.round().clamp(0, 255)
    return sampled.to(images.dtype).view(*images.shape[:-2], *x.shape[1:])


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Hide a square, half as long as the image, in the mean colour of the image.

    The centre is anywhere in the image, so that part of the square is often outside (DeVries and Taylor,
    "Improved regularization of convolutional neural networks with cutout", 2017, section 3.2;
    arXiv:1708.04552). They hide 16 of 32 pixels on CIFAR-10, in the mean colour of all images.
    """

    def draw(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """Top, left, height, width, (count, 4), in pixels; top and left may be negative."""
        height, width = size[-2:]
        side = height // 2
        down, right = torch.rand(2, count, generator=generator, device=generator.device)  # each (count,)
        top, left = (down * height).floor() - side // 2, (right * width).floor() - side // 2
        return torch.stack([top, left, *[torch.full_like(top, side)] * 2], 1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        others = [axis for axis in range(1, images.ndim) if axis != images.ndim - 3]
        mean = images.float().mean(others, keepdim=True)  # (B, C, 1, 1)
        mean = mean.round() if images.dtype == torch.uint8 else mean
        return torch.where(in_box(images, drawn), mean.to(images.dtype), images)


@dataclass(frozen=True)
class ThreeAugment(Augmentation):
    """One of three: black and white, solarized (what is 128 or brighter inverted), or blurred.

    Touvron, Cord and Jégou, "DeiT III: Revenge of the ViT", 2022, section 3.1 (arXiv:2204.07118), who use it
    with a colour jitter of 0.3. The blur is Gaussian; its standard deviation is between 0.1 and 2 pixels, as
    there, whatever the size of the images.
    """

    def draw(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """Which of the three, 0, 1, 2, and the blur in pixels, (count, 2)."""
        which, sigma = torch.rand(2, count, generator=generator, device=generator.device)
        return torch.stack([(3 * which).floor(), 0.1 + 1.9 * sigma], 1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        images = colour.checked(images)
        which, sigma = drawn.unbind(1)  # each (B,)
        which = colour.as_strength(which, images)
        result = colour.gaussian_blur(images, sigma, reach=6)
        result = torch.where(which == 1, colour.solarize(images, torch.full_like(sigma, 128)), result)
        return torch.where(which == 0, colour.grey(images).to(torch.uint8), result)


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Brightness, then contrast, then saturation, each by a factor between 1 - strength and 1 + strength.

    Raises:
        ValueError: the strength is not 0..1.
    """

    strength: float

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"the strength of a colour jitter is 0..1, not {self.strength}")

    def draw(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """The three factors, (count, 3)."""
        numbers = torch.rand(count, 3, generator=generator, device=generator.device)
        return 1 + self.strength * (2 * numbers - 1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        images = colour.brightness(colour.checked(images), drawn[:, 0])
        images = colour.contrast(images, drawn[:, 1])
        return colour.saturation(images, drawn[:, 2])


AUGMENTATIONS: dict[str, Augmentation] = {
    "random_crop": RandomCrop(),
    "random_flip": RandomFlip(),
    "random_resized_crop": RandomResizedCrop(),
    "three_augment": ThreeAugment(),
    "cutout": Cutout(),
}

"""RandAugment: two random operations an image, of one strength (Cubuk et al. 2020, arXiv:1909.13719)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from course.data import colour
from course.data.augment import Augmentation, resample

OPERATIONS = (
    "autocontrast",
    "equalize",
    "invert",
    "posterize",
    "solarize",
    "solarize_add",
    "brightness",
    "contrast",
    "color",
    "sharpness",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
NONE = -1
LAYERS = 2  # operations an image
PROBABILITY = 0.5
FILL = 128.0  # where a geometric operation looks outside the image: grey


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """Twice in a row: with probability one half, one of the 15 `OPERATIONS`.

    As DeiT does it (Touvron et al. 2021, arXiv:2012.12877, table 9: "rand-m9-mstd0.5-inc1", of timm), where a
    larger magnitude always changes more. In the paper both operations are always done, and the magnitude is
    the same for all. Three things differ from timm: the geometric operations of an image come after its
    colours and act together, in one bilinear resampling; outside the image is grey, not the mean of the set;
    posterize leaves one bit at least. A statistic of a clip is that of all its frames.

    Args:
        magnitude: 0..10: the mean of the magnitudes.
        std: of the magnitudes, which are normal and cut off at 0 and 10.

    Raises:
        ValueError: a magnitude outside 0..10 or a negative std.
    """

    magnitude: float = 9.0
    std: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.magnitude <= 10 or self.std < 0:
            raise ValueError(
                f"RandAugment takes a magnitude of 0..10 and a std of 0 or more, not {self.magnitude} and {self.std}"
            )

    def draw(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """For each of the two: the number of the operation or -1 for none, and the level, -1..1; (count, 4).

        The sign of a level says into which direction, for operations that have two.
        """
        shape = (count, LAYERS)
        done, which, sign = torch.rand(3, *shape, generator=generator, device=generator.device)
        noise = torch.randn(shape, generator=generator, device=generator.device)
        which = torch.where(done < PROBABILITY, (which * len(OPERATIONS)).floor(), NONE)  # (count, LAYERS)
        level = (self.magnitude + self.std * noise).clamp(0, 10) / 10
        return torch.stack([which, torch.where(sign < 0.5, -level, level)], 2).flatten(1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        images = colour.checked(images)
        layers = drawn.view(len(drawn), LAYERS, 2).unbind(1)  # each (B, 2)
        for layer in layers:
            images = change_colours(images, *layer.unbind(1))
        return move(images, [layer.unbind(1) for layer in layers])


def change_colours(images: Tensor, which: Tensor, level: Tensor) -> Tensor:
    """Do those operations that concern colours; other images stay.

    Args:
        images: (B, ..., C, H, W) uint8.
        which: (B,), index into `OPERATIONS`.
        level: (B,), -1..1.
    """
    strength = level.abs()
    factor = (1 + 0.9 * level).clamp(min=0.1)  # (B,)
    same = colour.identity_table(images)  # (B, C, 256)
    tables = {
        "autocontrast": colour.stretch_table(images),
        "equalize": colour.equalize_table(images),
        "invert": colour.invert(same),
        "posterize": colour.posterize(same, (4 - (4 * strength).floor()).clamp(min=1)),
        "solarize": colour.solarize(same, 256 - (256 * strength).floor()),
        "solarize_add": colour.solarize_add(same, (110 * strength).floor()),
        "brightness": colour.brightness(same, factor),
        "contrast": colour.blend(same, colour.mean_grey(images)[:, None, None], factor),
    }
    table = same
    for name, other in tables.items():
        table = torch.where(_chosen(name, which, table), other, table)
    changed = colour.look_up(images, table)
    changed = torch.where(_chosen("color", which, images), colour.saturation(images, factor), changed)
    return torch.where(_chosen("sharpness", which, images), colour.sharpness(images, factor), changed)


def move(images: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Do those operations that move pixels, one after the other, in one resampling; other images stay.

    Args:
        images: (B, ..., C, H, W) uint8.
        layers: for each layer the operations (B,), index into `OPERATIONS`, and the levels (B,), -1..1.
    """
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device) + 0.5,
        torch.arange(width, device=images.device) + 0.5,
        indexing="ij",
    )  # (H, W)
    x, y = x.expand(len(images), -1, -1), y.expand(len(images), -1, -1)  # (B, H, W)
    for which, level in reversed(layers):  # from a new pixel back to where it was at first
        which, level = which[:, None, None], level[:, None, None]  # (B, 1, 1)

        def of(name: str, amount: Tensor, which: Tensor = which) -> Tensor:
            return torch.where(which == OPERATIONS.index(name), amount, 0.0)  # (B, 1, 1)

        angle = of("rotate", level * math.radians(30))
        right, down = x - width / 2, y - height / 2
        turned = which == OPERATIONS.index("rotate")
        x, y = (
            torch.where(turned, angle.cos() * right - angle.sin() * down + width / 2, x),
            torch.where(turned, angle.sin() * right + angle.cos() * down + height / 2, y),
        )
        x, y = (
            x + of("shear_x", 0.3 * level) * y + of("translate_x", 0.45 * level * width),
            y + of("shear_y", 0.3 * level) * x + of("translate_y", 0.45 * level * height),
        )
    return resample(images, x, y, FILL)


def _chosen(name: str, which: Tensor, like: Tensor) -> Tensor:
    return colour.as_strength(which == OPERATIONS.index(name), like)

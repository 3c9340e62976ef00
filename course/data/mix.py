"""Augmentation of normalised images: random erasing, and mixup and cutmix, which change the labels too.

These come last and take float images of mean 0 and standard deviation 1: only there is normal noise as strong
as a picture, and a mixture of two images is no longer of whole numbers. What comes before is in ``augment``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from course.data.augment import Augmentation, in_box, random_boxes

TRIES = 64  # of the rejection sampling of a Beta number


def _checked(images: Tensor) -> Tensor:
    if not images.is_floating_point():
        raise ValueError(
            f"erasing and mixing are for normalised images; these are {images.dtype}: pass normalise(images)"
        )
    return images


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """Replace a random rectangle by normal noise, each pixel and channel its own.

    Zhong et al., "Random erasing data augmentation", 2020 (arXiv:1708.04896), with the noise of DeiT: 2 % to
    a third of the area, sides between 3:10 and 10:3. All frames of a clip get the same noise.

    Args:
        probability: with which an image is changed.

    Raises:
        ValueError: a probability outside 0..1.
    """

    on_normalised = True
    probability: float

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a probability is 0..1, not {self.probability}")

    def draw(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """Top, left, height, width in pixels (height 0: nothing), then the noise; (count, 4 + C·H·W).

        Args:
            size: here the last three count: channels, height, width.

        Raises:
            ValueError: a size without channels.
        """
        if len(size) < 3:
            raise ValueError(f"the size {tuple(size)} has no channels; pass images.shape")
        boxes, fits = random_boxes(count, size, (0.02, 1 / 3), (0.3, 1 / 0.3), generator)
        erased = torch.rand(count, generator=generator, device=generator.device) < self.probability
        noise = torch.randn(count, math.prod(size[-3:]), generator=generator, device=generator.device)
        return torch.cat([boxes * (fits & erased)[:, None], noise], 1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        noise = drawn[:, 4:].to(_checked(images).dtype)  # (B, C·H·W)
        noise = noise.view(-1, *[1] * (images.ndim - 4), *images.shape[-3:])  # (B, ..., C, H, W)
        return torch.where(in_box(images, drawn[:, :4]), noise, images)


@dataclass(frozen=True)
class Mix(Augmentation):
    """Mixup or cutmix: each image is mixed with its neighbour in the batch, 2k with 2k + 1, by a share λ.

    Mixup (Zhang et al. 2018, arXiv:1710.09412) adds λ times the one and 1 - λ times the other; cutmix (Yun et
    al. 2019, arXiv:1905.04899) puts a rectangle of the other into the one, of 1 - λ of the area. λ is one
    number for the batch. With both, a batch gets one of them, half and half. Neighbours, so that a slice of
    even length of a batch is mixed as in the whole batch; an odd last image is left alone.

    Args:
        mixup, cutmix: α of the Beta(α, α) that λ comes from; 0: not this one. The larger, the more alike the
            shares.

    Raises:
        ValueError: one of them is not 0..2.
    """

    on_normalised = True
    mixup: float
    cutmix: float

    def __post_init__(self) -> None:
        if not (0 <= self.mixup <= 2 and 0 <= self.cutmix <= 2):
            raise ValueError(f"mixup and cutmix are 0 (not this) to 2, here {self.mixup} and {self.cutmix}")

    def draw(self, count: int, size: Sequence[int], generator: Generator) -> Tensor:
        """λ, whether it is cutmix, and the rectangle (top, left, height, width); (count, 6), rows alike."""
        height, width = size[-2:]
        switch, down, right = torch.rand(3, generator=generator, device=generator.device)
        cut = switch < (0.5 if self.mixup and self.cutmix else float(self.cutmix > 0))
        share, cut_share = _beta(self.mixup, generator), _beta(self.cutmix, generator)

        def span(length: int, centre: Tensor) -> tuple[Tensor, Tensor]:
            """Start and length of one side: the root of the share of the area, less what is outside."""
            side = (length * (1 - cut_share).sqrt()).floor()
            start = (centre * length).floor() - (side / 2).floor()
            low, high = start.clamp(min=0), (start + side).clamp(max=length)
            return low, high - low

        (top, box_height), (left, box_width) = span(height, down), span(width, right)
        share = torch.where(cut, 1 - box_height * box_width / (height * width), share)
        return torch.stack([share, cut.float(), top, left, box_height, box_width]).expand(count, -1)

    def apply(self, images: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mixed images, and whose labels belong to them.

        Returns:
            Images (B, ..., C, H, W); the partner of each, (B,) int64; and λ (B,), the share of the image's
            own label: the target is λ · y + (1 - λ) · y[partner].
        """
        own = torch.arange(len(images), device=images.device)  # (B,)
        partner = torch.where((own ^ 1) < len(images), own ^ 1, own)  # (B,)
        share, cut = drawn[:, :2].unbind(1)  # each (B,)
        shape = (-1, *[1] * (images.ndim - 1))
        outside = (~in_box(images, drawn[:, 2:])).to(drawn.dtype)  # (B, ..., 1, H, W)
        weight = torch.where(cut.view(shape) > 0, outside, share.view(shape)).to(_checked(images).dtype)
        return weight * images + (1 - weight) * images[partner], partner, share


def _beta(alpha: float, generator: Generator) -> Tensor:
    """One number from Beta(alpha, alpha), without waiting for the device; 1 if alpha is 0.

    Jöhnk's method (1964): of uniform u and v, u^(1/α) / (u^(1/α) + v^(1/α)) wherever that sum is at most 1;
    here in logarithms, for small α, and the first of `TRIES` pairs that passes (one in two for α = 1, one in
    six for α = 2).
    """
    if alpha == 0:
        return torch.ones((), device=generator.device)
    uniform = 1 - torch.rand(2, TRIES, generator=generator, device=generator.device)  # above 0
    first, second = uniform.log() / alpha  # each (TRIES,)
    passes = torch.logaddexp(first, second) <= 0
    return (first - second).sigmoid().take(passes.long().argmax())

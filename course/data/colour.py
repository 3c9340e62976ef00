"""What can be done to the colours of a batch of uint8 images, each image with a strength of its own.

The same numbers as ``torchvision.transforms.v2.functional`` gives for one image at a time. A strength is a
tensor (B,), images are (B, C, H, W) or clips (B, T, C, H, W): all frames of a clip alike, also where an
operation looks at the image first (its mean, its histogram), because a clip that flickers is another clip.

Whatever maps each value by itself is a *table* of the 256 results, (B, C, 256): to try eight such operations
costs 8·256 entries a channel, however large the image is, and one lookup.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)
"""What red, green and blue add to the brightness that people see (ITU-R BT.601)."""


def checked(images: Tensor) -> Tensor:
    """The images themselves.

    Raises:
        ValueError: they are not uint8: what is white, and where a value is clipped, is known of no others.
    """
    if images.dtype != torch.uint8:
        raise ValueError(
            f"colours are changed in uint8 images, 0..255; these are {images.dtype}: augment "
            "before normalising, or turn images of 0..1 into uint8 by (255 * x).byte()"
        )
    return images


def as_strength(strength: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, ...), as many axes as `like` has."""
    return strength.view(-1, *[1] * (like.ndim - 1))


def _stored(values: Tensor) -> Tensor:
    """Float -> uint8: clipped, and truncated as torchvision and Pillow do."""
    return values.clamp(0, 255).to(torch.uint8)


# -- each value by itself: of images or of tables
def identity_table(images: Tensor) -> Tensor:
    """(B, C, 256) uint8: every value stays."""
    values = torch.arange(256, device=images.device).to(torch.uint8)  # (256,)
    return values.expand(len(images), images.shape[-3], 256)


def look_up(images: Tensor, table: Tensor) -> Tensor:
    """Replace every value v of channel c by ``table[:, c, v]``.

    Args:
        images: (B, C, H, W) or (B, T, C, H, W) uint8.
        table: (B, C, 256).
    """
    channels = images.movedim(-3, 1)  # (B, C, ..., H, W)
    result = table.gather(2, channels.flatten(2).long())  # (B, C, ...·H·W)
    return result.view(channels.shape).movedim(1, -3)


def invert(values: Tensor) -> Tensor:
    """White becomes black."""
    return 255 - values


def posterize(values: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest bits (B,), 0..8, of each value; the others become 0."""
    mask = 256 - 2 ** (8 - bits.long())  # (B,)
    return values & as_strength(mask, values).to(torch.uint8)


def solarize(values: Tensor, threshold: Tensor) -> Tensor:
    """Invert what is `threshold` (B,) or brighter."""
    return torch.where(values >= as_strength(threshold, values), 255 - values, values)


def solarize_add(values: Tensor, addition: Tensor) -> Tensor:
    """Brighten by `addition` (B,) what is darker than 128."""
    return torch.where(values < 128, _stored(values + as_strength(addition, values)), values)


def brightness(values: Tensor, factor: Tensor) -> Tensor:
    """Blend with black: 0 is black, 1 no change, more is brighter. Factor (B,)."""
    return _stored(values * as_strength(factor, values))


def blend(values: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """``factor · values + (1 - factor) · other``: 0 is `other`, above 1 leads away from it. Factor (B,)."""
    return _stored(values + (1 - as_strength(factor, values)) * (other - values))  # equal ones stay, exactly


# -- tables that come from the image
def stretch_table(images: Tensor) -> Tensor:
    """The table of autocontrast, (B, C, 256): the darkest value of a channel to 0, the brightest to 255."""
    # As float: compiled for a CPU by torch 2.14, the least of uint8 numbers comes out wrong.
    channels = images.movedim(-3, 1).flatten(2).float()  # (B, C, ...·H·W)
    low, high = channels.amin(2, keepdim=True), channels.amax(2, keepdim=True)  # (B, C, 1)
    table = identity_table(images)
    stretched = (table - low) / torch.where(high > low, (high - low) * (1 / 255), 1)
    return torch.where(high > low, _stored(stretched), table)


def equalize_table(images: Tensor) -> Tensor:
    """The table that spreads a channel's values evenly over 0..255, (B, C, 256).

    From the cumulative histogram, as Pillow does it: the pixels of the brightest value do not count, and the
    divisions are of whole numbers. A channel that has too few other pixels (fewer than 255) stays.
    """
    channels = images.movedim(-3, 1).flatten(2).long()  # (B, C, N)
    counts = torch.zeros(*channels.shape[:2], 256, dtype=torch.long, device=images.device)
    counts = counts.scatter_add(2, channels, torch.ones_like(channels))  # (B, C, 256)
    brightest = counts.gather(2, channels.amax(2, keepdim=True))  # (B, C, 1)
    step = (channels.shape[2] - brightest) // 255  # (B, C, 1)
    below = counts.cumsum(2) - counts  # (B, C, 256): pixels that are darker
    table = (below + step // 2) // step.clamp(min=1)
    return torch.where(step > 0, table.clamp(max=255).to(torch.uint8), identity_table(images))


# -- neighbours in colour or in space
def grey(images: Tensor) -> Tensor:
    """What a black-and-white photograph would show: float of whole numbers, (B, ..., 1, H, W).

    Images of three channels are taken for red, green and blue; of others it is the mean of the channels.
    """
    if images.shape[-3] != 3:
        return images.float().mean(-3, keepdim=True).floor()
    red, green, blue = images.split(1, -3)
    return (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]).floor()


def mean_grey(images: Tensor) -> Tensor:
    """The mean of the grey image, (B,): what contrast is blended with."""
    return grey(images).flatten(1).mean(1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean grey: 0 is all grey, 1 no change. Factor (B,)."""
    return blend(images, as_strength(mean_grey(images), images), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey image: 0 is black and white, 1 no change. Factor (B,). One channel stays."""
    return images if images.shape[-3] == 1 else blend(images, grey(images), factor)


def smooth(images: Tensor) -> Tensor:
    """Each pixel the mean of its 3×3 neighbourhood, itself counted five times; the border stays. Float."""
    result = images.float()
    if min(images.shape[-2:]) >= 3:
        rows = result[..., :-2, :] + result[..., 1:-1, :] + result[..., 2:, :]  # (B, ..., H - 2, W)
        boxes = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]  # (B, ..., H - 2, W - 2)
        inner = result[..., 1:-1, 1:-1]
        inner.copy_(((boxes + 4 * inner) / 13).round())
    return result


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the smoothed image: 0 is smooth, 1 no change, more is sharper. Factor (B,)."""
    return blend(images, smooth(images), factor)


def gaussian_blur(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Blur, borders mirrored.

    Args:
        images: (B, ..., H, W) uint8.
        sigma: (B,), in pixels.
        reach: pixels to each side that count, less in an image that is not as large.
    """
    values = images.flatten(1, -3).float()  # (B, ...·C, H, W)
    for axis in (2, 3):
        length = values.shape[axis]
        near = min(reach, length - 1)
        steps = torch.arange(-near, near + 1, device=images.device)  # (taps,)
        weights = torch.exp(-0.5 * (steps / sigma[:, None]) ** 2)  # (B, taps)
        weights = weights / weights.sum(1, keepdim=True)
        padding = (0, 0, near, near) if axis == 2 else (near, near, 0, 0)
        padded = F.pad(values, padding, mode="reflect")
        values = sum(
            as_strength(weights[:, tap], values) * padded.narrow(axis, tap, length) for tap in range(2 * near + 1)
        )
    return values.round().clamp(0, 255).to(torch.uint8).view(images.shape)

"""Activation maximisation: the image that excites a class, or a channel of a layer, the most."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course.analysis.features import as_map, device_of, evaluating, recorded
from course.analysis.waiting import waiting
from course.models.backbone import Backbone


def most_exciting(
    model: nn.Module,
    units: Sequence[int],
    image_shape: tuple[int, int, int],
    *,
    layer: str | None = None,
    steps: int = 100,
    lr: float = 0.05,
    smoothness: float = 1.0,
    roughness_cost: float = 0.5,
    jitter: int = 2,
    seed: int = 0,
) -> Tensor:
    """An image for each unit, (K, C, H, W): faint noise, moved along the gradient of what the unit says.

    Erhan et al. 2009; with what keeps the image from being noise that no eye can read, as in Olah,
    Mordvintsev and Schubert 2017, "Feature visualization" (Distill): the image is a sum of waves of which
    slow ones move faster, every step sees it moved by a few pixels, and neighbouring pixels that differ cost
    something.

    Args:
        model: images (B, C, H, W) to logits.
        units: which K classes; with a layer, which of its channels, averaged over all places.
        image_shape: (C, H, W).
        layer: name of a module; None: the logits.
        steps: of Adam.
        lr: its learning rate.
        smoothness: waves of frequency f count as ``f ** -smoothness``; 0: all alike.
        roughness_cost: of the mean |difference| of neighbouring pixels (total variation), in units of the
            unit.
        jitter: most pixels by which a step moves the image, around its edges, along each axis.
        seed: of the noise and of the moves.

    Returns:
        (K, C, H, W) float between 0 and 1: the values of stored uint8 images, divided by 255.

    Raises:
        ValueError: no such layer, or one without a grid.
    """
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = image_shape
    device = device_of(model)
    units = torch.as_tensor(units, device=device)
    weight = _wave_weights(height, width, smoothness)  # (H, W//2+1)
    waves = 0.01 * torch.randn(len(units), channels, *weight.shape, 2, generator=generator)
    waves, weight = waves.to(device).requires_grad_(), weight.to(device)
    optimizer = torch.optim.Adam([waves], lr=lr)
    names = [] if layer is None else [layer]
    with evaluating(model), recorded(model, names) as features, waiting(steps, "images", "step") as bar:
        for _ in range(steps):
            move = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
            with torch.enable_grad():
                images = _from_waves(waves, weight, (height, width))  # (K, C, H, W)
                said = _said(model, images.roll(move, (2, 3)), features, layer)  # (K, units)
                excitement = said.gather(1, units[:, None]).sum()  # each image has its own unit
                cost = roughness_cost * _roughness(images).sum() - excitement
                (waves.grad,) = torch.autograd.grad(cost, waves)
            optimizer.step()
            bar.update()
    return _from_waves(waves, weight, (height, width)).detach().cpu()


def _from_waves(waves: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """(K, C, H, W//2+1, 2), the real and imaginary parts of waves → images (K, C, H, W) between 0 and 1."""
    return torch.fft.irfft2(torch.view_as_complex(waves) * weight, s=size, norm="forward").sigmoid()


def _said(model: nn.Module, images: Tensor, features: dict[str, Tensor], layer: str | None) -> Tensor:
    """The logits (K, classes) of `images`; of a layer the mean of each channel over all places (K, channels)."""
    normalise = getattr(model, "normalise_images", None)
    logits = model(images if normalise is None else normalise(255 * images))
    if layer is None:
        return logits
    return as_map(features[layer], images.shape[-2:], isinstance(model, Backbone)).mean((1, 2))


def _wave_weights(height: int, width: int, smoothness: float) -> Tensor:
    """How much each wave counts, (H, W//2+1): 1 for the slowest, less for the faster ones."""
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    frequency = (rows.square() + columns.square()).sqrt().clamp(min=1 / max(height, width))
    return (frequency * max(height, width)) ** -smoothness


def _roughness(picture: Tensor) -> Tensor:
    """Mean |difference| of neighbouring pixels of each image, (K,)."""
    edges = picture.diff(dim=2), picture.diff(dim=3)
    return sum(edge.abs().mean((1, 2, 3)) for edge in edges)

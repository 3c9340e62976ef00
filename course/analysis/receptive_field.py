"""Effective receptive fields: how much each pixel of the input moves the middle of a layer's features."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from course.analysis.features import as_map, device_of, evaluating, prepared, recorded
from course.analysis.waiting import waiting
from course.models.backbone import Backbone


def receptive_fields(
    model: nn.Module,
    images: Tensor,
    layers: Sequence[str] | None = None,
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Mean |gradient| of the middle of every layer with respect to each pixel, (H, W) that sum to 1.

    Luo et al. 2016, arXiv:1701.04128, section 2; as pictures: Ding et al. 2022, arXiv:2203.06717, figure 1.
    The middle of an even grid is the position right of and below the centre. The gradient is that of its
    channels added up with random signs, drawn for every image: added up plainly they would be the same for
    every image behind a layer norm.

    Args:
        model: any network whose layers return tokens (B, n + h*w, D) or maps.
        images: (N, C, H, W) as stored; each is one sample of the mean.
        layers: names of modules; default: all of ``course.analysis.features.layers`` that have a grid.
        batch_size: images at once; decides memory, not the result.
        seed: of the signs.

    Returns:
        Name of the layer -> (H, W) on the CPU. All zero: the middle does not depend on the image.

    Raises:
        ValueError: no such layer, or one of the named ones has no grid.
    """
    size = tuple(images.shape[-2:])
    signs = cache(lambda channels: _signs(len(images), channels, seed).to(device_of(model)))
    fields: dict[str, Tensor] = {}
    seen = 0
    batches = images.split(batch_size)
    with (
        evaluating(model),
        recorded(model, layers) as features,
        waiting(len(batches), "receptive fields") as bar,
    ):
        for batch in batches:
            x = prepared(model, batch).requires_grad_()  # (B, C, H, W)
            with torch.enable_grad():
                model(x)
                for name, output in features.items():
                    try:
                        grid = as_map(output, size, channels_last=isinstance(model, Backbone))  # (B, h, w, D)
                    except ValueError:
                        if layers is None:
                            continue
                        raise
                    centre = grid[:, grid.shape[1] // 2, grid.shape[2] // 2]  # (B, D)
                    mine = signs(centre.shape[1])[seen : seen + len(batch)]  # (B, D)
                    summed = (centre * mine).sum()  # over the images too: they do not see each other
                    (gradient,) = torch.autograd.grad(summed, x, retain_graph=True, materialize_grads=True)
                    field = gradient.abs().sum((0, 1)).double()  # (H, W)
                    fields[name] = fields.get(name, 0) + field.cpu()
            features.clear()
            seen += len(batch)
            bar.update()
    return {name: field / field.sum().clamp(min=1e-300) for name, field in fields.items()}


def _signs(images: int, channels: int, seed: int) -> Tensor:
    """-1 or 1, (N, D). For all images at once, so that the size of the batch does not matter."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randint(0, 2, (images, channels), generator=generator) - 1


def area(field: Tensor, share: float) -> float:
    """The share of the image that the smallest set of pixels takes which holds that share of the field.

    arXiv:2203.06717 measures the smallest rectangle around the middle instead: of a field that is no
    rectangle that is more.

    Args:
        field: (H, W), not negative.
        share: 0..1.
    """
    return int((_held(field) < share * (1 - 1e-6)).sum() + 1) / field.numel()


def level(field: Tensor, share: float) -> float:
    """The value at the edge of that set: its pixels have at least this much."""
    last = min(int((_held(field) < share * (1 - 1e-6)).sum()), field.numel() - 1)
    return float(field.flatten().sort(descending=True).values[last])


def _held(field: Tensor) -> Tensor:
    """What the 1, 2, 3, ... strongest pixels hold together, as a share of all, (H*W,)."""
    values = field.double().flatten().sort(descending=True).values
    return values.cumsum(0) / values.sum().clamp(min=1e-300)

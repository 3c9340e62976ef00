"""How well masks agree: intersection over union of each class, their mean, and the same by size of the objects."""

from collections.abc import Sequence

import torch
from torch import Tensor

SIDES = (10.0, 17.0)  # pixels: between the three groups of sizes of ``shapes``


def confusion(predicted: Tensor, true: Tensor, classes: int) -> Tensor:
    """How many pixels of each true class (rows) were said to be of which (columns): two times (...), integers -> (K, K)."""
    return torch.bincount(true.flatten() * classes + predicted.flatten(), minlength=classes**2).view(classes, classes)


def class_iou(table: Tensor) -> Tensor:
    """What both masks give a class, over what either does: of a confusion (K, K) -> (K,); nan: neither has the class."""
    both = table.diagonal()
    return both / (table.sum(0) + table.sum(1) - both)


def mean_iou(predicted: Tensor, true: Tensor, classes: int) -> float:
    """mIoU, 0..1: the mean over the classes that are there, counted over the pixels of all images together.

    Args:
        predicted, true: class ids, both (B, H, W).
        classes: K, the ground among them.
    """
    return class_iou(confusion(predicted, true, classes)).nanmean().item()


def iou_by_size(
    predicted: Tensor, true: Tensor, boxes: Sequence[Tensor], classes: int, sides: Sequence[float] = SIDES
) -> list[float]:
    """mIoU of small to large objects, the ground's left out.

    Every pixel of an image counts for the object whose box is nearest to it, and so for the size of that one: what is
    found where nothing is spoils the figure of the size beside it.

    Args:
        predicted, true: class ids, both (B, H, W); 0 is the ground.
        boxes: for each image (M, 4), M ≥ 1, centre x, centre y, width and height in units of the image's sides; a pixel
            of an object lies in its own box only.
        classes: K.
        sides: between the groups: of squares, in pixels, with the objects' area.

    Returns:
        One more than there are `sides`; nan where no object is of that size.
    """
    group = torch.stack([_group_of_pixels(mask, own, sides) for mask, own in zip(true, boxes)])  # (B, H, W)
    tables = [confusion(predicted[group == g], true[group == g], classes) for g in range(len(sides) + 1)]
    return [class_iou(table)[1:].nanmean().item() for table in tables]


def _group_of_pixels(mask: Tensor, boxes: Tensor, sides: Sequence[float]) -> Tensor:
    """The group of the object nearest to every pixel, (H, W)."""
    height, width = mask.shape
    y, x = ((torch.arange(side, device=mask.device) + 0.5) / side for side in (height, width))  # of the pixels' centres
    away_x = ((x[:, None] - boxes[:, 0]).abs() - boxes[:, 2] / 2).clamp(min=0) * width  # (W, M)
    away_y = ((y[:, None] - boxes[:, 1]).abs() - boxes[:, 3] / 2).clamp(min=0) * height  # (H, M)
    nearest = torch.hypot(away_y[:, None], away_x).argmin(-1)  # (H, W)
    area = torch.bincount(nearest[mask > 0], minlength=len(boxes))  # (M,)
    return torch.bucketize(area.sqrt(), torch.tensor(sides, device=mask.device))[nearest]

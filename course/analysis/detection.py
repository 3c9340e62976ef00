"""How well boxes are found: average precision, as COCO counts it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from course.analysis.segmentation import SIDES
from course.models.dense.detr import box_iou

COCO = tuple(0.5 + 0.05 * step for step in range(10))  # 0.5, 0.55, ..., 0.95
Found = Sequence[tuple[Tensor, Tensor, Tensor]]  # for each image scores (D,), classes (D,) and boxes (D, 4)
Targets = Sequence[tuple[Tensor, Tensor]]  # for each image classes (M,) and boxes (M, 4)


def average_precision(found: Found, targets: Targets, classes: int, thresholds: Sequence[float] = COCO) -> float:
    """AP, 0..1: the mean over thresholds and over the classes that are there.

    Args:
        found: of each image; boxes are (centre x, centre y, width, height).
        targets: likewise what is there.
        classes: how many there are.
        thresholds: from which intersection over union on a box is found; ``(0.5,)``: AP50.

    Returns:
        nan if no image has an object.
    """
    curves = [hits(found, targets, which, threshold) for which in range(classes) for threshold in thresholds]
    each = [area_under(right, total) for right, total in curves if total > 0]
    return sum(each) / len(each) if each else float("nan")


def hits(found: Found, targets: Targets, which: int, threshold: float) -> tuple[Tensor, int]:
    """Which boxes of a class are right, the surest first, and how many objects of it there are.

    The surest box takes the object that it covers best; whoever finds the same object again is wrong.

    Returns:
        Truth values (D,), of all images together, and the number of objects.
    """
    scores, right, total = [torch.empty(0)], [torch.empty(0, dtype=torch.bool)], 0
    for own, theirs in zip(found, targets):
        score, kind, box, true_kind, true = (part.detach().cpu() for part in (*own, *theirs))
        score, order = score[kind == which].sort(descending=True, stable=True)  # (D,)
        box, true = box[kind == which][order], true[true_kind == which]
        covers = box_iou(box[:, None], true)
        covers = torch.cat([covers, -covers.new_ones(len(box), 1)], dim=1)  # the last column is no object
        for row in covers:
            best = row.argmax()
            right.append(row[best : best + 1] >= threshold)
            if right[-1]:
                covers[:, best] = -1  # it is taken
        scores.append(score)
        total += len(true)
    return torch.cat(right)[torch.cat(scores).sort(descending=True, stable=True).indices], total


def area_under(right: Tensor, total: int) -> float:
    """The mean, at 101 recalls from 0 to 1, of the best precision at that recall or a higher one; 0 where none is reached.

    Args:
        right: (D,), the surest first.
        total: number of objects.
    """
    found = right.double().cumsum(0)
    precision, recall = found / torch.arange(1, len(right) + 1), found / total  # (D,), of the first 1, 2, ... boxes
    best = precision.flip(0).cummax(0).values.flip(0)
    at = torch.searchsorted(recall, torch.from_numpy(np.linspace(0, 1, 101)))
    return torch.cat([best, best.new_zeros(1)])[at].mean().item()


def without_copies(found: Found, threshold: float = 0.7) -> Found:
    """Non-maximum suppression: of each image, the boxes that cover no surer one of their class by more than `threshold`."""
    kept = []
    for score, kind, box in found:
        left, best = score.argsort(descending=True, stable=True), []  # numbers of boxes, the surest first
        copies = (box_iou(box[:, None], box) > threshold) & (kind[:, None] == kind)  # (D, D)
        while len(left):
            surest = left[0]
            best.append(int(surest))
            left = left[1:][~copies[surest, left[1:]]]
        kept.append((score[best], kind[best], box[best]))
    return kept


def recall_by_size(
    found: Found, targets: Targets, sizes: Sequence[Tensor], sides: Sequence[float] = SIDES, score: float = 0.5
) -> list[float]:
    """The share of small to large objects that are found: some box of the right class has at least that `score`, and an
    intersection over union of 0.5.

    Args:
        found, targets: as of `average_precision`.
        sizes: for each image (M,), what `sides` are compared with.
        sides: between the groups.

    Returns:
        One more than there are `sides`; nan where no object is of that size.
    """
    hit = []
    for (scores, said, boxes), (kinds, true) in zip(found, targets):
        covers = box_iou(boxes[:, None], true)
        hit.append(((covers >= 0.5) & (said[:, None] == kinds) & (scores[:, None] >= score)).any(dim=0))  # (M,)
    right, group = torch.cat(hit).float(), torch.bucketize(torch.cat(list(sizes)), torch.tensor(sides))
    return [right[group == which].mean().item() for which in range(len(sides) + 1)]

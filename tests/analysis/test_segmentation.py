"""mIoU against scikit-learn's Jaccard index, and by size of object against loops over pixels."""

import math

import pytest
import torch
from sklearn.metrics import jaccard_score

from course.analysis import iou_by_size, mean_iou
from course.analysis.segmentation import class_iou, confusion
from course.data import load
from course.data.shapes import objects

DATA = load("shapes", "test", size=60, device="cpu")


def noisy(share: float = 0.2, seed: int = 0) -> torch.Tensor:
    """The true masks with a share of the pixels drawn anew, moved by two pixels."""
    generator = torch.Generator().manual_seed(seed)
    anew = torch.rand(DATA.labels.shape, generator=generator) < share
    return torch.where(anew, torch.randint(5, DATA.labels.shape, generator=generator), DATA.labels).roll(2, dims=2)


def test_it_is_scikit_learns():
    predicted, true = noisy(), DATA.labels
    expected = jaccard_score(true.flatten(), predicted.flatten(), average=None)
    torch.testing.assert_close(
        class_iou(confusion(predicted, true, 5)).double(), torch.from_numpy(expected), rtol=1e-6, atol=0
    )
    assert mean_iou(predicted, true, 5) == pytest.approx(
        jaccard_score(true.flatten(), predicted.flatten(), average="macro")
    )
    table = confusion(predicted, true, 5)
    assert table[1, 0] == ((true == 1) & (predicted == 0)).sum() and table.sum() == true.numel()


def test_a_class_that_nobody_has_does_not_count_and_one_that_is_only_said_does():
    predicted, true = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0, 1, 0]])
    assert class_iou(confusion(predicted, true, 3))[:2].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert mean_iou(predicted, true, 3) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert mean_iou(torch.tensor([[0, 0, 1, 2]]), true, 3) == pytest.approx((2 / 3 + 1 + 0) / 3)


def slow_iou_by_size(predicted, sides):
    counts = {}  # (group, class) -> [in both, in either]
    for said, mask, (_, boxes) in zip(predicted.tolist(), DATA.labels.tolist(), objects(DATA)):
        edges = []
        for x, y, w, h in (64 * boxes).tolist():
            edges.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        areas = [
            sum(mask[r][c] > 0 for r in range(round(t), round(b)) for c in range(round(left), round(right)))
            for left, t, right, b in edges
        ]
        groups = [sum(math.sqrt(area) > side for side in sides) for area in areas]
        for r in range(64):
            for c in range(64):
                px, py = c + 0.5, r + 0.5
                away = [
                    math.hypot(max(left - px, 0, px - right), max(t - py, 0, py - b)) for left, t, right, b in edges
                ]
                group = groups[min(range(len(away)), key=lambda m: round(away[m], 4))]
                for kind in {said[r][c], mask[r][c]} - {0}:
                    both = counts.setdefault((group, kind), [0, 0])
                    both[0] += said[r][c] == mask[r][c]
                    both[1] += 1
    means = []
    for group in range(len(sides) + 1):
        each = [both / either for (g, _), (both, either) in counts.items() if g == group]
        means.append(sum(each) / len(each))
    return means


def test_by_size_is_what_loops_over_pixels_say():
    predicted = noisy(0.1)
    boxes = [box for _, box in objects(DATA)]
    ours = iou_by_size(predicted, DATA.labels, boxes, 5)
    assert ours == pytest.approx(slow_iou_by_size(predicted, (10, 17)), abs=2e-3)  # pixels half way between two boxes
    assert ours[0] < ours[1] < ours[2], "moved by two pixels, small objects lose most"
    assert iou_by_size(DATA.labels, DATA.labels, boxes, 5) == [1, 1, 1]


def test_small_objects_alone_that_are_missed_cost_the_small_ones_alone():
    boxes = [box for _, box in objects(DATA)]
    predicted = DATA.labels.clone()
    for mask, own in zip(predicted, boxes):
        for x, y, w, h in (64 * own).tolist():
            part = mask[round(y - h / 2) : round(y + h / 2), round(x - w / 2) : round(x + w / 2)]
            if (part > 0).sum() < 100:
                part.zero_()
    assert iou_by_size(predicted, DATA.labels, boxes, 5) == [0, 1, 1]
    assert mean_iou(predicted, DATA.labels, 5) > 0.85, "which the mean over all pixels hardly tells"


def test_a_size_that_is_not_there_is_nan():
    mask, box = torch.zeros(1, 64, 64, dtype=torch.int64), torch.tensor([[0.5, 0.5, 4 / 64, 4 / 64]])
    mask[0, 30:34, 30:34] = 1
    small, medium, large = iou_by_size(mask, mask, [box], 2)
    assert small == 1 and math.isnan(medium) and math.isnan(large)

"""Average precision against pycocotools."""

import contextlib
import io
import math
import subprocess
import sys

import pytest
import torch
from torchvision.ops import batched_nms, box_convert
from torchvision.ops import box_iou as torchvisions_iou

from course.analysis import average_precision
from course.analysis.detection import COCO, area_under, hits, recall_by_size, without_copies
from course.models.dense.detr import box_iou


def problem(images: int = 12, seed: int = 0):
    """Objects of 3 classes, and boxes for them: some near, some twice, some nowhere, some of another class."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    found, targets = [], []
    for image in range(images):
        count = image % 4
        kinds = torch.randint(3, (count,), generator=generator)
        boxes = torch.cat([uniform(count, 2) * 0.6 + 0.2, uniform(count, 2) * 0.3 + 0.1], dim=1)
        again = torch.cat([boxes, boxes, boxes])
        guesses = torch.cat([again + 0.03 * (uniform(*again.shape) - 0.5), uniform(2, 4) * 0.4 + 0.1])
        said = torch.cat([kinds, kinds, torch.randint(3, (count,), generator=generator), torch.tensor([0, 2])])
        found.append((uniform(len(guesses)), said, guesses))
        targets.append((kinds, boxes))
    return found, targets


def pycocotools_ap(found, targets) -> tuple[float, float]:
    """AP and AP50."""
    from pycocotools.coco import COCO as Ground
    from pycocotools.cocoeval import COCOeval

    def corner(box):
        x, y, w, h = box.tolist()
        return [x - w / 2, y - h / 2, w, h]

    with contextlib.redirect_stdout(io.StringIO()):
        truth = Ground()
        objects = [
            {
                "image_id": image,
                "category_id": int(kind),
                "bbox": corner(box),
                "area": float(box[2] * box[3]),
                "iscrowd": 0,
            }
            for image, (kinds, boxes) in enumerate(targets)
            for kind, box in zip(kinds, boxes)
        ]
        truth.dataset = {
            "images": [{"id": image} for image in range(len(targets))],
            "categories": [{"id": kind} for kind in range(3)],
            "annotations": [one | {"id": 1 + number} for number, one in enumerate(objects)],
            "info": {},
        }
        truth.createIndex()
        results = [
            {"image_id": image, "category_id": int(kind), "bbox": corner(box), "score": float(score)}
            for image, parts in enumerate(found)
            for score, kind, box in zip(*parts)
        ]
        judged = COCOeval(truth, truth.loadRes(results), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged.stats[0], judged.stats[1]


@pytest.mark.parametrize("seed", range(3))
def test_it_is_pycocotools(seed):
    found, targets = problem(seed=seed)
    ap, ap50 = pycocotools_ap(found, targets)
    assert 0.05 < ap < ap50 < 0.95
    assert average_precision(found, targets, 3) == pytest.approx(ap, abs=1e-9)
    assert average_precision(found, targets, 3, (0.5,)) == pytest.approx(ap50, abs=1e-9)


def test_perfect_nothing_and_no_objects():
    found, targets = problem()
    perfect = [(torch.ones(len(kinds)), kinds, boxes) for kinds, boxes in targets]
    nothing = [(torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, 4)) for _ in targets]
    assert average_precision(perfect, targets, 3) == 1
    assert average_precision(nothing, targets, 3) == 0
    assert math.isnan(average_precision(found[:1], targets[:1], 3))  # the first image has no object
    assert len(COCO) == 10 and COCO[-1] == pytest.approx(0.95)


def test_an_object_is_found_once():
    box, kind = torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([1])
    twice = [(torch.tensor([0.4, 0.9]), kind.repeat(2), box.repeat(2, 1))]
    right, total = hits(twice, [(kind, box)], 1, 0.5)
    assert right.tolist() == [True, False] and total == 1
    right, total = hits(twice, [(kind, box)], 0, 0.5)
    assert right.tolist() == [] and total == 0


def test_the_area_by_hand():
    """Right, wrong, right, of 4 objects: precision 1 up to recall 1/4, 2/3 up to 1/2, then nothing."""
    assert area_under(torch.tensor([True, False, True]), 4) == pytest.approx((26 * 1 + 25 * 2 / 3) / 101)


def test_copies_of_one_class_are_taken_away_and_the_surest_stays():
    box = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.51, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.2]])
    score, kind = torch.tensor([0.4, 0.9, 0.3, 0.2]), torch.tensor([1, 1, 2, 1])
    ((scores, kinds, boxes),) = without_copies([(score, kind, box)])
    assert scores.tolist() == pytest.approx([0.9, 0.3, 0.2]) and kinds.tolist() == [1, 2, 1]
    assert boxes.equal(box[[1, 2, 3]])
    ((scores, _, _),) = without_copies([(score, kind, box)], threshold=0.95)
    assert len(scores) == 4


def test_what_is_found_is_counted_by_size():
    """Of two small objects one is found; the large one is found without its class, or too unsurely."""
    true = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.5, 0.2, 0.1, 0.1], [0.5, 0.7, 0.4, 0.4]])
    targets = [(torch.tensor([0, 1, 1]), true)]
    found = [(torch.tensor([0.9, 0.8, 0.4]), torch.tensor([0, 0, 1]), true[[0, 2, 2]])]
    sizes = [torch.tensor([6.0, 7.0, 25.0])]
    small, medium, large = recall_by_size(found, targets, sizes)
    assert (small, large) == (0.5, 0.0) and math.isnan(medium)
    assert recall_by_size(found, targets, sizes, score=0.3)[2] == 1.0


def test_copies_and_overlaps_are_torchvisions():
    torch.manual_seed(0)
    for count in (0, 1, 60):
        box = torch.cat([torch.rand(count, 2), 0.05 + 0.4 * torch.rand(count, 2)], dim=1)
        score, kind = torch.rand(count).round(decimals=1), torch.randint(0, 3, (count,))  # with ties
        corners = box_convert(box, "cxcywh", "xyxy")
        torch.testing.assert_close(
            box_iou(box[:, None], box[: count // 2]), torchvisions_iou(corners, corners[: count // 2])
        )
        for threshold in (0.1, 0.5):
            best = batched_nms(corners, score, kind, threshold)
            ((scores, kinds, boxes),) = without_copies([(score, kind, box)], threshold)
            assert torch.equal(boxes, box[best]) and torch.equal(kinds, kind[best]) and torch.equal(scores, score[best])


def test_looking_into_networks_does_not_wait_for_torchvision():
    """Its import, with torch.compile's, takes as long as all the rest of `course.analysis`."""
    told = "import sys, course.analysis, course.plots, course.training; print('torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stdout + done.stderr

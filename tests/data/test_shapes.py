"""``shapes``: what its docstring claims, measured from the pixels; masks and boxes tell the same."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course.data import load, shapes
from course.data.shapes import objects

TRAIN, TEST = load("shapes", size=800, device="cpu"), load("shapes", "test", size=300, device="cpu")


def test_types_and_sizes():
    images, masks = load("shapes", "test", device="cpu")
    assert images.shape == (500, 3, 64, 64) and images.dtype == torch.uint8
    assert masks.shape == (500, 64, 64) and masks.dtype == torch.int64
    assert len(load("shapes", device="cpu")) == 2000
    kinds, boxes = TRAIN.all_labels["kind"], TRAIN.all_labels["box"]
    assert kinds.shape == (800, 4) and kinds.dtype == torch.int64 and set(kinds.unique().tolist()) == {-1, 0, 1, 2, 3}
    assert boxes.shape == (800, 4, 4) and boxes.dtype == torch.float32
    assert TRAIN.classes == ["ground", "disc", "ring", "square", "triangle"]
    assert TRAIN.ask("kind").classes == TRAIN.classes[1:]


def corners(box) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edges in pixels."""
    x, y, width, height = (64 * box).tolist()
    edges = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    assert all(abs(edge - round(edge)) < 1e-3 for edge in edges)
    return tuple(round(edge) for edge in edges)


def test_each_box_is_that_of_its_own_pixels_and_no_pixel_is_left():
    for mask, (kinds, boxes) in zip(TRAIN.labels, objects(TRAIN)):
        assert len(kinds) >= 1
        rest = mask.clone()
        for kind, box in zip(kinds, boxes):
            left, top, right, bottom = corners(box)
            inside = rest[top:bottom, left:right]
            assert set(inside.unique().tolist()) <= {0, int(kind) + 1}, "another object reaches into the box"
            rows, columns = (inside > 0).any(1), (inside > 0).any(0)
            assert rows[0] and rows[-1] and columns[0] and columns[-1], "the box is wider than the shape"
            rest[top:bottom, left:right] = 0
        assert not rest.any()


def test_what_fills_up_is_nothing_and_comes_last():
    kinds, boxes = TRAIN.all_labels["kind"], TRAIN.all_labels["box"]
    nothing = kinds == shapes.NOTHING
    assert not (nothing[:, :-1] & ~nothing[:, 1:]).any()
    assert not boxes[nothing].any() and boxes[~nothing].all()
    assert [len(kind) for kind, _ in objects(TRAIN)] == (~nothing).sum(1).tolist()


def areas() -> tuple[list, list]:
    """The number of pixels and the kind of every object, in whatever order."""
    found, kinds = [], []
    for mask, (own, boxes) in zip(TRAIN.labels, objects(TRAIN)):
        for kind, box in zip(own, boxes):
            left, top, right, bottom = corners(box)
            found.append(int((mask[top:bottom, left:right] > 0).sum()))
            kinds.append(int(kind))
    return found, kinds


def test_there_are_three_groups_of_sizes_alike_for_every_kind():
    area, kinds = (torch.tensor(values) for values in areas())
    side = area.sqrt()
    group = torch.bucketize(side, torch.tensor([10.0, 17.0]))
    assert torch.bincount(group).min() > 0.2 * len(group)
    for number, (low, high) in enumerate(sorted(shapes.SIZES.values())):
        assert side[group == number].min() > low - 1 and side[group == number].max() < high + 1  # whole pixels
        of_kind = torch.stack([side[(group == number) & (kinds == kind)].mean() for kind in range(4)])
        assert of_kind.max() - of_kind.min() < 0.15 * of_kind.mean()


def insides(data, reach: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows (n, 3 * side**2) around pixels where all of the window is of one object, and its kind (n,)."""
    side = 2 * reach + 1
    masks = data.labels[:, None].float()
    lowest = -F.max_pool2d(-masks, side, 1, reach)
    one = (lowest == F.max_pool2d(masks, side, 1, reach)) & (lowest > 0)
    windows = F.unfold(data.images.float() / 255, side, padding=reach).unflatten(2, (64, 64))  # (N, 3 side², H, W)
    chosen = one[:, 0] & (torch.rand(one[:, 0].shape, generator=torch.Generator().manual_seed(0)) < 0.05)
    return windows.permute(0, 2, 3, 1)[chosen], data.labels[chosen] - 1


@pytest.mark.parametrize("reach", [0, 2])
def test_the_control_neither_a_colour_nor_a_window_inside_tells_the_kind(reach):
    from sklearn.neighbors import KNeighborsClassifier

    (windows, kinds), (other, true) = insides(TRAIN, reach), insides(TEST, reach)
    guess = KNeighborsClassifier(50).fit(windows, kinds).score(other, true)
    frequent = torch.bincount(true).max().item() / len(true)
    assert guess < frequent + 0.05, (guess, frequent)


def test_the_control_no_colour_is_that_of_the_ground():
    """A pixel's colour says no better whether it is ground than always saying so."""
    from sklearn.neighbors import KNeighborsClassifier

    def some(data, every: int):
        return data.images.permute(0, 2, 3, 1).flatten(0, 2)[::every].float(), data.labels.flatten()[::every]

    colours, masks = some(TRAIN, 101)
    other, true = some(TEST, 53)
    guess = KNeighborsClassifier(50).fit(colours, masks).score(other, true)
    assert guess < (true == 0).float().mean() + 0.005


def test_a_shape_differs_from_its_ground():
    for image, mask in zip(TRAIN.images[:100].float() / 255, TRAIN.labels):
        ground = image[:, mask == 0].mean(1)
        for kind in mask[mask > 0].unique():
            away = (image[:, mask == kind] - ground[:, None]).norm(dim=0)
            assert away.quantile(0.05) > 0.25


def test_a_part_and_another_device_take_masks_and_boxes_along():
    few = TRAIN.subset([5, 2])
    assert torch.equal(few.labels, TRAIN.labels[[5, 2]]) and torch.equal(
        few.all_labels["box"], TRAIN.all_labels["box"][[5, 2]]
    )
    for (kinds, boxes), (kinds_of_all, boxes_of_all) in zip(objects(few), [objects(TRAIN)[5], objects(TRAIN)[2]]):
        assert torch.equal(kinds, kinds_of_all) and torch.equal(boxes, boxes_of_all)
    assert few.to("meta").ask("box").labels.is_meta


def test_the_side_of_an_object_is_the_root_of_its_pixels():
    for mask, (kinds, boxes), sides in zip(TEST.labels, objects(TEST), shapes.object_sides(TEST)):
        for kind, box, side in zip(kinds, boxes, sides):
            left, top, right, bottom = corners(box)
            area = (mask[top:bottom, left:right] == kind + 1).sum()
            assert area**0.5 == pytest.approx(side.item(), rel=0.1)


def test_the_first_images_are_the_same_however_many_are_painted():
    images, said = shapes.draw(np.random.default_rng(5), 12, 12)
    fewer, said_of_fewer = shapes.draw(np.random.default_rng(5), 12, 5)
    assert len(fewer) == 5 and (fewer == images[:5]).all()
    for name, values in said.items():
        assert len(said_of_fewer[name]) == 5 and (said_of_fewer[name] == values[:5]).all(), name

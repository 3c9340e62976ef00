"""Dropped and shuffled patches, on networks of which one knows what they look at."""

import pytest
import torch
from torch import nn

from course.analysis.robustness import drop_tiles, occlusion, shuffle_tiles, shuffling
from course.data.normalise import Normalise
from course.models import create_model
from tests.models.parity import proves

GENERATOR = torch.Generator().manual_seed(11)
IMAGES = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=GENERATOR)


class OneTile(nn.Module):
    """Class 1 if the tile in row 1, column 2 of 4×4 is reddish, else 0, as where it is gone."""

    def forward(self, x):
        red = x[:, 0, 4:8, 8:12].mean((1, 2))  # (B,)
        return torch.stack([torch.zeros_like(red) + 1e-6, red], dim=1)


@pytest.fixture
def one_tile():
    model = OneTile()
    model.normalise_images = Normalise.of(IMAGES)
    labels = model(model.normalise_images(IMAGES)).argmax(1)
    assert 5 < labels.sum() < 35
    return model, (IMAGES, labels)


def vit(**options):
    torch.manual_seed(0)
    return create_model("vit_cifar", img_size=16, embed_dim=32, depth=2, num_heads=2, num_classes=5, **options).eval()


@proves(176)
def test_gone_tiles_are_0_and_no_others():
    gone = torch.zeros(2, 16, dtype=torch.bool)
    gone[1, 6] = True  # row 1, column 2
    images = torch.ones(2, 3, 16, 8)  # tiles of 4×2
    left = drop_tiles(images, gone)
    assert left[0].all() and (left == 0).sum() == 3 * 4 * 2
    assert not left[1, :, 4:8, 4:6].any()


def test_the_order_decides_what_is_left(one_tile):
    model, data = one_tile
    chance = float((data[1] == 0).float().mean())  # of saying 0 always
    one, all_but_one = 1 / 16, 15 / 16
    assert occlusion(model, data, [0, one, 1], grid=4, order="salient") == pytest.approx([1, chance, chance])
    assert occlusion(model, data, [0, all_but_one, 1], grid=4, order="non-salient") == pytest.approx([1, 1, chance])
    random = occlusion(model, data, [0, 0.5, 1], grid=4)
    assert random[0] == 1 and chance < random[1] < 1 and random[2] == pytest.approx(chance)


def test_another_saliency_is_used(one_tile):
    def all_but_the_tile(model, images):
        assert images.dtype == torch.float32 and abs(float(images.mean())) < 0.1  # prepared
        salient = torch.ones(len(images), 16, 16)
        salient[:, 4:8, 8:12] = 0
        return salient

    model, data = one_tile
    right = occlusion(model, data, [15 / 16, 1], grid=4, order="salient", saliency=all_but_the_tile)
    assert right[0] == 1 > right[1]


def test_seeds_and_batches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5))
    model.normalise_images = Normalise.of(IMAGES)
    data = IMAGES, model(model.normalise_images(IMAGES)).argmax(1)
    for measure in (
        lambda **options: occlusion(model, data, [0.25, 0.5, 0.75], grid=4, **options),
        lambda **options: shuffling(model, data, [1, 2, 4], **options),
    ):
        assert measure() == measure(batch_size=7)
        assert measure()[1:] != measure(seed=1)[1:]


@proves(177)
def test_tiles_change_places_and_stay_whole():
    images = torch.arange(2 * 16 * 16).view(2, 1, 16, 16).float()
    shuffled = shuffle_tiles(images, 4, torch.Generator().manual_seed(0))
    tiles = [x.unfold(1, 4, 4).unfold(2, 4, 4).reshape(16, 16) for x in (*images, *shuffled)]  # (tiles, pixels)
    orders = []
    for before, after in ((tiles[0], tiles[2]), (tiles[1], tiles[3])):
        order = after[:, 0].argsort()
        assert torch.equal(after[order], before)
        orders.append(order)
    assert not torch.equal(*orders)  # each image in its own order
    assert torch.equal(shuffle_tiles(images, 1, torch.Generator()), images)


@proves(177, 178)
@pytest.mark.parametrize("grid", [2, 4])
def test_without_positions_the_order_of_the_patches_is_nothing(grid):
    images = IMAGES.float() / 128 - 1
    shuffled = shuffle_tiles(images, grid, torch.Generator().manual_seed(0))
    pooled = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    for model in (vit(position=None), pooled):
        with torch.no_grad():
            assert torch.allclose(model(images), model(shuffled), atol=1e-5)


def test_positions_overlap_and_finer_tiles_tell():
    images = IMAGES.float() / 128 - 1
    convolution = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for model, grid in ((vit(position="sinusoidal"), 4), (convolution, 4), (vit(position=None), 8)):
        with torch.no_grad():
            moved = model(images) - model(shuffle_tiles(images, grid, torch.Generator().manual_seed(0)))
        assert moved.abs().max() > 1e-3


def test_wrong_input_is_named(one_tile):
    model, data = one_tile
    with pytest.raises(ValueError, match="1, 2, 4, 8, 16 do"):
        occlusion(model, data, grid=5)
    with pytest.raises(ValueError, match="1, 2, 4, 8, 16 do"):
        shuffling(model, data, [3])
    with pytest.raises(ValueError, match="did you mean 'salient'"):
        occlusion(model, data, grid=4, order="saliant")
    with pytest.raises(ValueError, match="between 0 and 1"):
        occlusion(model, data, [50], grid=4)
    with pytest.raises(ValueError, match="images"):
        shuffling(model, (IMAGES[None], data[1]))

"""Batched augmentation does to each image what the plain loop over images does."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from course.data.augment import AUGMENTATIONS, random_crop, random_flip
from course.data.normalise import Normalise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_like(shape, dtype=torch.uint8) -> Tensor:
    images = torch.randint(0, 256, shape, generator=seeded(1))
    return images.to(dtype)


def every_crop(image: Tensor, padding: int) -> list[Tensor]:
    """All crops of one image (C, H, W), by padding and slicing."""
    height, width = image.shape[-2:]
    padded = F.pad(image[None].float(), [padding] * 4, mode="reflect")[0]
    return [padded[:, top : top + height, left : left + width]
            for top in range(2 * padding + 1) for left in range(2 * padding + 1)]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(("shape", "padding"), [((300, 3, 9, 7), 2), ((40, 1, 5, 6), 4), ((20, 2, 8, 8), 0)])
def test_every_crop_is_one_that_padding_and_slicing_gives(shape, padding, dtype):
    images = images_like(shape, dtype)
    cropped = random_crop(images, seeded(), padding)
    assert cropped.shape == images.shape and cropped.dtype == dtype
    seen = set()
    for image, crop in zip(images, cropped, strict=True):
        crops = every_crop(image, padding)
        matches = [place for place, other in enumerate(crops) if torch.equal(other, crop.float())]
        assert matches
        seen.update(matches)
    if shape[0] == 300:
        assert len(seen) == (2 * padding + 1) ** 2, "every place occurs"


def test_every_image_is_itself_or_its_mirror_image():
    images = images_like((400, 3, 4, 6))
    flipped = random_flip(images, seeded())
    mirrored = [not torch.equal(after, before) for before, after in zip(images, flipped, strict=True)]
    for before, after, mirror in zip(images, flipped, mirrored, strict=True):
        assert torch.equal(after, before.flip(-1) if mirror else before)
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_all_frames_of_a_clip_are_treated_alike(name):
    clips = images_like((30, 1, 3, 8, 8)).expand(30, 5, 3, 8, 8)
    result = AUGMENTATIONS[name](clips, seeded())
    assert result.shape == clips.shape
    assert torch.equal(result, result[:, :1].expand_as(result))
    assert not torch.equal(result, clips)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_generator_decides(name):
    images = images_like((50, 3, 8, 8))
    first, again, other = (AUGMENTATIONS[name](images, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    AUGMENTATIONS[name](images, seeded())
    assert torch.equal(state, torch.get_rng_state()), "the global random state is the caller's"


def test_crop_pads_by_an_eighth_unless_told():
    images = images_like((60, 3, 16, 16))
    assert torch.equal(random_crop(images, seeded()), random_crop(images, seeded(), 2))
    with pytest.raises(ValueError, match="padding is 8"):
        random_crop(images_like((2, 1, 8, 8)), seeded(), 8)


@pytest.mark.parametrize("shape", [(2300, 3, 4, 5), (1200, 4, 2, 3, 3)])
def test_normalise_measures_every_channel(shape):
    images = images_like(shape)
    axes = [axis for axis in range(len(shape)) if axis != len(shape) - 3]
    normalise = Normalise.of(images)
    assert torch.allclose(torch.tensor(normalise.mean), images.double().mean(axes).float(), rtol=1e-5)
    std = images.double().std(axes, correction=0).float()
    assert torch.allclose(torch.tensor(normalise.std), std, rtol=1e-4)
    result = normalise(images)
    assert result.dtype == torch.float32
    assert result.mean(axes).abs().max() < 1e-4 and (result.std(axes) - 1).abs().max() < 1e-3


def test_normalise_of_a_constant_channel_and_of_other_channels():
    images = torch.full((2100, 1, 4, 4), 251, dtype=torch.uint8)
    assert Normalise.of(images)(images).abs().max() < 1e-3
    with pytest.raises(ValueError, match="3 channels, but 1"):
        Normalise.of(images)(images.expand(-1, 3, 4, 4))

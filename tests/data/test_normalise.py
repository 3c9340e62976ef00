"""What the training images are normalised by is measured right, over batches."""

import pytest
import torch
from torch import Tensor

from course.data.normalise import Normalise


def images_like(shape) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)


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

"""From stored images to what a network takes: float, mean 0 and standard deviation 1 in every channel."""

from dataclasses import dataclass

import torch
from torch import Tensor

BATCH = 1000


@dataclass(frozen=True)
class Normalise:
    """``(images - mean) / std`` for each channel, in the units of the images (0..255 for uint8).

    Training, evaluation and every later look at the network must use the same numbers: those of the *training
    images*. ``fit`` measures them and leaves them with the model: ``model(model.normalise(images))``.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: Tensor) -> "Normalise":
        """Measure images (N, C, H, W) or clips (N, T, C, H, W), in batches: float for all at once is big."""
        means, squares = [], []
        for batch in images.split(BATCH):
            values = batch.float().transpose(0, -3).flatten(1)  # (C, ...)
            means.append(len(batch) * values.mean(1))
            squares.append(len(batch) * values.square().mean(1))
        mean = torch.stack(means).sum(0) / len(images)  # (C,)
        variance = torch.stack(squares).sum(0) / len(images) - mean.square()
        std = torch.where(variance > 1e-6, variance.clamp(min=0).sqrt(), 1.0)  # a constant channel: 0
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def __call__(self, images: Tensor) -> Tensor:
        """(..., C, H, W) uint8 or float -> (..., C, H, W) float32.

        Raises:
            ValueError: another number of channels than was measured.
        """
        if images.shape[-3] != len(self.mean):
            raise ValueError(f"images of {images.shape[-3]} channels, but {len(self.mean)} in training")
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return (images.float() - mean) / std

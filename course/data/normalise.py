"""From stored images to what a network takes: float, mean 0 and standard deviation 1 in every channel."""

from dataclasses import dataclass

import torch
from torch import Tensor

BATCH = 1000  # images that are measured at once, or fewer large ones:
VALUES = 2**24  # as many as have so many values
MEASURED = 2 * 10**8  # values; of a set that has more, some images are measured, evenly spaced


@dataclass(frozen=True)
class Normalise:
    """``(images - mean) / std`` for each channel, in the units of the images (0..255 for uint8).

    Training, evaluation and every later look at the network must use the same numbers: those of the *training
    images*. ``fit`` measures them and leaves them with the model: ``model(model.normalise_images(images))``.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: Tensor) -> "Normalise":
        """Measure images (N, C, H, W) or clips (N, T, C, H, W), in batches: float for all at once is big.

        Of a set with more values than `MEASURED` (1,328 images of 224 pixels) every second image is, or every third ...
        """
        images = images[:: max(1, images.numel() // MEASURED)]
        at_once = min(BATCH, max(1, VALUES // images[0].numel()))

        def average(function) -> Tensor:
            batches = images.split(at_once)
            channels = [function(batch.float().transpose(0, -3).flatten(1)).mean(1) for batch in batches]
            weights = torch.tensor([len(batch) / len(images) for batch in batches], device=images.device)
            return weights @ torch.stack(channels)  # (C,)

        mean = average(lambda values: values)
        # In a second pass: the mean square minus the squared mean would lose the digits that count.
        std = average(lambda values: (values - mean[:, None]).square()).sqrt()
        std = torch.where(std > 1e-5 * mean.abs(), std, 1.0)  # a constant channel becomes 0, not noise
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def __call__(self, images: Tensor, out: Tensor | None = None) -> Tensor:
        """(..., C, H, W) uint8 or float -> (..., C, H, W) float32.

        Args:
            out: where to write them, float32 of the same shape; None: into new memory.

        Raises:
            ValueError: another number of channels than was measured.
        """
        if images.shape[-3] != len(self.mean):
            raise ValueError(f"images of {images.shape[-3]} channels, but {len(self.mean)} in training")
        mean, std = self._columns(images)
        if out is None:
            return (images.float() - mean) / std
        return out.copy_(images).sub_(mean).div_(std)

    def undo(self, images: Tensor) -> Tensor:
        """The pixels again, (..., C, H, W) float32 in the units that were measured."""
        mean, std = self._columns(images)
        return images * std + mean

    def _columns(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        return mean, torch.tensor(self.std, device=images.device).view(-1, 1, 1)

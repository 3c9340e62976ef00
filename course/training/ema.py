"""The running mean of a model's weights, which often classifies better than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


# Not torch.optim.swa_utils.AveragedModel, which gives the same numbers: it copies the whole module, which fails where a
# network keeps its last attention map for looking at, and it averages bfloat16 weights in bfloat16.
class Ema:
    """Exponential moving average of a model's weights: mean ← d · mean + (1 - d) · weights, after each step.

    Averaging iterates is Polyak and Juditsky's (1992); that old ones count exponentially less is usual for
    networks. d = min(decay, (1 + t) / (10 + t)) at update t, counted from 0, so that the first weights are
    soon forgotten (TensorFlow's documentation of ``tf.train.ExponentialMovingAverage``, ``num_updates``).

    Floats, running statistics too, are averaged in float32 or finer; whole numbers are taken as they are.

    Args:
        model: where the mean starts. On a device already.
        decay: 0 to 1; of about 1 / (1 - decay) steps the mean remembers.

    Raises:
        ValueError: no such decay.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of a running mean is at least 0 and below 1, and not {decay}")
        self.decay = decay
        self.updates = 0
        self.mean = {name: _averaged(tensor) for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Count the model's weights in; call it after each step of the optimizer."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        tensors = model.state_dict()
        floats = [name for name, mean in self.mean.items() if mean.is_floating_point()]
        means = [self.mean[name] for name in floats]
        weights = [tensors[name].to(self.mean[name].dtype) for name in floats]
        torch._foreach_lerp_(means, weights, 1 - decay)  # all at once, which a GPU does faster
        for name in tensors.keys() - set(floats):
            self.mean[name].copy_(tensors[name])
        self.updates += 1

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Within it, the model has the mean for its weights; after it its own again, bit for bit."""
        tensors = model.state_dict()
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        try:
            for name, tensor in tensors.items():
                tensor.copy_(self.mean[name])
            yield
        finally:
            for name, tensor in tensors.items():
                tensor.copy_(before[name])

    def state(self) -> dict[str, Tensor]:
        """Everything that `load` needs to go on, as tensors."""
        return {"updates": torch.tensor(self.updates), **{f"mean.{k}": v for k, v in self.mean.items()}}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave.

        Raises:
            ValueError: it is of another model.
        """
        mine = self.state()
        shapes = {name: tensor.shape for name, tensor in mine.items()}
        if {name: tensor.shape for name, tensor in state.items()} != shapes:
            differing = [
                name
                for name in {**mine, **state}
                if name not in mine or name not in state or mine[name].shape != state[name].shape
            ]
            raise ValueError(f"this running mean is of another model: they differ in {', '.join(differing[:3])}")
        self.updates = int(state["updates"])
        for name, mean in self.mean.items():
            mean.copy_(state[f"mean.{name}"])


def _averaged(tensor: Tensor) -> Tensor:
    """A copy to average in: of float32 if it is coarser."""
    finer = torch.promote_types(tensor.dtype, torch.float32) if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(finer, copy=True)

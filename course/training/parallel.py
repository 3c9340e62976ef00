"""Several processes, one training: what ``torchrun`` started, and PyTorch's own DistributedDataParallel.

Every process has the whole data set and the whole network, takes its rows of each batch, and the gradients are
averaged. So the training is the one that a single process would have made of the same batches, but for the order of
floating-point sums. What is random inside the network (dropout, stochastic depth) and batch statistics are each
process's own.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from course.data.imageset import device_of

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Which of how many this one is. Number 0 shows and saves."""

    rank: int = 0
    count: int = 1

    @classmethod
    def running(cls) -> "Processes":
        """Those of the process group, if there is one; else this process alone."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def first(self) -> bool:
        return self.rank == 0

    def rows(self, batch_size: int, even: bool = False) -> slice:
        """This process's rows of a batch.

        Args:
            even: whether neighbours (rows 0 and 1, 2 and 3, ...) must stay together.

        Raises:
            ValueError: the batch cannot be divided so.
        """
        parts = self.count * (2 if even and self.count > 1 else 1)
        if batch_size % parts:
            pairs = ", in pairs, since images are mixed" if even else ""
            raise ValueError(
                f"batches of {batch_size} cannot be divided among {self.count} processes{pairs}; "
                f"make batch_size a multiple of {parts}"
            )
        each = batch_size // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    def together(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model as it is to be called in training: its gradients are averaged over the processes."""
        if self.count == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same in each."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def any(self, here) -> bool:
        """Whether it is so in any process; all of them ask at the same step."""
        if self.count == 1:
            return bool(here)
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        return self.sum(torch.tensor(int(bool(here)), device=device)).item() > 0

    def agreed(self, choose: Callable[[], T]) -> T:
        """What the first process chooses, in all of them."""
        chosen = [choose() if self.first else None]
        if self.count > 1:
            dist.broadcast_object_list(chosen)
        return chosen[0]

    def wait(self) -> None:
        if self.count > 1:
            dist.barrier()


@contextmanager
def process_group(device: str | None = None) -> Iterator[torch.device]:
    """Join the processes that ``torchrun`` started, and yield this one's device. Without torchrun, there is no group.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``; None takes CUDA where there is such a device.

    Raises:
        ValueError: more processes than GPUs, or no such device here.
    """
    kind = device_of(device).type
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield torch.device(kind)
        return
    local = int(os.environ["LOCAL_RANK"])
    if kind == "cuda":
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"{os.environ['LOCAL_WORLD_SIZE']} processes, but {torch.cuda.device_count()} GPUs: give torchrun "
                "--nproc-per-node no more than there are"
            )
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield torch.device(kind, local) if kind == "cuda" else torch.device("cpu")
    finally:
        dist.destroy_process_group()

"""Tensors by name and a header that JSON can hold, in one safetensors file: what checkpoints and stored weights share."""

import json
from pathlib import Path

from torch import Tensor

_KEY = "course"  # of the file's metadata


class Damaged(ValueError):
    """The file is not what `to_bytes` makes."""


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each with memory of its own: safetensors refuses tensors that share it, as tied weights do."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def to_bytes(tensors: dict[str, Tensor], header: dict) -> bytes:
    """What to write with `course.atomic`; `tensors` are `copied`.

    safetensors' own writing (0.8) leaves a hidden file where it is killed, and makes files that only their owner may read.
    """
    from safetensors.torch import save

    return save(tensors, metadata={_KEY: json.dumps(header)})


def read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """(header, tensors). Raises Damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no dict)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise Damaged(str(error)) from error

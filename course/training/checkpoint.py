"""Checkpoints: one safetensors file with everything a training needs to go on, written whole or not at all.

Tensors of the model and of the optimizer are stored as such, the rest as JSON in the file's header. Nothing
is pickled: to open a checkpoint runs no code, so a stranger's can be opened. A checksum covers every tensor.
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from course.atomic import write_atomically
from course.data.imageset import ImageSet
from course.training.ema import Ema
from course.training.recipe import Recipe
from course.training.stored import Damaged, copied, read, to_bytes

FORMAT = 2
REMEDY = "delete the file to train from the start, or give another checkpoint="


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged, or of another training; the message names the file and what to do."""


def signature(model: nn.Module, data, recipe: Recipe) -> dict:
    """What must be the same for a training to go on: the recipe, the model's tensors, the data. JSON-able."""
    images, labels = data
    tensors = {
        name: f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in model.state_dict().items()
    }
    about = {"images": list(images.shape), "checksum": _checksum({"images": images, "labels": labels})}
    if isinstance(data, ImageSet):
        about = {"name": data.name, "split": data.split, "label": data.question, **about}
    described = {"recipe": asdict(recipe), "model": tensors, "data": about}
    return json.loads(json.dumps(described))  # tuples become lists, as they will when read back


def save(
    path: Path, model: nn.Module, optimizer: Optimizer, signed: dict, progress: dict, ema: Ema | None = None
) -> None:
    """Write the checkpoint beside `path` and then rename it: a reader sees the old one or the new one, whole.

    Args:
        path: the file; its folder is made if it is not there.
        model, optimizer, ema: their states are stored.
        signed: what `signature` returned.
        progress: JSON-able; comes back from `resume`.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        stored = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        tensors |= {f"optimizer.{index}.{key}": value for key, value in stored.items()}
    if ema:
        tensors |= {f"ema.{name}": tensor for name, tensor in ema.state().items()}
    tensors = copied(tensors)
    header = {"format": FORMAT, "checksum": _checksum(tensors), "signature": signed, "progress": progress}

    write_atomically(path, to_bytes(tensors, header))


def require_writable(path: Path) -> None:
    """
    Raises:
        OSError: nothing can be written where `path` is to be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
        pass


def resume(path: Path, model: nn.Module, optimizer: Optimizer, signed: dict, ema: Ema | None = None) -> dict | None:
    """Put a checkpoint back into model, optimizer and running mean, and return its progress; None if there is none.

    Raises:
        CheckpointError: the file is damaged or of another training. Then nothing was changed.
    """
    if path.is_dir():
        raise CheckpointError(f"checkpoint= names a file, and {path} is a folder; say {path / 'run.safetensors'}")
    if not path.exists():
        return None
    header, tensors = _read(path)
    if differences := _differences(header["signature"], signed):
        raise CheckpointError(
            f"the checkpoint {path} is of another training: {'; '.join(differences)}. Make it as it was, {REMEDY}"
        )

    model.load_state_dict(_below("model.", tensors))
    if ema:
        ema.load(_below("ema.", tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return header["progress"]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    damaged = CheckpointError(f"the checkpoint {path} is damaged; {REMEDY}")
    try:
        header, tensors = read(path)
    except Damaged as error:
        raise damaged from error
    if header.get("format") != FORMAT:
        raise CheckpointError(f"the checkpoint {path} was written by another version of the course; {REMEDY}")
    if header["checksum"] != _checksum(tensors):
        raise damaged
    return header, tensors


def _checksum(tensors: dict[str, Tensor]) -> int:
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        value = crc32(tensor.reshape(-1).view(torch.uint8).numpy(), crc32(name.encode(), value))
    return value


def _differences(was: dict, now: dict) -> list[str]:
    """What differs between two signatures, in words; at most three of each kind."""
    found = []
    for kind in ("recipe", "model", "data"):
        old, new = was[kind], now[kind]
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        found += [
            f"{kind} {name} was {old.get(name, 'not there')}, is now {new.get(name, 'not there')}" for name in names[:3]
        ]
        if len(names) > 3:
            found.append(f"and {len(names) - 3} more of the {kind}")
    return found

"""Tensors by name and a piece of JSON, as safetensors bytes. What is read back is checked before it is used.

The header of a message says what the rest holds. It is short, and it is the only part that is parsed: its length is
bounded before it is parsed, and each entry is held against the bytes that really came before a tensor is made of it.
"""

import json
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

# What a result may be made of, by the name that safetensors has for it.
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}
MOST_DIMENSIONS = 64  # more, NumPy does not have either
LARGEST_DIMENSION = 2**40  # of a tensor without elements; the others are bounded by their bytes


@dataclass(frozen=True)
class Bounds:
    """How much one message may hold: bytes of its header, tensors."""

    header: int
    tensors: int


OURS = Bounds(header=2**26, tensors=10**6)  # a message that we wrote ourselves; safetensors reads 100 MB


def pack(tensors: dict[str, Tensor], described: Any) -> bytes:
    """Tensors by name and anything that JSON can hold, as safetensors bytes."""
    # One metadata key only: safetensors keeps no order among several, and equal content must give equal bytes.
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return tensors_to_bytes(contiguous, {"json": json.dumps(described, ensure_ascii=False)})


def unpack(data: bytes, bounds: Bounds = OURS) -> tuple[dict[str, Tensor], Any]:
    """What went into `pack`. Raises ValueError if `data` did not come from there or holds more than it may."""
    try:
        described = _checked_header(data, bounds)
        return tensors_from_bytes(data), described
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, RecursionError, AssertionError) as error:
        raise ValueError(f"not a message of this program: {str(error)[:200]}") from None


def _checked_header(data: bytes, bounds: Bounds) -> Any:
    """Hold the header against `bounds` and against the length of `data`; what the metadata says."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(bounds.header, len(data) - 8):
        raise ValueError(f"a header of {size} bytes, where {min(bounds.header, len(data) - 8)} can be")
    header = _json_object(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    if not isinstance(metadata, dict) or list(metadata) != ["json"]:
        raise ValueError("the metadata is not that of a message")
    if len(header) > bounds.tensors:
        raise ValueError(f"{len(header)} tensors, where {bounds.tensors} are the most")
    pieces = sorted(_piece(entry) for entry in header.values())
    at = 0
    for begin, end in pieces:
        if begin != at:
            raise ValueError("tensors overlap, or there is a gap between them")
        at = end
    if at != len(data) - 8 - size:
        raise ValueError(f"{at} bytes are announced and {len(data) - 8 - size} came")
    return _json(metadata["json"])


def _piece(entry: Any) -> tuple[int, int]:
    """(begin, end) of one tensor's bytes; ValueError unless they are as many as its shape and dtype need."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError("an entry that describes no tensor")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _whole_numbers(shape) or not _whole_numbers(offsets) or len(offsets) != 2:
        raise ValueError("a shape or an offset that is no list of whole numbers")
    if len(shape) > MOST_DIMENSIONS or max(shape, default=0) > LARGEST_DIMENSION:
        raise ValueError("a shape that no tensor has")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        raise ValueError("numbers of a kind that is not accepted")
    begin, end = offsets
    if end - begin != prod(shape) * DTYPES[entry["dtype"]].itemsize:
        raise ValueError("a tensor has more or fewer bytes than its shape needs")
    return begin, end


def _whole_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _json_object(text: bytes) -> dict:
    read = _json(text)
    if not isinstance(read, dict):
        raise ValueError("the header is no JSON object")
    return read


def _json(text: str | bytes) -> Any:
    return json.loads(text, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict:
    # Of two entries of one name, one reader takes the first and another the last.
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name is there twice")
    return made

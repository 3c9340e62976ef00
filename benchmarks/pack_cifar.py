"""CIFAR-10 as JPEG images, in a folder or a tar, packed into one file for ``course bench cifar --data FILE``.

    python -m benchmarks.pack_cifar SOURCE FILE

For a machine that cannot download the set and gets it from elsewhere. What is stored are the JPEG files, one
after the other, without the header that all of them share; they are decoded when they are read.
"""

import io
import json
import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from course.atomic import replacing
from course.data.imageset import ImageSet
from course.names import one_of

SPLITS = ("train", "test")


def pack(source: Path, file: Path) -> dict[str, int]:
    """Pack ``SPLIT/CLASS/*.jpg``, in the order of their names, and return how many images each split has.

    Args:
        source: a folder or a tar, compressed or not, that has ``train`` and ``test`` at its top.

    Raises:
        ValueError: something else than that, or the splits differ in their classes.
    """
    from safetensors.torch import save_file

    found: dict[str, list[tuple[str, bytes]]] = {split: [] for split in SPLITS}
    for path, data in sorted(_jpegs(source)):
        split, name, _ = path.parts
        found[one_of(split, SPLITS, f"{source}: there is no split")].append((name, data))
    classes = [sorted({name for name, _ in images}) for images in found.values()]
    if not classes[0] or classes[0] != classes[1]:
        raise ValueError(
            f"{source} has {len(classes[0])} classes in train/CLASS/*.jpg and "
            f"{len(classes[1])} in test/CLASS/*.jpg, which should be the same"
        )
    head = os.path.commonprefix([data for images in found.values() for _, data in images])  # noqa: RUF071 (of bytes, one by one)
    tensors = {"head": _bytes(head)}
    for split, images in found.items():
        rest = [data[len(head) :] for _, data in images]
        tensors[f"{split}.jpeg"] = _bytes(b"".join(rest))
        tensors[f"{split}.lengths"] = torch.tensor([len(data) for data in rest])  # (N,)
        tensors[f"{split}.labels"] = torch.tensor([classes[0].index(name) for name, _ in images])  # (N,)
    with replacing(file) as partial:
        save_file(tensors, partial, metadata={"classes": json.dumps(classes[0])})
    return {split: len(images) for split, images in found.items()}


def read(file: Path, split: str) -> ImageSet:
    """Decode one split of a packed file, on the CPU.

    Raises:
        ValueError: the file is not there, or not what `pack` writes.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            classes = json.loads(opened.metadata()["classes"])
            head = opened.get_tensor("head").numpy().tobytes()
            data = opened.get_tensor(f"{split}.jpeg").numpy().tobytes()
            lengths, labels = (opened.get_tensor(f"{split}.{what}") for what in ("lengths", "labels"))
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(
            f"{file} is not a file that `python -m benchmarks.pack_cifar SOURCE FILE` wrote ({error})"
        ) from error
    ends = np.cumsum(lengths.numpy())
    images = [_decoded(head + data[start:end]) for start, end in zip([0, *ends[:-1]], ends)]
    return ImageSet(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),  # (N, 3, H, W)
        name="cifar10, JPEG re-encodings",
        split=split,
        question="class",
        all_labels={"class": labels},
        all_classes={"class": classes},
    )


def _jpegs(source: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The path inside the source and the content of every ``*/*/*.jpg``."""
    if source.is_dir():
        for path in source.glob("*/*/*.jpg"):
            yield PurePosixPath(path.relative_to(source)), path.read_bytes()
        return
    try:
        with tarfile.open(source) as tar:
            for member in tar:
                path = PurePosixPath(member.name)  # a leading "./" goes
                if member.isfile() and path.suffix == ".jpg" and len(path.parts) == 3:
                    yield path, tar.extractfile(member).read()
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{source} is neither a folder nor a tar ({error})") from error


def _decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))  # (H, W, 3)


def _bytes(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


if __name__ == "__main__":
    try:
        counts = pack(Path(sys.argv[1]), Path(sys.argv[2]))
        print(", ".join(f"{count:,} {split}" for split, count in counts.items()), "images packed")
    except (IndexError, ValueError) as problem:
        sys.exit(f"{problem}\n\n{__doc__}")

"""A folder of one's own images as an `ImageSet`: each file is decoded once, and its pixels are kept in one file.

The kept file is mapped into memory, not read: as many of its pages are in memory as there is room for, and the system
takes them back when others need it. So a set larger than the memory can be trained on, and the second training begins
at once. It is made anew when a file of the folder has changed.
"""

import json
import mmap
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from course.atomic import replacing
from course.data.cifar import DataError
from course.data.imageset import ImageSet, placed
from course.data_folder import data_folder
from course.progress_bar import progress_bar

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
TEST_FOLDERS = ("test", "val", "valid", "validation")
HELD_OUT = 5  # one image in so many of each class is for the test, where the folder does not say which
USUAL_SIZE = 224  # pixels, where the images are of several sizes and nobody says
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes
FORMAT = 1
AT_ONCE = 256  # images that are decoded before they are written
NAMED = 5  # files in a message


@dataclass(frozen=True)
class _Listed:
    """The images of one split: names below `root`, in an order that mixes the classes, and their classes' numbers."""

    root: Path
    names: list[str]
    labels: list[int]
    classes: list[str]
    left_out: list[tuple[str, str]]  # no images by their names; and why

    def first(self, count: int) -> "_Listed":
        if count > len(self.names):
            raise ValueError(f"{self.root} has {len(self.names)} images of this split; size={count} asks for more")
        return _Listed(self.root, self.names[:count], self.labels[:count], self.classes, self.left_out)

    def fingerprint(self) -> str:
        """Another one, as soon as a file is another one."""
        digest = sha256()
        for name, label in zip(self.names, self.labels):
            about = (self.root / name).stat()
            digest.update(f"{name}\0{label}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def load_folder(
    folder: Path,
    split: str,
    *,
    size: int | None,
    seed: int,
    img_size: int | None,
    in_chans: int | None,
    device: torch.device,
) -> ImageSet:
    """The images of ``FOLDER/train/CLASS/*`` and ``FOLDER/test/CLASS/*``, or of ``FOLDER/CLASS/*``; see `load`.

    Raises:
        DataError: no images there, none that can be read, or no room for their pixels; says what to do.
    """
    listed = _listed(folder, split, seed)
    listed = listed if size is None else listed.first(size)
    asked = [str(listed.root), split, seed, size, img_size, in_chans]
    path = data_folder() / "folders" / f"{folder.name}-{sha256(json.dumps(asked).encode()).hexdigest()[:16]}.pixels"
    fingerprint = listed.fingerprint()
    about = _kept(path, fingerprint)
    if about is None:
        with _alone(path, folder):
            about = _kept(path, fingerprint) or _keep(path, listed, fingerprint, img_size, in_chans)
    if said := _left_out(about["left_out"], folder, len(about["labels"])):
        print(said, file=sys.stderr)
    return ImageSet(
        images=placed(_mapped(path, about["shape"]), device),
        name=folder.name,
        split=split,
        question="class",
        all_labels={"class": torch.tensor(about["labels"], dtype=torch.int64).to(device)},
        all_classes={"class": listed.classes},
    )


# -- Which files


def _listed(folder: Path, split: str, seed: int) -> _Listed:
    inside = {entry.name.lower(): entry for entry in _folders(folder)}
    own_test = next((inside[name] for name in TEST_FOLDERS if name in inside), None)
    train = inside.get("train")
    if train and own_test:
        listed = _classes_of(train, train)
        return listed if split == "train" else _classes_of(own_test, train)
    return _part(_classes_of(train or folder, train or folder), split, seed)


def _folders(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None
    return [entry for entry in entries if entry.is_dir() and not entry.name.startswith((".", "__"))]


def _classes_of(root: Path, train: Path) -> _Listed:
    """Every image below ``root/CLASS``; the classes are those of `train`."""
    classes = [entry.name for entry in _folders(train)]
    if unknown := [entry.name for entry in _folders(root) if entry.name not in classes]:
        raise DataError(f"{root} has a class {unknown[0]!r} that {train} does not have: {', '.join(classes[:10])}")
    found, left_out = [], []
    for label, name in enumerate(classes):
        for parent, folders, files in os.walk(root / name):
            folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
            for file in files:
                inside = (Path(parent) / file).relative_to(root).as_posix()
                if file.startswith(".") or file == "Thumbs.db":
                    continue
                if file.lower().endswith(SUFFIXES):
                    found.append((inside, label))
                else:
                    left_out.append((inside, "no image by its name"))
    if not found:
        raise DataError(
            f"there is no image in {root}: a folder for each class is expected there, and in it files that end in "
            f"{', '.join(SUFFIXES)}"
        )
    if train == root and (empty := set(range(len(classes))) - {label for _, label in found}):
        raise DataError(f"there is no image in {root / classes[min(empty)]}, and each folder there is a class")
    found.sort(key=lambda entry: (crc32(entry[0].encode("utf-8", "surrogateescape")), entry[0]))
    names, labels = zip(*found)
    return _Listed(root, list(names), list(labels), classes, left_out)


def _part(listed: _Listed, split: str, seed: int) -> _Listed:
    """The split by the seed: of each class one image in `HELD_OUT` is for the test, and at least one."""
    held_out: set[str] = set()
    for label in range(len(listed.classes)):
        own = [name for name, of in zip(listed.names, listed.labels) if of == label]
        if len(own) == 1:
            raise DataError(
                f"{listed.root / listed.classes[label]} has one image, and one is needed for training and one for the "
                "test; or say which is which by FOLDER/train/CLASS and FOLDER/test/CLASS"
            )
        own.sort(key=lambda name: crc32(f"{seed} {name}".encode("utf-8", "surrogateescape")))
        held_out |= set(own[: max(1, len(own) // HELD_OUT)])
    chosen = [(n, label) for n, label in zip(listed.names, listed.labels) if (n in held_out) == (split == "test")]
    names, labels = zip(*chosen)
    return _Listed(listed.root, list(names), list(labels), listed.classes, listed.left_out)


# -- From a file to pixels


def _pixels(file: Path, side: int, channels: int) -> np.ndarray:
    """The middle of an image, upright, as its shorter side allows, (channels, side, side) uint8.

    Raises:
        Exception: whatever Pillow says of a file that it cannot read.
    """
    from PIL import Image, ImageOps

    with Image.open(file) as image:
        image.draft(image.mode, (2 * side, 2 * side))  # large JPEGs are decoded at a half, a quarter or an eighth
        ImageOps.exif_transpose(image, in_place=True)
        image = _eight_bits(image, "L" if channels == 1 else "RGB")
        image = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)  # (side, side) or (side, side, 3)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _eight_bits(image, mode: str):
    """A Pillow image in that mode: of 16 bits the upper 8, what is transparent on white."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of which nobody knows what is white")
    if image.mode.startswith("I"):
        numbers = np.asarray(image).astype(np.int64)
        image = Image.fromarray((numbers >> (8 if numbers.max() > 255 else 0)).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _look(file: Path) -> tuple[tuple[int, int], bool] | None:
    """Size and whether it is grey, from the first bytes; None: no image."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.size, image.mode in GREY
    except Exception:
        return None


def _shape_of(listed: _Listed, img_size: int | None, in_chans: int | None, pool: ThreadPoolExecutor) -> tuple[int, int]:
    """Side and channels of what is kept: as asked for, else as the images are."""
    if img_size and in_chans:
        return img_size, in_chans
    seen = [about for about in pool.map(lambda name: _look(listed.root / name), listed.names) if about]
    sizes = {size for size, _ in seen}
    [(width, height)] = sizes if len(sizes) == 1 else [(USUAL_SIZE, USUAL_SIZE)]
    side = img_size or (width if width == height else USUAL_SIZE)
    return side, in_chans or (1 if seen and all(grey for _, grey in seen) else 3)


# -- The kept file: the pixels (N, C, H, W), what is known of them as JSON, and the length of that in 8 bytes


@contextmanager
def _alone(path: Path, folder: Path) -> Iterator[None]:
    """Two programs that load a new folder at once (two trainings of a script): the second waits, and takes what is kept."""
    with _said_if_it_cannot_be_kept(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{folder} is being read by another program already: waiting for it", file=sys.stderr)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _said_if_it_cannot_be_kept(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the pixels cannot be kept in {error.filename or path}: {error.strerror}; COURSE_DATA names another folder"
        ) from None


def _keep(path: Path, listed: _Listed, fingerprint: str, img_size: int | None, in_chans: int | None) -> dict:
    """Decode all and write the file; what is known of them comes back."""
    left_out, labels = list(listed.left_out), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        side, channels = _shape_of(listed, img_size, in_chans, pool)
        _require_room(path, len(listed.names) * channels * side * side)
        with _said_if_it_cannot_be_kept(path), replacing(path) as partial, open(partial, "wb") as file:
            for name, label, found in _decoded(listed, side, channels, pool):
                if isinstance(found, Exception):
                    left_out.append((name, _why(found)))
                else:
                    file.write(found.tobytes())
                    labels.append(label)
            if not labels:
                raise DataError(f"none of the {len(left_out)} files can be read: {_in_words(left_out)}")
            shape = [len(labels), channels, side, side]
            about = {"format": FORMAT, "files": fingerprint, "shape": shape, "labels": labels, "left_out": left_out}
            text = json.dumps(about).encode()
            file.write(text + len(text).to_bytes(8, "little"))
    return about


def _decoded(
    listed: _Listed, side: int, channels: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[str, int, np.ndarray | Exception]]:
    def read(name: str) -> np.ndarray | Exception:
        try:
            return _pixels(listed.root / name, side, channels)
        except Exception as error:  # a damaged file makes Pillow raise almost anything
            return error

    with progress_bar(len(listed.names), None, desc=f"reading {listed.root.name}", unit=" images") as bar:
        for start in range(0, len(listed.names), AT_ONCE):
            names, labels = listed.names[start : start + AT_ONCE], listed.labels[start : start + AT_ONCE]
            for name, label, found in zip(names, labels, pool.map(read, names)):
                yield name, label, found
                bar.update()


def _require_room(path: Path, needed: int) -> None:
    there = next(parent for parent in path.parents if parent.exists())
    if (free := shutil.disk_usage(there).free) < needed:
        raise DataError(
            f"the pixels take {needed / 1e9:.1f} GB, and {there} has {free / 1e9:.1f} GB free: COURSE_DATA names another "
            "folder, and a smaller img_size= takes less"
        )


def _kept(path: Path, fingerprint: str) -> dict | None:
    """What is known of the pixels of these very files; None: they are not kept."""
    try:
        with open(path, "rb") as file:
            end = file.seek(-8, os.SEEK_END)
            length = int.from_bytes(file.read(8), "little")
            file.seek(end - length)
            about = json.loads(file.read(length))
        whole = end - length == int(np.prod(about["shape"]))
        return about if whole and about["format"] == FORMAT and about["files"] == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _mapped(path: Path, shape: list[int]) -> Tensor:
    """The pixels as they lie in the file. Who changes them gets pages of his own; the file stays as it is."""
    count = int(np.prod(shape))
    with open(path, "rb") as file:
        if sys.platform == "linux":  # without a reserve, for no one will change a set that is larger than the memory
            flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000)
            pixels = mmap.mmap(file.fileno(), count, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        else:
            pixels = mmap.mmap(file.fileno(), count, access=mmap.ACCESS_COPY)
    return torch.frombuffer(pixels, dtype=torch.uint8, count=count).view(shape)


# -- What is said of files that are not there


def _left_out(left_out: list, folder: Path, read: int) -> str:
    if not left_out:
        return ""
    files = "1 file is" if len(left_out) == 1 else f"{len(left_out)} files are"
    return f"{folder}: {read} images; {files} left out: {_in_words(left_out)}"


def _why(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    return (
        "no image, or one of a kind that Pillow does not read"
        if isinstance(error, UnidentifiedImageError)
        else str(error)
    )


def _in_words(left_out: list) -> str:
    more = f"; and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    return "; ".join(f"{name} ({why})" for name, why in left_out[:NAMED]) + more

"""The data sets by name: ``load`` one, list what is ``available``, ``fetch`` one from the network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from course.data import cifar, digits, narrated, sequences, shapes, two_questions
from course.data.cifar import DataError
from course.data.folder import load_folder
from course.data.imageset import ImageSet, device_of
from course.data.sequences import SequenceSet
from course.names import one_of

SPLITS = ("train", "test")
# Drawn sets are made in blocks of this many images or sequences, each from its own random stream: so the first thousand
# images are the same whether a thousand is asked for or ten thousand.
BLOCK = 1000


@dataclass(frozen=True)
class DataSource:
    """One row of the catalogue. ``read(split)`` returns all images of a fixed set;
    ``draw(random, count, split, needed)`` makes images, of which ``sizes`` says how many there are if nobody says. Of the
    ``count`` only the first ``needed`` are used: it may leave out what makes the others dear, if these stay the same. A
    set with a ``vocabulary`` has sequences of its words in place of images.
    """

    what: str
    sizes: dict[str, int]
    shape: tuple[int, ...]
    class_names: dict[str, Sequence[str]] | None = None  # of a downloaded set: in its files
    read: Callable | None = None
    draw: Callable | None = None
    vocabulary: Sequence[str] | None = None


SOURCES = {
    "digits": DataSource(
        "handwritten digits, inside scikit-learn",
        {"train": digits.TRAIN_IMAGES, "test": 397},
        (1, 8, 8),
        digits.CLASS_NAMES,
        read=digits.read,
    ),
    "two_questions": DataSource(
        "one local and one global question about the same pixels; drawn",
        {"train": 5000, "test": 1000},
        (3, 32, 32),
        two_questions.CLASS_NAMES,
        draw=lambda random, count, split, needed: two_questions.draw(random, count),
    ),
    "digit_video": DataSource(
        "digits sliding right, left, down or up; drawn",
        {"train": 4000, "test": 1000},
        (5, 1, 16, 16),
        digits.VIDEO_CLASS_NAMES,
        draw=lambda random, count, split, needed: digits.draw_video(random, count, split),
    ),
    "shapes": DataSource(
        "shapes of all sizes, with masks and boxes; drawn",
        {"train": 2000, "test": 500},
        (3, shapes.SIZE, shapes.SIZE),
        shapes.CLASS_NAMES,
        draw=lambda random, count, split, needed: shapes.draw(random, count, needed),
    ),
    "narrated_digits": DataSource(
        "clips of a digit, each with a tone and two sentences; drawn",
        {"train": 4000, "test": 1000},
        (narrated.FRAMES, 1, narrated.FRAME, narrated.FRAME),
        narrated.CLASS_NAMES,
        draw=lambda random, count, split, needed: narrated.draw(random, count, split),
    ),
    "sentiment": DataSource(
        "sentences with 'not': only the order of the words tells the sentiment; drawn",
        {"train": 4000, "test": 1000},
        (sequences.LONGEST,),
        sequences.SENTIMENT_CLASSES,
        draw=lambda random, count, split, needed: sequences.draw_sentiment(random, count),
        vocabulary=sequences.SENTIMENT_WORDS,
    ),
    "lookup": DataSource(
        "twelve pairs of a name and a number, then one of the names; drawn",
        {"train": 20_000, "test": 1000},
        (sequences.PAIRS + 1, 2),
        sequences.LOOKUP_CLASSES,
        draw=lambda random, count, split, needed: sequences.draw_lookup(random, count),
        vocabulary=sequences.LOOKUP_WORDS,
    ),
    "reversal": DataSource(
        "words to be written backwards, by an encoder and a decoder; drawn",
        {"train": 10_000, "test": 1000},
        (sequences.REVERSAL_LENGTHS[1],),
        {"reversed": sequences.REVERSAL_WORDS},
        draw=lambda random, count, split, needed: sequences.draw_reversal(random, count),
        vocabulary=sequences.REVERSAL_WORDS,
    ),
    "cifar10": DataSource("photographs of 10 kinds of things", {"train": 50_000, "test": 10_000}, (3, 32, 32)),
    "cifar100": DataSource("photographs of 100 kinds of things", {"train": 50_000, "test": 10_000}, (3, 32, 32)),
}
OFFLINE = tuple(name for name, source in SOURCES.items() if source.class_names)


def load(
    name: str | Path,
    split: str = "train",
    *,
    size: int | None = None,
    seed: int = 0,
    label: str | None = None,
    img_size: int | None = None,
    in_chans: int | None = None,
    device: torch.device | str | None = None,
) -> ImageSet | SequenceSet:
    """Load a data set as tensors on the device: ``images, labels = load("cifar10")``.

    Args:
        name: ``cifar10`` and ``cifar100`` are downloaded once; ``digits``, ``two_questions``, ``digit_video``,
            ``shapes`` and ``narrated_digits`` need no network, nor do the sequences of words ``sentiment``, ``lookup``
            and ``reversal`` (`course.data.sequences` says what each is built to show). Or a folder of one's own images:
            ``FOLDER/train/CLASS/*`` and ``FOLDER/test/CLASS/*`` (or ``val``), else ``FOLDER/CLASS/*``, of which one in five
            of each class becomes the test, chosen by `seed`. Files that cannot be read are named, and left out.
        split: ``train`` or ``test``. They never share an image; the drawn sets use separate random streams.
        size: only the first `size` images or sequences. The drawn sets make as many as asked for (if nobody asks:
            ``two_questions`` 5,000 and 1,000, ``digit_video``, ``narrated_digits`` and ``sentiment`` 4,000 and 1,000,
            ``shapes`` 2,000 and 500, ``lookup`` 20,000 and 1,000, ``reversal`` 10,000 and 1,000); a longer set begins
            with the shorter.
        seed: of the drawn sets, which are the same for the same seed, and of what a folder sets aside for the test; the
            real ones are what they are.
        label: which question `labels` answers: ``relation`` (default) or ``texture`` of ``two_questions``,
            ``motion`` (default) or ``digit`` of ``digit_video``, ``mask`` (default), ``kind`` or ``box`` of ``shapes``,
            ``digit`` (default), ``motion``, ``tone`` or ``words`` of ``narrated_digits``.
            All of them stay in ``.all_labels``.
        img_size: of a folder: height and width in pixels. The middle square of each image is brought to it; default:
            as the images are if they are square and all of one size, else 224. The pixels are kept in the folder that
            ``COURSE_DATA`` names, so that they are decoded once, and are mapped from there into memory.
        in_chans: of a folder: 1 for grey, 3 for RGB; default: 1 if all its images are grey.
        device: CUDA if there is one, else the CPU. A folder's images stay in the CPU's memory where half of the GPU's
            is too small for them; `fit` brings them over batch by batch.

    Returns:
        ImageSet: uint8 images (N, C, H, W), clips (N, T, C, H, W); int64 labels (N,), of ``shapes`` masks (N, H, W);
        class names. Of sequences a SequenceSet: int64 words (N, L), labels (N,) or (N, M), vocabulary.

    Raises:
        ValueError: a name, split, label, size or seed that does not exist; says what does.
        DataError: a set that is not here and cannot be fetched, or a damaged file; says which and what to do.
    """
    folder = folder_of(name)
    source = None if folder else SOURCES[one_of(name, SOURCES, "there is no data set")]
    one_of(split, SPLITS, f"{name} has no split")
    known = ["class"] if folder else source.class_names
    if label is not None and known is not None:  # a wrong name is an error before anything is made
        one_of(label, known, f"{name} has no label")
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ValueError(f"size is a number of images, at least 1, or None for all; not {size!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is a whole number, 0 or more; not {seed!r}")
    device = device_of(device)
    if folder:
        if img_size is not None and (not isinstance(img_size, int) or img_size < 1):
            raise ValueError(f"img_size of a folder is height and width in pixels, one whole number; not {img_size!r}")
        if in_chans not in (None, 1, 3):
            raise ValueError(f"in_chans of a folder is 1 for grey or 3 for RGB; not {in_chans!r}")
        return load_folder(folder, split, size=size, seed=seed, img_size=img_size, in_chans=in_chans, device=device)
    if img_size is not None or in_chans is not None:
        raise ValueError(f"img_size and in_chans are for a folder, and the images of {name} are what they are")

    images, labels, class_names = _read_or_drawn(name, split, size, seed)
    if size is not None and size > len(images):
        raise ValueError(f"{name} has {len(images)} {split} images; size={size} asks for more")

    label = next(iter(labels)) if label is None else one_of(label, labels, f"{name} has no label")

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array[:size])).to(device)

    if source.vocabulary:
        return SequenceSet(tensor(images), tensor(labels[label]), source.vocabulary, class_names[label], name, split)
    return ImageSet(
        images=tensor(images),
        name=name,
        split=split,
        question=label,
        all_labels={question: tensor(vector) for question, vector in labels.items()},
        all_classes=class_names,
    )


def folder_of(name: str | Path) -> Path | None:
    """The folder of images that is meant; None for the name of a set, or of nothing.

    Raises:
        DataError: it looks like a folder's, and there is none.
    """
    if not name or not isinstance(name, (str, Path)) or name in SOURCES:
        return None
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_file():
        raise DataError(f"{name} is a file, and a folder of images is expected: FOLDER/CLASS/*.jpg")
    if isinstance(name, Path) or any(sign in name for sign in "/\\~"):
        raise DataError(f"there is no folder {name}")
    return None


def _read_or_drawn(name: str, split: str, size: int | None, seed: int):
    """All images of a fixed set, or as many as asked for of a drawn one; their labels and class names by question."""
    source = SOURCES[name]
    if source.draw:
        draw = partial(source.draw, split=split)
        return *_draw_in_blocks(name, draw, split, seed, size or source.sizes[split]), source.class_names
    if source.read:
        return *source.read(split), source.class_names
    return cifar.read(name, split)


def _draw_in_blocks(name: str, draw: Callable, split: str, seed: int, size: int):
    blocks = []
    for block in range(-(-size // BLOCK)):
        stream = [crc32(name.encode()), SPLITS.index(split), block, seed]
        blocks.append(draw(np.random.default_rng(stream), BLOCK, needed=min(BLOCK, size - block * BLOCK)))
    images = np.concatenate([images for images, _ in blocks])[:size]
    labels = {name: np.concatenate([labels[name] for _, labels in blocks])[:size] for name in blocks[0][1]}
    return images, labels


def available() -> list[dict]:
    """What ``course data`` lists, a row for each set.

    Returns:
        Rows with ``name``, ``what``, ``images`` ("50,000 + 10,000"), ``size`` ("3×32×32"), ``state`` ("here",
        "not here", "damaged") and ``where`` (the folder of a downloaded set, else why none is needed).
    """
    rows = []
    for name, source in SOURCES.items():
        state, where = cifar.state(name) if name not in OFFLINE else ("here", "made when loaded, no download")
        rows.append(
            {
                "name": name,
                "what": source.what,
                "images": f"{source.sizes['train']:,} + {source.sizes['test']:,}",
                "size": "×".join(str(length) for length in source.shape),
                "state": state,
                "where": str(where),
            }
        )
    return rows


def fetch(name: str) -> Path | None:
    """Download a set if it is not here or damaged, and say where it is; None for one that needs no download.

    Raises:
        ValueError: no such set.
        DataError: it cannot be fetched; says why and what to do.
    """
    one_of(name, SOURCES, "there is no data set")
    return None if name in OFFLINE else cifar.fetch(name)

"""What every data set of the course is once loaded: uint8 images and labels, as tensors on one device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course.names import one_of

SHARE_OF_DEVICE = 0.5  # of the free memory of a GPU, for images; the rest is for the network


def default_device() -> torch.device:
    """CUDA where there is such a device, otherwise the CPU. (Apple's ``mps`` has to be asked for by name.)"""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(chosen: torch.device | str | None) -> torch.device:
    """The device of that name; `default_device` for None.

    Raises:
        ValueError: there is no such device, or PyTorch cannot use it here; says why.
    """
    if chosen is None:
        return default_device()
    try:
        device = torch.device(chosen)
    except (RuntimeError, TypeError):
        raise ValueError(f"a device is 'cpu', 'cuda', 'cuda:1' or 'mps', and not {chosen!r}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "finds no NVIDIA driver or no GPU" if torch.backends.cuda.is_built() else "was built without CUDA"
        raise ValueError(f"there is no device {str(device)!r} here, for this PyTorch {why}: say 'cpu', or nothing")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"there is no device {str(device)!r} here: there are {torch.cuda.device_count()} GPUs")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            "there is no device 'mps' here, for that is the GPU of an Apple computer: say 'cpu', or nothing"
        )
    return device


def placed(images: Tensor, device: torch.device) -> Tensor:
    """Images on the device, if they take at most `SHARE_OF_DEVICE` of what is free there; else as they are.

    Those that stay are brought there batch by batch.
    """
    if device.type == "cuda" and images.device.type == "cpu" and images.nbytes > SHARE_OF_DEVICE * _free_on(device):
        return images
    return images.to(device)


def _free_on(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0]


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images and labels, small enough to live on the device as a whole.

    ``images, labels = load("digits")`` unpacks one. Some sets ask several questions about the same images
    (``two_questions``: texture, relation); then ``labels`` answers the one called ``question``, `all_labels`
    holds them all, and ``ask("texture")`` turns to another.

    Attributes:
        images: uint8, (N, C, H, W); video (N, T, C, H, W).
        labels: int64, (N,); of ``shapes`` masks (N, H, W).
        classes: the class names; ``classes[labels[i]]`` is what image i shows.
        name, split: where it came from.
        question: which of `all_labels` is in `labels`.
        all_labels: every label vector by its name, each (N,); of ``shapes`` and ``narrated_digits`` see
            `course.data.shapes` and `course.data.narrated`.
        all_classes: the class names of each.
    """

    images: Tensor
    name: str
    split: str
    question: str
    all_labels: Mapping[str, Tensor]
    all_classes: Mapping[str, Sequence[str]]

    @property
    def labels(self) -> Tensor:
        return self.all_labels[self.question]

    @property
    def classes(self) -> list[str]:
        return list(self.all_classes[self.question])

    def ask(self, question: str) -> "ImageSet":
        """The same images with the labels of another question.

        Raises:
            ValueError: the set has no such question.
        """
        return replace(self, question=one_of(question, self.all_labels, f"{self.name} has no label"))

    def subset(self, chosen: int | slice | Sequence[int] | Tensor) -> "ImageSet":
        """The first n images (an int), or those at the given indices (a slice, list, index or mask tensor).

        Raises:
            ValueError: more images are asked for than there are.
        """
        chosen = rows(chosen, self.images, f"{self.name}/{self.split}", "images")
        labels = {question: vector[chosen] for question, vector in self.all_labels.items()}
        return replace(self, images=self.images[chosen], all_labels=labels)

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same set on another device; its images only where they fit (`placed`)."""
        device = device_of(device)
        labels = {question: vector.to(device) for question, vector in self.all_labels.items()}
        return replace(self, images=placed(self.images, device), all_labels=labels)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.images, self.labels))

    def __repr__(self) -> str:
        size = "×".join(str(length) for length in self.images.shape[1:])
        classes = ", ".join(self.classes[:3]) + (", …" if len(self.classes) > 3 else "")
        others = [question for question in self.all_labels if question != self.question]
        also = f", also: {', '.join(others)}" if others else ""
        return (
            f"{self.name}/{self.split}: {len(self)} images {size} uint8 on {self.images.device}, "
            f"{self.question}: {len(self.classes)} classes ({classes}){also}"
        )


def rows(chosen: int | slice | Sequence[int] | Tensor, among: Tensor, owner: str, what: str) -> slice | Tensor:
    """What picks `chosen` along the first axis of `among`: the first n for an int, else as it is.

    Raises:
        ValueError: `owner` has fewer than n `what`.
    """
    if isinstance(chosen, int):
        if not 0 < chosen <= len(among):
            raise ValueError(f"{owner} has {len(among)} {what} here, not {chosen}")
        return slice(chosen)
    return chosen if isinstance(chosen, slice) else torch.as_tensor(chosen, device=among.device)

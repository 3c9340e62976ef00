"""What is in the batch of a step: decided by the recipe and the number of the step, and by nothing that came before."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import numpy as np
import torch
from torch import Generator, Tensor

from course.data.augment import AUGMENTATIONS, Augmentation, ColorJitter, RandomResizedCrop
from course.data.mix import Mix, RandomErasing
from course.data.normalise import Normalise
from course.data.rand_augment import RandAugment
from course.training.parallel import Processes
from course.training.recipe import Recipe

PIECE = 2**18  # bytes of pixels that are augmented at once on a CPU, where they then stay in its cache
LEAST_LOCAL = 0.05  # share of the area of a local view (arXiv:2104.14294, appendix E, and the authors' code)


@dataclass(frozen=True)
class Batch:
    """Normalised images (B, C, H, W) with their labels (B,); if they are mixed, also the other image's labels.

    Attributes:
        images: or, with `recipe.views`, a tuple of the views of the images, those of one size each (B, C, h, w).
        other_labels: (B,) of the image that was mixed in; None: nothing was.
        share: (B,) of the image itself, 0..1.
    """

    images: Tensor | tuple[Tensor, ...]
    labels: Tensor
    other_labels: Tensor | None = None
    share: Tensor | None = None


class Batches:
    """``batches(step)`` -> the `Batch` of a step; under several processes, this process's rows of it.

    The order comes from (seed, epoch), augmentation from (seed, step). The last images of an epoch that do not
    fill a batch wait for the next one, so that all batches are of one size.

    Batches are on the device of the labels. Images that are elsewhere, because they do not fit there (`placed`) or are
    mapped from a file, are read when their batch is made, and only they.

    Large images are made piece by piece on a CPU, in memory that the next batch takes over.

    Raises:
        ValueError: a batch that cannot be divided among the processes.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, normalise: Normalise, recipe: Recipe, processes: Processes
    ) -> None:
        self.images, self.labels, self.normalise, self.recipe = images, labels, normalise, recipe
        self.size = min(recipe.batch_size, len(images))
        self.rows = processes.rows(self.size, even=recipe.mixup + recipe.cutmix > 0)
        self.per_epoch = len(images) // self.size
        self.steps = recipe.total_steps(self.per_epoch)
        self.device = labels.device
        self.at_once = self.size
        if self.device.type == "cpu" and isinstance(normalise, Normalise):
            self.at_once = max(1, min(self.size, PIECE // (images[0].numel() * images.element_size())))
        self.memory: dict[int, Tensor] = {}
        self.threads = _threads() if self.at_once < self.size else None
        self.generator = torch.Generator(self.device)
        self.epoch = -1
        self.augmentations = _augmentations(recipe, RandomResizedCrop(recipe.crop_area, recipe.img_size))
        self.kinds = [self.augmentations] * recipe.views  # of views, each with its augmentations
        if recipe.local_views:
            count, side = recipe.local_views
            small = RandomResizedCrop((LEAST_LOCAL, recipe.crop_area[0]), side)
            self.kinds += [_augmentations(recipe, small)] * count
        self.mix = Mix(recipe.mixup, recipe.cutmix) if recipe.mixup or recipe.cutmix else None
        self.augmented = self._augmented

    def compile(self) -> None:
        """Augment by compiled code, which takes a minute to make."""
        self.augmented = torch.compile(self._augmented, dynamic=False)

    def __call__(self, step: int) -> Batch:
        chosen = self._chosen(step)  # (B,) of this process
        labels = self.labels[chosen.to(self.device)]
        seeded(self.generator, self.recipe.seed, step, 2)
        views = self._views(chosen, [self._drawn_in_turn(kind) for kind in self.kinds])
        if len(views) > 1:
            return Batch(tuple(views), labels)
        images = views[0]
        if not (self.mix and step < self.recipe.mix_until * self.steps):
            return Batch(images, labels)
        images, partner, share = self.mix.apply(images, self._drawn(self.mix, tuple(images.shape[1:])))
        return Batch(images, labels, labels[partner], share)

    def _views(self, chosen: Tensor, drawn: list[list[Tensor]]) -> list[Tensor]:
        """Each kind of view of the chosen images."""
        if self.at_once >= len(chosen):
            images = self.images[chosen].to(self.device)
            return [self.augmented(images, kind, numbers) for kind, numbers in zip(self.kinds, drawn, strict=True)]
        views: list[Tensor] = []

        def make(start: int) -> None:
            piece = slice(start, start + self.at_once)
            if self.at_once == 1:  # as it lies there, without a copy
                images = self.images[int(chosen[start])][None]
            else:
                images = self.images[chosen[piece]]
            for number, (kind, numbers) in enumerate(zip(self.kinds, drawn, strict=True)):
                pixels, normalised = self._changed(images, kind, [rows[piece] for rows in numbers])
                if start == 0:
                    views.append(self._memory(number, (len(chosen), *pixels.shape[1:])))
                if normalised:
                    views[number][piece] = pixels
                else:
                    self.normalise(pixels, out=views[number][piece])

        make(0)
        starts = range(self.at_once, len(chosen), self.at_once)
        for _ in self.threads.map(make, starts) if self.threads else map(make, starts):
            pass
        return views

    def _memory(self, number: int, shape: tuple[int, ...]) -> Tensor:
        """Where the views of that number are made: the same memory each time, for new pages cost as much as all else."""
        if number not in self.memory or self.memory[number].shape != shape:
            self.memory[number] = torch.empty(shape)
        return self.memory[number]

    def _augmented(self, images: Tensor, augmentations: list[Augmentation], drawn: list[Tensor]) -> Tensor:
        """Normalised images."""
        images, normalised = self._changed(images, augmentations, drawn)
        return images if normalised else self.normalise(images)

    def _changed(self, images: Tensor, augmentations: list[Augmentation], drawn: list[Tensor]) -> tuple[Tensor, bool]:
        """The images, and whether they are normalised already; noise comes after that, since it is normal only there."""
        normalised = False
        for augmentation, numbers in zip(augmentations, drawn, strict=True):
            if augmentation.on_normalised and not normalised:
                images, normalised = self.normalise(images), True
            images = augmentation.apply(images, numbers)
        return images, normalised

    def _chosen(self, step: int) -> Tensor:
        epoch, batch = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            # On the CPU, so that the order is the same on every device.
            generator = seeded(torch.Generator(), self.recipe.seed, epoch, 1)
            order = torch.randperm(len(self.images), generator=generator)
            self.order, self.epoch = order.to(self.images.device), epoch
        copies = self.recipe.repeated_augment
        different = -(-self.size // copies)
        chosen = self.order[batch * different : (batch + 1) * different].repeat(copies)[: self.size]  # (B,)
        return chosen[self.rows]

    def _drawn_in_turn(self, augmentations: list[Augmentation]) -> list[Tensor]:
        """Of each, for the images as those before it leave them."""
        size, drawn = tuple(self.images.shape[1:]), []
        for augmentation in augmentations:
            drawn.append(self._drawn(augmentation, size))
            if side := getattr(augmentation, "side", None):
                size = (*size[:-2], side, side)
        return drawn

    def _drawn(self, augmentation, size: tuple[int, ...] | None = None) -> Tensor:
        """For the whole batch, so that the rows of a process get what they would get in one process."""
        return augmentation.draw(self.size, size or self.images.shape[1:], self.generator)[self.rows]


def _threads() -> ThreadPoolExecutor | None:
    """As many threads as PyTorch uses, each of which computes alone; None: it uses one."""
    count = torch.get_num_threads()
    if count == 1:
        return None
    all_there = Barrier(count + 1)

    def alone() -> None:
        torch.set_num_threads(1)  # of this thread, and of threads that begin later
        all_there.wait()

    pool = ThreadPoolExecutor(count)
    for _ in range(count):
        pool.submit(alone)
    all_there.wait()
    torch.set_num_threads(count)
    return pool


def _augmentations(recipe: Recipe, crop: RandomResizedCrop) -> list[Augmentation]:
    """What the recipe does to an image, in this order, with this crop where it says ``random_resized_crop``."""
    named = AUGMENTATIONS | {"random_resized_crop": crop}
    found = [named[name] for name in recipe.augment]
    if recipe.rand_augment:
        found.append(RandAugment(*recipe.rand_augment))
    if recipe.color_jitter:
        found.append(ColorJitter(recipe.color_jitter))
    if recipe.random_erasing:
        found.append(RandomErasing(recipe.random_erasing))
    return found


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers, such that neighbouring numbers give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seeded(generator: Generator, *numbers: int) -> Generator:
    return generator.manual_seed(mixed_seed(*numbers))

"""``course bench shapes``: a small DETR learns to find the shapes, with its matching and without.

Without matching the first query answers for the first object of the list, the second for the second; the order of the
list says nothing about the image. All else is the same.
"""

import platform
from dataclasses import asdict
from datetime import date

import torch
from torch import nn

from course.analysis import average_precision
from course.data import ImageSet, load
from course.data.shapes import KINDS, objects
from course.models import create_model
from course.models.dense.detr import detections, in_order, set_loss_of_all_layers
from course.names import one_of
from course.notebook import budget_name
from course.training import Recipe
from course.training.dense import fit_dense
from course.training.pretrained import FOLDER, Origin, save_pretrained

MODEL = "detr_shapes"
IMAGES = 8000
RECIPE = Recipe(steps=4000, batch_size=16, lr=1e-3, weight_decay=1e-4, warmup=0.05, grad_clip=1.0)
TINY = dict(steps=3, images=64)
WAYS = ("matched", "in_order")


def bench(words: list[str], *, save: bool = False) -> dict:
    """Train both ways and print how well the shapes of the test images are found.

    On a CPU it takes some six minutes each, by one thread.

    Args:
        words: ``matched`` or ``in_order``; none: both.
        save: store the weights of the matched training in ``course/checkpoints``.

    Returns:
        {way: {"ap", "ap50", "loss" (of the last hundred steps), "seconds"}}.
    """
    tiny = budget_name() == "tiny"
    if tiny and save:
        raise ValueError("what three steps have learned is not worth storing: --save without COURSE_BUDGET=tiny")
    ways = [one_of(word, WAYS, "shapes are not learned by") for word in words] or WAYS
    recipe = RECIPE.but(steps=TINY["steps"]) if tiny else RECIPE
    train, test = load("shapes", size=TINY["images"] if tiny else IMAGES), load("shapes", "test")
    figures = {}
    for way in ways:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as many as it has been measured with; more hardly help networks so small
        try:
            model, figures[way] = trained(way, train, test, recipe)
        finally:
            torch.set_num_threads(threads)
        print(
            f"{way}: AP {figures[way]['ap']:.3f}, AP50 {figures[way]['ap50']:.3f}, "
            f"loss {figures[way]['loss']:.2f}, {figures[way]['seconds']:.0f} s",
            flush=True,
        )
        if save and way == "matched":
            store(model, recipe, figures[way], train.images.device)
    return figures


def trained(way: str, train: ImageSet, test: ImageSet, recipe: Recipe) -> tuple[nn.Module, dict]:
    """A fresh model, trained, and its figures."""
    torch.manual_seed(recipe.seed)
    model, targets = create_model(MODEL), objects(train)

    def loss(model: nn.Module, images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        wanted = [targets[i] for i in chosen.tolist()]
        options = {} if way == "matched" else {"pairs": in_order(wanted)}
        return set_loss_of_all_layers(model, images, wanted, **options)

    history = fit_dense(model, train, loss, recipe)
    last = history.loss[-100:]
    with torch.no_grad():
        found = [one for part in test.images.split(100) for one in detections(*model(model.normalise_images(part)))]
    kinds = len(KINDS)
    return model, {
        "ap": average_precision(found, objects(test), kinds),
        "ap50": average_precision(found, objects(test), kinds, (0.5,)),
        "loss": sum(last) / len(last),
        "seconds": history.seconds,
    }


def store(model: nn.Module, recipe: Recipe, figures: dict, device: torch.device) -> None:
    """Beside its AP50, which stands where classifiers have their accuracy."""
    cuda = device.type == "cuda"
    origin = Origin(
        model=MODEL,
        overrides={},
        data=f"shapes, {IMAGES:,} images",
        recipe=asdict(recipe),
        accuracy=figures["ap50"],
        seconds=figures["seconds"],
        device=torch.cuda.get_device_name(device) if cuda else f"CPU, {platform.machine()}",
        date=date.today().isoformat(),
    )
    save_pretrained(FOLDER / f"{MODEL}.safetensors", model, origin)

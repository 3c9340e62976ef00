"""The walk in the docstring of ``course.training`` is the one that a training takes."""

import inspect
import re
import sys
from importlib import import_module
from types import CodeType

import torch
from torch import nn

import course.training
from course.models import create_model
from course.training import Recipe, fit

# Everything that the walk names has something to do: each module of a recipe, a teacher, a checkpoint.
EVERYTHING = Recipe(
    steps=2,
    batch_size=4,
    drop_path=0.1,
    dropout=0.1,
    ema=0.9,
    sam=0.01,
    mixup=0.8,
    augment=("random_crop",),
    distill="soft",
)


def named_in_the_walk() -> list[str]:
    return re.findall(r"^    ([a-z_]+\.[\w.]+) ", course.training.__doc__, flags=re.MULTILINE)


def code_of(name: str) -> CodeType:
    """Of a function or method, or of what makes a class."""
    module, *path = name.split(".")
    found = import_module(f"course.training.{module}")
    for part in path:
        found = getattr(found, part)
    return inspect.unwrap(found.__init__ if inspect.isclass(found) else found).__code__


def test_a_training_takes_the_walk_in_this_order(tmp_path):
    torch.manual_seed(0)
    model = create_model("vit_cifar", depth=2, embed_dim=16, num_heads=2, num_classes=3, img_size=8, patch_size=4)
    data = torch.randn(8, 3, 8, 8), torch.arange(8) % 3
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    names = {code_of(name): name for name in named_in_the_walk()}
    taken = []

    def note(frame, event, _) -> None:
        if event == "call" and (name := names.get(frame.f_code)) and name not in taken:
            taken.append(name)

    sys.setprofile(note)
    try:
        fit(model, data, EVERYTHING, val=data, teacher=teacher, checkpoint=tmp_path / "run.safetensors")
    finally:
        sys.setprofile(None)
    assert len(taken) > 15 and taken == named_in_the_walk()


def test_modules_that_the_walk_names_elsewhere_are_there():
    for module, name in re.findall(r"``([a-z_]+)\.(\w+)``", course.training.__doc__):
        if module != "course":
            assert hasattr(import_module(f"course.training.{module}"), name), (module, name)
    assert hasattr(course.training.loop, "_Training") and course.training.loop.SAVE_EVERY == 20

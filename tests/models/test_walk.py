"""The way of an image that `course.models` describes: every name in it is there, and what it says is so."""

import importlib
import re

import pytest
import torch

import course.models
from course.models import create_model
from course.models.backbone import Backbone

WALK = course.models.__doc__
NAMES = sorted(set(re.findall(r"``([a-z_]+(?:\.\w+)*)``", WALK)))
# Words of the walk that name no module of ours: arguments, and places in the network.
PLACES = {"dim", "grid", "forward", "stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"}
PLACES |= {"token_mixer", "channel_mixer"}


def found(name: str):
    """What a name with dots stands for, below `course.models`.

    Raises:
        AttributeError: nothing.
    """
    thing, path = course.models, "course.models"
    for word in name.split("."):
        path = f"{path}.{word}"
        try:
            thing = importlib.import_module(path)
        except ModuleNotFoundError:
            thing = getattr(thing, word)
    return thing


@pytest.mark.parametrize("name", sorted(set(NAMES) - PLACES))
def test_what_the_walk_names_is_there(name):
    assert found(name) is not None


def test_a_name_that_is_gone_is_noticed():
    with pytest.raises(AttributeError):
        found("token_mixers.window.cut_into_windows")
    assert len(set(NAMES) - PLACES) > 25


@pytest.fixture(scope="module")
def visited() -> list[tuple[str, torch.nn.Module, tuple]]:
    """(name, module, shape of what comes out) in the order in which they are left."""
    with torch.device("meta"):
        model, images = create_model("swin_t").eval(), torch.empty(2, 3, 224, 224)
    seen = []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda m, _, out, name=name: seen.append((name, m, tuple(out.shape))))
    model(images)
    return seen


def test_the_shapes_behind_stem_stages_and_head_are_those_of_the_walk(visited):
    steps = re.findall(r"^\d\. ``((?:stem|stages\.\d|head))``(.*?)(?=^\d\. |^\n)", WALK, re.MULTILINE | re.DOTALL)
    told = {place: [f"({shape})" for shape in re.findall(r"\((B, [\d, ]+)\)", text)] for place, text in steps}
    ours = {name: [str(shape).replace("(2,", "(B,", 1)] for name, _, shape in visited if name in told}
    assert list(told) == list(ours) == ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]
    assert told == ours


def test_every_class_that_an_image_comes_through_is_named_in_the_order_of_the_walk(visited):
    came_in = sorted({type(module) for _, module, _ in visited}, key=lambda cls: cls.__name__)
    ours = [cls for cls in came_in if cls.__module__.startswith("course.models.")]
    missing = [
        cls.__name__
        for cls in ours
        if f"``{cls.__module__.removeprefix('course.models.')}.{cls.__name__}``" not in WALK
    ]
    assert not missing, f"the walk says nothing of {missing}"
    first = {}
    for _, module, _ in visited:
        first.setdefault(type(module).__name__, len(first))
    order = ["LayerNorm", "PatchEmbed", "WindowAttention", "MLP", "PatchMerging", "MeanHead"]
    assert [name for name in sorted(first, key=first.get) if name in order] == order
    at = [WALK.index(f".{name}``") for name in ("PatchEmbed", "WindowAttention", "MLP", "PatchMerging", "MeanHead")]
    assert at == sorted(at)


def test_blocks_shifts_and_entries_are_as_the_walk_says(visited):
    modules = {name: module for name, module, _ in visited}
    model = modules[""]
    assert isinstance(model, Backbone) and list(model._forward_pre_hooks.values())
    assert [len(stage.blocks) for stage in model.stages] == [2, 2, 6, 2]
    shifts = [[block.token_mixer.branch.shift for block in stage.blocks] for stage in model.stages]
    assert shifts == [[0, 3], [0, 3], [0, 3] * 3, [0, 0]]
    assert [type(stage.entry).__name__ for stage in model.stages] == ["Identity"] + ["PatchMerging"] * 3
    with pytest.raises(ValueError, match="swin_t takes a batch"):
        model(torch.empty(3, 224, 224))

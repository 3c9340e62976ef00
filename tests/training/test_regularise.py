"""Stochastic depth and dropout put into a model that is there already."""

import copy

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.backbone import Block, Residual
from course.training.parts import loaded
from course.training.regularise import set_drop_path, set_dropout
from tests.models.parity import proves


def rates(model: nn.Module) -> dict[str, float]:
    return {name: module.drop_path for name, module in model.named_modules() if hasattr(module, "drop_path")}


def small_vit(**overrides) -> nn.Module:
    torch.manual_seed(0)
    return create_model("vit_b16", num_classes=5, img_size=32, embed_dim=16, depth=3, num_heads=2, **overrides)


@pytest.mark.parametrize(
    "name",
    [
        "vit_cifar",
        "swin_cifar",
        "convnext_cifar",
        "poolformer_cifar",
        "coatnet_0",
        "efficientformer_l1",
        "cait_s24",
        "levit_256",
        "convit_s",
        "vivit_digits",
        "timesformer_divided",
        "upernet_swin_t",
    ],
)
def test_as_create_model_would_have_it(name):
    with torch.device("meta"):
        expected = rates(create_model(name, drop_path=0.3))
        model = create_model(name)
        set_drop_path(model, 0.3)
    assert rates(model) == pytest.approx(expected, abs=1e-7) and max(expected.values()) == pytest.approx(0.3)
    set_drop_path(model, 0.0)
    assert not any(rates(model).values())


@proves(36, 102)
def test_stochastic_depth_is_in_training_only():
    model = small_vit()
    set_drop_path(model, 0.9)
    images = torch.randn(3, 3, 32, 32)
    assert torch.equal(model.eval()(images), small_vit().eval()(images))
    assert not torch.equal(model.train()(images), model(images))
    plain = nn.Sequential(Block(Residual(nn.Linear(2, 2))), Block(Residual(nn.Linear(2, 2)), Residual(nn.Linear(2, 2))))
    set_drop_path(plain, 0.5)
    assert list(rates(plain).values()) == [0.0, 0.5, 0.5]


def test_dropout_is_where_vit_has_it():
    model = small_vit()
    names = set(model.state_dict())
    set_dropout(model, 0.1)
    places = {name for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    block = [f"stages.0.blocks.{i}." for i in range(3)]
    assert places == {"stages.0.entry.dropped"} | {
        start + place
        for start in block
        for place in (
            "token_mixer.branch.proj.dropped",
            "channel_mixer.branch.act.dropped",
            "channel_mixer.branch.fc2.dropped",
        )
    }
    assert set(model.state_dict()) == names  # weights still load


@proves(161)
def test_dropout_zeroes_that_share_and_can_be_changed():
    model = small_vit()
    images = torch.randn(64, 3, 32, 32)
    seen = {}
    for name in (
        "stages.0.entry",
        "stages.0.blocks.1.channel_mixer.branch.fc2",
        "stages.0.blocks.2.token_mixer.branch.proj",
    ):
        set_dropout(model, 0.25)
        model.get_submodule(name).register_forward_hook(lambda module, a, y, name=name: seen.update({name: y}))
    model.train()(images)
    for output in seen.values():
        assert (output == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    set_dropout(model, 0.5)
    copy.deepcopy(model)(images)
    for output in seen.values():
        assert (output == 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    set_dropout(model, 0.0)
    assert torch.equal(model(images), small_vit().train()(images))
    set_dropout(model, 0.5)
    assert torch.equal(model.eval()(images), small_vit().eval()(images))
    evaluated = small_vit().eval()
    set_dropout(evaluated, 0.5)
    assert torch.equal(evaluated(images), model(images))


def test_dropout_of_ones_own():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    set_dropout(model, 0.2)
    assert model[1].p == 0.2 and len(list(model.modules())) == 4


def test_a_part_is_known_by_its_class_and_not_by_its_name():
    namesake = type("Block", (nn.Sequential,), {"__module__": "course.models.backbone"})
    with pytest.raises(ValueError, match="no residual step"):
        set_drop_path(nn.Sequential(namesake(Residual(nn.Linear(2, 2)))), 0.5)
    assert loaded("backbone", "Block") == (Block,) and loaded("no_such_module", "Block") == ()
    with pytest.raises(AttributeError, match="NoSuchBlock"):  # renamed there and not here: not passed over
        loaded("backbone", "NoSuchBlock")


def test_what_cannot_be():
    plain = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ValueError, match="Sequential has no residual step.*drop_path=None"):
        set_drop_path(plain, 0.1)
    with pytest.raises(ValueError, match="Sequential has neither.*dropout=None"):
        set_dropout(plain, 0.1)
    for change in (set_drop_path, set_dropout):
        for rate in (1.0, -0.1):
            with pytest.raises(ValueError, match="below 1"):
                change(small_vit(), rate)

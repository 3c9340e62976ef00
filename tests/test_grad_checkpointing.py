"""Gradient checkpointing: the same numbers to the last bit, with less memory."""

import copy

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from course.models import create_model
from course.training.regularise import set_drop_path, set_dropout
from tests.models.test_every_model import SMALL, _inputs, _tensors


def step(model: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Outputs, gradients and buffers after one step."""
    torch.manual_seed(1)
    model.train()
    outputs = _tensors(model(images))
    sum(y.square().mean() for y in outputs).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [*outputs, *gradients, *model.buffers()]


# Plain blocks, pyramids, batch norms in blocks, blocks of convolutions, an encoder and a decoder, a clip.
NAMES = ["vit_b16", "swin_t", "levit_256", "resnet_50", "detr_r50", "timesformer_divided"]


@pytest.mark.parametrize("name", NAMES)
def test_changes_no_number(name):
    torch.manual_seed(0)
    plain = create_model(name, **SMALL[name])
    if name in ("vit_b16", "swin_t"):
        set_drop_path(plain, 0.4)
        set_dropout(plain, 0.3)
    other = copy.deepcopy(plain)
    other.set_grad_checkpointing()
    images = _inputs(name, batch=4)
    calls = []
    for block in other.modules():
        if "forward" in block.__dict__:
            inner = next(child for child in block.modules() if child is not block)
            inner.register_forward_hook(lambda *_: calls.append(1))
    expected, found = step(plain, images), step(copy.deepcopy(other), images)
    assert len(expected) == len(found) and all(torch.equal(a, b) for a, b in zip(expected, found))
    blocks = sum("forward" in block.__dict__ for block in other.modules())
    assert blocks >= 2 and len(calls) > blocks  # each was computed again
    assert list(other.state_dict()) == list(plain.state_dict())
    other.set_grad_checkpointing(False)
    assert not any("forward" in block.__dict__ for block in other.modules())


def _kept(model: torch.nn.Module, images: torch.Tensor) -> int:
    """Bytes of what the forward pass keeps for the backward pass, weights left out."""
    storages, weights = {}, {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(images)
    assert output.requires_grad
    return sum(storages.values())


def test_a_deep_vit_keeps_a_fraction():
    model = create_model("vit_b16", **SMALL["vit_b16"] | {"depth": 12}).train()
    images = _inputs("vit_b16", batch=8)
    plain = _kept(model, images)
    model.set_grad_checkpointing()
    assert _kept(model, images) < plain / 5


def test_a_model_without_blocks_says_so():
    with pytest.raises(ValueError, match="has no blocks"):
        create_model("lenet_5", **SMALL["lenet_5"]).set_grad_checkpointing()

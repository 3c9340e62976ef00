"""Principal filters: they give the filters back, in the right order, and are the same on each run."""

import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from course.analysis import principal_filters
from course.models import create_model
from tests.models.parity import proves


def filters(count=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -1, 48).view(3, 4, 4)
    return torch.randn(count, 3, 4, 4, generator=generator) * scale + 0.5


@proves(175)
def test_they_are_scikit_learns():
    weight = filters()
    found = principal_filters(weight, 6)
    oracle = PCA(6).fit(weight.flatten(1).double().numpy())
    assert found.components.shape == (6, 3, 4, 4) and found.coordinates.shape == (20, 6)
    assert torch.allclose(found.shares, torch.tensor(oracle.explained_variance_ratio_).float(), atol=1e-5)
    theirs = torch.tensor(oracle.components_).float().view_as(found.components)
    same = (theirs * found.components).sum(dim=(1, 2, 3)).abs()  # but for the sign
    assert torch.allclose(same, torch.ones(6), atol=1e-4)


@pytest.mark.parametrize("count", [20, 100])  # fewer and more filters than numbers in one
def test_they_give_the_filters_back(count):
    weight = filters(count)
    found = principal_filters(weight)
    assert len(found.components) == min(count, 48)
    again = found.mean + torch.einsum("dk,kcij->dcij", found.coordinates, found.components)
    assert torch.allclose(again, weight, atol=1e-5)
    flat = found.components.flatten(1)
    assert torch.allclose((flat @ flat.T)[:19, :19], torch.eye(min(count, 48))[:19, :19], atol=1e-5)
    assert float(found.shares.sum()) == pytest.approx(1, abs=1e-5)
    assert (found.shares.diff() <= 0).all() and found.shares.min() >= 0


def test_the_first_few_leave_out_just_their_share():
    weight = filters()
    found = principal_filters(weight, 5)
    again = found.mean + torch.einsum("dk,kcij->dcij", found.coordinates, found.components)
    left_out = (weight - again).square().sum() / (weight - weight.mean(dim=0)).square().sum()
    assert float(left_out) == pytest.approx(1 - float(found.shares.sum()), abs=1e-5)


def test_filters_mixed_from_two_pictures_have_two_components():
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(2, 3, 4, 4, generator=generator)
    weight = torch.einsum("dk,kcij->dcij", torch.randn(30, 2, generator=generator), pictures)
    found = principal_filters(weight)
    assert float(found.shares[:2].sum()) == pytest.approx(1, abs=1e-6)
    flat = found.components[:2].flatten(1)
    inside = pictures.flatten(1) @ flat.T @ flat  # the two pictures lie in the plane of the two components
    assert torch.allclose(inside, pictures.flatten(1), atol=1e-4)


def test_signs_are_fixed():
    weight = filters()
    found, turned = principal_filters(weight, 8), principal_filters(-weight, 8)
    assert torch.allclose(found.components, turned.components, atol=1e-5)
    assert torch.allclose(found.coordinates, -turned.coordinates, atol=1e-4)
    flat = found.components.flatten(1)
    assert (flat.gather(1, flat.abs().argmax(dim=1, keepdim=True)) > 0).all()


def test_the_order_of_the_filters_does_not_count():
    weight = filters()
    assert torch.allclose(
        principal_filters(weight, 5).components, principal_filters(weight.flip(0), 5).components, atol=1e-5
    )


def test_a_model_brings_its_own():
    model = create_model("vit_cifar", depth=1, embed_dim=24, num_heads=2)
    found = principal_filters(model, 4)
    assert torch.equal(found.components, principal_filters(model.stem.proj.weight, 4).components)
    assert not found.components.requires_grad
    alike = principal_filters(torch.ones(5, 3, 4, 4))  # nothing differs: no share, and no nan
    assert alike.shares.tolist() == [0] * 5


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: nn.Linear(2, 2), "has no patch embeddings"),
        (lambda: create_model("resnet_50_cifar"), "has no patch embeddings"),
        (lambda: torch.ones(5, 48), "filters are"),
    ],
)
def test_what_has_no_filters_is_named(given, says):
    with pytest.raises(ValueError, match=says):
        principal_filters(given())
    with pytest.raises(ValueError, match="have 20 components, not 21"):
        principal_filters(filters(), 21)

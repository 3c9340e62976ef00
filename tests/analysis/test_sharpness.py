"""The Hessian's largest eigenvalue against the whole Hessian, and the loss around the weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from course.analysis.sharpness import direction, largest_eigenvalue, loss_surface
from course.models import create_model
from tests.models.parity import proves

GENERATOR = torch.Generator().manual_seed(7)
IMAGES = torch.randn(12, 3, 4, 4, generator=GENERATOR)
LABELS = torch.randint(0, 3, (12,), generator=GENERATOR)
DATA = IMAGES, LABELS


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3), nn.Tanh(), nn.Dropout(), nn.Linear(3, 3))


def small_vit():
    torch.manual_seed(1)
    return create_model(
        "vit_cifar", img_size=4, patch_size=2, embed_dim=4, depth=1, num_heads=1, mlp_ratio=1, num_classes=3
    )


def hessian(model):
    """(P, P) of the mean cross-entropy, all parameters in a row."""
    names, parameters = zip(*model.named_parameters())
    sizes = [p.numel() for p in parameters]

    def loss(row):
        parts = {n: part.view_as(p) for n, p, part in zip(names, parameters, row.split(sizes))}
        return F.cross_entropy(functional_call(model.eval(), parts, (IMAGES,)), LABELS)

    with sdpa_kernel(SDPBackend.MATH):
        return torch.autograd.functional.hessian(loss, torch.cat([p.detach().flatten() for p in parameters]))


class Bowl(nn.Module):
    """Two to four weights, which are its logits whatever the image."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, images):
        return self.weights.expand(len(images), -1)


def bends(*curvatures):
    return lambda logits, labels: 0.5 * (torch.tensor(curvatures) * logits[0] ** 2).sum()


@proves(153)
@pytest.mark.parametrize("make", [mlp, small_vit])
def test_agrees_with_the_whole_hessian(make):
    found = largest_eigenvalue(make(), DATA, tolerance=1e-3, most=500)
    assert found.converged and found.residual < 1e-3
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh(hessian(make()))[-1]), rel=2e-3)


def test_the_fused_kernel_would_not_have_done():
    model = small_vit()
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(IMAGES), LABELS)
    slope = torch.autograd.grad(loss, parameters, create_graph=True)
    with pytest.raises(RuntimeError, match="not implemented"):
        torch.autograd.grad(slope, parameters, [torch.ones_like(p) for p in parameters])


def test_the_largest_is_found_with_its_sign():
    assert largest_eigenvalue(Bowl([1.0, 1, 1]), DATA, loss=bends(5, 3, -1)).value == pytest.approx(5, rel=1e-3)
    found = largest_eigenvalue(Bowl([1.0, 1, 1]), DATA, loss=bends(-5, 3, 1))
    assert found.converged and found.value == pytest.approx(3, rel=1e-3)


def test_it_is_said_that_it_did_not_converge():
    found = largest_eigenvalue(Bowl([1.0, 1, 1]), DATA, loss=bends(4, 3.9, -1), most=3, tolerance=1e-4)
    assert not found.converged and found.iterations == 3 and found.residual > 1e-4
    # The residual bounds the distance to an eigenvalue.
    assert min(abs(found.value - e) for e in (4, 3.9, -1)) <= found.residual * abs(found.value)


def test_a_flat_loss_has_no_curvature():
    assert largest_eigenvalue(Bowl([1.0, 1]), DATA, loss=lambda logits, labels: logits.sum()).value == 0


def test_a_weight_that_the_loss_does_not_depend_on_changes_nothing():
    bowl = Bowl([1.0, 1, 1])
    bowl.unused = nn.Parameter(torch.ones(3))
    assert largest_eigenvalue(bowl, DATA, loss=bends(5, 3, -1)).value == pytest.approx(5, rel=1e-3)


def test_the_model_stays_as_it_was():
    model = mlp().train()
    before = [p.clone() for p in model.parameters()]
    largest_eigenvalue(model, DATA, most=3)
    loss_surface(model, DATA, torch.linspace(-1, 1, 3), direction(model))
    assert model.training and all(map(torch.equal, before, model.parameters()))
    assert all(p.grad is None for p in model.parameters())


def test_each_filter_of_a_direction_is_as_long_as_its_weights():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(2, 4))
    with torch.no_grad():
        model[2].weight[1] *= 100
    way = direction(model)
    for name in ("0.weight", "2.weight"):
        weight = dict(model.named_parameters())[name]
        assert torch.allclose(way[name].flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1)), name
    assert not any(way[name].any() for name in ("0.bias", "1.weight", "1.bias", "2.bias"))
    assert not torch.equal(direction(model, seed=1)["0.weight"], way["0.weight"])


@proves(153)
def test_the_surface_is_the_loss_where_one_goes():
    model = mlp()
    ways = direction(model), direction(model, seed=1)
    steps = torch.tensor([-1.0, 0.0, 0.5])
    curve, surface = loss_surface(model, DATA, steps, ways[0]), loss_surface(model, DATA, steps, *ways)
    assert curve.shape == (3,) and surface.shape == (3, 3)
    assert torch.allclose(surface[:, 1], curve)
    assert torch.allclose(surface[1], loss_surface(model, DATA, steps, ways[1]))
    model.eval()
    with torch.no_grad():
        assert torch.allclose(curve[1], F.cross_entropy(model(IMAGES), LABELS))
        model[1].weight += 0.5 * ways[0]["1.weight"]
        model[4].weight += 0.5 * ways[0]["4.weight"]
        assert torch.allclose(curve[2], F.cross_entropy(model(IMAGES), LABELS))


def test_wrong_input_is_named():
    frozen = mlp().requires_grad_(False)
    for call in (lambda: largest_eigenvalue(frozen, DATA), lambda: direction(frozen)):
        with pytest.raises(ValueError, match="no parameter to train"):
            call()
    with pytest.raises(ValueError, match="one direction or two"):
        loss_surface(mlp(), DATA, torch.zeros(1))

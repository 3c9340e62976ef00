"""The neural tangent kernel against kernels known by hand, against the whole Jacobian, and by what a step does."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from course.analysis.tangent_kernel import condition_number, tangent_kernel
from course.models import create_model
from tests.models.parity import proves

GENERATOR = torch.Generator().manual_seed(7)
IMAGES = torch.randn(5, 3, 4, 4, generator=GENERATOR)


def linear(outputs, bias):
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, outputs, bias=bias))


def small_vit():
    torch.manual_seed(1)
    return create_model(
        "vit_cifar", img_size=4, patch_size=2, embed_dim=4, depth=1, num_heads=1, mlp_ratio=1, num_classes=3
    )


class Chain(nn.Module):
    """f(x) = v w x of the first pixel: its kernel is (v² + w²) x x'."""

    def __init__(self, v, w):
        super().__init__()
        self.v, self.w = nn.Parameter(torch.tensor(v)), nn.Parameter(torch.tensor(w))

    def forward(self, images):
        return (self.v * self.w * images[:, 0, 0, :1]).clone()  # (B, 1)


@proves(153)
@pytest.mark.parametrize("outputs", [1, 4])
def test_a_linear_model_has_the_kernel_of_the_images_themselves(outputs):
    rows = IMAGES.flatten(1).double()  # (N, 48)
    assert torch.allclose(tangent_kernel(linear(outputs, bias=False), IMAGES), rows @ rows.T, atol=1e-4)
    assert torch.allclose(tangent_kernel(linear(outputs, bias=True), IMAGES), rows @ rows.T + 1, atol=1e-4)


@proves(153)
def test_the_condition_number_of_two_images_at_right_angles_is_known_by_hand():
    images = torch.zeros(2, 3, 4, 4)
    images[0, 0, 0, 0], images[1, 2, 3, 3] = 3.0, 0.5
    kernel = tangent_kernel(linear(4, bias=False), images)
    assert torch.allclose(kernel, torch.tensor([[9.0, 0], [0, 0.25]], dtype=torch.float64))
    assert condition_number(kernel) == pytest.approx(36)  # (3 / 0.5)²


@proves(153)
def test_a_product_of_two_weights_has_both_in_its_kernel():
    images = torch.zeros(2, 3, 4, 4)
    images[:, 0, 0, 0] = torch.tensor([1.0, -2])
    kernel = tangent_kernel(Chain(2.0, 3.0), images)
    assert torch.allclose(kernel, (4 + 9) * torch.tensor([[1.0, -2], [-2, 4]], dtype=torch.float64))
    assert condition_number(kernel) == float("inf")  # the two images are one to this model


@proves(153)
def test_agrees_with_the_whole_jacobian_of_a_vit():
    model = small_vit()
    names, parameters = zip(*model.named_parameters())

    def outputs(*parts):
        return functional_call(model.eval(), dict(zip(names, parts)), (IMAGES,))  # (N, K)

    parts = torch.autograd.functional.jacobian(outputs, tuple(p.detach() for p in parameters))
    jacobian = torch.cat([part.flatten(2) for part in parts], dim=2).double()  # (N, K, parameters)
    expected = sum(jacobian[:, k] @ jacobian[:, k].T for k in range(3)) / 3
    found = tangent_kernel(model, IMAGES)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    eigenvalues = torch.linalg.eigvalsh(expected)
    assert condition_number(found) == pytest.approx(float(eigenvalues[-1] / eigenvalues[0]), rel=1e-2)


def test_it_is_what_a_small_step_does():
    """One step of rate η on (f(x_j) - y)² / 2 moves f(x_i) by -η Θ[i, j] (f(x_j) - y)."""
    model = small_vit().double().eval()
    model.head.fc = nn.Linear(model.num_features, 1).double()
    images, rate = IMAGES.double(), 1e-5
    model.normalise_images = nn.Identity()  # as they are, and not in float32
    kernel = tangent_kernel(model, images)
    before = model(images)[:, 0]
    (0.5 * (before[2] - 7) ** 2).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= rate * parameter.grad
        moved = model(images)[:, 0] - before
    assert torch.allclose(moved, -rate * kernel[:, 2] * (before[2] - 7).detach(), rtol=1e-2, atol=1e-8)


def test_a_frozen_weight_is_not_in_it():
    model = Chain(2.0, 3.0)
    model.v.requires_grad_(False)
    assert tangent_kernel(model, torch.ones(1, 3, 4, 4)).item() == pytest.approx(4)  # v² alone


def test_the_model_stays_as_it_was():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2), nn.BatchNorm1d(2), nn.Dropout()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tangent_kernel(model, IMAGES)
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="no parameter to train"):
        tangent_kernel(linear(2, bias=True).requires_grad_(False), IMAGES)
    with pytest.raises(ValueError, match="at least one"):
        tangent_kernel(linear(2, bias=True), IMAGES[:0])
    for wrong in (torch.ones(2, 3), torch.zeros(2, 2)):
        with pytest.raises(ValueError, match="square matrix"):
            condition_number(wrong)

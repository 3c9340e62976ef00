"""CKA against its formula written with loops, and what it does and does not tell apart."""

import pytest
import torch
from torch import nn

from course.analysis.cka import centred_gram, cka
from tests.models.parity import proves

GENERATOR = torch.Generator().manual_seed(3)
IMAGES = torch.randn(32, 3, 4, 4, generator=GENERATOR)


def hsic(k, m):
    """Unbiased HSIC with loops: equation 3 of arXiv:2010.15327 for Gram matrices (n, n)."""
    n = len(k)
    k, m = ([[0.0 if i == j else float(g[i][j]) for j in range(n)] for i in range(n)] for g in (k, m))
    trace = sum(k[i][j] * m[j][i] for i in range(n) for j in range(n))
    sums = [sum(map(sum, g)) for g in (k, m)]
    middle = sum(sum(k[i][j] for i in range(n)) * sum(m[j][i] for i in range(n)) for j in range(n))
    return (trace + sums[0] * sums[1] / ((n - 1) * (n - 2)) - 2 * middle / (n - 2)) / (n * (n - 3))


def slow_cka(batches):
    """CKA from (X, Y) of every batch, equation 2."""
    rows = [[x.double() @ x.double().T, y.double() @ y.double().T] for x, y in batches]
    mean = [
        sum(hsic(*pair) for pair in pairs) / len(rows)
        for pairs in (rows, [[k, k] for k, _ in rows], [[y, y] for _, y in rows])
    ]
    return mean[0] / (mean[1] * mean[2]) ** 0.5


def mlp(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 40), nn.Tanh(), nn.Linear(40, 3))


def mapped(model, matrix):
    """The same network with its first layer's features multiplied by a matrix (40, 40)."""
    other = nn.Sequential(nn.Flatten(), nn.Linear(48, 40))
    with torch.no_grad():
        other[1].weight.copy_(matrix @ model[1].weight)
        other[1].bias.copy_(matrix @ model[1].bias)
    return other


def of_first_layers(a, b):
    return float(cka(a, b, IMAGES, layers_a=["1"], layers_b=["1"]).values)


@proves(171)
@pytest.mark.parametrize("batch_size", [32, 8])
def test_agrees_with_loops(batch_size):
    a, b = mlp(1), mlp(2)
    found = cka(a, b, IMAGES, batch_size)
    assert found.layers_a == ("0", "1", "2", "3") and found.values.shape == (4, 4)
    with torch.no_grad():
        batches = [(a[:2](batch), b(batch)) for batch in IMAGES.split(batch_size)]
    assert float(found.values[1, 3]) == pytest.approx(slow_cka(batches), abs=1e-5)


def test_blind_to_rotation_and_size_but_not_to_any_linear_map():
    model = mlp(1)
    rotation = torch.linalg.qr(torch.randn(40, 40, generator=GENERATOR)).Q
    stretch = torch.diag(torch.logspace(-2, 1, 40))
    assert of_first_layers(model, mapped(model, rotation)) == pytest.approx(1, abs=1e-5)
    assert of_first_layers(model, mapped(model, -7 * torch.eye(40))) == pytest.approx(1, abs=1e-5)
    assert of_first_layers(model, mapped(model, stretch)) < 0.9


def test_a_network_is_like_itself():
    model = mlp(1)
    values = cka(model, model, IMAGES, 16).values
    assert torch.allclose(values.diag(), torch.ones(4), atol=1e-6)
    assert torch.equal(values, values.T)
    copy = cka(model, mlp(1), IMAGES, 16).values
    assert torch.allclose(values, copy, atol=1e-6)


def test_noise_is_like_nothing_though_wider_than_the_batch():
    found = []
    for x, y in torch.randn(25, 2, 64, 500, generator=GENERATOR):
        a, b = centred_gram(x), centred_gram(y)
        found.append((a * b).sum() / (a.norm() * b.norm()))
    assert abs(float(sum(found))) / 25 < 0.02 and max(map(abs, found)) < 0.1
    x, y = x - x.mean(0), y - y.mean(0)
    biased = (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    assert biased > 0.8  # what the unbiased estimate is for


def test_hardly_depends_on_the_size_of_the_batch():
    a, b = mlp(1), mlp(2)
    images = torch.randn(256, 3, 4, 4, generator=GENERATOR)
    small, large = (cka(a, b, images, n).values[1, 1] for n in (8, 256))
    assert abs(small - large) < 0.05


def test_constant_features_are_like_nothing_and_few_images_are_refused():
    constant = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.Threshold(1e9, 2.0))
    assert cka(constant, mlp(1), IMAGES).values[2].isnan().all()
    with pytest.raises(ValueError, match="at least 4 images"):
        cka(constant, constant, IMAGES[:3])


def test_the_mode_is_given_back():
    model = mlp(1).train()
    cka(model, model, IMAGES)
    assert model.training

"""How sharply the loss bends around the weights that training has found."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from course.analysis.features import device_of, evaluating, prepared
from course.analysis.waiting import waiting

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Curvature:
    """What the power iteration found.

    Attributes:
        value: the largest eigenvalue of the Hessian; negative only where the loss bends down in every
            direction.
        iterations: products of the Hessian with a vector that it took.
        residual: ``|Hv - value v| / |value|`` at the end. An eigenvalue is that near, as a share of the
            value.
        converged: whether that is within the tolerance.
    """

    value: float
    iterations: int
    residual: float
    converged: bool


def largest_eigenvalue(
    model: nn.Module,
    data,
    *,
    loss: Loss = F.cross_entropy,
    tolerance: float = 0.02,
    most: int = 100,
    seed: int = 0,
) -> Curvature:
    """The largest eigenvalue of the Hessian of the loss of one batch, with respect to all trained parameters.

    Chen, Hsieh and Gong 2022, arXiv:2106.01548, section 3 and table 1 (there called the dominant eigenvalue).
    Power iteration, v <- Hv / |Hv|, finds the eigenvalue that is largest without its sign. Where that is a
    negative one, -μ, a second iteration on H + μ finds the largest with it. Hv is the gradient of the
    gradient's product with v (Pearlmutter 1994), so H itself is never there. In eval mode; attention is
    computed by its plain formula, since the fused kernels have no second derivative.

    Args:
        model: images (B, C, H, W) to logits.
        data: one batch, all of which is computed at once: an ``ImageSet`` or a pair of images, as stored, and
            labels.
        loss: (logits, labels) to a number.
        tolerance: stop when the residual is below it.
        most: iterations, at most, of each of the two.
        seed: of the first v.

    Raises:
        ValueError: the model has no parameter to train.
    """
    parameters = list(trained_parameters(model).values())
    images, labels = data
    labels = labels.to(device_of(model))
    generator = torch.Generator().manual_seed(seed)
    first = [torch.randn(p.shape, generator=generator).to(p) for p in parameters]
    with evaluating(model), sdpa_kernel(SDPBackend.MATH), waiting(2 * most, "sharpness", "product") as bar:
        with torch.enable_grad():
            value = loss(model(prepared(model, images)), labels)
        hessian_times = _hessian_product(value, parameters)

        def product(v: list[Tensor]) -> list[Tensor]:
            bar.update()
            return hessian_times(v)

        found = _power_iteration(product, first, 0.0, tolerance, most)
        if found.value < 0:
            again = _power_iteration(product, first, -found.value, tolerance, most)
            return Curvature(
                again.value,
                found.iterations + again.iterations,
                again.residual,
                found.converged and again.converged,
            )
    return found


def _hessian_product(value: Tensor, parameters: list[Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
    """v -> Hv, for a loss that was computed from the parameters."""
    slope = torch.autograd.grad(value, parameters, create_graph=True, materialize_grads=True)
    bending = [i for i, part in enumerate(slope) if part.requires_grad]  # not those in which the loss is straight

    def product(v: list[Tensor]) -> list[Tensor]:
        if not bending:
            return [torch.zeros_like(part) for part in v]
        slopes, along = zip(*((slope[i], v[i]) for i in bending))
        return list(torch.autograd.grad(slopes, parameters, along, retain_graph=True, materialize_grads=True))

    return product


def _power_iteration(
    product: Callable[[list[Tensor]], list[Tensor]],
    v: list[Tensor],
    shift: float,
    tolerance: float,
    most: int,
) -> Curvature:
    """The eigenvalue of H for which that of H + shift is largest without its sign."""
    value, residual, iteration = 0.0, float("inf"), 0
    for iteration in range(1, most + 1):
        length = _dot(v, v) ** 0.5
        if length == 0:  # the loss does not bend at all
            return Curvature(0.0, iteration - 1, 0.0, True)
        v = [part / length for part in v]
        bent = product(v)
        value = _dot(v, bent)
        residual = max(_dot(bent, bent) - value**2, 0.0) ** 0.5 / max(abs(value), 1e-30)
        if residual < tolerance:
            break
        v = [b + shift * part for b, part in zip(bent, v)]
    return Curvature(value, iteration, residual, residual < tolerance)


def _dot(a: list[Tensor], b: list[Tensor]) -> float:
    return float(sum((x.double() * y.double()).sum() for x, y in zip(a, b)))


def direction(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """A random direction in the space of the weights, filter by filter as long as the weights.

    Li et al. 2018, arXiv:1712.09913, section 4: ``d <- d / |d| · |w|`` for each filter, that is each row of a
    matrix and each output channel of a convolution. So two networks can be compared whose weights are of
    different size. Vectors (biases, the scales of norms) stay where they are: they are 0 in it.

    Returns:
        Name of each trained parameter -> tensor of its shape.

    Raises:
        ValueError: the model has no parameter to train.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for name, weight in trained_parameters(model).items():
        part = torch.randn(weight.shape, generator=generator).to(weight)
        if weight.ndim < 2:
            parts[name] = torch.zeros_like(weight)
            continue
        lengths = [w.detach().flatten(1).norm(dim=1) for w in (weight, part)]  # (filters,) each
        ratio = lengths[0] / lengths[1].clamp(min=1e-30)
        parts[name] = part * ratio.view(-1, *[1] * (weight.ndim - 1))
    return parts


@torch.no_grad()
def loss_surface(
    model: nn.Module,
    data,
    steps: Tensor,
    *directions: dict[str, Tensor],
    loss: Loss = F.cross_entropy,
) -> Tensor:
    """The loss of one batch at ``w + s₁ d₁``, or at ``w + s₁ d₁ + s₂ d₂``, for all steps s.

    The model stays as it is.

    Args:
        model, data, loss: as for ``largest_eigenvalue``.
        steps: (n,), such as ``torch.linspace(-1, 1, 21)``; 1 is as far as the weights are long.
        directions: one or two of ``direction(model, seed)``.

    Returns:
        (n,) with one direction; (n, n) with two, the first along the rows' axis.

    Raises:
        ValueError: not one or two directions.
    """
    if len(directions) not in (1, 2):
        raise ValueError(f"a loss is drawn along one direction or two, and not {len(directions)}")
    images, labels = data
    labels = labels.to(device_of(model))
    weights = trained_parameters(model)
    grid = torch.cartesian_prod(*[steps] * len(directions))  # (n,) or (n*n, 2)
    grid = grid.view(-1, len(directions))
    values = []
    with evaluating(model), waiting(len(grid), "loss surface", "point") as bar:
        batch = prepared(model, images)
        for point in grid.tolist():
            moved = {
                name: weight + sum(step * d[name] for step, d in zip(point, directions))
                for name, weight in weights.items()
            }
            values.append(loss(functional_call(model, moved, (batch,)), labels))
            bar.update()
    return torch.stack(values).view(*[len(steps)] * len(directions)).cpu()


def trained_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Name -> parameter, of those that training changes.

    Raises:
        ValueError: there is none.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trained:
        raise ValueError("this model has no parameter to train (all of them have requires_grad=False)")
    return trained

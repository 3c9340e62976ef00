"""SAM's two equations by hand, and where it leads; and that nothing but the gradient is left behind."""

import math

import pytest
import torch
from torch import Tensor, nn

from course.training.sam import buffers_kept, perturbed, sharpness_step
from tests.models.parity import proves


class Weights(nn.Module):
    """Nothing but weights; `curvature` is the H of the loss ½ wᵀ H w, whose minimum 0 is at w = 0."""

    def __init__(self, *weights: float, curvature: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.each = nn.ParameterList(nn.Parameter(torch.tensor(weight, dtype=torch.float64)) for weight in weights)
        self.curvature = torch.tensor(curvature, dtype=torch.float64)

    def forward(self) -> Tensor:
        return 0.5 * (self.curvature * torch.stack(list(self.each)).square()).sum()


def gradient(model: nn.Module) -> list[float]:
    return [parameter.grad.item() for parameter in model.parameters()]


@proves(152)
def test_the_equations_on_a_quadratic():
    """g = H w = (3, 4), ‖g‖ = 5; e = 0.5 · g / 5 = (0.3, 0.4); gradient there H (w + e) = (3.3, 5.6)."""
    model = Weights(3.0, 1.0, curvature=(1.0, 4.0))
    loss = sharpness_step(model, model, rho=0.5)
    assert loss.item() == 6.5 and not loss.requires_grad
    assert gradient(model) == pytest.approx([3.3, 5.6], rel=1e-14)
    assert [weight.item() for weight in model.each] == [3.0, 1.0]
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert [weight.item() for weight in model.each] == pytest.approx([2.67, 0.44], rel=1e-14)


def test_the_path_down_a_parabola_has_a_closed_form():
    """L = a w² / 2: e = rho · sign(w), so w ← (1 - lr a) w - lr a rho sign(w). A geometric series."""
    a, rho, lr, steps = 2.0, 0.1, 0.05, 10
    model = Weights(5.0, curvature=(a,))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(steps):
        sharpness_step(model, model, rho)
        optimizer.step()
    shrink = (1 - lr * a) ** steps
    assert model.each[0].item() == pytest.approx((5.0 + rho) * shrink - rho, rel=1e-13)


@pytest.mark.parametrize(("rho", "ends_at"), [(None, -1.0), (0.3, 1.0), (0.01, -1.0)])
def test_it_leaves_a_sharp_minimum_for_a_flat_one(rho, ends_at):
    """Two minima, (-1, 0) and (1, 0), equally deep; across, the loss bends 20 times less in the second."""
    model = Weights(-1.0, 0.3)
    along, across = model.each
    optimizer = torch.optim.SGD(model.parameters(), lr=0.08)

    def loss_of() -> Tensor:
        return 0.05 * (along**2 - 1) ** 2 + 0.5 * 4.5 * torch.exp(-1.5 * along) * across**2

    for _ in range(200):
        if rho is None:
            optimizer.zero_grad()
            loss_of().backward()
        else:
            sharpness_step(model, loss_of, rho)
        optimizer.step()
    assert along.item() == pytest.approx(ends_at, abs=0.15) and abs(across.item()) < 0.05


def test_a_gradient_of_zero_moves_nothing():
    model = Weights(0.0, 0.0, curvature=(1.0, 4.0))
    sharpness_step(model, model, rho=0.5)
    assert gradient(model) == [0.0, 0.0] and [weight.item() for weight in model.each] == [0.0, 0.0]


def test_the_length_is_over_all_parameters_and_exactly_rho():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    model[2].bias.requires_grad_(False)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model(torch.randn(4, 6)).square().sum().backward()
    direction = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    with perturbed(model.parameters(), 0.3):
        moved = [now.detach() - then for now, then in zip(model.parameters(), before, strict=True)]
    assert math.sqrt(sum(float(step.square().sum()) for step in moved)) == pytest.approx(0.3, rel=1e-5)
    assert not moved[3].any() and moved[0].any()
    along = sum(float((step * g).sum()) for step, g in zip(moved, direction, strict=False))
    assert along == pytest.approx(0.3 * math.sqrt(sum(float(g.square().sum()) for g in direction)), rel=1e-5)


def test_the_weights_come_back_to_the_last_bit_whatever_happens():
    """Adding and subtracting e would not do: 1e-3 + 1e6 - 1e6 is something else in float32."""
    model = nn.Linear(50, 50)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model(torch.randn(2, 50)).sum().backward()
    with pytest.raises(RuntimeError, match="in the body"), perturbed(model.parameters(), 1e6):
        assert not torch.equal(model.weight, before[0])
        raise RuntimeError("in the body")
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))
    with perturbed(nn.Linear(2, 2).parameters(), 1.0):  # no gradients: nothing to do
        pass


def test_running_statistics_are_updated_once():
    torch.manual_seed(0)
    images = torch.randn(8, 4)

    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))

    plain, sharp = network(), network()
    plain(images)
    sharpness_step(sharp, lambda: sharp(images).square().mean(), rho=0.5)
    assert sharp[1].num_batches_tracked == 1
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, dict(sharp.named_buffers())[name])
    with pytest.raises(RuntimeError, match="in the body"), buffers_kept(sharp):
        sharp(images)
        raise RuntimeError("in the body")
    assert sharp[1].num_batches_tracked == 1


def test_a_failing_second_pass_leaves_the_weights():
    model = Weights(3.0, 1.0, curvature=(1.0, 4.0))
    passes = []

    def loss_of() -> Tensor:
        passes.append(None)
        if len(passes) == 2:
            raise ValueError("the second pass")
        return model()

    with pytest.raises(ValueError, match="the second pass"):
        sharpness_step(model, loss_of, rho=0.5)
    assert [weight.item() for weight in model.each] == [3.0, 1.0]

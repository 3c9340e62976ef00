"""The running mean against its closed form, and that putting it in place leaves no trace."""

import pytest
import torch
from torch import nn

from course.training.ema import Ema


def one_weight(value: float, dtype=torch.float64) -> nn.Module:
    model = nn.Module()
    model.w = nn.Parameter(torch.tensor([value], dtype=dtype))
    return model


def set_weight(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        model.w.fill_(value)


def test_closed_form_of_the_recursion():
    """mean_n = product of all d · start + the sum over t of (1 - d_t) · w_t · the product of the later d."""
    model, decay, steps = one_weight(7.0), 0.8, 60
    ema = Ema(model, decay)
    for t in range(steps):
        set_weight(model, t**2)
        ema.update(model)
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(steps)]
    assert decays[0] == 0.1 and decays[34] < decay == decays[35]
    weights = [7.0] + [float(t**2) for t in range(steps)]
    shares = [1.0] + [1 - d for d in decays]
    expected = 0.0
    for n, (weight, share) in enumerate(zip(weights, shares, strict=True)):
        later = 1.0
        for d in decays[n:]:
            later *= d
        expected += weight * share * later
    assert ema.mean["w"].item() == pytest.approx(expected, rel=1e-12)


def test_floats_are_averaged_in_float32_and_whole_numbers_copied():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).bfloat16()
    model.register_buffer("seen", torch.tensor([True, False]))
    ema = Ema(model, 0.999)
    for _ in range(3):
        model(torch.randn(5, 3).bfloat16())
        ema.update(model)
    assert {tensor.dtype for tensor in ema.mean.values() if tensor.is_floating_point()} == {torch.float32}
    assert ema.mean["1.num_batches_tracked"] == 3 and ema.mean["seen"].tolist() == [True, False]
    # Steps too small for bfloat16: 0.2 % of what is between 1 and 2.
    model = one_weight(1.0, torch.bfloat16)
    ema = Ema(model, 0.999)
    ema.updates = 10**6  # long past the warm-up
    set_weight(model, 2.0)
    for _ in range(2):
        ema.update(model)
    assert ema.mean["w"].item() == pytest.approx(2 - 0.999**2, rel=1e-6)


def test_running_statistics_are_averaged_too():
    model = nn.BatchNorm1d(2)
    ema = Ema(model, 0.5)
    model(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    ema.update(model)
    assert torch.allclose(ema.mean["running_mean"], 0.9 * model.running_mean) and model.running_mean.all()


def test_in_place_of_the_model_and_back_to_the_last_bit():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    ema = Ema(model, 0.9)
    for parameter in model.parameters():
        parameter.data.normal_()
    model(torch.randn(9, 4))
    ema.update(model)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    identities = [id(parameter) for parameter in model.parameters()]
    with pytest.raises(RuntimeError, match="in the body"), ema.in_place_of(model):
        assert torch.is_grad_enabled() and all(parameter.requires_grad for parameter in model.parameters())
        inside = model.state_dict()
        assert all(torch.equal(inside[name], mean) for name, mean in ema.mean.items())
        assert not torch.equal(model[0].weight, own["0.weight"])
        raise RuntimeError("in the body")
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())
    assert identities == [id(parameter) for parameter in model.parameters()]


def test_it_goes_on_from_its_state():
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    straight = Ema(model, 0.99)
    for _ in range(4):
        model.weight.data.normal_()
        straight.update(model)
    state = {name: tensor.clone() for name, tensor in straight.state().items()}
    resumed = Ema(nn.Linear(3, 3), 0.99)
    resumed.load(state)
    for ema in (straight, resumed):
        ema.update(model)
    assert resumed.updates == straight.updates == 5
    assert all(torch.equal(mean, straight.mean[name]) for name, mean in resumed.mean.items())
    assert not torch.equal(state["mean.weight"], straight.mean["weight"])


def test_what_cannot_be():
    for decay in (1.0, -0.1):
        with pytest.raises(ValueError, match="below 1"):
            Ema(nn.Linear(2, 2), decay)
    ema = Ema(nn.Linear(2, 2), 0.9)
    before = {name: mean.clone() for name, mean in ema.mean.items()}
    for other in (nn.Linear(2, 3), nn.Linear(2, 2, bias=False)):
        with pytest.raises(ValueError, match="another model.*(weight|bias)"):
            ema.load(Ema(other, 0.9).state())
    assert all(torch.equal(mean, before[name]) for name, mean in ema.mean.items())


def test_a_network_may_keep_what_its_last_pass_computed():
    """As attention that is to be drawn does: such a module cannot be copied, so the mean must not need a copy."""
    model = nn.Linear(3, 3)
    model.kept = model(torch.ones(1, 3))
    ema = Ema(model, 0.5)
    model.weight.data.add_(1)
    ema.update(model)
    with ema.in_place_of(model):
        assert torch.equal(model.weight, ema.mean["weight"])


def test_a_tied_weight_is_one_weight():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    ema = Ema(model, 0.5)
    model[0].weight.data.add_(1)
    ema.update(model)
    own = model[0].weight.detach().clone()
    with ema.in_place_of(model):
        assert model[0].weight is model[1].weight
        assert torch.equal(model[0].weight, ema.mean["1.weight"])
    assert torch.equal(model[0].weight, own)

"""Retention: its three forms are one function, and that function is the paper's, written out in complex numbers."""

import cmath

import pytest
import torch
from torch import Tensor

from course.models import create_model
from course.models.token_mixers import retention
from course.models.token_mixers.retention import (
    Retention,
    chunkwise_retention,
    decay_rates,
    parallel_retention,
    recurrent_retention,
    rotated,
)
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    difference,
    proves,
    randomised,
)

GENERATOR = torch.Generator().manual_seed(2)
TOKENS = torch.randn(2, 7, 12, generator=GENERATOR)
Q, K = torch.randn(2, 2, 3, 9, 4, generator=GENERATOR)
V = torch.randn(2, 3, 9, 8, generator=GENERATOR)


def with_gamma(form, **options):
    return lambda q, k, v: form(q, k, v, decay_rates(3).to(q.dtype), **options)


@proves(144)
def test_the_parallel_form_is_the_recurrent_one():
    assert_agrees(with_gamma(parallel_retention), with_gamma(recurrent_retention), Q, K, V)


@proves(144)
@pytest.mark.parametrize("chunk_size", [1, 3, 4, 9, 20])
def test_the_chunkwise_form_is_the_recurrent_one(chunk_size):
    assert_agrees(with_gamma(chunkwise_retention, chunk_size=chunk_size), with_gamma(recurrent_retention), Q, K, V)


@proves(144)
@pytest.mark.parametrize("form", ["recurrent", "chunkwise"])
def test_the_module_is_the_same_in_each_form(form):
    parallel = randomised(Retention(12, num_heads=3))
    other = Retention(12, num_heads=3, form=form).eval()
    other.load_state_dict(parallel.state_dict())
    assert_agrees(other, parallel, torch.randn(1, 70, 12, generator=GENERATOR))  # a chunk of 64 and one of 6


def slow_retention(module: Retention, x: Tensor) -> Tensor:
    """Equations 5 and 8, token by token and head by head; each pair of channels is one complex number."""
    batch, length, dim = x.shape
    heads, value_dim = module.num_heads, module.proj.in_features
    d, d_v = dim // heads, value_dim // heads
    w_q, w_k = module.qk.weight.split(dim)
    w_v, w_g = module.vg.weight.split(value_dim)
    out = torch.empty_like(x)
    for b in range(batch):
        for n in range(length):
            normed = []
            for h in range(heads):
                gamma = 1 - 2.0 ** (-5 - h)
                total = torch.zeros(d_v, dtype=x.dtype)
                for m in range(n + 1):
                    q, k = w_q[h * d : h * d + d] @ x[b, n], w_k[h * d : h * d + d] @ x[b, m]
                    score = 0
                    for pair in range(d // 2):
                        turn = cmath.exp(1j * (n - m) / 10_000 ** (2 * pair / d))
                        q_pair = torch.complex(q[2 * pair], q[2 * pair + 1])
                        k_pair = torch.complex(k[2 * pair], k[2 * pair + 1])
                        score = score + (q_pair * turn * k_pair.conj()).real
                    total = total + gamma ** (n - m) * score / d**0.5 * (w_v[h * d_v : h * d_v + d_v] @ x[b, m])
                centred = total - total.mean()
                normed.append(centred / (centred.square().mean() + 1e-5).sqrt())
            gate = w_g @ x[b, n]
            out[b, n] = module.proj.weight @ (gate / (1 + torch.exp(-gate)) * torch.cat(normed))
    return out


def slow(module: Retention):
    return lambda x: slow_retention(module.to(x.dtype), x)


@proves(144)
@pytest.mark.parametrize("value_ratio", [1, 2])
def test_agrees_with_equations_5_and_8(value_ratio):
    module = randomised(Retention(12, num_heads=3, value_ratio=value_ratio))
    # γ of the model is cast from float32, where 1 - 2^-5-i is exact
    assert_agrees(module, slow(module), TOKENS)


def one_decay_for_all_heads(module):
    module.gamma = module.gamma[:1].expand(3).contiguous()


def not_turned(module):
    replace_in(module, "rotated", lambda x: x)


def turned_in_halves(module):
    def by_halves(x):
        paired = x.unflatten(-1, (2, -1)).transpose(-2, -1).flatten(-2)
        return rotated(paired).unflatten(-1, (-1, 2)).transpose(-2, -1).flatten(-2)

    replace_in(module, "rotated", by_halves)


def keys_not_conjugated(module):
    calls = iter(range(1000))  # queries and keys in turn

    def wrong(x):
        return rotated(x * x.new_tensor([1, -1] * (x.shape[-1] // 2))) if next(calls) % 2 else rotated(x)

    replace_in(module, "rotated", wrong)


def diagonal_left_out(module):
    def shifted(q, k, v, gamma):
        place = torch.arange(q.shape[-2])
        decay = (gamma[:, None, None] ** (place[:, None] - place).clamp(min=0)).tril(-1)
        return (q @ k.mT * decay) @ v

    module.retain = shifted


def not_causal(module):
    def both_ways(q, k, v, gamma):
        place = torch.arange(q.shape[-2])
        return (q @ k.mT * gamma[:, None, None] ** (place[:, None] - place).abs()) @ v

    module.retain = both_ways


def gate_and_values_swapped(module):
    module.vg.weight.data = module.vg.weight.roll(24, 0)


def replace_in(module, name, value):
    """From now on the module finds something else under that name of its file."""

    class Wrong(Retention):
        def forward(self, x):
            before = getattr(retention, name)
            setattr(retention, name, value)
            try:
                return super().forward(x)
            finally:
                setattr(retention, name, before)

    module.__class__ = Wrong


@pytest.mark.parametrize(
    "mistake",
    [
        one_decay_for_all_heads,
        not_turned,
        turned_in_halves,
        keys_not_conjugated,
        diagonal_left_out,
        not_causal,
        gate_and_values_swapped,
    ],
)
def test_catches(mistake):
    module = randomised(Retention(12, num_heads=3))
    reference = randomised(Retention(12, num_heads=3))
    assert_catches(mistake, module, slow(reference), TOKENS)


def test_a_state_that_forgets_to_decay_between_chunks_is_seen():
    def forgetful(q, k, v):
        return chunkwise_retention(q, k, v, torch.ones(3, dtype=q.dtype), chunk_size=4)

    assert difference(forgetful, with_gamma(recurrent_retention), Q, K, V)[0] > 1e-3


def test_a_token_does_not_see_those_behind_it():
    module, changed = randomised(Retention(12, num_heads=3)), TOKENS.clone()
    changed[:, 4:] += 1
    torch.testing.assert_close(module(TOKENS)[:, :4], module(changed)[:, :4])


def test_the_paper_s_score_normalisations_change_nothing_behind_the_group_norm():
    """Section 2.2: the group norm takes out what they put in; only its eps knows, here made small by large values."""
    gamma = decay_rates(3).double()
    q, k, v = Q.double(), K.double(), V.double() * 1e4
    place = torch.arange(9)
    decay = (gamma[:, None, None] ** (place[:, None] - place).clamp(min=0)).tril()
    normalised = q @ k.mT / 4**0.5 * (decay / decay.sum(-1, keepdim=True).sqrt())
    normalised = normalised / normalised.sum(-1, keepdim=True).abs().clamp(min=1)
    norm = torch.nn.functional.layer_norm
    expected = norm(parallel_retention(q, k, v, gamma), (8,))
    torch.testing.assert_close(norm(normalised @ v, (8,)), expected, rtol=1e-5, atol=1e-5)


def test_odd_heads_and_unknown_forms_are_named():
    with pytest.raises(ValueError, match="9 / 3 = 3 is odd"):
        Retention(9, num_heads=3)
    with pytest.raises(ValueError, match="no form of retention 'serial'"):
        Retention(12, num_heads=3, form="serial")


def test_a_class_token_in_front_would_see_nothing_of_the_image():
    small = dict(img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=5)
    images = torch.randn(2, 3, 16, 16, generator=GENERATOR)
    model = randomised(create_model("vit_retention_s16", **small))
    assert not torch.allclose(model(images)[0], model(images)[1])
    module = randomised(Retention(12, num_heads=3))
    changed = TOKENS.clone()
    changed[:, 1:] = 0
    torch.testing.assert_close(module(TOKENS)[:, 0], module(changed)[:, 0])

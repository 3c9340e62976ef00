"""Linformer and Performer against their equations, position by position, and Performer against softmax attention."""

import math

import pytest
import torch
from torch import Tensor

from course.models import create_model
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.linformer import LinformerAttention
from course.models.token_mixers.performer import (
    PerformerAttention,
    log_features,
    orthogonal_features,
)
from tests.models.parity import assert_agrees, assert_catches, proves, randomised

SIZES = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=4, mlp_ratio=2, num_classes=10)
SMALL = {
    "vit_linformer_s16": SIZES | dict(num_summaries=5),
    "vit_performer_s16": SIZES | dict(num_features=16),
    "vit_retention_s16": SIZES,
}
GENERATOR = torch.Generator().manual_seed(2)
TOKENS = torch.randn(2, 7, 12, generator=GENERATOR)
IMAGES = torch.randn(2, 3, 32, 32, generator=GENERATOR)


def linformer() -> LinformerAttention:
    return randomised(LinformerAttention(12, (2, 3), num_heads=3, num_summaries=4))


def performer(num_features: int = 10) -> PerformerAttention:
    """The features stay as drawn."""
    module = PerformerAttention(12, num_heads=3, num_features=num_features)
    drawn = module.features.clone()
    module = randomised(module)
    module.features = drawn
    return module


def heads_of(module, x: Tensor) -> list[list[Tensor]]:
    """[head][q, k or v], each (N, d), of one image (N, D)."""
    d = x.shape[1] // module.num_heads
    rows = module.qkv.weight.view(3, module.num_heads, d, -1)
    bias = module.qkv.bias.view(3, module.num_heads, d)
    return [[x @ rows[part, h].T + bias[part, h] for part in range(3)] for h in range(module.num_heads)]


def projected(module, heads: list[Tensor]) -> Tensor:
    return torch.cat(heads, dim=1) @ module.proj.weight.T + module.proj.bias


def slow_linformer(module: LinformerAttention, x: Tensor) -> Tensor:
    """Equation 7: summaries are weighted sums of keys and of values; each query is compared with each summary."""
    images = []
    for image in x:
        heads = []
        for q, k, v in heads_of(module, image):
            keys = [sum(w * row for w, row in zip(weights, k)) for weights in module.summary_k]
            values = [sum(w * row for w, row in zip(weights, v)) for weights in module.summary_v]
            rows = []
            for query in q:
                exponentials = [torch.exp(query @ key / math.sqrt(len(query))) for key in keys]
                rows.append(sum(e / sum(exponentials) * value for e, value in zip(exponentials, values)))
            heads.append(torch.stack(rows))
        images.append(projected(module, heads))
    return torch.stack(images)


def slow_performer(module: PerformerAttention, x: Tensor) -> Tensor:
    """The N×N kernel matrix exists here: φ(q)·φ(k) for every pair, with the features of equation 5, and its rows normed."""

    def phi(y):
        return torch.stack([torch.exp(w @ y - y @ y / 2) for w in module.features]) / math.sqrt(len(module.features))

    images = []
    for image in x:
        heads = []
        for q, k, v in heads_of(module, image):
            root = len(q[0]) ** 0.25
            kernel = torch.stack([torch.stack([phi(a / root) @ phi(b / root) for b in k]) for a in q])
            heads.append(kernel / kernel.sum(dim=1, keepdim=True) @ v)
        images.append(projected(module, heads))
    return torch.stack(images)


MODULES = {"linformer": (linformer, slow_linformer), "performer": (performer, slow_performer)}


@proves(157)
@pytest.mark.parametrize("name", MODULES)
def test_agrees_with_its_equation(name):
    make, slow = MODULES[name]
    module = make()
    assert_agrees(module, lambda x: slow(module.to(x.dtype), x), TOKENS)


def keys_and_values_share_their_summary(module):
    module.summary_v.data = module.summary_k.data


def scaled_by_the_whole_width(module):
    module.qkv.weight.data[:12] *= 4**0.5 / 12**0.5
    module.qkv.bias.data[:12] *= 4**0.5 / 12**0.5


def summaries_of_the_values_only(module):
    module.summary_k.data = torch.eye(4, 7)


def qkv_laid_out_head_by_head(module):
    module.qkv.weight.data = module.qkv.weight.data.view(3, 3, 4, 12).transpose(0, 1).reshape(36, 12)


def other_features(module):
    module.features = orthogonal_features(10, 4, seed=1)


def directions_of_unit_length(module):
    module.features = module.features / module.features.norm(dim=1, keepdim=True)


def scaled_once_instead_of_by_fourth_roots(module):
    module.qkv.weight.data[:24] *= 4**-0.25
    module.qkv.bias.data[:24] *= 4**-0.25


@pytest.mark.parametrize(
    "name, mistake",
    [
        ("linformer", keys_and_values_share_their_summary),
        ("linformer", scaled_by_the_whole_width),
        ("linformer", summaries_of_the_values_only),
        ("linformer", qkv_laid_out_head_by_head),
        ("performer", other_features),
        ("performer", directions_of_unit_length),
        ("performer", scaled_once_instead_of_by_fourth_roots),
        ("performer", qkv_laid_out_head_by_head),
    ],
)
def test_catches(name, mistake):
    make, slow = MODULES[name]
    reference = make()
    assert_catches(mistake, make(), lambda x: slow(reference.to(x.dtype), x), TOKENS)


def test_linformer_with_one_summary_a_token_is_softmax_attention():
    module, attention = linformer(), SelfAttention(12, num_heads=3)
    module.summary_k.data, module.summary_v.data = torch.eye(7), torch.eye(7)
    attention.load_state_dict({k: v for k, v in module.state_dict().items() if "summary" not in k})
    torch.testing.assert_close(module(TOKENS), attention(TOKENS))


def test_performer_comes_to_softmax_attention_as_the_features_grow():
    attention = randomised(SelfAttention(12, num_heads=3))
    exact = attention(TOKENS)
    errors = []
    for num_features in (16, 256, 4096, 65536):
        module = PerformerAttention(12, num_heads=3, num_features=num_features)
        module.load_state_dict(attention.state_dict() | {"features": module.features})
        errors.append((module(TOKENS) - exact).square().mean().sqrt().item())
    # The error falls like 1/√m: by 4 for each step of 16 in m; half of that is asked for.
    assert all(later < earlier / 2 for earlier, later in zip(errors, errors[1:])), errors
    assert errors[-1] < 0.01 * exact.std()


def test_the_kernel_is_right_on_average_and_varies_less_with_right_angles():
    """Lemma 1 and section 2.4."""
    q, k = torch.randn(2, 8, generator=GENERATOR, dtype=torch.float64) * 0.3

    def estimates(features):  # 4000 of them, each from 8 features
        return (log_features(q, features) + log_features(k, features)).exp().view(4000, 8).mean(dim=1)

    orthogonal = estimates(orthogonal_features(32_000, 8, seed=0).double())  # blocks of 8
    independent = estimates(torch.randn(32_000, 8, generator=GENERATOR, dtype=torch.float64))
    exact = (q @ k).exp().item()
    assert orthogonal.mean().item() == pytest.approx(exact, rel=0.05)
    assert independent.mean().item() == pytest.approx(exact, rel=0.05)
    assert orthogonal.var() < 0.95 * independent.var()


def test_features_stand_at_right_angles_in_blocks_and_repeat():
    features = orthogonal_features(10, 4, seed=3).double()
    assert torch.equal(features, orthogonal_features(10, 4, seed=3).double())
    assert not torch.equal(features, orthogonal_features(10, 4, seed=4).double())
    for block in features.split(4):
        products = block @ block.T
        torch.testing.assert_close(products, torch.diag(products.diagonal()), rtol=0, atol=1e-5)
    mean_square = orthogonal_features(20_000, 4, seed=0).square().sum(dim=1).mean()
    assert mean_square == pytest.approx(4, rel=0.05)


def test_performer_stays_finite_for_large_inputs():
    module = performer()
    x = (TOKENS * 100).requires_grad_()
    module(x).sum().backward()
    assert x.grad.isfinite().all()


def test_features_are_kept_with_the_weights_and_differ_from_block_to_block():
    model = create_model("vit_performer_s16", **SMALL["vit_performer_s16"])
    first, second = (block.token_mixer.branch.features for block in model.stages[0].blocks)
    assert not torch.equal(first, second)
    assert "stages.0.blocks.1.token_mixer.branch.features" in model.state_dict()


def test_linformer_s_weights_have_room_for_every_class_token():
    model = create_model("vit_linformer_s16", **SMALL["vit_linformer_s16"], class_tokens=3).eval()
    assert model(IMAGES).shape == (2, 10)


@pytest.mark.parametrize("name", SMALL)
def test_runs_compiled_in_one_graph_and_on_the_meta_device(name):
    model = create_model(name, **SMALL[name]).eval()
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(IMAGES), model(IMAGES))
    with torch.device("meta"):
        assert create_model(name)(torch.empty(1, 3, 224, 224)).shape == (1, 1000)

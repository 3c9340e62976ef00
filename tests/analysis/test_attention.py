"""Attention is recorded as it was used: weights times values are the layer's own output."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from course.analysis import attention_weights, mean_attention_distance, rollout
from course.data.normalise import Normalise
from course.models import create_model
from tests.models.parity import proves

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(1))  # (B, heads, N, d)
SMALL = {
    "vit_cifar": dict(depth=2, embed_dim=32, num_heads=4),
    "deit_s_distilled": dict(img_size=32, depth=2, embed_dim=48, num_heads=3),
    "swin_cifar": dict(dims=(24, 48), depths=(2, 2)),
    "pvt_s": dict(img_size=64, dims=(16, 32, 40, 64), depths=(1, 1, 1, 1)),
    "coatnet_0": dict(img_size=64),
    "convit_s": dict(img_size=64, depth=3, local_depth=2, embed_dim=72),
    "cait_s24": dict(img_size=64, depth=2),
}


class Products(TorchFunctionMode):
    """Keeps values and output of fused attention, and the right factor and the result of every ``@``."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is F.scaled_dot_product_attention:
            self.seen.append((args[2], result))
        elif function in (Tensor.__matmul__, Tensor.matmul, torch.matmul):
            self.seen.append((args[1], result))
        return result


@proves(205)
@pytest.mark.parametrize("name", SMALL)
def test_weights_times_values_are_the_layers_own_output(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=5, **SMALL[name]).eval()
    images = torch.randn(2, 3, SMALL[name].get("img_size", 32), SMALL[name].get("img_size", 32))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)  # so that attention is far from uniform
    weights = attention_weights(model, images)
    with torch.no_grad(), Products() as products:
        model(images)
    products = iter(products.seen)
    for layer in weights:  # the products in between are those that make scores
        assert any(
            values.shape[-2] == layer.shape[-1]
            and y.shape[:-1] == layer.shape[:-1]
            and torch.allclose(layer @ values, y, atol=1e-5, rtol=1e-4)
            for values, y in products
        )
        if name != "cait_s24":
            assert torch.allclose(layer.sum(dim=-1), torch.ones(()), atol=1e-5)
        assert layer.std() > 1e-4


def test_the_shapes_of_each_family():
    shapes = {}
    for name in ("vit_cifar", "swin_cifar", "pvt_s", "cait_s24"):
        size = SMALL[name].get("img_size", 32)
        model = create_model(name, **SMALL[name])
        shapes[name] = [tuple(layer.shape) for layer in attention_weights(model, torch.randn(2, 3, size, size))]
    assert shapes["vit_cifar"] == [(2, 4, 65, 65)] * 2
    assert shapes["swin_cifar"] == [(2, 16, 3, 16, 16)] * 2 + [(2, 4, 6, 16, 16)] * 2
    assert shapes["pvt_s"] == [(2, 1, 256, 4), (2, 2, 64, 4), (2, 5, 16, 4), (2, 8, 5, 5)]
    assert shapes["cait_s24"] == [(2, 8, 16, 16)] * 2 + [(2, 8, 1, 17)] * 2


class Attention(nn.Module):
    """Queries, keys and values as they come, then what a student may have written."""

    def __init__(self, written) -> None:
        super().__init__()
        self.written = written

    def forward(self, x: Tensor) -> Tensor:
        return self.written(x, x.flip(2), x * 2)


def scores_of(q, k):
    return q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5


CAUSAL = torch.ones(9, 9).tril().bool()
WRITTEN = {
    "fused": lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
    "by keyword": lambda q, k, v: F.scaled_dot_product_attention(query=q, key=k, value=v, scale=8**-0.5),
    "method": lambda q, k, v: scores_of(q, k).softmax(dim=-1) @ v,
    "positive axis": lambda q, k, v: torch.matmul(torch.softmax(scores_of(q, k), 3), v),
    "functional": lambda q, k, v: F.softmax(scores_of(q, k), dim=-1).matmul(v),
    "module": lambda q, k, v: nn.Softmax(dim=-1)(scores_of(q, k)) @ v,
    "einsum": lambda q, k, v: torch.einsum("bhnm,bhmd->bhnd", scores_of(q, k).softmax(-1), v),
    "dropout": lambda q, k, v: F.dropout(scores_of(q, k).softmax(-1), 0.5, training=False) @ v,
    "heads in the batch": lambda q, k, v: torch.bmm(
        scores_of(q, k).softmax(-1).flatten(0, 1), v.flatten(0, 1)
    ).unflatten(0, (2, 3)),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_students_own_attention_is_seen(how):
    expected = scores_of(TOKENS, TOKENS.flip(2)).softmax(dim=-1)
    (seen,) = attention_weights(Attention(WRITTEN[how]), TOKENS)
    assert torch.allclose(seen.view_as(expected), expected, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        dict(is_causal=True),
        dict(attn_mask=CAUSAL),
        dict(attn_mask=torch.randn(1, 3, 9, 9)),
        dict(scale=0.5),
        dict(attn_mask=CAUSAL & (torch.arange(9) > 2)),  # the first three tokens see nothing
    ],
)
def test_masks_biases_and_scales_are_in_the_weights(options):
    def written(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, **options)

    (weights,) = attention_weights(Attention(written), TOKENS)
    assert torch.allclose(weights @ (TOKENS * 2), Attention(written)(TOKENS), atol=1e-5)


def test_keys_that_several_heads_share():
    def written(q, k, v):
        return F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], enable_gqa=True)

    four_heads = torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(2))
    (weights,) = attention_weights(Attention(written), four_heads)
    assert weights.shape == (2, 4, 9, 9)
    values = (four_heads * 2)[:, [0, 0, 1, 1]]
    assert torch.allclose(weights @ values, Attention(written)(four_heads), atol=1e-5)


@pytest.mark.parametrize("need_weights", [False, True])
def test_torchs_own_layer(need_weights):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(24, 3, batch_first=True).eval()
    x = torch.randn(2, 9, 24)
    outputs = []

    class Model(nn.Module):
        def forward(self, x):
            outputs.append(layer(x, x, x, need_weights=need_weights))
            return outputs[-1][0]

    (weights,) = attention_weights(Model(), x)
    y, expected = layer(x, x, x, average_attn_weights=False)
    assert torch.allclose(weights, expected, atol=1e-6)
    given, average = outputs[0]
    assert torch.allclose(given, y, atol=1e-6)
    assert torch.allclose(average, expected.mean(dim=1), atol=1e-6) if need_weights else average is None


def test_what_is_no_attention_is_not_taken_for_it():
    model = create_model("vit_moe_s16", img_size=32, depth=2, embed_dim=48, num_heads=3)
    assert [layer.shape for layer in attention_weights(model, IMAGES)] == [(2, 3, 5, 5)] * 2  # and no router
    with pytest.raises(ValueError, match=r"no attention .* F\.scaled_dot_product_attention.*softmax"):
        attention_weights(create_model("mixer_cifar", depth=1), IMAGES)
    pools_tokens = create_model("cct_7_3x1_cifar", depth=1, embed_dim=32, num_heads=2)  # by a softmax over them
    assert [layer.shape for layer in attention_weights(pools_tokens, IMAGES)] == [(2, 2, 256, 256)]
    for probabilities in (
        lambda q, k, v: q[:, 0, 0].softmax(dim=-1) @ torch.ones(8, 2),  # of classes, (B, 8)
        lambda q, k, v: q.softmax(dim=-1).sum(dim=1) @ torch.ones(8, 2),  # summed up, so no longer of one row each
    ):
        with pytest.raises(ValueError, match="no attention was seen"):
            attention_weights(Attention(probabilities), TOKENS)


def test_the_model_is_left_as_it_was_and_images_are_normalised_as_fit_did():
    torch.manual_seed(0)
    model = create_model("vit_cifar", drop_path=0.9, depth=5, embed_dim=32, num_heads=4).train()
    stored = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    model.normalise_images = Normalise.of(stored)
    weights = attention_weights(model, stored)
    assert model.training and all(module.training for module in model.modules())
    normalised = model.normalise_images(stored)
    del model.normalise_images
    assert all(torch.equal(a, b) for a, b in zip(weights, attention_weights(model, normalised), strict=True))
    assert not any(layer.requires_grad for layer in weights)


def test_a_compiled_model_is_run_as_it_was_before():
    model = create_model("vit_cifar", **SMALL["vit_cifar"])
    plain = attention_weights(model, IMAGES)
    assert all(torch.equal(a, b) for a, b in zip(plain, attention_weights(torch.compile(model), IMAGES), strict=True))


def test_weights_below_zero_are_no_shares():
    weights = attention_weights(create_model("cait_s24", **SMALL["cait_s24"]), torch.randn(1, 3, 64, 64))[:2]
    for look in (rollout, lambda layers: mean_attention_distance(layers, 64)):
        with pytest.raises(ValueError, match="below 0"):
            look([-weights[0].abs()])


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_row_that_may_see_nothing_is_recorded_as_zeros_and_comes_out_as_if_nobody_watched(need_weights):
    """torch gives it NaN or 0 by whether the layer is asked for its weights."""
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(24, 4, batch_first=True).eval()
    x, hidden = torch.randn(2, 9, 24), torch.zeros(2, 9, dtype=torch.bool)
    hidden[1] = True
    outputs = []

    class Model(nn.Module):
        def forward(self, x):
            outputs.append(layer(x, x, x, key_padding_mask=hidden, need_weights=need_weights)[0])
            return outputs[-1]

    expected = Model()(x).detach()
    (weights,) = attention_weights(Model(), x)
    torch.testing.assert_close(outputs[-1], expected, equal_nan=True)
    assert expected[1].isnan().any() == need_weights
    assert torch.allclose(weights[0].sum(-1), torch.ones(4, 9)) and not weights[1].any()


def test_a_float16_row_at_the_lowest_number_attends_as_if_unmasked_and_is_recorded_so():
    """All scores are moved by the same number, which a softmax does not see where its digits suffice."""
    q, k, v = (TOKENS[i % 2][None].half() for i in range(3))
    mask = torch.full((9, 9), torch.finfo(torch.float16).min, dtype=torch.float16)

    class Model(nn.Module):
        def forward(self, x):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    (weights,) = attention_weights(Model(), IMAGES)
    assert weights.dtype == torch.float16 and (weights.float() - 1 / 9).abs().max() > 0.05
    used = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).float()
    assert torch.allclose(weights.float() @ v.float(), used, atol=2e-3)

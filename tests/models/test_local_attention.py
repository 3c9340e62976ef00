"""Attention in the neighbourhood of each place, against its equation; and what attention over all pixels would cost."""

from types import MethodType

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.count import count_macs, count_parameters
from course.models.token_mixers.attention import SelfAttention
from course.models.token_mixers.local_attention import LocalAttention
from tests.models.parity import assert_agrees, assert_catches, each, proves, randomised

SMALL = {"local_attention_resnet_50": dict(depths=(2, 1, 1, 1), width=16, num_classes=10)}
MAPS = torch.randn(2, 4, 5, 12, generator=torch.Generator().manual_seed(8))


def place_by_place(attention: LocalAttention, num_heads: int, k: int):
    """Equation 3, one place and one head at a time, over the neighbours that lie in the map."""

    def formula(x):
        s = {name: value.to(x.dtype) for name, value in attention.state_dict().items()}
        _, height, width, dim = x.shape
        d, reach = dim // num_heads, k // 2
        wq, wk, wv = s["qkv.weight"].split(dim)
        out = torch.zeros_like(x)
        for n in range(num_heads):
            of_head = slice(n * d, (n + 1) * d)
            for i in range(height):
                for j in range(width):
                    q = x[:, i, j] @ wq[of_head].T
                    scores, values = [], []
                    for a in range(i - reach, i + reach + 1):
                        for b in range(j - reach, j + reach + 1):
                            if 0 <= a < height and 0 <= b < width:
                                r = torch.cat([s["rows"][n, a - i + reach], s["columns"][n, b - j + reach]])
                                scores.append((q * (x[:, a, b] @ wk[of_head].T)).sum(1) + (q * r).sum(1))
                                values.append(x[:, a, b] @ wv[of_head].T)
                    weights = torch.stack(scores, dim=1).softmax(dim=1)
                    out[:, i, j, of_head] = (weights[..., None] * torch.stack(values, dim=1)).sum(dim=1)
        return out

    return formula


def local_pair(k=3):
    ours = randomised(LocalAttention(12, num_heads=3, kernel_size=k))
    return ours, place_by_place(ours, num_heads=3, k=k)


@proves(52)
@pytest.mark.parametrize("k", [1, 3, 5, 7])
def test_attention_is_its_equation(k):
    assert_agrees(*local_pair(k), MAPS)


@proves(52)
def test_a_neighbourhood_as_wide_as_the_map_is_self_attention_but_for_the_positions():
    local = randomised(LocalAttention(12, num_heads=3, kernel_size=9))
    local.rows.data.zero_(), local.columns.data.zero_()
    whole = SelfAttention(12, num_heads=3, qkv_bias=False).eval()
    whole.qkv.weight.data = local.qkv.weight.data.clone()
    whole.qkv.weight.data[:12] *= 4**0.5  # 1/√d, which the equation of local attention does not have
    whole.proj.weight.data, whole.proj.bias.data = torch.eye(12), torch.zeros(12)
    assert_agrees(local, whole, MAPS)


@proves(52)
def test_moving_the_image_moves_the_result():
    local = randomised(LocalAttention(12, num_heads=3, kernel_size=3))
    maps = torch.randn(1, 9, 9, 12, generator=torch.Generator().manual_seed(9))
    moved = local(maps.roll((2, 1), dims=(1, 2)))
    torch.testing.assert_close(moved[:, 4:8, 3:8], local(maps)[:, 2:6, 2:7], rtol=1e-4, atol=1e-5)


@proves(52)
def test_far_places_are_not_seen():
    local = randomised(LocalAttention(12, num_heads=3, kernel_size=3))
    maps = torch.zeros(1, 9, 9, 12, requires_grad=True)
    local(maps)[0, 4, 4].sum().backward()
    seen = maps.grad[0].abs().sum(-1).nonzero()
    assert seen.min() == 3 and seen.max() == 5


def zeros_outside_the_map_are_seen(model):
    def around(attention, x):
        k, reach = attention.kernel_size, attention.kernel_size // 2
        outside = 1.0 if x.shape[-1] == 1 else 0.0  # asked which places lie inside, it says: all
        padded = nn.functional.pad(x, (0, 0, reach, reach, reach, reach), value=outside)
        return padded.unfold(1, k, 1).unfold(2, k, 1)

    model.around = MethodType(around, model)


def scaled_scores(model):
    model.qkv.weight.data[:12] /= 4**0.5


def offsets_the_other_way(model):
    model.rows.data, model.columns.data = model.rows.data.flip(1), model.columns.data.flip(1)


def rows_and_columns_exchanged(model):
    model.rows.data, model.columns.data = model.columns.data, model.rows.data


def no_positions(model):
    model.rows.data.zero_(), model.columns.data.zero_()


@pytest.mark.parametrize(
    "mistake",
    [zeros_outside_the_map_are_seen, scaled_scores, offsets_the_other_way, rows_and_columns_exchanged, no_positions],
)
def test_catches(mistake):
    assert_catches(mistake, *local_pair(), MAPS)


@proves(52)
def test_in_resnet_50_it_has_the_size_of_the_paper():
    with torch.device("meta"):
        model = create_model("local_attention_resnet_50")
    assert f"{count_parameters(model) / 1e6:.1f}M" == "18.0M"
    assert 2 * count_macs(model, 1, 3, 224, 224) / 1e9 == pytest.approx(
        7.0, abs=0.05
    )  # the paper counts both operations
    assert len(each(model, LocalAttention)) == 16
    assert [layer.num_heads for layer in each(model, LocalAttention)] == [8] * 16


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(num_heads=5), "5 heads do not divide 12 channels"),
        (dict(num_heads=4), "their number is even"),
        (dict(num_heads=3, kernel_size=4), "kernel_size is odd, and not 4"),
    ],
)
def test_what_does_not_fit_is_one_sentence(options, says):
    with pytest.raises(ValueError, match=says):
        LocalAttention(12, **options)


def score_bytes(tokens: int, depth: int, num_heads: int) -> int:
    """Of the scores of all layers and heads for one image in float32, from the tensor that attention makes."""
    q = torch.empty(1, num_heads, tokens, 1, device="meta")
    scores = q @ q.transpose(-2, -1)  # (1, h, N, N)
    return depth * scores.numel() * scores.element_size()


@proves(53)
def test_attention_over_all_pixels_needs_768_gibibytes():
    assert score_bytes(128 * 128, depth=48, num_heads=16) == 128**4 * 48 * 16 * 4
    assert score_bytes(128 * 128, depth=48, num_heads=16) / 2**30 == 768
    assert score_bytes(128 * 128, depth=48, num_heads=16) / 1e9 == pytest.approx(824.6, abs=0.1)  # gigabytes proper


@proves(53)
@pytest.mark.parametrize("side, mebibytes", [(14, 112.5), (16, 192.0)])
def test_attention_over_patches_needs_a_ten_thousandth(side, mebibytes):
    assert score_bytes(side**2, depth=48, num_heads=16) / 2**20 == pytest.approx(mebibytes, abs=0.1)

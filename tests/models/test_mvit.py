"""MViTv2 against timm."""

import pytest
import torch
from torch import nn

from course.models import at_resolution, create_model, load_reference
from course.models.families.mvit import PooledResidual
from course.models.token_mixers.pooling_attention import HeadPooling, PoolingAttention, steps_apart
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves, randomised

SMALL = {
    "mvit_v2_t": dict(img_size=64, dims=(8, 16, 32, 64), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8), num_classes=10)
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def timm_mvit(img_size=64):
    from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg

    return MultiScaleVit(MultiScaleVitCfg(depths=(1, 2, 1, 1), embed_dim=8), img_size=img_size, num_classes=10)


def small_pair():
    return pair("mvit_v2_t", SMALL["mvit_v2_t"], timm_mvit(), "timm")


@proves(67)
def test_agrees_with_timm():
    assert_agrees(*small_pair(), IMAGES)


def test_the_keys_stay_as_many_and_are_more_where_the_map_shrinks():
    with torch.device("meta"):
        model = create_model("mvit_v2_t")
    sizes = [tuple(m.rows_index.shape) for m in model.modules() if isinstance(m, PoolingAttention)]
    assert sizes == [(56, 14), (28, 28), (28, 14), (14, 28), *4 * [(14, 14)], (7, 14), (7, 7)]


def test_steps_apart_are_those_on_the_image():
    """Of queries 2 pixels apart and keys 4 apart: their distance in steps of 2, the last key behind the first query 0."""
    at = {"queries": [2 * i for i in range(6)], "keys": [4 * k for k in range(3)]}
    expected = [[(q - k) // 2 + 4 for k in at["keys"]] for q in at["queries"]]
    assert steps_apart(6, 3).tolist() == expected
    assert steps_apart(3, 6).tolist() == [[(4 * q - 2 * k) // 2 + 5 for k in range(6)] for q in range(3)]


def test_oblong_maps_have_a_table_for_each_axis():
    """timm takes squares only: an image and its transpose give the same, if the weights are transposed too."""
    ours = randomised(create_model("mvit_v2_t", **SMALL["mvit_v2_t"] | dict(img_size=(64, 128)))).double()
    other = create_model("mvit_v2_t", **SMALL["mvit_v2_t"] | dict(img_size=(128, 64))).double().eval()
    swapped = {"rows": "columns", "columns": "rows"}
    for name, weight in ours.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        target = other.get_parameter(f"{owner}.{swapped.get(leaf, leaf)}")
        target.data = weight.transpose(2, 3) if weight.ndim == 4 else weight
    images = torch.randn(2, 3, 64, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(ours(images), other(images.transpose(2, 3)))


def test_tables_of_another_size_are_timms():
    from timm.models.mvitv2 import checkpoint_filter_fn

    ours, theirs = small_pair()
    larger = timm_mvit(128).eval()
    larger.load_state_dict(checkpoint_filter_fn(dict(theirs.state_dict()), larger))
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(3))
    assert_agrees(at_resolution(ours, 128), larger, images)
    loaded = create_model("mvit_v2_t", **SMALL["mvit_v2_t"] | dict(img_size=128)).eval()
    load_reference(loaded, theirs.state_dict(), "timm")
    assert_agrees(loaded, larger, images)


def test_every_sample_is_kept_or_dropped_as_a_whole():
    torch.manual_seed(0)
    attention = PoolingAttention(4, (4, 4), in_dim=4, stride=2)
    step = PooledResidual(attention, nn.Identity(), 4, 4, drop_path=0.5)
    x = torch.randn(64, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        branch, around = step.branch(x), step.eval()(x) - step.branch(x)
        kept = (step.train()(x) - around) / branch  # 0 or 2 throughout a sample
    dropped = kept[:, 0, 0, 0].abs() < 1
    assert 0 < dropped.sum() < 64
    expected = torch.where(dropped, 0.0, 2.0)[:, None, None, None].expand_as(kept)
    torch.testing.assert_close(kept, expected, atol=1e-2, rtol=1e-2)


def test_a_size_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(
        ValueError, match="mvit_v2_t: an image of 72×72 is not divided by patches of 32×32: 64 and 96 fit"
    ):
        create_model("mvit_v2_t", **SMALL["mvit_v2_t"] | dict(img_size=72))


def rows_and_columns_swapped(model):
    for attention in each(model, PoolingAttention):
        attention.rows, attention.columns = attention.columns, attention.rows


def displacements_the_other_way_round(model):
    for attention in each(model, PoolingAttention):
        attention.rows.data = attention.rows.data.flip(0)


class WithoutQueries(PoolingAttention):
    def forward(self, x):
        y = super().forward(x)
        q = self.qkv(x).chunk(3, dim=-1)[0].unflatten(-1, (self.num_heads, -1))  # (B, H, W, h, d)
        q = self.pool_q(q.movedim(3, 1).flatten(0, 1)).unflatten(0, (len(x), -1)).movedim(1, 3).flatten(3)
        return y - q @ self.proj.weight.T


def queries_not_added(model):
    for attention in each(model, PoolingAttention):
        attention.__class__ = WithoutQueries


def path_around_before_the_norm(model):
    for step in each(model, PooledResidual):
        step.branch = nn.Sequential(step.norm, step.branch)
        step.norm = nn.Identity()


def no_norm_behind_the_pooling(model):
    for pooling in each(model, HeadPooling):
        pooling.norm = nn.Identity()


def qkv_laid_out_head_by_head(model):
    for attention in each(model, PoolingAttention):
        weight, heads = attention.qkv.weight.data, attention.num_heads
        attention.qkv.weight.data = weight.view(3, heads, -1, weight.shape[1]).transpose(0, 1).reshape(weight.shape)


@pytest.mark.parametrize(
    "mistake",
    [
        rows_and_columns_swapped,
        displacements_the_other_way_round,
        queries_not_added,
        path_around_before_the_norm,
        no_norm_behind_the_pooling,
        qkv_laid_out_head_by_head,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

"""PoolFormer against timm and transformers."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.channel_mixers.mlp import MLP
from course.models.norms import GroupNorm1, LayerNorm
from course.models.token_mixers.pooling import Pooling
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = dict.fromkeys(
    ["poolformer_s12", "poolformer_s24", "poolformer_s36", "poolformer_m36", "poolformer_m48", "poolformer_cifar"],
    dict(img_size=32, dims=(16, 24, 32), depths=(2, 1, 1), num_classes=10),
)
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
ODD = torch.randn(2, 3, 45, 38, generator=torch.Generator().manual_seed(3))  # maps of 11×9, 6×5 and 3×3


def timm_poolformer():
    from timm.layers import GroupNorm1
    from timm.models.metaformer import MetaFormer, Pooling

    return MetaFormer(
        depths=(2, 1, 1),
        dims=(16, 24, 32),
        token_mixers=Pooling,
        downsample_norm=None,
        mlp_act=nn.GELU,
        mlp_bias=True,
        norm_layers=GroupNorm1,
        layer_scale_init_values=1e-5,
        res_scale_init_values=None,
        use_mlp_head=False,
        num_classes=10,
    )


def transformers_poolformer():
    from transformers import PoolFormerConfig, PoolFormerForImageClassification

    config = PoolFormerConfig(
        depths=[2, 1, 1],
        hidden_sizes=[16, 24, 32],
        patch_sizes=[7, 3, 3],
        strides=[4, 2, 2],
        padding=[2, 1, 1],
        num_encoder_blocks=3,
        num_labels=10,
    )
    return PoolFormerForImageClassification(config)


def like_transformers():
    ours, theirs = pair("poolformer_s12", SMALL["poolformer_s12"], transformers_poolformer(), "transformers")
    return ours, lambda x: theirs.to(x.dtype)(x).logits


def like_timm():
    """timm averages before the last norm, and that norm has another eps than the paper's code."""
    ours, theirs = pair("poolformer_s12", SMALL["poolformer_s12"] | {"norm_first": False}, timm_poolformer(), "timm")
    ours.head.norm.eps = 1e-6
    return ours, theirs


@proves(23, 24, 25, 26, 27)
@pytest.mark.parametrize("images", [IMAGES, ODD], ids=["even maps", "odd maps"])
@pytest.mark.parametrize("both", [like_transformers, like_timm])
def test_agrees_with(both, images):
    assert_agrees(*both(), images)


def zeros_beyond_the_border_counted(model):
    def wrong(pool, inputs, output):
        x = inputs[0]
        return nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), 3, stride=1, padding=1).permute(0, 2, 3, 1) - x

    for pool in each(model, Pooling):
        pool.register_forward_hook(wrong)


def position_itself_not_subtracted(model):
    for pool in each(model, Pooling):
        pool.register_forward_hook(lambda module, inputs, output: output + inputs[0])


def normed_token_by_token(model):
    for residual in [m for m in model.modules() if isinstance(getattr(m, "norm", None), GroupNorm1)]:
        norm = LayerNorm(len(residual.norm.weight), eps=1e-5)
        norm.load_state_dict(residual.norm.state_dict())
        residual.norm = norm


def gelu_by_tanh(model):
    for mlp in each(model, MLP):
        mlp.act = nn.GELU(approximate="tanh")


def averaged_before_the_norm(model):
    model.head.norm_first = False


def no_layer_scale(model):
    for block in model.stages[0].blocks:
        block.token_mixer.scale = None


@pytest.mark.parametrize(
    "mistake",
    [
        zeros_beyond_the_border_counted,
        position_itself_not_subtracted,
        normed_token_by_token,
        gelu_by_tanh,
        averaged_before_the_norm,
        no_layer_scale,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *like_transformers(), IMAGES)


@pytest.mark.parametrize("name, first", [("poolformer_s12", 1e-5), ("poolformer_s36", 1e-5), ("poolformer_m36", 1e-6)])
def test_layer_scale_begins_as_in_the_public_code(name, first):
    residual = create_model(name, **SMALL[name]).stages[0].blocks[0].channel_mixer
    torch.testing.assert_close(residual.scale, torch.full((16,), first))


def test_the_mixer_has_no_weights_and_keeps_a_constant_map_at_zero():
    mixer = Pooling()
    assert not list(mixer.parameters())
    assert mixer(torch.ones(1, 5, 4, 2)).abs().max() == 0


def test_says_what_fits():
    with pytest.raises(ValueError, match="pool_size is odd"):
        create_model("poolformer_s12", pool_size=4)
    with pytest.raises(ValueError, match="32 and 34 fit"):
        create_model("poolformer_cifar", img_size=33)

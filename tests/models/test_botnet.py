"""BoTNet: its attention against timm's module and against the equations, and where it stands in ResNet-50."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.count import count_parameters
from course.models.resnet import Bottleneck, ChannelsLast, ResNet
from course.models.token_mixers.relative_attention import RelativeAttention
from tests.models.parity import assert_agrees, assert_catches, each, proves, randomised

SMALL = {"botnet_50": dict(depths=(1, 1, 1, 2), width=8, img_size=64, num_classes=10)}
GRID = (3, 4)
MAPS = torch.randn(2, *GRID, 16, generator=torch.Generator().manual_seed(6))


def timm_pair():
    """timm's attention with positions scaled like the content; its maps have channels first."""
    from timm.layers.bottleneck_attn import BottleneckAttn

    theirs = randomised(BottleneckAttn(16, feat_size=GRID, num_heads=2, scale_pos_embed=True))
    ours = RelativeAttention(16, GRID, num_heads=2).eval()
    names = {"qkv.weight": "qkv.weight", "pos_embed.height_rel": "rows", "pos_embed.width_rel": "columns"}
    ours.load_state_dict(
        {ours_: theirs.state_dict()[t].view_as(ours.state_dict()[ours_]) for t, ours_ in names.items()}, strict=True
    )
    return ours, lambda x: theirs.to(x.dtype)(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def place_by_place(attention: RelativeAttention, num_heads: int):
    """Figure 4, one query at a time: softmax over all places of q·k + q·(r of the row's offset + r of the column's)."""

    def formula(x):
        s = {k: v.to(x.dtype) for k, v in attention.state_dict().items()}
        b, height, width, dim = x.shape
        d = dim // num_heads
        wq, wk, wv = s["qkv.weight"].split(dim)
        out = x.new_zeros(b, height, width, dim)
        for n in range(num_heads):
            of_head = slice(n * d, (n + 1) * d)
            q, k, v = x @ wq[of_head].T, x @ wk[of_head].T, x @ wv[of_head].T
            for i in range(height):
                for j in range(width):
                    scores = []
                    for a in range(height):
                        for c in range(width):
                            r = s["rows"][a - i + height - 1] + s["columns"][c - j + width - 1]
                            scores.append((q[:, i, j] * (k[:, a, c] + r)).sum(dim=1) / d**0.5)
                    weights = torch.stack(scores, dim=1).softmax(dim=1)
                    out[:, i, j, of_head] = (weights[..., None] * v.flatten(1, 2)).sum(dim=1)
        return out

    return formula


@proves(54)
def test_attention_agrees_with_timm():
    assert_agrees(*timm_pair(), MAPS)


@proves(54)
def test_attention_is_its_equation():
    ours = randomised(RelativeAttention(16, GRID, num_heads=2))
    assert_agrees(ours, place_by_place(ours, num_heads=2), MAPS)


def offsets_the_other_way(model):
    model.rows.data, model.columns.data = model.rows.data.flip(0), model.columns.data.flip(0)


def rows_alone(model):
    model.columns.data.zero_()


def positions_unscaled(model):
    for table in (model.rows, model.columns):
        table.data *= 8**0.5


def rows_and_columns_exchanged(model):
    model.rows.data, model.columns.data = model.columns.data[1:-1], torch.cat([model.rows.data, model.rows.data[:2]])


def each_head_its_own_slice_of_the_channels_in_turn(model):
    model.qkv.weight.data = model.qkv.weight.data.view(3, 2, 8, 16).transpose(1, 2).reshape(48, 16)


@pytest.mark.parametrize(
    "mistake",
    [
        offsets_the_other_way,
        rows_alone,
        positions_unscaled,
        rows_and_columns_exchanged,
        each_head_its_own_slice_of_the_channels_in_turn,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *timm_pair(), MAPS)


@proves(54)
def test_attention_stands_for_the_convolutions_of_the_last_stage():
    with torch.device("meta"):
        model = create_model("botnet_50")
    for stage in model.stages[:3]:
        assert all(isinstance(block.conv2, nn.Conv2d) for block in stage)
    for block in model.stages[3]:
        attention = block.conv2[0].inner
        assert isinstance(attention, RelativeAttention) and attention.num_heads == 4
        assert (attention.qkv.in_features, block.conv3.out_channels) == (512, 2048)
    # The first sees 14×14 places and a mean over 2×2 follows it; the others see 7×7.
    assert [len(block.conv2[0].inner.rows) for block in model.stages[3]] == [27, 13, 13]
    assert [isinstance(block.conv2[1], nn.AvgPool2d) for block in model.stages[3]] == [True, False, False]


@proves(54)
def test_it_has_the_parameters_of_the_paper_and_not_of_a_3x3_shortcut():
    with torch.device("meta"):
        model, resnet = create_model("botnet_50"), ResNet()
    assert f"{count_parameters(model) / 1e6:.2f}M" == "20.85M"  # the paper: 20.8M
    convolutions = sum(block.conv2.weight.numel() for block in resnet.stages[3])
    attention = sum(count_parameters(block.conv2) for block in model.stages[3])
    assert count_parameters(resnet) - convolutions + attention == count_parameters(model)
    # A public implementation has 37.629M: its path around the last stage is a 3×3 convolution of 1024 to 2048 channels.
    in_theirs = 8 * 1024 * 2048
    assert abs(count_parameters(model) + in_theirs - 37.629e6) < 0.001e6


def test_a_block_is_one_by_one_attention_one_by_one():
    torch.manual_seed(0)
    block = randomised(Bottleneck(32, 8, 32, stride=2, mixer=RelativeAttention(8, (6, 6), num_heads=2)))

    def formula(x):
        layers = block.to(x.dtype)
        y = layers.norm1(layers.conv1(x)).relu()
        y = place_by_place(block.conv2[0].inner, 2)(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = y.unflatten(2, (3, 2)).unflatten(4, (3, 2)).mean(dim=(3, 5))
        y = layers.norm3(layers.conv3(layers.norm2(y).relu()))
        return (y + layers.shortcut(x)).relu()

    maps = torch.randn(2, 32, 6, 6, generator=torch.Generator().manual_seed(7))
    assert_agrees(block, formula, maps)


def test_the_last_stage_may_keep_its_size():
    model = create_model("botnet_50", **SMALL["botnet_50"], replace_stride_with_dilation=(False, False, True)).eval()
    assert [m.shape[-1] for m in model.features(torch.zeros(1, 3, 64, 64))] == [16, 8, 4, 4]
    assert len(each(model, ChannelsLast)) == 2


def test_images_may_be_oblong_but_not_of_another_size():
    model = create_model("botnet_50", **SMALL["botnet_50"] | {"img_size": (64, 96)}).eval()
    assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 10)
    with pytest.raises(ValueError, match="64×96"):
        model(torch.zeros(1, 3, 96, 64))


def test_heads_that_do_not_divide_are_one_sentence():
    with pytest.raises(ValueError, match="5 heads do not divide 64 channels"):
        create_model("botnet_50", **SMALL["botnet_50"], mixer_options={"num_heads": 5})

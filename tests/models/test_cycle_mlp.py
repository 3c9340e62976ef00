"""CycleMLP against a slow version from the paper, whose weights bear the names of the authors' code."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.models import create_model
from course.models.token_mixers.cycle_fc import CycleFC, CycleMixing
from course.models.token_mixers.split_attention import SplitAttention
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    each,
    pair,
    proves,
    randomised,
)

SMALL = {"cyclemlp_b2": dict(img_size=(24, 32), dims=(8, 16), depths=(1, 2), mlp_ratio=2, num_classes=10)}
IMAGES = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(2))
MAP = torch.randn(2, 5, 6, 8, generator=torch.Generator().manual_seed(3))


def linear(x, layer):
    y = x @ layer.weight.flatten(1).T
    return y if layer.bias is None else y + layer.bias


def norm(x, layer):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias


def stepped_slowly(x, axis):
    """Position by position: channel c is read (c + 1) mod 3 - 1 positions further; outside there are zeros."""
    _, height, width, dim = x.shape
    y = torch.zeros_like(x)
    for c in range(dim):
        step = (c + 1) % 3 - 1
        for i in range(height):
            for j in range(width):
                row, column = (i + step, j) if axis == 1 else (i, j + step)
                if 0 <= row < height and 0 <= column < width:
                    y[:, i, j, c] = x[:, row, column, c]
    return y


def weighed_slowly(branches, scores):
    """Channel by channel, softmax over the branches; a channel's three scores stand together."""
    out = torch.zeros_like(branches[0])
    for n in range(len(out)):
        for c in range(out.shape[-1]):
            share = scores[n, 3 * c : 3 * c + 3].exp()
            out[n, ..., c] = sum(s * branch[n, ..., c] for s, branch in zip(share / share.sum(), branches))
    return out


class SlowMixing(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.mlp_c = nn.Linear(dim, dim, bias=False)
        self.sfc_h, self.sfc_w = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1)
        self.reweight = nn.ModuleDict({"fc1": nn.Linear(dim, dim // 4), "fc2": nn.Linear(dim // 4, 3 * dim)})
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        # The authors' sfc_h has the pseudo-kernel 1×3, and so steps along the rows.
        branches = [
            linear(stepped_slowly(x, axis=2), self.sfc_h),
            linear(stepped_slowly(x, axis=1), self.sfc_w),
            linear(x, self.mlp_c),
        ]
        pooled = sum(branches).mean(dim=(1, 2))
        scores = linear(F.gelu(linear(pooled, self.reweight["fc1"])), self.reweight["fc2"])
        return linear(weighed_slowly(branches, scores), self.proj)


class SlowBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1, self.norm2, self.attn = nn.LayerNorm(dim), nn.LayerNorm(dim), SlowMixing(dim)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 2 * dim), "fc2": nn.Linear(2 * dim, dim)})

    def forward(self, x):
        x = x + self.attn(norm(x, self.norm1))
        return x + linear(F.gelu(linear(norm(x, self.norm2), self.mlp["fc1"])), self.mlp["fc2"])


class SlowCycleMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 8, 7, stride=4, padding=2)})
        down = nn.ModuleDict({"proj": nn.Conv2d(8, 16, 3, stride=2, padding=1)})
        self.network = nn.ModuleList(
            [nn.ModuleList([SlowBlock(8)]), down, nn.ModuleList([SlowBlock(16), SlowBlock(16)])]
        )
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)

    def forward(self, images):
        x = self.patch_embed["proj"](images).permute(0, 2, 3, 1)
        x = self.network[0][0](x)
        x = self.network[1]["proj"](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        for block in self.network[2]:
            x = block(x)
        return self.head(norm(x, self.norm).mean(dim=(1, 2)))


def small_pair():
    return pair("cyclemlp_b2", SMALL["cyclemlp_b2"], SlowCycleMLP(), "official")


@proves(78)
def test_agrees_with_the_paper_position_by_position():
    assert_agrees(*small_pair(), IMAGES)


@proves(78)
@pytest.mark.parametrize("axis", [1, 2])
def test_cycle_fc_is_a_deformable_convolution_with_fixed_offsets(axis):
    from torchvision.ops import deform_conv2d

    ours = randomised(CycleFC(8, axis))
    steps = (torch.arange(8) + 1) % 3 - 1  # the authors' offsets: 0, 1, -1, 0, ...
    offsets = torch.stack([steps, 0 * steps] if axis == 1 else [0 * steps, steps], dim=1).reshape(
        1, 16, 1, 1
    )  # (dy, dx)

    def theirs(x):
        weight, bias = ours.weight[:, :, None, None].to(x.dtype), ours.bias.to(x.dtype)
        y = deform_conv2d(x.permute(0, 3, 1, 2), offsets.expand(2, -1, 5, 6).to(x.dtype), weight, bias)
        return y.permute(0, 2, 3, 1)

    assert_agrees(ours, theirs, MAP)


def test_the_network_takes_images_of_any_size():
    """Its reason to be: what a detector needs."""
    model = randomised(create_model("cyclemlp_b2", **SMALL["cyclemlp_b2"]))
    assert model(torch.zeros(1, 3, 40, 56)).shape == (1, 10)


def rows_for_columns(model):
    for mixer in each(model, CycleMixing):
        horizontal, vertical = mixer.horizontal, mixer.vertical
        horizontal.taps, vertical.taps = vertical.taps, horizontal.taps
        horizontal.padding, vertical.padding = vertical.padding, horizontal.padding


def stepped_the_other_way(model):
    for layer in each(model, CycleFC):
        layer.taps = layer.taps.flip(2, 3)


def steps_that_begin_one_channel_later(model):
    for layer in each(model, CycleFC):
        layer.taps = layer.taps.roll(1, 0)


def channels_in_three_blocks(model):
    """As AS-MLP has them, and not in turn."""
    for layer in each(model, CycleFC):
        layer.taps = layer.taps.index_select(0, layer.taps.flatten(1).argmax(1).argsort())


def scores_read_channel_by_channel(model):
    for fuse in each(model, SplitAttention):
        dim = fuse.fc1.in_features
        order = torch.arange(3 * dim).view(dim, 3).T.flatten().argsort()
        fuse.fc2.weight.data, fuse.fc2.bias.data = fuse.fc2.weight[order], fuse.fc2.bias[order]


def sum_over_positions(model):
    for fuse in each(model, SplitAttention):
        fuse.pooling = "sum"


@pytest.mark.parametrize(
    "mistake",
    [
        rows_for_columns,
        stepped_the_other_way,
        steps_that_begin_one_channel_later,
        channels_in_three_blocks,
        scores_read_channel_by_channel,
        sum_over_positions,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)

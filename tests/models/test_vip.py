"""Vision Permutator against a slow version from the paper, whose weights bear the names of the authors' code."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.models import create_model
from course.models.norms import LayerNorm
from course.models.token_mixers.permutator import Permutator
from course.models.token_mixers.split_attention import SplitAttention
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = {"vip_s7": dict(img_size=(16, 24), patch_size=4, dims=(12, 24), depths=(1, 4), num_classes=10)}
IMAGES = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(2))


def linear(x, layer):
    y = x @ layer.weight.T
    return y if layer.bias is None else y + layer.bias


def norm(x, layer):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias


def along_the_height(x, layer):
    """Column by column and segment by segment: H pieces of D/H channels, one under the other, are one vector of D."""
    _, height, width, dim = x.shape
    s = dim // height
    y = torch.zeros_like(x)
    for j in range(width):
        for g in range(height):
            channels = slice(g * s, (g + 1) * s)
            mixed = linear(torch.cat([x[:, i, j, channels] for i in range(height)], dim=-1), layer)
            for i in range(height):
                y[:, i, j, channels] = mixed[:, i * s : (i + 1) * s]
    return y


def along_the_width(x, layer):
    return along_the_height(x.transpose(1, 2), layer).transpose(1, 2)


class SlowMixing(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.mlp_c, self.mlp_h, self.mlp_w = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.reweight = nn.ModuleDict({"fc1": nn.Linear(dim, dim // 4), "fc2": nn.Linear(dim // 4, 3 * dim)})
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        branches = [along_the_height(x, self.mlp_h), along_the_width(x, self.mlp_w), linear(x, self.mlp_c)]
        pooled = sum(branches).mean(dim=(1, 2))
        scores = linear(F.gelu(linear(pooled, self.reweight["fc1"])), self.reweight["fc2"])
        out = torch.zeros_like(x)
        for n in range(len(x)):
            for c in range(x.shape[-1]):  # a channel's three scores stand together
                share = scores[n, 3 * c : 3 * c + 3].exp()
                out[n, ..., c] = sum(s * branch[n, ..., c] for s, branch in zip(share / share.sum(), branches))
        return linear(out, self.proj)


class SlowBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1, self.norm2, self.attn = nn.LayerNorm(dim), nn.LayerNorm(dim), SlowMixing(dim)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 3 * dim), "fc2": nn.Linear(3 * dim, dim)})

    def forward(self, x):
        x = x + self.attn(norm(x, self.norm1))
        return x + linear(F.gelu(linear(norm(x, self.norm2), self.mlp["fc1"])), self.mlp["fc2"])


class SlowViP(nn.Module):
    """With the authors' nesting: blocks, downsampling, then stage 2 in several sequences (here of 3 and 1)."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 12, 4, stride=4)})
        self.network = nn.ModuleList(
            [
                nn.ModuleList([SlowBlock(12)]),
                nn.ModuleDict({"proj": nn.Conv2d(12, 24, 2, stride=2)}),
                nn.ModuleList([SlowBlock(24) for _ in range(3)]),
                nn.ModuleList([SlowBlock(24)]),
            ]
        )
        self.norm = nn.LayerNorm(24)
        self.head = nn.Linear(24, 10)

    def forward(self, images):
        x = self.patch_embed["proj"](images).permute(0, 2, 3, 1)
        x = self.network[0][0](x)
        x = self.network[1]["proj"](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        for block in [*self.network[2], *self.network[3]]:
            x = block(x)
        return self.head(norm(x, self.norm).mean(dim=(1, 2)))


def small_pair():
    return pair("vip_s7", SMALL["vip_s7"], SlowViP(), "official")


@proves(79)
def test_agrees_with_the_paper_row_by_row_and_segment_by_segment():
    assert_agrees(*small_pair(), IMAGES)


def height_for_width(model):
    for mixer in each(model, Permutator):
        mixer.height.weight, mixer.width.weight = mixer.width.weight, mixer.height.weight


def positions_inside_the_segments(model):
    """The vector of D read as (S, H), and not as (H, S)."""
    for mixer in each(model, Permutator):
        h, dim = mixer.grid[0], mixer.height.in_features
        order = torch.arange(dim).view(h, dim // h).T.flatten()
        mixer.height.weight.data = mixer.height.weight[order][:, order]


def scores_read_channel_by_channel(model):
    for fuse in each(model, SplitAttention):
        dim = fuse.fc1.in_features
        order = torch.arange(3 * dim).view(dim, 3).T.flatten().argsort()
        fuse.fc2.weight.data, fuse.fc2.bias.data = fuse.fc2.weight[order], fuse.fc2.bias[order]


def plain_sum_of_the_branches(model):
    for fuse in each(model, SplitAttention):
        fuse.fc2.weight.data.zero_()
        fuse.fc2.bias.data.zero_()


def eps_of_vit(model):
    for layer_norm in each(model, LayerNorm):
        layer_norm.eps = 1e-6


@pytest.mark.parametrize(
    "mistake",
    [
        height_for_width,
        positions_inside_the_segments,
        scores_read_channel_by_channel,
        plain_sum_of_the_branches,
        eps_of_vit,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)


def test_channels_that_make_no_segments_are_one_sentence():
    with pytest.raises(ValueError, match="12 channels cannot be cut into 5 segments.*10 and 15 can"):
        create_model("vip_s7", **SMALL["vip_s7"] | {"img_size": (20, 24)})

"""AS-MLP against a slow version from the paper, whose weights bear the names of the authors' code.

The authors' shift is a CUDA kernel, so their own network runs nowhere else.
"""

from types import MethodType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.models import create_model
from course.models.norms import GroupNorm1
from course.models.token_mixers import axial_shift as ours_of_shift
from course.models.token_mixers.axial_shift import AxialShift, axial_shift
from tests.models.parity import assert_agrees, assert_catches, each, pair, proves

SMALL = dict.fromkeys(
    ["as_mlp_t", "as_mlp_s", "as_mlp_b"],
    dict(img_size=(16, 24), patch_size=2, stride=2, dims=(12, 24), depths=(1, 2), num_classes=10),
)
IMAGES = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(2))
MAP = torch.randn(2, 5, 7, 12, generator=torch.Generator().manual_seed(3))


def shifted_slowly(x, axis, size=5):
    """Position by position: channel c, of group g, comes from g - 2 positions before; outside there are zeros."""
    _, height, width, dim = x.shape
    y = torch.zeros_like(x)
    for c in range(dim):
        step = c // -(-dim // size) - size // 2
        for i in range(height):
            for j in range(width):
                row, column = (i - step, j) if axis == 1 else (i, j - step)
                if 0 <= row < height and 0 <= column < width:
                    y[:, i, j, c] = x[:, row, column, c]
    return y


def linear(x, conv):
    """A 1×1 convolution, at each position of a map (B, H, W, D)."""
    y = x @ conv.weight.flatten(1).T
    return y if conv.bias is None else y + conv.bias


def norm(x, group_norm):
    """Each image by its own mean and variance, over all positions and channels."""
    images = []
    for image in x:
        centred = image - image.mean()
        images.append(centred / (centred.square().mean() + 1e-5).sqrt())
    return torch.stack(images) * group_norm.weight + group_norm.bias


class SlowAxialShift(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1, self.conv2_1, self.conv2_2, self.conv3 = (nn.Conv2d(dim, dim, 1) for _ in range(4))
        self.norm1, self.norm2 = nn.GroupNorm(1, dim), nn.GroupNorm(1, dim)

    def forward(self, x):
        x = F.gelu(norm(linear(x, self.conv1), self.norm1))
        left_right = F.gelu(linear(shifted_slowly(x, axis=2), self.conv2_1))
        top_down = F.gelu(linear(shifted_slowly(x, axis=1), self.conv2_2))
        return linear(norm(left_right + top_down, self.norm2), self.conv3)


class SlowBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(1, dim), nn.GroupNorm(1, dim)
        self.axial_shift = SlowAxialShift(dim)
        self.mlp = nn.ModuleDict({"fc1": nn.Conv2d(dim, 4 * dim, 1), "fc2": nn.Conv2d(4 * dim, dim, 1)})

    def forward(self, x):
        x = x + self.axial_shift(norm(x, self.norm1))
        return x + linear(F.gelu(linear(norm(x, self.norm2), self.mlp["fc1"])), self.mlp["fc2"])


class SlowMerging(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.GroupNorm(1, 4 * dim)
        self.reduction = nn.Conv2d(4 * dim, 2 * dim, 1, bias=False)

    def forward(self, x):
        height, width = x.shape[1] // 2, x.shape[2] // 2
        rows = []
        for i in range(height):
            row = []
            for j in range(width):
                window = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                row.append(torch.cat([window[:, 0, 0], window[:, 1, 0], window[:, 0, 1], window[:, 1, 1]], dim=-1))
            rows.append(torch.stack(row, dim=1))
        return linear(norm(torch.stack(rows, dim=1), self.norm), self.reduction)


class SlowASMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 12, 2, stride=2), "norm": nn.GroupNorm(1, 12)})
        first, second = nn.Module(), nn.Module()
        first.blocks, first.downsample = nn.ModuleList([SlowBlock(12)]), SlowMerging(12)
        second.blocks = nn.ModuleList([SlowBlock(24), SlowBlock(24)])
        self.layers = nn.ModuleList([first, second])
        self.norm = nn.GroupNorm(1, 24)
        self.head = nn.Linear(24, 10)

    def forward(self, images):
        x = norm(self.patch_embed["proj"](images).permute(0, 2, 3, 1), self.patch_embed["norm"])
        for layer in self.layers:
            for block in layer.blocks:
                x = block(x)
            x = layer.downsample(x) if hasattr(layer, "downsample") else x
        return self.head(norm(x, self.norm).mean(dim=(1, 2)))


def small_pair():
    return pair("as_mlp_t", SMALL["as_mlp_t"], SlowASMLP(), "official")


@proves(75, 76, 77)
def test_agrees_with_the_paper_position_by_position():
    assert_agrees(*small_pair(), IMAGES)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_every_channel_moves_by_the_distance_of_its_group(axis, size):
    # 12 channels in groups of 3 are four groups and not five: the shift by +2 has no channels there.
    assert torch.equal(axial_shift(MAP, size, axis), shifted_slowly(MAP, axis, size))


# Mistakes in the shift itself, put in its place while the comparison runs.


def axes_swapped(x, shift_size, axis):
    return axial_shift(x, shift_size, 3 - axis)


def the_other_way(x, shift_size, axis):
    return axial_shift(x.flip(axis), shift_size, axis).flip(axis)


def wrapped_around(x, shift_size, axis):
    groups = x.chunk(shift_size, dim=-1)
    return torch.cat([g.roll(i - shift_size // 2, axis) for i, g in enumerate(groups)], dim=-1)


def groups_as_even_as_can_be(x, shift_size, axis):
    padded = F.pad(x, (0, 0, 2, 2) if axis == 2 else (0, 0, 0, 0, 2, 2))
    groups = padded.tensor_split(shift_size, dim=-1)  # 12 channels: 3, 3, 2, 2, 2
    return torch.cat([g.narrow(axis, 4 - i, x.shape[axis]) for i, g in enumerate(groups)], dim=-1)


@pytest.mark.parametrize("shift", [axes_swapped, the_other_way, wrapped_around, groups_as_even_as_can_be])
def test_catches_a_wrong_shift(monkeypatch, shift):
    ours, theirs = small_pair()
    monkeypatch.setattr(ours_of_shift, "axial_shift", shift)

    def mistake(model):
        pass  # it is made by the line above

    assert_catches(mistake, ours, theirs, IMAGES)


def norm_of_each_token(model):
    def forward(self, x):
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)

    for group_norm in each(model, GroupNorm1):
        group_norm.forward = MethodType(forward, group_norm)


def one_linear_layer_for_both_axes(model):
    for mixer in each(model, AxialShift):
        mixer.vertical = mixer.horizontal


def merging_row_by_row(model):
    entry = model.stages[1].entry
    swapped = [0, 2, 1, 3]
    entry.norm.weight.data = entry.norm.weight.view(4, 12)[swapped].flatten()
    entry.norm.bias.data = entry.norm.bias.view(4, 12)[swapped].flatten()
    entry.reduction.weight.data = entry.reduction.weight.view(24, 4, 12)[:, swapped].flatten(1)


def no_norm_in_the_stem(model):
    model.stem.norm = nn.Identity()


def eps_of_vit(model):
    for group_norm in each(model, GroupNorm1):
        group_norm.eps = 1e-6


@pytest.mark.parametrize(
    "mistake", [norm_of_each_token, one_linear_layer_for_both_axes, merging_row_by_row, no_norm_in_the_stem, eps_of_vit]
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)


def test_an_even_shift_size_is_one_sentence():
    with pytest.raises(ValueError, match="3 or 5"):
        create_model("as_mlp_t", **SMALL["as_mlp_t"] | {"shift_size": 4})

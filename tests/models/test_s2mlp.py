"""S²-MLP, and the block of S²-MLPv2, against slow versions written from the papers' equations.

No library has them, and the public S²-MLPv2 writes its shifts into the map that it reads from.
"""

from types import MethodType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.models import create_model
from course.models.count import count_macs, count_parameters
from course.models.token_mixers import spatial_shift as ours_of_shift
from course.models.token_mixers.spatial_shift import SplitSpatialShift, spatial_shift
from tests.models.parity import assert_agrees, assert_catches, each, proves, randomised

SMALL = dict.fromkeys(
    ["s2mlp_wide", "s2mlp_deep"], dict(img_size=(24, 32), patch_size=8, embed_dim=16, depth=2, num_classes=10)
)
IMAGES = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(2))
MAPS = torch.randn(2, 3, 4, 16, generator=torch.Generator().manual_seed(3))
# Where the values of each quarter of the channels come from, (rows, columns): from the left, the right, above, below.
WIDE_FIRST = [(0, -1), (0, 1), (-1, 0), (1, 0)]
HIGH_FIRST = [(-1, 0), (1, 0), (0, -1), (0, 1)]


def shifted_slowly(x, sources):
    """Position by position; a source outside the map leaves the value as it is (the algorithm assigns inside only)."""
    _, height, width, dim = x.shape
    y = x.clone()
    for i in range(height):
        for j in range(width):
            for quarter, (di, dj) in enumerate(sources):
                channels = slice(quarter * dim // 4, (quarter + 1) * dim // 4)
                if 0 <= i + di < height and 0 <= j + dj < width:
                    y[:, i, j, channels] = x[:, i + di, j + dj, channels]
    return y


def slow_s2mlp(weights):
    """The whole network from its weights: patches one by one, norm in the stem, none before the head."""

    def model(images):
        w = {name: value.to(images.dtype) for name, value in weights.items()}

        def linear(x, name):
            return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

        def norm(x, name):
            centred = x - x.mean(-1, keepdim=True)
            return (
                centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"]
                + w[f"{name}.bias"]
            )

        kernel = w["stem.proj.weight"].flatten(1)
        rows = [
            torch.stack([images[:, :, i : i + 8, j : j + 8].flatten(1) @ kernel.T for j in range(0, 32, 8)], dim=1)
            for i in range(0, 24, 8)
        ]
        x = norm(torch.stack(rows, dim=1) + w["stem.proj.bias"], "stem.norm")
        for i in range(2):
            mix, mlp = f"stages.0.blocks.{i}.token_mixer", f"stages.0.blocks.{i}.channel_mixer"
            y = F.gelu(linear(norm(x, f"{mix}.norm"), f"{mix}.branch.fc1"))
            x = x + linear(shifted_slowly(y, WIDE_FIRST), f"{mix}.branch.fc2")
            x = x + linear(F.gelu(linear(norm(x, f"{mlp}.norm"), f"{mlp}.branch.fc1")), f"{mlp}.branch.fc2")
        return linear(x.mean(dim=(1, 2)), "head.fc")

    return model


def small_pair():
    ours = randomised(create_model("s2mlp_deep", **SMALL["s2mlp_deep"]))
    return ours, slow_s2mlp(ours.state_dict())


@proves(72, 73)
def test_agrees_with_the_paper_position_by_position():
    assert_agrees(*small_pair(), IMAGES)


def slow_block(weights):
    """S²-MLPv2's algorithm: split attention as matrices, a = Σₖ 1ᵀXₖ, softmax(σ(a M₁) M₂) over the three branches."""

    def block(x):
        w = {name: value.to(x.dtype) for name, value in weights.items()}
        x = x @ w["fc1.weight"].T + w["fc1.bias"]
        dim = x.shape[-1] // 3
        branches = [
            shifted_slowly(x[..., :dim], WIDE_FIRST),
            shifted_slowly(x[..., dim : 2 * dim], HIGH_FIRST),
            x[..., 2 * dim :],
        ]
        a = sum(branch.sum(dim=(1, 2)) for branch in branches)
        scores = (F.gelu(a @ w["fuse.fc1.weight"].T) @ w["fuse.fc2.weight"].T).reshape(-1, 3, dim)
        out = torch.zeros_like(branches[0])
        for n in range(len(x)):
            for c in range(dim):
                share = scores[n, :, c].exp() / scores[n, :, c].exp().sum()
                out[n, ..., c] = sum(share[k] * branches[k][n, ..., c] for k in range(3))
        return out @ w["fc2.weight"].T + w["fc2.bias"]

    return block


def block_pair():
    ours = randomised(SplitSpatialShift(16), std=0.1)
    return ours, slow_block(ours.state_dict())


@proves(74)
def test_split_attention_block_agrees_with_the_paper_position_by_position():
    assert_agrees(*block_pair(), MAPS)


@proves(74)
def test_split_attention_block_has_the_size_of_the_public_one():
    with torch.device("meta"):
        block = SplitSpatialShift(512)
    assert count_parameters(block) == 2_099_200
    assert count_macs(block, 1, 14, 14, 512) == pytest.approx(206.6e6, rel=0.001)


def test_a_shift_moves_a_quarter_each_way_and_keeps_the_edge():
    x = torch.arange(12.0).reshape(1, 3, 4, 1).expand(-1, -1, -1, 4)
    right, left, down, up = spatial_shift(x)[0].unbind(-1)
    assert right.tolist() == [[0, 0, 1, 2], [4, 4, 5, 6], [8, 8, 9, 10]]
    assert left.tolist() == [[1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]]
    assert down.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert up.tolist() == [[4, 5, 6, 7], [8, 9, 10, 11], [8, 9, 10, 11]]


# Mistakes in the shift itself, put in its place while the comparison runs.


def shifted_within_its_own_memory(x, axes=(2, 1)):
    """What the in-place listing does where values are copied one by one: the edge runs through the whole row."""
    y = spatial_shift(x, axes)
    quarter = x.shape[-1] // 4
    edge = x.narrow(axes[0], 0, 1)[..., :quarter]
    return torch.cat([edge.expand_as(y[..., :quarter]), y[..., quarter:]], dim=-1)


def rows_for_columns(x, axes=(2, 1)):
    return shifted_slowly(x, HIGH_FIRST if axes == (2, 1) else WIDE_FIRST)


def zeros_at_the_edge(x, axes=(2, 1)):
    sources = WIDE_FIRST if axes == (2, 1) else HIGH_FIRST
    return shifted_slowly(F.pad(x, (0, 0, 1, 1, 1, 1)), sources)[:, 1:-1, 1:-1]


def wrapped_around(x, axes=(2, 1)):
    a, b, c, d = x.chunk(4, dim=-1)
    return torch.cat([a.roll(1, axes[0]), b.roll(-1, axes[0]), c.roll(1, axes[1]), d.roll(-1, axes[1])], dim=-1)


def the_other_way(x, axes=(2, 1)):
    opposite = [(-i, -j) for i, j in (WIDE_FIRST if axes == (2, 1) else HIGH_FIRST)]
    return shifted_slowly(x, opposite)


@pytest.mark.parametrize(
    "shift", [shifted_within_its_own_memory, rows_for_columns, zeros_at_the_edge, wrapped_around, the_other_way]
)
@pytest.mark.parametrize("make, inputs", [(small_pair, IMAGES), (block_pair, MAPS)], ids=["network", "v2 block"])
def test_catches_a_wrong_shift(monkeypatch, make, inputs, shift):
    ours, theirs = make()
    monkeypatch.setattr(ours_of_shift, "spatial_shift", shift)

    def mistake(model):
        pass  # it is made by the line above

    assert_catches(mistake, ours, theirs, inputs)


def norm_at_the_end_and_not_in_the_stem(model):
    model.head.norm, model.stem.norm = model.stem.norm, nn.Identity()


def eps_of_vit(model):
    for norm in each(model, nn.LayerNorm):
        norm.eps = 1e-6


@pytest.mark.parametrize("mistake", [norm_at_the_end_and_not_in_the_stem, eps_of_vit])
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)


def softmax_over_the_channels(block):
    def weights(fuse, *branches):
        return type(fuse).weights(fuse, *branches).log().softmax(dim=2)

    block.fuse.weights = MethodType(weights, block.fuse)


def branches_read_channel_by_channel(block):
    weight = block.fuse.fc2.weight
    weight.data = weight.data.view(16, 3, 16).transpose(0, 1).reshape(48, 16)


def mean_over_positions(block):
    block.fuse.pooling = "mean"


@pytest.mark.parametrize("mistake", [softmax_over_the_channels, branches_read_channel_by_channel, mean_over_positions])
def test_catches_in_the_split_attention_block(mistake):
    assert_catches(mistake, *block_pair(), MAPS)


def test_channels_that_make_no_four_groups_are_one_sentence():
    with pytest.raises(ValueError, match="16 and 20 can"):
        create_model("s2mlp_wide", **SMALL["s2mlp_wide"] | {"embed_dim": 18})

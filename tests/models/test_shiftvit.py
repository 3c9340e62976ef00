"""ShiftViT against the paper's equations, position by position, with weights named as in the authors' repository."""

import pytest
import torch
from torch import Tensor, nn

from course.models import create_model, load_reference
from course.models.backbone import Residual
from course.models.norms import GroupNorm1
from course.models.token_mixers.shift import Shift
from tests.models.parity import assert_agrees, assert_catches, each, proves, randomised

SMALL = dict.fromkeys(
    ["shiftvit_t", "shiftvit_s", "shiftvit_b"],
    dict(img_size=24, patch_size=2, stride=2, dims=(13, 20), depths=(2, 1), n_div=6, num_classes=10),
)
IMAGES = torch.randn(2, 3, 24, 16, generator=torch.Generator().manual_seed(2))


def shapes(dims=(13, 20), depths=(2, 1), patch=2, ratio=2, classes=10) -> dict[str, tuple]:
    """The names and shapes of the authors' state dict."""

    def norm(name, dim):
        return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}

    found = {"patch_embed.proj.weight": (dims[0], 3, patch, patch), "patch_embed.proj.bias": (dims[0],)}
    found |= norm("patch_embed.norm", dims[0])
    for i, (dim, depth) in enumerate(zip(dims, depths)):
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}"
            found |= norm(f"{block}.norm2", dim)
            found |= {f"{block}.mlp.fc1.weight": (ratio * dim, dim, 1, 1), f"{block}.mlp.fc1.bias": (ratio * dim,)}
            found |= {f"{block}.mlp.fc2.weight": (dim, ratio * dim, 1, 1), f"{block}.mlp.fc2.bias": (dim,)}
        if i + 1 < len(dims):
            found |= norm(f"layers.{i}.downsample.norm", dim)
            found |= {f"layers.{i}.downsample.reduction.weight": (dims[i + 1], dim, 2, 2)}
    return found | norm("norm", dims[-1]) | {"head.weight": (classes, dims[-1]), "head.bias": (classes,)}


class Slow:
    """The network as loops over images and positions; channels come first, as in the authors' code."""

    def __init__(self, weights: dict[str, Tensor], depths=(2, 1), patch=2, n_div=6) -> None:
        self.weights, self.depths, self.patch, self.n_div = weights, depths, patch, n_div

    def __call__(self, images: Tensor) -> Tensor:
        self.w = {k: v.to(images.dtype) for k, v in self.weights.items()}
        return torch.stack([self.one(image) for image in images])

    def one(self, x: Tensor) -> Tensor:
        x = self.normed("patch_embed.norm", self.patches("patch_embed.proj", x, self.patch))
        for i, depth in enumerate(self.depths):
            for j in range(depth):
                x = self.shifted(x)
                x = x + self.mlp(f"layers.{i}.blocks.{j}.mlp", self.normed(f"layers.{i}.blocks.{j}.norm2", x))
            if i + 1 < len(self.depths):
                x = self.patches(f"layers.{i}.downsample.reduction", self.normed(f"layers.{i}.downsample.norm", x), 2)
        return self.w["head.weight"] @ self.normed("norm", x).mean(dim=(1, 2)) + self.w["head.bias"]

    def patches(self, name: str, x: Tensor, p: int) -> Tensor:
        """(C, H, W) -> (D, H/P, W/P): each patch times the matrix."""
        matrix = self.w[f"{name}.weight"].flatten(1)  # (D, C*P*P)
        out = x.new_zeros(len(matrix), x.shape[1] // p, x.shape[2] // p)
        for row in range(out.shape[1]):
            for column in range(out.shape[2]):
                out[:, row, column] = matrix @ x[:, row * p : row * p + p, column * p : column * p + p].flatten()
        bias = self.w.get(f"{name}.bias")
        return out if bias is None else out + bias[:, None, None]

    def normed(self, name: str, x: Tensor) -> Tensor:
        """Mean and variance of all numbers of an image, scale and shift of each channel."""
        x = (x - x.mean()) / (((x - x.mean()) ** 2).mean() + 1e-5) ** 0.5
        return x * self.w[f"{name}.weight"][:, None, None] + self.w[f"{name}.bias"][:, None, None]

    def shifted(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape
        group = channels // self.n_div
        comes_from = [(0, 1), (0, -1), (1, 0), (-1, 0)]  # left, right, up, down: where the value stood before
        out = torch.zeros_like(x)
        for channel in range(channels):
            dy, dx = comes_from[channel // group] if channel < 4 * group else (0, 0)
            for row in range(height):
                for column in range(width):
                    if 0 <= row + dy < height and 0 <= column + dx < width:
                        out[channel, row, column] = x[channel, row + dy, column + dx]
        return out

    def mlp(self, name: str, x: Tensor) -> Tensor:
        flat = x.flatten(1)  # (D, N)
        hidden = self.w[f"{name}.fc1.weight"][:, :, 0, 0] @ flat + self.w[f"{name}.fc1.bias"][:, None]
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))  # GELU
        return (self.w[f"{name}.fc2.weight"][:, :, 0, 0] @ hidden + self.w[f"{name}.fc2.bias"][:, None]).view_as(x)


def both() -> tuple[nn.Module, Slow]:
    holder = nn.ParameterDict({k.replace(".", "/"): nn.Parameter(torch.empty(shape)) for k, shape in shapes().items()})
    weights = {}
    for name, parameter in randomised(holder).items():
        name, value = name.replace("/", "."), parameter.detach()
        # A vector is a bias or multiplies; the parameter's name in the holder does not say which.
        weights[name] = value - 1 if name.endswith("bias") and value.mean() > 0.5 else value
    ours = create_model("shiftvit_t", **SMALL["shiftvit_t"]).eval()
    assert load_reference(ours, weights, "official") == []
    return ours, Slow(weights)


@proves(81, 82, 83)
def test_agrees_with_the_equations():
    assert_agrees(*both(), IMAGES)


def groups_in_another_order(model):
    for shift in each(model, Shift):
        shift.register_forward_hook(
            lambda m, inputs, output: torch.cat([output[..., 2:4], output[..., :2], output[..., 4:]], dim=-1)
        )


def moved_the_other_way(model):
    for shift in each(model, Shift):
        shift.register_forward_hook(lambda m, inputs, output: m.forward(inputs[0].flip(1, 2)).flip(1, 2))


def around_the_edge(model):
    def wrong(shift, inputs, output):
        left, right, up, down, still = inputs[0].split(shift.groups, dim=-1)
        return torch.cat([left.roll(-1, 2), right.roll(1, 2), up.roll(-1, 1), down.roll(1, 1), still], dim=-1)

    for shift in each(model, Shift):
        shift.register_forward_hook(wrong)


def path_around_the_shift(model):
    for shift in each(model, Shift):
        shift.register_forward_hook(lambda m, inputs, output: inputs[0] + output)


def shifted_inside_the_branch_only(model):
    for block in [b for stage in model.stages for b in stage.blocks]:
        shift, block.token_mixer = block.token_mixer, nn.Identity()
        block.channel_mixer.branch = nn.Sequential(shift, block.channel_mixer.branch)


def one_channel_fewer_moves(model):
    for shift in each(model, Shift):
        shift.groups = [g - 1 for g in shift.groups[:4]] + [shift.groups[4] + 4]


def eps_of_vit(model):
    for norm in each(model, GroupNorm1):
        norm.eps = 1e-6


@pytest.mark.parametrize(
    "mistake",
    [
        groups_in_another_order,
        moved_the_other_way,
        around_the_edge,
        path_around_the_shift,
        shifted_inside_the_branch_only,
        one_channel_fewer_moves,
        eps_of_vit,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *both(), IMAGES)


def test_the_shift_has_no_weights_and_adds_nothing():
    shift = Shift(12, n_div=12)
    x = torch.randn(1, 4, 5, 12)
    assert not list(shift.parameters())
    assert torch.equal(shift(x)[0, :, :-1, 0], x[0, :, 1:, 0]) and shift(x)[0, :, -1, 0].abs().max() == 0
    assert torch.equal(shift(x)[..., 4:], x[..., 4:])


def test_only_the_path_of_the_mlp_goes_around():
    model = create_model("shiftvit_t", **SMALL["shiftvit_t"])
    blocks = [b for stage in model.stages for b in stage.blocks]
    assert all(isinstance(b.token_mixer, Shift) and isinstance(b.channel_mixer, Residual) for b in blocks)


def test_says_what_fits():
    with pytest.raises(ValueError, match="n_div is from 4"):
        create_model("shiftvit_t", n_div=3)
    with pytest.raises(ValueError, match=": img_size=32 fits"):  # 28 makes maps of 7×7, which are not halved
        create_model("shiftvit_t", img_size=30)
    with pytest.raises(ValueError, match="a map of 3×3 is not divided"):
        create_model("shiftvit_t", **SMALL["shiftvit_t"] | {"dims": (13, 20), "img_size": 6})(torch.zeros(1, 3, 6, 6))

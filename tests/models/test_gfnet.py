"""GFNet against a slow version from the paper, whose weights bear the names of the authors' code.

The filter is proved twice: against Fourier's sums, written out, and against the convolution theorem.
"""

import cmath
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.models import create_model
from course.models.channel_mixers.mlp import MLP
from course.models.norms import LayerNorm
from course.models.registry import input_shape_of
from course.models.token_mixers.global_filter import FilterMLP, GlobalFilter
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    each,
    pair,
    proves,
    randomised,
)

SMALL = {"gfnet_s": dict(img_size=(24, 40), patch_size=8, embed_dim=16, depth=2, num_classes=10)}
IMAGES = torch.randn(2, 3, 24, 40, generator=torch.Generator().manual_seed(2))


def fourier(length, sign):
    """exp(± 2πi m n / N) for each frequency m and place n, one by one, (N, N)."""
    table = [[cmath.exp(sign * 2j * cmath.pi * m * n / length) for n in range(length)] for m in range(length)]
    return torch.tensor(table, dtype=torch.complex128)


def filtered_slowly(x, weight):
    """All H×W sums there and back, on (B, H, W, D); the second half of the frequencies holds conjugates of the first.

    On column 0 (and W/2, if W is even) a frequency and its conjugate are both in the given half. The map that comes
    out is real: of what disagrees there, the mean counts.
    """
    _, height, width, _ = x.shape
    scale = (height * width) ** -0.5
    rows, columns = fourier(height, -1), fourier(width, -1)
    spectrum = torch.einsum("mh,nw,bhwd->bmnd", rows, columns, x.to(torch.complex128)) * scale
    half = torch.view_as_complex(weight.double())
    full = torch.zeros(height, width, x.shape[-1], dtype=torch.complex128)
    for m in range(height):
        for n in range(width):
            given = half[m, n] if n <= width // 2 else half[-m % height, width - n].conj()
            if n == 0 or 2 * n == width:
                given = (half[m, n] + half[-m % height, n].conj()) / 2
            full[m, n] = given
    y = torch.einsum("hm,wn,bmnd->bhwd", fourier(height, 1), fourier(width, 1), spectrum * full) * scale
    assert y.imag.abs().max() < 1e-9
    return y.real.to(x.dtype)


def norm(x, layer):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * layer.weight + layer.bias


class SlowBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.filter = nn.Module()
        self.filter.complex_weight = nn.Parameter(torch.empty(3, 3, 16, 2))
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(16, 64), "fc2": nn.Linear(64, 16)})

    def forward(self, x):
        y = filtered_slowly(norm(x, self.norm1), self.filter.complex_weight)
        y = F.gelu(norm(y, self.norm2) @ self.mlp["fc1"].weight.T + self.mlp["fc1"].bias)
        return x + y @ self.mlp["fc2"].weight.T + self.mlp["fc2"].bias


class SlowGFNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 16, 8, stride=8)})
        self.pos_embed = nn.Parameter(torch.empty(1, 15, 16))
        self.blocks = nn.ModuleList([SlowBlock(), SlowBlock()])
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)

    def forward(self, images):
        x = self.patch_embed["proj"](images).permute(0, 2, 3, 1) + self.pos_embed.view(3, 5, 16)
        for block in self.blocks:
            x = block(x)
        return self.head(norm(x, self.norm).mean(dim=(1, 2)))


def small_pair():
    return pair("gfnet_s", SMALL["gfnet_s"], SlowGFNet(), "official")


@proves(80)
def test_agrees_with_the_paper_frequency_by_frequency():
    assert_agrees(*small_pair(), IMAGES)


@proves(80)
@pytest.mark.parametrize("grid", [(4, 6), (5, 3), (3, 4), (4, 1)])
def test_filter_is_fouriers_sums_on_even_and_odd_sides(grid):
    ours = randomised(GlobalFilter(4, grid))
    x = torch.randn(2, *grid, 4, generator=torch.Generator().manual_seed(3))
    assert_agrees(ours, lambda x: filtered_slowly(x, ours.weight), x)


def test_filter_is_a_convolution_around_the_edges_with_a_kernel_as_large_as_the_map():
    """The convolution theorem; with the unitary transform a factor √(HW) stands before it."""
    height, width = 4, 5
    kernel = torch.randn(height, width, 3, generator=torch.Generator().manual_seed(3))
    ours = GlobalFilter(3, (height, width))
    ours.weight.data = torch.view_as_real(torch.fft.rfft2(kernel, dim=(0, 1)))

    def convolved(x):
        y = torch.zeros_like(x)
        for i in range(height):
            for j in range(width):
                for m in range(height):
                    for n in range(width):
                        y[:, i, j] += kernel[m, n].to(x.dtype) * x[:, (i - m) % height, (j - n) % width]
        return y

    x = torch.randn(2, height, width, 3, generator=torch.Generator().manual_seed(4))
    # The kernel's spectrum was taken in float32, so float64 can be no better than that.
    assert_agrees(ours, convolved, x, float64=1e-6)


def transform_over_rows_only(model):
    for mixer in each(model, GlobalFilter):
        mixer.weight.data = mixer.weight.mean(dim=0, keepdim=True).expand_as(mixer.weight).contiguous()


def conjugate_filter(model):
    for mixer in each(model, GlobalFilter):
        mixer.weight.data = mixer.weight * torch.tensor([1.0, -1.0])


def real_filter(model):
    for mixer in each(model, GlobalFilter):
        mixer.weight.data = mixer.weight * torch.tensor([1.0, 0.0])


def path_around_filter_and_mlp_each(model):
    """Two steps a block, as in a Transformer."""
    for mixer in each(model, FilterMLP):
        mixer.filter.register_forward_hook(lambda module, inputs, output: inputs[0] + output)


def no_norm_behind_the_filter(model):
    for mixer in each(model, FilterMLP):
        mixer.norm = nn.Identity()


def eps_of_swin(model):
    for layer_norm in each(model, LayerNorm):
        layer_norm.eps = 1e-5


def gelu_by_tanh(model):
    for mlp in each(model, MLP):
        mlp.act = nn.GELU(approximate="tanh")


@pytest.mark.parametrize(
    "mistake",
    [
        transform_over_rows_only,
        conjugate_filter,
        real_filter,
        path_around_filter_and_mlp_each,
        no_norm_behind_the_filter,
        eps_of_swin,
        gelu_by_tanh,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *small_pair(), IMAGES)


def test_channels_last_weights_and_half_precision_are_taken():
    model = randomised(create_model("gfnet_s", **SMALL["gfnet_s"]))
    images = torch.randn(2, *input_shape_of(model), generator=torch.Generator().manual_seed(5))
    expected = model(images)
    half = copy.deepcopy(model).bfloat16()(images.bfloat16())
    assert half.dtype == torch.bfloat16 and (half.float() - expected).abs().max() < 0.1 * expected.abs().max()
    last = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected)

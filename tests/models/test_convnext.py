"""ConvNeXt against timm, torchvision and transformers; SLaK's decomposed convolution against the sum it stands for."""

import pytest
import torch
from torch import nn

from course.models.norms import LayerNorm
from course.models.spec import per_stage
from course.models.token_mixers.depthwise import ConvNeXtMixer, DecomposedConv
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    each,
    pair,
    proves,
    randomised,
)

SMALL = {
    **dict.fromkeys(
        ["convnext_t", "convnext_s", "convnext_b", "convnext_cifar"],
        dict(img_size=64, patch_size=4, dims=(16, 24, 32, 48), depths=(1, 2, 1, 1), num_classes=10),
    ),
    "slak_t": dict(
        img_size=64, dims=(16, 24, 32, 48), depths=(1, 1, 1, 1), kernel_size=per_stage(9, 7, 5, 3), num_classes=10
    ),
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def timm_convnext():
    from timm.models.convnext import ConvNeXt

    return ConvNeXt(depths=(1, 2, 1, 1), dims=(16, 24, 32, 48), num_classes=10)


def torchvision_convnext():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    widths = [(16, 24, 1), (24, 32, 2), (32, 48, 1), (48, None, 1)]
    return ConvNeXt([CNBlockConfig(*width) for width in widths], num_classes=10)


def transformers_convnext():
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(depths=[1, 2, 1, 1], hidden_sizes=[16, 24, 32, 48], layer_norm_eps=1e-6, num_labels=10)
    return ConvNextForImageClassification(config)


@proves(103, 104, 105)
@pytest.mark.parametrize(
    "source, make",
    [("timm", timm_convnext), ("torchvision", torchvision_convnext), ("transformers", transformers_convnext)],
)
def test_agrees_with(source, make):
    ours, theirs = pair("convnext_t", SMALL["convnext_t"], make(), source)
    logits = (lambda x: theirs.to(x.dtype)(x).logits) if source == "transformers" else theirs
    assert_agrees(ours, logits, IMAGES)


def norm_behind_the_mlp(model):
    for mixer in each(model, ConvNeXtMixer):
        mixer.norm = nn.Identity()


def eps_of_torch(model):
    for norm in each(model, LayerNorm):
        norm.eps = 1e-5


def no_layer_scale(model):
    for block in model.stages[1].blocks:
        block.token_mixer.scale = None


def head_norms_before_it_averages(model):
    model.head.norm_first = True


@pytest.mark.parametrize("mistake", [norm_behind_the_mlp, eps_of_torch, no_layer_scale, head_norms_before_it_averages])
def test_catches(mistake):
    assert_catches(mistake, *pair("convnext_t", SMALL["convnext_t"], timm_convnext(), "timm"), IMAGES)


def slow_depthwise(x, kernel):
    """One output pixel at a time: the sum over the kernel of weight times neighbour, nothing beyond the edge."""
    batch, height, width, dim = x.shape
    tall, wide = kernel.shape[-2:]
    out = torch.zeros_like(x)
    for i in range(height):
        for j in range(width):
            for u in range(tall):
                for v in range(wide):
                    row, column = i + u - tall // 2, j + v - wide // 2
                    if 0 <= row < height and 0 <= column < width:
                        out[:, i, j] = out[:, i, j] + kernel[:, 0, u, v] * x[:, row, column]
    return out


def slow_batch_norm(x, norm):
    return (x - norm.running_mean) / torch.sqrt(norm.running_var + 1e-5) * norm.weight + norm.bias


def slow_decomposed(conv):
    def forward(x):
        same = conv.double() if x.dtype == torch.float64 else conv.float()
        branches = (same.tall, same.wide, same.small)
        return sum(slow_batch_norm(slow_depthwise(x, kernel.weight), norm) for kernel, norm in branches)

    return forward


MAP = torch.randn(2, 7, 6, 3, generator=torch.Generator().manual_seed(3))


@proves(110)
def test_the_decomposed_kernel_is_the_sum_of_three_written_with_loops():
    conv = randomised(DecomposedConv(3, kernel_size=9, small_kernel=3))
    assert [k.weight.shape[-2:] for k, _ in (conv.tall, conv.wide, conv.small)] == [(9, 3), (3, 9), (3, 3)]
    assert_agrees(conv, slow_decomposed(randomised(DecomposedConv(3, 9, 3))), MAP)


def tall_for_wide(conv):
    conv.tall[0].weight.data, conv.wide[0].weight.data = (
        conv.wide[0].weight.data.transpose(2, 3).contiguous(),
        conv.tall[0].weight.data.transpose(2, 3).contiguous(),
    )


def one_norm_for_all(conv):
    conv.wide[1] = conv.small[1] = conv.tall[1]


def without_the_small_kernel(conv):
    conv.small[1].weight.data.zero_()


@pytest.mark.parametrize("mistake", [tall_for_wide, one_norm_for_all, without_the_small_kernel])
def test_catches_in_slak(mistake):
    assert_catches(
        mistake, randomised(DecomposedConv(3, 9, 3)), slow_decomposed(randomised(DecomposedConv(3, 9, 3))), MAP
    )

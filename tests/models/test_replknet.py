"""RepLKNet: each block against its equation written with loops, and the merged network against the trained form."""

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.channel_mixers.batch_norm_mlp import BatchNormMLP
from course.models.spec import per_stage
from course.models.token_mixers.depthwise import LargeKernelConv, LargeKernelMixer
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    difference,
    each,
    proves,
    randomised,
)
from tests.models.test_convnext import slow_batch_norm, slow_depthwise

SMALL = {
    "replknet_31b": dict(
        img_size=64, dims=(8, 12, 16, 24), depths=(1, 1, 1, 1), kernel_size=per_stage(9, 9, 7, 5), num_classes=10
    )
}
MAP = torch.randn(2, 7, 6, 4, generator=torch.Generator().manual_seed(3))
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def slow(mixer):
    """pw - large + small - pw, each with its norm: figure 2 of the paper, one pixel at a time."""

    def forward(x):
        same = mixer.double() if x.dtype == torch.float64 else mixer.float()
        (first, first_norm, _), (last, last_norm) = same.reduce, same.expand
        x = slow_batch_norm(torch.einsum("bhwd,ed->bhwe", x, first.weight), first_norm).clamp(min=0)
        (large, large_norm), (small, small_norm) = same.conv.large, same.conv.small
        x = slow_batch_norm(slow_depthwise(x, large.weight), large_norm) + slow_batch_norm(
            slow_depthwise(x, small.weight), small_norm
        )
        return slow_batch_norm(torch.einsum("bhwd,ed->bhwe", x.clamp(min=0), last.weight), last_norm)

    return forward


def mixer():
    return randomised(LargeKernelMixer(4, kernel_size=7, small_kernel=3))


@proves(109)
def test_the_block_is_its_equation():
    assert_agrees(mixer(), slow(mixer()), MAP)


@proves(109)
def test_the_feed_forward_half_is_its_equation():
    def slow_mlp(x):
        same = randomised(BatchNormMLP(4)).to(x.dtype)
        hidden = slow_batch_norm(torch.einsum("bhwd,ed->bhwe", x, same.fc1.weight), same.norm1)
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        return slow_batch_norm(torch.einsum("bhwd,ed->bhwe", hidden, same.fc2.weight), same.norm2)

    assert_agrees(randomised(BatchNormMLP(4)), slow_mlp, MAP)


@proves(109)
def test_merging_the_small_kernels_changes_nothing_but_the_size():
    trained = randomised(create_model("replknet_31b", **SMALL["replknet_31b"])).double()
    merged = create_model("replknet_31b", **SMALL["replknet_31b"], merged=True).eval().double()
    state = {k: v for k, v in trained.state_dict().items() if ".conv.large." not in k and ".conv.small." not in k}
    for name, module in trained.named_modules():
        if isinstance(module, LargeKernelConv):
            state[f"{name}.large.weight"], state[f"{name}.large.bias"] = module.merged_weights()
    merged.load_state_dict(state)
    assert sum(p.numel() for p in merged.parameters()) < sum(p.numel() for p in trained.parameters())
    assert_agrees(merged, trained, IMAGES)


def no_small_kernel(model):
    for conv in each(model, LargeKernelConv):
        conv.small[0].weight.data.zero_()


def no_relu_before_the_large_kernel(model):
    for block in each(model, LargeKernelMixer):
        block.reduce[2] = nn.Identity()


def small_kernel_without_its_norm(model):
    for conv in each(model, LargeKernelConv):
        conv.small[1] = nn.Identity()


@pytest.mark.parametrize("mistake", [no_small_kernel, small_kernel_without_its_norm, no_relu_before_the_large_kernel])
def test_catches(mistake):
    assert_catches(mistake, mixer(), slow(mixer()), MAP)


def test_merging_a_kernel_off_its_centre_would_be_seen():
    conv = randomised(LargeKernelConv(4, 7, 3))
    merged = LargeKernelConv(4, 7, 3, merged=True)
    kernel, bias = conv.merged_weights()
    merged.large.weight.data, merged.large.bias.data = kernel.detach(), bias.detach()
    assert max(difference(merged, conv, MAP)) < 1e-6
    merged.large.weight.data = kernel.detach().roll(1, -1)
    assert max(difference(merged, conv, MAP)) > 1e-2

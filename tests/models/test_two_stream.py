"""SlowFast and the two-stream network against their definitions, tap by tap."""

import pytest
import torch
from torch import nn

from course.models import create_model
from tests.models.parity import assert_agrees, assert_catches, each, proves, randomised

SMALL = {
    "slowfast_r50": dict(num_frames=8, width=16, depths=(1, 2, 1, 1), num_classes=10),
    "two_stream": dict(num_frames=4, widths=(8, 12, 16, 16), num_classes=10),
}
CLIPS = torch.randn(2, 8, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def sub(p, prefix):
    return {k[len(prefix) + 1 :]: v for k, v in p.items() if k.startswith(prefix + ".")}


def slow_conv(x, weight, stride):
    """x (B, C, T, H, W): a sum over the taps of the kernel, each a matrix on the channels of a shifted copy."""
    kernel = weight.shape[2:]
    pad = [side // 2 for side in kernel]
    padded = x.new_zeros(*x.shape[:2], *[side + 2 * p for side, p in zip(x.shape[2:], pad)])
    padded[:, :, pad[0] : pad[0] + x.shape[2], pad[1] : pad[1] + x.shape[3], pad[2] : pad[2] + x.shape[4]] = x
    size = [(side - 1) // s + 1 for side, s in zip(x.shape[2:], stride)]
    out = 0
    for t in range(kernel[0]):
        for i in range(kernel[1]):
            for j in range(kernel[2]):
                tap = padded[:, :, t :: stride[0], i :: stride[1], j :: stride[2]][
                    :, :, : size[0], : size[1], : size[2]
                ]
                out = out + torch.einsum("dc,bcthw->bdthw", weight[:, :, t, i, j], tap)
    return out


def slow_conv_norm(x, p, stride=(1, 1, 1), names=("0", "1")):
    """A convolution and the batch norm behind it, with the statistics that training left."""
    conv, norm = (sub(p, name) for name in names)
    weight = conv["weight"] if conv["weight"].ndim == 5 else conv["weight"][:, :, None]
    y = slow_conv(x, weight, stride)
    mean, var, scale, shift = (norm[k].view(-1, 1, 1, 1) for k in ("running_mean", "running_var", "weight", "bias"))
    return (y - mean) / (var + 1e-5).sqrt() * scale + shift


def slow_max(x, size, stride, pad):
    """The largest of size×size places, of what lies inside."""
    padded = x.new_full((*x.shape[:3], x.shape[3] + 2 * pad, x.shape[4] + 2 * pad), -torch.inf)
    padded[..., pad : pad + x.shape[3], pad : pad + x.shape[4]] = x
    rows, columns = ((side + 2 * pad - size) // stride + 1 for side in x.shape[3:])
    taps = [padded[..., i::stride, j::stride][..., :rows, :columns] for i in range(size) for j in range(size)]
    return torch.stack(taps).amax(0)


def slow_bottleneck(x, p, stride):
    strides = (1, stride, stride)
    y = slow_conv_norm(x, sub(p, "branch.0")).clamp(min=0)
    y = slow_conv_norm(y, sub(p, "branch.2"), strides).clamp(min=0)
    y = slow_conv_norm(y, sub(p, "branch.4"))
    around = slow_conv_norm(x, sub(p, "shortcut"), strides) if "shortcut.0.weight" in p else x
    return (y + around).clamp(min=0)


def slow_slowfast(model, depths=(1, 2, 1, 1)):
    """Table 1 of the paper, line by line; frames 0 and 4 of 8 are the slow ones."""

    def logits(clips):
        p = {k: v.to(clips.dtype) for k, v in model.state_dict().items() if v.is_floating_point()}
        fast = clips.permute(0, 2, 1, 3, 4)
        slow = fast[:, :, [0, 4]]
        for stage in range(5):
            if stage == 0:
                slow, fast = (
                    slow_max(slow_conv_norm(x, sub(p, f"{way}.0.0"), (1, 2, 2)).clamp(min=0), 3, 2, 1)
                    for x, way in ((slow, "slow"), (fast, "fast"))
                )
            else:
                for block in range(depths[stage - 1]):
                    stride = 2 if block == 0 and stage > 1 else 1
                    slow = slow_bottleneck(slow, sub(p, f"slow.{stage}.{block}"), stride)
                    fast = slow_bottleneck(fast, sub(p, f"fast.{stage}.{block}"), stride)
            if stage < 4:
                joining = slow_conv_norm(fast, sub(p, f"lateral.{stage}.0"), (4, 1, 1)).clamp(min=0)
                slow = torch.cat([slow, joining], dim=1)
        pooled = torch.cat([slow.flatten(2).mean(2), fast.flatten(2).mean(2)], dim=1)
        return pooled @ p["fc.weight"].T + p["fc.bias"]

    return logits


@proves(138)
def test_slowfast_agrees_with_its_table_tap_by_tap():
    ours = randomised(create_model("slowfast_r50", **SMALL["slowfast_r50"]))
    assert_agrees(ours, slow_slowfast(ours), CLIPS)


def slow_frames_backwards(model):
    model.slow[0].register_forward_pre_hook(lambda stage, inputs: (inputs[0].flip(2),))


def joined_in_front(model):
    for conv in (stage[0].branch[0][0] for stage in model.slow[1:]):
        conv.weight.data = conv.weight.roll(1, 1)


def no_activation_on_the_way_across(model):
    for lateral in model.lateral:
        lateral[1] = nn.Identity()


def stride_in_the_first_convolution(model):
    for stage in [*model.slow[2:], *model.fast[2:]]:
        branch = stage[0].branch
        branch[0][0].stride, branch[2][0].stride = (1, 2, 2), (1, 1, 1)


def eps_of_layer_norm(model):
    for norm in each(model, nn.BatchNorm3d):
        norm.eps = 1e-6


@pytest.mark.parametrize(
    "mistake",
    [
        slow_frames_backwards,
        joined_in_front,
        no_activation_on_the_way_across,
        stride_in_the_first_convolution,
        eps_of_layer_norm,
    ],
)
def test_slowfast_catches(mistake):
    ours = randomised(create_model("slowfast_r50", **SMALL["slowfast_r50"]))
    assert_catches(mistake, ours, slow_slowfast(ours), CLIPS)


def slow_stream(images, p):
    """The small variant's four convolutions, tap by tap; pooling behind the first, the second and the last."""
    x = images[:, :, None]  # a clip of one frame
    for index in range(4):
        layer = [0, 4, 8, 11][index]
        stride = (1, 2, 2) if index < 2 else (1, 1, 1)
        x = slow_conv_norm(x, p, stride, names=(str(layer), str(layer + 1))).clamp(min=0)
        if index != 2:
            x = slow_max(x, 2, 2, 0)
    return x.flatten(2).mean(2)


def slow_two_stream(model, flow=None):
    """The mean of both streams' probabilities, as a logarithm."""

    def logits(clips):
        p = {k: v.to(clips.dtype) for k, v in model.state_dict().items() if v.is_floating_point()}
        if flow is None:
            motion = torch.cat([clips[:, t + 1] - clips[:, t] for t in range(3)], dim=1)
        else:
            motion = torch.cat([flow[:, t].to(clips.dtype) for t in range(3)], dim=1)
        probabilities = []
        for name, images in (("space", clips[:, 2]), ("motion", motion)):
            scores = slow_stream(images, sub(p, name)) @ p[f"fc_{name}.weight"].T + p[f"fc_{name}.bias"]
            probabilities.append(scores.exp() / scores.exp().sum(1, keepdim=True))
        return ((probabilities[0] + probabilities[1]) / 2).log()

    return logits


@proves(140)
def test_two_stream_agrees_with_its_definition():
    ours = randomised(create_model("two_stream", **SMALL["two_stream"]))
    assert_agrees(ours, slow_two_stream(ours), CLIPS[:, :4])


@proves(140)
def test_two_stream_takes_optical_flow():
    ours = randomised(create_model("two_stream", **SMALL["two_stream"], motion_chans=2))
    flow = torch.randn(2, 3, 2, 32, 32, generator=torch.Generator().manual_seed(3))
    assert_agrees(lambda x: ours.to(x.dtype)(x, flow.to(x.dtype)), slow_two_stream(ours, flow), CLIPS[:, :4])


def logits_averaged_and_not_probabilities(model):
    model.register_forward_hook(lambda model, inputs, y: sum(model.both(*inputs)).log_softmax(-1))


def motion_backwards(model):
    conv = model.motion[0]
    conv.weight.data = conv.weight.view(8, 3, 3, 7, 7).flip(1).flatten(1, 2)


def motion_with_its_channels_outermost(model):
    conv = model.motion[0]
    conv.weight.data = conv.weight.view(8, 3, 3, 7, 7).transpose(1, 2).flatten(1, 2)


@pytest.mark.parametrize(
    "mistake", [logits_averaged_and_not_probabilities, motion_backwards, motion_with_its_channels_outermost]
)
def test_two_stream_catches(mistake):
    ours = randomised(create_model("two_stream", **SMALL["two_stream"]))
    assert_catches(mistake, ours, slow_two_stream(ours), CLIPS[:, :4])


def test_two_streams_average_their_probabilities():
    model = randomised(create_model("two_stream", **SMALL["two_stream"]))
    by_space, by_motion = model.both(CLIPS[:, :4])
    mean = (by_space.softmax(-1) + by_motion.softmax(-1)) / 2
    torch.testing.assert_close(model(CLIPS[:, :4]).softmax(-1), mean)


@pytest.mark.parametrize(
    "name, options, what",
    [
        ("slowfast_r50", dict(num_frames=10), "alpha has to divide num_frames"),
        ("slowfast_r50", dict(beta=1 / 5), "no whole number"),
        ("two_stream", dict(num_frames=1), "two frames or more"),
    ],
)
def test_says_what_fits(name, options, what):
    with pytest.raises(ValueError, match=what):
        create_model(name, **SMALL[name] | options)

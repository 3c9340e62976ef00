"""ResNet against torchvision and timm, its pre-activation form against timm, and the convolutions and norms inside."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.models import create_model
from course.models.channel_mixers.inverted_bottleneck import InvertedBottleneck
from course.models.count import count_macs, count_parameters
from course.models.gates.squeeze_excite import SqueezeExcite
from course.models.norms import BatchNorm, Conv, GroupNorm1, LayerNorm
from course.models.resnet import Bottleneck, PreActBlock, PreActResNet
from tests.models.parity import (
    assert_agrees,
    assert_catches,
    each,
    pair,
    proves,
    randomised,
)

TINY = dict(depths=(2, 1, 1, 1), width=8, num_classes=10)
SMALL = {
    "resnet_50": TINY,
    "resnet_50_v1": TINY,
    "resnet_101_v1": TINY,
    "resnet_152": TINY,
    "resnext_50_32x4d": TINY | dict(groups=2, base_width=16),
    "resnet_50_cifar": TINY,
    "resnext_29_16x64d_cifar": dict(depths=(2, 1), width=16, groups=2, base_width=16, num_classes=10),
    "pre_resnet_110_cifar": dict(depths=(2, 1, 1), width=8, num_classes=10),
    "wide_resnet_28_8_cifar": dict(depths=(2, 1, 1), width=4, widen=2, num_classes=10),
}
# The public classes fix the outer widths at 256 to 2048; narrow in the middle they are small enough.
SIZES = dict(depths=(2, 2, 1, 1), base_width=8, num_classes=10)
IMAGES = torch.randn(2, 3, 40, 48, generator=torch.Generator().manual_seed(2))


def torchvision_resnet(depths=(2, 2, 1, 1), basic=False, v1=False, **options):
    from torchvision.models import resnet

    options = {} if basic else dict(width_per_group=8) | options
    block = resnet.BasicBlock if basic else resnet.Bottleneck
    model = resnet.ResNet(block, list(depths), num_classes=10, **options)
    for module in model.modules():
        if v1 and isinstance(module, resnet.Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
    return model


def timm_resnet():
    from timm.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, (2, 2, 1, 1), num_classes=10, base_width=8)


@proves(37, 108)
@pytest.mark.parametrize("source, make", [("torchvision", torchvision_resnet), ("timm", timm_resnet)])
def test_agrees_with(source, make):
    assert_agrees(*pair("resnet_50", SIZES, make(), source), IMAGES)


@proves(38, 39)
@pytest.mark.parametrize("name, depths", [("resnet_50_v1", (2, 2, 1, 1)), ("resnet_101_v1", (1, 1, 3, 1))])
def test_the_stride_of_the_paper_stands_in_the_first_convolution(name, depths):
    assert_agrees(*pair(name, SIZES | {"depths": depths}, torchvision_resnet(depths, v1=True), "torchvision"), IMAGES)


def test_groups_agree_with_torchvision():
    assert_agrees(*pair("resnet_50", SIZES | {"groups": 4}, torchvision_resnet(groups=4), "torchvision"), IMAGES)


@proves(190)
def test_resnext_agrees_with_torchvision():
    """With its own 32 groups of 4; the depth alone is small."""
    small = dict(depths=(1, 1, 1, 1), num_classes=10)
    theirs = torchvision_resnet((1, 1, 1, 1), groups=32, width_per_group=4)
    assert_agrees(*pair("resnext_50_32x4d", small, theirs, "torchvision"), IMAGES)


@proves(190)
def test_blocks_of_resnet_and_resnext_weigh_what_the_paper_says():
    """Xie et al. 2017, section 3.1: "about 70k" each; norms are not in it."""

    def weights(block):
        return sum(count_parameters(conv) for conv in each(block, nn.Conv2d))

    assert weights(Bottleneck(256, 64, 256)) == 256 * 64 + 3 * 3 * 64 * 64 + 64 * 256 == 69_632
    assert weights(Bottleneck(256, 128, 256, groups=32)) == 32 * (256 * 4 + 3 * 3 * 4 * 4 + 4 * 256) == 70_144


@proves(188)
def test_resnet_152_has_the_blocks_of_the_paper():
    from torchvision.models import resnet152

    with torch.device("meta"):
        ours, theirs = create_model("resnet_152"), resnet152()
    assert [len(stage) for stage in ours.stages] == [3, 8, 36, 3]
    assert [w.shape for w in ours.parameters()] == [w.shape for w in theirs.parameters()]


def test_basic_blocks_agree_with_torchvision():
    small = dict(depths=(1, 1, 1, 1), num_classes=10, block="basic")
    assert_agrees(*pair("resnet_50", small, torchvision_resnet((1, 1, 1, 1), basic=True), "torchvision"), IMAGES)


@pytest.mark.parametrize("dilated", [(False, True, True), (False, False, True), (True, True, True)])
def test_dilation_for_stride_agrees_with_torchvision(dilated):
    option = dict(replace_stride_with_dilation=dilated)
    theirs = torchvision_resnet((1, 2, 2, 2), **option)
    assert_agrees(*pair("resnet_50", SIZES | {"depths": (1, 2, 2, 2)} | option, theirs, "torchvision"), IMAGES)


def small_stem(model):
    """torchvision's network with the stem for small images."""
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


@proves(46, 50)
@pytest.mark.parametrize("name, groups", [("resnet_50_cifar", 1), ("resnext_29_16x64d_cifar", 4)])
def test_small_images_have_a_small_stem(name, groups):
    depths = (1, 2, 1, 1)
    theirs = small_stem(torchvision_resnet(depths, v1=True, groups=groups))
    assert_agrees(*pair(name, SIZES | dict(depths=depths, groups=groups), theirs, "torchvision"), IMAGES[..., :16, :16])


def test_features_are_the_maps_behind_the_stages():
    from torchvision.models._utils import IntermediateLayerGetter

    ours, theirs = pair("resnet_50", SIZES, torchvision_resnet(), "torchvision")
    getter = IntermediateLayerGetter(theirs, {f"layer{i}": str(i) for i in (1, 2, 3, 4)})
    maps = ours.features(IMAGES)
    assert [tuple(m.shape[1:]) for m in maps] == [(256, 10, 12), (512, 5, 6), (1024, 3, 3), (2048, 2, 2)]
    for our_map, their_map in zip(maps, getter(IMAGES).values()):
        torch.testing.assert_close(our_map, their_map, rtol=1e-5, atol=1e-5)


def stride_in_the_other_convolution(model):
    for block in each(model, Bottleneck):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def no_activation_behind_the_sum(model):
    for block in each(model, Bottleneck):
        block.act = Turns([block.act, block.act, nn.Identity()])


class Turns(nn.Module):
    """Each call by the next of some modules."""

    def __init__(self, modules):
        super().__init__()
        self.inner = nn.ModuleList(modules)
        self.turn = -1

    def forward(self, x):
        self.turn = (self.turn + 1) % len(self.inner)
        return self.inner[self.turn](x)


def shortcut_without_a_norm(model):
    for block in each(model, Bottleneck):
        if isinstance(block.shortcut, nn.Sequential):
            block.shortcut[1] = nn.Identity()


def averages_of_the_batch(model):
    for norm in each(model, nn.BatchNorm2d):
        norm.train()


def mean_pooling_in_the_stem(model):
    model.pool = nn.AvgPool2d(3, 2, 1)


@pytest.mark.parametrize(
    "mistake",
    [
        stride_in_the_other_convolution,
        no_activation_behind_the_sum,
        shortcut_without_a_norm,
        averages_of_the_batch,
        mean_pooling_in_the_stem,
    ],
)
def test_catches(mistake):
    assert_catches(mistake, *pair("resnet_50", SIZES, torchvision_resnet(), "torchvision"), IMAGES)


def undilated(model):
    for block in each(model, Bottleneck):
        block.conv2.dilation = block.conv2.padding = (1, 1)


def dilated_from_the_first_block(model):
    for stage in (2, 3):
        block = model.stages[stage][0]
        block.conv2.dilation = block.conv2.padding = (2 * block.conv2.dilation[0],) * 2


@pytest.mark.parametrize("mistake", [undilated, dilated_from_the_first_block])
def test_catches_in_dilation(mistake):
    option = dict(replace_stride_with_dilation=(False, True, True))
    assert_catches(mistake, *pair("resnet_50", SIZES | option, torchvision_resnet(**option), "torchvision"), IMAGES)


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(stride="v2"), "stride is 'v1' or 'v1.5'"),
        (dict(gate=(None, SqueezeExcite)), "gate has 2 entries, and the network has 4 stages"),
        (dict(mixer=(None,) * 5), "mixer has 5 entries, and the network has 4 stages"),
        (dict(stem="patch"), "stem is 'imagenet' or 'cifar'"),
        (dict(block="wide"), "block is 'basic' or 'bottleneck'"),
        (dict(block="basic", groups=2), "only block='bottleneck'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(options, says):
    with pytest.raises(ValueError, match=says):
        create_model("resnet_50", **TINY | options)


# The pre-activation form


def timm_block(in_dim, dim, stride):
    from timm.layers import BatchNormAct2d, create_conv2d
    from timm.models.resnetv2 import DownsampleConv, PreActBasic

    return PreActBasic(
        in_dim, dim, stride=stride, conv_layer=create_conv2d, norm_layer=BatchNormAct2d, proj_layer=DownsampleConv
    )


def block_pair(in_dim, dim, stride):
    theirs = randomised(timm_block(in_dim, dim, stride))
    ours = PreActBlock(in_dim, dim, stride).eval()
    ours.load_state_dict({k.replace("downsample.conv", "shortcut"): v for k, v in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.parametrize("in_dim, dim, stride", [(16, 16, 1), (16, 24, 1), (16, 32, 2)])
def test_pre_activation_blocks_agree_with_timm(in_dim, dim, stride):
    maps = torch.randn(2, in_dim, 9, 8, generator=torch.Generator().manual_seed(3))
    assert_agrees(*block_pair(in_dim, dim, stride), maps)


def pre_activation_network(model: PreActResNet):
    """The network as a formula, on its state dict: stem, blocks, norm, activation, mean, linear layer."""

    def norm_then_relu(x, at):
        s = weights(at)
        shape = (1, -1, 1, 1)
        x = (x - s["running_mean"].view(shape)) / (s["running_var"].view(shape) + 1e-5) ** 0.5
        return (x * s["weight"].view(shape) + s["bias"].view(shape)).clamp(min=0)

    def weights(at):
        return {k.removeprefix(at + "."): v.to(dtype) for k, v in model.state_dict().items() if k.startswith(at + ".")}

    def formula(images):
        nonlocal dtype
        dtype = images.dtype
        x = F.conv2d(images, weights("conv")["weight"], padding=1)
        for stage, blocks in enumerate(model.stages):
            for index in range(len(blocks)):
                at, stride = f"stages.{stage}.{index}", 2 if index == 0 and stage > 0 else 1
                y = norm_then_relu(x, f"{at}.norm1")
                if f"{at}.shortcut.weight" in model.state_dict():
                    x = F.conv2d(y, weights(f"{at}.shortcut")["weight"], stride=stride)
                y = F.conv2d(y, weights(f"{at}.conv1")["weight"], stride=stride, padding=1)
                x = x + F.conv2d(norm_then_relu(y, f"{at}.norm2"), weights(f"{at}.conv2")["weight"], padding=1)
        return norm_then_relu(x, "norm").mean((2, 3)) @ weights("fc")["weight"].T + weights("fc")["bias"]

    dtype = torch.float32
    return formula


@proves(48, 49)
@pytest.mark.parametrize("name", ["wide_resnet_28_8_cifar", "pre_resnet_110_cifar"])
def test_pre_activation_networks_are_their_formula(name):
    model = randomised(create_model(name, **SMALL[name]))
    assert_agrees(model, pre_activation_network(model), IMAGES[..., :16, :16])


def activation_behind_the_sum(model):
    for block in each(model, PreActBlock):
        block.register_forward_hook(lambda block, inputs, output: output.relu())


def shortcut_before_the_activation(model):
    for block in each(model, PreActBlock):
        if block.shortcut is not None:
            block.register_forward_pre_hook(lambda block, inputs: setattr(block.shortcut, "seen", inputs[0]))
            block.shortcut.register_forward_pre_hook(lambda layer, inputs: (layer.seen,))


def no_last_norm(model):
    model.norm = nn.Identity()


@pytest.mark.parametrize("mistake", [activation_behind_the_sum, shortcut_before_the_activation, no_last_norm])
def test_catches_in_pre_activation(mistake):
    model = randomised(create_model("wide_resnet_28_8_cifar", **SMALL["wide_resnet_28_8_cifar"]))
    assert_catches(mistake, model, pre_activation_network(model), IMAGES[..., :16, :16])


@proves(49, 50)
@pytest.mark.parametrize(
    "name, parameters, macs",
    [("pre_resnet_110_cifar", "1.736M", 253.2e6), ("resnext_29_16x64d_cifar", "68.247M", 9.884e9)],
)
def test_sizes_of_the_low_rows(name, parameters, macs):
    with torch.device("meta"):
        model = create_model(name)
    assert f"{count_parameters(model) / 1e6:.3f}M" == parameters
    assert count_macs(model, 1, 3, 32, 32) == pytest.approx(macs, rel=0.001)


# Convolutions and norms on maps whose channels come last

MAPS = torch.randn(2, 5, 6, 8, generator=torch.Generator().manual_seed(4))


def convolved(x, weight, groups=1):
    """A k×k convolution as its sum: (B, H, W, C) and (D, C/groups, k, k) -> (B, H, W, D)."""
    b, height, width, channels = x.shape
    dim, per_group, k, _ = weight.shape
    y = x.new_zeros(b, height, width, dim)
    for d in range(dim):
        first = d // (dim // groups) * per_group
        for i in range(height):
            for j in range(width):
                for p in range(k):
                    for q in range(k):
                        row, column = i + p - k // 2, j + q - k // 2
                        if 0 <= row < height and 0 <= column < width:
                            seen = x[:, row, column, first : first + per_group]
                            y[:, i, j, d] = y[:, i, j, d] + seen @ weight[d, :, p, q].to(x.dtype)
    return y


@proves(111)
@pytest.mark.parametrize("k, groups, dim", [(1, 1, 6), (3, 8, 8), (3, 2, 4)])
def test_pointwise_depthwise_and_grouped_convolutions_are_their_sums(k, groups, dim):
    conv = randomised(Conv(8, dim, k, padding=k // 2, groups=groups, bias=False))
    assert_agrees(conv, lambda x: convolved(x, conv.weight.detach(), groups), MAPS)


@proves(111)
def test_a_depthwise_and_a_pointwise_convolution_cost_less_than_a_dense_one():
    dense = Conv(64, 64, 3, bias=False).weight.numel()
    depthwise, pointwise = Conv(64, 64, 3, groups=64, bias=False), Conv(64, 64, 1, bias=False)
    apart = depthwise.weight.numel() + pointwise.weight.numel()
    assert apart / dense == pytest.approx(1 / 64 + 1 / 9)


def inverted_pair():
    from torchvision.models.mobilenetv2 import InvertedResidual

    theirs = randomised(InvertedResidual(8, 8, stride=1, expand_ratio=6))
    ours = InvertedBottleneck(8).eval()
    names = {"0.0": "expand", "0.1": "norm1", "1.0": "depthwise", "1.1": "norm2", "2": "project", "3": "norm3"}
    state = {}
    for key, value in theirs.state_dict().items():
        layer, _, leaf = key.removeprefix("conv.").rpartition(".")
        state[f"{names[layer]}.{leaf}"] = value
    ours.load_state_dict(state)

    def branch(x):  # theirs adds the path around
        return theirs.to(x.dtype)(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) - x

    return ours, branch


@proves(111)
def test_inverted_bottleneck_agrees_with_torchvision():
    assert_agrees(*inverted_pair(), 3 * MAPS)


def relu_without_a_ceiling(model):
    model.act = nn.ReLU()


def activation_at_the_narrow_end(model):
    model.norm3 = nn.Sequential(model.norm3, nn.ReLU6())


def dense_in_the_middle(model):
    weight = torch.zeros(48, 48, 3, 3)
    weight[:] = model.depthwise.weight.data.mean(dim=1)[:, None]
    model.depthwise.groups, model.depthwise.weight.data = 1, weight


@pytest.mark.parametrize("mistake", [relu_without_a_ceiling, activation_at_the_narrow_end, dense_in_the_middle])
def test_catches_in_the_inverted_bottleneck(mistake):
    assert_catches(mistake, *inverted_pair(), 3 * MAPS)


def normed(x, axes, norm):
    """(x - mean) / √(variance + eps) over the axes, the variance with 1/n; then scale and shift of each channel."""
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    mean = x.sum(axes, keepdim=True) / count
    variance = ((x - mean) ** 2).sum(axes, keepdim=True) / count
    return (x - mean) / (variance + norm.eps) ** 0.5 * norm.weight.to(x.dtype) + norm.bias.to(x.dtype)


NORMS = {
    "batch": (lambda: BatchNorm(8), lambda: nn.BatchNorm2d(8), (0, 1, 2)),
    "group": (lambda: GroupNorm1(8), lambda: nn.GroupNorm(1, 8), (1, 2, 3)),
    "layer": (lambda: LayerNorm(8), lambda: nn.LayerNorm(8, eps=1e-6), (3,)),
}


@proves(160)
@pytest.mark.parametrize("name", NORMS)
def test_norms_are_their_equation_and_pytorchs(name):
    make, theirs, axes = NORMS[name]
    ours = randomised(make()).train(name == "batch")
    x = 3 * MAPS + 1
    # A batch norm that trains changes its running statistics and nothing else.
    assert_agrees(ours, lambda x: normed(x, axes, ours), x)
    theirs = theirs().train(name == "batch")
    theirs.load_state_dict(ours.state_dict())
    channels_first = name != "layer"

    def public(x):
        module = theirs.to(x.dtype)
        return module(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) if channels_first else module(x)

    assert_agrees(ours, public, x)


@proves(160)
def test_a_trained_batch_norm_uses_its_running_statistics():
    ours = randomised(BatchNorm(8))

    def formula(x):
        mean, variance = ours.running_mean.to(x.dtype), ours.running_var.to(x.dtype)
        return (x - mean) / (variance + ours.eps) ** 0.5 * ours.weight.to(x.dtype) + ours.bias.to(x.dtype)

    assert_agrees(ours, formula, MAPS)


def variance_with_one_less(norm):
    norm.register_forward_hook(lambda norm, inputs, y: (y - norm.bias) * (7 / 8) ** 0.5 + norm.bias)


def over_the_places_too(norm):
    norm.forward = lambda x: F.layer_norm(x, x.shape[1:], eps=norm.eps) * norm.weight + norm.bias


def eps_of_batch_norm(norm):
    norm.eps = 1e-5


@pytest.mark.parametrize("mistake", [variance_with_one_less, over_the_places_too, eps_of_batch_norm])
def test_catches_in_layer_norm(mistake):
    ours = randomised(LayerNorm(8))
    assert_catches(mistake, ours, lambda x: normed(x, (3,), ours), MAPS)

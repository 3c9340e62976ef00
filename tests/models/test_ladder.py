"""The steps from ResNet to ConvNeXt: both ends against public networks, every step by what it changes, counted."""

import inspect
import itertools

import pytest
import torch
from torch import nn

from course.models import create_model
from course.models.count import count_macs, count_parameters
from course.models.downsampling import ConvDownsampling
from course.models.families.ladder import ladder
from course.models.ladder import LadderBlock, LadderNet
from course.models.norms import LayerNorm
from course.models.registry import entry, list_models
from tests.models.parity import assert_agrees, assert_catches, difference, each, pair, proves, randomised

NAMES = list_models("ladder_*")
SMALL = dict.fromkeys(NAMES, dict(depths=(1, 2), width=8, num_classes=10))
FOUR_STAGES = dict(depths=(1, 2, 1, 1), num_classes=10)
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))

# Multiply-adds at full size, in G, as the paper's table 10 prints them.
PRINTED = {
    "resnet": 4.09,
    "stage_ratio": 4.53,
    "patchify": 4.42,
    "depthwise": 2.35,
    "wider": 5.27,
    "inverted": 4.64,
    "moved_up": 4.07,
    "kernel_7": 4.15,
    "gelu": 4.15,
    "fewer_acts": 4.15,
    "fewer_norms": 4.15,
}  # and for the last two 4.46 and 4.49: see below
AT_FULL_SIZE = ladder(((3, 4, 6, 3), (3, 3, 9, 3)), (64, 96))


def options(spec) -> dict:
    """All options of a step, those that it leaves as they are too."""
    defaults = {name: p.default for name, p in inspect.signature(LadderNet).parameters.items()}
    return defaults | dict(spec.part.options)


def test_each_step_changes_one_option_of_the_one_before():
    assert [name[len("ladder_00_") : -len("_cifar")] for name in NAMES] == list(AT_FULL_SIZE)
    changed = []
    for specs in ([entry(name).spec for name in NAMES], list(AT_FULL_SIZE.values())):
        steps = [(options(before), options(after)) for before, after in itertools.pairwise(specs)]
        changed.append([[name for name in a if a[name] != b[name]] for a, b in steps])
    assert changed[0] == changed[1] and all(len(names) == 1 for names in changed[0])
    settable = set(options(AT_FULL_SIZE["resnet"])) - {"in_chans", "num_classes"}
    assert {name for (name,) in changed[0]} == settable  # no option is there for nothing


def counted(step: str) -> tuple[int, int]:
    """Parameters and multiply-adds at full size."""
    with torch.device("meta"):
        model = AT_FULL_SIZE[step].build()
    return count_parameters(model), count_macs(model, 1, 3, 224, 224)


@proves(106)
@pytest.mark.parametrize("step, printed", PRINTED.items())
def test_at_full_size_each_step_has_the_multiply_adds_that_the_paper_prints(step, printed):
    assert counted(step)[1] / 1e9 == pytest.approx(printed, abs=0.0051)


@proves(106)
@pytest.mark.parametrize("kernel_size, printed", [(5, 4.10), (9, 4.21), (11, 4.29)])
def test_so_has_the_step_to_large_kernels_with_those_that_the_paper_did_not_keep(kernel_size, printed):
    with torch.device("meta"):
        model = AT_FULL_SIZE["kernel_7"].but(kernel_size=kernel_size).build()
    assert count_macs(model, 1, 3, 224, 224) / 1e9 == pytest.approx(printed, abs=0.0051)


def test_where_the_paper_prints_other_multiply_adds_than_the_network_has():
    """A norm in place of another brings none; ConvNeXt-T has 4.46, and is printed with 4.5 elsewhere."""
    with torch.device("meta"):
        convnext = create_model("convnext_t")
    scales = sum(p.numel() for name, p in convnext.named_parameters() if name.endswith(".scale"))
    assert counted("convnext") == (count_parameters(convnext) - scales, count_macs(convnext, 1, 3, 224, 224))
    assert counted("convnext")[1] == pytest.approx(4.46e9, abs=0.0051e9)
    assert counted("layer_norm")[1] == counted("fewer_norms")[1] == pytest.approx(4.15e9, abs=0.0051e9)


STAGES = [(0, 3), (1, 3), (2, 9), (3, 3)]  # number and blocks, behind the change of the ratio
PARAMETERS_ADDED = {
    # A block of width w is 4w · w + 9 w² + w · 4w weights and norms of w, w and 4w channels.
    "stage_ratio": 3 * (17 * 256**2 + 12 * 256) - (17 * 128**2 + 12 * 128),
    "patchify": (16 - 49) * 3 * 64,
    "depthwise": sum(depth * (9 - 9 * 64 * 2**i) * 64 * 2**i for i, depth in STAGES),
    # 49 places for 9, of each channel that comes in: in a stage's first block, those of the stage before.
    "kernel_7": 40 * sum((depth - 1) * 96 * 2**i + 96 * 2 ** max(i - 1, 0) for i, depth in STAGES),
    "gelu": 0,
    "fewer_acts": 0,
    # For the second and third norm, 4w and w channels twice, one bias each; biases of the first and of the path around.
    "fewer_norms": sum(
        -depth * 5 * 96 * 2**i + (depth - 1) * 96 * 2**i + 96 * 2 ** max(i - 1, 0) + (i > 0) * 96 * 2**i
        for i, depth in STAGES
    )
    + 96,  # the stem's
    "layer_norm": 0,
}


@proves(106)
@pytest.mark.parametrize("step, added", PARAMETERS_ADDED.items())
def test_each_step_adds_the_parameters_that_one_counts_by_hand(step, added):
    steps = list(AT_FULL_SIZE)
    assert counted(step)[0] - counted(steps[steps.index(step) - 1])[0] == added


# -- both ends


def torchvision_resnet():
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 2, 1, 1], num_classes=10)


def timm_convnext():
    from timm.models.convnext import ConvNeXt

    return ConvNeXt(depths=(1, 2, 1, 1), dims=(16, 32, 64, 128), ls_init_value=None, num_classes=10)


FIRST = ("ladder_00_resnet_cifar", FOUR_STAGES | {"width": 64}, torchvision_resnet, "torchvision")
LAST = ("ladder_12_convnext_cifar", FOUR_STAGES | {"width": 16}, timm_convnext, "timm")


@proves(106)
@pytest.mark.parametrize("name, small, make, source", [FIRST, LAST], ids=["first", "last"])
def test_both_ends_agree_with(name, small, make, source):
    ours, theirs = pair(name, small, make(), source)
    assert_agrees(ours, theirs, IMAGES)


def no_activation_behind_the_addition(model):
    for block in each(model, LadderBlock):
        block.acts[2] = nn.Identity()


def stride_in_the_first_convolution(model):
    for block in each(model, LadderBlock):
        if block.convs[1].stride == (2, 2):
            block.convs[0].stride, block.convs[1].stride = (2, 2), (1, 1)


def path_around_without_a_norm(model):
    for block in each(model, LadderBlock):
        if isinstance(block.shortcut, nn.Sequential):
            block.shortcut[1] = nn.Identity()


@pytest.mark.parametrize(
    "mistake", [no_activation_behind_the_addition, stride_in_the_first_convolution, path_around_without_a_norm]
)
def test_catches_at_the_first_end(mistake):
    name, small, make, source = FIRST
    assert_catches(mistake, *pair(name, small, make(), source), IMAGES)


def activation_behind_the_first_convolution(model):
    for block in each(model, LadderBlock):
        block.acts[0], block.acts[1] = block.acts[1], block.acts[0]


def norm_behind_the_downsampling(model):
    for downsample in each(model, ConvDownsampling):
        downsample.norm, downsample.norm_first = LayerNorm(downsample.conv.out_channels), False


def no_norm_before_the_last_layer(model):
    model.norm = nn.Identity()


@pytest.mark.parametrize(
    "mistake",
    [activation_behind_the_first_convolution, norm_behind_the_downsampling, no_norm_before_the_last_layer],
)
def test_catches_at_the_last_end(mistake):
    name, small, make, source = LAST
    assert_catches(mistake, *pair(name, small, make(), source), IMAGES)


# -- between them


def test_a_depthwise_kernel_is_a_dense_one_that_is_zero_between_channels():
    thin = randomised(create_model("ladder_03_depthwise_cifar", depths=(1, 2), width=8)).double()
    dense = create_model("ladder_02_patchify_cifar", depths=(1, 2), width=8).eval().double()
    state = thin.state_dict()
    for name, weight in state.items():
        if name.endswith("convs.1.weight"):  # (D, 1, 3, 3) to (D, D, 3, 3)
            state[name] = torch.diag_embed(weight[:, 0].permute(1, 2, 0)).permute(2, 3, 0, 1)
    dense.load_state_dict(state)
    assert max(difference(dense, thin, IMAGES)) < 1e-12


@pytest.mark.parametrize("step", ["depthwise", "inverted", "moved_up", "kernel_7", "fewer_acts", "fewer_norms"])
def test_the_block_of_a_step_is_what_figures_3_and_4_say(step):
    """Channels in front of each convolution, then behind the last; its kernel; what stands behind each."""
    number = list(AT_FULL_SIZE).index(step)
    block = create_model(NAMES[number], depths=(1, 2), width=8).stages[0][0]
    assert [(conv.in_channels, conv.kernel_size[0], conv.groups > 1) for conv in block.convs] == {
        "depthwise": [(8, 1, False), (8, 3, True), (8, 1, False)],
        "inverted": [(8, 1, False), (32, 3, True), (32, 1, False)],
        "moved_up": [(8, 3, True), (8, 1, False), (32, 1, False)],
    }.get(step, [(8, 7, True), (8, 1, False), (32, 1, False)])
    there = ["".join("01"[not isinstance(m, nn.Identity)] for m in layers) for layers in (block.norms, block.acts)]
    assert there == {"fewer_acts": ["111", "010"], "fewer_norms": ["100", "010"]}.get(step, ["111", "111"])


def test_unknown_words_and_images_that_are_not_divided_are_one_sentence():
    with pytest.raises(ValueError, match="stem is 'conv' or 'patch', and not 'pixels'"):
        create_model(NAMES[0], stem="pixels")
    with pytest.raises(ValueError, match="acts is 'each' or 'one', and not 'two'"):
        create_model(NAMES[0], acts="two")
    with pytest.raises(ValueError, match="28 and 32 fit"):
        create_model(NAMES[-1])(torch.zeros(1, 3, 30, 32))

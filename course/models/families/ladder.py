"""The steps from ResNet to ConvNeXt (Liu et al. 2022, arXiv:2201.03545, section 2), each one option of ``LadderNet``.

With layer scale behind each block, the last is ConvNeXt; the paper counts layer scale as part of the recipe (table 5).
"""

from torch import Tensor, nn

from course.models.ladder import LadderNet
from course.models.norms import LayerNorm
from course.models.registry import register
from course.models.spec import Whole

PAPER = "Liu et al. 2022, arXiv:2201.03545, table 10"

_BLOCK = {"conv1.*": "convs.0.*", "conv2.*": "convs.1.*", "conv3.*": "convs.2.*"}
_BLOCK |= {"bn1.*": "norms.0.*", "bn2.*": "norms.1.*", "bn3.*": "norms.2.*", "downsample.*": "shortcut.*"}
RESNET = {
    "conv1.*": "stem.0.*",
    "bn1.*": "stem.1.*",
    **{f"layer{i + 1}.#.{theirs}": f"stages.{i}.#.{ours}" for i in range(4) for theirs, ours in _BLOCK.items()},
    "fc.*": "fc.*",
}


def _kernel_of(weight: Tensor) -> Tensor:
    """A linear layer's matrix (D, C) as the kernel (D, C, 1, 1) of a convolution; its bias as it is."""
    return weight[..., None, None] if weight.ndim == 2 else weight


CONVNEXT = {
    "stem.*": "stem.*",
    "stages.#.downsample.0.*": "downsamples.#.norm.*",
    "stages.#.downsample.1.*": "downsamples.#.conv.*",
    "stages.#.blocks.#.conv_dw.*": "stages.#.#.convs.0.*",
    "stages.#.blocks.#.norm.*": "stages.#.#.norms.0.*",
    "stages.#.blocks.#.mlp.fc1.*": ("stages.#.#.convs.1.*", _kernel_of),
    "stages.#.blocks.#.mlp.fc2.*": ("stages.#.#.convs.2.*", _kernel_of),
    "head.norm.*": "norm.*",
    "head.fc.*": "fc.*",
}


def ladder(depths: tuple[tuple, tuple], widths: tuple[int, int], num_classes: int = 1000) -> dict[str, Whole]:
    """The networks in the order of the paper: name of the step -> the spec behind it.

    Args:
        depths: blocks in each stage before and behind the change of the stages' ratio; (3, 4, 6, 3) and (3, 3, 9, 3).
        widths: before and behind the widening; 64 and 96.
    """
    steps = {
        "resnet": dict(depths=depths[0], width=widths[0], num_classes=num_classes),
        "stage_ratio": dict(depths=depths[1]),
        "patchify": dict(stem="patch"),
        "depthwise": dict(depthwise=True),
        "wider": dict(width=widths[1]),
        "inverted": dict(inverted=True),
        "moved_up": dict(moved_up=True),
        "kernel_7": dict(kernel_size=7),
        "gelu": dict(act=nn.GELU),
        "fewer_acts": dict(acts="one"),
        "fewer_norms": dict(norms="one"),
        "layer_norm": dict(norm=LayerNorm),
        "convnext": dict(downsample="between"),
    }
    options, found = {}, {}
    for name, change in steps.items():
        options |= change
        found[name] = Whole(LadderNet, **options)
    return found


KEYS = {"resnet": {"torchvision": RESNET}, "convnext": {"timm": CONVNEXT}}
for number, (step, spec) in enumerate(ladder(((1, 2, 2), (1, 1, 3)), (16, 24), num_classes=10).items()):
    register(
        f"ladder_{number:02}_{step}_cifar",
        spec,
        paper=f"ours: a step of {PAPER}, at the size of 32×32 images",
        keys=KEYS.get(step),
        usual_size=32,
    )

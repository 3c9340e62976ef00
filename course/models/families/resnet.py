"""ResNet (He et al. 2016, arXiv:1512.03385), its relatives, and attention added to it."""

from course.models.gates.bam import BAM
from course.models.gates.cbam import CBAM
from course.models.gates.gather_excite import GatherExcite
from course.models.gates.squeeze_excite import SqueezeExcite
from course.models.registry import none_there, register
from course.models.resnet import PreActResNet, ResNet, SizedResNet
from course.models.spec import Spec, Whole
from course.models.token_mixers.local_attention import LocalAttention
from course.models.token_mixers.nonlocal_attention import NonLocal

RESNET = "He et al. 2016, arXiv:1512.03385, table 1"
GATHER_EXCITE = "Hu et al. 2018, arXiv:1810.12348"
BOTTLENECK_ATTENTION = "Park et al. 2018, arXiv:1807.06514"

# torchvision and timm have the same names but for the gate.
TORCHVISION = {
    "conv1.*": "conv.*",
    "bn1.*": "norm.*",
    **{
        f"layer{i + 1}.#.{theirs}": f"stages.{i}.#.{ours}"
        for i in range(4)
        for theirs, ours in {
            "conv#.*": "conv#.*",
            "bn#.*": "norm#.*",
            "downsample.*": "shortcut.*",
        }.items()
    },
    "fc.*": "fc.*",
}
KEYS = {"torchvision": TORCHVISION, "timm": TORCHVISION}


def strided_in_the_3x3(spec: Spec) -> Spec:
    """torchvision's and timm's halve the map there, and neither names nor shapes tell."""
    if dict(spec.part.options).get("stride") == "v1":
        raise ValueError(
            "theirs halve the map in the 3×3 convolution of a block, and this one in the first 1×1, as the paper does: "
            'create_model(..., stride="v1.5") makes one for them'
        )
    return spec


AS_IN = dict.fromkeys(KEYS, strided_in_the_3x3)


def with_gate(**names: str) -> dict:
    """timm's names where a gate, there called "se", ends each branch; `names`: theirs to ours, inside it."""
    gate = {
        f"layer{i + 1}.#.se.{theirs.replace('_', '.')}.*": f"stages.{i}.#.gate.inner.{ours}.*"
        for i in range(4)
        for theirs, ours in names.items()
    }
    return {"timm": TORCHVISION | gate}


SE_KEYS = with_gate(fc1="fc1", fc2="fc2")
CBAM_KEYS = with_gate(channel_fc1="fc1", channel_fc2="fc2", spatial_conv_conv="conv", spatial_conv_bn="norm")
NON_LOCAL_KEYS = with_gate(t="theta", p="phi", g="g", z="proj", norm="norm")

register("resnet_50", Whole(ResNet, depths=(3, 4, 6, 3)), paper=RESNET, keys=KEYS, as_in=AS_IN)
register(
    "resnet_50_v1", Whole(ResNet, depths=(3, 4, 6, 3), stride="v1"), paper=RESNET, says="3.8G", keys=KEYS, as_in=AS_IN
)
register(
    "resnet_101_v1", Whole(ResNet, depths=(3, 4, 23, 3), stride="v1"), paper=RESNET, says="7.6G", keys=KEYS, as_in=AS_IN
)
register("resnet_152", Whole(ResNet, depths=(3, 8, 36, 3)), paper=RESNET, keys=KEYS, as_in=AS_IN)
register(
    "resnext_50_32x4d",
    Whole(ResNet, depths=(3, 4, 6, 3), groups=32, base_width=4),
    paper="Xie et al. 2017, arXiv:1611.05431, table 1",
    says="25.0M 4.2G",
    keys=KEYS,
    as_in=AS_IN,
)

register(
    "se_resnet_50",
    Whole(ResNet, depths=(3, 4, 6, 3), stride="v1", gate=SqueezeExcite),
    paper="Hu et al. 2018, arXiv:1709.01507, table 2",
    says="3.87G",
    keys=SE_KEYS,
    as_in=AS_IN,
)
register(
    "ge_theta_minus_resnet_50",
    Whole(ResNet, depths=(3, 4, 6, 3), stride="v1", gate=GatherExcite),
    paper=GATHER_EXCITE,
    says="25.6M 3.86G",
    keys=KEYS,
    as_in=dict.fromkeys(KEYS, none_there("no gates stand in theirs: create_model('resnet_50') makes one for them")),
)
register(
    "ge_theta_resnet_50",
    Whole(SizedResNet, depths=(3, 4, 6, 3), stride="v1", gate=GatherExcite, gate_options={"gather": "conv"}),
    paper=GATHER_EXCITE,
    says="31.2M 3.87G",
)
register(
    "ge_theta_plus_resnet_50",
    Whole(
        SizedResNet,
        depths=(3, 4, 6, 3),
        stride="v1",
        gate=GatherExcite,
        gate_options={"gather": "conv", "excite": True},
    ),
    paper=GATHER_EXCITE,
    says="33.7M 3.87G",
)
register(
    "cbam_resnet_50",
    Whole(ResNet, depths=(3, 4, 6, 3), gate=CBAM),
    paper="Woo et al. 2018, arXiv:1807.06521, table 4, with the stride in the first convolution",
    says="28.09M 3.864G",
    keys=CBAM_KEYS,
    as_in={"timm": none_there("it has no such network, and its CBAM has no biases")},
)
register(
    "nonlocal_resnet_50",
    Whole(ResNet, depths=(3, 4, 6, 3), gate=(None, NonLocal, NonLocal, None)),
    paper="Wang et al. 2018, arXiv:1711.07971; there the blocks stand behind the addition",
    keys=NON_LOCAL_KEYS,
    as_in={"timm": none_there("it has no such network, and its non-local block scales the scores")},
)
register(
    "local_attention_resnet_50",
    Whole(ResNet, depths=(3, 4, 6, 3), mixer=LocalAttention, mixer_options={"num_heads": 8, "kernel_size": 7}),
    paper="Ramachandran et al. 2019, arXiv:1906.05909, table 1, with the convolution stem",
    says="18.0M",
)

# The twelve rows of the table in Park et al.: four networks, each alone, with squeeze-and-excitation, and with BAM.
RESNET_50 = dict(depths=(3, 4, 6, 3), stride="v1", stem="cifar", num_classes=100)
PRE_RESNET_110 = dict(depths=(18, 18, 18), width=16, num_classes=100)
WIDE_RESNET_28 = dict(depths=(4, 4, 4), width=16, widen=8, num_classes=100)
RESNEXT_29 = dict(depths=(3, 3, 3), stride="v1", groups=16, base_width=64, stem="cifar", num_classes=100)

register(
    "resnet_50_cifar",
    Whole(ResNet, **RESNET_50),
    paper=BOTTLENECK_ATTENTION,
    says="23.71M 1.22G",
    keys=KEYS,
    as_in=AS_IN,
    usual_size=32,
)
register(
    "se_resnet_50_cifar",
    Whole(ResNet, **RESNET_50, gate=SqueezeExcite),
    paper=BOTTLENECK_ATTENTION,
    says="26.24M 1.23G",
    usual_size=32,
)
register(
    "bam_resnet_50_cifar",
    Whole(ResNet, **RESNET_50, between=BAM),
    paper=BOTTLENECK_ATTENTION,
    says="24.07M 1.25G",
    usual_size=32,
)
register(
    "pre_resnet_110_cifar",
    Whole(PreActResNet, **PRE_RESNET_110),
    paper="He et al. 2016, arXiv:1603.05027, figures as in " + BOTTLENECK_ATTENTION,
    says="1.73M 0.245G",
    usual_size=32,
)
# 1.93 M needs hidden layers as wide as the map; with a sixteenth, one to four units, it would be 1.75 M.
register(
    "se_pre_resnet_110_cifar",
    Whole(PreActResNet, **PRE_RESNET_110, gate=SqueezeExcite, gate_options={"reduction": 1}),
    paper=BOTTLENECK_ATTENTION,
    says="1.93M 0.245G",
    usual_size=32,
)
register(
    "bam_pre_resnet_110_cifar",
    Whole(PreActResNet, **PRE_RESNET_110, between=BAM),
    paper=BOTTLENECK_ATTENTION,
    says="1.73M 0.246G",
    usual_size=32,
)
register(
    "wide_resnet_28_8_cifar",
    Whole(PreActResNet, **WIDE_RESNET_28),
    paper="Zagoruyko & Komodakis 2016, arXiv:1605.07146, figures as in " + BOTTLENECK_ATTENTION,
    says="23.4M 3.36G",
    usual_size=32,
)
register(
    "se_wide_resnet_28_8_cifar",
    Whole(PreActResNet, **WIDE_RESNET_28, gate=SqueezeExcite),
    paper=BOTTLENECK_ATTENTION,
    says="23.58M 3.36G",
    usual_size=32,
)
register(
    "bam_wide_resnet_28_8_cifar",
    Whole(PreActResNet, **WIDE_RESNET_28, between=BAM),
    paper=BOTTLENECK_ATTENTION,
    says="23.42M 3.37G",
    usual_size=32,
)
register(
    "resnext_29_16x64d_cifar",
    Whole(ResNet, **RESNEXT_29),
    paper="Xie et al. 2017, arXiv:1611.05431, table 7",
    says="68.1M",
    keys=KEYS,
    as_in=AS_IN,
    usual_size=32,
)
register(
    "se_resnext_29_16x64d_cifar",
    Whole(ResNet, **RESNEXT_29, gate=SqueezeExcite),
    paper=BOTTLENECK_ATTENTION,
    says="68.81M 9.88G",
    usual_size=32,
)
register(
    "bam_resnext_29_16x64d_cifar",
    Whole(ResNet, **RESNEXT_29, between=BAM),
    paper=BOTTLENECK_ATTENTION,
    says="68.34M 9.9G",
    usual_size=32,
)

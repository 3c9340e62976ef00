"""BoTNet: attention for the last three 3×3 convolutions of ResNet-50 (Srinivas et al. 2021, arXiv:2101.11605)."""

from course.models.registry import register
from course.models.resnet import SizedResNet
from course.models.spec import Whole
from course.models.token_mixers.relative_attention import RelativeAttention

# BoTNet-S1, without the stride in the last stage, is the same with replace_stride_with_dilation=(False, False, True):
# that stage has no 3×3 convolution left to spread.
register(
    "botnet_50",
    Whole(
        SizedResNet, depths=(3, 4, 6, 3), mixer=(None, None, None, RelativeAttention), mixer_options={"num_heads": 4}
    ),
    paper="Srinivas et al. 2021, arXiv:2101.11605, table 1",
    says="20.8M",
)

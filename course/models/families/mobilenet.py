"""MobileNet, the first."""

from course.models.mobilenet import MobileNetV1
from course.models.registry import register
from course.models.spec import Whole

TIMM = {
    "conv_stem.*": "conv.*",
    "bn1.*": "norm.*",
    **{
        f"blocks.#.#.{theirs}.*": f"stages.#.#.{ours}.*"
        for theirs, ours in {"conv_dw": "depthwise", "bn1": "norm1", "conv_pw": "pointwise", "bn2": "norm2"}.items()
    },
    "classifier.*": "fc.*",
}

register(
    "mobilenet_v1",
    Whole(MobileNetV1),
    paper="Howard et al. 2017, arXiv:1704.04861, table 1",
    says="4.2M 0.569G",
    keys={"timm": TIMM},
)

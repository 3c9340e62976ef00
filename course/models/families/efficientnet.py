"""EfficientNet B3 to B7 (Tan & Le 2019, arXiv:1905.11946) and L2, the one of Noisy Student (arXiv:1911.04252)."""

from course.models.efficientnet import EfficientNet
from course.models.registry import register
from course.models.spec import Whole

PAPER = "Tan & Le 2019, arXiv:1905.11946, table 2"

# timm's first stage, in which nothing is widened, counts its layers from the depthwise convolution on.
_BLOCK = {"conv_dw": "depthwise", "se.conv_reduce": "gate.inner.fc1", "se.conv_expand": "gate.inner.fc2"}
TIMM = {
    "conv_stem.*": "stem.0.*",
    "bn1.*": "stem.1.*",
    **{f"blocks.#.#.{theirs}.*": f"stages.#.#.{ours}.*" for theirs, ours in _BLOCK.items()},
    **{
        f"blocks.0.#.{theirs}.*": f"stages.0.#.{ours}.*"
        for theirs, ours in {"bn1": "norm1", "conv_pw": "narrow", "bn2": "norm2"}.items()
    },
    **{
        f"blocks.#.#.{theirs}.*": f"stages.#.#.{ours}.*"
        for theirs, ours in {
            "conv_pw": "widen.0",
            "bn1": "widen.1",
            "bn2": "norm1",
            "conv_pwl": "narrow",
            "bn3": "norm2",
        }.items()
    },
    "conv_head.*": "last.0.*",
    "bn2.*": "last.1.*",
    "classifier.*": "fc.*",
}

for _name, _width, _depth, _size, _says, _paper in (
    ("efficientnet_b3", 1.2, 1.4, 300, "12M 1.8G", PAPER),
    ("efficientnet_b4", 1.4, 1.8, 380, "19M 4.2G", PAPER),
    ("efficientnet_b5", 1.6, 2.2, 456, "30M 9.9G", PAPER),
    ("efficientnet_b6", 1.8, 2.6, 528, "43M 19G", PAPER),
    ("efficientnet_b7", 2.0, 3.1, 600, "66M 37G", PAPER),
    ("efficientnet_l2", 4.3, 5.3, 800, "480M", "Xie et al. 2020, arXiv:1911.04252, table 2"),
):
    _spec = Whole(EfficientNet, width=_width, depth=_depth)
    register(_name, _spec, paper=_paper, says=_says, keys={"timm": TIMM}, usual_size=_size)

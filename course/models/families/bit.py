"""BiT (Kolesnikov et al. 2020, arXiv:1912.11370): the two ResNets of the tables that ViT is compared with."""

from course.models.bit import BiT
from course.models.registry import register
from course.models.spec import Whole

PAPER = "Kolesnikov et al. 2020, arXiv:1912.11370"

TIMM = {
    "stem.conv.*": "conv.*",
    "stages.#.blocks.#.downsample.conv.*": "stages.#.#.shortcut.*",
    "stages.#.blocks.#.*": "stages.#.#.*",
    "norm.*": "norm.*",
    "head.fc.*": "fc.*",
}

for _name, _depths, _widen, _size in (
    ("bit_r101x3", (3, 4, 23, 3), 3, 384),
    ("bit_r152x4", (3, 8, 36, 3), 4, 480),
):
    register(_name, Whole(BiT, depths=_depths, widen=_widen), paper=PAPER, keys={"timm": TIMM}, usual_size=_size)

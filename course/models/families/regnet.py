"""RegNetY (Radosavovic et al. 2020, arXiv:2003.13678): 4, 8 and 16 billion multiply-adds; DeiT's teacher is the last."""

from course.models.registry import register
from course.models.regnet import RegNetY
from course.models.spec import Whole


def numbered_as_in_timm(depths: tuple[int, ...]) -> dict[str, str]:
    """timm counts stages and blocks from 1."""
    names = {"stem.conv.*": "conv.*", "stem.bn.*": "norm.*", "head.fc.*": "fc.*"}
    for stage in range(len(depths)):
        for block in range(max(depths)):
            theirs, ours = f"s{stage + 1}.b{block + 1}", f"stages.{stage}.{block}"
            names |= {
                f"{theirs}.conv#.conv.*": f"{ours}.conv#.*",
                f"{theirs}.conv#.bn.*": f"{ours}.norm#.*",
                f"{theirs}.se.*": f"{ours}.gate.inner.*",
                f"{theirs}.downsample.conv.*": f"{ours}.shortcut.0.*",
                f"{theirs}.downsample.bn.*": f"{ours}.shortcut.1.*",
            }
    return names


for _name, _dims, _depths, _group_width, _says in (
    ("regnety_4gf", (128, 192, 512, 1088), (2, 6, 12, 2), 64, "20.6M 4.0G"),
    ("regnety_8gf", (168, 448, 896, 2016), (2, 4, 10, 1), 56, "39.2M 8.0G"),
    ("regnety_16gf", (224, 448, 1232, 3024), (2, 4, 11, 1), 112, "83.6M 15.9G"),
):
    register(
        _name,
        Whole(RegNetY, dims=_dims, depths=_depths, group_width=_group_width),
        paper="Radosavovic et al. 2020, arXiv:2003.13678",
        says=_says,
        keys={"timm": numbered_as_in_timm(_depths)},
    )

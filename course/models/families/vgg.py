"""VGG: the five depths of its table."""

from course.models.registry import none_there, register
from course.models.spec import Whole
from course.models.vgg import VGG

DEPTHS = {
    "vgg_11": ("A", "133M", ((3,), (3,), (3, 3), (3, 3), (3, 3))),
    "vgg_13": ("B", "133M", ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3))),
    "vgg_16_c": ("C", "134M", ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1))),
    "vgg_16": ("D", "138M", ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))),
    "vgg_19": ("E", "144M", ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3))),
}


def numbered_as_in_torchvision(kernels: tuple[tuple[int, ...], ...]) -> dict[str, str]:
    """torchvision counts all layers of all stages, activations and maxima too, in one line."""
    names, start = {"classifier.0.*": "fc1.*", "classifier.3.*": "fc2.*", "classifier.6.*": "fc3.*"}, 0
    for stage, sizes in enumerate(kernels):
        for index in range(len(sizes)):
            names[f"features.{start + 2 * index}.*"] = f"stages.{stage}.{2 * index}.*"
        start += 2 * len(sizes) + 1
    return names


for _name, (_column, _says, _kernels) in DEPTHS.items():
    register(
        _name,
        Whole(VGG, kernels=_kernels),
        paper=f"Simonyan & Zisserman 2015, arXiv:1409.1556, tables 1 and 2, column {_column}",
        says=_says,
        keys={"torchvision": numbered_as_in_torchvision(_kernels)},
        as_in={"torchvision": none_there("it has no column C: vgg_16 is column D")} if _column == "C" else {},
    )

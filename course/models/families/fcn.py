"""Fully convolutional network (Long et al. 2015, arXiv:1411.4038) on a dilated ResNet-50, as in torchvision."""

from course.models.dense.fcn import FCN
from course.models.families.resnet import TORCHVISION as RESNET
from course.models.registry import register
from course.models.spec import Whole

TORCHVISION = {
    **{f"backbone.{theirs}": f"backbone.{ours}" for theirs, ours in RESNET.items()},
    "classifier.0.*": "conv.conv.*",
    "classifier.1.*": "conv.norm.*",
    "classifier.4.*": "classifier.*",
    "aux_classifier.*": None,  # a second head on the third stage, for training
}

register("fcn_r50", Whole(FCN), paper="Long et al. 2015, arXiv:1411.4038", keys={"torchvision": TORCHVISION})

# For images of 64 pixels: 8×8 places.
register(
    "fcn_shapes",
    Whole(FCN, depths=(1, 1, 1, 1), width=8, num_classes=5),
    paper="Long et al. 2015, arXiv:1411.4038",
    usual_size=64,
)

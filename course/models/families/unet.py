"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597)."""

from course.models.dense.unet import UNet
from course.models.registry import register
from course.models.spec import Whole

register("unet", Whole(UNet), paper="Ronneberger et al. 2015, arXiv:1505.04597, figure 1")

# For images of 64 pixels, of which every one gets its class.
register(
    "unet_shapes",
    Whole(UNet, img_size=64, in_chans=3, num_classes=5, width=8, depth=3, padded=True),
    paper="Ronneberger et al. 2015, arXiv:1505.04597, figure 1",
)

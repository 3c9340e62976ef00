"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597)."""

from course.models.dense.unet import UNet
from course.models.registry import register
from course.models.spec import Whole

register("unet", Whole(UNet), paper="Ronneberger et al. 2015, arXiv:1505.04597, figure 1")

"""Fully convolutional network (Long et al. 2015, arXiv:1411.4038), in today's form: a ResNet that keeps 1/8 resolution."""

import torch.nn.functional as F
from torch import Tensor

from course.models.dense.convs import ConvNormReLU, pixel_classifier, resized
from course.models.model import Model
from course.models.resnet import ResNet


class FCN(Model):
    """Images (B, C, H, W) -> logits (B, num_classes, H, W).

    A classifier whose last linear layer is a 1×1 convolution says something about every place; what it says is then
    interpolated. The last two stages of the ResNet do not halve the map but spread their kernels (dilation: Yu and
    Koltun 2016, arXiv:1511.07122), so that it has an eighth of the image's side and not a thirty-second.

    Args:
        depths, width: of the ResNet.
        in_chans: C.
        num_classes: classes of a pixel.
        dropout: share of the channels' entries that training sets to 0 before the last layer.
    """

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 4, 6, 3),
        width: int = 64,
        in_chans: int = 3,
        num_classes: int = 21,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.backbone = ResNet(
            depths, width=width, replace_stride_with_dilation=(False, True, True), in_chans=in_chans, num_classes=0
        )
        dim = self.num_features = self.backbone.num_features
        self.conv = ConvNormReLU(dim, dim // 4)
        self.dropout = dropout
        self.classifier = pixel_classifier(dim // 4, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The maps of its ResNet: (B, D, H/4, W/4), and three with an eighth of the image's side."""
        return self.backbone.stage_outputs(images)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(self.stage_outputs(images)[-1])  # (B, D/4, H/8, W/8)
        x = self.classifier(F.dropout(x, self.dropout, self.training))  # (B, num_classes, H/8, W/8)
        return resized(x, images.shape[-2:])  # (B, num_classes, H, W)

"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597)."""

import torch
from torch import Tensor, nn

from course.models.dense.convs import pixel_classifier
from course.models.model import Model


class DoubleConv(nn.Sequential):
    """Two 3×3 convolutions, each with a ReLU: (B, D, H, W) -> (B, D', H-4, W-4), or (B, D', H, W) if padded.

    The weights are normal with variance 2/N, where N is how many numbers an output is a sum of (section 3).
    """

    def __init__(self, in_dim: int, dim: int, padded: bool) -> None:
        first = nn.Conv2d(in_dim, dim, 3, padding=int(padded))
        second = nn.Conv2d(dim, dim, 3, padding=int(padded))
        for conv in (first, second):
            nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(conv.bias)
        super().__init__(first, nn.ReLU(), second, nn.ReLU())


def cropped(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of a map, (B, D, H, W) -> (B, D, *size)."""
    top, left = (x.shape[2] - size[0]) // 2, (x.shape[3] - size[1]) // 2
    return x[:, :, top : top + size[0], left : left + size[1]]  # (B, D, h, w)


class UNet(Model):
    """Images (B, C, H, W) -> logits (B, num_classes, H', W'): figure 1.

    Down: two convolutions and a pooling that halves the map, again and again, the width doubling. Up: an
    up-convolution that doubles the map, beside it what was there on the way down, and two convolutions.

    Args:
        img_size: (H, W), or H = W. The pooled maps must have even sides.
        in_chans: C.
        num_classes: classes of a pixel.
        width: of the first convolutions.
        depth: how often the map is halved.
        padded: whether convolutions keep the map's size, and the logits have the image's. The paper's do not: every
            output pixel sees only real input, and 572×572 pixels in make 388×388 out.

    Raises:
        ValueError: a map with an odd side would be pooled, or nothing is left of it; the message names sizes that fit.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 572,
        in_chans: int = 1,
        num_classes: int = 2,
        width: int = 64,
        depth: int = 4,
        padded: bool = False,
    ) -> None:
        super().__init__()
        for side in (img_size, img_size) if isinstance(img_size, int) else img_size:
            if output_side(side, depth, padded) is None:
                near = sorted(range(max(1, side - 1000), side + 1000), key=lambda other: abs(other - side))
                fits = [str(other) for other in near if output_side(other, depth, padded) is not None]
                raise ValueError(
                    f"a side of {side} pixels cannot be halved {depth} times: {' and '.join(fits[:2])} can"
                )
        dims = [width * 2**level for level in range(depth + 1)]
        self.num_features = dims[-1]
        self.down = nn.ModuleList([DoubleConv(i, d, padded) for i, d in zip([in_chans, *dims], dims)])
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList([nn.ConvTranspose2d(2 * d, d, 2, stride=2) for d in dims[:-1]])
        self.merge = nn.ModuleList([DoubleConv(2 * d, d, padded) for d in dims[:-1]])
        self.classifier = pixel_classifier(width, num_classes)

    def stage_outputs(self, images: Tensor) -> list[Tensor]:
        """The maps of the way down, each half as large and twice as wide as the one before: (B, D, H, W), ..."""
        maps = [self.down[0](images)]  # (B, D, H, W)
        for down in self.down[1:]:
            maps.append(down(self.pool(maps[-1])))  # (B, 2D, H/2, W/2)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        *skips, x = self.stage_outputs(images)
        for up, merge, skip in zip(reversed(self.up), reversed(self.merge), reversed(skips)):
            x = up(x)  # (B, D, H, W)
            x = merge(torch.cat([cropped(skip, x.shape[2:]), x], dim=1))  # (B, 2D, H, W), then (B, D, H, W)
        return self.classifier(x)  # (B, num_classes, H', W')


def output_side(side: int, depth: int, padded: bool) -> int | None:
    """How long the output's side is, or None if the way down meets an odd one or the way up runs out of pixels."""
    lost = 0 if padded else 4  # by two convolutions
    for _ in range(depth):
        side -= lost
        if side % 2:
            return None
        side //= 2
    side -= lost
    for _ in range(depth):
        side = 2 * side - lost if side > 0 else 0
    return side if side > 0 else None
